//! Delta temporality: each point begins where the one before ended, what is sent again is the same request, and all
//! of them add up to what was measured, also across a restart of kevmon.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kevmon_tests::{
    checks, delivery,
    fake::{Arrival, Behaviour, Fake, Message, Signal},
    points::{Instrument, Number, Point},
    push::{COUNTER, INSTANA},
    watched::{self, Watched},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const PREFERENCE: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
/// OTLP's number for delta temporality.
const DELTA: i32 = 1;

/// A series: the metric, and its attributes.
type Key = (String, BTreeMap<String, String>);

/// The points of each series, oldest first; a copy of a point is asserted to be one, and left out.
fn series(points: &[Point]) -> BTreeMap<Key, Vec<Point>> {
    let mut series: BTreeMap<Key, Vec<Point>> = BTreeMap::new();
    for point in points {
        let key = (point.metric.clone(), point.attributes.clone());
        let of_series = series.entry(key).or_default();
        match of_series.iter().find(|other| other.time == point.time) {
            Some(other) => assert_eq!(other, point, "a copy that is none"),
            None => of_series.push(point.clone()),
        }
    }
    for points in series.values_mut() {
        points.sort_by_key(|point| point.time);
    }
    series
}

fn is_delta(point: &Point) -> bool {
    match point.instrument {
        Instrument::Sum { temporality, .. }
        | Instrument::Histogram { temporality }
        | Instrument::ExponentialHistogram { temporality } => temporality == DELTA,
        Instrument::Gauge | Instrument::Other => false,
    }
}

/// The sum of all deltas of a metric up to `time`.
fn sum_until(all: &BTreeMap<Key, Vec<Point>>, metric: &str, time: u64) -> f64 {
    let of_metric = all.iter().filter(|((name, _), _)| name == metric);
    let points = of_metric
        .flat_map(|(_, points)| points)
        .filter(|point| point.time <= time);
    points
        .map(|point| match point.value {
            Number::Distribution { count, .. } => checks::float(count),
            number => number.as_f64(),
        })
        .sum()
}

/// Asserts that every request that was sent again is the one before, and returns how many were.
fn assert_identical_copies(arrivals: &[Arrival]) -> usize {
    let metrics: Vec<&Arrival> = arrivals
        .iter()
        .filter(|one| one.signal == Signal::Metrics)
        .collect();
    let mut copies = 0;
    for (index, arrival) in metrics.iter().enumerate() {
        if !matches!(
            arrival.behaviour,
            Behaviour::LoseAcknowledgement | Behaviour::Unavailable
        ) {
            continue;
        }
        let (Message::Metrics(sent), Some(next)) = (&arrival.message, metrics.get(index + 1)) else {
            unreachable!("nothing came after it")
        };
        let Message::Metrics(again) = &next.message else {
            unreachable!("of metrics")
        };
        assert_eq!(sent, again, "sent again, and not the same");
        copies += 1;
    }
    copies
}

