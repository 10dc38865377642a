//! Follows every process of interest from group to group: applies events, snapshots and samples to the process
//! table and tells the groups what it means for them.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    GroupId, Plugin, Reading,
    group::{Arrival, Group},
    matcher::Matcher,
};
use crate::process::{
    BootTime, Event, Gauges, Host, Identity, Judgement, Process, ProcessKey, ProcessTable, Sample, Seen,
    State, Usage,
};

/// A name taken this soon after a process's fork is the name it starts with.
pub const NAMED_AT_START: Duration = Duration::from_secs(1);

/// How long after its end a process that is neither there nor freed is waited for. The free comes from RCU, within
/// tens of milliseconds; kernels with lazy RCU callbacks may hold it back for ten seconds (CONFIG_RCU_LAZY).
pub const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// What could not be done as it should, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irregularities {
    /// Processes found missing without an exit record.
    pub missing: u64,
    /// Ended processes whose final totals never came: their last values stand.
    pub unsettled: u64,
    /// Names that were not UTF-8 and are shown with replacement characters.
    pub not_utf8: u64,
}

/// The processes of interest and their groups.
#[derive(Debug)]
pub struct Tracker {
    table: ProcessTable,
    groups: Vec<Group>,
    matcher: Matcher,
    memberships: HashMap<ProcessKey, Vec<GroupId>>,
    irregular: Irregularities,
}

impl Tracker {
    /// One empty group for each plugin, watched from `now` on.
    ///
    /// # Errors
    /// The plugins' patterns are too large together.
    pub fn new(plugins: Vec<Plugin>, now: BootTime) -> Result<Self, regex::Error> {
        Ok(Self {
            table: ProcessTable::default(),
            matcher: Matcher::new(&plugins)?,
            groups: plugins
                .into_iter()
                .map(|plugin| Group::new(plugin, now))
                .collect(),
            memberships: HashMap::new(),
            irregular: Irregularities::default(),
        })
    }

    /// The groups, in the order of their ids.
    pub fn plugins(&self) -> impl Iterator<Item = (GroupId, &Plugin)> {
        self.groups
            .iter()
            .enumerate()
            .map(|(index, group)| (GroupId(index), &group.plugin))
    }

    /// True when the process is in the table.
    pub fn knows(&self, key: ProcessKey) -> bool {
        self.table.get(key).is_some()
    }

    /// Counts of what went wrong.
    pub fn irregularities(&self) -> Irregularities {
        self.irregular
    }

