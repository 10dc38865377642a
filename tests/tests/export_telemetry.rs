//! What kevmon tells of itself: spans and metrics of its collections and exports, and, after it was killed, whether
//! the last collection is known to have arrived.

#![expect(
    clippy::unwrap_used,
    reason = "a failed assumption in a test is a failed test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kevmon_tests::{
    fake::{Arrival, Behaviour, Fake, Signal},
    kevmon::Daemon,
    points::{Instrument, Number, Point},
    process,
    push::{COUNTER, UP_DOWN},
    receiver::CUMULATIVE,
    spans::Span,
    tick::Tick,
    wait,
    watched::{self, Watched},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
/// Of a span's times against the JSON's, ns.
const NEAR: u64 = 100_000_000;
/// OTLP's kinds of spans.
const INTERNAL: i32 = 1;
const CLIENT: i32 = 3;
/// Spans come soon.
const HASTE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "500");
const HISTOGRAM: Instrument = Instrument::Histogram {
    temporality: CUMULATIVE,
};
/// The table of docs/export.md, but for what the kernel's statistics bring.
const OWN: [(&str, Instrument, &str); 10] = [
    ("kevmon.collection.duration", HISTOGRAM, "s"),
    ("kevmon.export.duration", HISTOGRAM, "s"),
    ("kevmon.export.delivered", COUNTER, "{item}"),
    ("kevmon.export.failures", COUNTER, "{attempt}"),
    ("kevmon.export.repeated", COUNTER, "{request}"),
    ("kevmon.spool.requests", UP_DOWN, "{request}"),
    ("kevmon.spool.size", UP_DOWN, "By"),
    ("process.cpu.time", COUNTER, "s"),
    ("process.memory.usage", UP_DOWN, "By"),
    ("process.thread.count", UP_DOWN, "{thread}"),
];

/// Settings for one receiver, with telemetry every second.
fn settings(watched: &Watched, url: &str) -> String {
    watched.write_settings(&format!(
        "[export]\nendpoint = \"{url}\"\n[telemetry]\ninterval = \"1s\"\n"
    ))
}

/// The points of one of kevmon's own metrics, in order of arrival.
fn own(points: &[Point], metric: &str) -> Vec<Point> {
    points
        .iter()
        .filter(|point| {
            point
                .resource
                .get("service.name")
                .is_some_and(|name| name == "kevmon")
        })
        .filter(|point| point.metric == metric)
        .cloned()
        .collect()
}

/// The values of one lane's series.
fn of_lane(points: &[Point], metric: &str, receiver: &str, signal: &str) -> Vec<f64> {
    own(points, metric)
        .iter()
        .filter(|point| {
            point.attributes["kevmon.receiver"] == receiver && point.attributes["kevmon.signal"] == signal
        })
        .map(|point| point.value.as_f64())
        .collect()
}

fn count(point: &Point) -> u64 {
    match point.value {
        Number::Distribution { count, .. } => count,
        other => unreachable!("a histogram's value, not {other:?}"),
    }
}

fn has_traces(arrivals: &[Arrival]) -> bool {
    arrivals.iter().any(|arrival| arrival.signal == Signal::Traces)
}

