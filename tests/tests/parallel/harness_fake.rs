//! The harness itself, without kevmon: the scripted receiver does what its behaviours say, to clients that are not
//! ours (tonic's generated ones, and plain HTTP).

use std::time::{Duration, Instant};

use kevmon_tests::{
    fake::{Behaviour, Fake, Message, Signal, Transport},
    http::Client,
    known,
    points::Number,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::logs_service_client::LogsServiceClient,
    metrics::v1::{ExportMetricsServiceResponse, metrics_service_client::MetricsServiceClient},
    trace::v1::trace_service_client::TraceServiceClient,
};
use prost::Message as _;
use tonic::{Code, Status, codec::CompressionEncoding};

const TIME: u64 = 1_700_000_000_000_000_001;
const SHORT: Duration = Duration::from_millis(300);
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// One push of metrics over gRPC, on a connection of its own.
fn grpc(fake: &Fake, value: i64, gzip: bool) -> Result<ExportMetricsServiceResponse, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connected = MetricsServiceClient::connect(fake.url()).await;
        let mut client = connected.map_err(|error| Status::unknown(error.to_string()))?;
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let push = client.export(known::metrics(TIME, value));
        let answer = tokio::time::timeout(SHORT, push).await;
        answer
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
            .map(tonic::Response::into_inner)
    })
}

/// The same over HTTP; the status, the head and the body of the answer.
fn http(fake: &Fake, value: i64, gzip: bool) -> Option<(u16, String, Vec<u8>)> {
    let headers = if gzip { &[PROTOBUF, GZIP][..] } else { &[PROTOBUF] };
    let body = known::body(&known::metrics(TIME, value), gzip);
    let answer = Client::plain(fake.port()).post("/v1/metrics", headers, &body);
    answer
        .ok()
        .map(|response| (response.status, response.head.to_lowercase(), response.body))
}

#[test]
fn both_transports_with_and_without_gzip() {
    let fake = Fake::start();
    for (value, gzip) in [(1, false), (2, true)] {
        assert_eq!(grpc(&fake, value, gzip).unwrap().partial_success, None);
        let (status, _, body) = http(&fake, value + 10, gzip).unwrap();
        assert_eq!((status, body), (200, Vec::new()));
    }
    let arrivals = fake.arrivals();
    let told: Vec<_> = arrivals
        .iter()
        .map(|arrival| (arrival.transport, arrival.gzip, arrival.points()[0].value))
        .collect();
    assert_eq!(
        told,
        [
            (Transport::Grpc, false, Number::Int(1)),
            (Transport::Http, false, Number::Int(11)),
            (Transport::Grpc, true, Number::Int(2)),
            (Transport::Http, true, Number::Int(12)),
        ]
    );
    assert_eq!(fake.points().len(), 4);
    assert_eq!(arrivals[1].headers["content-type"], "application/x-protobuf");
    assert_eq!(fake.connections(), 4);
    assert!(arrivals[0].at.instant <= arrivals[3].at.instant);
}

#[test]
fn all_signals_and_those_that_are_not_known() {
    let push = |fake: &Fake| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut logs = LogsServiceClient::connect(fake.url()).await.unwrap();
            let mut traces = TraceServiceClient::connect(fake.url()).await.unwrap();
            let code = |result: Option<Status>| result.map(|status| status.code());
            (
                code(logs.export(known::logs(TIME)).await.err()),
                code(traces.export(known::traces(TIME)).await.err()),
            )
        })
    };
    let fake = Fake::start();
    assert_eq!(push(&fake), (None, None));
    let (logs, spans) = (fake.logs(), fake.spans());
    assert_eq!(
        (logs.len(), logs[0].event_name.as_str(), logs[0].time),
        (1, "kvt.event", TIME)
    );
    assert_eq!((spans.len(), spans[0].name.as_str()), (1, "kvt span"));
    assert_eq!(spans[0].end_time - spans[0].start_time, 7);

    let bare = Fake::start_without(&[Signal::Logs, Signal::Traces]);
    assert_eq!(
        push(&bare),
        (Some(Code::Unimplemented), Some(Code::Unimplemented))
    );
    let body = known::body(&known::logs(TIME), false);
    let answer = Client::plain(bare.port()).post("/v1/logs", &[PROTOBUF], &body);
    assert_eq!(answer.unwrap().status, 404);
    assert_eq!(http(&bare, 1, false).unwrap().0, 200, "metrics go on");
    assert!(bare.logs().is_empty() && bare.spans().is_empty());
    assert_eq!(bare.met(Behaviour::Unknown), 3);
}

