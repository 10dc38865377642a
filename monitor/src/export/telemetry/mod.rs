//! kevmon's own spans, by OpenTelemetry's SDK: what it does and how its exports fare, one after the other. Its own metrics
//! go with the collections ([`crate::metrics::OWN`], [`crate::metrics::TELEMETRY`]; ADR 20 has the reasons).
//!
//! The SDK encodes and hands over; it opens no connection: its requests take the way of all others.

mod handover;
mod ids;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue,
    trace::{Span, SpanBuilder, SpanKind, Status, Tracer, TracerProvider},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

use super::{
    resource::{self, HostIdentity, Run},
    transport::{EncodedRequest, Signal},
};
use crate::metrics::outcome;
use handover::{Handover, NOWHERE};
use ids::Ids;
use waiting::WaitingSpans;

/// Why there is no telemetry of its own.
#[derive(Debug, thiserror::Error)]
#[error("kevmon's own telemetry: {0}; switch it off with [telemetry] enabled = false in kevmon.toml")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// A collection, as its span tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionSpan {
    /// When it began.
    pub began: SystemTime,
    /// How long it took, with its commit and with the making of its requests.
    pub took: Duration,
    /// Plugins that were due.
    pub plugins: usize,
    /// Their live processes.
    pub processes: u64,
    /// No start, end or change was missed since their last collection.
    pub complete: bool,
    /// Nor is any usage missing since then.
    pub complete_totals: bool,
}

/// An attempt to deliver a request, as its span tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpan {
    /// The receiver's name.
    pub receiver: String,
    /// What was sent.
    pub signal: Signal,
    /// Data points or records.
    pub items: u64,
    /// How long it took.
    pub took: Duration,
    /// The receiver took it.
    pub accepted: bool,
}

/// The SDK at work.
pub struct Telemetry {
    tracers: SdkTracerProvider,
    tracer: SdkTracer,
    handover: Handover,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts it: spans wait for [`Self::flush`], and are handed to `hand` then. Takes no thread.
    ///
    /// # Errors
    /// The SDK refuses its settings, which may come from its own environment variables.
    pub fn start(
        host: &HostIdentity,
        hand: impl Fn(EncodedRequest) + Send + Sync + 'static,
    ) -> Result<Self, TelemetryError> {
        let handover = Handover::new(hand);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(handover.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(NOWHERE)
            .build()?;
        let tracers = SdkTracerProvider::builder()
            .with_resource(sdk_resource(host))
            .with_id_generator(Ids::default())
            .with_span_processor(WaitingSpans::new(exporter))
            .build();
        Ok(Self {
            tracer: tracers.tracer("kevmon"),
            tracers,
            handover,
        })
    }

    /// Another host name or id: requests have it from now on.
    pub fn set_host(&self, host: &HostIdentity) {
        self.handover
            .replace_resource(resource::of_kevmon(host, Run::Service));
    }

    /// Tells of a collection.
    pub fn collected(&self, span: &CollectionSpan) {
        let attributes = vec![
            KeyValue::new("kevmon.plugins", integer(span.plugins as u64)),
            KeyValue::new("kevmon.processes", integer(span.processes)),
            KeyValue::new("kevmon.complete", span.complete),
            KeyValue::new("kevmon.complete_totals", span.complete_totals),
        ];
        let builder = SpanBuilder::from_name("collect")
            .with_kind(SpanKind::Internal)
            .with_start_time(span.began)
            .with_attributes(attributes);
        let mut told = self.tracer.build(builder);
        told.end_with_timestamp(span.began + span.took);
    }

    /// Tells of an attempt to deliver. Of spans none are told: each would bring forth the next.
    pub fn exported(&self, span: &ExportSpan) {
        if span.signal == Signal::Traces {
            return;
        }
        let attributes = vec![
            KeyValue::new("kevmon.receiver", span.receiver.clone()),
            KeyValue::new("kevmon.signal", span.signal.name()),
            KeyValue::new("kevmon.outcome", outcome(span.accepted)),
            KeyValue::new("kevmon.items", integer(span.items)),
        ];
        let now = SystemTime::now();
        let builder = SpanBuilder::from_name("export")
            .with_kind(SpanKind::Client)
            .with_start_time(now.checked_sub(span.took).unwrap_or(now))
            .with_attributes(attributes);
        let mut told = self.tracer.build(builder);
        if !span.accepted {
            told.set_status(Status::error("not taken"));
        }
        told.end_with_timestamp(now);
    }

    /// Hands over what waits.
    pub fn flush(&self) {
        // The handover refuses nothing.
        let _: opentelemetry_sdk::error::OTelSdkResult = self.tracers.force_flush();
    }

    /// Hands over what is left and ends.
    pub fn finish(self) {
        // What it may say is that it has ended before, or that nobody took the last request.
        let _: opentelemetry_sdk::error::OTelSdkResult = self.tracers.shutdown();
    }
}

/// kevmon's own resource, in the SDK's words.
fn sdk_resource(host: &HostIdentity) -> Resource {
    let attributes = resource::of_kevmon(host, Run::Service).attributes.into_iter();
    let told = attributes.filter_map(|pair| match pair.value?.value? {
        any_value::Value::StringValue(text) => Some(KeyValue::new(pair.key, text)),
        // All of them are texts.
        _ => None,
    });
    Resource::builder_empty()
        .with_schema_url(told, resource::SCHEMA_URL)
        .build()
}

/// OpenTelemetry's integers are signed.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
