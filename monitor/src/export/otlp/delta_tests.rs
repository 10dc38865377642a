//! Deltas: their sums, and the times they stand for.

use std::collections::BTreeMap;

use super::{
    tests::{Point, encoder, points, told},
    *,
};
use crate::{
    export::collection::tests::collection,
    plugin::{Completeness, GroupId, PerProcess, Rank, Tracker, tracker::tests::plugin},
    process::{
        BootTime, Counter, Ending, Event, Gauges, Host, Identity, ProcessKey, Reason, Sample, Tgid, Usage,
    },
};

const S: u64 = 1_000_000_000;

/// The value of each series.
type Values = BTreeMap<(String, String), f64>;

fn key(point: &Point) -> (String, String) {
    (point.metric.clone(), point.attributes.clone())
}

/// The collection after `tick` seconds: sums grow unevenly, an end has a reason that no one before it had.
fn at(tick: u64) -> Collection {
    let mut collection = collection();
    collection.time += tick * S;
    let reading = &mut collection.services[0].reading;
    reading.usage = Usage::ZERO
        .with(Counter::User, Some(tick * tick * 1_000_000))
        .with(Counter::Voluntary, Some(tick * 10))
        // Unknown for a while.
        .with(Counter::ReadBytes, (tick != 2).then_some(tick * 4_096));
    reading.happened.starts += tick / 2;
    reading.process_count = tick % 2;
    if tick >= 2 {
        reading.exits.push((Reason::Exit { code: 9 }, tick));
    }
    for _ in 0..tick {
        reading.lifetime.add(std::time::Duration::from_millis(1 + tick));
    }
    collection.health.received = Some(10 + tick);
    collection
}

#[test]
fn deltas_add_up_and_join_on_to_each_other() {
    let (mut cumulative, mut delta) = (encoder(Temporality::Cumulative), encoder(Temporality::Delta));
    let (mut sums, mut ends): (Values, BTreeMap<_, u64>) = (Values::new(), BTreeMap::new());
    for tick in 0..5 {
        let collection = at(tick);
        let expected = points(&told(&mut cumulative, &collection));
        let deltas = points(&told(&mut delta, &collection));
        assert_eq!(deltas.len(), expected.len());
        for (delta, expected) in deltas.iter().zip(&expected) {
            assert_eq!(key(delta), key(expected));
            let up_down = ["process_count", "thread_count", "open_file_descriptors"];
            if expected.temporality == 0 || up_down.contains(&expected.metric.as_str()) {
                assert_eq!(delta, expected, "not summed up");
                continue;
            }
            assert_eq!(delta.temporality, 1, "{delta:?}");
            assert!(delta.start < delta.time, "{delta:?}");
            let end = ends.insert((delta.resource, key(delta)), delta.time);
            assert_eq!(delta.start, end.unwrap_or(expected.start), "{delta:?}");
            let sum = sums.entry(key(delta)).or_default();
            *sum += delta.value;
            assert!((*sum - expected.value).abs() < 1e-9, "{sum} of {expected:?}");
        }
    }
}

#[test]
fn the_same_collection_encoded_again_says_the_same() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(0), |_| true);
    let first = encoder.encode(&at(3), |_| true);
    assert_eq!(encoder.encode(&at(3), |_| true), first);
    let value = |requests: &[EncodedRequest], name: &str| {
        let points = points(&super::tests::decoded(&requests[0]));
        points
            .into_iter()
            .find(|point| point.metric == name)
            .expect("a point")
            .value
    };
    assert_eq!(value(&first, "voluntary_ctx_switches"), 30.0);
    assert_eq!(
        value(&encoder.encode(&at(4), |_| true), "voluntary_ctx_switches"),
        10.0
    );
}

