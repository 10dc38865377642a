//! The process table: every process that was ever of interest, until the kernel has let go of it.

use std::{collections::hash_map::Entry, sync::Arc};

use super::{BootTime, Counter, Ending, Identity, KeyMap, KeySet, ProcessKey, Usage, usage::CpuSplit};

/// Programs of a process whose names are kept.
const PROGRAMS: usize = 8;

/// Where a process is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Some thread of it runs.
    Live,
    /// Has ended; its totals may still grow until the kernel frees it.
    Ended {
        /// When its last thread began to exit, or when it was found missing.
        at: BootTime,
        /// Exit code or signal; unknown for one that was found missing.
        ending: Ending,
    },
}

/// A process of interest, or one of whom that is not decided yet.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its names and arguments.
    pub identity: Identity,
    /// Its parent when it was last told; changed by [`ProcessTable::set_parent`] alone.
    parent: Option<ProcessKey>,
    /// Whether it lives, or how it ended.
    pub state: State,
    /// When kevmon first heard of it.
    pub known_since: BootTime,
    /// Highest peak of the resident set seen, bytes.
    pub peak_rss: Option<u64>,
    /// The part of its totals that some group has counted, as of its last change of groups: always a prefix of its life.
    pub attributed: Usage,
    /// What it used before its first reading belongs to no group: its key is that of a member of an earlier boot.
    pub past_is_others: bool,
    /// Its names are what an earlier run kept of them: good to be shown, and to be replaced by all that is seen next.
    pub unconfirmed: bool,
    /// Its effective user, as of its last reading; `None` where the source does not tell.
    pub uid: Option<u32>,
    /// Its totals were read when no thread of it ran any more: nothing is added to them.
    pub read_after_end: bool,
    /// The lifecycle event of its end has been made.
    pub exit_told: bool,
    /// Its names with each program that it has executed since it is known, in their order; of many the first ones and the last.
    pub programs: Vec<Arc<str>>,
    raw: Usage,
    split: CpuSplit,
}

impl Process {
    /// A process that kevmon hears of at `now`, with nothing known of its usage yet.
    pub fn new(identity: Identity, parent: Option<ProcessKey>, now: BootTime) -> Self {
        Self {
            identity,
            parent,
            state: State::Live,
            known_since: now,
            peak_rss: None,
            attributed: Usage::ZERO,
            past_is_others: false,
            unconfirmed: false,
            uid: None,
            read_after_end: false,
            exit_told: false,
            programs: Vec::new(),
            raw: Usage::UNKNOWN,
            split: CpuSplit::default(),
        }
    }

    /// It has executed a program, and goes by its name now.
    pub fn note_program(&mut self) {
        let name = self.identity.name();
        if self.programs.last().is_some_and(|last| **last == *name) {
            return;
        }
        self.programs.truncate(PROGRAMS - 1);
        self.programs.push(name.into());
    }

    /// Its parent when it was last told.
    pub fn parent(&self) -> Option<ProcessKey> {
        self.parent
    }

    /// Goes on from the totals that an earlier run of kevmon had read. Of the ticks that told user from system time
    /// nothing is kept: what is read next is split by those of the whole life.
    pub fn take_back(&mut self, totals: &Usage, attributed: &Usage) {
        self.attributed = self.attributed.at_least(attributed);
        let ticks = |counter| totals.get(counter).map(|_| 0);
        self.raw = self.raw.at_least(
            &totals
                .with(Counter::User, ticks(Counter::User))
                .with(Counter::System, ticks(Counter::System)),
        );
        if let (Some(runtime), Some(user), Some(system)) = (
            totals.get(Counter::Runtime),
            totals.get(Counter::User),
            totals.get(Counter::System),
        ) {
            // Of several groups' accounts the latest is the whole one.
            if runtime > self.split.runtime() {
                self.split = CpuSplit::resumed(runtime, user, system);
            }
        }
    }

    /// Takes a reading; totals never fall.
    pub fn observe(&mut self, usage: &Usage) {
        self.raw = self.raw.at_least(usage);
        self.advance_split();
    }

    /// Takes the reading of its exit, shortly before the final one. It tells user from system time of nothing: what it gave one
    /// of them could not be taken back by the final one, whose split is the kernel's.
    pub fn observe_exit(&mut self, usage: &Usage) {
        self.raw = self.raw.at_least(usage);
    }

    fn advance_split(&mut self) {
        if let (Some(runtime), Some(user), Some(system)) = (
            self.raw.get(Counter::Runtime),
            self.raw.get(Counter::User),
            self.raw.get(Counter::System),
        ) {
            self.split.advance(runtime, user, system);
        }
    }

    /// Its totals are final: no tick will tell the mode of what it used last.
    pub fn end_split(&mut self) {
        self.advance_split();
        self.split.settle();
    }

