//! What an OTLP receiver decodes of starts, ends and restarts: attributes, histograms and times, against the JSON.

use std::collections::BTreeMap;

use kevmon_tests::{
    checks::float,
    plugin_dir::PluginDir,
    push::{COUNTER, GAUGE, LIMIT, assert_shape, assert_times, plugin_file, push_to},
    receiver::{CUMULATIVE, Instrument, Number, Point, Receiver},
    tick::Lengths,
    truth, wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const HISTOGRAM: Instrument = Instrument::Histogram {
    temporality: CUMULATIVE,
};

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The one point of this metric and these attributes.
fn value(points: &[Point], metric: &str, pairs: &[(&str, &str)]) -> Number {
    let pairs = attributes(pairs);
    let mut found = points
        .iter()
        .filter(|point| point.metric == metric && point.attributes == pairs);
    let point = found
        .next()
        .unwrap_or_else(|| panic!("no {metric} {pairs:?} among {points:?}"));
    assert!(found.next().is_none(), "{metric} {pairs:?} twice at one time");
    point.value
}

fn assert_histogram(points: &[Point], metric: &str, told: Lengths) {
    assert_shape(points, metric, HISTOGRAM, "s");
    let point = points.iter().find(|point| point.metric == metric);
    let point = point.unwrap_or_else(|| panic!("no {metric}"));
    let Number::Distribution { count, sum } = point.value else {
        panic!("{point:?}")
    };
    assert_eq!(count, told.count, "{point:?}");
    assert!((sum * 1e9 - float(told.sum)).abs() < 1e3, "{told:?}: {point:?}");
    let (bounds, counts) = &point.buckets;
    assert_eq!(counts.len(), bounds.len() + 1, "{point:?}");
    assert_eq!(counts.iter().sum::<u64>(), count, "{point:?}");
    assert!(bounds.is_sorted(), "{point:?}");
    // All of them lie between 1 ms and 10 s here.
    let holding = |bucket: usize| bucket > 0 && bounds.get(bucket).is_some_and(|bound| *bound <= 10.0);
    for (bucket, count) in counts.iter().enumerate() {
        assert!(*count == 0 || holding(bucket), "{metric}: {point:?}");
    }
}

#[test]
fn ends_by_reason_and_lengths_of_time() {
    let program = Program::new(WORKLOAD, "ended");
    let folder = PluginDir::new();
    folder.write("ended", &plugin_file("ended", &program.pattern(), ""));
    let receiver = Receiver::start();
    let mut daemon = push_to(&receiver, &folder);
    let begin = wait::unix_now();
    let mut last_reap = 0;
    for args in [
        &["exit", "0", "--life-ms", "30"][..],
        &["exit", "7", "--life-ms", "30"],
        &["exit", "7", "--life-ms", "200"],
        &["signal", "9", "--life-ms", "30"],
        &["exit", "0", "--life-ms", "30"],
    ] {
        last_reap = truth::spawn(&program, args).reap().truth.last_reap;
        // A downtime of more than a millisecond.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let tick = daemon.tick_after(last_reap, std::time::Duration::from_millis(500), LIMIT);
    let group = tick.expect_group("ended");
    let points = receiver.wait_for("the points of that tick", LIMIT, |points| {
        let of_plugin = |point: &&Point| {
            point.time == tick.time()
                && point
                    .resource
                    .get("kevmon.service.id")
                    .is_some_and(|id| id == "kvt_company_ended")
        };
        let points: Vec<Point> = points.iter().filter(of_plugin).cloned().collect();
        (!points.is_empty()).then_some(points)
    });
    for metric in ["exits", "restarts", "starts", "unpaired_starts", "failed_starts"] {
        let unit = &points
            .iter()
            .find(|point| point.metric == metric)
            .map(|point| &point.unit);
        assert!(
            unit.is_some_and(|unit| unit.starts_with('{')),
            "{metric}: {unit:?}"
        );
        assert_shape(&points, metric, COUNTER, unit.map_or("", String::as_str));
    }
    let exit = |code| [("kevmon.exit.reason", "exit"), ("process.exit.code", code)];
    assert_eq!(value(&points, "exits", &exit("0")), Number::Int(2));
    assert_eq!(value(&points, "exits", &exit("7")), Number::Int(2));
    let killed = [
        ("kevmon.exit.reason", "signal"),
        ("kevmon.exit.signal", "SIGKILL"),
        ("kevmon.exit.core_dumped", "false"),
    ];
    assert_eq!(value(&points, "exits", &killed), Number::Int(1));
    let all: f64 = points
        .iter()
        .filter(|point| point.metric == "exits")
        .map(|point| point.value.as_f64())
        .sum();
    assert!((all - 5.0).abs() < 0.1, "{all} exits in all");
    for (kind, count) in [("respawn", 4), ("reexec", 0)] {
        let kind = [("kevmon.restart.kind", kind)];
        assert_eq!(value(&points, "restarts", &kind), Number::Int(count), "{kind:?}");
    }
    assert_histogram(&points, "downtime", group.downtime());
    assert_histogram(&points, "lifetime", group.lifetime());
    assert_eq!(
        (group.downtime().count, group.lifetime().count),
        (4, 5),
        "{}",
        group.0
    );
    for (metric, key) in [
        ("last_start_time", "last_start_time"),
        ("last_exit_time", "last_exit_time"),
    ] {
        assert_shape(&points, metric, GAUGE, "s");
        let seconds = value(&points, metric, &[]).as_f64();
        let told = group.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {}", group.0));
        assert!(
            (seconds - float(told) / 1e9).abs() < 1e-5,
            "{metric}: {seconds}, {told}"
        );
        assert!((begin..=last_reap).contains(&told), "{metric}: {told}");
    }
    assert_eq!(
        value(&points, "crash_loop", &[]),
        Number::Int(i64::from(group.crash_loop()))
    );
    assert!(
        group.crash_loop(),
        "three ended badly and were replaced: {}",
        group.0
    );
    assert_times(&points);
    daemon.terminate();
}
