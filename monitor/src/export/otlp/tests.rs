use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, Metric, metric::Data, number_data_point},
};
use prost::Message;

use super::{super::collection::tests::collection, *};
use crate::{
    export::transport::connection::Signal,
    metrics::{Attribute, Attributes},
    plugin::Durations,
    process::{BootTime, Moment},
};

const S: u64 = 1_000_000_000;
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.44.0";

fn host() -> HostIdentity {
    HostIdentity::new(None, "n".to_owned())
}

pub(super) fn encoder(temporality: Temporality) -> MetricRequests {
    MetricRequests::new(host(), Run::Service, temporality)
}

pub(super) fn decoded(request: &EncodedRequest) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(request.body.clone()).expect("a request for metrics")
}

/// The only request of a collection, all of whose services are wanted.
pub(super) fn told(encoder: &mut MetricRequests, collection: &Collection) -> ExportMetricsServiceRequest {
    let requests = encoder.encode(collection, |_| true);
    let [request] = requests.as_slice() else {
        panic!("{} requests", requests.len())
    };
    assert_eq!((request.signal, request.time), (Signal::Metrics, collection.time));
    let decoded = decoded(request);
    assert_eq!(
        decoded.encoded_len(),
        request.body.len(),
        "no field is lost, no length longer than it must be"
    );
    assert_eq!(points(&decoded).len() as u64, request.items);
    decoded
}

/// A point as it is compared: what its series is, start, time and value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) resource: usize,
    pub(super) metric: String,
    pub(super) attributes: String,
    pub(super) start: u64,
    pub(super) time: u64,
    /// 0 where the point ends its series.
    pub(super) value: f64,
    pub(super) temporality: i32,
    pub(super) is_end: bool,
}

pub(super) fn points(request: &ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for (resource, of) in request.resource_metrics.iter().enumerate() {
        for metric in &of.scope_metrics[0].metrics {
            let point = |attributes: &[_], start, time, value, temporality| Point {
                resource,
                metric: metric.name.clone(),
                attributes: format!("{attributes:?}"),
                start,
                time,
                value,
                temporality,
                is_end: false,
            };
            let (numbers, temporality) = match metric.data.as_ref().expect("data") {
                Data::Gauge(gauge) => (&gauge.data_points, 0),
                Data::Sum(sum) => (&sum.data_points, sum.aggregation_temporality),
                Data::Histogram(told) => {
                    points.extend(told.data_points.iter().map(|told_point| {
                        let (start, time) = (told_point.start_time_unix_nano, told_point.time_unix_nano);
                        let count = told_point.count as f64;
                        point(
                            &told_point.attributes,
                            start,
                            time,
                            count,
                            told.aggregation_temporality,
                        )
                    }));
                    continue;
                }
                other => panic!("{other:?}"),
            };
            points.extend(numbers.iter().map(|number| {
                let (value, is_end) = match (number.value, number.flags) {
                    (Some(number_data_point::Value::AsInt(value)), 0) => (value as f64, false),
                    (Some(number_data_point::Value::AsDouble(value)), 0) => (value, false),
                    (None, 1) => (0.0, true),
                    other => panic!("{other:?}"),
                };
                let (start, time) = (number.start_time_unix_nano, number.time_unix_nano);
                Point {
                    is_end,
                    ..point(&number.attributes, start, time, value, temporality)
                }
            }));
        }
    }
    points
}

/// A metric by itself, with these values, from second 5 to second 9.
fn alone(instrument: Instrument, measure: Option<Measure>, attributes: Attributes) -> Option<Metric> {
    let described = Described {
        prefix: "p.",
        name: "name",
        unit: "unit",
        description: "what it is",
        instrument,
        exponential: false,
    };
    let moments = Moments {
        start: 5 * S,
        now: 9 * S,
        wall: UnixClock::new(100 * S, BootTime(40 * S)),
    };
    let values: Vec<Value> = measure
        .map(|measure| Value { attributes, measure })
        .into_iter()
        .collect();
    let mut buffer = Vec::new();
    let mut series = Series::default();
    let count = metric(
        &mut buffer,
        described,
        Temporality::Cumulative,
        &values,
        moments,
        &mut series,
    );
    assert_eq!(count, values.len() as u64);
    let scope = opentelemetry_proto::tonic::metrics::v1::ScopeMetrics::decode(buffer.as_slice());
    scope.expect("a scope's field").metrics.pop()
}

