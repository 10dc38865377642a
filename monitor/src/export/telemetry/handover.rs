//! Where the SDK believes that it sends: takes its encoded requests and hands them on.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, resource::v1::Resource};
use prost::Message;

use crate::export::transport::{EncodedRequest, Signal};

/// Never connected to.
pub(super) const NOWHERE: &str = "http://kevmon.invalid/v1/traces";

/// Takes the SDK's requests, on whatever thread.
type Hand = Arc<dyn Fn(EncodedRequest) + Send + Sync>;

/// Stands where the SDK expects an HTTP client: hands the body on and says that all is well.
#[derive(Clone)]
pub(super) struct Handover {
    hand: Hand,
    /// Takes the place of the SDK's resource, which cannot change once the SDK has started.
    resource: Arc<Mutex<Option<Resource>>>,
}

impl Handover {
    /// To `hand`, on whatever thread the SDK exports.
    pub(super) fn new(hand: impl Fn(EncodedRequest) + Send + Sync + 'static) -> Self {
        Self {
            hand: Arc::new(hand),
            resource: Arc::default(),
        }
    }

    /// Requests say from now on that they come from `resource`.
    pub(super) fn replace_resource(&self, resource: Resource) {
        *self.resource.lock().unwrap_or_else(PoisonError::into_inner) = Some(resource);
    }

    /// The body with the resource that holds now, and its number of spans.
    fn body(&self, body: Bytes) -> Result<(Bytes, u64), prost::DecodeError> {
        let resource = self
            .resource
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut request = ExportTraceServiceRequest::decode(body.clone())?;
        let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        let spans = scopes.map(|scope| scope.spans.len() as u64).sum();
        let Some(resource) = resource else {
            return Ok((body, spans));
        };
        for of in &mut request.resource_spans {
            of.resource = Some(resource.clone());
        }
        Ok((request.encode_to_vec().into(), spans))
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
        let (body, items) = self.body(request.into_body())?;
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        (self.hand)(EncodedRequest {
            signal: Signal::Traces,
            items,
            time,
            body,
        });
        Ok(Response::new(Bytes::new()))
    }
}