#[test]
fn deltas_add_up_to_the_cumulative_sums_across_a_restart() {
    let watched = Watched::new(
        WORKLOAD,
        "delta",
        1,
        "300ms",
        "[processes]\nenabled = true\nmax = 5\n",
    );
    let fake = Fake::start();
    let url = fake.url();
    let mut ticks = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut daemon = watched.start_with(&["--endpoint", &url], &[(PREFERENCE, "delta")]);
        watched::run_for(&mut daemon, Duration::from_millis(600));
        for behaviour in [Behaviour::LoseAcknowledgement, Behaviour::Unavailable] {
            fake.play(&[behaviour]);
            for _ in 0..3 {
                assert_eq!(watched.program().start(&["idle"]).finish().status, 0);
            }
            watched::run_for(&mut daemon, Duration::from_millis(1_500));
        }
        let told = daemon.ticks().to_vec();
        let last = daemon.terminate();
        delivery::wait_for_tick(&fake, watched.plugins(), last.time(), LIMIT);
        ends.push(last.time());
        ticks.extend(told);
        ticks.push(last);
    }
    assert_eq!(assert_identical_copies(&fake.arrivals()), 4);

    let first = ticks[0].expect_group("delta0");
    let starts = [first.start_time(), first.0["watch_start_time"].as_u64().unwrap()];
    let all = series(&watched::points_of(&fake.points(), "delta0"));
    let mut deltas = BTreeSet::new();
    for ((metric, attributes), points) in &all {
        let monotonic = matches!(
            points[0].instrument,
            Instrument::Sum { monotonic: true, .. } | Instrument::Histogram { .. }
        );
        assert!(
            points.iter().all(|point| is_delta(point) == monotonic),
            "{metric}: {:?}",
            points[0].instrument
        );
        if !monotonic {
            continue;
        }
        deltas.insert(metric.as_str());
        for pair in points.windows(2) {
            assert_eq!(
                pair[1].start_time, pair[0].time,
                "{metric} {attributes:?}: {pair:?}"
            );
        }
        if !attributes.contains_key("process.pid") {
            assert!(
                starts.contains(&points[0].start_time),
                "{metric} {attributes:?}: {:?}, {starts:?}",
                points[0]
            );
        }
    }
    let counters = INSTANA.iter().filter(|(_, instrument, _)| *instrument == COUNTER);
    let counters: Vec<&str> = counters
        .map(|(metric, ..)| *metric)
        .chain(["starts", "exits", "restarts", "run_queue_wait_time"])
        .collect();
    assert!(
        counters.iter().all(|metric| deltas.contains(metric)),
        "{deltas:?}"
    );
    assert!(deltas.contains("lifetime"), "{deltas:?}");
    let mut compared = 0;
    for tick in &ticks {
        let group = tick.expect_group("delta0");
        for metric in &counters {
            checks::assert_close(sum_until(&all, metric, tick.time()), group.float(metric), metric);
            compared += 1;
        }
        checks::assert_close(
            sum_until(&all, "lifetime", tick.time()),
            checks::float(group.lifetime().count),
            "lifetime",
        );
    }
    assert!(compared > 100, "{compared}");
    let last = ticks.last().unwrap().expect_group("delta0");
    assert_eq!(last.int("exits"), 12, "{}", last.0);
    // kevmon's own begin anew with each run.
    let own: Vec<Point> = fake
        .points()
        .into_iter()
        .filter(|point| point.resource["service.name"] == "kevmon")
        .collect();
    let own = series(&own);
    let durations = own
        .iter()
        .filter(|((metric, _), _)| metric == "kevmon.collection.duration");
    let durations: Vec<&Point> = durations.flat_map(|(_, points)| points).collect();
    assert!(
        durations.len() >= 2 && durations.iter().all(|point| is_delta(point)),
        "the SDK's too: {durations:?}"
    );
    let sent = |until: u64| sum_until(&own, "kevmon.records.sent", until);
    let (told, end) = (
        ticks.iter().rfind(|tick| tick.time() <= ends[0]).unwrap(),
        ends[0],
    );
    checks::assert_close(
        sent(end),
        checks::float(told.records().sent),
        "records of the first run",
    );
    let told = ticks.last().unwrap();
    checks::assert_close(
        sent(ends[1]) - sent(end),
        checks::float(told.records().sent),
        "records of the second run",
    );
}

#[test]
fn deltas_of_a_process_add_up_to_what_it_used_across_a_restart() {
    let watched = Watched::new(WORKLOAD, "alone", 1, "300ms", "[processes]\nenabled = true\n");
    let fake = Fake::start();
    let url = fake.url();
    let mut last = None;
    for _ in 0..2 {
        let mut daemon = watched.start_with(&["--endpoint", &url], &[(PREFERENCE, "delta")]);
        watched::run_for(&mut daemon, Duration::from_millis(1_500));
        let end = daemon.terminate();
        delivery::wait_for_tick(&fake, watched.plugins(), end.time(), LIMIT);
        last = Some(end);
    }
    let last = last.unwrap();
    let group = last.expect_group("alone0");
    let all = series(&watched::points_of(&fake.points(), "alone0"));
    for metric in [
        "cpu_user_time_total",
        "cpu_system_time_total",
        "voluntary_ctx_switches",
    ] {
        let sum = sum_until(&all, &format!("per_process.{metric}"), last.time());
        checks::assert_close(sum, group.float(metric), metric);
    }
}
