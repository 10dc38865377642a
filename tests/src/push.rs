//! Pushing to the in-process receiver from plugin files: what the tests of the export share.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    kevmon::Daemon,
    plugin_dir::PluginDir,
    receiver::{CUMULATIVE, Instrument, Point, Receiver},
};

/// Deadline of everything that takes a few pushes.
pub const LIMIT: Duration = Duration::from_secs(15);

/// A monotonic sum.
pub const COUNTER: Instrument = Instrument::Sum {
    monotonic: true,
    temporality: CUMULATIVE,
};
/// A sum that also falls.
pub const UP_DOWN: Instrument = Instrument::Sum {
    monotonic: false,
    temporality: CUMULATIVE,
};
/// A value of the moment.
pub const GAUGE: Instrument = Instrument::Gauge;

/// The table of docs/metrics.md.
pub const INSTANA: [(&str, Instrument, &str); 16] = [
    ("cpu_usage", GAUGE, "%"),
    ("memory_usage", GAUGE, "%"),
    ("process_count", UP_DOWN, "processes"),
    ("disk_read_bytes", COUNTER, "bytes"),
    ("disk_write_bytes", COUNTER, "bytes"),
    ("open_file_descriptors", UP_DOWN, "descriptors"),
    ("thread_count", UP_DOWN, "threads"),
    ("max_threads_per_process", GAUGE, "threads"),
    ("min_threads_per_process", GAUGE, "threads"),
    ("avg_threads_per_process", GAUGE, "threads"),
    ("voluntary_ctx_switches", COUNTER, "switches"),
    ("nonvoluntary_ctx_switches", COUNTER, "switches"),
    ("cpu_user_time_total", COUNTER, "seconds"),
    ("cpu_system_time_total", COUNTER, "seconds"),
    ("memory_rss_total", GAUGE, "bytes"),
    ("memory_vms_total", GAUGE, "bytes"),
];

/// A native plugin file for `pattern`, with further lines of its `[monitoring]` table.
pub fn plugin_file(name: &str, pattern: &str, monitoring: &str) -> String {
    format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt Company\"\n\
         process_name = \"{pattern}\"\nattributes = {{ \"service.version\" = \"1.2.3\" }}\n\
         [monitoring]\ninterval = \"300ms\"\n{monitoring}\n\
         [otel_config]\nservice_name_template = \"{{service_namespace}}.{{plugin_name}}\"\n"
    )
}

/// Starts kevmon on a plugins directory, pushing to the receiver.
pub fn push_to(receiver: &Receiver, folder: &PluginDir) -> Daemon {
    let port = receiver.port();
    Daemon::start(&[
        "--plugins-dir",
        folder.path(),
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ])
}

/// The points of one service, once those of at least `times` collections have come.
pub fn points_of(receiver: &Receiver, service_id: &str, times: usize) -> Vec<Point> {
    receiver.wait_for(&format!("{times} collections of {service_id}"), LIMIT, |points| {
        let points: Vec<Point> = points
            .iter()
            .filter(|point| {
                point
                    .resource
                    .get("kevmon.service.id")
                    .is_some_and(|id| id == service_id)
            })
            .cloned()
            .collect();
        let distinct: BTreeSet<u64> = points.iter().map(|point| point.time).collect();
        (distinct.len() >= times).then_some(points)
    })
}

/// The names that were pushed.
pub fn metrics(points: &[Point]) -> BTreeSet<&str> {
    points.iter().map(|point| point.metric.as_str()).collect()
}

/// Asserts that a metric was pushed, always with this instrument and unit.
pub fn assert_shape(points: &[Point], metric: &str, instrument: Instrument, unit: &str) {
    let of_metric: Vec<&Point> = points.iter().filter(|point| point.metric == metric).collect();
    assert!(
        !of_metric.is_empty(),
        "{metric} was not pushed; got {:?}",
        metrics(points)
    );
    for point in of_metric {
        assert_eq!(point.instrument, instrument, "instrument of {metric}");
        assert_eq!(point.unit, unit, "unit of {metric}");
    }
}

/// Asserts that a series' start never moves and never lies after the point.
pub fn assert_times(points: &[Point]) {
    let mut starts = BTreeMap::new();
    for point in points {
        assert!(point.start_time <= point.time, "start after time: {point:?}");
        if point.instrument != GAUGE {
            assert!(point.start_time > 0, "a sum without a start time: {point:?}");
            let series = (&point.resource, &point.metric, &point.attributes);
            let start = *starts.entry(series).or_insert(point.start_time);
            assert_eq!(start, point.start_time, "the start time moved: {point:?}");
        }
    }
}