#[test]
fn a_metric_says_what_it_is() {
    let attributes = vec![
        ("text", "x".into()),
        ("empty", "".into()),
        ("integer", Attribute::Integer(-7)),
        ("float", Attribute::Float(0.5)),
        ("flag", true.into()),
        ("no", false.into()),
    ];
    let told = alone(
        Instrument::Counter,
        Some(Measure::Integer(u64::MAX)),
        attributes.clone(),
    );
    let told = told.expect("a metric");
    assert_eq!(
        (told.name.as_str(), told.unit.as_str(), told.description.as_str()),
        ("p.name", "unit", "what it is")
    );
    let Some(Data::Sum(sum)) = told.data else {
        panic!("{told:?}")
    };
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    assert_eq!(
        (sum.is_monotonic, sum.aggregation_temporality),
        (true, cumulative)
    );
    let point = &sum.data_points[0];
    assert_eq!(point.attributes, resource::attributes(attributes));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5 * S, 9 * S));
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(i64::MAX)));

    let told = alone(Instrument::UpDownCounter, Some(Measure::Integer(0)), Vec::new());
    let Some(Data::Sum(sum)) = told.and_then(|told| told.data) else {
        panic!("no sum")
    };
    assert_eq!(
        (sum.is_monotonic, sum.aggregation_temporality),
        (false, cumulative)
    );
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(0)));
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let mut durations = Durations::default();
    for millis in [1, 2, 90_000_000] {
        durations.add(Duration::from_millis(millis));
    }
    let attributes = vec![("a", "b".into())];
    let measure = Measure::Durations(durations);
    let told = alone(Instrument::Histogram, Some(measure), attributes.clone());
    let Some(Data::Histogram(histogram)) = told.and_then(|told| told.data) else {
        panic!("no histogram")
    };
    assert_eq!(
        histogram.aggregation_temporality,
        i32::from(AggregationTemporality::Cumulative)
    );
    let [point] = histogram.data_points.as_slice() else {
        panic!("{histogram:?}")
    };
    assert_eq!(point.attributes, resource::attributes(attributes));
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
        let told = alone(Instrument::Gauge, Some(Measure::Time(moment)), Vec::new());
        let Some(Data::Gauge(gauge)) = told.and_then(|told| told.data) else {
            panic!("no gauge")
        };
        let point = &gauge.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(seconds)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (0, 9 * S));
    }
}

#[test]
fn the_conventions_are_claimed_where_their_names_are_used() {
    let mut collection = collection();
    let mut encoder = encoder(Temporality::Cumulative);
    for (naming, of_metrics) in [
        (Naming::Instana, ""),
        (Naming::Otel, CONVENTIONS),
        (Naming::Both, CONVENTIONS),
    ] {
        Arc::make_mut(&mut collection.services[0].plugin).naming = naming;
        let told = told(&mut encoder, &collection).resource_metrics;
        let urls: Vec<_> = told
            .iter()
            .map(|of| (of.schema_url.as_str(), of.scope_metrics[0].schema_url.as_str()))
            .collect();
        assert_eq!(urls, [(CONVENTIONS, ""), (CONVENTIONS, of_metrics)], "{naming:?}");
    }
}

#[test]
fn a_service_is_told_under_its_resource_with_its_prefix() {
    let mut collection = collection();
    let plugin = Arc::make_mut(&mut collection.services[0].plugin);
    plugin.prefix = true;
    let plugin = plugin.clone();
    let told = told(&mut encoder(Temporality::Cumulative), &collection);
    let [own, service] = told.resource_metrics.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(own.resource, Some(resource::of_kevmon(&host(), Run::Service)));
    assert_eq!(
        service.resource,
        Some(resource::of_plugin(
            &plugin,
            &std::collections::BTreeMap::new(),
            &host(),
            Run::Service
        ))
    );
    for of in [own, service] {
        let scope = of.scope_metrics[0].scope.clone().expect("a scope");
        assert_eq!(
            (scope.name.as_str(), scope.version.as_str()),
            ("kevmon", env!("CARGO_PKG_VERSION"))
        );
    }
    let names = |of: &opentelemetry_proto::tonic::metrics::v1::ResourceMetrics| {
        let metrics = of.scope_metrics[0].metrics.iter();
        metrics.map(|metric| metric.name.clone()).collect::<Vec<_>>()
    };
    assert!(
        names(service).iter().all(|name| name.starts_with("web.")),
        "{:?}",
        names(service)
    );
    assert!(names(service).contains(&"web.process_count".to_owned()));
    assert!(names(own).contains(&"kevmon.complete".to_owned()));
    let cpu_usage = names(service).iter().any(|name| name == "web.cpu_usage");
    assert!(!cpu_usage, "without points there is no metric");
}

