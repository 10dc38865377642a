//! Every way in which a server may answer, as a matrix: each answer has one expectation, and none makes kevmon send a
//! request without end while newer ones wait behind it, unless nothing has taken it.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use kevmon_tests::{
    answers::{Answer, Connection, Server},
    grpcio::{Grpcio, Played},
    telemetry::lane,
    watched::{Watched, run_for},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// How long collections are sent, one in half a second.
const TIME: Duration = Duration::from_secs(8);

/// What becomes of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Delivered, sent once.
    Once,
    /// Delivered, sent once; what was rejected of it is unknown, and counted.
    OnceUnread,
    /// Sent at most twice, then counted as delivered.
    Repeated,
    /// Cut in halves until it is taken.
    Split,
    /// Sent once, and counted as refused.
    Refused,
    /// The same, with a pause after each: whoever does not know the client may do so soon.
    RefusedSlowly,
    /// Not taken: it waits, with all that is newer.
    Kept,
}

/// Asserts that what was sent to `name`, each request so many times, and what the last line says of it are as expected.
fn check(name: &str, attempts: &[usize], lane: &Value, expected: Expected) {
    let number = |key: &str| lane[key].as_u64().unwrap_or_default();
    let refused = lane["lost"]["refused"].as_u64().unwrap_or_default();
    let most = attempts.iter().copied().max().unwrap_or_default();
    let told = format!("{name}, {expected:?}: attempts {attempts:?}; {lane}");
    let moves = attempts.len() >= 5 && number("waiting_requests") <= 2;
    let is_delivered = number("delivered") > 0 && refused == 0;
    let unread = number("unreadable_answers");
    match expected {
        Expected::Once => assert!(most == 1 && moves && is_delivered && unread == 0, "{told}"),
        Expected::OnceUnread => assert!(most == 1 && moves && is_delivered && unread > 0, "{told}"),
        Expected::Repeated => assert!(most == 2 && moves && is_delivered && unread > 0, "{told}"),
        Expected::Split => assert!(
            most == 1 && moves && is_delivered && attempts.len() > 10,
            "{told}"
        ),
        Expected::Refused => assert!(
            most == 1 && moves && number("delivered") == 0 && refused > 0,
            "{told}"
        ),
        Expected::RefusedSlowly => assert!(
            most == 1 && attempts.len() > 1 && number("delivered") == 0 && refused > 0,
            "{told}"
        ),
        Expected::Kept => assert!(
            attempts.len() == 1
                && number("delivered") == 0
                && refused == 0
                && number("waiting_requests") >= 5,
            "{told}"
        ),
    }
}

