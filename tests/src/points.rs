//! Metrics as a receiver decodes them, flattened to one record per data point so that a test can look it up.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, metric::Data, number_data_point,
    },
};

use crate::logs;

/// OTLP's number for cumulative temporality.
pub const CUMULATIVE: i32 = 2;

/// How a metric is aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    Gauge,
    Sum {
        monotonic: bool,
        temporality: i32,
    },
    Histogram {
        temporality: i32,
    },
    ExponentialHistogram {
        temporality: i32,
    },
    /// Summaries.
    Other,
}

/// One data point with all that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Resource attributes.
    pub resource: BTreeMap<String, String>,
    pub scope: String,
    pub metric: String,
    pub unit: String,
    pub instrument: Instrument,
    /// Attributes of the point itself.
    pub attributes: BTreeMap<String, String>,
    /// Unix nanoseconds.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    pub value: Number,
    /// Of a histogram: the upper bounds of the buckets but the last, and how many values each bucket holds.
    pub buckets: (Vec<f64>, Vec<u64>),
}

/// A point's value, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Int(i64),
    Double(f64),
    /// A histogram's.
    Distribution {
        count: u64,
        sum: f64,
    },
    Absent,
}

impl Number {
    /// As a float, for comparisons with a tolerance.
    pub fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
            Self::Distribution { .. } | Self::Absent => panic!("a point without one value"),
        }
    }
}

/// Every data point of one request.
pub fn flatten(request: &ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for resource_metrics in &request.resource_metrics {
        let resource = resource_metrics
            .resource
            .as_ref()
            .map(|r| attributes(&r.attributes))
            .unwrap_or_default();
        for scope_metrics in &resource_metrics.scope_metrics {
            let scope = scope_metrics
                .scope
                .as_ref()
                .map(|scope| scope.name.clone())
                .unwrap_or_default();
            for metric in &scope_metrics.metrics {
                let point = |time: (u64, u64), pairs: &[KeyValue], value| Point {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    instrument: instrument(metric.data.as_ref()),
                    attributes: attributes(pairs),
                    start_time: time.0,
                    time: time.1,
                    value,
                    buckets: Default::default(),
                };
                let numbers = match metric.data.as_ref() {
                    Some(Data::Gauge(gauge)) => &gauge.data_points[..],
                    Some(Data::Sum(sum)) => &sum.data_points[..],
                    _ => &[],
                };
                points.extend(numbers.iter().map(|number: &NumberDataPoint| {
                    let times = (number.start_time_unix_nano, number.time_unix_nano);
                    point(times, &number.attributes, value(number))
                }));
                if let Some(Data::ExponentialHistogram(histogram)) = metric.data.as_ref() {
                    points.extend(histogram.data_points.iter().map(|told| {
                        let times = (told.start_time_unix_nano, told.time_unix_nano);
                        let value = Number::Distribution {
                            count: told.count,
                            sum: told.sum.expect("kevmon's histograms have a sum"),
                        };
                        Point {
                            buckets: exponential(told),
                            ..point(times, &told.attributes, value)
                        }
                    }));
                }
                if let Some(Data::Histogram(histogram)) = metric.data.as_ref() {
                    points.extend(histogram.data_points.iter().map(|told: &HistogramDataPoint| {
                        let times = (told.start_time_unix_nano, told.time_unix_nano);
                        let value = Number::Distribution {
                            count: told.count,
                            sum: told.sum.expect("kevmon's histograms have a sum"),
                        };
                        Point {
                            buckets: (told.explicit_bounds.clone(), told.bucket_counts.clone()),
                            ..point(times, &told.attributes, value)
                        }
                    }));
                }
            }
        }
    }
    points
}

/// The same buckets by their bounds: the first holds what counts as zero, and the last one nothing.
fn exponential(point: &ExponentialHistogramDataPoint) -> (Vec<f64>, Vec<u64>) {
    let base = 2_f64.powf(2_f64.powi(-point.scale));
    let positive = point.positive.clone().unwrap_or_default();
    let (mut bounds, mut counts) = (vec![point.zero_threshold], vec![point.zero_count]);
    for (index, &count) in (positive.offset..).zip(&positive.bucket_counts) {
        bounds.push(base.powi(index + 1));
        counts.push(count);
    }
    counts.push(0);
    (bounds, counts)
}

fn instrument(data: Option<&Data>) -> Instrument {
    match data {
        Some(Data::Gauge(_)) => Instrument::Gauge,
        Some(Data::Sum(sum)) => Instrument::Sum {
            monotonic: sum.is_monotonic,
            temporality: sum.aggregation_temporality,
        },
        Some(Data::Histogram(histogram)) => Instrument::Histogram {
            temporality: histogram.aggregation_temporality,
        },
        Some(Data::ExponentialHistogram(histogram)) => Instrument::ExponentialHistogram {
            temporality: histogram.aggregation_temporality,
        },
        _ => Instrument::Other,
    }
}

fn value(point: &NumberDataPoint) -> Number {
    match point.value {
        Some(number_data_point::Value::AsInt(value)) => Number::Int(value),
        Some(number_data_point::Value::AsDouble(value)) => Number::Double(value),
        None => Number::Absent,
    }
}

/// Attributes as text, whatever their type.
fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let typed = logs::typed(pairs).into_iter();
    typed.map(|(key, value)| (key, text(value))).collect()
}
