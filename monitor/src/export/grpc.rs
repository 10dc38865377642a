//! Sends requests to an OTLP receiver over gRPC.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
};
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use super::transport::connection::EncodedRequest;

/// An export did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is no valid address.
    #[error("{endpoint}: {source}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// Nobody answered.
    #[error(
        "{endpoint}: no OTLP receiver reached: {reason}; check host, port and that the receiver accepts OTLP over gRPC"
    )]
    Unreachable {
        /// As configured.
        endpoint: String,
        /// What the connection said.
        reason: String,
    },
    /// The receiver answered, and refused.
    #[error("{endpoint}: the receiver refused the export: {code:?}: {message}")]
    Refused {
        /// As configured.
        endpoint: String,
        /// gRPC status.
        code: tonic::Code,
        /// What it said.
        message: String,
    },
    /// The receiver took some points or records only.
    #[error("{endpoint}: the receiver rejected {rejected} {what}: {message}")]
    Partial {
        /// As configured.
        endpoint: String,
        /// How many.
        rejected: i64,
        /// Of what.
        what: &'static str,
        /// What it said.
        message: String,
    },
    /// The receiver has no service for logs; sending more is no use.
    #[error(
        "{endpoint}: the receiver takes no logs, so no lifecycle events are sent to it; metrics go on; \
         let it receive OTLP logs, or write [events] enabled = false in the plugins"
    )]
    NoLogs {
        /// As configured.
        endpoint: String,
    },
}

impl ExportError {
    /// How many of a request's `records` the receiver has refused for good; `None` when they may be sent again.
    /// OTLP's specification forbids it after a partial success ("Partial Success"), and what the receiver calls an
    /// invalid argument it will call so again. After any other refusal, the next tick may find it mended.
    pub fn rejected_logs(&self, records: u64) -> Option<u64> {
        match self {
            Self::Partial { rejected, .. } => Some(u64::try_from(*rejected).map_or(0, |n| n.min(records))),
            Self::Refused {
                code: tonic::Code::InvalidArgument,
                ..
            } => Some(records),
            _ => None,
        }
    }
}

/// A connection to one receiver; made when first needed, and anew when it breaks.
#[derive(Debug, Clone)]
pub struct Exporter {
    endpoint: String,
    client: Grpc<Channel>,
}

/// Messages as bytes, both ways.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

impl Exporter {
    /// To `endpoint`, as `http://host:port`. Does not connect yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// `endpoint` is no address.
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Self, ExportError> {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|source| ExportError::Endpoint {
                endpoint: endpoint.to_owned(),
                source,
            })?
            .connect_timeout(timeout)
            .timeout(timeout)
            .connect_lazy();
        Ok(Self {
            endpoint: endpoint.to_owned(),
            client: Grpc::new(channel),
        })
    }

    /// Where to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn unary<T: Message + Default>(&mut self, path: &'static str, body: Bytes) -> Result<T, Status> {
        let ready = self.client.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let response = self.client.unary(Request::new(body), path, Encoded).await?;
        T::decode(response.into_inner()).map_err(|error| Status::internal(error.to_string()))
    }

    /// Sends one request after the other, until one fails.
    ///
    /// # Errors
    /// Not reached, refused, or taken in part.
    pub async fn export_all(&mut self, requests: Vec<EncodedRequest>) -> Result<(), ExportError> {
        for request in requests {
            self.export(request.body).await?;
        }
        Ok(())
    }

    /// Sends one request. Every number is cumulative, so one that is lost is made good by the next.
    ///
    /// # Errors
    /// Not reached, refused, or taken in part.
    pub async fn export(&mut self, body: Bytes) -> Result<(), ExportError> {
        const PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        match self.unary::<ExportMetricsServiceResponse>(PATH, body).await {
            Ok(response) => match response.partial_success {
                Some(partial) => {
                    self.partial(partial.rejected_data_points, "data points", partial.error_message)
                }
                None => Ok(()),
            },
            Err(status) => Err(self.failed(&status)),
        }
    }

    /// Sends one request of log records. One that is lost is not made good by the next: see
    /// [`ExportError::rejected_logs`].
    ///
    /// # Errors
    /// Not reached, refused, or taken in part; [`ExportError::NoLogs`] when the receiver has no use for any.
    pub async fn export_logs(&mut self, body: Bytes) -> Result<(), ExportError> {
        const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        match self.unary::<ExportLogsServiceResponse>(PATH, body).await {
            Ok(response) => match response.partial_success {
                Some(partial) => {
                    self.partial(partial.rejected_log_records, "log records", partial.error_message)
                }
                None => Ok(()),
            },
            Err(status) if status.code() == tonic::Code::Unimplemented => Err(ExportError::NoLogs {
                endpoint: self.endpoint.clone(),
            }),
            Err(status) => Err(self.failed(&status)),
        }
    }

    /// A partial success that rejects nothing is a warning at most (OTLP's specification, "Partial Success").
    fn partial(&self, rejected: i64, what: &'static str, message: String) -> Result<(), ExportError> {
        if rejected <= 0 {
            return Ok(());
        }
        Err(ExportError::Partial {
            endpoint: self.endpoint.clone(),
            rejected,
            what,
            message,
        })
    }

    fn failed(&self, status: &tonic::Status) -> ExportError {
        let endpoint = self.endpoint.clone();
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
                ExportError::Unreachable {
                    endpoint,
                    reason: reason(status),
                }
            }
            code => ExportError::Refused {
                endpoint,
                code,
                message: status.message().to_owned(),
            },
        }
    }
}

