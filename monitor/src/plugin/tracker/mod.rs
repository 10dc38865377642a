//! Follows every process of interest from group to group: applies events, snapshots and samples to the process
//! table and tells the groups what it means for them.

mod candidates;
mod detail;
mod loss;
mod notices;
mod outlive;
mod queries;
mod reload;
mod snapshot;
mod titles;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    GroupId, Interest, Notice, Plugin, Reading, What,
    group::{Arrival, Change, Group, Role},
    matcher::{Matched, Matcher},
    patterns::BuildError,
};
use crate::process::{
    BootTime, Ending, Event, Facts, Gauges, Host, Identity, Judgement, KeyMap, KeySet, LostEnd, LostLives,
    Moment, Process, ProcessKey, ProcessTable, Sample, Seen, SeenEnd, State, Usage,
};
use notices::Notices;
pub use titles::NewLook;

/// A name taken this soon after a process's fork is the name it starts with.
pub const NAMED_AT_START: Duration = Duration::from_secs(1);

/// How long after its end a process that is neither there nor freed is waited for. The free comes from RCU, within
/// tens of milliseconds; kernels with lazy RCU callbacks may hold it back for ten seconds (CONFIG_RCU_LAZY).
pub const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// Processes followed at once; further ones are counted and left out. The kernel side marks no more either.
pub const TRACKED_AT_MOST: usize = 1 << 16;

/// Counts of what could not be done as it should, since kevmon's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irregularities {
    /// Processes found missing without an exit record.
    pub missing: u64,
    /// Ended processes whose final totals never came: their last values stand.
    pub unsettled: u64,
    /// Names that were not UTF-8 and are shown with replacement characters.
    pub not_utf8: u64,
    /// Matching processes beyond [`TRACKED_AT_MOST`].
    pub untracked: u64,
    /// Lives whose records were lost and whose names no plugin matches as far as they are known.
    pub unattributed: u64,
    /// Notices that nobody took in time.
    pub notices_dropped: u64,
    /// Verdicts that depend on a part of a process's arguments that could not be had.
    pub verdicts_unknown: u64,
}

/// The processes of interest and their groups.
#[derive(Debug)]
pub struct Tracker {
    table: ProcessTable,
    groups: BTreeMap<GroupId, Group>,
    /// The next group's number.
    next: GroupId,
    matcher: Matcher,
    memberships: KeyMap<Vec<GroupId>>,
    /// Groups that processes of the table have left.
    left: KeyMap<Vec<GroupId>>,
    /// Processes of the table that have ended.
    ended: KeySet,
    /// Process attributes (user, cgroup, unit, container) of those for whom a plugin asks.
    facts: KeyMap<Facts>,
    /// Groups that processes belong to because an ancestor does; for life.
    descent: KeyMap<Vec<GroupId>>,
    irregular: Irregularities,
    notices: Notices,
    /// Processes that were found missing, and when: what is told of their ends later comes too late.
    closed: KeyMap<BootTime>,
    /// Keys of members of an earlier boot. A process that has such a key now is another one, and its past is not the
    /// group's.
    strangers: KeySet,
    /// Titles to be looked at.
    looks: titles::Looks,
    /// Processes that may belong to these groups by a part of their arguments that is not known.
    unknown: KeyMap<Vec<GroupId>>,
    /// Number of verdicts so far that depended on unknown arguments, by group.
    unknown_verdicts: BTreeMap<GroupId, u64>,
    /// The effective user of the process that the event is about, as far as it tells.
    event_user: Option<u32>,
    /// The kernel side watched between the earlier run and this one, so records tell what happened.
    goes_on: bool,
}

impl Tracker {
    /// One empty group for each plugin, watched from `now` on.
    ///
    /// # Errors
    /// The plugins' patterns are too large together.
    pub fn new(plugins: Vec<Plugin>, now: BootTime) -> Result<Self, BuildError> {
        let groups: BTreeMap<GroupId, Group> = plugins
            .into_iter()
            .enumerate()
            .map(|(index, plugin)| (GroupId(index), Group::new(Arc::new(plugin), now)))
            .collect();
        Ok(Self {
            table: ProcessTable::default(),
            matcher: Matcher::new(&planned(&groups))?,
            notices: Notices::new(groups.iter().map(|(&id, group)| (id, &group.plugin))),
            next: GroupId(groups.len()),
            groups,
            memberships: KeyMap::default(),
            left: KeyMap::default(),
            ended: KeySet::default(),
            facts: KeyMap::default(),
            descent: KeyMap::default(),
            closed: KeyMap::default(),
            strangers: KeySet::default(),
            looks: titles::Looks::default(),
            unknown: KeyMap::default(),
            unknown_verdicts: BTreeMap::new(),
            event_user: None,
            goes_on: false,
            irregular: Irregularities::default(),
        })
    }

