//! The rules of groups as tables: events and samples in, readings out.

use std::collections::{HashMap, HashSet};

use regex::RegexBuilder;

use super::*;
use crate::{
    plugin::{Aggregate, Matching, Naming, service::ServiceName},
    process::{Counter, Ending, Moment, Tgid},
};

const MS: u64 = 1_000_000;
const HOST: Host = Host {
    memory: Some(1 << 30),
    cpus: 2,
};

/// A plugin for one pattern, everything else as by default.
pub(crate) fn plugin(pattern: &str) -> Plugin {
    Plugin {
        name: pattern.to_owned(),
        description: String::new(),
        service: ServiceName::new("test", pattern),
        patterns: vec![RegexBuilder::new(pattern).case_insensitive(true).build().unwrap()],
        interval: Duration::from_secs(60),
        naming: Naming::Instana,
        aggregate: Aggregate::All,
        prefix: false,
        restart_window: Duration::from_secs(10),
        failed_start: Duration::from_secs(1),
        events: false,
        matching: Matching::Name,
        attributes: std::collections::BTreeMap::new(),
        origin: None,
    }
}

fn tracker(patterns: &[&str]) -> Tracker {
    Tracker::new(
        patterns.iter().map(|pattern| plugin(pattern)).collect(),
        BootTime(0),
    )
    .unwrap()
}

/// A process that started at `start` ms.
fn key(tgid: u32, start: u64) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(tgid),
        start: BootTime(start * MS),
    }
}

/// The same amount of everything, so that sums are easy to follow.
fn used(amount: u64) -> Usage {
    [
        Counter::Runtime,
        Counter::User,
        Counter::System,
        Counter::RunDelay,
        Counter::Voluntary,
        Counter::Involuntary,
        Counter::MinorFaults,
        Counter::MajorFaults,
        Counter::ReadBytes,
        Counter::WriteBytes,
    ]
    .into_iter()
    .fold(Usage::UNKNOWN, |usage, counter| usage.with(counter, Some(amount)))
}

fn named(name: &str) -> Identity {
    Identity {
        comm: name.chars().take(15).collect(),
        exe: name.to_owned(),
        ..Identity::default()
    }
}

fn exec(time: u64, key: ProcessKey, parent: ProcessKey, name: &str, amount: u64) -> Event {
    let time = BootTime(time * MS);
    Event::Exec {
        key,
        time,
        sequence: time.0,
        parent,
        identity: named(name),
        usage: used(amount),
    }
}

fn fork(time: u64, key: ProcessKey, parent: ProcessKey) -> Event {
    Event::Fork {
        key,
        time: BootTime(time * MS),
        sequence: time,
        parent,
    }
}

fn rename(time: u64, key: ProcessKey, parent: ProcessKey, comm: &str, amount: u64) -> Event {
    let comm = comm.to_owned();
    Event::Rename {
        key,
        time: BootTime(time * MS),
        sequence: time,
        parent,
        comm,
        threads: 1,
        found: None,
        usage: used(amount),
    }
}

fn ending(status: u32) -> Ending {
    Ending {
        status: Some(status),
        ..Ending::default()
    }
}

fn exit(time: u64, key: ProcessKey, amount: u64) -> Event {
    Event::Exit {
        key,
        time: BootTime(time * MS),
        ending: ending(0),
        usage: used(amount),
        peak_rss: Some(amount),
    }
}

fn free(time: u64, key: ProcessKey, amount: u64) -> Event {
    Event::Free {
        key,
        time: BootTime(time * MS),
        ended: None,
        ending: ending(0),
        peak_rss: None,
        usage: used(amount),
    }
}

fn seen(key: ProcessKey, name: &str) -> Seen {
    Seen {
        key,
        parent: None,
        sequence: None,
        identity: named(name),
        ended: false,
    }
}

fn sample(tracker: &mut Tracker, time: u64, key: ProcessKey, amount: u64) {
    let sample = Sample {
        key,
        usage: used(amount),
        threads: Some(1),
        address_space: None,
        live: true,
    };
    tracker.observe(&HashMap::from([(key, sample)]), BootTime(time * MS));
}

