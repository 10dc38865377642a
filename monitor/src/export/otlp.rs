//! Collections as OTLP requests (opentelemetry-proto 1.x, metrics/v1).

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::InstrumentationScope,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    collection::{Collection, ServiceReading, UnixClock},
    resource::{self, HostIdentity, Run},
};
use crate::{
    metrics::{self, Instrument, Measure, OWN, Value},
    plugin::{Durations, Naming, durations::BOUNDS},
};

/// The collection as one request: a resource for each plugin, and kevmon's own.
pub fn requests(collection: &Collection, host: &HostIdentity, run: Run) -> ExportMetricsServiceRequest {
    let mut resource_metrics: Vec<ResourceMetrics> = collection
        .services
        .iter()
        .map(|service| of_service(collection, service, host, run))
        .collect();
    let watched_since = collection
        .services
        .iter()
        .map(|service| collection.clock.unix(service.reading.watch_start))
        .min();
    let times = Times::new(watched_since.unwrap_or(collection.time), collection);
    let own = OWN.iter().filter_map(|own| {
        let values = (own.values)(&collection.health);
        let data = data(values, times, own.instrument)?;
        Some(metric(own.name.to_owned(), own.unit, own.description, data))
    });
    resource_metrics.push(scoped(resource::of_kevmon(host, run), "", own.collect()));
    ExportMetricsServiceRequest { resource_metrics }
}

fn of_service(
    collection: &Collection,
    service: &ServiceReading,
    host: &HostIdentity,
    run: Run,
) -> ResourceMetrics {
    let prefix = if service.plugin.prefix {
        format!("{}.", service.plugin.service.id)
    } else {
        String::new()
    };
    let metrics = metrics::metrics(service.plugin.naming).filter_map(|listed| {
        let start = collection.clock.unix(service.start(listed.since));
        let values = (listed.values)(&service.reading);
        let data = data(values, Times::new(start, collection), listed.instrument)?;
        let name = format!("{prefix}{}", listed.name);
        Some(metric(name, listed.unit, listed.description, data))
    });
    let schema_url = match service.plugin.naming {
        // Names of the original framework's, which no convention knows.
        Naming::Instana => "",
        Naming::Otel | Naming::Both => resource::SCHEMA_URL,
    };
    let resource = resource::of_plugin(&service.plugin, host, run);
    scoped(resource, schema_url, metrics.collect())
}

/// `schema_url` is that of the metrics' names; the resource's are always of the conventions.
fn scoped(resource: Resource, schema_url: &str, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "kevmon".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            schema_url: schema_url.to_owned(),
        }],
        schema_url: resource::SCHEMA_URL.to_owned(),
    }
}

fn metric(name: String, unit: &str, description: &str, data: Data) -> Metric {
    Metric {
        name,
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// When a metric's points begin and are taken, Unix ns.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
    /// For points that are times themselves.
    wall: UnixClock,
}

impl Times {
    /// A wall clock set back must not put a sum's start behind its end.
    fn new(start: u64, collection: &Collection) -> Self {
        Self {
            start: start.min(collection.time),
            now: collection.time,
            wall: collection.wall,
        }
    }
}

/// `None` without points: what is not known is not exported.
fn data(values: Vec<Value>, times: Times, instrument: Instrument) -> Option<Data> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
    for value in values {
        let attributes = resource::attributes(value.attributes);
        let number = match value.measure {
            // OTLP's integers are signed; a count beyond 2^63 is not reached in a machine's life.
            Measure::Integer(integer) => {
                number_data_point::Value::AsInt(i64::try_from(integer).unwrap_or(i64::MAX))
            }
            Measure::Float(float) => number_data_point::Value::AsDouble(float),
            Measure::Time(moment) => number_data_point::Value::AsDouble(times.wall.unix(moment) as f64 / 1e9),
            Measure::Durations(durations) => {
                histograms.push(HistogramDataPoint {
                    attributes,
                    ..histogram(&durations, times)
                });
                continue;
            }
        };
        numbers.push(NumberDataPoint {
            attributes,
            // A gauge has no start.
            start_time_unix_nano: if instrument == Instrument::Gauge {
                0
            } else {
                times.start
            },
            time_unix_nano: times.now,
            value: Some(number),
            ..NumberDataPoint::default()
        });
    }
    if numbers.is_empty() && histograms.is_empty() {
        return None;
    }
    Some(match instrument {
        Instrument::Gauge => Data::Gauge(Gauge { data_points: numbers }),
        Instrument::Counter | Instrument::UpDownCounter => Data::Sum(Sum {
            data_points: numbers,
            aggregation_temporality: cumulative,
            is_monotonic: instrument == Instrument::Counter,
        }),
        Instrument::Histogram => Data::Histogram(Histogram {
            data_points: histograms,
            aggregation_temporality: cumulative,
        }),
    })
}

