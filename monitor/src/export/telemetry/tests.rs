//! What the SDK makes of what it is told.

use std::sync::mpsc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::KeyValue as Attribute, trace::v1,
};
use prost::Message;

use super::*;

/// Telemetry, and where its requests come out.
fn started() -> (Telemetry, mpsc::Receiver<EncodedRequest>) {
    let (hand, handed) = mpsc::channel();
    let host = HostIdentity::new(Some("h".to_owned()), "n".to_owned());
    let telemetry = Telemetry::start(&host, move |request| {
        hand.send(request).expect("the test waits");
    });
    (telemetry.expect("it starts"), handed)
}

fn collection() -> CollectionSpan {
    CollectionSpan {
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
        took: Duration::from_millis(3),
        plugins: 2,
        processes: 11,
        complete: true,
        complete_totals: false,
    }
}

fn spans(request: &EncodedRequest) -> Vec<v1::Span> {
    assert_eq!(request.signal, Signal::Traces);
    let decoded = ExportTraceServiceRequest::decode(request.body.clone()).expect("spans");
    let scopes = decoded.resource_spans.into_iter().flat_map(|of| of.scope_spans);
    let spans: Vec<_> = scopes.flat_map(|scope| scope.spans).collect();
    assert_eq!(request.items, spans.len() as u64);
    spans
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
fn a_span_for_each_collection_and_each_attempt_but_those_of_spans() {
    let (telemetry, handed) = started();
    telemetry.collected(&collection());
    for signal in Signal::ALL {
        telemetry.exported(&ExportSpan {
            receiver: "default".to_owned(),
            signal,
            items: 10,
            took: Duration::from_millis(4),
            accepted: signal == Signal::Metrics,
        });
    }
    telemetry.finish();
    let [request] = handed
        .try_iter()
        .collect::<Vec<_>>()
        .try_into()
        .expect("one request");
    let spans = spans(&request);
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
        ("kevmon.complete_totals", "false"),
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
fn spans_wait_for_a_flush_or_for_company() {
    let (telemetry, handed) = started();
    let next = || -> Vec<u64> { handed.try_iter().map(|request| request.items).collect() };
    for _ in 0..3 {
        telemetry.collected(&collection());
    }
    assert!(next().is_empty());
    telemetry.flush();
    assert_eq!(next(), [3], "all in one request");
    telemetry.flush();
    assert!(next().is_empty(), "no empty request");
    for _ in 0..waiting::MOST + 1 {
        telemetry.collected(&collection());
    }
    assert_eq!(next(), [waiting::MOST as u64], "memory is bounded");
    telemetry.finish();
    assert_eq!(next(), [1]);
}

#[test]
fn another_host_name_is_in_the_next_request() {
    let (telemetry, handed) = started();
    telemetry.set_host(&HostIdentity::new(Some("h".to_owned()), "m".to_owned()));
    telemetry.collected(&collection());
    telemetry.finish();
    let request = handed.try_recv().expect("a request");
    let decoded = ExportTraceServiceRequest::decode(request.body).expect("spans");
    let resource = decoded.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(text(&resource.attributes, "host.name").as_deref(), Some("m"));
}
