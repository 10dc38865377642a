//! What the flight recorder keeps of a group: what is known at this moment, between two collections.

use super::{Group, read::Sums};
use crate::{
    plugin::reading::StepReading,
    process::{BootTime, Gauges, KeyMap, ProcessTable, Reason},
};

impl Group {
    /// Ends so far, by reason.
    pub(super) fn exit_counts(&self) -> Vec<(Reason, u64)> {
        let exits = self.exits.iter();
        exits.map(|(&reason, &count)| (reason, count)).collect()
    }

    /// Whether a program of the group keeps failing and being replaced.
    pub fn in_crash_loop(&self, now: BootTime) -> bool {
        self.pairing.in_crash_loop(now)
    }

    /// The group as it is now. Unlike a reading it closes no interval. `gauges` holds what could be read of the live members.
    pub fn step(&self, now: BootTime, gauges: &KeyMap<Gauges>, table: &ProcessTable) -> StepReading {
        let members = self.members_now(now, table);
        let read = members.live.iter();
        let read: Vec<&Gauges> = read.filter_map(|process| gauges.get(&process.key)).collect();
        let sums = Sums::of(&read, members.live.len());
        StepReading {
            usage: members.own,
            happened: self.happened,
            exits: self.exit_counts(),
            process_count: Some(members.live.len() as u64),
            rss: sums.rss,
            threads: sums.threads,
            fds: sums.fds,
        }
    }
}