/// tonic's status says "transport error"; the innermost cause says why.
fn reason(status: &tonic::Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if std::ptr::addr_eq(innermost, status) {
        status.message().to_owned()
    } else {
        innermost.to_string()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        net::SocketAddr,
        sync::{Arc, Mutex},
    };

    use opentelemetry_proto::tonic::collector::{
        logs::v1::{
            ExportLogsPartialSuccess, ExportLogsServiceRequest,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
    };
    use tonic::{
        Request, Response, Status,
        transport::{Server, server::TcpIncoming},
    };

    use super::*;

    struct Receiver;

    #[tonic::async_trait]
    impl MetricsService for Receiver {
        async fn export(
            &self,
            _: Request<ExportMetricsServiceRequest>,
        ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
            Ok(Response::new(ExportMetricsServiceResponse::default()))
        }
    }

    /// Keeps the times of the events that it is told, once `refusals` are used up.
    #[derive(Clone, Default)]
    pub(crate) struct Listener {
        pub(crate) refusals: Arc<Mutex<Vec<tonic::Code>>>,
        pub(crate) told: Arc<Mutex<Vec<u64>>>,
    }

    impl Listener {
        /// Listens on `address` as long as `test` runs.
        pub(crate) async fn during(&self, address: SocketAddr, test: impl Future<Output = ()>) {
            let server = Server::builder()
                .add_service(MetricsServiceServer::new(Receiver))
                .add_service(LogsServiceServer::new(self.clone()))
                .serve_with_incoming(TcpIncoming::bind(address).expect("a free port"));
            tokio::select! {
                result = server => panic!("the receiver ended: {result:?}"),
                () = test => {}
            }
        }
    }

    #[tonic::async_trait]
    impl LogsService for Listener {
        async fn export(
            &self,
            request: Request<ExportLogsServiceRequest>,
        ) -> Result<Response<ExportLogsServiceResponse>, Status> {
            if let Some(code) = self.refusals.lock().unwrap().pop() {
                return Err(Status::new(code, "not now"));
            }
            let resources = request.into_inner().resource_logs;
            let records = resources.iter().flat_map(|of| &of.scope_logs[0].log_records);
            self.told
                .lock()
                .unwrap()
                .extend(records.map(|record| record.time_unix_nano));
            Ok(Response::new(ExportLogsServiceResponse::default()))
        }
    }

    /// Takes requests with resources, rejects part of those without.
    #[tonic::async_trait]
    impl LogsService for Receiver {
        async fn export(
            &self,
            request: Request<ExportLogsServiceRequest>,
        ) -> Result<Response<ExportLogsServiceResponse>, Status> {
            let rejected_log_records = if request.into_inner().resource_logs.is_empty() {
                3
            } else {
                0
            };
            Ok(Response::new(ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records,
                    error_message: "why".to_owned(),
                }),
            }))
        }
    }

    /// Runs `test` against a receiver on a free port, which takes logs or does not.
    fn with_receiver<F: Future<Output = ()>>(takes_logs: bool, test: impl FnOnce(Exporter) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
            let endpoint = format!("http://{}", incoming.local_addr().expect("bound"));
            let server = Server::builder()
                .add_service(MetricsServiceServer::new(Receiver))
                .add_optional_service(takes_logs.then(|| LogsServiceServer::new(Receiver)))
                .serve_with_incoming(incoming);
            let exporter = Exporter::new(&endpoint, Duration::from_secs(10)).expect("an address");
            tokio::select! {
                result = server => panic!("the receiver ended: {result:?}"),
                () = test(exporter) => {}
            }
        });
    }

    #[test]
    fn a_receiver_without_logs_is_told_from_one_that_refuses() {
        with_receiver(false, |mut exporter| async move {
            let refused = exporter.export_logs(Bytes::new()).await;
            let Err(error @ ExportError::NoLogs { .. }) = refused else {
                panic!("{refused:?}")
            };
            assert!(
                error
                    .to_string()
                    .contains("metrics go on; let it receive OTLP logs"),
                "{error}"
            );
            exporter.export(Bytes::new()).await.expect("metrics go on");
        });
    }

    #[test]
    fn only_what_is_wrong_in_itself_is_not_sent_again() {
        let refused = |code| ExportError::Refused {
            endpoint: String::new(),
            code,
            message: String::new(),
        };
        for (code, rejected) in [
            (tonic::Code::InvalidArgument, Some(5)),
            (tonic::Code::ResourceExhausted, None),
            (tonic::Code::Internal, None),
            (tonic::Code::PermissionDenied, None),
        ] {
            assert_eq!(refused(code).rejected_logs(5), rejected, "{code:?}");
        }
        let away = ExportError::Unreachable {
            endpoint: String::new(),
            reason: String::new(),
        };
        assert_eq!(away.rejected_logs(5), None);
    }

    #[test]
    fn logs_taken_in_part_are_an_error_and_a_remark_is_none() {
        with_receiver(true, |mut exporter| async move {
            let some = ExportLogsServiceRequest {
                resource_logs: vec![Default::default()],
            };
            exporter
                .export_logs(some.encode_to_vec().into())
                .await
                .expect("nothing was rejected");
            let error = exporter.export_logs(Bytes::new()).await.expect_err("three were");
            assert_eq!(
                (error.rejected_logs(9), error.rejected_logs(2)),
                (Some(3), Some(2))
            );
            assert!(
                error
                    .to_string()
                    .ends_with("the receiver rejected 3 log records: why"),
                "{error}"
            );
        });
    }
}
