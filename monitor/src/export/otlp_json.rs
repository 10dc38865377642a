//! Encoded requests as OTLP/JSON lines: what the OpenTelemetry Collector's file exporter writes and its file receivers
//! read. docs/json-output.md says what a line holds.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde::Serialize;
use serde_json::Value as Json;

use super::transport::connection::Signal;

/// A request could not be told in JSON.
#[derive(Debug, thiserror::Error)]
pub enum OtlpJsonError {
    /// Its body is no request of its signal.
    #[error(
        "a request of {signal:?} could not be decoded for the OTLP/JSON output: {source}; please report this"
    )]
    Decode {
        /// Of which signal.
        signal: Signal,
        /// Why not.
        source: prost::DecodeError,
    },
    /// Serializing failed.
    #[error("a request of {signal:?} could not be written as OTLP/JSON: {source}; please report this")]
    Json {
        /// Of which signal.
        signal: Signal,
        /// Why not.
        source: serde_json::Error,
    },
}

/// An encoded `Export…ServiceRequest` as one line, without the newline.
///
/// # Errors
/// The body is no request of that signal.
pub fn otlp_json_line(signal: Signal, body: &[u8]) -> Result<String, OtlpJsonError> {
    match signal {
        Signal::Metrics => line::<ExportMetricsServiceRequest>(signal, body),
        Signal::Logs => line::<ExportLogsServiceRequest>(signal, body),
        Signal::Traces => line::<ExportTraceServiceRequest>(signal, body),
    }
}

fn line<R: Message + Default + Serialize>(signal: Signal, body: &[u8]) -> Result<String, OtlpJsonError> {
    let request = R::decode(body).map_err(|source| OtlpJsonError::Decode { signal, source })?;
    let mut json = serde_json::to_value(request).map_err(|source| OtlpJsonError::Json { signal, source })?;
    leave_out_absent(&mut json);
    Ok(json.to_string())
}

/// Fields that say nothing when they are 0: the same as not there (proto3), and for a start time not known.
const ZERO_IS_ABSENT: [&str; 5] = [
    "flags",
    "startTimeUnixNano",
    "droppedAttributesCount",
    "droppedEventsCount",
    "droppedLinksCount",
];

/// opentelemetry-proto (0.33) writes `null` for a message that is not there and for a double that is no number, and an
/// empty text or list for each that is empty. In the JSON mapping of proto3, absent fields are absent, and only that is
/// sure to be read by others; a value that is not finite is a text.
fn leave_out_absent(json: &mut Json) {
    match json {
        Json::Array(elements) => elements.iter_mut().for_each(leave_out_absent),
        Json::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if value.is_null() && matches!(name.as_str(), "asDouble" | "doubleValue") {
                    *value = Json::from("NaN");
                }
                leave_out_absent(value);
            }
            fields.retain(|name, value| !is_absent(name, value));
        }
        _ => {}
    }
}

