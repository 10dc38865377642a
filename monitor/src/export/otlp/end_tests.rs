//! Ends of the series of single processes.

use std::collections::BTreeSet;

use super::{
    process_tests::{of, single},
    tests::{Point, encoder, points, told},
    *,
};
use crate::{
    plugin::{PerProcess, Rank, SavedMember, reading::SingleProcess},
    process::Usage,
};

const S: u64 = 1_000_000_000;

/// A series: the metric's name and its attributes.
type Key = (String, String);

fn is_single(point: &&Point) -> bool {
    point.attributes.contains("process.pid")
}

/// Series with values, and series that end.
fn split(points: &[Point]) -> (BTreeSet<Key>, BTreeSet<Key>) {
    let key = |point: &Point| (point.metric.clone(), point.attributes.clone());
    let (ends, values): (Vec<&Point>, Vec<&Point>) =
        points.iter().filter(is_single).partition(|point| point.is_end);
    let all = values.len() + ends.len();
    let values: BTreeSet<Key> = values.into_iter().map(key).collect();
    let ends: BTreeSet<Key> = ends.into_iter().map(key).collect();
    assert_eq!(values.len() + ends.len(), all, "each series once");
    assert!(values.is_disjoint(&ends), "a series goes on or ends");
    (values, ends)
}

fn two() -> Vec<SingleProcess> {
    vec![single(10, "app", 100), single(11, "app", 5)]
}

fn at(tick: u64, mut collection: Collection) -> Collection {
    collection.time += tick * S;
    collection
}

fn change(collection: &mut Collection, by: impl FnOnce(&mut Plugin)) {
    by(Arc::make_mut(&mut collection.services[0].plugin));
}

#[test]
fn a_series_ends_once_whatever_ends_it() {
    type Change = fn(&mut Collection);
    // What changes, and how many of the 2 × 17 series end; the rest goes on.
    let changes: [(&str, Change, usize); 10] = [
        (
            "the process ended, left, or lost its place",
            |of| processes(of).truncate(1),
            17,
        ),
        (
            "another program, another owner",
            |of| processes(of)[0].exe = "other".to_owned(),
            17,
        ),
        (
            "the pid came again",
            |of| processes(of)[1] = single(11, "app", 1).started_later(),
            17,
        ),
        ("all ended", |of| processes(of).clear(), 34),
        (
            "no processes are asked for",
            |of| of.services[0].reading.per_process = None,
            34,
        ),
        ("the group ends", |of| of.services[0].is_last = true, 34),
        (
            "other names",
            |of| change(of, |plugin| plugin.naming = Naming::Otel),
            34,
        ),
        (
            "a filter",
            |of| change(of, |plugin| plugin.metrics.exclude = vec!["*_faults".to_owned()]),
            4,
        ),
        ("a prefix", |of| change(of, |plugin| plugin.prefix = true), 34),
        ("nothing", |_| {}, 0),
    ];
    for temporality in [
        Temporality::Cumulative,
        Temporality::Delta,
        Temporality::LowMemory,
    ] {
        for (what, by, count) in &changes {
            let mut encoder = encoder(temporality);
            let first = of(Naming::Instana, two());
            let (open, ends) = split(&points(&told(&mut encoder, &first)));
            assert_eq!((open.len(), ends.len()), (34, 0), "{what}");
            let mut second = at(1, first.clone());
            by(&mut second);
            let before = encoder.clone();
            let request = told(&mut encoder, &second);
            let all = points(&request);
            let (values, ends) = split(&all);
            assert_eq!(ends.len(), *count, "{what}, {temporality:?}");
            assert!(ends.is_subset(&open), "{what}");
            let gone_on: BTreeSet<Key> = open.difference(&ends).cloned().collect();
            assert!(gone_on.is_subset(&values), "{what}");
            for end in all.iter().filter(|point| point.is_end) {
                assert_eq!(end.time, second.time, "{what}");
                let is_delta = end.temporality == 1;
                let start = match end.temporality {
                    0 => 0,
                    1 => first.time,
                    _ => 1_000_000_000 * S + pid(end) * S,
                };
                assert_eq!(end.start, start, "{what}, {is_delta}: {end:?}");
            }
            // The same again says the same.
            assert!(
                all == points(&told(&mut encoder, &second)),
                "{what}, {temporality:?}"
            );
            assert!(
                all == points(&told(&mut before.clone(), &second)),
                "{what}, {temporality:?}"
            );
            let mut third = at(1, second.clone());
            third.services[0].is_last = false;
            let (_, again) = split(&points(&told(&mut encoder, &third)));
            assert!(again.is_empty(), "{what}: {again:?}");
        }
    }
}

fn processes(of: &mut Collection) -> &mut Vec<SingleProcess> {
    let singles = of.services[0].reading.per_process.as_mut();
    &mut singles.expect("asked for").processes
}

impl SingleProcess {
    fn started_later(mut self) -> Self {
        self.key.start.0 += S;
        self
    }
}

fn pid(point: &Point) -> u64 {
    let text = point.attributes.split("IntValue(").nth(1).expect("a pid");
    let digits = text.split(')').next().expect("a number");
    digits.parse().expect("a number")
}