fn read(tracker: &mut Tracker, group: usize, time: u64) -> Reading {
    let reading = tracker.read(GroupId(group), BootTime(time * MS), HOST, &HashMap::new());
    let happened = reading.happened;
    assert_eq!(
        happened.starts + happened.worker_starts + happened.joins,
        happened.exits + happened.leaves + reading.process_count,
        "what came is what went and what is there: {happened:?}"
    );
    reading
}

fn written(reading: &Reading) -> u64 {
    reading.usage.get(Counter::WriteBytes).expect("known")
}

const INIT: ProcessKey = ProcessKey {
    tgid: Tgid(1),
    start: BootTime(0),
};

#[test]
fn a_process_that_lives_between_two_readings_is_counted_whole() {
    let mut tracker = tracker(&["^app$"]);
    assert_eq!(
        written(&read(&mut tracker, 0, 0)),
        0,
        "an empty group reports zero, not nothing"
    );
    let app = key(10, 100);
    assert_eq!(
        tracker.apply(exec(101, app, INIT, "app", 5)),
        Some(Judgement {
            key: app,
            sequence: 101 * MS,
            keep: true
        })
    );
    tracker.apply(exit(102, app, 70));
    let reading = read(&mut tracker, 0, 103);
    assert_eq!(
        (reading.process_count, reading.unsettled, written(&reading)),
        (0, 1, 70),
        "provisional"
    );
    tracker.apply(free(110, app, 90));
    let reading = read(&mut tracker, 0, 200);
    assert_eq!((reading.happened.starts, reading.happened.exits), (1, 1));
    assert_eq!(
        (reading.unsettled, written(&reading)),
        (0, 90),
        "the part before the exec is in it, and the end"
    );
    assert_eq!(tracker.table_len(), 0, "nothing is kept of a freed process");
}

#[test]
fn what_matches_nothing_is_judged_and_forgotten() {
    let mut tracker = tracker(&["^app$"]);
    let other = key(10, 100);
    assert_eq!(
        tracker
            .apply(exec(101, other, INIT, "other", 5))
            .map(|judgement| judgement.keep),
        Some(false)
    );
    tracker.apply(fork(102, key(11, 102), other));
    tracker.apply(exit(103, other, 5));
    tracker.apply(free(104, other, 5));
    assert_eq!(tracker.table_len(), 0);
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut tracker = tracker(&["^app$"]);
    for (start, amount) in [(100, 10), (200, 20)] {
        tracker.apply(exec(start, key(10, start), INIT, "app", 0));
        tracker.apply(exit(start + 50, key(10, start), amount));
        tracker.apply(free(start + 120, key(10, start), amount)); // after the pid was taken again
    }
    let reading = read(&mut tracker, 0, 400);
    assert_eq!(
        (reading.happened.starts, reading.happened.exits, written(&reading)),
        (2, 2, 30)
    );
}

#[test]
fn totals_never_fall_whatever_is_read() {
    let mut tracker = tracker(&["^app$"]);
    let app = key(10, 100);
    tracker.apply(exec(100, app, INIT, "app", 0));
    let mut last = 0;
    for (step, amount) in [10, 30, 20, 30, 5, 31].into_iter().enumerate() {
        sample(&mut tracker, 200 + step as u64, app, amount);
        let now = written(&read(&mut tracker, 0, 200 + step as u64));
        assert!(now >= last, "step {step}: {now} after {last}");
        last = now;
    }
    assert_eq!(last, 31);
    tracker.apply(exit(300, app, 25));
    tracker.apply(free(310, app, 31));
    assert_eq!(written(&read(&mut tracker, 0, 320)), 31);
}

