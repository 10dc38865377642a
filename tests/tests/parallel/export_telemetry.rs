//! What kevmon tells of itself: a span for each collection and each export, and metrics that are true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use kevmon_tests::{
    fake::{Arrival, Behaviour, Fake, Signal},
    points::{Number, Point},
    process,
    push::COUNTER,
    spans::Span,
    telemetry::{OWN, TROUBLES, of_lane, own, settings},
    tick::Tick,
    times,
    turn::Turn,
    watched::{self, Watched},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// Of a span's times against the JSON's, ns.
const NEAR: u64 = 100_000_000;
/// OTLP's kinds of spans.
const INTERNAL: i32 = 1;
const CLIENT: i32 = 3;

fn count(point: &Point) -> u64 {
    match point.value {
        Number::Distribution { count, .. } => count,
        other => unreachable!("a histogram's value, not {other:?}"),
    }
}

#[test]
fn each_collection_and_each_export_is_a_span() {
    let watched = Watched::new(WORKLOAD, "span", 2, "300ms", "");
    let fake = Fake::start();
    let mut daemon = watched.start(&["--config", &settings(&watched, &fake.url())]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    // One attempt that fails.
    fake.play(&[Behaviour::Unavailable]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let mut all = daemon.terminate_told();
    assert!(all.pop().is_some_and(|tick| tick.last()), "the final line");

    let spans = fake.spans();
    for span in &spans {
        assert_eq!(span.resource["service.name"], "kevmon", "{span:?}");
        assert_eq!(span.resource["service.namespace"], "kevmon", "{span:?}");
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8), "{span:?}");
        assert!(span.parent.is_empty(), "{span:?}");
    }
    let ids: BTreeSet<&Vec<u8>> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "a span came twice");
    let (collects, exports): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.name == "collect");
    assert!(exports.iter().all(|span| span.name == "export"), "{spans:?}");

    // The last collection of all may be told by no span.
    assert!(
        (all.len()..=all.len() + 1).contains(&collects.len()),
        "{} spans of {} collections and the last one",
        collects.len(),
        all.len()
    );
    for tick in &all {
        let mut of_tick = collects
            .iter()
            .filter(|span| tick.time().abs_diff(span.start_time) < NEAR);
        let span = of_tick
            .next()
            .unwrap_or_else(|| unreachable!("no span for {}", tick.0));
        assert!(of_tick.next().is_none(), "two spans for {}", tick.0);
        assert_eq!((span.kind, span.status), (INTERNAL, 0), "{span:?}");
        assert!(
            span.end_time > span.start_time && span.end_time - span.start_time < NEAR,
            "{span:?}"
        );
        let processes: u64 = tick.groups().map(|group| group.int("process_count")).sum();
        let told = ["kevmon.plugins", "kevmon.processes"].map(|key| span.attributes[key].as_u64().unwrap());
        assert_eq!(told, [tick.groups().count() as u64, processes], "{span:?}");
        assert_eq!(span.attributes["kevmon.complete"], tick.complete(), "{span:?}");
    }

    // Each export that a span tells of is a request that arrived meanwhile, and the spans are no fewer, but for those
    // that were sent when all had been told.
    let requests: Vec<Arrival> = fake
        .arrivals()
        .into_iter()
        .filter(|one| one.signal == Signal::Metrics)
        .collect();
    assert!(
        exports.len() <= requests.len() && exports.len() + 4 >= requests.len(),
        "{} spans of {} requests",
        exports.len(),
        requests.len()
    );
    let mut failed = 0;
    for span in exports {
        assert_eq!(span.kind, CLIENT, "{span:?}");
        assert_eq!(span.attributes["kevmon.receiver"], "default", "{span:?}");
        assert_eq!(span.attributes["kevmon.signal"], "metrics", "{span:?}");
        let during = span.start_time.saturating_sub(NEAR / 10)..=span.end_time + NEAR / 10;
        let items = span.attributes["kevmon.items"].as_u64().unwrap();
        let taken = match span.attributes["kevmon.outcome"].as_str().unwrap() {
            "accepted" => true,
            "failed" => false,
            other => unreachable!("{other}"),
        };
        assert_eq!(span.status, if taken { 0 } else { 2 }, "{span:?}");
        failed += u32::from(!taken);
        assert!(
            requests.iter().any(|request| during.contains(&request.at.time)
                && request.points().len() as u64 == items
                && request.taken() == taken),
            "no request of {items} points then: {span:?}"
        );
    }
    assert_eq!(failed, 1, "attempts that failed");
}

