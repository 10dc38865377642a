//! What the flight recorder keeps of a group: what is known at this moment, between two collections.

use super::{Group, read::Spaces};
use crate::{
    plugin::reading::StepReading,
    process::{BootTime, Gauges, KeyMap, ProcessTable},
};

impl Group {
    /// Whether a program of the group keeps failing and being replaced.
    pub fn in_crash_loop(&self, now: BootTime) -> bool {
        self.pairing.in_crash_loop(now)
    }

    /// The group as it is now. Unlike a reading it closes no interval. `gauges` holds what could be read of the live members.
    pub fn step(&self, now: BootTime, gauges: &KeyMap<Gauges>, table: &ProcessTable) -> StepReading {
        let members = self.members_now(now, table);
        let read = members.live.iter();
        let read: Vec<&Gauges> = read.filter_map(|process| gauges.get(&process.key)).collect();
        let is_read = !read.is_empty() || members.live.is_empty();
        let sum = |of: fn(&Gauges) -> Option<u64>| {
            let sum = read.iter().map(|gauges| of(gauges)).sum::<Option<u64>>();
            sum.filter(|_| is_read)
        };
        StepReading {
            usage: members.own,
            happened: self.happened,
            exits: self
                .exits
                .iter()
                .map(|(&reason, &count)| (reason, count))
                .collect(),
            process_count: Some(members.live.len() as u64),
            rss: Spaces::of(&read).rss.filter(|_| is_read),
            threads: sum(|gauges| gauges.threads),
            fds: sum(|gauges| gauges.fds),
        }
    }
}