/// In seconds. OTLP's buckets are as ours: each includes its upper bound, the last one has none.
fn histogram(durations: &Durations, times: Times) -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: durations.count(),
        sum: Some(durations.sum as f64 / 1e9),
        bucket_counts: durations.counts.to_vec(),
        explicit_bounds: BOUNDS.iter().map(|&nanos| nanos as f64 / 1e9).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::collection::tests::collection, *};
    use crate::process::{BootTime, Moment};

    const S: u64 = 1_000_000_000;

    fn times() -> Times {
        Times {
            start: 5 * S,
            now: 9 * S,
            wall: UnixClock::new(100 * S, BootTime(40 * S)),
        }
    }

    fn value(measure: Measure) -> Vec<Value> {
        vec![Value {
            attributes: Vec::new(),
            measure,
        }]
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let mut durations = Durations::default();
        for millis in [1, 2, 90_000_000] {
            durations.add(Duration::from_millis(millis));
        }
        let data = data(
            value(Measure::Durations(durations)),
            times(),
            Instrument::Histogram,
        );
        let Some(Data::Histogram(histogram)) = data else {
            panic!("{data:?}")
        };
        assert_eq!(
            histogram.aggregation_temporality,
            i32::from(AggregationTemporality::Cumulative)
        );
        let [point] = histogram.data_points.as_slice() else {
            panic!("{histogram:?}")
        };
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5 * S, 9 * S));
        assert_eq!((point.count, point.sum), (3, Some(90_000.003)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(
            (point.explicit_bounds[0], point.explicit_bounds[14]),
            (0.001, 86_400.0)
        );
        assert_eq!(
            (
                point.bucket_counts[0],
                point.bucket_counts[1],
                point.bucket_counts[15]
            ),
            (1, 1, 1)
        );
    }

    #[test]
    fn a_moment_is_seconds_since_1970_whichever_clock_told_it() {
        for (moment, seconds) in [
            (Moment::Boot(BootTime(41 * S + S / 2)), 101.5),
            (Moment::Unix(7 * S), 7.0),
        ] {
            let data = data(value(Measure::Time(moment)), times(), Instrument::Gauge);
            let Some(Data::Gauge(gauge)) = data else {
                panic!("{data:?}")
            };
            let point = &gauge.data_points[0];
            assert_eq!(point.value, Some(number_data_point::Value::AsDouble(seconds)));
            assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (0, 9 * S));
        }
    }

    #[test]
    fn the_conventions_are_claimed_where_their_names_are_used() {
        let mut collection = collection();
        let host = HostIdentity {
            id: None,
            name: "n".to_owned(),
        };
        for (naming, of_metrics) in [
            (Naming::Instana, ""),
            (Naming::Otel, "https://opentelemetry.io/schemas/1.38.0"),
            (Naming::Both, "https://opentelemetry.io/schemas/1.38.0"),
        ] {
            collection.services[0].plugin.naming = naming;
            let told = requests(&collection, &host, Run::Service).resource_metrics;
            let urls: Vec<_> = told
                .iter()
                .map(|of| (of.schema_url.as_str(), of.scope_metrics[0].schema_url.as_str()))
                .collect();
            let conventions = "https://opentelemetry.io/schemas/1.38.0";
            assert_eq!(urls, [(conventions, of_metrics), (conventions, "")], "{naming:?}");
        }
    }

    #[test]
    fn without_points_there_is_no_metric() {
        for instrument in [Instrument::Gauge, Instrument::Counter, Instrument::Histogram] {
            assert_eq!(data(Vec::new(), times(), instrument), None);
        }
    }
}
