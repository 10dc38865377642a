//! Arguments that become known later, or change: the rest of what was cut, and titles that programs write over them.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};

use kevmon_common::ARGV_BOUND;

use super::{Arrival, BootTime, GroupId, Identity, NAMED_AT_START, Process, ProcessKey, Tracker};
use crate::{
    plugin::Interest,
    process::{Arguments, KeyMap},
};

/// A process whose title is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLook {
    /// Which process.
    pub key: ProcessKey,
    /// How often it is looked at.
    pub interest: Interest,
    /// Since when it is what it is: its fork, its exec, or when it was found.
    pub since: BootTime,
}

/// Titles that are to be looked at. Whoever reads /proc takes them with [`Tracker::take_looks`].
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Followed processes whose titles are looked at at each tick, each with a digest of the text that was found to be its
    /// arguments, and of these; `None`: not yet.
    always: KeyMap<Option<u64>>,
    /// Processes that came since the last call.
    new: Vec<NewLook>,
}

impl Looks {
    /// Gives back the room of processes that are gone.
    pub(super) fn shrink(&mut self) {
        self.always.shrink_to_fit();
        self.new.shrink_to_fit();
    }
}

/// Of a text and the arguments that it was found to be: whichever of the two changes, another one. Nobody gains by two that
/// collide but a process that hides its own title.
fn digest(identity: &Identity, text: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (&identity.argv, &identity.cut, text).hash(&mut hasher);
    hasher.finish()
}

impl Tracker {
    /// How often to look at the title of a process with these names, which `parent` started. Nothing is read for one of no
    /// interest.
    pub(super) fn interest(
        &self,
        identity: &Identity,
        groups: &[GroupId],
        parent: Option<ProcessKey>,
    ) -> Interest {
        if self.matcher.ignores_titles() {
            return Interest::None;
        }
        let of_family = !self.looks.always.is_empty()
            && parent.is_some_and(|parent| {
                self.looks.always.contains_key(&parent)
                    && self
                        .table
                        .get(parent)
                        .is_some_and(|parent| self.matcher.may_write_titles(&parent.identity))
            });
        self.matcher.interest_in_title(identity, groups, of_family)
    }

    /// Whether a process of any name may belong to some group by its title.
    pub fn looks_at_anybody(&self) -> bool {
        self.matcher.titles_may_be_anybodys()
    }

    /// A process has come, or goes by other names `since` then. `interest` is what [`Tracker::interest`] says of it.
    pub(super) fn note_interest(&mut self, key: ProcessKey, interest: Interest, since: BootTime) {
        if interest == Interest::None && self.looks.always.is_empty() {
            return; // all but always
        }
        let known_always = match interest {
            Interest::Always => self.looks.always.insert(key, None).is_some(),
            Interest::Once | Interest::None => {
                self.looks.always.remove(&key);
                false
            }
        };
        if interest != Interest::None && !known_always {
            self.looks.new.push(NewLook { key, interest, since });
        }
    }

    /// The processes whose titles are to be looked at that came since the last call.
    pub fn take_looks(&mut self) -> Vec<NewLook> {
        std::mem::take(&mut self.looks.new)
    }

