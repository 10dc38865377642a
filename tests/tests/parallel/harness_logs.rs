//! The harness itself, without kevmon: both receivers understand log records that are known to be right, and the
//! one that takes none says so.

use std::time::Duration;

use kevmon_tests::{receiver::Receiver, rotel::Rotel, wait};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_receiver_shows_the_log_that_was_sent() {
    let receiver = Receiver::start();
    send(&receiver.port()).unwrap();
    let logs = wait::until("a log", SOON, || {
        Some(receiver.logs()).filter(|logs| !logs.is_empty())
    });
    let [log] = &logs[..] else { panic!("{logs:?}") };
    assert_eq!(log.event_name, "kvt.event");
    assert_eq!(
        (log.time, log.observed_time, log.severity),
        (1_700_000_000_000_000_001, 0, 13)
    );
    assert_eq!(log.body, "it happened");
    assert_eq!(log.resource["service.name"], "Kvt Service");
    assert_eq!(log.attributes["kvt.number"], 7);
    assert_eq!(log.attributes["kvt.flag"], true);
    assert_eq!(receiver.refused_logs(), 0);
}

#[test]
fn a_receiver_without_logs_refuses_them() {
    let receiver = Receiver::start_without_logs();
    let status = send(&receiver.port()).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(receiver.logs().is_empty());
    assert_eq!(receiver.refused_logs(), 1);
}

#[test]
fn rotel_prints_the_log_that_was_sent() {
    let rotel = Rotel::start();
    send(&rotel.port()).unwrap();
    let printed = rotel.wait_for("it happened", SOON);
    for text in ["Kvt Service", "kvt.number", "1700000000000000001"] {
        assert!(printed.contains(text), "no {text:?} in {printed}");
    }
}

/// Pushes one request with one log record.
fn send(port: &str) -> Result<(), tonic::Status> {
    let value = |value| Some(AnyValue { value: Some(value) });
    let pair = |key: &str, told| KeyValue {
        key: key.to_owned(),
        value: value(told),
        ..KeyValue::default()
    };
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let record = LogRecord {
        time_unix_nano: 1_700_000_000_000_000_001,
        severity_number: 13,
        event_name: "kvt.event".to_owned(),
        body: value(text("it happened")),
        attributes: vec![
            pair("kvt.number", any_value::Value::IntValue(7)),
            pair("kvt.flag", any_value::Value::BoolValue(true)),
        ],
        ..LogRecord::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![pair("service.name", text("Kvt Service"))],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = LogsServiceClient::connect(endpoint).await.unwrap();
        client.export(request).await.map(drop)
    })
}
