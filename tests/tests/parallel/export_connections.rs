//! Every way in which a server may end a stream or a connection, as a matrix: a request that a server has not processed is
//! sent again and arrives, one that it has answered is not repeated, and one without an answer waits.

use std::time::Duration;

use kevmon_tests::{
    answers::{self, Answer, Connection},
    answers_http2::{self, Manner, Often},
    certificates::{Authority, Purpose, Validity},
    grpcio::{Grpcio, Played},
    matrix::{Endpoint, Expected, holds, run},
    nginx::{Nginx, Upstream},
    scratch::Scratch,
    telemetry::lane,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// An ExportMetricsServiceResponse with an empty partial success.
const EMPTY_SUCCESS: [u8; 2] = [10, 0];

fn endpoint(name: &str, url: String, protocol: &'static str) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        url,
        protocol,
        compression: "none",
        further: String::new(),
    }
}

/// Over HTTP/1.1, as in the matrix of answers, but for how the connection ends.
const HTTP: [(Connection, Expected); 9] = [
    (Connection::Stays, Expected::Once),
    (Connection::Closes, Expected::Once),
    (Connection::ClosesSilently, Expected::Once),
    (Connection::ResetsWhenIdle, Expected::Once),
    (Connection::TimesOutWhenIdle, Expected::Once),
    (Connection::Dies, Expected::Once),
    (Connection::Resets, Expected::Kept),
    (Connection::ResetsInBody, Expected::Repeated),
    (Connection::HalfOpen, Expected::Kept),
];

/// Over HTTP/2, with gRPC.
const GRPC: [(Manner, Expected); 17] = [
    (Manner::Answers, Expected::Once),
    (Manner::AnswersWithoutMessage, Expected::Repeated),
    (Manner::GoawayAfterAnswer, Expected::Once),
    (Manner::GoawayBeforeAnswer, Expected::Once),
    (Manner::GoawayUnprocessed(Often::EverySecond), Expected::Once),
    (
        Manner::GoawayUnprocessed(Often::Always),
        Expected::KeptUnprocessed,
    ),
    (Manner::GoawayUnanswered, Expected::Kept),
    (Manner::Refuses(Often::EverySecond), Expected::Once),
    (Manner::Refuses(Often::Always), Expected::KeptUnprocessed),
    (Manner::ResetsStream, Expected::Kept),
    (Manner::ResetsStreamInAnswer, Expected::Kept),
    (Manner::ResetsStreamAfterAnswer, Expected::Once),
    (Manner::Resets, Expected::Kept),
    (Manner::ResetsWhenIdle, Expected::Once),
    (Manner::ClosesWhenIdle, Expected::Once),
    (Manner::HalfOpen, Expected::Kept),
    (Manner::Dies, Expected::Once),
];

#[test]
fn every_end_of_a_connection_has_its_consequence() {
    let answer = Answer::new(200, "application/x-protobuf", EMPTY_SUCCESS);
    let http = HTTP.map(|(connection, _)| answers::Server::start(answer.clone().ending(connection)));
    let grpc = GRPC.map(|(manner, _)| answers_http2::Server::start(manner));
    let http_names: Vec<String> = (0..http.len()).map(|index| format!("http{index}")).collect();
    let grpc_names: Vec<String> = (0..grpc.len()).map(|index| format!("grpc{index}")).collect();
    let over_http = http_names
        .iter()
        .zip(&http)
        .map(|(name, server)| endpoint(name, server.url(), "http/protobuf"));
    let over_grpc = grpc_names
        .iter()
        .zip(&grpc)
        .map(|(name, server)| endpoint(name, server.url(), "grpc"));
    let endpoints: Vec<Endpoint> = over_http.chain(over_grpc).collect();
    let last = run(WORKLOAD, "ends", &endpoints);

    let mut wrong = Vec::new();
    for ((name, server), (connection, expected)) in http_names.iter().zip(&http).zip(HTTP) {
        let what = format!("{name}: {connection:?}");
        if !holds(&what, name, &server.attempts(), &last, expected) {
            wrong.push(what);
        }
    }
    for ((name, server), (manner, expected)) in grpc_names.iter().zip(&grpc).zip(GRPC) {
        let what = format!("{name}: {manner:?}");
        let mut is_right = holds(&what, name, &server.attempts(), &last, expected);
        // A request of which the server says that it was not processed cannot become a duplicate, and does not count as one.
        if matches!(manner, Manner::GoawayUnprocessed(_) | Manner::Refuses(_)) {
            let lane = lane(&last, name, "metrics");
            is_right &= server.requests() > server.attempts().len() && lane["repeated"] == 0;
        }
        if !is_right {
            wrong.push(format!("{what}: {} requests", server.requests()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// grpcio, whose connections reach their age (GOAWAY), and nginx, which ends a connection after some requests: with a GOAWAY
/// over HTTP/2, both for gRPC and for HTTP, and with a close over HTTP/1.1.
#[test]
fn connections_that_real_servers_end_lose_and_repeat_nothing() {
    let folder = Scratch::new();
    let authority = Authority::new(folder.path(), "authority");
    let identity = authority.sign(folder.path(), "server", Purpose::Server, Validity::Now);
    let played = |age| Played {
        compression: "gzip",
        code: "OK",
        details: false,
        age,
    };
    let grpcio = Grpcio::start(&[
        ("aged".to_owned(), played(Some(Duration::from_millis(700)))),
        ("young".to_owned(), played(None)),
    ]);
    let port = |url: &str| url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
    let http = answers::Server::start(Answer::new(200, "application/x-protobuf", ""));
    let nginx = |upstream| Nginx::start_with(upstream, &identity, None, "keepalive_requests 2;");
    let before_grpc = nginx(Upstream::Grpc(port(&grpcio.url("young"))));
    let before_http = nginx(Upstream::Http(port(&http.url())));
    let trusted = format!("ca_file = \"{}\"", authority.file().display());
    let endpoints = [
        endpoint("aged", grpcio.url("aged"), "grpc"),
        Endpoint {
            further: trusted.clone(),
            ..endpoint("young", before_grpc.url(), "grpc")
        },
        Endpoint {
            further: trusted,
            ..endpoint("http", before_http.url(), "http/protobuf")
        },
    ];
    let last = run(WORKLOAD, "aged", &endpoints);
    for (name, attempts) in [
        ("aged", grpcio.attempts("aged")),
        ("young", grpcio.attempts("young")),
        ("http", http.attempts()),
    ] {
        assert!(holds(name, name, &attempts, &last, Expected::Once), "{name}");
        assert_eq!(lane(&last, name, "metrics")["repeated"], 0, "{name}: {}", last.0);
    }
}