#[test]
fn an_exec_takes_a_process_from_one_group_to_another_and_splits_its_use_there() {
    let mut tracker = tracker(&["^one$", "^two$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "one", 4));
    tracker.apply(exec(200, process, INIT, "two", 10));
    tracker.apply(exec(300, process, INIT, "one", 16));
    tracker.apply(exit(400, process, 30));
    tracker.apply(free(410, process, 30));
    let (one, two) = (read(&mut tracker, 0, 500), read(&mut tracker, 1, 500));
    assert_eq!(
        (written(&one), written(&two)),
        (10 + 14, 6),
        "30 in all, nothing twice"
    );
    assert_eq!(
        (
            one.happened.starts,
            one.happened.joins,
            one.happened.leaves,
            one.happened.exits
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (
            two.happened.starts,
            two.happened.joins,
            two.happened.leaves,
            two.happened.exits
        ),
        (1, 0, 1, 0)
    );
}

#[test]
fn what_is_used_outside_every_group_is_brought_along_once() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 3)); // brings 3
    tracker.apply(exec(200, process, INIT, "away", 10)); // has used 10
    tracker.apply(exec(250, process, INIT, "farther", 12));
    assert_eq!(
        written(&read(&mut tracker, 0, 260)),
        10,
        "what is used elsewhere is not ours"
    );
    tracker.apply(exec(300, process, INIT, "app", 20)); // comes back with the 10 that nobody counted
    let reading = read(&mut tracker, 0, 310);
    assert_eq!(
        (written(&reading), reading.happened.joins),
        (20, 1),
        "a return is no start"
    );
}

#[test]
fn two_plugins_may_each_count_the_same_process() {
    let mut tracker = tracker(&["app", "^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 7));
    tracker.apply(exit(200, process, 9));
    tracker.apply(free(210, process, 9));
    assert_eq!(
        (
            written(&read(&mut tracker, 0, 300)),
            written(&read(&mut tracker, 1, 300))
        ),
        (9, 9)
    );
}

#[test]
fn forked_workers_inherit_the_group_and_count_apart() {
    let mut tracker = tracker(&["^server$"]);
    let (root, worker) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    sample(&mut tracker, 160, worker, 5);
    sample(&mut tracker, 160, root, 50);
    let reading = read(&mut tracker, 0, 170);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.worker_starts,
            reading.process_count
        ),
        (1, 1, 2)
    );
    assert_eq!(written(&reading), 55);
    // A worker that executes something else leaves; the worker's own exit is no root's end.
    tracker.apply(exec(180, worker, root, "helper", 6));
    tracker.apply(exit(190, worker, 9));
    tracker.apply(free(195, worker, 9));
    let reading = read(&mut tracker, 0, 200);
    assert_eq!(
        (reading.happened.leaves, reading.happened.exits, written(&reading)),
        (1, 0, 56)
    );
}

#[test]
fn a_double_forking_daemon_starts_once_and_restarts_never() {
    let mut tracker = tracker(&["^daemon$"]);
    let (first, second, third) = (key(10, 100), key(11, 110), key(12, 120));
    tracker.apply(exec(100, first, INIT, "daemon", 0));
    tracker.apply(fork(110, second, first));
    tracker.apply(exit(115, first, 1));
    tracker.apply(fork(120, third, second));
    tracker.apply(exit(125, second, 1));
    let reading = read(&mut tracker, 0, 130);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.worker_starts,
            reading.happened.restarts()
        ),
        (1, 2, 0)
    );
    // The heir is a root now: its end and a new start are a restart.
    tracker.apply(exit(500, third, 1));
    tracker.apply(exec(600, key(20, 599), INIT, "daemon", 0));
    assert_eq!(read(&mut tracker, 0, 700).happened.restarts(), 1);
}

#[test]
fn restarts_are_counted_between_readings() {
    let mut tracker = tracker(&["^app$"]);
    for life in 0..86u64 {
        let process = key(100 + life as u32, life * 700);
        tracker.apply(exec(life * 700, process, INIT, "app", 0));
        tracker.apply(exit(life * 700 + 690, process, 1));
        tracker.apply(free(life * 700 + 695, process, 1));
    }
    let reading = read(&mut tracker, 0, 60_200);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.exits,
            reading.happened.restarts()
        ),
        (86, 86, 85)
    );
}

