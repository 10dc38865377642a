//! What a look between two collections says of a group.

use super::{Group, Role, read::LiveGauges};
use crate::{
    plugin::live::{LiveMember, LiveReading},
    process::{BootTime, Gauges, KeyMap, Process, ProcessKey, ProcessTable, Sample, Usage},
};

impl Group {
    /// The group as it is now. `samples` and `gauges` hold what could be read of its members; of the others, the table's totals
    /// are shown, and no gauges.
    pub fn live(
        &self,
        now: BootTime,
        samples: &KeyMap<Sample>,
        gauges: &KeyMap<Gauges>,
        table: &ProcessTable,
    ) -> LiveReading {
        let mut usage = self.left_behind;
        let mut members = Vec::with_capacity(self.members.len());
        for (key, membership, process) in self.counted(table) {
            let totals = totals(process, key, samples);
            usage = usage.plus(&membership.used(process, &totals));
            if process.is_live() {
                members.push(LiveMember {
                    key,
                    name: self.plugin.name_of(&process.identity).to_owned(),
                    worker: membership.role == Role::Worker,
                    usage: totals,
                    gauges: gauges.get(&key).copied().unwrap_or_default(),
                });
            }
        }
        members.sort_unstable_by_key(|member| member.key);
        let of_live = LiveGauges::of(members.iter().map(|member| member.key), gauges);
        LiveReading {
            usage: self.own(&usage),
            happened: self.happened,
            last_exit: self.last_exit,
            crash_loop: self.pairing.in_crash_loop(now),
            rss: of_live.rss(),
            fds: of_live.sum(|gauges| gauges.fds),
            threads: of_live.sum(|gauges| gauges.threads),
            run_queue: self.run_queue().cloned(),
            members,
        }
    }
}

/// The totals of a process as of its last reading, or of this sample where that tells more.
fn totals(process: &Process, key: ProcessKey, samples: &KeyMap<Sample>) -> Usage {
    let totals = process.totals();
    match samples.get(&key) {
        Some(sample) => totals.at_least(&sample.usage),
        None => totals,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        plugin::{group::Arrival, tracker::tests::plugin},
        process::{Counter, FactIds, Host, Identity, Tgid},
    };

    fn sample(key: ProcessKey, runtime: u64) -> Sample {
        Sample {
            key,
            usage: Usage::ZERO.with(Counter::Runtime, Some(runtime)),
            threads: Some(3),
            address_space: None,
            noted_rss: None,
            vms: None,
            fds: Some(7),
            facts: FactIds::default(),
            runnable: None,
            live: true,
        }
    }

    /// A group with one member that had used 1,000 ns when it was found, and 1,500 ns at its last reading.
    fn group() -> (Group, ProcessTable, ProcessKey) {
        let key = ProcessKey {
            tgid: Tgid(7),
            start: BootTime(1),
        };
        let mut table = ProcessTable::default();
        let identity = Identity {
            comm: "x".to_owned(),
            ..Identity::default()
        };
        let of = |runtime| Usage::ZERO.with(Counter::Runtime, Some(runtime));
        let process = table.entry(key, || Process::new(identity, None, BootTime(2)));
        process.observe(&of(1_000));
        let mut group = Group::new(Arc::new(plugin("x")), BootTime(2));
        group.join(
            key,
            Usage::ZERO,
            Arrival::Joined,
            BootTime(2),
            &table,
            &KeyMap::default(),
        );
        if let Some(process) = table.get_mut(key) {
            process.observe(&of(1_500));
        }
        (group, table, key)
    }

    #[test]
    fn a_look_shows_what_members_used_as_members_and_their_gauges() {
        let (group, table, key) = group();
        let samples = KeyMap::from_iter([(key, sample(key, 1_800))]);
        let of_key = Gauges {
            rss: Some(4_096),
            fds: Some(7),
            threads: Some(3),
            ..Gauges::default()
        };
        let gauges = KeyMap::from_iter([(key, of_key)]);
        let live = group.live(BootTime(9), &samples, &gauges, &table);
        assert_eq!(live.usage.get(Counter::Runtime), Some(800), "1,000 were brought");
        assert_eq!(
            (live.rss, live.fds, live.threads),
            (Some(4_096), Some(7), Some(3))
        );
        assert_eq!(live.members[0].usage.get(Counter::Runtime), Some(1_800));
        let unread = group.live(BootTime(9), &KeyMap::default(), &KeyMap::default(), &table);
        assert_eq!(
            unread.usage.get(Counter::Runtime),
            Some(500),
            "as of the last reading"
        );
        assert_eq!((unread.rss, unread.fds), (None, None), "absent is not zero");
    }

    #[test]
    fn a_step_has_no_use_from_before_members_joined() {
        let (group, table, _) = group();
        let step = group.step(BootTime(9), &KeyMap::default(), &table);
        assert_eq!(step.usage.get(Counter::Runtime), Some(500), "1,000 were brought");
    }

    #[test]
    fn a_look_leaves_the_next_reading_as_it_is() {
        let read = |looks: u64| {
            let (mut group, table, key) = group();
            let host = Host {
                memory: None,
                cpus: 1,
            };
            let (gauges, facts) = (KeyMap::default(), KeyMap::default());
            group.read(BootTime(10), host, &gauges, &table, &facts);
            let samples = KeyMap::from_iter([(key, sample(key, 9_000))]);
            for at in 0..looks {
                group.live(BootTime(11 + at), &samples, &gauges, &table);
            }
            group.read(BootTime(1_000), host, &gauges, &table, &facts)
        };
        assert_eq!(read(0), read(50));
    }
}
