//! The OTLP/JSON file beside a receiver, with kevmon killed again and again.

use std::{collections::BTreeSet, fs, time::Duration};

use kevmon_tests::{
    fake::Fake,
    logs,
    points::{self, Point},
    watched::Watched,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const KILLS: u64 = 20;

/// Lifecycle events, and a text with each collection.
const FURTHER: &str = r#"[events]
enabled = true
[[collector]]
name = "c"
kind = "command"
command = ["/bin/echo", "my_state \"up\""]
"#;

/// What tells one data point or log record from all others, by the time that it bears.
type Told = BTreeSet<(u64, String)>;

fn of_points(points: Vec<Point>) -> Told {
    let of_plugins = points
        .into_iter()
        .filter(|point| point.resource.contains_key("kevmon.service.id"));
    let key = |point: Point| {
        let key = format!("{:?}", (&point.resource, &point.metric, &point.attributes));
        (point.time, key)
    };
    of_plugins.map(key).collect()
}

fn of_logs(logs: Vec<logs::Log>) -> Told {
    let key = |log: logs::Log| {
        let key = format!(
            "{:?}",
            (&log.resource, &log.event_name, log.time, &log.attributes)
        );
        (log.observed_time, key)
    };
    logs.into_iter().map(key).collect()
}

/// The points and the log records of a file whose lines are all whole, each there once.
fn written(text: &str) -> (Told, Told) {
    let (mut points, mut records) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if line.starts_with("{\"resourceMetrics") {
            let request: ExportMetricsServiceRequest = serde_json::from_str(line).expect(line);
            points.extend(points::flatten(&request));
        } else {
            let request: ExportLogsServiceRequest = serde_json::from_str(line).expect(line);
            records.extend(logs::flatten(&request));
        }
    }
    let number = points
        .iter()
        .filter(|point| point.resource.contains_key("kevmon.service.id"))
        .count();
    let points = of_points(points);
    assert_eq!(points.len(), number, "a collection is in the file twice");
    (points, of_logs(records))
}

#[test]
fn the_file_has_whatever_a_receiver_got_before_a_kill() {
    let watched = Watched::new(WORKLOAD, "linekill", 2, "200ms", FURTHER);
    let fake = Fake::start();
    let file = watched.settings().path().join("otlp.jsonl");
    let url = fake.url();
    let args = ["--endpoint", &url, "--otlp-json", file.to_str().expect("UTF-8")];
    // Moments all over an interval, the same in every run of the test.
    for kill in 0..KILLS {
        let mut daemon = watched.start(&args);
        watched.program().start(&["idle"]).finish();
        daemon.next_tick(Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(300 + kill * 37 % 200));
        daemon.kill();
    }
    watched.start(&args).terminate();

    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.ends_with('\n'), "its last line has no end");
    let (points, records) = written(&text);
    let received = (of_points(fake.points()), of_logs(fake.logs()));
    assert!(
        received
            .1
            .iter()
            .any(|(_, record)| record.contains("kevmon.value")),
        "no text arrived"
    );
    for (what, written, received) in [("points", points, received.0), ("records", records, received.1)] {
        let missing: Vec<_> = received.difference(&written).collect();
        assert_eq!(
            missing,
            Vec::<&(u64, String)>::new(),
            "{what} that are not in the file"
        );
        // What a kill cut off on its way to the receiver is in the file: a collection, or what happened, for each kill.
        let times: BTreeSet<u64> = written.difference(&received).map(|(time, _)| *time).collect();
        assert!(times.len() as u64 <= KILLS, "{what}: {} collections", times.len());
        eprintln!("{what}: {} written, {} received", written.len(), received.len());
    }
}
