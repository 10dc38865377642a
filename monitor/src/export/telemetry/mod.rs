//! kevmon's own metrics and spans, by OpenTelemetry's SDK. What tells how far an interval can be trusted goes with that
//! interval ([`crate::metrics::OWN`]); this is what kevmon costs and how its exports fare.
//!
//! The SDK encodes and hands over; it opens no connection: its requests take the way of all others.

mod handover;
mod instruments;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
    trace::{Span, SpanBuilder, SpanKind, Status, Tracer, TracerProvider},
};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider, Temporality},
    trace::{SdkTracer, SdkTracerProvider},
};

use super::{
    resource::{self, HostIdentity, Run},
    transport::{EncodedRequest, Signal},
};
use crate::metrics::ExportReading;
use handover::{Handover, METRICS, NOWHERE, TRACES};

/// Bounds of the buckets of lengths of time, seconds.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
];

/// Why there is no telemetry of its own.
#[derive(Debug, thiserror::Error)]
#[error("kevmon's own telemetry: {0}; switch it off with [telemetry] enabled = false in kevmon.toml")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// What is read when the SDK asks, as of the last collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// CPU time of kevmon, ns.
    pub cpu: u64,
    /// Its resident set, bytes.
    pub rss: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// What became of the exports, lane by lane.
    pub exports: Vec<ExportReading>,
    /// Run time and runs of each eBPF program, ns; empty while the kernel keeps no such statistics.
    pub programs: Vec<ProgramTime>,
}

/// What the kernel counts of an eBPF program while `kernel.bpf_stats_enabled` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramTime {
    /// Its name.
    pub name: &'static str,
    /// Time spent in it, ns.
    pub nanos: u64,
    /// How often it ran.
    pub runs: u64,
}

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
    /// Nothing was lost since their last collection.
    pub complete: bool,
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
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
    tracer: SdkTracer,
    observed: Arc<Mutex<Observed>>,
    handover: Handover,
    collections: Histogram<f64>,
    exports: Histogram<f64>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts it: metrics every `interval`, spans in batches where they are wanted, each handed to `hand`. Takes two
    /// threads, without spans one.
    ///
    /// # Errors
    /// The SDK refuses its settings, which may come from its own environment variables.
    pub fn start(
        host: &HostIdentity,
        interval: Duration,
        temporality: super::Temporality,
        with_spans: bool,
        hand: impl Fn(EncodedRequest) + Send + Sync + 'static,
    ) -> Result<Self, TelemetryError> {
        let handover = Handover::new(hand);
        let resource = sdk_resource(host);
        let metric_exporter = MetricExporter::builder()
            .with_temporality(match temporality {
                super::Temporality::Cumulative => Temporality::Cumulative,
                super::Temporality::Delta => Temporality::Delta,
                super::Temporality::LowMemory => Temporality::LowMemory,
            })
            .with_http()
            .with_http_client(handover.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{NOWHERE}{METRICS}"))
            .build()?;
        let span_exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(handover.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{NOWHERE}{TRACES}"))
            .build()?;
        let meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(
                PeriodicReader::builder(metric_exporter)
                    .with_interval(interval)
                    .build(),
            )
            .build();
        let tracers = SdkTracerProvider::builder().with_resource(resource);
        let tracers = if with_spans {
            tracers.with_batch_exporter(span_exporter).build()
        } else {
            tracers.build()
        };
        let observed = Arc::<Mutex<Observed>>::default();
        let meter = meters.meter("kevmon");
        instruments::observe_process(&meter, &observed);
        instruments::observe_exports(&meter, &observed);
        instruments::observe_programs(&meter, &observed);
        Ok(Self {
            collections: duration(
                &meter,
                "kevmon.collection.duration",
                "How long a collection took, with its commit to the store and the making of its requests",
            ),
            exports: duration(
                &meter,
                "kevmon.export.duration",
                "How long an attempt to deliver a request took, by receiver, signal and whether it was taken",
            ),
            tracer: tracers.tracer("kevmon"),
            meters,
            tracers,
            observed,
            handover,
        })
    }

    /// Another host name or id: requests have it from now on.
    pub fn set_host(&self, host: &HostIdentity) {
        self.handover
            .replace_resource(resource::of_kevmon(host, Run::Service));
    }

    /// Says how things stand.
    pub fn observe(&self, now: Observed) {
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Tells of a collection.
    pub fn collected(&self, span: &CollectionSpan) {
        self.collections.record(span.took.as_secs_f64(), &[]);
        let attributes = vec![
            KeyValue::new("kevmon.plugins", integer(span.plugins as u64)),
            KeyValue::new("kevmon.processes", integer(span.processes)),
            KeyValue::new("kevmon.complete", span.complete),
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
        let of = |accepted: &'static str| {
            [
                KeyValue::new("kevmon.receiver", span.receiver.clone()),
                KeyValue::new("kevmon.signal", span.signal.name()),
                KeyValue::new("kevmon.outcome", accepted),
            ]
        };
        let outcome = if span.accepted { "accepted" } else { "failed" };
        self.exports.record(span.took.as_secs_f64(), &of(outcome));
        if span.signal == Signal::Traces {
            return;
        }
        let mut attributes = of(outcome).to_vec();
        attributes.push(KeyValue::new("kevmon.items", integer(span.items)));
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

    /// Hands over what is left and ends.
    pub fn finish(self) {
        // What they may say is that they have ended before, or that nobody took the last request.
        let _: opentelemetry_sdk::error::OTelSdkResult = self.tracers.shutdown();
        let _: opentelemetry_sdk::error::OTelSdkResult = self.meters.shutdown();
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

fn duration(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s");
    histogram
        .with_description(description)
        .with_boundaries(BOUNDS.to_vec())
        .build()
}

/// OpenTelemetry's integers are signed.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