    /// Its totals: as observed, with user and system time as parts of the exact CPU time.
    pub fn totals(&self) -> Usage {
        let (user, system) = self.split.parts();
        let known = self.raw.get(Counter::User).is_some();
        self.raw
            .with(Counter::User, known.then_some(user))
            .with(Counter::System, known.then_some(system))
    }

    /// Some reading has been taken.
    pub fn is_observed(&self) -> bool {
        self.raw.get(Counter::Runtime).is_some()
    }

    /// Whether some thread of it runs.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Raises the peak of the resident set.
    pub fn raise_peak_rss(&mut self, bytes: Option<u64>) {
        self.peak_rss = self.peak_rss.max(bytes);
    }
}

/// The processes by key, and by parent.
#[derive(Debug, Default)]
pub struct ProcessTable {
    processes: KeyMap<Process>,
    /// The same processes by their parents, which need not be in the table themselves.
    children: KeyMap<KeySet>,
}

impl ProcessTable {
    /// Gives back the room of processes that are gone, where there was much and most are. True where it did.
    pub fn shrink(&mut self) -> bool {
        /// Less is not worth the copying.
        const MUCH: usize = 4096;
        let (used, room) = (self.processes.len(), self.processes.capacity());
        let shrinks = room > MUCH && used * 4 < room;
        if shrinks {
            self.processes.shrink_to_fit();
            self.children.shrink_to_fit();
        }
        shrinks
    }

    /// The process, if it is known.
    pub fn get(&self, key: ProcessKey) -> Option<&Process> {
        self.processes.get(&key)
    }

    /// The process, if it is known, to change.
    pub fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Process> {
        self.processes.get_mut(&key)
    }

    /// Adds a process, or leaves the one that is there; either way returns it.
    pub fn entry(&mut self, key: ProcessKey, new: impl FnOnce() -> Process) -> &mut Process {
        let children = &mut self.children;
        self.processes.entry(key).or_insert_with(|| {
            let process = new();
            if let Some(parent) = process.parent {
                children.entry(parent).or_default().insert(key);
            }
            process
        })
    }

    /// A process that is known has another parent now.
    pub fn set_parent(&mut self, key: ProcessKey, parent: Option<ProcessKey>) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut process.parent, parent);
        if before == parent {
            return;
        }
        self.orphan(key, before);
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().insert(key);
        }
    }

    /// The processes of the table whose parent this is.
    pub fn children(&self, parent: ProcessKey) -> impl Iterator<Item = ProcessKey> {
        self.children.get(&parent).into_iter().flatten().copied()
    }

    /// Forgets a process.
    pub fn remove(&mut self, key: ProcessKey) -> Option<Process> {
        let process = self.processes.remove(&key)?;
        self.orphan(key, process.parent);
        Some(process)
    }

    fn orphan(&mut self, key: ProcessKey, parent: Option<ProcessKey>) {
        if let Some(parent) = parent
            && let Entry::Occupied(mut children) = self.children.entry(parent)
        {
            children.get_mut().remove(&key);
            if children.get().is_empty() {
                children.remove();
            }
        }
    }

    /// Number of processes held.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// All processes, in no order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.processes.values_mut()
    }

    /// All processes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ProcessKey, &Process)> {
        self.processes.iter().map(|(&key, process)| (key, process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Tgid;

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(u64::from(tgid)),
        }
    }

    #[test]
    fn programs_are_kept_in_their_order_the_first_and_the_last() {
        let mut process = Process::new(Identity::default(), None, BootTime(0));
        for name in ["sh", "sh", "a", "b", "c", "d", "e", "f", "g", "h"] {
            process.identity.exe = name.to_owned();
            process.note_program();
        }
        let names: Vec<&str> = process.programs.iter().map(|name| &**name).collect();
        assert_eq!(names, ["sh", "a", "b", "c", "d", "e", "f", "h"]);
    }

    /// Whatever is added, given another parent and forgotten: the children are those that a look at each process finds.
    #[test]
    fn children_are_those_whose_parent_it_is() {
        let mut table = ProcessTable::default();
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below) as u32
        };
        for step in 0..20_000 {
            let (child, parent) = (
                key(random(20)),
                Some(key(random(20))).filter(|key| key.tgid.0 > 2),
            );
            match random(3) {
                0 => {
                    table.entry(child, || Process::new(Identity::default(), parent, BootTime(0)));
                }
                1 => table.set_parent(child, parent),
                _ => {
                    table.remove(child);
                }
            }
            for parent in (0..20).map(key) {
                let mut told: Vec<_> = table.children(parent).collect();
                let of_parent = table.iter().filter(|(_, process)| process.parent == Some(parent));
                let mut found: Vec<_> = of_parent.map(|(key, _)| key).collect();
                told.sort_unstable();
                found.sort_unstable();
                assert_eq!(told, found, "step {step}");
            }
        }
        (0..20).map(key).for_each(|key| drop(table.remove(key)));
        assert!(table.children.is_empty(), "{:?}", table.children);
    }
}
