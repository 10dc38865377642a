//! OTLP over HTTP.

use std::{io::Read, sync::Arc, time::Duration};

use flate2::read::GzDecoder;
use http::{Response, Version};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;

use super::{
    body, failed, over_http, plain,
    servers::{Endless, Receiver, Reply, reply},
};
use crate::export::transport::{
    Accepted, Failure, Retry, Transport,
    answer::RpcStatus,
    connection::{Protocol, Signal},
};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn answering(answer: impl Fn() -> Reply + Send + Sync + 'static) -> Receiver {
    Receiver::start(false, None, move |_| answer()).await
}

#[tokio::test]
async fn a_request_arrives_as_it_is() {
    let receiver = answering(|| reply(200, &[PROTOBUF], "")).await;
    let mut transport = over_http(receiver.address);
    for _ in 0..3 {
        assert_eq!(transport.send(body(5)).await.unwrap(), Accepted::default());
    }
    let received = receiver.received();
    assert_eq!(
        (received.len(), receiver.connections()),
        (3, 1),
        "the connection is kept"
    );
    let first = &received[0];
    assert_eq!(
        (first.version, first.path.as_str()),
        (Version::HTTP_11, "/v1/metrics")
    );
    assert_eq!(first.body, body(5));
    assert_eq!(first.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(first.header("content-encoding"), None);
    assert_eq!(first.header("host"), Some(receiver.address.to_string().as_str()));
    let agent = concat!("OTel-OTLP-Exporter-kevmon/", env!("CARGO_PKG_VERSION"));
    assert_eq!(first.header("user-agent"), Some(agent));
}

#[tokio::test]
async fn gzip_is_on_the_wire() {
    let receiver = answering(|| reply(200, &[PROTOBUF], "")).await;
    let mut connection = plain(
        format!("http://{}/v1/metrics", receiver.address),
        Protocol::HttpProtobuf,
    );
    connection.gzip = true;
    let mut transport = Transport::new(connection, Signal::Metrics);
    // More than is compressed at a time.
    let sent = body(20_000);
    transport.send(sent.clone()).await.unwrap();
    let received = &receiver.received()[0];
    assert_eq!(received.header("content-encoding"), Some("gzip"));
    assert!(
        received.body.len() < sent.len() / 10,
        "{} bytes",
        received.body.len()
    );
    let mut plain = Vec::new();
    GzDecoder::new(received.body.as_ref())
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, sent);
}

#[tokio::test]
async fn partial_success_of_every_signal() {
    let message = |rejected| match rejected {
        0 => "by the way\n".to_owned(),
        _ => "too old".to_owned(),
    };
    for rejected in [0, 3, -1] {
        let error_message = message(rejected);
        let metrics = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message: error_message.clone(),
            }),
        };
        let logs = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: error_message.clone(),
            }),
        };
        let traces = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: error_message.clone(),
            }),
        };
        for (signal, response) in [
            (Signal::Metrics, metrics.encode_to_vec()),
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Traces, traces.encode_to_vec()),
        ] {
            let receiver = answering(move || reply(200, &[PROTOBUF], response.clone())).await;
            let url = format!("http://{}/", receiver.address);
            let mut transport = Transport::new(plain(url, Protocol::HttpProtobuf), signal);
            let accepted = transport.send(body(1)).await.unwrap();
            assert_eq!(accepted.rejected, rejected.max(0).unsigned_abs(), "{signal:?}");
            assert_eq!(accepted.remark, error_message.trim(), "{signal:?}");
        }
    }
}

#[tokio::test]
async fn refusals_say_what_the_receiver_said() {
    let status = RpcStatus {
        message: "metric x is bad\u{7}".to_owned(),
        details: Vec::new(),
    };
    let status = Arc::new(status.encode_to_vec());
    let as_protobuf = Arc::clone(&status);
    let receiver = answering(move || reply(400, &[PROTOBUF], as_protobuf.to_vec())).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &[
            "http://127.0.0.1:",
            "/v1/metrics: the receiver answers 400 Bad Request: metric x is bad\\u{7}; it is not sent again",
        ],
    );
    assert_eq!((error.failure(), error.retry()), (Failure::Refused, Retry::Never));

    let long = "x".repeat(100_000);
    let receiver = answering(move || reply(413, &[("content-type", "text/plain")], long.clone())).await;
    let error = failed(over_http(receiver.address).send(body(1)).await, &["413 ", "xxx…"]);
    assert!(error.to_string().len() < 800, "{} bytes", error.to_string().len());

    let receiver = answering(|| reply(500, &[("content-type", "text/html")], "<html>")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &["500 Internal Server Error; "],
    );
    assert_eq!(error.retry(), Retry::Never);

    let receiver = answering(|| reply(401, &[], "who are you?")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &[
            "401 Unauthorized: who are you?; ",
            "headers",
            "certificate_file, key_file",
        ],
    );
    assert!(error.is_unauthorized());

    let receiver = answering(|| reply(404, &[], "")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &["404 Not Found; check the path"],
    );
    assert!(error.is_unsupported());

    let receiver = answering(|| reply(429, &[("retry-after", "11")], "")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &["429 Too Many Requests"],
    );
    assert_eq!(error.retry(), Retry::After(Some(Duration::from_secs(11))));
    assert!(!error.may_have_arrived());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = answering(|| reply(200, &[PROTOBUF], "")).await;
    let location = format!("http://{}/there?key=secret", other.address);
    let receiver = answering(move || reply(307, &[("location", &location)], "")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &[
            "redirects to http://127.0.0.1:",
            "/there (307), and redirects are not followed; set the address",
        ],
    );
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(error.retry(), Retry::After(None), "it is kept");
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn a_web_page_is_named_with_its_address() {
    let receiver = answering(|| reply(200, &[("content-type", "text/html; charset=utf-8")], "<html>")).await;
    let error = failed(
        over_http(receiver.address).send(body(1)).await,
        &["/v1/metrics: a web page answers (200 OK), no OTLP receiver; check the address"],
    );
    assert_eq!(error.retry(), Retry::After(None), "it is kept");
}

#[tokio::test]
async fn a_success_with_a_long_or_broken_body_is_a_success() {
    let message = "x".repeat(100_000);
    let partial = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 3,
            error_message: message,
        }),
    };
    let bytes = partial.encode_to_vec();
    let receiver = answering(move || reply(200, &[PROTOBUF], bytes.clone())).await;
    let accepted = over_http(receiver.address).send(body(1)).await.unwrap();
    assert_eq!(accepted.rejected, 3);
    assert!(accepted.remark.starts_with("xxx"), "{}", accepted.remark);

    let receiver = answering(|| {
        let mut reply = Response::new(Endless.boxed_unsync());
        reply
            .headers_mut()
            .insert("content-type", "application/x-protobuf".parse().unwrap());
        reply
    })
    .await;
    let accepted = over_http(receiver.address).send(body(1)).await.unwrap();
    assert!(accepted.unread, "{accepted:?}");

    let address = super::servers::tcp(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .await;
    })
    .await;
    let error = failed(over_http(address).send(body(1)).await, &["broke off"]);
    assert!(error.is_unreadable() && error.is_confirmed(), "{error}");
}

#[tokio::test]
async fn a_connection_that_the_receiver_ended_meanwhile_is_made_anew() {
    let receiver = answering(|| reply(200, &[PROTOBUF], "")).await;
    let mut transport = over_http(receiver.address);
    transport.send(body(1)).await.unwrap();
    receiver.restart(None).await;
    transport.send(body(2)).await.unwrap();
    assert_eq!((receiver.received().len(), receiver.connections()), (2, 2));
}