#[test]
fn what_is_unknown_for_a_while_goes_on_and_what_never_was_has_no_end() {
    let mut encoder = encoder(Temporality::Cumulative);
    let unknown = |process: SingleProcess| SingleProcess {
        cpu_usage: None,
        ..process
    };
    let name = "per_process.cpu_usage";
    let told = |encoder: &mut MetricRequests, tick, process: Option<SingleProcess>| {
        let collection = at(tick, of(Naming::Instana, process.into_iter().collect()));
        let points = points(&told(encoder, &collection));
        let (values, ends) = split(&points);
        let has = |keys: &BTreeSet<Key>| keys.iter().any(|(metric, _)| metric == name);
        (has(&values), has(&ends))
    };
    let process = single(10, "app", 1);
    assert_eq!(
        told(&mut encoder, 0, Some(unknown(process.clone()))),
        (false, false)
    );
    assert_eq!(told(&mut encoder, 1, None), (false, false), "it never was");
    assert_eq!(told(&mut encoder, 2, Some(process.clone())), (true, false));
    assert_eq!(told(&mut encoder, 3, Some(unknown(process))), (false, false));
    assert_eq!(told(&mut encoder, 4, None), (false, true));
    assert_eq!(told(&mut encoder, 5, None), (false, false));
}

#[test]
fn whoever_is_not_sent_the_group_any_more_is_sent_its_ends() {
    let mut encoder = encoder(Temporality::Cumulative);
    let first = of(Naming::Both, two());
    let (open, _) = split(&points(&told(&mut encoder, &first)));
    let group = first.services[0].group;
    assert!(encoder.has_open_series(group));
    let ends = |encoder: &mut MetricRequests, tick| {
        let requests = encoder.encode(&at(tick, first.clone()), |_| false);
        let all: Vec<Point> = requests
            .iter()
            .flat_map(|request| points(&tests::decoded(request)))
            .collect();
        let of_group: Vec<&Point> = all.iter().filter(|point| point.resource > 0).collect();
        assert!(of_group.iter().all(|point| point.is_end), "{of_group:?}");
        split(&all).1
    };
    assert_eq!(ends(&mut encoder, 1), open);
    assert!(!encoder.has_open_series(group));
    assert_eq!(ends(&mut encoder, 2), BTreeSet::new());
}

#[test]
fn a_run_ends_what_ended_while_kevmon_was_away() {
    let clock = of(Naming::Both, Vec::new()).boot;
    let member = |process: &SingleProcess, has_series: bool| SavedMember {
        key: process.key,
        name: "app".into(),
        exe: "app".into(),
        former: false,
        root: true,
        executed: false,
        base: Usage::ZERO,
        totals: Usage::ZERO,
        attributed: Usage::ZERO,
        ended: false,
        series: has_series.then(|| series_text(process, clock).into()),
        user: None,
        programs: None,
    };
    let [gone, lives, had_none] = [10, 11, 12].map(|tgid| {
        let mut process = single(tgid, "app", 1);
        process.facts.user = Some("jö\"\\".into());
        process
    });
    let first = of(Naming::Both, vec![gone.clone(), lives.clone()]);
    let (open, _) = split(&points(&told(&mut encoder(Temporality::Cumulative), &first)));
    let saved = SavedGroup {
        watch_start: 5 * S,
        usage_start: 5 * S,
        left_behind: Usage::ZERO,
        happened: crate::plugin::reading::Happened::default(),
        exits: Vec::new(),
        given_up: 0,
        downtime: crate::plugin::Durations::default(),
        lifetime: crate::plugin::Durations::default(),
        last_start: None,
        last_exit: None,
        peak_rss: None,
        members: vec![
            member(&gone, true),
            member(&lives, true),
            member(&had_none, false),
        ],
        unpaired_ends: Vec::new(),
        untold_exits: Vec::new(),
    };
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        for same_boot in [true, false] {
            let mut encoder = encoder(temporality);
            let next = at(5, of(Naming::Both, vec![lives.clone()]));
            let service = &next.services[0];
            encoder.told_before((service.group, &service.plugin), &saved, same_boot, first.time);
            let (values, ends) = split(&points(&told(&mut encoder, &next)));
            let of_gone: BTreeSet<Key> = open.difference(&values).cloned().collect();
            assert_eq!(ends, of_gone, "{temporality:?}, {same_boot}");
            assert_eq!(ends.len(), 35);
        }
    }
}

/// Whatever changes from collection to collection, a receiver knows of no open series that is not sent.
#[test]
fn no_series_stays_open_and_none_ends_twice() {
    let mut seed: u64 = 7;
    let mut random = |below: u64| {
        // Numerical Recipes' generator; its high bits are good enough.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut encoder = encoder(Temporality::Cumulative);
    let mut known: BTreeSet<Key> = BTreeSet::new();
    let (mut naming, mut prefix, mut exclude) = (Naming::Instana, false, Vec::new());
    let mut ended = 0;
    for tick in 0..600 {
        match random(12) {
            0 => naming = [Naming::Instana, Naming::Otel, Naming::Both][random(3) as usize],
            1 => prefix = !prefix,
            2 => {
                exclude =
                    [vec![], vec!["*faults".to_owned()], vec!["*cpu*".to_owned()]][random(3) as usize].clone()
            }
            _ => {}
        }
        let mut chosen = Vec::new();
        for tgid in 10..16 {
            if random(3) > 0 {
                chosen.push(single(tgid, ["app", "other"][random(8) as usize / 7], 1));
            }
        }
        let mut collection = at(tick, of(naming, chosen));
        change(&mut collection, |plugin| {
            plugin.prefix = prefix;
            plugin.metrics.exclude = exclude.clone();
            plugin.per_process = Some(PerProcess {
                most: 9,
                rank: Rank::Cpu,
                paths: false,
            });
        });
        match random(20) {
            0 => collection.services[0].reading.per_process = None,
            1 => collection.services[0].is_last = true,
            _ => {}
        }
        let (values, ends) = split(&points(&told(&mut encoder, &collection)));
        assert!(ends.is_subset(&known), "tick {tick}: an end of what is not open");
        ended += ends.len();
        known = known.difference(&ends).cloned().collect();
        known.extend(values.iter().cloned());
        assert_eq!(known, values, "tick {tick}: open, and without values");
    }
    assert!(ended > 5_000, "{ended}");
}