/// Runs kevmon with an endpoint for each name, URL and compression; returns the last line.
fn run(stem: &str, protocol: &str, endpoints: &[(String, String, &str)]) -> kevmon_tests::tick::Tick {
    let names: Vec<String> = endpoints.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let further = format!("[export]\nendpoints = [{}]\n", names.join(", "));
    let watched = Watched::new(WORKLOAD, stem, 2, "500ms", &further);
    let mut settings = "[telemetry]\nenabled = false\n".to_owned();
    for (name, url, compression) in endpoints {
        write!(
            settings,
            "[endpoints.{name}]\nendpoint = \"{url}\"\nprotocol = \"{protocol}\"\ntimeout = \"1s\"\n\
             compression = \"{compression}\"\n"
        )
        .expect("text");
    }
    let settings = watched.write_settings(&settings);
    let mut daemon = watched.start(&["--config", &settings]);
    run_for(&mut daemon, TIME);
    let last = daemon.ticks().last().expect("lines").clone();
    let said = daemon.stderr();
    assert!(!said.contains("panicked"), "{said}");
    daemon.terminate();
    last
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

fn answer(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(status, media_type, body)
}

/// Over HTTP: status × content type × encoding × body × size × connection.
fn http_cells() -> Vec<(Answer, Expected)> {
    use Expected::{Kept, Once, OnceUnread, Refused, RefusedSlowly, Repeated, Split};
    const PROTOBUF: &str = "application/x-protobuf";
    const HTML: &str = "text/html; charset=utf-8";
    let page = "<!doctype html><html><body>It works</body></html>";
    // A partial success without rejected items, and with a message of 100 kB.
    let long = [&[10, 0xa4, 0x8d, 6, 18, 0xa0, 0x8d, 6][..], &vec![b'x'; 100_000]].concat();
    let mut cells = vec![
        (answer(200, PROTOBUF, ""), Once),
        (answer(200, "", ""), Once),
        (answer(200, "application/json", "{}"), Once),
        (answer(200, "application/json", "{\"partialSuccess\":{}}"), Once),
        (
            answer(200, "application/json", gzip(b"{}")).with("content-encoding", "gzip"),
            Once,
        ),
        (answer(200, "text/plain", "OK"), Once),
        (answer(200, "", "OK"), Once),
        (answer(202, "text/plain", "accepted"), Once),
        (answer(204, "", ""), Once),
        (
            answer(200, PROTOBUF, gzip(b"")).with("content-encoding", "gzip"),
            Once,
        ),
        (answer(200, PROTOBUF, long), Once),
        (answer(200, PROTOBUF, b"\x07\x07".to_vec()), OnceUnread),
        (
            answer(200, PROTOBUF, "xx").with("content-encoding", "br"),
            OnceUnread,
        ),
        (answer(200, HTML, page), Kept),
        (
            answer(200, HTML, gzip(page.as_bytes())).with("content-encoding", "gzip"),
            Kept,
        ),
        (answer(200, "text/plain", page), Kept),
        (
            answer(302, "", "").with("location", "http://127.0.0.1:1/login"),
            Kept,
        ),
        (answer(308, HTML, page).with("location", "/elsewhere"), Kept),
        (answer(413, HTML, page), Refused),
        (answer(429, "", ""), Kept),
        (answer(503, HTML, page).with("retry-after", "1"), Kept),
        (
            answer(400, HTML, "400 No required SSL certificate was sent"),
            Kept,
        ),
        (answer(200, PROTOBUF, "").ending(Connection::Closes), Once),
        (answer(200, "", "OK").ending(Connection::ClosesSilently), Once),
        (
            answer(200, PROTOBUF, vec![0; 64]).ending(Connection::ResetsInBody),
            Repeated,
        ),
        (answer(200, "", "").ending(Connection::Resets), Kept),
        (answer(200, "", "").ending(Connection::HalfOpen), Kept),
        (
            Answer {
                largest: Some(9_000),
                ..answer(200, PROTOBUF, "")
            },
            Split,
        ),
    ];
    for status in [401, 403] {
        cells.push((answer(status, "text/plain", "no"), RefusedSlowly));
    }
    for status in [400, 404, 405, 415, 422, 500, 501] {
        cells.push((answer(status, "text/plain", "no"), Refused));
        cells.push((answer(status, "application/json", "{}"), Refused));
    }
    for status in [502, 504] {
        cells.push((answer(status, HTML, page), Kept));
    }
    cells
}

#[test]
fn every_answer_over_http_has_its_consequence() {
    let cells = http_cells();
    let servers: Vec<Server> = cells
        .iter()
        .map(|(answer, _)| Server::start(answer.clone()))
        .collect();
    let endpoints: Vec<(String, String, &str)> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| (format!("cell{index}"), server.url(), "none"))
        .collect();
    let last = run("cells", "http/protobuf", &endpoints);
    let mut wrong = Vec::new();
    for (index, ((answer, expected), server)) in cells.iter().zip(&servers).enumerate() {
        let name = format!("cell{index}");
        let lane = lane(&last, &name, "metrics");
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(30)]).into_owned();
        let what = format!(
            "{name}: {} {:?} {body:?} {:?}",
            answer.status, answer.headers, answer.connection
        );
        // All cells are named, not the first wrong one alone.
        let checked = std::panic::catch_unwind(|| check(&what, &server.attempts(), lane, *expected));
        if checked.is_err() {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Over gRPC: how the answer is compressed × how the request is, and each status with and without details.
#[test]
fn every_answer_of_grpcio_has_its_consequence() {
    use Expected::{Kept, Once, Refused, RefusedSlowly};
    let mut cells: Vec<(String, Played, &str, Expected)> = Vec::new();
    for answer in ["none", "gzip", "deflate"] {
        for request in ["none", "gzip"] {
            let played = Played {
                compression: answer,
                code: "OK",
                details: false,
            };
            cells.push((format!("{answer}-{request}"), played, request, Once));
        }
    }
    for (code, without, with) in [
        ("CANCELLED", Kept, Kept),
        ("UNKNOWN", Refused, Refused),
        ("INVALID_ARGUMENT", Refused, Refused),
        ("DEADLINE_EXCEEDED", Kept, Kept),
        ("NOT_FOUND", Refused, Refused),
        ("ALREADY_EXISTS", Refused, Refused),
        ("PERMISSION_DENIED", RefusedSlowly, RefusedSlowly),
        ("RESOURCE_EXHAUSTED", Refused, Kept),
        ("FAILED_PRECONDITION", Refused, Refused),
        ("ABORTED", Kept, Kept),
        ("OUT_OF_RANGE", Kept, Kept),
        ("UNIMPLEMENTED", Refused, Refused),
        ("INTERNAL", Refused, Refused),
        ("UNAVAILABLE", Kept, Kept),
        ("DATA_LOSS", Kept, Kept),
        ("UNAUTHENTICATED", RefusedSlowly, RefusedSlowly),
    ] {
        for (details, expected) in [(false, without), (true, with)] {
            let played = Played {
                compression: "gzip",
                code,
                details,
            };
            cells.push((format!("{code}-{details}"), played, "gzip", expected));
        }
    }
    let played: Vec<(String, Played)> = cells
        .iter()
        .map(|(name, played, ..)| (name.clone(), *played))
        .collect();
    let server = Grpcio::start(&played);
    let endpoints: Vec<(String, String, &str)> = cells
        .iter()
        .map(|(name, _, request, _)| (name.clone(), server.url(name), *request))
        .collect();
    let last = run("codes", "grpc", &endpoints);
    let wrong = cells.iter().filter(|(name, _, _, expected)| {
        let lane = lane(&last, name, "metrics");
        std::panic::catch_unwind(|| check(name, &server.attempts(name), lane, *expected)).is_err()
    });
    let wrong: Vec<&str> = wrong.map(|(name, ..)| name.as_str()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
