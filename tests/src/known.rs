//! Requests that are known to be right, to prove receivers without kevmon.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;

use crate::receiver::CUMULATIVE;

/// The service that sends them, and its namespace.
pub const SERVICE: &str = "Kvt Service";
pub const NAMESPACE: &str = "Kvt Company";

/// One point of a counter of kevmon's, `starts`, at `time` (Unix nanoseconds).
pub fn metrics(time: u64, value: i64) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        start_time_unix_nano: time - 1,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsInt(value)),
        ..Default::default()
    };
    let metric = Metric {
        name: "starts".to_owned(),
        unit: "{process}".to_owned(),
        data: Some(metric::Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![ScopeMetrics {
                scope: scope(),
                metrics: vec![metric],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// The same as a gauge, with a fraction.
pub fn gauge(time: u64, value: f64) -> ExportMetricsServiceRequest {
    let mut request = metrics(time, 0);
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    metric.data = Some(metric::Data::Gauge(Gauge {
        data_points: vec![NumberDataPoint {
            time_unix_nano: time,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..Default::default()
        }],
    }));
    request
}

/// One log record.
pub fn logs(time: u64) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: time,
        event_name: "kvt.event".to_owned(),
        ..Default::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// One span.
pub fn traces(time: u64) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "kvt span".to_owned(),
        start_time_unix_nano: time,
        end_time_unix_nano: time + 7,
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource()),
            scope_spans: vec![ScopeSpans {
                scope: scope(),
                spans: vec![span],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// A message as the body of a POST, compressed or not.
pub fn body(message: &impl Message, gzip: bool) -> Vec<u8> {
    let plain = message.encode_to_vec();
    if gzip { compressed(&plain) } else { plain }
}

/// A message as gRPC frames it.
pub fn frame(message: &impl Message, gzip: bool) -> Vec<u8> {
    let payload = body(message, gzip);
    let length = u32::try_from(payload.len()).expect("a short message");
    [&[u8::from(gzip)][..], &length.to_be_bytes(), &payload].concat()
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn resource() -> Resource {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..Default::default()
    };
    Resource {
        attributes: vec![
            text("service.name", SERVICE),
            text("service.namespace", NAMESPACE),
            text("kevmon.service.id", "kvt_service"),
        ],
        ..Default::default()
    }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "kvt".to_owned(),
        ..Default::default()
    })
}
