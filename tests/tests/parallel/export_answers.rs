//! Every way in which a server may answer, as a matrix: each answer has one expectation, and none makes kevmon send a
//! request without end while newer ones wait behind it, unless nothing has taken it.

use std::io::Write as _;

use kevmon_tests::{
    answers::{Answer, Connection, Server},
    grpcio::{Grpcio, Played},
    matrix::{Endpoint, Expected, holds, run},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
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
    let endpoints: Vec<Endpoint> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| Endpoint {
            name: format!("cell{index}"),
            url: server.url(),
            protocol: "http/protobuf",
            compression: "none",
            further: String::new(),
        })
        .collect();
    let last = run(WORKLOAD, "cells", &endpoints);
    let mut wrong = Vec::new();
    for (index, ((answer, expected), server)) in cells.iter().zip(&servers).enumerate() {
        let name = format!("cell{index}");
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(30)]).into_owned();
        let what = format!(
            "{name}: {} {:?} {body:?} {:?}",
            answer.status, answer.headers, answer.connection
        );
        if !holds(&what, &name, &server.attempts(), &last, *expected) {
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
                age: None,
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
                age: None,
            };
            cells.push((format!("{code}-{details}"), played, "gzip", expected));
        }
    }
    let played: Vec<(String, Played)> = cells
        .iter()
        .map(|(name, played, ..)| (name.clone(), *played))
        .collect();
    let server = Grpcio::start(&played);
    let endpoints: Vec<Endpoint> = cells
        .iter()
        .map(|(name, _, request, _)| Endpoint {
            name: name.clone(),
            url: server.url(name),
            protocol: "grpc",
            compression: request,
            further: String::new(),
        })
        .collect();
    let last = run(WORKLOAD, "codes", &endpoints);
    let wrong = cells
        .iter()
        .filter(|(name, _, _, expected)| !holds(name, name, &server.attempts(name), &last, *expected));
    let wrong: Vec<&str> = wrong.map(|(name, ..)| name.as_str()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