    /// Number of processes in the table.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Every process whose totals may still move.
    pub fn tracked(&self) -> impl Iterator<Item = ProcessKey> {
        self.memberships.keys().copied()
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

    /// Takes an event. Identities are judged: the source hears whether more is wanted.
    pub fn apply(&mut self, event: Event) -> Option<Judgement> {
        match event {
            Event::Exec {
                key,
                time,
                sequence,
                parent,
                identity,
                usage,
            } => {
                let keep = self.executed(key, time, parent, identity, &usage);
                Some(Judgement { key, sequence, keep })
            }
            Event::Fork {
                key,
                time,
                sequence,
                parent,
            } => {
                let keep = self.forked(key, time, parent);
                Some(Judgement { key, sequence, keep })
            }
            Event::Rename {
                key,
                time,
                sequence,
                parent,
                comm,
                found,
                usage,
                ..
            } => {
                let keep = self.renamed(key, time, parent, comm, found, &usage);
                Some(Judgement { key, sequence, keep })
            }
            Event::Exit {
                key,
                time,
                ending,
                usage,
                peak_rss,
            } => {
                if let Some(process) = self.table.get_mut(key) {
                    process.observe(&usage);
                    process.raise_peak_rss(peak_rss);
                    self.ended(key, time, ending.status);
                }
                None
            }
            Event::Free {
                key,
                time,
                ended,
                ending,
                usage,
                peak_rss,
            } => {
                if let Some(process) = self.table.get_mut(key) {
                    process.observe(&usage);
                    process.raise_peak_rss(peak_rss);
                    self.ended(key, ended.unwrap_or(time), ending.status);
                    self.settle(key, false);
                }
                None
            }
        }
    }

    fn executed(
        &mut self,
        key: ProcessKey,
        time: BootTime,
        parent: ProcessKey,
        identity: Identity,
        usage: &Usage,
    ) -> bool {
        let before = self.memberships.get(&key).cloned().unwrap_or_default();
        let keep = self.identified(key, time, parent, identity, usage, Arrival::Appeared);
        for &group in self.memberships.get(&key).into_iter().flatten() {
            if before.contains(&group) {
                self.groups[group.0].executed(key);
            }
        }
        // The new image has a peak of its own; the old one's counted where it belonged.
        if let Some(process) = self.table.get_mut(key) {
            process.peak_rss = None;
        }
        keep
    }

    /// A process goes by these names now. Returns whether it is of interest: known, or matched by some plugin.
    fn identified(
        &mut self,
        key: ProcessKey,
        time: BootTime,
        parent: ProcessKey,
        identity: Identity,
        usage: &Usage,
        arrival: Arrival,
    ) -> bool {
        self.note_encoding(&identity);
        let groups = self.matcher.groups(&identity);
        if groups.is_empty() && !self.knows(key) {
            return false;
        }
        let process = self
            .table
            .entry(key, || Process::new(Identity::default(), None, time));
        process.identity = identity;
        process.parent = Some(parent);
        process.observe(usage);
        self.move_to(key, groups, arrival, time);
        true
    }

    fn forked(&mut self, key: ProcessKey, time: BootTime, parent: ProcessKey) -> bool {
        let Some(identity) = self.table.get(parent).map(|parent| parent.identity.clone()) else {
            return false;
        };
        let groups = self.matcher.groups(&identity);
        if groups.is_empty() {
            return false;
        }
        let process = self.table.entry(key, || Process::new(identity, None, time));
        process.parent = Some(parent);
        process.observe(&Usage::ZERO);
        self.move_to(key, groups, Arrival::Appeared, time);
        true
    }

    fn renamed(
        &mut self,
        key: ProcessKey,
        time: BootTime,
        parent: ProcessKey,
        comm: String,
        found: Option<Identity>,
        usage: &Usage,
    ) -> bool {
        let known = self.table.get(key).map(|process| process.identity.clone());
        let identity = Identity {
            comm,
            ..known.or(found).unwrap_or_default()
        };
        let arrival = if time.since(key.start) <= NAMED_AT_START {
            Arrival::Appeared
        } else {
            Arrival::Joined
        };
        self.identified(key, time, parent, identity, usage, arrival)
    }

    /// Makes `groups` the groups of the process, whose totals are up to date.
    fn move_to(&mut self, key: ProcessKey, groups: Vec<GroupId>, arrival: Arrival, time: BootTime) {
        let before = self.memberships.remove(&key).unwrap_or_default();
        let Some(process) = self.table.get_mut(key) else {
            return;
        };
        // What it used while in some group has been counted; from no group it brings all that nobody counted.
        let base = if before.is_empty() {
            process.attributed
        } else {
            process.totals()
        };
        if process.is_observed() && !(before.is_empty() && groups.is_empty()) {
            process.attributed = process.totals();
        }
        for group in before.iter().filter(|group| !groups.contains(group)) {
            self.groups[group.0].leave(key, time, &self.table);
        }
        for group in groups.iter().filter(|group| !before.contains(group)) {
            self.groups[group.0].join(key, base, arrival, time, &self.table);
        }
        if !groups.is_empty() {
            self.memberships.insert(key, groups);
        }
    }

    fn ended(&mut self, key: ProcessKey, time: BootTime, status: Option<u32>) {
        let Some(process) = self.table.get_mut(key) else {
            return;
        };
        if !process.is_live() {
            return; // told before: by the other one of two last threads, or by the exit record
        }
        process.state = State::Ended { at: time, status };
        process.end_split();
        for group in self.memberships.get(&key).into_iter().flatten() {
            self.groups[group.0].ended(key, time, &self.table);
        }
    }

    fn settle(&mut self, key: ProcessKey, given_up: bool) {
        if let Some(process) = self.table.get_mut(key) {
            process.end_split();
        }
        self.memberships.remove(&key);
        // Every group: one that the process left may still remember it.
        for group in &mut self.groups {
            group.settled(key, given_up, &self.table);
        }
        self.table.remove(key);
    }

    /// Takes a process that a snapshot or scan shows. Returns a judgement when it is of interest and was not known,
    /// or carries a mark whose exec was never told. `new_since` is set by a source that has no events: a process
    /// that started after then has appeared.
    pub fn discover(&mut self, seen: &Seen, now: BootTime, new_since: Option<BootTime>) -> Option<Judgement> {
        // What has ended tells no names any more (its address space is gone); its end is told by other means.
        if seen.ended {
            return None;
        }
        let sequence = seen.sequence.unwrap_or(0);
        let keep = Judgement {
            key: seen.key,
            sequence,
            keep: true,
        };
        if let Some(process) = self.table.get(seen.key) {
            if !process.is_live() {
                return None;
            }
            if process.identity.differs_from(&seen.identity) {
                // An exec or rename between two scans, or one whose record was lost.
                self.changed_unseen(seen, now);
                return Some(keep);
            }
            // Known, but not marked: the kernel side's map was full when it tried.
            return (new_since.is_none() && seen.sequence.is_none()).then_some(keep);
        }
        let groups = self.matcher.groups(&seen.identity);
        if groups.is_empty() {
            return seen.sequence.map(|sequence| Judgement {
                key: seen.key,
                sequence,
                keep: false,
            });
        }
        self.note_encoding(&seen.identity);
        self.table
            .entry(seen.key, || Process::new(seen.identity.clone(), seen.parent, now));
        let appeared = new_since.is_some_and(|since| seen.key.start >= since);
        let (arrival, time) = if appeared {
            (Arrival::Appeared, seen.key.start)
        } else {
            (Arrival::Joined, now)
        };
        self.move_to(seen.key, groups, arrival, time);
        Some(keep)
    }

    fn changed_unseen(&mut self, seen: &Seen, now: BootTime) {
        let Some(process) = self.table.get_mut(seen.key) else {
            return;
        };
        process.identity.update(&seen.identity);
        process.parent = seen.parent;
        let groups = self.matcher.groups(&process.identity);
        self.move_to(seen.key, groups, Arrival::Joined, now);
    }

    /// True when a snapshot shows a process that is not known, or by other names than it is known by.
    pub fn is_news(&self, seen: &Seen) -> bool {
        self.table
            .get(seen.key)
            .is_none_or(|process| process.identity.differs_from(&seen.identity))
    }

    /// True when a name alone makes a process a member of something.
    pub fn matches_name(&self, comm: &str) -> bool {
        let identity = Identity {
            comm: comm.to_owned(),
            ..Identity::default()
        };
        !self.matcher.groups(&identity).is_empty()
    }

    /// Ends, for an unknown reason, what a snapshot shows as ended and still counts as live: its exit record was
    /// lost. Its totals are still to be had. All events up to the snapshot must have been applied.
    pub fn end_seen(&mut self, ended: &[ProcessKey], now: BootTime) {
        for &key in ended {
            if self.table.get(key).is_some_and(Process::is_live) {
                self.ended(key, now, None);
                self.irregular.missing += 1;
            }
        }
    }

    /// Ends, for an unknown reason, what was known to live before `began` and is not in the snapshot that began then.
    /// All events up to the snapshot must have been applied. Returns how many.
    pub fn end_missing(&mut self, present: &HashSet<ProcessKey>, began: BootTime, now: BootTime) -> u64 {
        let missing: Vec<_> = self
            .table
            .iter()
            .filter(|(key, process)| {
                process.is_live() && process.known_since < began && !present.contains(key)
            })
            .map(|(key, _)| key)
            .collect();
        for &key in &missing {
            self.ended(key, now, None);
            self.settle(key, true);
        }
        self.irregular.missing += missing.len() as u64;
        missing.len() as u64
    }

    /// Takes readings of the tracked processes, and gives up on ended ones that are gone without a free.
    pub fn observe(&mut self, samples: &HashMap<ProcessKey, Sample>, now: BootTime) {
        for (&key, sample) in samples {
            let Some(process) = self.table.get_mut(key) else {
                continue;
            };
            process.observe(&sample.usage);
            for group in self.memberships.get(&key).into_iter().flatten() {
                self.groups[group.0].observed(key, &self.table);
            }
        }
        let given_up: Vec<_> = self
            .table
            .iter()
            .filter(|(key, process)| match process.state {
                State::Ended { at, .. } => now.since(at) > SETTLE_WITHIN && !samples.contains_key(key),
                State::Live => false,
            })
            .map(|(key, _)| key)
            .collect();
        for key in given_up {
            self.settle(key, true);
            self.irregular.unsettled += 1;
        }
    }

    /// Reads one group.
    pub fn read(
        &mut self,
        group: GroupId,
        now: BootTime,
        host: Host,
        gauges: &HashMap<ProcessKey, Gauges>,
    ) -> Reading {
        self.groups[group.0].read(now, host, gauges, &self.table)
    }

    /// Members that have ended and whose totals may still grow.
    pub fn unsettled(&self) -> impl Iterator<Item = ProcessKey> {
        self.tracked()
            .filter(|&key| self.table.get(key).is_some_and(|process| !process.is_live()))
    }

    fn note_encoding(&mut self, identity: &Identity) {
        if identity
            .names()
            .any(|name| name.contains(char::REPLACEMENT_CHARACTER))
        {
            self.irregular.not_utf8 += 1;
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
pub(crate) mod tests;
