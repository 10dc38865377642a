//! What the SDK makes of what it is told.

use std::sync::mpsc;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::KeyValue as Attribute,
    metrics::v1::{Metric, metric::Data},
};
use prost::Message;

use super::*;

/// Everything that telemetry hands over for what `tell` tells it.
fn handed_over(temporality: super::super::Temporality, tell: impl FnOnce(&Telemetry)) -> Vec<EncodedRequest> {
    let (hand, handed) = mpsc::channel();
    let host = HostIdentity::new(Some("h".to_owned()), "n".to_owned());
    let hour = Duration::from_secs(3600);
    let telemetry = Telemetry::start(&host, hour, temporality, true, move |request| {
        hand.send(request).expect("the test waits");
    })
    .expect("it starts");
    tell(&telemetry);
    telemetry.finish();
    handed.try_iter().collect()
}

fn lane(receiver: &str) -> ExportReading {
    ExportReading {
        receiver: receiver.to_owned(),
        signal: "metrics",
        delivered: 30,
        repeated: 1,
        failures: 2,
        waiting_requests: 4,
        waiting_bytes: 500,
        ..ExportReading::default()
    }
}

fn tell_all(telemetry: &Telemetry) {
    telemetry.observe(Observed {
        cpu: 1_500_000_000,
        rss: Some(4096),
        threads: Some(3),
        exports: vec![lane("default"), lane("b")],
        programs: vec![ProgramTime {
            name: "sched_process_exec",
            nanos: 7_000,
            runs: 9,
        }],
    });
    telemetry.collected(&CollectionSpan {
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
        took: Duration::from_millis(3),
        plugins: 2,
        processes: 11,
        complete: true,
    });
    for signal in Signal::ALL {
        telemetry.exported(&ExportSpan {
            receiver: "default".to_owned(),
            signal,
            items: 10,
            took: Duration::from_millis(4),
            accepted: signal == Signal::Metrics,
        });
    }
}

fn metrics(requests: &[EncodedRequest]) -> Vec<Metric> {
    let of = requests
        .iter()
        .filter(|request| request.signal == Signal::Metrics);
    of.flat_map(|request| {
        let decoded = ExportMetricsServiceRequest::decode(request.body.clone()).expect("metrics");
        let [resource] = decoded.resource_metrics.try_into().expect("one resource");
        resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics)
    })
    .collect()
}

fn text(attributes: &[Attribute], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?;
    match value.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::BoolValue(flag) => Some(flag.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_metric_is_told_and_documented() {
    let requests = handed_over(super::super::Temporality::Cumulative, tell_all);
    let docs = include_str!("../../../../docs/export.md");
    let metrics = metrics(&requests);
    let documented = docs.lines().filter(|line| {
        line.starts_with("| `kevmon.") && line.contains("` |") || line.starts_with("| `process.")
    });
    assert_eq!(metrics.len(), documented.count(), "{metrics:?}");
    for Metric {
        name,
        unit,
        description,
        data,
        ..
    } in &metrics
    {
        let instrument = match data.as_ref().expect("data") {
            Data::Sum(sum) if sum.is_monotonic => "Counter",
            Data::Sum(_) => "UpDownCounter",
            Data::Histogram(_) => "Histogram",
            other => panic!("{other:?}"),
        };
        let row = format!("| `{name}` | {instrument} | `{unit}` | {description}");
        assert!(docs.contains(&row), "docs/export.md lacks {row:?}");
    }
    let items: u64 = requests
        .iter()
        .filter(|request| request.signal == Signal::Metrics)
        .map(|request| request.items)
        .sum();
    // Three of the process, six for each of two receivers, two of the program, one collection, three attempts.
    assert_eq!(items, 3 + 6 * 2 + 2 + 1 + 3);
}

#[test]
fn a_span_for_each_collection_and_each_attempt_but_those_of_spans() {
    let requests = handed_over(super::super::Temporality::Cumulative, tell_all);
    let traces = requests.iter().filter(|request| request.signal == Signal::Traces);
    let spans: Vec<_> = traces
        .flat_map(|request| {
            let decoded = ExportTraceServiceRequest::decode(request.body.clone()).expect("spans");
            let scopes = decoded.resource_spans.into_iter().flat_map(|of| of.scope_spans);
            let spans: Vec<_> = scopes.flat_map(|scope| scope.spans).collect();
            assert_eq!(request.items, spans.len() as u64);
            spans
        })
        .collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["collect", "export", "export"]);
    let collect = &spans[0];
    assert_eq!(
        (collect.start_time_unix_nano, collect.end_time_unix_nano),
        (5_000_000_000, 5_003_000_000)
    );
    for (key, value) in [
        ("kevmon.plugins", "2"),
        ("kevmon.processes", "11"),
        ("kevmon.complete", "true"),
    ] {
        assert_eq!(text(&collect.attributes, key).as_deref(), Some(value), "{key}");
    }
    for (span, signal, outcome, failed) in [
        (&spans[1], "metrics", "accepted", false),
        (&spans[2], "logs", "failed", true),
    ] {
        assert_eq!(text(&span.attributes, "kevmon.signal").as_deref(), Some(signal));
        assert_eq!(text(&span.attributes, "kevmon.outcome").as_deref(), Some(outcome));
        assert_eq!(text(&span.attributes, "kevmon.items").as_deref(), Some("10"));
        let code = span.status.as_ref().map_or(0, |status| status.code);
        assert_eq!(code == 2, failed, "{span:?}");
    }
}

#[test]
fn temporality_is_the_receivers() {
    use super::super::Temporality::{Cumulative, Delta, LowMemory};
    for (preference, counter, histogram) in [(Cumulative, 2, 2), (Delta, 1, 1), (LowMemory, 2, 1)] {
        let told = metrics(&handed_over(preference, tell_all));
        for metric in told {
            match metric.data.expect("data") {
                Data::Sum(sum) if sum.is_monotonic => {
                    assert_eq!(
                        sum.aggregation_temporality, counter,
                        "{preference:?} {}",
                        metric.name
                    );
                }
                Data::Histogram(of) => {
                    assert_eq!(
                        of.aggregation_temporality, histogram,
                        "{preference:?} {}",
                        metric.name
                    );
                }
                _ => {}
            }
        }
    }
}

#[test]
fn without_statistics_and_proc_there_are_no_zeros() {
    let requests = handed_over(super::super::Temporality::Cumulative, |telemetry| {
        telemetry.observe(Observed::default());
    });
    let metrics = metrics(&requests);
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["process.cpu.time"]);
}
