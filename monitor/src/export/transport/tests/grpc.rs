//! OTLP over gRPC.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};

use super::{
    body, failed, over_grpc, over_http, plain, request,
    servers::{Endless, Receiver, grpc_reply, reply, tcp},
};
use crate::export::transport::{
    Accepted, Failure, Retry, SendError, Transport,
    answer::{Any, RpcStatus},
    connection::{Protocol, Signal},
    grpc::{Delay, RetryInfo},
};

type Outcome = Result<ExportMetricsServiceResponse, Status>;

/// tonic's server: decodes what it gets, and answers with `outcome`.
#[derive(Clone)]
struct Service {
    outcome: Outcome,
    received: Arc<Mutex<Vec<(MetadataMap, ExportMetricsServiceRequest)>>>,
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        self.received
            .lock()
            .unwrap()
            .push((metadata, request.into_inner()));
        self.outcome.clone().map(tonic::Response::new)
    }
}

/// Metrics are taken, and nothing else.
fn tonic_server(outcome: Outcome) -> (SocketAddr, Service) {
    let service = Service {
        outcome,
        received: Arc::default(),
    };
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = incoming.local_addr().expect("bound");
    let metrics = MetricsServiceServer::new(service.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(64 << 20);
    tokio::spawn(
        Server::builder()
            .add_service(metrics)
            .serve_with_incoming(incoming),
    );
    (address, service)
}

async fn refused(status: Status) -> SendError {
    let (address, _) = tonic_server(Err(status));
    over_grpc(address).send(body(1)).await.expect_err("refused")
}

#[tokio::test]
async fn a_request_arrives_as_it_is() {
    let (address, service) = tonic_server(Ok(Default::default()));
    let mut transport = over_grpc(address);
    // Larger than any window of HTTP/2 at its beginning.
    for count in [0, 3, 40_000] {
        assert_eq!(transport.send(body(count)).await.unwrap(), Accepted::default());
        let (metadata, received) = service.received.lock().unwrap().pop().expect("received");
        assert_eq!(received, request(count));
        let of = |name| metadata.get(name).map(|value| value.to_str().unwrap().to_owned());
        let agent = concat!("OTel-OTLP-Exporter-kevmon/", env!("CARGO_PKG_VERSION"));
        assert_eq!(of("user-agent").as_deref(), Some(agent));
        assert_eq!(of("grpc-encoding"), None);
        let timeout = of("grpc-timeout").expect("sent along");
        let millis: u64 = timeout.trim_end_matches('m').parse().unwrap();
        assert!((9_000..=10_000).contains(&millis), "{timeout}");
    }
}

#[tokio::test]
async fn gzip_is_decoded_by_the_server_and_on_the_wire() {
    let sent = body(20_000);
    let gzip = |address: SocketAddr| {
        let mut connection = plain(format!("http://{address}"), Protocol::Grpc);
        connection.gzip = true;
        Transport::new(connection, Signal::Metrics)
    };
    let (address, service) = tonic_server(Ok(Default::default()));
    gzip(address).send(sent.clone()).await.unwrap();
    assert_eq!(service.received.lock().unwrap()[0].1, request(20_000));

    let receiver = Receiver::start(true, None, |_| grpc_reply(&[0; 5][..], &[("grpc-status", "0")])).await;
    gzip(receiver.address).send(sent.clone()).await.unwrap();
    let received = &receiver.received()[0];
    assert_eq!(received.header("grpc-encoding"), Some("gzip"));
    assert_eq!(received.header("te"), Some("trailers"));
    assert_eq!(received.header("content-type"), Some("application/grpc"));
    assert_eq!(received.body[0], 1, "the flag says compressed");
    assert!(
        received.body.len() < sent.len() / 10,
        "{} bytes",
        received.body.len()
    );
}

#[tokio::test]
async fn every_signal_has_its_service() {
    let receiver = Receiver::start(true, None, |_| grpc_reply(&[0; 5][..], &[("grpc-status", "0")])).await;
    for (signal, path) in [
        (
            Signal::Metrics,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        ),
        (
            Signal::Logs,
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        ),
        (
            Signal::Traces,
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ),
    ] {
        let url = format!("http://{}", receiver.address);
        let mut transport = Transport::new(plain(url, Protocol::Grpc), signal);
        transport.send(body(1)).await.unwrap();
        transport.send(body(1)).await.unwrap();
        assert_eq!(receiver.received().last().unwrap().path, path);
    }
    assert_eq!(receiver.connections(), 3, "each connection is kept");
}

#[tokio::test]
async fn partial_success_and_remarks() {
    for (rejected, message) in [(3, "too old"), (0, "by the way")] {
        let (address, _) = tonic_server(Ok(ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message: message.to_owned(),
            }),
        }));
        let accepted = over_grpc(address).send(body(1)).await.unwrap();
        assert_eq!(
            (accepted.rejected, accepted.remark.as_str()),
            (rejected.unsigned_abs(), message)
        );
    }
}