    /// The live processes whose titles are looked at at each tick, and those of whose arguments a part is not known.
    pub fn with_titles(&self) -> Vec<ProcessKey> {
        let keys = self.looks.always.keys().chain(self.unknown.keys()).copied();
        let live = |key: &ProcessKey| self.table.get(*key).is_some_and(Process::is_live);
        let mut keys: Vec<ProcessKey> = keys.filter(live).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether this text of a process (the beginning of its `cmdline`, proc_pid_cmdline(5)) was found to be the arguments that
    /// it is known by now. False where that has not been seen: then it is to be looked at.
    pub fn has_text(&self, key: ProcessKey, text: &[u8]) -> bool {
        let Some(Some(known)) = self.looks.always.get(&key) else {
            return false;
        };
        self.table
            .get(key)
            .is_some_and(|process| digest(&process.identity, text) == *known)
    }

    /// Keeps in mind that a process has this text, if it is the arguments that it is known by.
    pub fn note_text(&mut self, key: ProcessKey, text: &[u8]) {
        let (Some(known), Some(process)) = (self.looks.always.get_mut(&key), self.table.get(key)) else {
            return;
        };
        // It may have changed between two looks.
        let is_cut = text.len() > ARGV_BOUND;
        let arguments = Arguments::parse(text.get(..ARGV_BOUND).unwrap_or(text), is_cut);
        *known = process
            .identity
            .has_arguments(&arguments)
            .then(|| digest(&process.identity, text));
    }

    /// Whether the process has other arguments than these, as far as is known.
    pub fn has_arguments(&self, key: ProcessKey, arguments: &Arguments) -> bool {
        self.table
            .get(key)
            .is_some_and(|process| process.identity.has_arguments(arguments))
    }

    /// Takes the arguments of a process that is followed, and moves it to where it belongs by them: as by a rename.
    pub fn retitle(&mut self, key: ProcessKey, arguments: Arguments, now: BootTime) {
        let Some(process) = self.table.get_mut(key).filter(|process| process.is_live()) else {
            return;
        };
        process.identity.set_arguments(arguments);
        let (identity, parent) = (process.identity.clone(), process.parent());
        self.note_encoding(&identity);
        let matched = self.matched(key, &identity);
        self.note_unknown(key, &matched.unknown);
        let interest = self.interest(&identity, &matched.groups, parent);
        self.note_interest(key, interest, now);
        let before = self.memberships.get(&key).map_or(&[][..], Vec::as_slice);
        if before != matched.groups {
            // When it took the title, nobody saw; of one that has just started it is the first.
            let young = now.since(key.start) <= NAMED_AT_START;
            let (arrival, time) = if young {
                (Arrival::Appeared, key.start)
            } else {
                (Arrival::Joined, now)
            };
            self.move_to(key, matched.groups, arrival, time);
        }
    }

    /// Whether the process belongs to these groups depends on a part of its arguments that is not known. Each such verdict
    /// is counted once, for each of the groups.
    pub(super) fn note_unknown(&mut self, key: ProcessKey, unknown: &[GroupId]) {
        if unknown.is_empty() {
            if !self.unknown.is_empty() {
                self.unknown.remove(&key);
            }
            return;
        }
        if self.unknown.get(&key).is_some_and(|known| known == unknown) {
            return;
        }
        self.irregular.verdicts_unknown += 1;
        for &group in unknown {
            *self.unknown_verdicts.entry(group).or_default() += 1;
        }
        self.unknown.insert(key, unknown.to_vec());
    }

    /// Some process had this name for a moment: no verdict on it was made, and what else the process is called is not known.
    /// Counts for each group that the name alone may make it a member of.
    pub fn lose_name(&mut self, comm: &str) {
        let groups = self.matcher.groups_by_comm(comm);
        self.lose_verdicts(groups, 1);
    }

    /// Notes `count` names that were not even kept. Counts for each group that a name alone may make a process a member
    /// of.
    pub fn lose_names(&mut self, count: u64) {
        let groups = self.matcher.groups_by_names();
        self.lose_verdicts(groups, count);
    }

    fn lose_verdicts(&mut self, groups: BTreeSet<GroupId>, count: u64) {
        self.irregular.verdicts_unknown += if groups.is_empty() { 0 } else { count };
        for group in groups {
            *self.unknown_verdicts.entry(group).or_default() += count;
        }
    }

    /// How many verdicts of a group were not known so far.
    pub fn unknown_verdicts(&self, group: GroupId) -> u64 {
        self.unknown_verdicts.get(&group).copied().unwrap_or(0)
    }

    /// Whether some live process may belong to the group, and nobody can say.
    pub fn is_unclear(&self, group: GroupId) -> bool {
        self.unknown.iter().any(|(key, groups)| {
            groups.contains(&group) && self.table.get(*key).is_some_and(Process::is_live)
        })
    }

    /// Whether more of the arguments of a process with these names would say more.
    pub fn needs_the_rest(&self, identity: &Identity) -> bool {
        self.matcher.needs_the_rest(identity)
    }

    /// Whether any plugin looks at command lines.
    pub fn reads_command_lines(&self) -> bool {
        self.matcher.reads_command_lines()
    }

    /// Forgets what was to be read of a process's titles and arguments.
    pub(super) fn forget_titles(&mut self, key: ProcessKey) {
        if !self.looks.always.is_empty() {
            self.looks.always.remove(&key);
        }
        if !self.unknown.is_empty() {
            self.unknown.remove(&key);
        }
    }
}
