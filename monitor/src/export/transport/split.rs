//! Makes smaller requests of one that is too large for a receiver, or for the bound that the user has set.
//!
//! A request is cut in halves: at first between resources, which is all that is done for a receiver that answers 413;
//! where a bound is given, further between scopes, metrics and data points, until each part is below it. The parts hold
//! the same items in the same order. Requests that are small enough are never decoded.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::any_value::Value,
    logs::v1::{ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric::Data},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message;

use super::connection::{EncodedRequest, Signal};

/// How fine a request may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Between resources.
    Resources,
    /// Between single items.
    Items,
}

/// The two halves of `request`, cut between resources; `None` where it holds one resource, or cannot be read.
pub fn halves(request: &EncodedRequest) -> Option<[EncodedRequest; 2]> {
    cut(request, Depth::Resources)
}

/// `request` in parts of which each is at most `limit` bytes long, or holds a single item.
pub fn below(request: EncodedRequest, limit: usize) -> Vec<EncodedRequest> {
    if request.body.len() <= limit {
        return vec![request];
    }
    match cut(&request, Depth::Items) {
        Some(halves) => halves.into_iter().flat_map(|half| below(half, limit)).collect(),
        None => vec![request],
    }
}

/// The names of the services of which `request` holds items, for messages.
pub fn services(request: &EncodedRequest) -> String {
    let body = request.body.clone();
    let resources: Vec<Option<Resource>> = match request.signal {
        Signal::Metrics => ExportMetricsServiceRequest::decode(body).map_or_else(
            |_| Vec::new(),
            |message| {
                message
                    .resource_metrics
                    .into_iter()
                    .map(|of| of.resource)
                    .collect()
            },
        ),
        Signal::Logs => ExportLogsServiceRequest::decode(body).map_or_else(
            |_| Vec::new(),
            |message| message.resource_logs.into_iter().map(|of| of.resource).collect(),
        ),
        Signal::Traces => ExportTraceServiceRequest::decode(body).map_or_else(
            |_| Vec::new(),
            |message| message.resource_spans.into_iter().map(|of| of.resource).collect(),
        ),
    };
    let names = resources.into_iter().flatten().filter_map(|resource| {
        let name = resource
            .attributes
            .into_iter()
            .find(|of| of.key == "service.name")?;
        match name.value?.value? {
            Value::StringValue(name) => Some(name),
            _ => None,
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

fn cut(request: &EncodedRequest, depth: Depth) -> Option<[EncodedRequest; 2]> {
    let body = request.body.clone();
    match request.signal {
        Signal::Metrics => {
            let mut first = ExportMetricsServiceRequest::decode(body).ok()?;
            let second = ExportMetricsServiceRequest {
                resource_metrics: second_half(&mut first.resource_metrics, depth, cut_resource_metrics)?,
            };
            let items = points(&second);
            Some(parts(request, &first, &second, items))
        }
        Signal::Logs => {
            let mut first = ExportLogsServiceRequest::decode(body).ok()?;
            let second = ExportLogsServiceRequest {
                resource_logs: second_half(&mut first.resource_logs, depth, cut_resource_logs)?,
            };
            let scopes = second.resource_logs.iter().flat_map(|of| &of.scope_logs);
            let items = scopes.map(|scope| scope.log_records.len() as u64).sum();
            Some(parts(request, &first, &second, items))
        }
        Signal::Traces => {
            let mut first = ExportTraceServiceRequest::decode(body).ok()?;
            let second = ExportTraceServiceRequest {
                resource_spans: second_half(&mut first.resource_spans, depth, cut_resource_spans)?,
            };
            let scopes = second.resource_spans.iter().flat_map(|of| &of.scope_spans);
            let items = scopes.map(|scope| scope.spans.len() as u64).sum();
            Some(parts(request, &first, &second, items))
        }
    }
}

/// The halves of `request`, of which the second has `items`.
fn parts<M: Message>(request: &EncodedRequest, first: &M, second: &M, items: u64) -> [EncodedRequest; 2] {
    let part = |message: &M, items| EncodedRequest {
        signal: request.signal,
        items,
        time: request.time,
        body: message.encode_to_vec().into(),
    };
    [
        part(first, request.items.saturating_sub(items)),
        part(second, items),
    ]
}

/// Takes the second half off `all`; of a single one, what `inside` takes off it where that is allowed.
fn second_half<T>(all: &mut Vec<T>, depth: Depth, inside: impl Fn(&mut T) -> Option<T>) -> Option<Vec<T>> {
    match all.as_mut_slice() {
        [] => None,
        [one] if depth == Depth::Items => Some(vec![inside(one)?]),
        [_] => None,
        several => {
            let middle = several.len().div_ceil(2);
            Some(all.split_off(middle))
        }
    }
}

fn cut_resource_metrics(of: &mut ResourceMetrics) -> Option<ResourceMetrics> {
    let scope_metrics = second_half(&mut of.scope_metrics, Depth::Items, |scope| {
        Some(ScopeMetrics {
            metrics: second_half(&mut scope.metrics, Depth::Items, cut_metric)?,
            scope: scope.scope.clone(),
            schema_url: scope.schema_url.clone(),
        })
    })?;
    Some(ResourceMetrics {
        resource: of.resource.clone(),
        schema_url: of.schema_url.clone(),
        scope_metrics,
    })
}

fn cut_resource_logs(of: &mut ResourceLogs) -> Option<ResourceLogs> {
    let scope_logs = second_half(&mut of.scope_logs, Depth::Items, |scope| {
        Some(ScopeLogs {
            log_records: second_half(&mut scope.log_records, Depth::Items, |_| None)?,
            scope: scope.scope.clone(),
            schema_url: scope.schema_url.clone(),
        })
    })?;
    Some(ResourceLogs {
        resource: of.resource.clone(),
        schema_url: of.schema_url.clone(),
        scope_logs,
    })
}

fn cut_resource_spans(of: &mut ResourceSpans) -> Option<ResourceSpans> {
    let scope_spans = second_half(&mut of.scope_spans, Depth::Items, |scope| {
        Some(ScopeSpans {
            spans: second_half(&mut scope.spans, Depth::Items, |_| None)?,
            scope: scope.scope.clone(),
            schema_url: scope.schema_url.clone(),
        })
    })?;
    Some(ResourceSpans {
        resource: of.resource.clone(),
        schema_url: of.schema_url.clone(),
        scope_spans,
    })
}

fn cut_metric(metric: &mut Metric) -> Option<Metric> {
    fn half<T>(points: &mut Vec<T>) -> Option<Vec<T>> {
        second_half(points, Depth::Items, |_| None)
    }
    let data = match metric.data.as_mut()? {
        Data::Gauge(data) => {
            let data_points = half(&mut data.data_points)?;
            let mut second = data.clone();
            second.data_points = data_points;
            Data::Gauge(second)
        }
        Data::Sum(data) => {
            let data_points = half(&mut data.data_points)?;
            let mut second = data.clone();
            second.data_points = data_points;
            Data::Sum(second)
        }
        Data::Histogram(data) => {
            let data_points = half(&mut data.data_points)?;
            let mut second = data.clone();
            second.data_points = data_points;
            Data::Histogram(second)
        }
        Data::ExponentialHistogram(data) => {
            let data_points = half(&mut data.data_points)?;
            let mut second = data.clone();
            second.data_points = data_points;
            Data::ExponentialHistogram(second)
        }
        Data::Summary(data) => {
            let data_points = half(&mut data.data_points)?;
            let mut second = data.clone();
            second.data_points = data_points;
            Data::Summary(second)
        }
    };
    Some(Metric {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: metric.metadata.clone(),
        data: Some(data),
    })
}

fn points(message: &ExportMetricsServiceRequest) -> u64 {
    let scopes = message.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let counts = metrics.map(|metric| match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    });
    counts.map(|count| count as u64).sum()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue},
        logs::v1::LogRecord,
        metrics::v1::{Gauge, NumberDataPoint},
        trace::v1::Span,
    };

    use super::*;

    fn resource(name: &str) -> Option<Resource> {
        let value = Value::StringValue(name.to_owned());
        Some(Resource {
            attributes: vec![KeyValue {
                key: "service.name".to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }],
            ..Resource::default()
        })
    }

    /// So many resources, each with two metrics of so many points.
    fn metrics(resources: u64, points: u64) -> EncodedRequest {
        let metric = |resource: u64, metric: u64| Metric {
            name: format!("metric {metric}"),
            unit: "By".to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: (0..points)
                    .map(|point| NumberDataPoint {
                        time_unix_nano: resource << 32 | metric << 16 | point,
                        ..NumberDataPoint::default()
                    })
                    .collect(),
            })),
            ..Metric::default()
        };
        let message = ExportMetricsServiceRequest {
            resource_metrics: (0..resources)
                .map(|of| ResourceMetrics {
                    resource: resource(&format!("service {of}")),
                    scope_metrics: vec![ScopeMetrics {
                        metrics: (0..2).map(|one| metric(of, one)).collect(),
                        schema_url: "scope".to_owned(),
                        ..ScopeMetrics::default()
                    }],
                    schema_url: "resource".to_owned(),
                })
                .collect(),
        };
        EncodedRequest {
            signal: Signal::Metrics,
            items: resources * 2 * points,
            time: 5,
            body: message.encode_to_vec().into(),
        }
    }

    /// The points of `request`, each with everything that stands above it.
    fn all_points(request: &EncodedRequest) -> Vec<String> {
        let message = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
        let mut all = Vec::new();
        for of in &message.resource_metrics {
            for scope in &of.scope_metrics {
                for metric in &scope.metrics {
                    let Some(Data::Gauge(data)) = &metric.data else {
                        panic!("a gauge")
                    };
                    all.extend(data.data_points.iter().map(|point| {
                        format!(
                            "{:?} {} {} {} {} {}",
                            of.resource,
                            of.schema_url,
                            scope.schema_url,
                            metric.name,
                            metric.unit,
                            point.time_unix_nano
                        )
                    }));
                }
            }
        }
        all
    }

    #[test]
    fn halves_are_cut_between_resources_alone() {
        let request = metrics(5, 3);
        let [first, second] = halves(&request).unwrap();
        assert_eq!((first.items, second.items, second.time), (18, 12, 5));
        assert_eq!(services(&second), "service 3, service 4");
        assert_eq!(
            [all_points(&first), all_points(&second)].concat(),
            all_points(&request)
        );
        assert_eq!(halves(&metrics(1, 100)), None);
    }

    #[test]
    fn below_a_bound_everything_is_there_once_and_in_order() {
        for (resources, points) in [(1, 500), (7, 40), (3, 1)] {
            let request = metrics(resources, points);
            for limit in [300, 1_000, 5_000, 1 << 20] {
                let parts = below(request.clone(), limit);
                let found: Vec<String> = parts.iter().flat_map(all_points).collect();
                assert_eq!(found, all_points(&request), "{resources}, {points}, {limit}");
                assert_eq!(parts.iter().map(|part| part.items).sum::<u64>(), request.items);
                for part in &parts {
                    assert_eq!(part.items, all_points(part).len() as u64);
                    assert!(
                        part.body.len() <= limit || part.items == 1,
                        "{} bytes",
                        part.body.len()
                    );
                }
            }
        }
    }

    #[test]
    fn logs_and_spans_are_cut_too() {
        let logs = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: resource("a"),
                scope_logs: vec![ScopeLogs {
                    log_records: vec![LogRecord::default(); 9],
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        let spans = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: resource("a"),
                scope_spans: vec![ScopeSpans {
                    spans: vec![Span::default(); 9],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        for (signal, body) in [
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Traces, spans.encode_to_vec()),
        ] {
            let request = EncodedRequest {
                signal,
                items: 9,
                time: 1,
                body: body.into(),
            };
            assert_eq!(halves(&request), None);
            let parts = below(request, 1);
            assert_eq!(
                parts.iter().map(|part| part.items).collect::<Vec<_>>(),
                [1; 9],
                "{signal:?}"
            );
            assert!(parts.iter().all(|part| services(part) == "a"));
        }
    }

    #[test]
    fn what_cannot_be_read_stays_whole() {
        let request = EncodedRequest {
            signal: Signal::Metrics,
            items: 3,
            time: 1,
            body: "collection 1".into(),
        };
        assert_eq!(halves(&request), None);
        assert_eq!(below(request.clone(), 3), std::slice::from_ref(&request));
        assert_eq!(services(&request), "");
    }
}