/// Each point of the histogram stands for the collections before it.
fn assert_collections(points: &[Point], ticks: &[Tick]) {
    for point in own(points, "kevmon.collection.duration") {
        let before = |margin: u64| {
            ticks
                .iter()
                .filter(|tick| tick.time() + margin < point.time)
                .count() as u64
        };
        let told = count(&point);
        assert!(
            told >= before(NEAR) && (told <= before(0) + 1 || point.time > ticks.last().unwrap().time()),
            "{told} collections, and there were {}..{}",
            before(NEAR),
            before(0)
        );
        let (bounds, buckets) = &point.buckets;
        assert_eq!(buckets.len(), bounds.len() + 1);
        assert_eq!(buckets.iter().sum::<u64>(), told, "{point:?}");
    }
}

/// What it says was taken is what arrived up to one of the requests.
fn assert_delivered(fake: &Fake) {
    let mut sums = BTreeSet::from([0]);
    let mut sum = 0;
    for arrival in fake.arrivals().iter().filter(|one| one.signal == Signal::Metrics) {
        sum += arrival.points().len();
        sums.insert(sum);
    }
    let delivered = of_lane(&fake.points(), "kevmon.export.delivered", "default", "metrics");
    assert!(
        delivered.is_sorted() && *delivered.last().unwrap() > 0.0,
        "{delivered:?}"
    );
    for told in &delivered {
        assert!(sums.iter().any(|sum| *sum as f64 == *told), "{told}: {sums:?}");
    }
}

/// CPU time of a few seconds, and memory and threads as /proc has them.
fn assert_own_usage(points: &[Point], rss: u64, threads: u64) {
    let values = |metric: &str| -> Vec<f64> {
        own(points, metric)
            .iter()
            .map(|point| point.value.as_f64())
            .collect()
    };
    let cpu_in = |mode: &str| -> Vec<f64> {
        own(points, "process.cpu.time")
            .iter()
            .filter(|point| point.attributes["cpu.mode"] == mode)
            .map(|point| point.value.as_f64())
            .collect()
    };
    let (user, system) = (cpu_in("user"), cpu_in("system"));
    let last = |values: &[f64]| values.last().copied().unwrap_or_default();
    let cpu = last(&user) + last(&system);
    assert!(
        user.is_sorted() && system.is_sorted() && (0.01..4.0).contains(&cpu),
        "{user:?}, {system:?}"
    );
    for told in values("process.memory.usage") {
        let off = told / rss as f64;
        assert!((0.5..=2.0).contains(&off), "{told} bytes resident, not {rss}");
    }
    let told = values("process.thread.count");
    // Five of its own, and three for a moment each: one looks a name up, one a user, one at the plugin files.
    assert!(told.iter().all(|count| (5.0..=8.0).contains(count)), "{told:?}");
    assert!((5..=6).contains(&threads), "{threads}");
    assert_eq!(*told.last().unwrap(), threads as f64, "{told:?}");
}