/// How a lane fared by a line of the JSON.
fn lane<'a>(tick: &'a Tick, receiver: &str, signal: &str) -> &'a Value {
    let lanes = tick.0["exports"].as_array().unwrap();
    let mut found = lanes
        .iter()
        .filter(|lane| lane["receiver"] == receiver && lane["signal"] == signal);
    found.next().unwrap()
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
    let before_end = daemon.ticks().len();
    let all = daemon.ticks().to_vec();
    daemon.terminate();

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

    // One more may have been collected since the last line was read, and the last one of all tells nothing any more.
    assert!(
        (before_end..=before_end + 1).contains(&collects.len()),
        "{} spans of {before_end} collections",
        collects.len()
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
    let rss = process::rss(daemon.pid());
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
        for point in &of_metric {
            assert_eq!(point.instrument, instrument, "{metric}");
            assert_eq!(point.unit, unit, "{metric}");
            assert_eq!(point.resource["service.namespace"], "kevmon", "{metric}");
            assert!(point.start_time > 0 && point.start_time < point.time, "{point:?}");
        }
    }
    for metric in ["kevmon.ebpf.run_time", "kevmon.ebpf.runs"] {
        assert!(
            own(&points, metric).is_empty(),
            "{metric} without the kernel's statistics"
        );
    }
    // Each point of the histogram stands for the collections before it.
    for point in own(&points, "kevmon.collection.duration") {
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

    // What it says was taken is what arrived up to one of the requests.
    let mut sums = BTreeSet::from([0]);
    let mut sum = 0;
    for arrival in fake.arrivals().iter().filter(|one| one.signal == Signal::Metrics) {
        sum += arrival.points().len();
        sums.insert(sum);
    }
    let delivered = of_lane(&points, "kevmon.export.delivered", "default", "metrics");
    assert!(
        delivered.is_sorted() && *delivered.last().unwrap() > 0.0,
        "{delivered:?}"
    );
    for told in &delivered {
        assert!(sums.iter().any(|sum| *sum as f64 == *told), "{told}: {sums:?}");
    }
    for metric in [
        "kevmon.export.failures",
        "kevmon.export.repeated",
        "kevmon.spool.requests",
        "kevmon.spool.size",
    ] {
        for signal in ["metrics", "traces"] {
            let told = of_lane(&points, metric, "default", signal);
            assert!(
                !told.is_empty() && told.iter().all(|value| *value == 0.0),
                "{metric} {told:?}"
            );
        }
    }
    let values = |metric: &str| -> Vec<f64> {
        own(&points, metric)
            .iter()
            .map(|point| point.value.as_f64())
            .collect()
    };
    let cpu = values("process.cpu.time");
    assert!(
        cpu.is_sorted() && cpu[0] > 0.0 && cpu[0] < *cpu.last().unwrap() && *cpu.last().unwrap() < 4.0,
        "{cpu:?}"
    );
    for told in values("process.memory.usage") {
        let off = told / rss as f64;
        assert!((0.5..=2.0).contains(&off), "{told} bytes resident, not {rss}");
    }
    let told = values("process.thread.count");
    assert!(told.iter().all(|count| *count <= 4.0), "{told:?}");
    assert!(threads <= 4, "{threads}");
    assert_eq!(*told.last().unwrap(), threads as f64, "{told:?}");
}

#[test]
fn what_waits_for_a_receiver_is_told_at_another() {
    let watched = Watched::new(
        WORKLOAD,
        "wait",
        1,
        "300ms",
        "[export]\nendpoints = [\"default\", \"far\"]\n",
    );
    let (near, mut far) = (Fake::start(), Fake::start());
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[endpoints.far]\nendpoint = \"{}\"\n[telemetry]\ninterval = \"1s\"\n",
        near.url(),
        far.url()
    ));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(2));
    far.stop();
    watched::run_for(&mut daemon, Duration::from_secs(5));
    let told = |metric: &str| of_lane(&near.points(), metric, "far", "metrics");
    let (requests, sizes) = (told("kevmon.spool.requests"), told("kevmon.spool.size"));
    let most = *requests.last().unwrap();
    // Five seconds of three a second, as of one second ago at worst.
    assert!(
        (9.0..=18.0).contains(&most) && requests.is_sorted(),
        "{requests:?}"
    );
    assert!(
        sizes.is_sorted() && *sizes.last().unwrap() > 100.0 * most,
        "{sizes:?}"
    );
    let failures = *told("kevmon.export.failures").last().unwrap();
    assert!(failures >= 2.0, "{failures}");
    let line = daemon.ticks().last().unwrap().clone();
    let of_far = lane(&line, "far", "metrics");
    assert_eq!(of_far["away"], true, "{of_far}");
    assert!(of_far["waiting_requests"].as_f64().unwrap() >= most, "{of_far}");
    let delivered = *told("kevmon.export.delivered").last().unwrap();
    far.restart();
    wait::until("the spool to be told as empty", LIMIT, || {
        daemon.next_tick(LIMIT);
        let empty = |metric| told(metric).last() == Some(&0.0);
        (empty("kevmon.spool.requests") && empty("kevmon.spool.size")).then_some(())
    });
    assert!(*told("kevmon.export.delivered").last().unwrap() > delivered);
    // That one was never away.
    let points = near.points();
    for metric in ["kevmon.spool.requests", "kevmon.export.failures"] {
        let of_near = of_lane(&points, metric, "default", "metrics");
        assert!(of_near.iter().all(|value| *value == 0.0), "{metric}: {of_near:?}");
    }
    daemon.terminate();
    let own_there: Vec<&str> = OWN
        .iter()
        .map(|(metric, ..)| *metric)
        .filter(|metric| !own(&far.points(), metric).is_empty())
        .collect();
    assert!(
        own_there.is_empty() && !has_traces(&far.arrivals()),
        "telemetry goes to the default alone: {own_there:?}"
    );
}

