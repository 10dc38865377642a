//! Who may read kevmon's page: a real Prometheus that has the token or the certificate scrapes it, and one that has not does
//! not. And what others do to the page's port keeps it from nobody.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use kevmon_tests::{
    certificates::{Authority, Purpose, Validity},
    http::Client,
    kevmon::Daemon,
    port,
    prometheus::{Format, Prometheus},
    scratch::Scratch,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const SCRAPE: Duration = Duration::from_secs(1);

/// kevmon with a page on a free port of 127.0.0.1, with further keys of `[prometheus]`.
fn page(folder: &Scratch, program: &Program, keys: &str) -> (u16, Daemon) {
    let port = port::free();
    let settings = folder.path().join("kevmon.toml");
    let text = format!("schema = 1\n[prometheus]\nenabled = true\nlisten = \"127.0.0.1:{port}\"\n{keys}");
    fs::write(&settings, text).unwrap();
    let daemon = Daemon::start(&[
        "--config",
        settings.to_str().unwrap(),
        "--process-name",
        &program.pattern(),
        "--interval",
        "500ms",
        "--agent-port",
        "9",
    ]);
    (port, daemon)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits until Prometheus says whether its scrapes succeed.
fn assert_up(server: &Prometheus, expected: f64, why: &str) {
    server.wait_for(why, LIMIT, "up", |series| {
        series
            .iter()
            .any(|up| (up.last() - expected).abs() < 0.5)
            .then_some(())
    });
}

#[test]
fn prometheus_scrapes_with_the_token_and_not_without() {
    let (folder, program) = (Scratch::new(), Program::new(WORKLOAD, "proacctok"));
    let token = folder.path().join("token");
    fs::write(&token, "a-token-of-the-tests\n").unwrap();
    let keys = format!("bearer_token_file = \"{}\"\n", text(&token));
    let (port, daemon) = page(&folder, &program, &keys);
    let with = format!(
        "    authorization:\n      type: Bearer\n      credentials_file: {}\n",
        text(&token)
    );
    let allowed = Prometheus::scraping_with(port, Format::OpenMetrics, SCRAPE, &with);
    let without = Prometheus::scraping(port, Format::Text, SCRAPE);
    assert_up(&allowed, 1.0, "a scrape with the token");
    assert_up(&without, 0.0, "a scrape without the token");
    assert!(!allowed.query("kevmon_complete_ratio").is_empty());
    assert!(without.query("kevmon_complete_ratio").is_empty());
    daemon.terminate();
}

#[test]
fn prometheus_scrapes_with_a_certificate_and_not_without() {
    let (folder, program) = (Scratch::new(), Program::new(WORKLOAD, "proacctls"));
    let authority = Authority::new(folder.path(), "ca");
    let server = authority.sign(folder.path(), "server", Purpose::Server, Validity::Now);
    let client = authority.sign(folder.path(), "client", Purpose::Client, Validity::Now);
    let stranger = Authority::new(folder.path(), "other").sign(
        folder.path(),
        "stranger",
        Purpose::Client,
        Validity::Now,
    );
    let keys = format!(
        "certificate_file = \"{}\"\nkey_file = \"{}\"\nclient_ca_file = \"{}\"\n",
        text(&server.certificate),
        text(&server.key),
        text(authority.file())
    );
    let (port, mut daemon) = page(&folder, &program, &keys);
    let tls = |identity: &str| {
        format!(
            "    scheme: https\n    tls_config:\n      ca_file: {}\n{identity}",
            text(authority.file())
        )
    };
    let with = format!(
        "      cert_file: {}\n      key_file: {}\n",
        text(&client.certificate),
        text(&client.key)
    );
    let allowed = Prometheus::scraping_with(port, Format::OpenMetrics, SCRAPE, &tls(&with));
    let without = Prometheus::scraping_with(port, Format::Text, SCRAPE, &tls(""));
    assert_up(&allowed, 1.0, "a scrape with the certificate");
    assert_up(&without, 0.0, "a scrape without a certificate");
    assert!(!allowed.query("kevmon_complete_ratio").is_empty());
    assert!(without.query("kevmon_complete_ratio").is_empty());
    let read = |identity| Client::tls(port, &authority, identity).get("/metrics");
    assert_eq!(read(Some(&client)).unwrap().status, 200);
    assert!(read(Some(&stranger)).is_err());
    assert!(Client::plain(port).get("/metrics").is_err(), "not in clear text");

    // Rotated: the next scrape uses the new files.
    let began = Instant::now();
    let other = Authority::new(folder.path(), "new");
    let rotated = other.sign(folder.path(), "server", Purpose::Server, Validity::Now);
    assert_eq!(rotated.certificate, server.certificate);
    let mut answer = None;
    while answer.is_none() && began.elapsed() < LIMIT {
        daemon.next_tick(LIMIT);
        answer = Client::tls(port, &other, Some(&client)).get("/metrics").ok();
    }
    assert_eq!(answer.expect("an answer with the new certificate").status, 200);
    assert!(
        read(Some(&client)).is_err(),
        "the old authority does not vouch for it"
    );
    daemon.terminate();
}

/// The collections go on, and the page is served, while a thousand slow connections come from one address.
#[test]
fn slow_connections_keep_prometheus_from_nothing() {
    let (folder, program) = (Scratch::new(), Program::new(WORKLOAD, "proaccslow"));
    let (port, mut daemon) = page(&folder, &program, "");
    let server = Prometheus::scraping(port, Format::Text, SCRAPE);
    assert_up(&server, 1.0, "a scrape");
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // It may have ended already.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
        held.push(stream);
    }
    for _ in 0..5 {
        let began = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        daemon.next_tick(LIMIT);
    }
    let failed = server.query("min_over_time(up[30s]) == 0");
    assert!(failed.is_empty(), "{failed:?}");
    drop(held);
    daemon.terminate();
}