#[test]
fn its_own_metrics_are_those_of_the_table_and_true() {
    let _statistics = KernelStatistics::off();
    let watched = Watched::new(WORKLOAD, "own", 2, "300ms", "");
    let fake = Fake::start();
    let mut daemon = watched.start(&["--config", &settings(&watched, &fake.url())]);
    watched::run_for(&mut daemon, Duration::from_secs(4));
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .count() as u64;
    let daemon_pid = daemon.pid();
    let rss = process::rss(daemon_pid);
    let ticks = daemon.ticks().to_vec();
    daemon.terminate();
    let points = fake.points();
    for (metric, instrument, unit) in OWN {
        let of_metric = own(&points, metric);
        assert!(
            of_metric.len() >= 3,
            "{metric}: {} points in 4 s",
            of_metric.len()
        );
        let pid = daemon_pid.to_string();
        if metric.starts_with("process.") {
            let of_process = |point: &Point| {
                point.attributes["process.pid"] == pid
                    && point.attributes.contains_key("process.creation.time")
            };
            assert!(of_metric.iter().all(of_process), "{metric}: {of_metric:?}");
        }
        for point in &of_metric {
            assert_eq!(point.instrument, instrument, "{metric}");
            assert_eq!(point.unit, unit, "{metric}");
            assert_eq!(point.resource["service.namespace"], "kevmon", "{metric}");
            assert!(
                point.start_time > 0 && point.start_time <= point.time,
                "{point:?}"
            );
        }
    }
    for metric in ["kevmon.ebpf.run_time", "kevmon.ebpf.runs"] {
        assert!(
            own(&points, metric).is_empty(),
            "{metric} without the kernel's statistics"
        );
    }
    assert_collections(&points, &ticks);
    let of_export = own(&points, "kevmon.export.duration");
    let told: BTreeSet<(&str, &str, &str)> = of_export
        .iter()
        .map(|point| {
            let of = |key: &str| point.attributes[key].as_str();
            (of("kevmon.receiver"), of("kevmon.signal"), of("kevmon.outcome"))
        })
        .collect();
    let expected = [
        ("default", "metrics", "accepted"),
        ("default", "traces", "accepted"),
    ];
    assert!(told.iter().all(|one| expected.contains(one)), "{told:?}");
    assert!(told.contains(&expected[0]), "{told:?}");

    assert_delivered(&fake);
    for metric in TROUBLES {
        assert!(own(&points, metric).is_empty(), "{metric}: nothing went wrong");
    }
    times::assert_never_back(&fake);
    assert_own_usage(&points, rss, threads);
}

/// `kernel.bpf_stats_enabled`, for one test at a time; as before when dropped.
struct KernelStatistics {
    before: String,
    _turn: Turn,
}

impl KernelStatistics {
    const FILE: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn off() -> Self {
        let turn = Turn::wait("bpf-statistics");
        let before = fs::read_to_string(Self::FILE).unwrap();
        let statistics = Self { before, _turn: turn };
        statistics.set("0");
        statistics
    }

    fn set(&self, value: &str) {
        fs::write(Self::FILE, value).unwrap();
    }
}

impl Drop for KernelStatistics {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, &self.before);
    }
}

#[test]
fn the_time_in_ebpf_is_told_while_the_kernel_measures_it() {
    let statistics = KernelStatistics::off();
    let watched = Watched::new(WORKLOAD, "stat", 1, "300ms", "");
    let fake = Fake::start();
    let mut daemon = watched.start(&["--config", &settings(&watched, &fake.url())]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    assert!(own(&fake.points(), "process.cpu.time").len() >= 2);
    assert!(
        own(&fake.points(), "kevmon.ebpf.run_time").is_empty(),
        "nobody measured"
    );
    statistics.set("1");
    for _ in 0..3 {
        for _ in 0..20 {
            watched.program().start(&["idle"]).finish();
        }
        watched::run_for(&mut daemon, Duration::from_millis(1_100));
    }
    drop(statistics);
    daemon.terminate();
    let points = fake.points();
    for (metric, unit) in [("kevmon.ebpf.run_time", "s"), ("kevmon.ebpf.runs", "{run}")] {
        let mut by_program: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for point in own(&points, metric) {
            assert_eq!(
                (point.instrument, point.unit.as_str()),
                (COUNTER, unit),
                "{metric}"
            );
            let program = point.attributes["kevmon.program"].clone();
            by_program.entry(program).or_default().push(point.value.as_f64());
        }
        for program in [
            "sched_process_exec",
            "sched_process_exit",
            "sched_process_fork",
            "sched_process_free",
        ] {
            let values = by_program
                .get(program)
                .unwrap_or_else(|| unreachable!("{metric}: no {program} in {by_program:?}"));
            assert!(
                values.is_sorted() && values[0] < *values.last().unwrap(),
                "{metric} of {program}: {values:?}"
            );
            let last = *values.last().unwrap();
            let plausible = if unit == "s" { 1e-6..1.0 } else { 60.0..1e6 };
            assert!(plausible.contains(&last), "{metric} of {program}: {last}");
        }
    }
}