/// `kernel.bpf_stats_enabled`, for one test at a time; as before when dropped.
struct KernelStatistics {
    before: String,
    _turn: MutexGuard<'static, ()>,
}

impl KernelStatistics {
    const FILE: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn off() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
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

#[test]
fn switched_off_there_is_none() {
    let watched = Watched::new(WORKLOAD, "off", 1, "300ms", "");
    let fake = Fake::start();
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[telemetry]\nenabled = false\ninterval = \"1s\"\n",
        fake.url()
    ));
    let mut daemon = watched.start_with(&["--config", &settings], &[HASTE]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .count();
    assert!(threads <= 2, "{threads} threads");
    daemon.terminate();
    let arrivals = fake.arrivals();
    assert!(!has_traces(&arrivals));
    let points = fake.points();
    for (metric, ..) in OWN {
        assert!(own(&points, metric).is_empty(), "{metric}");
    }
    // What goes with each interval goes all the same.
    assert!(!own(&points, "kevmon.complete").is_empty());
}

#[test]
fn a_receiver_that_takes_no_traces_is_named_once() {
    for protocol in ["grpc", "http/protobuf"] {
        let watched = Watched::new(WORKLOAD, "mute", 1, "300ms", "");
        let fake = Fake::start_without(&[Signal::Traces]);
        let settings = settings(&watched, &fake.url());
        let args = ["--config", &settings, "--protocol", protocol];
        let mut daemon = watched.start_with(&args, &[HASTE]);
        watched::run_for(&mut daemon, Duration::from_secs(5));
        let said = daemon.stderr();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("traces")).collect();
        assert_eq!(lines.len(), 1, "{protocol}:\n{said}");
        let of = |signal| fake.arrivals().iter().filter(|one| one.signal == signal).count();
        assert_eq!(of(Signal::Traces), 1, "{protocol}: it knows no traces");
        let line = daemon.ticks().last().unwrap().clone();
        let traces = lane(&line, "default", "traces");
        assert_eq!(traces["closed"], true, "{traces}");
        assert_eq!(traces["waiting_requests"], 0, "{traces}");
        assert_eq!(lane(&line, "default", "metrics")["failures"], 0, "{}", line.0);
        let last = fake.points().iter().map(|point| point.time).max().unwrap();
        assert!(last + 1_000_000_000 > line.time(), "{protocol}: metrics go on");
        assert!(own(&fake.points(), "kevmon.collection.duration").len() >= 4);
        daemon.terminate();
    }
}