#[test]
fn a_root_that_executes_itself_again_restarts_and_a_wrapper_does_not() {
    let mut tracker = tracker(&["^app"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app-wrapper", 0));
    tracker.apply(exec(101, process, INIT, "app", 0));
    assert_eq!(
        read(&mut tracker, 0, 110).happened.restarts(),
        0,
        "a wrapper that gives way to what it wraps"
    );
    tracker.apply(exec(5_000, process, INIT, "app", 0));
    let reading = read(&mut tracker, 0, 5_100);
    assert_eq!((reading.happened.restarts(), reading.happened.starts), (1, 1));
}

#[test]
fn a_name_taken_right_after_the_fork_is_a_start_and_later_a_join() {
    let mut tracker = tracker(&["^named$"]);
    tracker.apply(rename(150, key(10, 100), INIT, "named", 2));
    tracker.apply(rename(9_000, key(11, 100), INIT, "named", 3));
    let reading = read(&mut tracker, 0, 9_100);
    assert_eq!(
        (reading.happened.starts, reading.happened.joins, written(&reading)),
        (1, 1, 5)
    );
    tracker.apply(rename(9_200, key(11, 100), INIT, "renamed", 8));
    let reading = read(&mut tracker, 0, 9_300);
    assert_eq!(
        (reading.happened.leaves, reading.process_count, written(&reading)),
        (1, 1, 10)
    );
}

#[test]
fn what_a_snapshot_finds_is_no_start_and_what_it_misses_no_crash() {
    let mut tracker = Tracker::new(vec![plugin("^app$")], BootTime(90 * MS)).unwrap();
    let (old, gone) = (key(10, 1), key(11, 2));
    for process in [old, gone] {
        let judgement = tracker.discover(&seen(process, "app"), BootTime(100 * MS), None);
        assert_eq!(
            judgement,
            Some(Judgement {
                key: process,
                sequence: 0,
                keep: true
            })
        );
        let marked = Seen {
            sequence: Some(0),
            ..seen(process, "app")
        };
        assert_eq!(tracker.discover(&marked, BootTime(101 * MS), None), None, "once");
        let unmarked = tracker.discover(&seen(process, "app"), BootTime(101 * MS), None);
        assert_eq!(
            unmarked, judgement,
            "again when the kernel side could not mark it"
        );
    }
    assert_eq!(
        tracker.discover(&seen(key(12, 3), "other"), BootTime(100 * MS), None),
        None
    );
    sample(&mut tracker, 110, old, 1_000);
    let reading = read(&mut tracker, 0, 120);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.process_count
        ),
        (0, 2, 2)
    );
    assert_eq!(
        reading.usage_start,
        Moment::Boot(BootTime(MS)),
        "the oldest member's start"
    );

    let present = HashSet::from([old]);
    assert_eq!(
        tracker.end_missing(&present, BootTime(200 * MS), BootTime(210 * MS)),
        1
    );
    let reading = read(&mut tracker, 0, 220);
    assert_eq!((reading.happened.exits, reading.process_count), (1, 1));
    assert_eq!(tracker.irregularities().missing, 1);
}

#[test]
fn a_process_that_appeared_during_the_snapshot_is_not_missing() {
    let mut tracker = tracker(&["^app$"]);
    tracker.apply(exec(205, key(10, 204), INIT, "app", 0));
    assert_eq!(
        tracker.end_missing(&HashSet::new(), BootTime(200 * MS), BootTime(210 * MS)),
        0
    );
}

#[test]
fn a_source_without_events_counts_what_began_since_its_last_scan_as_started() {
    let mut tracker = tracker(&["^app$"]);
    tracker.discover(&seen(key(10, 50), "app"), BootTime(100 * MS), None);
    tracker.discover(
        &seen(key(11, 150), "app"),
        BootTime(200 * MS),
        Some(BootTime(100 * MS)),
    );
    let reading = read(&mut tracker, 0, 210);
    assert_eq!((reading.happened.joins, reading.happened.starts), (1, 1));
}

