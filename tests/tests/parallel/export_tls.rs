//! TLS and mutual TLS: who is trusted gets in, who is not is refused with a message that names the file and the
//! reason, nothing goes out in cleartext, and certificates that are replaced are read again.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::Duration,
};

use kevmon_tests::{
    certificates::{Authority, Identity, Purpose, Validity},
    fake::Fake,
    kevmon::{self, Output},
    nginx::{Nginx, Upstream},
    rotel::Rotel,
    sample::{self, EXACT, Sample},
    victoria_metrics::{EXACTNESS, VictoriaMetrics},
    wait,
    watched::Watched,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const TIMES: usize = 3;
const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// Two authorities that do not know each other, and what they signed.
struct Certificates {
    watched: Watched,
    authority: Authority,
    foreign: Authority,
    server: Identity,
    client: Identity,
}

impl Certificates {
    fn new(stem: &str) -> Self {
        let watched = Watched::new(WORKLOAD, stem, 1, "500ms", "");
        let folder = watched.settings().path();
        let authority = Authority::new(folder, "authority");
        let foreign = Authority::new(folder, "foreign");
        Self {
            server: authority.sign(folder, "server", Purpose::Server, Validity::Now),
            client: authority.sign(folder, "client", Purpose::Client, Validity::Now),
            authority,
            foreign,
            watched,
        }
    }

    fn folder(&self) -> &Path {
        self.watched.settings().path()
    }

    /// One collection, pushed to `url`.
    fn push_once(&self, url: &str, protocol: &str, further: &[&str]) -> Output {
        let args = ["--endpoint", url, "--protocol", protocol];
        kevmon::run_once(&[&self.watched.plugin_args()[..], &args, further].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Asserts that the run failed to push and said why; `words` in any case.
fn assert_refused(output: &Output, words: &[&str]) {
    assert!(
        matches!(output.code, Some(2 | 3)),
        "exit code {:?}: {output:?}",
        output.code
    );
    let said = format!("{}{}", output.stdout, output.stderr).to_lowercase();
    for word in words {
        assert!(said.contains(&word.to_lowercase()), "no {word:?} in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_right_authority_and_mutual_tls_over_http() {
    let all = Certificates::new("tlshttp");
    let id = Watched::service_id("tlshttp0");
    let ca = ["--ca-cert", text(all.authority.file())];
    let check = |receiver: &VictoriaMetrics, url: &str, further: &[&str]| {
        let args = ["--endpoint", url, "--protocol", "http/protobuf"];
        let mut daemon = all.watched.start(&[&args[..], &ca, further].concat());
        let samples = receiver.wait_for(&id, TIMES, LIMIT);
        let last = samples.iter().map(|sample| sample.time).max().unwrap();
        daemon.wait_until("the tick of what arrived last", LIMIT, |tick| tick.time() > last);
        let since = daemon.ticks()[0].time() / EXACTNESS.time * EXACTNESS.time;
        let samples: Vec<Sample> = samples
            .into_iter()
            .filter(|sample| sample.time >= since)
            .collect();
        sample::assert_equals_measured(daemon.ticks(), "tlshttp0", &samples, EXACTNESS);
        daemon.terminate();
    };
    let receiver = VictoriaMetrics::start_tls(&all.server, &all.authority);
    check(&receiver, &receiver.url(), &["--compression", "gzip"]);

    let receiver = VictoriaMetrics::start();
    let nginx = Nginx::start(Upstream::Http(receiver.port()), &all.server, Some(&all.authority));
    let identity = [
        "--client-cert",
        text(&all.client.certificate),
        "--client-key",
        text(&all.client.key),
    ];
    check(&receiver, &receiver.url_behind(&nginx.url()), &identity);
}

#[test]
fn mutual_tls_over_grpc() {
    let all = Certificates::new("tlsgrpc");
    let rotel = Rotel::start();
    let upstream = Upstream::Grpc(rotel.port().parse().unwrap());
    let nginx = Nginx::start(upstream, &all.server, Some(&all.authority));
    let settings = all.watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\nprotocol = \"grpc\"\nca_file = \"{}\"\ncertificate_file = \"{}\"\n\
         key_file = \"{}\"\n",
        nginx.url(),
        text(all.authority.file()),
        text(&all.client.certificate),
        text(&all.client.key)
    ));
    let mut daemon = all.watched.start(&["--config", &settings]);
    let samples = wait::until("collections at rotel", LIMIT, || {
        std::thread::sleep(Duration::from_millis(100));
        let samples = rotel.samples(&Watched::service_id("tlsgrpc0"));
        let counts = samples.iter().filter(|sample| sample.metric == "process_count");
        (counts.count() > TIMES).then_some(samples)
    });
    let last = samples.iter().map(|sample| sample.time).max().unwrap();
    let complete: Vec<Sample> = samples.into_iter().filter(|sample| sample.time < last).collect();
    daemon.wait_until("the tick of what arrived last", LIMIT, |tick| tick.time() >= last);
    sample::assert_equals_measured(daemon.ticks(), "tlsgrpc0", &complete, EXACT);
    daemon.terminate();
}

#[test]
fn a_receiver_that_cannot_be_trusted_gets_nothing() {
    let all = Certificates::new("distrust");
    let expired = all
        .authority
        .sign(all.folder(), "expired", Purpose::Server, Validity::Expired);
    for protocol in PROTOCOLS {
        let fake = Fake::start_tls(&all.server, None);
        let wrong = text(all.foreign.file());
        let output = all.push_once(&fake.url(), protocol, &["--ca-cert", wrong]);
        assert_refused(&output, &[wrong, "trusted"]);
        // Without a CA file the system's roots count, which do not know the test's authority.
        let output = all.push_once(&fake.url(), protocol, &[]);
        assert_refused(&output, &["trusted", "system"]);
        // The receiver counts on threads of its own.
        wait::until("both refusals", LIMIT, || (fake.refused() >= 2).then_some(()));
        assert!(fake.arrivals().is_empty());

        let late = Fake::start_tls(&expired, None);
        let right = text(all.authority.file());
        let output = all.push_once(&late.url(), protocol, &["--ca-cert", right]);
        assert_refused(&output, &["expired", &late.port().to_string()]);
        wait::until("the refusal", LIMIT, || (late.refused() >= 1).then_some(()));
        assert!(late.arrivals().is_empty());
    }
}

#[test]
fn clients_that_are_not_let_in_say_which_file_and_why() {
    let all = Certificates::new("client");
    let folder = all.folder();
    let stranger = all
        .foreign
        .sign(folder, "stranger", Purpose::Client, Validity::Now);
    let late = all
        .authority
        .sign(folder, "late", Purpose::Client, Validity::Expired);
    let right = text(all.authority.file());
    for protocol in PROTOCOLS {
        let fake = Fake::start_tls(&all.server, Some(&all.authority));
        let push = |further: &[&str]| {
            all.push_once(&fake.url(), protocol, &[&["--ca-cert", right], further].concat())
        };
        let with = |identity: &Identity| {
            push(&[
                "--client-cert",
                text(&identity.certificate),
                "--client-key",
                text(&identity.key),
            ])
        };
        assert_refused(&push(&[]), &["wants a client certificate"]);
        assert_refused(&with(&stranger), &[text(&stranger.certificate), "authority"]);
        assert_refused(&with(&late), &[text(&late.certificate), "expired"]);
        assert!(fake.arrivals().is_empty());
        with(&all.client).assert_code(0);
        assert!(!fake.points().is_empty());
    }
}

#[test]
fn files_that_are_missing_or_no_pair_are_named() {
    let all = Certificates::new("files");
    let folder = all.folder();
    let fake = Fake::start_tls(&all.server, Some(&all.authority));
    let right = text(all.authority.file());
    let absent = folder.join("absent.pem");
    let empty = folder.join("empty.pem");
    fs::write(&empty, "").unwrap();
    let (certificate, key) = (text(&all.client.certificate), text(&all.client.key));
    let other = all
        .authority
        .sign(folder, "other", Purpose::Client, Validity::Now);
    let (absent, empty, other_key) = (text(&absent), text(&empty), text(&other.key));
    for (args, words) in [
        // A certificate without its key, and the other way round.
        (
            vec!["--ca-cert", right, "--client-cert", certificate],
            vec!["client-cert", "key"],
        ),
        (
            vec!["--ca-cert", right, "--client-key", key],
            vec!["client-key", "cert"],
        ),
        (
            vec![
                "--ca-cert",
                right,
                "--client-cert",
                certificate,
                "--client-key",
                absent,
            ],
            vec![absent, "no such file"],
        ),
        (
            vec![
                "--ca-cert",
                right,
                "--client-cert",
                certificate,
                "--client-key",
                other_key,
            ],
            vec![other_key, certificate],
        ),
        (vec!["--ca-cert", absent], vec![absent, "no such file"]),
        (vec!["--ca-cert", empty], vec![empty, "no certificate"]),
    ] {
        let output = all.push_once(&fake.url(), "grpc", &args);
        assert_refused(&output, &words);
        let said = format!("{}{}", output.stdout, output.stderr);
        let key_text = fs::read_to_string(&all.client.key).unwrap();
        let secret = key_text.lines().nth(1).unwrap();
        assert!(!said.contains(secret), "the key's content");
    }
    assert!(fake.arrivals().is_empty());
}

#[test]
fn tls_never_falls_back_to_cleartext() {
    let all = Certificates::new("clear");
    let right = text(all.authority.file());
    // One that would take cleartext gladly.
    let fake = Fake::start();
    for protocol in PROTOCOLS {
        let url = fake.url().replace("http://", "https://");
        let output = all.push_once(&url, protocol, &["--ca-cert", right]);
        assert_refused(&output, &[&fake.port().to_string()]);
    }
    assert!(fake.arrivals().is_empty(), "{:?}", fake.arrivals());
    // What goes out first is a TLS handshake (RFC 8446, section 5.1), and nothing of it can be read.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    });
    all.push_once(&url, "http/protobuf", &["--ca-cert", right]);
    let bytes = taken.join().unwrap();
    assert_eq!(bytes.get(..2), Some(&[0x16, 0x03][..]), "{bytes:?}");
    let plain = b"kevmon";
    assert!(!bytes.windows(plain.len()).any(|window| window == plain));
}

#[test]
fn use_tls_makes_it_https() {
    let all = Certificates::new("usetls");
    let fake = Fake::start_tls(&all.server, None);
    let port = fake.port().to_string();
    let args = ["--agent-host", "localhost", "--agent-port", &port];
    let variables = [
        ("USE_TLS", "true"),
        ("CA_CERT_PATH", text(all.authority.file())),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let daemon = all.watched.start_with(&args, &variables);
    fake.wait_for("metrics", LIMIT, |arrivals| (arrivals.len() > 2).then_some(()));
    daemon.terminate();
}

#[test]
fn certificates_are_read_again_when_they_change() {
    let all = Certificates::new("renew");
    let folder = all.folder();
    for protocol in PROTOCOLS {
        let fake = Fake::start_tls(&all.server, Some(&all.authority));
        // Right names, wrong authorities: of the client, and the one that vouches for the receiver.
        let identity = all
            .foreign
            .sign(folder, "renewed", Purpose::Client, Validity::Now);
        let ca = folder.join("ca.pem");
        fs::copy(all.foreign.file(), &ca).unwrap();
        let url = fake.url();
        let mut daemon = all.watched.start(&[
            "--endpoint",
            &url,
            "--protocol",
            protocol,
            "--ca-cert",
            text(&ca),
            "--client-cert",
            text(&identity.certificate),
            "--client-key",
            text(&identity.key),
        ]);
        wait::until("the first refusal", LIMIT, || (fake.refused() > 0).then_some(()));
        fs::copy(all.authority.file(), &ca).unwrap();
        let refused = fake.refused();
        wait::until("a refusal by the receiver", LIMIT, || {
            (fake.refused() > refused).then_some(())
        });
        assert!(fake.arrivals().is_empty());
        all.authority
            .sign(folder, "renewed", Purpose::Client, Validity::Now);
        let times = fake.wait_for("metrics", Duration::from_secs(60), |_| {
            let samples = Sample::of_service(&fake.points(), &Watched::service_id("renew0"));
            (samples.len() > 30).then_some(samples)
        });
        // What was kept meanwhile is there too.
        let first = daemon.ticks()[0].time();
        assert_eq!(times.iter().map(|sample| sample.time).min(), Some(first));
        daemon.next_tick(LIMIT);
        daemon.terminate();
    }
}