#[test]
fn the_sdks_own_variables_do_not_break_it() {
    for protocol in ["grpc", "http/protobuf"] {
        let other = Fake::start();
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        let traces = format!("{}{path}", other.url());
        let table: [&[(&str, &str)]; 5] = [
            &[("OTEL_EXPORTER_OTLP_HEADERS", "x-kvt=one%20two")],
            &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")],
            &[("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")],
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces)],
            &[
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
            ],
        ];
        for variables in table {
            let watched = Watched::new(WORKLOAD, "sdk", 1, "300ms", "");
            let fake = Fake::start();
            let settings = watched.write_settings("[telemetry]\ninterval = \"1s\"\n");
            let url = fake.url();
            let basic = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                HASTE,
            ];
            let environment = [&basic[..], variables].concat();
            let mut daemon = watched.start_with(&["--config", &settings], &environment);
            watched::run_for(&mut daemon, Duration::from_millis(2_500));
            let said = daemon.stderr();
            daemon.terminate();
            let (name, value) = variables[0];
            let elsewhere = name.ends_with("TRACES_ENDPOINT");
            let spans = if elsewhere { other.spans() } else { fake.spans() };
            assert!(
                spans.iter().any(|span| span.name == "collect"),
                "{variables:?}:\n{said}"
            );
            let own = own(&fake.points(), "kevmon.collection.duration");
            assert!(own.len() >= 2, "{variables:?}: {} points:\n{said}", own.len());
            assert!(!elsewhere || !has_traces(&fake.arrivals()), "they go elsewhere");
            let of_traces: Vec<Arrival> = fake
                .arrivals()
                .into_iter()
                .chain(other.arrivals())
                .filter(|one| one.signal == Signal::Traces)
                .collect();
            for arrival in fake.arrivals().iter().chain(&of_traces) {
                if name.ends_with("HEADERS") {
                    assert_eq!(arrival.headers["x-kvt"], "one two", "{:?}", arrival.signal);
                }
                let all = name == "OTEL_EXPORTER_OTLP_COMPRESSION";
                if value == "gzip" {
                    assert_eq!(
                        arrival.gzip,
                        all || arrival.signal == Signal::Traces,
                        "{:?}",
                        arrival.signal
                    );
                }
            }
            let warned: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR"))
                .collect();
            assert!(warned.is_empty(), "{variables:?}: {warned:?}");
        }
    }
}

#[test]
fn a_collection_that_nobody_answered_before_a_kill_is_unconfirmed() {
    let watched = Watched::new(WORKLOAD, "doubt", 1, "1s", "");
    let mut fake = Fake::start();
    let url = fake.url();
    let start = || watched.start(&["--endpoint", &url]);
    let unconfirmed = |daemon: &Daemon| daemon.ticks()[0].number("unconfirmed");
    let says_so = |daemon: &Daemon| {
        daemon
            .stderr()
            .lines()
            .filter(|line| line.contains("unconfirmed"))
            .count()
    };

    // The very first request of all.
    fake.always(Behaviour::Hang);
    start().kill();
    fake.always(Behaviour::Accept);
    let daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (1, 1),
        "{}",
        daemon.stderr()
    );
    let told = fake.wait_for("it at the receiver", LIMIT, |_| {
        own(&fake.points(), "kevmon.export.unconfirmed").pop()
    });
    assert_eq!(told.value.as_f64() as u64, 1, "{told:?}");
    daemon.terminate();

    // It ended in order.
    let mut daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (0, 0),
        "{}",
        daemon.stderr()
    );
    // One in the middle, with nothing else on its way.
    wait::until("the first one's acknowledgement", LIMIT, || {
        let line = daemon.next_tick(LIMIT);
        (lane(&line, "default", "metrics")["waiting_requests"] == 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    fake.always(Behaviour::Hang);
    daemon.next_tick(LIMIT);
    daemon.kill();
    fake.always(Behaviour::Accept);
    let mut daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (1, 1),
        "{}",
        daemon.stderr()
    );

    // All of it waits on disk.
    fake.stop();
    daemon.next_tick(LIMIT);
    daemon.next_tick(LIMIT);
    // It is put there at once: nobody listens.
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    let daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (0, 0),
        "{}",
        daemon.stderr()
    );
    daemon.terminate();
}