fn is_absent(name: &str, value: &Json) -> bool {
    match value {
        Json::Null => true,
        // An empty text is a value of its own, as is an empty list of values.
        Json::String(text) if text.is_empty() => name != "stringValue",
        Json::Array(elements) => elements.is_empty() && name != "values",
        Json::Number(number) => number.as_u64() == Some(0) && ZERO_IS_ABSENT.contains(&name),
        Json::String(text) => text == "0" && ZERO_IS_ABSENT.contains(&name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
    };
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::{
        super::{
            collection::tests::collection,
            otlp::{MetricRequests, Temporality},
            resource::{HostIdentity, Run},
        },
        *,
    };

    fn metrics() -> ExportMetricsServiceRequest {
        let host = HostIdentity::new(None, "host".to_owned());
        let mut requests = MetricRequests::new(host, Run::Service, Temporality::Cumulative);
        let encoded = requests.encode(&collection(), |_| true);
        ExportMetricsServiceRequest::decode(encoded[0].body.clone()).expect("our own")
    }

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    fn logs() -> ExportLogsServiceRequest {
        let record = LogRecord {
            time_unix_nano: u64::MAX,
            severity_number: 9,
            body: None,
            attributes: vec![
                attribute("empty", Value::StringValue(String::new())),
                attribute("text", Value::StringValue("two\nlines \"quoted\"".to_owned())),
                attribute("integer", Value::IntValue(i64::MIN)),
                attribute("float", Value::DoubleValue(0.5)),
                attribute("flag", Value::BoolValue(false)),
                attribute("bytes", Value::BytesValue(vec![0, 255])),
                attribute("list", Value::ArrayValue(ArrayValue::default())),
            ],
            trace_id: vec![0xab; 16],
            event_name: "kevmon.process.exit".to_owned(),
            ..LogRecord::default()
        };
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource::default()),
                scope_logs: vec![ScopeLogs {
                    log_records: vec![record],
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        }
    }

    fn traces() -> ExportTraceServiceRequest {
        let span = Span {
            trace_id: vec![0x5b; 16],
            span_id: vec![0xee; 8],
            name: "collection".to_owned(),
            kind: span::SpanKind::Internal.into(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            status: Some(Status::default()),
            ..Span::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    #[track_caller]
    fn round_trip<R>(signal: Signal, request: &R) -> Json
    where
        R: Message + Default + PartialEq + DeserializeOwned + std::fmt::Debug,
    {
        let line = otlp_json_line(signal, &request.encode_to_vec()).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let back: R = serde_json::from_str(&line).unwrap();
        assert_eq!(back, *request, "{line}");
        serde_json::from_str(&line).unwrap()
    }

    /// Every key with its value.
    fn each_field(json: &Json, look: &mut dyn FnMut(&str, &Json)) {
        match json {
            Json::Array(elements) => elements.iter().for_each(|element| each_field(element, look)),
            Json::Object(fields) => {
                for (name, value) in fields {
                    look(name, value);
                    each_field(value, look);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for json in [
            round_trip(Signal::Metrics, &metrics()),
            round_trip(Signal::Logs, &logs()),
            round_trip(Signal::Traces, &traces()),
        ] {
            each_field(&json, &mut |name, value| {
                assert!(!value.is_null(), "{name} is null");
                assert!(!name.contains('_'), "{name} is no lowerCamelCase");
                let is_integer_of_64_bits = name.ends_with("UnixNano")
                    || matches!(name, "asInt" | "intValue" | "count" | "zeroCount");
                if is_integer_of_64_bits {
                    let text = value.as_str().unwrap_or_else(|| panic!("{name}: {value}"));
                    assert!(text.parse::<i128>().is_ok(), "{name}: {value}");
                }
                if matches!(
                    name,
                    "aggregationTemporality" | "severityNumber" | "kind" | "code"
                ) {
                    assert!(value.is_u64(), "an enum is a number: {name}: {value}");
                }
            });
        }
    }

    #[test]
    fn metrics_have_the_specified_form() {
        let json = round_trip(Signal::Metrics, &metrics());
        let all = json["resourceMetrics"][1]["scopeMetrics"][0]["metrics"]
            .as_array()
            .unwrap();
        let named = |name: &str| all.iter().find(|metric| metric["name"] == name).unwrap();
        let starts = named("starts");
        assert_eq!(
            starts["sum"],
            json!({
                "dataPoints": [{
                    "startTimeUnixNano": "1000000005000000000",
                    "timeUnixNano": "1000000030000000000",
                    "asInt": "9",
                }],
                "aggregationTemporality": 2,
                "isMonotonic": true,
            })
        );
        let gauge = &named("memory_rss_total")["gauge"]["dataPoints"][0];
        assert_eq!(
            gauge,
            &json!({ "timeUnixNano": "1000000030000000000", "asInt": "0" }),
            "no start is known, and 0 is a value"
        );
        let histogram = &named("downtime")["histogram"]["dataPoints"][0];
        assert_eq!(
            (&histogram["count"], &histogram["sum"]),
            (&json!("1"), &json!(0.25))
        );
        let counts = histogram["bucketCounts"].as_array().unwrap();
        assert!(
            counts.contains(&json!("1")) && counts.contains(&json!("0")),
            "{counts:?}"
        );
        assert!(histogram["explicitBounds"][0].is_f64());
        assert_eq!(histogram.get("min"), None);
    }

    #[test]
    fn logs_and_spans_have_the_specified_form() {
        let json = round_trip(Signal::Logs, &logs());
        let record = &json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["traceId"], "ab".repeat(16));
        assert_eq!(record["timeUnixNano"], u64::MAX.to_string());
        for absent in [
            "body",
            "spanId",
            "severityText",
            "flags",
            "droppedAttributesCount",
        ] {
            assert_eq!(record.get(absent), None, "{absent}");
        }
        let values: Vec<&Json> = (0..7).map(|at| &record["attributes"][at]["value"]).collect();
        assert_eq!(
            values,
            [
                &json!({ "stringValue": "" }),
                &json!({ "stringValue": "two\nlines \"quoted\"" }),
                &json!({ "intValue": "-9223372036854775808" }),
                &json!({ "doubleValue": 0.5 }),
                &json!({ "boolValue": false }),
                &json!({ "bytesValue": "AP8=" }),
                &json!({ "arrayValue": { "values": [] } }),
            ]
        );
        let json = round_trip(Signal::Traces, &traces());
        let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(
            (&span["spanId"], &span["kind"]),
            (&json!("eeeeeeeeeeeeeeee"), &json!(1))
        );
        assert_eq!(span.get("parentSpanId"), None);
    }

    #[test]
    fn no_number_is_a_text() {
        let mut request = metrics();
        let metric = Metric {
            data: Some(Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge {
                data_points: vec![NumberDataPoint {
                    value: Some(number_data_point::Value::AsDouble(f64::NAN)),
                    ..NumberDataPoint::default()
                }],
            })),
            ..Metric::default()
        };
        request.resource_metrics[0].scope_metrics[0].metrics = vec![metric];
        let line = otlp_json_line(Signal::Metrics, &request.encode_to_vec()).unwrap();
        assert!(line.contains(r#""asDouble":"NaN""#), "{line}");
    }

    #[test]
    fn a_point_without_a_value_has_a_flag_and_none() {
        let mut request = metrics();
        let metric = Metric {
            data: Some(Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge {
                data_points: vec![NumberDataPoint {
                    time_unix_nano: 9,
                    flags: 1,
                    ..NumberDataPoint::default()
                }],
            })),
            ..Metric::default()
        };
        request.resource_metrics[0].scope_metrics[0].metrics = vec![metric];
        let line = otlp_json_line(Signal::Metrics, &request.encode_to_vec()).unwrap();
        assert!(
            line.contains(r#""dataPoints":[{"timeUnixNano":"9","flags":1}]"#),
            "{line}"
        );
    }

    #[test]
    fn garbage_is_refused() {
        for signal in [Signal::Metrics, Signal::Logs, Signal::Traces] {
            let error = otlp_json_line(signal, b"\xff\xff\xff").unwrap_err();
            assert!(error.to_string().contains(&format!("{signal:?}")), "{error}");
        }
    }
}
