//! Where the SDK believes that it sends: takes its encoded requests and hands them on.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::metric::Data,
};
use prost::Message;

use crate::export::transport::{EncodedRequest, Signal};

/// Never connected to: the path alone tells the signal.
pub(super) const NOWHERE: &str = "http://kevmon.invalid";
pub(super) const METRICS: &str = "/v1/metrics";
pub(super) const TRACES: &str = "/v1/traces";

/// Takes the SDK's requests, on whatever thread.
type Hand = Arc<dyn Fn(EncodedRequest) + Send + Sync>;

/// Stands where the SDK expects an HTTP client: hands the body on and says that all is well.
#[derive(Clone)]
pub(super) struct Handover(Hand);

impl Handover {
    /// To `hand`, on whatever thread the SDK exports.
    pub(super) fn new(hand: impl Fn(EncodedRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hand))
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}

#[tonic::async_trait]
impl HttpClient for Handover {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let signal = if request.uri().path() == TRACES {
            Signal::Traces
        } else {
            Signal::Metrics
        };
        let body = request.into_body();
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        (self.0)(EncodedRequest {
            signal,
            items: items(signal, &body)?,
            time,
            body,
        });
        Ok(Response::new(Bytes::new()))
    }
}

/// Data points or spans of a request.
fn items(signal: Signal, body: &Bytes) -> Result<u64, prost::DecodeError> {
    if signal == Signal::Traces {
        let request = ExportTraceServiceRequest::decode(body.clone())?;
        let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        return Ok(scopes.map(|scope| scope.spans.len() as u64).sum());
    }
    let request = ExportMetricsServiceRequest::decode(body.clone())?;
    let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    let points = scopes
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match &metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            Some(Data::Sum(sum)) => sum.data_points.len(),
            Some(Data::Histogram(histogram)) => histogram.data_points.len(),
            // kevmon has no others.
            Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => 0,
        });
    Ok(points.map(|points| points as u64).sum())
}