#[test]
fn an_end_is_taken_once_and_a_free_without_an_exit_is_one() {
    let mut tracker = tracker(&["^app$"]);
    let (twice, unannounced) = (key(10, 100), key(11, 100));
    tracker.apply(exec(100, twice, INIT, "app", 0));
    tracker.apply(exec(100, unannounced, INIT, "app", 0));
    tracker.apply(exit(200, twice, 5));
    tracker.apply(exit(200, twice, 5)); // the other one of two last threads
    tracker.apply(free(210, twice, 6));
    tracker.apply(free(210, unannounced, 7));
    let reading = read(&mut tracker, 0, 300);
    assert_eq!((reading.happened.exits, written(&reading)), (2, 13));
}

#[test]
fn an_ended_process_whose_free_never_comes_keeps_its_last_values() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 0));
    tracker.apply(exit(200, process, 42));
    // A zombie that is not reaped is still there to be read, however long that takes.
    sample(&mut tracker, 60_000, process, 43);
    assert_eq!(read(&mut tracker, 0, 60_000).unsettled, 1);
    tracker.observe(&HashMap::new(), BootTime(70_000 * MS));
    let reading = read(&mut tracker, 0, 70_000);
    assert_eq!((reading.unsettled, written(&reading)), (1, 43));
    assert_eq!(tracker.irregularities().unsettled, 1);
}

#[test]
fn cpu_usage_is_cpu_time_per_process_time_since_the_last_reading() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 0);
    tracker.discover(&seen(process, "app"), BootTime(1_000 * MS), None);
    sample(&mut tracker, 1_000, process, 700 * MS); // its life before is not this interval's
    assert_eq!(
        read(&mut tracker, 0, 1_000).cpu_usage,
        None,
        "a first reading has nothing to compare with"
    );
    sample(&mut tracker, 2_000, process, 1_200 * MS);
    assert_eq!(read(&mut tracker, 0, 2_000).cpu_usage, Some(0.5));
    tracker.apply(exec(2_000, key(11, 2_000), INIT, "app", 0)); // a second one, idle
    sample(&mut tracker, 3_000, process, 2_200 * MS);
    assert_eq!(
        read(&mut tracker, 0, 3_000).cpu_usage,
        Some(0.5),
        "mean of 1 and 0"
    );
}

#[test]
fn cpu_usage_of_what_lived_between_two_readings() {
    let mut tracker = tracker(&["^app$"]);
    read(&mut tracker, 0, 0);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 0));
    tracker.apply(exit(300, process, 100 * MS));
    tracker.apply(free(310, process, 100 * MS));
    assert_eq!(
        read(&mut tracker, 0, 1_000).cpu_usage,
        Some(0.5),
        "100 ms of the 200 that it lived"
    );
    assert_eq!(
        read(&mut tracker, 0, 2_000).cpu_usage,
        None,
        "nobody lived: not zero"
    );
}

#[test]
fn gauges_sum_what_could_be_read() {
    let mut tracker = tracker(&["^app$"]);
    let members = [key(10, 1), key(11, 2), key(12, 3), key(13, 4)];
    for member in members {
        tracker.apply(exec(5, member, INIT, "app", 0));
    }
    let gauge = |rss, threads, space| Gauges {
        rss: Some(rss),
        vms: Some(rss * 2),
        fds: Some(3),
        threads: Some(threads),
        peak_rss: Some(rss + 1),
        address_space: Some(space),
    };
    // The third shares the second's address space (a vfork child); the fourth has vanished.
    let gauges = HashMap::from([
        (members[0], gauge(100, 1, 7)),
        (members[1], gauge(50, 4, 8)),
        (members[2], gauge(50, 1, 8)),
    ]);
    let reading = tracker.read(GroupId(0), BootTime(10 * MS), HOST, &gauges);
    assert_eq!(
        (reading.rss, reading.vms, reading.sharing),
        (Some(150), Some(300), 1)
    );
    assert_eq!((reading.fds, reading.threads), (Some(9), Some(6)));
    assert_eq!(
        (reading.max_threads, reading.min_threads, reading.avg_threads),
        (Some(4), Some(1), Some(2.0))
    );
    assert_eq!(reading.peak_rss, Some(101));
    // One that could not be read makes the sum unknown, not smaller; a peak once seen stays.
    let gauges = HashMap::from([
        (
            members[0],
            Gauges {
                rss: None,
                ..gauge(1, 1, 7)
            },
        ),
        (members[1], gauge(1, 1, 8)),
    ]);
    let reading = tracker.read(GroupId(0), BootTime(11 * MS), HOST, &gauges);
    assert_eq!(
        (reading.rss, reading.vms, reading.peak_rss),
        (None, Some(4), Some(101))
    );
}

