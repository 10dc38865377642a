//! Readings of single processes: of whom, and since when.

use super::*;
use crate::plugin::{
    PerProcess, Rank,
    reading::{SingleProcess, SingleProcesses},
};

fn asking(most: usize, rank: Rank) -> Tracker {
    let plugin = Plugin {
        per_process: Some(PerProcess {
            most,
            rank,
            paths: false,
        }),
        ..plugin("^app$")
    };
    Tracker::new(vec![plugin], BootTime(0)).unwrap()
}

/// Reads at `time` ms, when these processes had used so much CPU time (ms) and had so large a resident set.
fn singles(tracker: &mut Tracker, time: u64, processes: &[(ProcessKey, u64, u64)]) -> SingleProcesses {
    for &(key, used, _) in processes {
        sample(tracker, time, key, used * MS);
    }
    let gauges = processes.iter().map(|&(key, _, rss)| {
        let gauges = Gauges {
            rss: Some(rss),
            ..Gauges::default()
        };
        (key, gauges)
    });
    let gauges = gauges.collect();
    let reading = tracker
        .read(GroupId(0), BootTime(time * MS), HOST, &gauges)
        .unwrap();
    reading.per_process.expect("the plugin asks for it")
}

fn cpu_usage(singles: &SingleProcesses) -> Vec<(u32, Option<f64>)> {
    let of = |process: &SingleProcess| (process.key.tgid.0, process.cpu_usage);
    singles.processes.iter().map(of).collect()
}

fn left_in(singles: &SingleProcesses) -> (Vec<u32>, u64) {
    let keys = singles.processes.iter().map(|process| process.key.tgid.0);
    (keys.collect(), singles.left_out)
}

#[test]
fn a_process_is_told_with_its_whole_life_and_what_it_used_since_the_last_reading() {
    let mut tracker = asking(9, Rank::Cpu);
    let (old, new) = (key(10, 0), key(11, 1_500));
    tracker.apply(exec(100, old, INIT, "app", 0));
    let first = singles(&mut tracker, 1_000, &[(old, 300, 1 << 28)]);
    assert_eq!(cpu_usage(&first), [(10, None)], "nothing to compare with");
    let process = &first.processes[0];
    assert_eq!(process.exe, "app");
    assert_eq!(process.usage.get(Counter::Runtime), Some(300 * MS));
    assert_eq!(process.memory_usage, Some(0.25));
    assert_eq!(process.uptime, Duration::from_secs(1));

    tracker.apply(exec(1_600, new, INIT, "app", 0));
    let second = singles(&mut tracker, 2_000, &[(old, 800, 1), (new, 100, 1)]);
    assert_eq!(
        cpu_usage(&second),
        [(10, Some(0.5)), (11, Some(0.2))],
        "500 ms of a second, and 100 of the half second that it lived"
    );
    assert_eq!(second.processes[0].usage.get(Counter::Runtime), Some(800 * MS));
    let third = singles(&mut tracker, 3_000, &[(old, 800, 1), (new, 1_100, 1)]);
    assert_eq!(cpu_usage(&third), [(10, Some(0.0)), (11, Some(1.0))]);
    let utilization = third.processes[1]
        .cpu_utilization
        .map(|(user, system)| user + system);
    assert_eq!(utilization, Some(0.5), "one of two CPUs");
}

#[test]
fn what_came_otherwise_than_by_a_start_has_no_rate_at_first() {
    let mut tracker = asking(9, Rank::Cpu);
    singles(&mut tracker, 1_000, &[]);
    tracker.apply(exec(1_500, key(10, 0), INIT, "app", 400 * MS));
    assert_eq!(
        cpu_usage(&singles(&mut tracker, 2_000, &[(key(10, 0), 500, 1)])),
        [(10, None)]
    );
    assert_eq!(
        cpu_usage(&singles(&mut tracker, 3_000, &[(key(10, 0), 600, 1)])),
        [(10, Some(0.1))]
    );
}

#[test]
fn who_ended_or_vanished_is_not_told_again() {
    let mut tracker = asking(1, Rank::Cpu);
    for tgid in [10, 11, 12] {
        tracker.apply(exec(100, key(tgid, 0), INIT, "app", 0));
    }
    tracker.apply(exit(500, key(10, 0), 900 * MS));
    let told = singles(&mut tracker, 1_000, &[(key(11, 0), 1, 1)]);
    assert_eq!(
        left_in(&told),
        (vec![11], 0),
        "12 has gone before it was read, and no bound left it out"
    );
}

#[test]
fn the_foremost_are_told_and_the_rest_is_counted() {
    let keys: Vec<ProcessKey> = (10..14).map(|tgid| key(tgid, 0)).collect();
    // CPU time (ms) and resident set (MiB), tick by tick; who is told then.
    let ticks = [
        ([5, 7, 7, 1], [1, 2, 3, 4], [11, 12], [12, 13]),
        // Next to nothing more, and no clear lead: places stay.
        ([9, 8, 7, 2], [3, 4, 4, 4], [11, 12], [12, 13]),
        // The last one works, the first one fills its memory.
        ([9, 8, 8, 502], [64, 4, 4, 5], [12, 13], [10, 13]),
    ];
    for (rank, of) in [(Rank::Cpu, 0), (Rank::Memory, 1)] {
        let mut tracker = asking(2, rank);
        for &key in &keys {
            tracker.apply(exec(100, key, INIT, "app", 0));
        }
        for (tick, (cpu, rss, by_cpu, by_memory)) in ticks.into_iter().enumerate() {
            let used: Vec<_> = (0..4)
                .map(|index| (keys[index], cpu[index], rss[index] << 20))
                .collect();
            let told = singles(&mut tracker, 1_000 * (1 + tick as u64), &used);
            let expected = [by_cpu, by_memory][of];
            assert_eq!(left_in(&told), (expected.to_vec(), 2), "{rank:?}, tick {tick}");
        }
    }
    let mut tracker = asking(0, Rank::Cpu);
    tracker.apply(exec(100, keys[0], INIT, "app", 0));
    assert_eq!(
        left_in(&singles(&mut tracker, 1_000, &[(keys[0], 1, 1)])),
        (vec![], 1)
    );
}

#[test]
fn a_plugin_that_does_not_ask_has_none() {
    let mut tracker = tracker(&["^app$"]);
    tracker.apply(exec(100, key(10, 0), INIT, "app", 0));
    assert_eq!(read(&mut tracker, 0, 1_000).per_process, None);
}
