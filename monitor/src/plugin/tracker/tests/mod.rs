//! The rules of groups as tables: events and samples in, readings out.

mod candidates;
mod ended;
mod kept_roots;
mod lives;
mod loss;
mod outlive;
mod reload;
mod restarts;
mod single;
mod snapshots;
mod titles;
mod usage;
mod users;

use regex::RegexBuilder;

use super::*;
use crate::{
    plugin::{Aggregate, Matching, service::ServiceName},
    process::{Counter, FactIds, Reason, Tgid},
};

const MS: u64 = 1_000_000;
const HOST: Host = Host {
    memory: Some(1 << 30),
    cpus: 2,
};

/// A plugin for one pattern, everything else as by default.
pub(crate) fn plugin(pattern: &str) -> Plugin {
    let compiled = RegexBuilder::new(pattern).case_insensitive(true).build().unwrap();
    Plugin {
        restart_window: Duration::from_secs(10),
        ..Plugin::new(pattern, ServiceName::new("test", pattern), vec![compiled])
    }
}

/// Plugins by group, in order.
pub(crate) fn numbered(plugins: impl IntoIterator<Item = Plugin>) -> crate::plugin::Plugins {
    let plugins = plugins.into_iter().enumerate();
    plugins
        .map(|(index, plugin)| (GroupId(index), std::sync::Arc::new(plugin)))
        .collect()
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
        threads: Some(1),
        unheard: false,
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

/// An end with this wait status, its totals and its free.
fn end(tracker: &mut Tracker, time: u64, key: ProcessKey, status: u32, amount: u64) {
    for event in [exit(time, key, amount), free(time + 10, key, amount)] {
        let event = match event {
            Event::Exit {
                key,
                time,
                usage,
                peak_rss,
                ..
            } => Event::Exit {
                key,
                time,
                ending: ending(status),
                usage,
                peak_rss,
            },
            other => other,
        };
        tracker.apply(event);
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
        facts: FactIds::default(),
        key,
        parent: None,
        sequence: None,
        told: false,
        untold: false,
        renamed: false,
        end: None,
        identity: named(name),
        ended: false,
    }
}

fn sample(tracker: &mut Tracker, time: u64, key: ProcessKey, amount: u64) {
    let sample = Sample {
        facts: FactIds::default(),
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
    let samples = KeyMap::from_iter([(key, sample)]);
    tracker.observe(&samples, &KeySet::from_iter([key]), BootTime(time * MS));
}

fn read(tracker: &mut Tracker, group: usize, time: u64) -> Reading {
    let reading = tracker
        .read(GroupId(group), BootTime(time * MS), HOST, &KeyMap::default())
        .unwrap();
    let happened = reading.happened;
    assert_eq!(
        happened.starts + happened.worker_starts + happened.joins,
        happened.exits + happened.leaves + reading.process_count,
        "what came is what went and what is there: {happened:?}"
    );
    assert_eq!(
        reading.exits.iter().map(|(_, count)| count).sum::<u64>(),
        happened.exits,
        "each exit has one reason"
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
