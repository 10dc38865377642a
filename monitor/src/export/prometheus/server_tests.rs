//! The endpoint over TCP: what it answers, to whom, and that nobody keeps others from it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_recv_buffer_size};

use super::{
    server::Deadlines,
    tests::{family, host, of},
    *,
};

/// Longer than any of these answers takes, and shorter than a place is held by default.
const SOON: Duration = Duration::from_secs(2);

fn bound(latest: LatestReadings, access: Access) -> PrometheusServer {
    crate::limits::raise_open_files().unwrap();
    PrometheusServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)), latest, access).unwrap()
}

/// Runs `test` against an endpoint.
fn run(server: PrometheusServer, test: impl FnOnce(SocketAddr) + Send + 'static) {
    let address = server.address();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let test = tokio::task::spawn_blocking(move || test(address));
        tokio::select! {
            ended = server.serve() => panic!("{ended:?}"),
            result = test => result.unwrap(),
        }
    });
}

/// The readings of so many plugins.
fn readings(plugins: usize) -> LatestReadings {
    let latest = LatestReadings::new(host(), false);
    let names: Vec<String> = (0..plugins).map(|number| format!("web{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    latest.update(&Arc::new(of(&names)));
    latest
}

/// Runs `test` against an endpoint that shows one plugin.
fn served(test: impl FnOnce(SocketAddr) + Send + 'static) {
    run(bound(readings(1), Access::default()), test);
}

/// A connection from 127.0.0.`host`.
fn connected(host: u8, to: SocketAddr, receive_buffer: Option<usize>) -> TcpStream {
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    if let Some(bytes) = receive_buffer {
        set_socket_recv_buffer_size(&socket, bytes).unwrap();
    }
    bind(&socket, &SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// The answer to `request` on a connection.
fn answer(mut stream: TcpStream, request: &str) -> String {
    stream.set_read_timeout(Some(SOON * 10)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn ask(address: SocketAddr, request: &str) -> String {
    answer(TcpStream::connect(address).unwrap(), request)
}

fn get(address: SocketAddr) -> String {
    format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")
}

/// Asserts that 127.0.0.`host` gets the page soon.
fn assert_served(host: u8, address: SocketAddr, when: &str) {
    let began = Instant::now();
    let response = answer(connected(host, address, None), &get(address));
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{when}: {response}");
    assert!(began.elapsed() < SOON, "{when}: {:?}", began.elapsed());
}

#[test]
fn the_endpoint_answers_get_metrics_and_nothing_else() {
    served(|address| {
        let of_host = format!("Host: {address}\r\n\r\n");
        let response = ask(address, &get(address));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert_eq!(family(body, "starts_total").len(), 3);
        let open = format!("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n{of_host}");
        let response = ask(address, &open);
        assert!(
            response.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{response}"
        );
        assert!(response.ends_with("# EOF\n"), "{response}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\n", "404 Not Found"),
            ("GET /metrics/x HTTP/1.1\r\n", "404 Not Found"),
            (
                "POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n",
                "405 Method Not Allowed",
            ),
            ("HEAD /metrics HTTP/1.1\r\n", "405 Method Not Allowed"),
            (
                "GET /metrics HTTP/1.1\r\nContent-Length: 9\r\n",
                "413 Payload Too Large",
            ),
            ("GET /metrics?a=b HTTP/1.1\r\n", "200 OK"),
            ("nonsense\r\n", "400 Bad Request"),
        ] {
            let response = ask(address, &format!("{request}{of_host}"));
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{request}: {response}"
            );
        }
    });
}

/// A thousand connections of one peer, in every state that takes a place.
#[test]
fn connections_of_one_peer_keep_nobody_out() {
    served(|address| {
        let slow = [
            "",
            "G",
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ",
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx",
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n",
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let mut held = Vec::new();
        for number in 0..1_000 {
            let mut stream = connected(1, address, None);
            // The connection may have ended already.
            let _ = stream.write_all(slow[number % slow.len()].as_bytes());
            if number % 7 == 0 {
                let _ = stream.shutdown(Shutdown::Write);
            }
            held.push(stream);
            if number % 250 == 249 {
                assert_served(2, address, "another peer");
                assert_served(1, address, "the same peer");
            }
        }
        let goes_on = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    held.remove(0);
                    held.push(connected(1, address, None));
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        for _ in 0..5 {
            assert_served(2, address, "while the flood goes on");
        }
        stop.store(true, Ordering::Relaxed);
        goes_on.join().unwrap();
    });
}

/// More peers than there are places, one slow connection each.
#[test]
fn slow_connections_of_many_peers_keep_nobody_out() {
    served(|address| {
        let held: Vec<TcpStream> = (10..250).map(|host| connected(host, address, None)).collect();
        assert_served(2, address, "another peer");
        drop(held);
    });
}

#[test]
fn slow_readers_keep_nobody_out_and_are_cut_off() {
    let mut server = bound(readings(1_000), Access::default());
    server.set_deadlines(Deadlines {
        head: Duration::from_secs(5),
        answer: Duration::from_secs(4),
        linger: Duration::from_secs(1),
    });
    run(server, |address| {
        // The page is rendered once, and again when something new is read.
        let length = answer(connected(2, address, None), &get(address)).len();
        assert!(length > 5 << 20, "{length} bytes may fit into a socket's buffers");
        let asked: Vec<TcpStream> = (0..100)
            .map(|number| {
                let mut stream = connected(10 + number % 10, address, Some(4_096));
                stream.write_all(get(address).as_bytes()).unwrap();
                stream
            })
            .collect();
        let began = Instant::now();
        let response = answer(connected(2, address, None), &get(address));
        assert_eq!(response.len(), length);
        assert!(began.elapsed() < SOON * 2, "{:?}", began.elapsed());
        thread::sleep(Duration::from_secs(5));
        // What is still there was in the sockets' buffers.
        for mut stream in asked {
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(
                rest.len() < length,
                "a reader that did not read got the whole page"
            );
        }
    });
}

/// Bytes that trickle in do not put the deadline off.
#[test]
fn a_head_has_a_deadline() {
    let mut server = bound(readings(1), Access::default());
    server.set_deadlines(Deadlines {
        head: Duration::from_millis(500),
        answer: Duration::from_secs(5),
        linger: Duration::from_millis(200),
    });
    run(server, |address| {
        for start in ["", "GET /metrics HTTP/1.1\r\nX: "] {
            let mut stream = connected(1, address, None);
            stream.write_all(start.as_bytes()).unwrap();
            let began = Instant::now();
            while began.elapsed() < SOON && stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
            assert!(began.elapsed() < SOON, "{start:?}: {:?}", began.elapsed());
        }
    });
}

/// What is sent behind a request is not read, and costs nobody the answer.
#[test]
fn pipelined_requests_and_huge_heads_get_one_whole_answer() {
    served(|address| {
        let one = ask(address, &get(address));
        for behind in [get(address).repeat(3), "x".repeat(60_000)] {
            let response = ask(address, &(get(address) + &behind));
            assert_eq!(response.len(), one.len());
        }
        for (head, status) in [
            (format!("X: {}\r\n", "x".repeat(50_000)), "431"),
            ("X: x\r\n".repeat(1_000), "431"),
        ] {
            let response = ask(
                address,
                &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{head}\r\n"),
            );
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{}: {response}",
                &head[..9]
            );
        }
        let stream = connected(1, address, None);
        let mut writer = stream.try_clone().unwrap();
        writer.write_all(get(address).as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(stream, "").len(), one.len(), "a half-closed connection");
    });
}

#[test]
fn another_host_name_gets_no_page() {
    let access = Access {
        hosts: vec!["mon.example".into()],
        ..Access::default()
    };
    run(bound(readings(1), access), |address| {
        for (host, status) in [
            ("localhost", "200 OK"),
            ("mon.example:80", "200 OK"),
            ("evil.example", "421 Misdirected Request"),
        ] {
            let response = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status}")),
                "{host}: {response}"
            );
            assert_eq!(response.contains("starts_total"), status == "200 OK", "{host}");
        }
        let response = ask(address, "GET /metrics HTTP/1.1\r\n\r\n");
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    });
}

/// A file of the test's own.
struct Token(PathBuf);

impl Drop for Token {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_token_is_the_files_as_it_is_now() {
    let token = Token(std::env::temp_dir().join(format!("kevmon-token-{}", std::process::id())));
    fs::write(&token.0, "first\n").unwrap();
    let access = Access {
        token: Some(token.0.clone()),
        ..Access::default()
    };
    run(bound(readings(1), access), move |address| {
        let ask = |sent: &str| {
            let of_host = format!("Host: {address}\r\n\r\n");
            ask(
                address,
                &format!("GET /metrics HTTP/1.1\r\nAuthorization: Bearer {sent}\r\n{of_host}"),
            )
        };
        assert!(ask("first").starts_with("HTTP/1.1 200 OK"));
        let refused = ask("second");
        assert!(
            refused.starts_with("HTTP/1.1 401 Unauthorized") && refused.contains("www-authenticate: Bearer"),
            "{refused}"
        );
        assert!(!refused.contains("starts_total"));
        thread::sleep(Duration::from_millis(1_100));
        fs::write(&token.0, "second").unwrap();
        assert!(ask("second").starts_with("HTTP/1.1 200 OK"));
        assert!(ask("first").starts_with("HTTP/1.1 401 "));
        for content in ["", "\n"] {
            thread::sleep(Duration::from_millis(1_100));
            fs::write(&token.0, content).unwrap();
            // Nobody gets an answer, whatever they send.
            let mut stream = connected(1, address, None);
            let _ = stream.write_all(get(address).as_bytes());
            let mut answered = Vec::new();
            let _ = stream.read_to_end(&mut answered);
            assert!(answered.is_empty(), "{content:?}: {answered:?}");
        }
        thread::sleep(Duration::from_millis(1_100));
        fs::write(&token.0, "third").unwrap();
        assert!(ask("third").starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn what_keeps_the_endpoint_from_serving_is_told() {
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    let none = || LatestReadings::new(host(), false);
    let error = PrometheusServer::bind(address, none(), Access::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("give another address"),
        "{text}"
    );
    let access = Access {
        token: Some("/dev/null".into()),
        ..Access::default()
    };
    let text = PrometheusServer::bind(address, none(), access)
        .unwrap_err()
        .to_string();
    let expected = "/dev/null: it is a device, not a regular file; name another file";
    assert!(text.ends_with(expected), "{text}");
}