    /// Takes an event about a process of this effective user, where that is known. See [`Tracker::apply`].
    pub fn apply_of(&mut self, event: Event, user: Option<u32>) -> Option<Judgement> {
        self.event_user = user;
        let judgement = self.apply(event);
        self.event_user = None;
        judgement
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
                unheard,
                found,
                usage,
                ..
            } => {
                let keep = if unheard {
                    let Some(found) = found else {
                        // Gone already: the kernel side has kept its names, and tells them at its end.
                        if !self.knows(key) {
                            self.forget(key);
                        }
                        return None;
                    };
                    let identity = Identity { comm, ..found };
                    self.identified(key, time, parent, identity, &usage, Arrival::AppearedUnheard)
                } else {
                    self.renamed(key, time, parent, comm, found, &usage)
                };
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
                    process.observe_exit(&usage);
                    process.raise_peak_rss(peak_rss);
                    self.ended(key, time, ending, true);
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
                    self.ended(key, ended.unwrap_or(time), ending, true);
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
            if before.contains(&group)
                && let Some(of) = self.groups.get_mut(&group)
            {
                let change = of.executed(key, &self.table, &self.facts);
                if !matches!(change, Some(Change::Reexec)) {
                    self.notices.named_by_exec(&self.table, group, key);
                }
                self.notices.note(&self.table, group, key, time, change);
            }
        }
        // The new image has a peak of its own; the old one's counted where it belonged.
        if let Some(process) = self.table.get_mut(key) {
            process.peak_rss = None;
            process.note_program();
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
        let Matched {
            groups,
            candidate,
            unknown,
        } = self.matched(key, &identity);
        let interest = self.interest(&identity, &groups, Some(parent));
        let of_interest = !groups.is_empty() || candidate || interest == Interest::Always || self.knows(key);
        self.note_unknown(key, &unknown);
        if !of_interest || !self.has_room_for(key) {
            self.forget(key);
            if interest == Interest::Once {
                self.note_interest(key, interest, time);
            }
            return false;
        }
        self.note_interest(key, interest, time);
        let process = self
            .table
            .entry(key, || Process::new(Identity::default(), Some(parent), time));
        process.identity = identity;
        process.unconfirmed = false;
        process.uid = self.event_user.or(process.uid);
        process.observe(usage);
        self.table.set_parent(key, Some(parent));
        self.move_to(key, groups, arrival, time);
        true
    }

    fn forked(&mut self, key: ProcessKey, time: BootTime, parent: ProcessKey) -> bool {
        if self.goes_on && self.is_unconfirmed(parent) {
            return self.forked_by_restored(key, time, parent);
        }
        // Of a parent that is known by an earlier run's names alone, the snapshot to come tells more.
        let parent_seen = self.table.get(parent).filter(|parent| !parent.unconfirmed);
        let Some((identity, of_parent)) = parent_seen.map(|parent| (parent.identity.clone(), parent.uid))
        else {
            self.forget(key);
            return false;
        };
        if let Some(facts) = self.facts.get(&parent) {
            let facts = facts.clone(); // until it takes others
            self.facts.entry(key).or_insert(facts);
        }
        self.descends(key, parent);
        let Matched {
            groups,
            candidate,
            unknown,
        } = self.matched(key, &identity);
        let interest = self.interest(&identity, &groups, Some(parent));
        let of_interest = !groups.is_empty() || candidate || interest == Interest::Always;
        self.note_unknown(key, &unknown);
        if !of_interest || !self.has_room_for(key) {
            self.forget(key);
            return false;
        }
        self.note_interest(key, interest, time);
        let process = self
            .table
            .entry(key, || Process::new(identity, Some(parent), time));
        process.uid = self.event_user.or(of_parent);
        process.observe(&Usage::ZERO);
        self.table.set_parent(key, Some(parent));
        self.move_to(key, groups, Arrival::Appeared, time);
        true
    }

