//! What an OTLP receiver decodes. Names, units, instruments, times and
//! values, against the in-process receiver.

use std::{collections::BTreeSet, time::Duration};

use kevmon_tests::{
    checks,
    plugin_dir::PluginDir,
    push::{
        COUNTER, GAUGE, INSTANA, LIMIT, UP_DOWN, assert_shape, assert_times, metrics, plugin_file, points_of,
        push_to,
    },
    receiver::{Instrument, Number, Point, Receiver},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The semantic conventions that the contract names, with the values of the attribute that splits them.
const OTEL: [(&str, Instrument, &str, &[&str]); 11] = [
    ("kevmon.group.cpu.time", COUNTER, "s", &["system", "user"]),
    ("kevmon.group.cpu.utilization", GAUGE, "1", &["system", "user"]),
    ("kevmon.group.memory.usage", UP_DOWN, "By", &[]),
    ("kevmon.group.memory.utilization", GAUGE, "1", &[]),
    ("kevmon.group.memory.virtual", UP_DOWN, "By", &[]),
    ("kevmon.group.disk.io", COUNTER, "By", &["read", "write"]),
    ("kevmon.group.thread.count", UP_DOWN, "{thread}", &[]),
    (
        "kevmon.group.unix.file_descriptor.count",
        UP_DOWN,
        "{file_descriptor}",
        &[],
    ),
    (
        "kevmon.group.context_switches",
        COUNTER,
        "{context_switch}",
        &["involuntary", "voluntary"],
    ),
    (
        "kevmon.group.paging.faults",
        COUNTER,
        "{fault}",
        &["major", "minor"],
    ),
    ("kevmon.group.uptime", GAUGE, "s", &[]),
];

#[test]
fn the_contracts_names_units_instruments_and_the_jsons_values() {
    let program = Program::new(WORKLOAD, "shape");
    let folder = PluginDir::new();
    folder.write("shape", &plugin_file("shape", &program.pattern(), ""));
    let running = program.start(&["threads", "2", "--cpu-ms", "20"]);
    let receiver = Receiver::start();
    let mut daemon = push_to(&receiver, &folder);
    let points = points_of(&receiver, "kvt_company_shape", 4);
    for (metric, instrument, unit) in INSTANA {
        assert_shape(&points, metric, instrument, unit);
    }
    for metric in ["starts", "restarts", "exits"] {
        let of_metric: Vec<&Point> = points.iter().filter(|point| point.metric == metric).collect();
        assert!(!of_metric.is_empty(), "{metric} was not pushed");
        assert!(
            of_metric
                .iter()
                .all(|point| point.instrument == COUNTER && !point.unit.is_empty()),
            "{of_metric:?}"
        );
    }
    assert!(
        points.iter().all(|point| !point.metric.starts_with("process.")),
        "names of the other naming"
    );
    assert_times(&points);

    // Each collection, as it was pushed and as it was printed.
    let latest = points.iter().map(|point| point.time).max().expect("points");
    daemon.wait_until("the tick of the last push", LIMIT, |tick| tick.time() >= latest);
    let mut compared = 0;
    for tick in daemon.ticks().iter().filter(|tick| tick.time() <= latest) {
        let group = tick.expect_group("shape");
        let pushed: Vec<&Point> = points.iter().filter(|point| point.time == tick.time()).collect();
        assert!(!pushed.is_empty(), "no point has the time of {}", tick.0);
        for (metric, value) in group.metrics() {
            let values: Vec<Number> = pushed
                .iter()
                .filter(|point| point.metric == metric)
                .map(|point| point.value)
                .collect();
            let Some(told) = value.as_f64() else {
                panic!("{metric}: {value}")
            };
            if INSTANA.iter().any(|(name, ..)| *name == metric) {
                assert_eq!(values.len(), 1, "points of {metric} at one time");
                assert_eq!(
                    matches!(values[0], Number::Int(_)),
                    value.is_u64(),
                    "{metric}: integers stay integers"
                );
            }
            if !values.is_empty() {
                let sum: f64 = values.iter().map(|value| value.as_f64()).sum();
                assert!(
                    (sum - told).abs() <= told.abs() * 1e-12,
                    "{metric}: pushed {sum}, printed {told}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared >= 3 * INSTANA.len(), "{compared} values compared");
    daemon.terminate();
    assert_eq!(running.finish().status, 0);
}

#[test]
fn start_times_are_the_members_and_the_watchs() {
    let program = Program::new(WORKLOAD, "since");
    let folder = PluginDir::new();
    folder.write("since", &plugin_file("since", &program.pattern(), ""));
    let running = program.start(&["idle"]);
    let ready = kevmon_tests::wait::unix_now();
    let receiver = Receiver::start();
    let daemon = push_to(&receiver, &folder);
    let points = points_of(&receiver, "kvt_company_since", 2);
    let start = |metric: &str| {
        let point = points.iter().find(|point| point.metric == metric);
        point
            .unwrap_or_else(|| panic!("{metric} was not pushed"))
            .start_time
    };
    let member = daemon.ticks()[0].expect_group("since").members()[0].start_time;
    for metric in [
        "cpu_user_time_total",
        "disk_write_bytes",
        "voluntary_ctx_switches",
    ] {
        // A process's time is by the clock of the boot's first run, a sum's by the clock of this run.
        let apart = start(metric).abs_diff(member);
        assert!(
            apart < 1_000_000,
            "{metric}: usage counts from the oldest member's start, {apart} ns apart"
        );
    }
    for metric in ["starts", "restarts", "exits"] {
        assert!(
            start(metric) >= ready,
            "{metric}: events count from the first watch"
        );
    }
    assert!(member < ready);
    daemon.terminate();
    assert_eq!(running.finish().status, 0);
}

#[test]
fn otel_naming_both_namings_and_the_prefix() {
    let program = Program::new(WORKLOAD, "naming");
    let folder = PluginDir::new();
    for (name, monitoring) in [
        ("otel", "naming = \"otel\""),
        ("both", "naming = \"both\""),
        ("pre", "prefix = true"),
    ] {
        folder.write(name, &plugin_file(name, &program.pattern(), monitoring));
    }
    let running = program.start(&["threads", "2", "--cpu-ms", "20"]);
    let receiver = Receiver::start();
    let daemon = push_to(&receiver, &folder);
    let otel = points_of(&receiver, "kvt_company_otel", 3);
    let both = points_of(&receiver, "kvt_company_both", 3);
    let prefixed = points_of(&receiver, "kvt_company_pre", 3);
    for points in [&otel, &both] {
        for (metric, instrument, unit, split) in OTEL {
            assert_shape(points, metric, instrument, unit);
            let of_metric = points.iter().filter(|point| point.metric == metric);
            let values: BTreeSet<&str> = of_metric
                .flat_map(|point| point.attributes.values().map(String::as_str))
                .collect();
            assert_eq!(
                values.into_iter().collect::<Vec<_>>(),
                split,
                "the attribute of {metric}"
            );
        }
        assert_times(points);
    }
    for (metric, instrument, unit) in INSTANA {
        assert!(!metrics(&otel).contains(metric), "{metric} in naming otel");
        assert_shape(&both, metric, instrument, unit);
        assert_shape(&prefixed, &format!("kvt_company_pre.{metric}"), instrument, unit);
    }
    assert!(
        prefixed
            .iter()
            .all(|point| point.metric.starts_with("kvt_company_pre.")),
        "{:?}",
        metrics(&prefixed)
    );

    // The two namings tell the same: seconds of CPU, by mode, at one time.
    let time = both.iter().map(|point| point.time).max().expect("points");
    let value = |metric: &str, attribute: &str| {
        let found = both.iter().find(|point| {
            point.metric == metric
                && point.time == time
                && (attribute.is_empty() || point.attributes.values().any(|value| value == attribute))
        });
        found
            .unwrap_or_else(|| panic!("no {metric} {attribute} at {time}"))
            .value
            .as_f64()
    };
    for (instana, otel, attribute) in [
        ("cpu_user_time_total", "kevmon.group.cpu.time", "user"),
        ("cpu_system_time_total", "kevmon.group.cpu.time", "system"),
        ("memory_rss_total", "kevmon.group.memory.usage", ""),
        ("disk_write_bytes", "kevmon.group.disk.io", "write"),
        (
            "voluntary_ctx_switches",
            "kevmon.group.context_switches",
            "voluntary",
        ),
        (
            "nonvoluntary_ctx_switches",
            "kevmon.group.context_switches",
            "involuntary",
        ),
        ("thread_count", "kevmon.group.thread.count", ""),
    ] {
        let (one, other) = (value(instana, ""), value(otel, attribute));
        assert!(
            (one - other).abs() <= one.abs() * 1e-12,
            "{instana} {one}, {otel} {other}"
        );
    }
    daemon.terminate();
    assert_eq!(running.finish().status, 0);
}

#[test]
fn each_plugin_has_its_own_interval() {
    let program = Program::new(WORKLOAD, "pace");
    let folder = PluginDir::new();
    folder.write("fast", &plugin_file("fast", &program.pattern(), ""));
    let slow = plugin_file("slow", &program.pattern(), "").replace("300ms", "1200ms");
    folder.write("slow", &slow);
    let receiver = Receiver::start();
    let mut daemon = push_to(&receiver, &folder);
    let first = daemon.ticks()[0].time();
    daemon.tick_after(first, Duration::from_secs(6), LIMIT);
    let count = |plugin: &str| {
        daemon
            .ticks()
            .iter()
            .filter(|tick| tick.group(plugin).is_some())
            .count()
    };
    let (fast, slow) = (count("fast"), count("slow"));
    assert!(
        (18..=22).contains(&fast) && (5..=7).contains(&slow),
        "in 6 s: {fast} at 300 ms, {slow} at 1200 ms"
    );
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}
