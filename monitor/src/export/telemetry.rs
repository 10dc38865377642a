//! kevmon's own metrics and spans, by OpenTelemetry's SDK. What tells how far an interval can be trusted goes with that
//! interval ([`crate::metrics::OWN`]); this is what kevmon costs and how its exports fare.
//!
//! The SDK encodes and hands over; it opens no connection: its requests take the way of all others.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
    trace::{Span, SpanBuilder, SpanKind, Status, Tracer, TracerProvider},
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::metric::Data,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider, Temporality},
    trace::{SdkTracer, SdkTracerProvider},
};
use prost::Message;

use super::{
    resource::{self, HostIdentity, Run},
    transport::{EncodedRequest, Signal},
};
use crate::metrics::ExportReading;

/// Never connected to: the path alone tells the signal.
const NOWHERE: &str = "http://kevmon.invalid";
const METRICS: &str = "/v1/metrics";
const TRACES: &str = "/v1/traces";
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

/// Takes the SDK's requests, on whatever thread.
type Hand = Arc<dyn Fn(EncodedRequest) + Send + Sync>;

/// The SDK at work.
pub struct Telemetry {
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
    tracer: SdkTracer,
    observed: Arc<Mutex<Observed>>,
    collections: Histogram<f64>,
    exports: Histogram<f64>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts it: metrics every `interval`, spans in batches, each handed to `hand`. Takes two threads.
    ///
    /// # Errors
    /// The SDK refuses its settings, which may come from its own environment variables.
    pub fn start(
        host: &HostIdentity,
        interval: Duration,
        delta: bool,
        hand: impl Fn(EncodedRequest) + Send + Sync + 'static,
    ) -> Result<Self, TelemetryError> {
        let handover = Handover(Arc::new(hand));
        let attributes = resource::of_kevmon(host, Run::Service).attributes;
        let told = attributes.into_iter().filter_map(|pair| {
            let Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text)) =
                pair.value.and_then(|value| value.value)
            else {
                return None;
            };
            Some(KeyValue::new(pair.key, text))
        });
        let resource = Resource::builder_empty()
            .with_schema_url(told, resource::SCHEMA_URL)
            .build();
        let metric_exporter = MetricExporter::builder()
            .with_temporality(if delta {
                Temporality::Delta
            } else {
                Temporality::Cumulative
            })
            .with_http()
            .with_http_client(handover.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{NOWHERE}{METRICS}"))
            .build()?;
        let span_exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(handover)
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
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(span_exporter)
            .build();
        let observed = Arc::<Mutex<Observed>>::default();
        let meter = meters.meter("kevmon");
        observe_process(&meter, &observed);
        observe_exports(&meter, &observed);
        observe_programs(&meter, &observed);
        let duration = |name: &'static str, description: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s");
            histogram
                .with_description(description)
                .with_boundaries(BOUNDS.to_vec())
                .build()
        };
        Ok(Self {
            collections: duration(
                "kevmon.collection.duration",
                "How long a collection took, with its commit to the store and the making of its requests",
            ),
            exports: duration(
                "kevmon.export.duration",
                "How long an attempt to deliver a request took, by receiver, signal and whether it was taken",
            ),
            tracer: tracers.tracer("kevmon"),
            meters,
            tracers,
            observed,
        })
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

/// OpenTelemetry's integers are signed.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn observe_process(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    let state = Arc::clone(observed);
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("CPU time of kevmon")
        .with_callback(move |observer| observer.observe(read(&state).cpu as f64 / 1e9, &[]))
        .build();
    let state = Arc::clone(observed);
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Resident set of kevmon")
        .with_callback(move |observer| {
            if let Some(rss) = read(&state).rss {
                observer.observe(integer(rss), &[]);
            }
        })
        .build();
    let state = Arc::clone(observed);
    meter
        .i64_observable_up_down_counter("process.thread.count")
        .with_unit("{thread}")
        .with_description("Threads of kevmon")
        .with_callback(move |observer| {
            if let Some(threads) = read(&state).threads {
                observer.observe(integer(threads), &[]);
            }
        })
        .build();
}

/// One of the numbers that a lane has, with its name, unit and meaning.
type LaneNumber = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ExportReading) -> u64,
);

/// Those that only grow.
const LANE_COUNTERS: [LaneNumber; 3] = [
    (
        "kevmon.export.failures",
        "{attempt}",
        "Attempts to deliver a request that failed",
        |lane| lane.failures,
    ),
    (
        "kevmon.export.delivered",
        "{item}",
        "Data points, log records and spans that the receiver took",
        |lane| lane.delivered,
    ),
    (
        "kevmon.export.repeated",
        "{request}",
        "Requests that were sent again although an earlier attempt may have arrived",
        |lane| lane.repeated,
    ),
];

/// Those that also fall.
const LANE_LEVELS: [LaneNumber; 2] = [
    (
        "kevmon.spool.requests",
        "{request}",
        "Requests that wait for the receiver, on disk and in memory",
        |lane| lane.waiting_requests,
    ),
    (
        "kevmon.spool.size",
        "By",
        "Their bytes, compressed where they are on disk",
        |lane| lane.waiting_bytes,
    ),
];

fn observe_exports(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    for (name, unit, description, value) in LANE_COUNTERS {
        let state = Arc::clone(observed);
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for lane in &read(&state).exports {
                    observer.observe(value(lane), &of_lane(lane));
                }
            })
            .build();
    }
    for (name, unit, description, value) in LANE_LEVELS {
        let state = Arc::clone(observed);
        meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for lane in &read(&state).exports {
                    observer.observe(integer(value(lane)), &of_lane(lane));
                }
            })
            .build();
    }
}

fn of_lane(lane: &ExportReading) -> [KeyValue; 2] {
    [
        KeyValue::new("kevmon.receiver", lane.receiver.clone()),
        KeyValue::new("kevmon.signal", lane.signal),
    ]
}

fn observe_programs(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    let state = Arc::clone(observed);
    meter
        .f64_observable_counter("kevmon.ebpf.run_time")
        .with_unit("s")
        .with_description("Time spent in each eBPF program, while the kernel's statistics are on")
        .with_callback(move |observer| {
            for program in &read(&state).programs {
                let name = KeyValue::new("kevmon.program", program.name);
                observer.observe(program.nanos as f64 / 1e9, &[name]);
            }
        })
        .build();
    let state = Arc::clone(observed);
    meter
        .u64_observable_counter("kevmon.ebpf.runs")
        .with_unit("{run}")
        .with_description("Runs of each eBPF program, while the kernel's statistics are on")
        .with_callback(move |observer| {
            for program in &read(&state).programs {
                observer.observe(program.runs, &[KeyValue::new("kevmon.program", program.name)]);
            }
        })
        .build();
}

fn read(observed: &Mutex<Observed>) -> Observed {
    observed.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Stands where the SDK expects an HTTP client: hands the body on and says that all is well.
#[derive(Clone)]
struct Handover(Hand);

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