    /// A member that an earlier run kept, and of which this one knows the names alone, has made another process: that one is
    /// what its parent was, and a member of the same groups, until it executes something or a snapshot shows more.
    fn forked_by_restored(&mut self, key: ProcessKey, time: BootTime, parent: ProcessKey) -> bool {
        let groups = self.memberships.get(&parent).cloned().unwrap_or_default();
        let known = self.table.get(parent).filter(|parent| parent.is_live());
        let Some((identity, of_parent)) = known.map(|parent| (parent.identity.clone(), parent.uid)) else {
            return false;
        };
        if groups.is_empty() || !self.has_room_for(key) {
            return false;
        }
        self.descends(key, parent);
        let process = self
            .table
            .entry(key, || Process::new(identity, Some(parent), time));
        process.uid = self.event_user.or(of_parent);
        process.unconfirmed = true;
        process.observe(&Usage::ZERO);
        self.table.set_parent(key, Some(parent));
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
        let is_unconfirmed = self.is_unconfirmed(key);
        if is_unconfirmed && found.is_none() {
            // Gone already, and what an earlier run kept of its names is no ground to judge it by another one.
            if let Some(process) = self.table.get_mut(key) {
                process.identity.comm = comm;
                process.observe(usage);
            }
            return true;
        }
        let known = self.table.get(key).filter(|_| !is_unconfirmed);
        let known = known.map(|process| process.identity.clone());
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
            let left = self.left.entry(key).or_default();
            if !left.contains(group) {
                left.push(*group);
            }
            if let Some(group) = self.groups.get_mut(group) {
                group.leave(key, time, &self.table, &self.facts);
            }
        }
        for group in groups.iter().filter(|group| !before.contains(group)) {
            if let Some(of) = self.groups.get_mut(group) {
                let (arrival, time) = of.as_compared(key, arrival, time);
                let base = if of.counts_whole_lives { Usage::ZERO } else { base };
                let changes = of.join(key, base, arrival, time, &self.table, &self.facts);
                self.notices.note(&self.table, *group, key, time, changes);
                self.note_first_facts(*group, key);
            }
        }
        if !groups.is_empty() {
            self.memberships.insert(key, groups);
        }
    }

    /// The process ended. `lossy`: where its end was not seen, others may have been missed with it.
    fn ended(&mut self, key: ProcessKey, time: BootTime, ending: Ending, lossy: bool) {
        let Some(process) = self.table.get_mut(key) else {
            return;
        };
        if !process.is_live() {
            return; // told before: by the other one of two last threads, or by the exit record
        }
        process.state = State::Ended {
            at: time,
            ending: ending.clone(),
        };
        self.ended.insert(key);
        let Some(groups) = self.memberships.get(&key) else {
            return;
        };
        for &group in groups {
            if let Some(of) = self.groups.get_mut(&group) {
                let change = of.ended(key, time, &ending, lossy, &self.table, &self.facts);
                self.notices.note(&self.table, group, key, time, change);
            }
        }
        self.notices.expect_totals(key, time, &self.table);
    }

    fn settle(&mut self, key: ProcessKey, given_up: bool) {
        if let Some(process) = self.table.get_mut(key) {
            process.end_split();
        }
        self.note_exit(key, !given_up);
        // A group that the process left remembers it, too.
        let groups = [&mut self.memberships, &mut self.left].map(|of| of.remove(&key).unwrap_or_default());
        for id in groups.into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.settled(key, given_up, &self.table);
            }
        }
        self.ended.remove(&key);
        self.table.remove(key);
        self.forget(key);
    }

    /// False when too many processes are followed already; that is counted.
    fn has_room_for(&mut self, key: ProcessKey) -> bool {
        let room = self.table.len() < TRACKED_AT_MOST || self.knows(key);
        self.irregular.untracked += u64::from(!room);
        room
    }

    /// Takes readings of the processes in `wanted`, and gives up on those of them that have ended and are gone without final
    /// totals. All that happened before `applied` has been applied: of a process that ended later, or while the loop stood still,
    /// the totals may wait to be taken.
    pub fn observe(&mut self, samples: &KeyMap<Sample>, wanted: &KeySet, applied: BootTime) {
        for (&key, sample) in samples {
            let Some(process) = self.table.get_mut(key) else {
                continue;
            };
            process.observe(&sample.usage);
            process.read_after_end |= !process.is_live() && !sample.live;
            process.uid = sample.facts.uid.or(process.uid);
            for group in self.memberships.get(&key).into_iter().flatten() {
                if let Some(group) = self.groups.get_mut(group) {
                    group.observed(key, &self.table);
                }
            }
        }
        let is_overdue = |key: &ProcessKey| match self.table.get(*key).map(|process| &process.state) {
            Some(State::Ended { at, .. }) => {
                // What is a member of nothing is nobody's to read.
                let read = wanted.contains(key) || !self.memberships.contains_key(key);
                read && applied.since(*at) > SETTLE_WITHIN && !samples.contains_key(key)
            }
            _ => false,
        };
        let given_up: Vec<_> = self.ended.iter().copied().filter(is_overdue).collect();
        for key in given_up {
            self.settle(key, true);
            self.irregular.unsettled += 1;
        }
    }

    /// Reads one group; `None` for one that is no more.
    pub fn read(
        &mut self,
        group: GroupId,
        now: BootTime,
        host: Host,
        gauges: &KeyMap<Gauges>,
    ) -> Option<Reading> {
        let group = self.groups.get_mut(&group)?;
        Some(group.read(now, host, gauges, &self.table, &self.facts))
    }

    /// Members that have ended and whose totals may still grow.
    pub fn unsettled(&self) -> impl Iterator<Item = ProcessKey> {
        let ended = self.ended.iter().copied();
        ended.filter(|key| self.memberships.contains_key(key))
    }

    fn note_encoding(&mut self, identity: &Identity) {
        let mut texts = [&identity.exe, &identity.comm].into_iter().chain(&identity.argv);
        if texts.all(|text| text.is_ascii()) {
            return; // all but always
        }
        if identity
            .names()
            .any(|name| name.contains(char::REPLACEMENT_CHARACTER))
        {
            self.irregular.not_utf8 += 1;
        }
    }
}

/// Each group's plugin, for the matcher.
fn planned(groups: &BTreeMap<GroupId, Group>) -> Vec<(GroupId, &Plugin)> {
    groups.iter().map(|(&id, group)| (id, &*group.plugin)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
