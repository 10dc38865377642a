//! What the flight recorder keeps of a group: what is known at this moment, between two collections.

use super::{Group, read::LiveGauges};
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
        let of_live = LiveGauges::of(members.live.iter().map(|process| process.key), gauges);
        StepReading {
            usage: members.own,
            happened: self.happened,
            exits: self.exit_counts(),
            process_count: Some(members.live.len() as u64),
            rss: of_live.rss(),
            threads: of_live.sum(|gauges| gauges.threads),
            fds: of_live.sum(|gauges| gauges.fds),
        }
    }
}