#[test]
fn a_service_left_out_for_a_while_is_told_all_of_it_later() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(1), |_| true);
    encoder.encode(&at(2), |_| false);
    let later = points(&told(&mut encoder, &at(3)));
    let point = later
        .iter()
        .find(|point| point.metric == "voluntary_ctx_switches");
    let point = point.expect("a point");
    assert_eq!((point.value, point.time - point.start), (20.0, 2 * S));
}

#[test]
fn low_memory_is_delta_for_histograms_alone() {
    let (mut cumulative, mut low) = (encoder(Temporality::Cumulative), encoder(Temporality::LowMemory));
    for tick in [1, 3] {
        let expected = points(&told(&mut cumulative, &at(tick)));
        for (low, expected) in points(&told(&mut low, &at(tick))).iter().zip(&expected) {
            let histogram = ["downtime", "lifetime"].contains(&low.metric.as_str());
            assert_eq!(low.temporality == 1, histogram, "{low:?}");
            if !histogram {
                assert_eq!(low, expected);
            } else if tick == 3 && low.metric == "lifetime" {
                assert_eq!((low.value, low.time - low.start), (2.0, 2 * S));
            }
        }
    }
}

#[test]
fn a_clock_set_back_leaves_every_delta_some_time() {
    let mut encoder = encoder(Temporality::Delta);
    encoder.encode(&at(4), |_| true);
    let back = points(&told(&mut encoder, &at(2)));
    for point in back.iter().filter(|point| point.temporality == 1) {
        assert!(point.start < point.time && point.value >= 0.0, "{point:?}");
    }
}

const HOST: Host = Host {
    memory: Some(1 << 30),
    cpus: 2,
};

fn process(tgid: u32, start: u64) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(tgid),
        start: BootTime(start * S),
    }
}

fn used(amount: u64) -> Usage {
    [
        Counter::Runtime,
        Counter::User,
        Counter::Voluntary,
        Counter::WriteBytes,
    ]
    .into_iter()
    .fold(Usage::ZERO, |usage, counter| usage.with(counter, Some(amount)))
}

fn start(tracker: &mut Tracker, key: ProcessKey) {
    tracker.apply(Event::Exec {
        key,
        time: key.start,
        sequence: key.start.0,
        parent: process(1, 0),
        identity: Identity {
            exe: "app".to_owned(),
            ..Identity::default()
        },
        usage: Usage::ZERO,
    });
}

fn end(tracker: &mut Tracker, key: ProcessKey, time: u64, amount: u64) {
    tracker.apply(Event::Free {
        key,
        time: BootTime(time * S),
        ended: None,
        ending: Ending {
            status: Some(9),
            ..Ending::default()
        },
        usage: used(amount),
        peak_rss: None,
    });
}

/// What two receivers are told of the same, one of them in deltas: they must come to the same sums.
struct Both {
    cumulative: MetricRequests,
    delta: MetricRequests,
    sums: Values,
    ends: BTreeMap<(String, String), u64>,
}

impl Both {
    fn new() -> Self {
        Self {
            cumulative: encoder(Temporality::Cumulative),
            delta: encoder(Temporality::Delta),
            sums: Values::new(),
            ends: BTreeMap::new(),
        }
    }

