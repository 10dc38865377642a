//! Collections as OTLP requests (opentelemetry-proto 1.x, metrics/v1).

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::InstrumentationScope,
    metrics::v1::{
        AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    collection::{Collection, ServiceReading},
    resource::{self, HostIdentity, Run},
};
use crate::metrics::{self, Instrument, Number, OWN, Value};

/// The collection as one request: a resource for each plugin, and kevmon's own.
pub fn requests(collection: &Collection, host: &HostIdentity, run: Run) -> ExportMetricsServiceRequest {
    let mut resource_metrics: Vec<ResourceMetrics> = collection
        .services
        .iter()
        .map(|service| of_service(collection, service, host, run))
        .collect();
    let own = OWN.iter().filter_map(|own| {
        let start = collection
            .services
            .iter()
            .map(|service| collection.clock.unix(service.reading.watch_start))
            .min()
            .unwrap_or(collection.time);
        let points = points(
            (own.values)(&collection.health),
            start,
            collection.time,
            own.instrument,
        );
        metric(
            own.name.to_owned(),
            own.unit,
            own.description,
            own.instrument,
            points,
        )
    });
    resource_metrics.push(scoped(resource::of_kevmon(host, run), own.collect()));
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
        let points = points(
            (listed.values)(&service.reading),
            start,
            collection.time,
            listed.instrument,
        );
        metric(
            format!("{prefix}{}", listed.name),
            listed.unit,
            listed.description,
            listed.instrument,
            points,
        )
    });
    scoped(resource::of_plugin(&service.plugin, host, run), metrics.collect())
}

fn scoped(resource: Resource, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "kevmon".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    }
}

/// `None` without points: what is not known is not exported.
fn metric(
    name: String,
    unit: &str,
    description: &str,
    instrument: Instrument,
    data_points: Vec<NumberDataPoint>,
) -> Option<Metric> {
    if data_points.is_empty() {
        return None;
    }
    let data = match instrument {
        Instrument::Gauge => Data::Gauge(Gauge { data_points }),
        Instrument::Counter | Instrument::UpDownCounter => Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: instrument == Instrument::Counter,
        }),
    };
    Some(Metric {
        name,
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn points(values: Vec<Value>, start: u64, time: u64, instrument: Instrument) -> Vec<NumberDataPoint> {
    values
        .into_iter()
        .map(|value| NumberDataPoint {
            attributes: value
                .attributes
                .into_iter()
                .map(|(key, value)| resource::text(key, value))
                .collect(),
            // A gauge has no start. A wall clock set back must not put a sum's start behind its end.
            start_time_unix_nano: if instrument == Instrument::Gauge {
                0
            } else {
                start.min(time)
            },
            time_unix_nano: time,
            value: Some(match value.number {
                // OTLP's integers are signed; a count beyond 2^63 is not reached in a machine's life.
                Number::Integer(integer) => {
                    number_data_point::Value::AsInt(i64::try_from(integer).unwrap_or(i64::MAX))
                }
                Number::Float(float) => number_data_point::Value::AsDouble(float),
            }),
            ..NumberDataPoint::default()
        })
        .collect()
}
