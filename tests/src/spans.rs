//! OTLP spans as a receiver decodes them, flattened to one record each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server::TraceService,
};
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::logs;

/// One span with all that it belongs to.
#[derive(Debug, Clone)]
pub struct Span {
    /// Resource attributes.
    pub resource: BTreeMap<String, Value>,
    pub scope: String,
    pub name: String,
    /// OTLP's number: 1 internal, 2 server, 3 client.
    pub kind: i32,
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    /// Empty for a root.
    pub parent: Vec<u8>,
    /// Unix nanoseconds.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub end_time: u64,
    /// OTLP's number: 0 unset, 1 ok, 2 error.
    pub status: i32,
    pub attributes: BTreeMap<String, Value>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct SpanBox(Mutex<Vec<ExportTraceServiceRequest>>);

impl SpanBox {
    /// Every span, in order of arrival.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().expect("nobody panics with it");
        requests.iter().flat_map(flatten).collect()
    }
}

/// The service that takes spans.
pub(crate) struct SpanCollector(pub(crate) Arc<SpanBox>);

#[tonic::async_trait]
impl TraceService for SpanCollector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut requests = self.0.0.lock().expect("nobody panics with it");
        requests.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: None,
        }))
    }
}

/// Every span of one request.
pub fn flatten(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in &request.resource_spans {
        let resource = of_resource
            .resource
            .as_ref()
            .map(|resource| logs::typed(&resource.attributes))
            .unwrap_or_default();
        for of_scope in &of_resource.scope_spans {
            let scope = of_scope.scope.as_ref().map(|scope| scope.name.clone());
            let scope = scope.unwrap_or_default();
            spans.extend(of_scope.spans.iter().map(|span| Span {
                resource: resource.clone(),
                scope: scope.clone(),
                name: span.name.clone(),
                kind: span.kind,
                trace_id: span.trace_id.clone(),
                span_id: span.span_id.clone(),
                parent: span.parent_span_id.clone(),
                start_time: span.start_time_unix_nano,
                end_time: span.end_time_unix_nano,
                status: span.status.as_ref().map_or(0, |status| status.code),
                attributes: logs::typed(&span.attributes),
            }));
        }
    }
    spans
}