#[test]
fn refusals_over_grpc() {
    let fake = Fake::start();
    for (behaviour, code) in [
        (Behaviour::Later(7), Code::Unavailable),
        (Behaviour::Unavailable, Code::Unavailable),
        (Behaviour::Invalid, Code::InvalidArgument),
        (Behaviour::Unauthenticated, Code::Unauthenticated),
    ] {
        fake.play(&[behaviour]);
        let status = grpc(&fake, 1, false).unwrap_err();
        assert_eq!(status.code(), code, "{behaviour:?}");
        // google.rpc.Status → Any → RetryInfo → Duration { seconds: 7 }.
        let has_delay = status.details().windows(4).any(|bytes| bytes == [0x0a, 2, 8, 7]);
        let named = b"google.rpc.RetryInfo";
        let has_name = status.details().windows(named.len()).any(|bytes| bytes == named);
        let expected = behaviour == Behaviour::Later(7);
        assert_eq!((has_delay, has_name), (expected, expected), "{behaviour:?}");
    }
    assert!(fake.points().is_empty());
    assert!(grpc(&fake, 1, false).is_ok(), "the script is over");
}

#[test]
fn refusals_over_http() {
    let fake = Fake::start();
    for (behaviour, status, delay) in [
        (Behaviour::Later(7), 429, true),
        (Behaviour::Unavailable, 503, false),
        (Behaviour::Invalid, 400, false),
        (Behaviour::Unauthenticated, 401, false),
    ] {
        fake.play(&[behaviour]);
        let (told, head, body) = http(&fake, 1, false).unwrap();
        assert_eq!(told, status, "{behaviour:?}");
        assert_eq!(head.contains("\r\nretry-after: 7"), delay, "{head}");
        assert!(!body.is_empty(), "a google.rpc.Status");
    }
    assert!(fake.points().is_empty());
}

#[test]
fn answers_that_are_half_right_or_none() {
    let fake = Fake::start();
    fake.play(&[Behaviour::Partial(3), Behaviour::Partial(3)]);
    let partial = grpc(&fake, 1, false).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 3);
    let (status, _, body) = http(&fake, 1, false).unwrap();
    let decoded = ExportMetricsServiceResponse::decode(&body[..]).unwrap();
    assert_eq!((status, decoded.partial_success), (200, Some(partial)));

    fake.play(&[Behaviour::Garbage, Behaviour::Garbage]);
    assert_eq!(grpc(&fake, 1, false).unwrap_err().code(), Code::Internal);
    let (status, _, body) = http(&fake, 1, false).unwrap();
    assert_eq!(status, 200);
    assert!(ExportMetricsServiceResponse::decode(&body[..]).is_err());
}

#[test]
fn connections_that_break_hang_or_make_noise() {
    let fake = Fake::start();
    for behaviour in [Behaviour::Reset, Behaviour::LoseAcknowledgement] {
        fake.always(behaviour);
        assert!(grpc(&fake, 1, false).is_err());
        assert!(http(&fake, 1, false).is_none());
    }
    assert_eq!(fake.points().len(), 2, "those without an acknowledgement");
    fake.always(Behaviour::Hang);
    assert_eq!(grpc(&fake, 1, false).unwrap_err().code(), Code::DeadlineExceeded);
    fake.always(Behaviour::Noise);
    assert!(grpc(&fake, 1, false).is_err());
    assert!(http(&fake, 1, false).is_none());
    fake.always(Behaviour::Accept);
    assert!(grpc(&fake, 1, false).is_ok());
}

#[test]
fn killed_and_started_again_on_its_port() {
    let mut fake = Fake::start();
    let port = fake.port();
    assert!(grpc(&fake, 1, false).is_ok());
    fake.always(Behaviour::Hang);
    let begin = Instant::now();
    let hanging = std::thread::spawn(move || {
        let body = known::body(&known::metrics(TIME, 2), false);
        Client::plain(port).post("/v1/metrics", &[PROTOBUF], &body)
    });
    fake.wait_for("the one that hangs", SHORT * 10, |arrivals| {
        (arrivals.len() == 2).then_some(())
    });
    fake.stop();
    assert!(hanging.join().unwrap().is_err());
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "its connection was closed"
    );
    assert!(grpc(&fake, 3, false).is_err());
    fake.always(Behaviour::Accept);
    fake.restart();
    assert_eq!(fake.port(), port);
    assert!(grpc(&fake, 4, false).is_ok());
    let values: Vec<Number> = fake.points().iter().map(|point| point.value).collect();
    assert_eq!(values, [Number::Int(1), Number::Int(4)]);
    assert!(matches!(fake.arrivals()[0].message, Message::Metrics(_)));
}

#[test]
#[should_panic(expected = "not OTLP")]
fn what_is_not_otlp_fails_the_test() {
    let fake = Fake::start();
    Client::plain(fake.port())
        .post("/v1/metrics", &[PROTOBUF], &[7, 7, 7])
        .unwrap();
    fake.arrivals();
}
