//! Sends requests to an OTLP receiver over gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use tonic::transport::{Channel, Endpoint};

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
    /// The receiver took some points only.
    #[error("{endpoint}: the receiver rejected {rejected} data points: {message}")]
    Partial {
        /// As configured.
        endpoint: String,
        /// How many.
        rejected: i64,
        /// What it said.
        message: String,
    },
}

/// A connection to one receiver; made when first needed, and anew when it breaks.
#[derive(Debug, Clone)]
pub struct Exporter {
    endpoint: String,
    client: MetricsServiceClient<Channel>,
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
            client: MetricsServiceClient::new(channel),
        })
    }

    /// Where to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends one request. Every number is cumulative, so one that is lost is made good by the next.
    ///
    /// # Errors
    /// Not reached, refused, or taken in part.
    pub async fn export(&mut self, request: ExportMetricsServiceRequest) -> Result<(), ExportError> {
        let endpoint = || self.endpoint.clone();
        match self.client.export(request).await {
            Ok(response) => match response.into_inner().partial_success {
                Some(partial) if partial.rejected_data_points > 0 => Err(ExportError::Partial {
                    endpoint: endpoint(),
                    rejected: partial.rejected_data_points,
                    message: partial.error_message,
                }),
                _ => Ok(()),
            },
            Err(status) => Err(match status.code() {
                tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
                    ExportError::Unreachable {
                        endpoint: endpoint(),
                        reason: reason(&status),
                    }
                }
                code => ExportError::Refused {
                    endpoint: endpoint(),
                    code,
                    message: status.message().to_owned(),
                },
            }),
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