#[tokio::test]
async fn refusals_by_tonics_server() {
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo {
            retry_delay: Some(Delay { seconds: 5, nanos: 0 }),
        }
        .encode_to_vec(),
    };
    let details = RpcStatus {
        message: String::new(),
        details: vec![any],
    };
    let details = Bytes::from(details.encode_to_vec());
    let error = refused(Status::with_details(Code::Unavailable, "over\tloaded", details)).await;
    assert_eq!(error.retry(), Retry::After(Some(Duration::from_secs(5))));
    assert!(
        error
            .to_string()
            .contains(": the receiver answers UNAVAILABLE: over\\tloaded; it is sent again"),
        "{error}"
    );

    let error = refused(Status::invalid_argument("bad")).await;
    assert_eq!((error.failure(), error.retry()), (Failure::Refused, Retry::Never));
    assert!(!error.may_have_arrived());

    let error = refused(Status::unauthenticated("who are you?")).await;
    assert!(
        error.is_unauthorized() && error.to_string().contains("certificate_file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_receiver_without_the_service_is_named_so() {
    let (address, _) = tonic_server(Ok(Default::default()));
    let mut logs = Transport::new(plain(format!("http://{address}"), Protocol::Grpc), Signal::Logs);
    let error = failed(
        logs.send(Bytes::new()).await,
        &["UNIMPLEMENTED", "or send it none"],
    );
    assert!(error.is_unsupported());
    assert_eq!(error.retry(), Retry::Never);

    // An HTTP/2 server that knows no gRPC.
    let receiver = Receiver::start(true, None, |_| reply(404, &[], "nothing here")).await;
    let error = failed(
        over_grpc(receiver.address).send(body(1)).await,
        &["404 Not Found: nothing here; check the port"],
    );
    assert!(error.is_unsupported());
}

#[tokio::test]
async fn garbage_leaves_it_open_whether_it_was_taken() {
    let ok = [("grpc-status", "0")];
    let json = reply(200, &[("content-type", "application/json")], "{}");
    let mut endless = Response::new(Endless.boxed_unsync());
    endless
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let mut tail = ExportTraceServiceResponse::default().encode_to_vec();
    tail.extend([0; 9]);
    for (answer, words) in [
        (json, "\"application/json\", which is not gRPC"),
        (endless, "does not end within 16 MiB"),
        (grpc_reply("", &ok), "no gRPC message"),
        (grpc_reply(tail, &ok), "no gRPC message"),
        (grpc_reply(&[1, 0, 0, 0, 0][..], &ok), "none that it names"),
        (grpc_reply(&[2, 0, 0, 0, 0][..], &ok), "no gRPC message"),
        (grpc_reply(&[0, 0, 0, 0, 2, 7, 7][..], &ok), "no OTLP response"),
        (grpc_reply(&[0; 5][..], &[]), "ends without a status"),
    ] {
        let answer = Mutex::new(Some(answer));
        let receiver = Receiver::start(true, None, move |_| answer.lock().unwrap().take().unwrap()).await;
        let error = failed(over_grpc(receiver.address).send(body(1)).await, &[words]);
        assert_eq!(error.retry(), Retry::After(None), "{error}");
        assert!(error.may_have_arrived(), "{error}");
    }
}

/// grpc-go answers so to a request that is compressed, whatever it was told to accept.
#[tokio::test]
async fn an_answer_may_be_compressed() {
    let message = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 3,
            error_message: "too old".to_owned(),
        }),
    };
    let frame = |coding: &str, bytes: &[u8]| {
        let mut body = vec![1];
        body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        body.extend(bytes);
        let mut reply = grpc_reply(body, &[("grpc-status", "0")]);
        reply
            .headers_mut()
            .insert("grpc-encoding", coding.parse().unwrap());
        reply
    };
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    // A few kilobytes that stand for a gigabyte are not all read.
    let bomb = gzip(&[message.encode_to_vec(), vec![0; 8 << 20]].concat());
    for (answer, expected) in [
        (frame("gzip", &gzip(&message.encode_to_vec())), Ok((3, false))),
        (frame("gzip", &gzip(b"")), Ok((0, false))),
        (frame("gzip", &bomb), Ok((3, false))),
        (frame("snappy", b"xx"), Err(true)),
        (frame("gzip", b"xx"), Err(true)),
    ] {
        let answer = Mutex::new(Some(answer));
        let receiver = Receiver::start(true, None, move |_| answer.lock().unwrap().take().unwrap()).await;
        let answer = over_grpc(receiver.address).send(body(1)).await;
        let found = answer
            .map(|accepted| (accepted.rejected, accepted.unread))
            .map_err(|error| error.is_unreadable() && error.is_confirmed());
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_status_with_garbage_in_it_is_a_status() {
    for (code, expected) in [
        ("3", Failure::Refused),
        ("14", Failure::Busy),
        ("x", Failure::Refused),
    ] {
        let receiver = Receiver::start(true, None, move |_| {
            let trailers = [
                ("grpc-status", code),
                ("grpc-message", "%ff%zz"),
                ("grpc-status-details-bin", "!not base64!"),
            ];
            grpc_reply("", &trailers)
        })
        .await;
        let error = over_grpc(receiver.address)
            .send(body(1))
            .await
            .expect_err("refused");
        assert_eq!(error.failure(), expected, "{error}");
    }
}

#[tokio::test]
async fn the_wrong_port_is_told() {
    let address = tcp(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let error = failed(
        over_grpc(address).send(body(1)).await,
        &["HTTP/1, which is not gRPC", "set the protocol to http/protobuf"],
    );
    assert_eq!(
        (error.failure(), error.retry()),
        (Failure::Garbled, Retry::After(None))
    );
    assert!(error.may_have_arrived());

    // hyper's server closes without a word.
    let receiver = Receiver::start(false, None, |_| reply(200, &[], "")).await;
    let error = failed(
        over_grpc(receiver.address).send(body(1)).await,
        &["it may not be gRPC's"],
    );
    assert!(error.may_have_arrived());

    let (address, _) = tonic_server(Ok(Default::default()));
    // It may have said so before anything was sent to it.
    let error = failed(
        over_http(address).send(body(1)).await,
        &["set the protocol to grpc"],
    );
    assert_eq!(error.retry(), Retry::After(None));
}

#[tokio::test]
async fn a_connection_that_the_receiver_ended_meanwhile_is_made_anew() {
    let receiver = Receiver::start(true, None, |_| grpc_reply(&[0; 5][..], &[("grpc-status", "0")])).await;
    let mut transport = over_grpc(receiver.address);
    transport.send(body(1)).await.unwrap();
    receiver.restart(None).await;
    transport.send(body(1)).await.unwrap();
    assert_eq!((receiver.received().len(), receiver.connections()), (2, 2));
}