#[test]
fn only_roots_count_where_the_plugin_says_so() {
    let mut roots_only = plugin("^server$");
    roots_only.aggregate = Aggregate::Roots;
    let mut tracker = Tracker::new(vec![roots_only], BootTime(0)).unwrap();
    let (root, worker) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    sample(&mut tracker, 160, root, 10);
    sample(&mut tracker, 160, worker, 500);
    let reading = tracker.read(GroupId(0), BootTime(170 * MS), HOST, &HashMap::new());
    assert_eq!((reading.process_count, written(&reading)), (1, 10));
    assert_eq!(reading.happened.worker_starts, 1, "events are counted for all");
    // The worker becomes a root: it counts from there on.
    tracker.apply(exit(200, root, 11));
    sample(&mut tracker, 210, worker, 503);
    let reading = tracker.read(GroupId(0), BootTime(220 * MS), HOST, &HashMap::new());
    assert_eq!((reading.process_count, written(&reading)), (1, 11 + 3));
}

#[test]
fn a_name_that_is_not_utf8_is_counted() {
    let mut tracker = tracker(&["app"]);
    tracker.apply(exec(100, key(10, 100), INIT, "app\u{fffd}", 0));
    assert_eq!(tracker.irregularities().not_utf8, 1);
    assert_eq!(read(&mut tracker, 0, 200).process_count, 1);
}

#[test]
fn a_process_that_was_found_and_never_read_makes_nothing_unknown() {
    let mut tracker = tracker(&["^app$"]);
    let (read_once, vanished) = (key(10, 1), key(11, 2));
    for process in [read_once, vanished] {
        tracker.discover(&seen(process, "app"), BootTime(100 * MS), None);
    }
    sample(&mut tracker, 110, read_once, 40);
    assert_eq!(written(&read(&mut tracker, 0, 120)), 40, "while it is there");
    tracker.end_missing(
        &HashSet::from([read_once]),
        BootTime(200 * MS),
        BootTime(210 * MS),
    );
    let reading = read(&mut tracker, 0, 220);
    assert_eq!(
        (written(&reading), reading.unsettled),
        (40, 1),
        "and when it has gone, which is counted"
    );
}

#[test]
fn what_a_snapshot_shows_ended_keeps_its_names_and_ends() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 5));
    let zombie = Seen {
        identity: Identity {
            comm: "app".into(),
            ..Identity::default()
        },
        ended: true,
        ..seen(process, "")
    };
    assert_eq!(tracker.discover(&zombie, BootTime(200 * MS), None), None);
    tracker.end_seen(&[process], BootTime(200 * MS));
    let reading = read(&mut tracker, 0, 210);
    assert_eq!(
        (reading.happened.exits, reading.happened.leaves, reading.unsettled),
        (1, 0, 1)
    );
    sample(&mut tracker, 220, process, 8);
    tracker.apply(free(300, process, 9));
    assert_eq!(written(&read(&mut tracker, 0, 310)), 9, "its totals still come");
}

#[test]
fn only_a_root_hands_its_role_over() {
    let mut tracker = tracker(&["^server$"]);
    let (root, worker, grandchild) = (key(10, 100), key(11, 150), key(12, 160));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    tracker.apply(fork(160, grandchild, worker));
    tracker.apply(exit(200, worker, 1));
    tracker.apply(exit(210, grandchild, 1));
    tracker.apply(exec(300, key(20, 299), INIT, "server", 0));
    assert_eq!(
        read(&mut tracker, 0, 400).happened.restarts(),
        0,
        "the root has lived throughout"
    );
}
