//! What others may ask of the tracker: its groups, who is followed, and what went wrong.

use std::{collections::BTreeSet, sync::Arc};

use super::{Group, GroupId, Identity, Irregularities, Plugin, Process, ProcessKey, Tracker};
use crate::{
    plugin::{live::LiveReading, reading::StepReading},
    process::{BootTime, Counter, Gauges, KeyMap, Sample},
};

impl Tracker {
    /// The groups, in the order of their ids.
    pub fn plugins(&self) -> impl Iterator<Item = (GroupId, &Arc<Plugin>)> {
        self.groups.iter().map(|(&id, group)| (id, &group.plugin))
    }

    /// A group between two collections, for the flight recorder; `None` for a group that is no more.
    pub fn step(&self, group: GroupId, now: BootTime, gauges: &KeyMap<Gauges>) -> Option<StepReading> {
        Some(self.groups.get(&group)?.step(now, gauges, &self.table))
    }

    /// Whether a program of the group keeps failing and being replaced.
    pub fn in_crash_loop(&self, group: GroupId, now: BootTime) -> bool {
        let group = self.groups.get(&group);
        group.is_some_and(|group| group.in_crash_loop(now))
    }

    /// A group's plugin; `None` for a group that is no more.
    pub fn plugin(&self, group: GroupId) -> Option<Arc<Plugin>> {
        self.groups.get(&group).map(|group| Arc::clone(&group.plugin))
    }

    /// Gives back the room of processes that are gone, where there was much and most are. True where it did.
    pub fn shrink(&mut self) -> bool {
        let shrinks = self.table.shrink();
        if shrinks {
            self.groups.values_mut().for_each(Group::shrink);
            self.memberships.shrink_to_fit();
            self.left.shrink_to_fit();
            self.ended.shrink_to_fit();
            self.facts.shrink_to_fit();
            self.descent.shrink_to_fit();
            self.closed.shrink_to_fit();
            self.looks.shrink();
        }
        shrinks
    }

    /// True when the process is in the table.
    pub fn knows(&self, key: ProcessKey) -> bool {
        self.table.get(key).is_some()
    }

    /// The key by which a process is known whose key /proc told, which is less exact; else that one.
    pub fn known_as(&self, key: ProcessKey) -> ProcessKey {
        let known = self.table.iter().map(|(known, _)| known);
        let mut known = known.filter(|known| known.tgid == key.tgid && known.same_process(key));
        known.next().unwrap_or(key)
    }

    /// The groups that the process is a member of.
    pub fn groups_of(&self, key: ProcessKey) -> &[GroupId] {
        self.memberships.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The names that the process is known by; `None` for one that is not in the table.
    pub fn identity_of(&self, key: ProcessKey) -> Option<&Identity> {
        self.table.get(key).map(|process| &process.identity)
    }

    /// CPU time that the process had used when it was read last, ns; `None` where it is not known.
    pub fn cpu_time_of(&self, key: ProcessKey) -> Option<u64> {
        self.table.get(key)?.totals().get(Counter::Runtime)
    }

    /// Counts of what went wrong.
    pub fn irregularities(&self) -> Irregularities {
        Irregularities {
            notices_dropped: self.notices.dropped(),
            ..self.irregular
        }
    }

    /// Number of processes in the table.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Every process of these groups whose totals may still move; of all, where there are none.
    pub fn tracked_of(&self, groups: &[GroupId]) -> impl Iterator<Item = ProcessKey> {
        let wanted: BTreeSet<GroupId> = groups.iter().copied().collect();
        let all = wanted.is_empty() || wanted.len() == self.groups.len();
        self.memberships
            .iter()
            .filter(move |(_, of)| all || of.iter().any(|group| wanted.contains(group)))
            .map(|(&key, _)| key)
    }

    /// Members of a group that ended and whose final totals never came, since its first watch.
    pub fn given_up(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(0, Group::given_up)
    }

    /// Whether final totals of a group's members are still to come.
    pub fn awaits_totals(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|group| group.awaits_totals(&self.table))
    }

    /// Number of members of a group, including ended ones whose totals have not settled.
    pub fn member_count(&self, group: GroupId) -> usize {
        self.groups.get(&group).map_or(0, Group::member_count)
    }

    /// Every process of the table that lives.
    pub fn followed(&self) -> impl Iterator<Item = ProcessKey> {
        let live = self.table.iter().filter(|(_, process)| process.is_live());
        live.map(|(key, _)| key)
    }

    /// The groups whose plugins ask for the detailed mode.
    pub fn detailed(&self) -> Vec<GroupId> {
        let detailed = self
            .groups
            .iter()
            .filter(|(_, group)| group.plugin.detail.is_some());
        detailed.map(|(&id, _)| id).collect()
    }

    /// A group as it is now, without a trace in it; `None` for one that is no more. See [`LiveReading`].
    pub fn live(
        &self,
        group: GroupId,
        now: BootTime,
        samples: &KeyMap<Sample>,
        gauges: &KeyMap<Gauges>,
    ) -> Option<LiveReading> {
        let group = self.groups.get(&group)?;
        Some(group.live(now, samples, gauges, &self.table))
    }

    /// The live members of all groups, each once.
    pub fn all_live_members(&self) -> Vec<ProcessKey> {
        let keys = self.memberships.keys().copied();
        keys.filter(|&key| self.table.get(key).is_some_and(Process::is_live))
            .collect()
    }

    /// The live members of `groups`.
    pub fn live_members(&self, groups: &[GroupId]) -> Vec<ProcessKey> {
        self.memberships
            .iter()
            .filter(|(key, of)| {
                of.iter().any(|group| groups.contains(group))
                    && self.table.get(**key).is_some_and(Process::is_live)
            })
            .map(|(&key, _)| key)
            .collect()
    }
}