    /// A collection at second `time`, when these processes had used so much.
    fn collect(&mut self, tracker: &mut Tracker, time: u64, processes: &[(ProcessKey, u64)], outages: u64) {
        let now = BootTime(time * S);
        let samples = processes.iter().map(|&(key, amount)| {
            let sample = Sample {
                facts: crate::process::FactIds::default(),
                key,
                usage: used(amount),
                threads: Some(1),
                address_space: None,
                noted_rss: None,
                vms: None,
                fds: None,
                runnable: None,
                live: true,
            };
            (key, sample)
        });
        let samples: crate::process::KeyMap<_> = samples.collect();
        tracker.observe(&samples, &samples.keys().copied().collect(), now);
        let gauges = processes
            .iter()
            .map(|&(key, _)| (key, Gauges::default()))
            .collect();
        let mut collection = collection();
        collection.time = collection.clock.unix(now);
        collection.health.outages = outages;
        collection.services[0] = ServiceReading {
            extra: Default::default(),
            is_last: false,
            complete: Completeness::WHOLE,
            group: crate::plugin::GroupId(0),
            plugin: tracker.plugin(GroupId(0)).unwrap(),
            reading: tracker.read(GroupId(0), now, HOST, &gauges).unwrap(),
        };
        let expected = points(&told(&mut self.cumulative, &collection));
        let deltas = points(&told(&mut self.delta, &collection));
        assert_eq!(deltas.len(), expected.len());
        for (delta, expected) in deltas
            .iter()
            .zip(&expected)
            .filter(|(delta, _)| delta.temporality == 1 && !delta.is_end)
        {
            assert!(delta.start < delta.time, "{delta:?}");
            // kevmon's own sums begin anew with each run, but for those of its outages.
            if delta.resource == 1 || delta.metric == "kevmon.outages" {
                let end = self.ends.insert(key(delta), delta.time);
                assert_eq!(delta.start, end.unwrap_or(expected.start), "{delta:?}");
                let sum = self.sums.entry(key(delta)).or_default();
                *sum += delta.value;
                assert!(
                    (*sum - expected.value).abs() < 1e-9,
                    "{sum} of {expected:?} at {time}"
                );
            }
        }
    }

    /// kevmon ends after the collection at second `time`, and goes on.
    fn restart(&mut self, tracker: &mut Tracker, time: u64, same_boot: bool, outages: u64) {
        let clock = collection().clock;
        let saved = tracker.saved(&[GroupId(0)], &|moment| clock.unix(moment), &|moment| {
            clock.unix(moment)
        });
        let (_, saved) = saved.first().expect("the group");
        self.cumulative = encoder(Temporality::Cumulative);
        self.delta = encoder(Temporality::Delta);
        *tracker = watching(time + 5);
        tracker.restore(GroupId(0), saved, same_boot, BootTime((time + 5) * S));
        let plugin = tracker.plugin(GroupId(0)).unwrap();
        let last = clock.unix(BootTime(time * S));
        self.delta
            .told_before((GroupId(0), &plugin), saved, same_boot, last);
        self.delta.outages_told_before(outages, 0, last);
    }
}

fn watching(now: u64) -> Tracker {
    let plugin = Plugin {
        naming: Naming::Both,
        per_process: Some(PerProcess {
            most: 9,
            rank: Rank::Cpu,
            paths: false,
        }),
        ..plugin("^app$")
    };
    Tracker::new(vec![plugin], BootTime(now * S)).expect("a plain pattern")
}

#[test]
fn deltas_add_up_over_restarts_of_processes_and_of_kevmon() {
    let mut tracker = watching(10);
    let mut both = Both::new();
    let (one, two, three) = (process(20, 12), process(30, 16), process(40, 28));
    both.collect(&mut tracker, 11, &[], 0);
    start(&mut tracker, one);
    both.collect(&mut tracker, 13, &[(one, 100)], 0);
    end(&mut tracker, one, 15, 150);
    start(&mut tracker, two);
    both.collect(&mut tracker, 17, &[(two, 10)], 0);
    both.collect(&mut tracker, 19, &[(two, 35)], 0);

    both.restart(&mut tracker, 19, true, 0);
    // What it used meanwhile is caught up, as one delta.
    both.collect(&mut tracker, 25, &[(two, 80)], 1);
    end(&mut tracker, two, 27, 90);
    start(&mut tracker, three);
    both.collect(&mut tracker, 29, &[(three, 5)], 1);

    both.restart(&mut tracker, 29, false, 1);
    both.collect(&mut tracker, 35, &[], 2);
    let ends: f64 = both
        .sums
        .iter()
        .filter(|((metric, _), _)| metric == "exits")
        .map(|(_, sum)| sum)
        .sum();
    assert_eq!(ends, 3.0, "the last one found gone after another boot");
}