/// `count` services, whose plugins are named by numbers.
fn many(count: usize) -> Collection {
    let one = collection();
    let services = (0..count).map(|index| {
        let mut service = one.services[0].clone();
        Arc::make_mut(&mut service.plugin).name = index.to_string();
        service
    });
    Collection {
        services: services.collect(),
        ..one
    }
}

/// The plugins of a request's resources; kevmon's own is the empty one.
fn plugins(request: &EncodedRequest) -> Vec<String> {
    let of = |resource: &opentelemetry_proto::tonic::resource::v1::Resource| {
        let attribute = resource.attributes.iter().find(|a| a.key == "kevmon.plugin");
        attribute.map_or_else(String::new, |attribute| format!("{:?}", attribute.value))
    };
    let resources = decoded(request).resource_metrics;
    resources
        .iter()
        .map(|metrics| of(metrics.resource.as_ref().expect("a resource")))
        .collect()
}

/// All metrics of some requests, by plugin.
fn by_plugin(requests: &[EncodedRequest]) -> BTreeMap<String, Vec<Metric>> {
    let mut all: BTreeMap<String, Vec<Metric>> = BTreeMap::new();
    for request in requests {
        for (plugin, metrics) in plugins(request)
            .into_iter()
            .zip(decoded(request).resource_metrics)
        {
            all.entry(plugin)
                .or_default()
                .extend(metrics.scope_metrics[0].metrics.clone());
        }
    }
    all
}

#[test]
fn requests_stay_below_the_limit_and_services_whole_where_they_fit() {
    let collection = many(40);
    let whole = encoder(Temporality::Cumulative).encode(&collection, |_| true);
    assert_eq!(whole.len(), 1);
    let service = whole[0].body.len() / 41;
    for longest in [
        400,
        1_000,
        service / 2,
        service + 1_000,
        5 * service,
        20 * service,
    ] {
        let mut encoder = encoder(Temporality::Cumulative);
        encoder.longest = longest;
        let requests = encoder.encode(&collection, |_| true);
        assert_eq!(
            by_plugin(&requests),
            by_plugin(&whole),
            "each metric once, with {longest}"
        );
        let mut parts: BTreeMap<String, usize> = BTreeMap::new();
        for request in &requests {
            // Shorter than its one metric and its resource no request can be.
            let metrics: usize = decoded(request)
                .resource_metrics
                .iter()
                .map(|of| of.scope_metrics[0].metrics.len())
                .sum();
            assert!(
                request.body.len() < longest || metrics == 1,
                "{} bytes",
                request.body.len()
            );
            assert_eq!(points(&decoded(request)).len() as u64, request.items);
            for plugin in plugins(request) {
                *parts.entry(plugin).or_default() += 1;
            }
        }
        let split = parts
            .iter()
            .filter(|(plugin, _)| !plugin.is_empty())
            .any(|(_, parts)| *parts > 1);
        assert_eq!(split, longest < service, "{parts:?} with {longest}");
        if longest >= 5 * service {
            let expected = whole[0].body.len() / (longest - 2 * service) + 1;
            assert!(
                requests.len() <= expected,
                "{} requests of {longest}",
                requests.len()
            );
        }
    }
}

#[test]
fn a_receiver_is_told_of_the_services_it_wants_and_of_kevmon_once() {
    let collection = many(4);
    let mut encoder = encoder(Temporality::Cumulative);
    let requests = encoder.encode(&collection, |service| service.plugin.name == "2");
    assert_eq!(requests.len(), 1);
    assert_eq!(plugins(&requests[0]).len(), 2, "kevmon and the one");
    let requests = encoder.encode(&collection, |_| false);
    assert_eq!(plugins(&requests[0]), [""], "kevmon alone");
}
