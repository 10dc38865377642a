//! Process attributes beyond names, for plugins that ask: user, cgroup (and with it unit, container and pod), pid namespace.
//!
//! Records, snapshots and samples bring them as three numbers ([`FactIds`]): effective uid, cgroup id, pid namespace. [`FactReader`]
//! turns them into names:
//!
//! - A user's name comes from the host's name service (`users::name_of`): a thread asks it, an answer holds for a minute, and the loop
//!   waits 10 ms at most for the first one. Without an answer the number is known and the name is not.
//! - A cgroup's path comes from the record of its making, or is asked for by id (`kernel/cgroups.rs`).
//! - What is open after that is read from /proc, as long as the process is there.
//!
//! Attributes that decide over members are read at each collection, those that are only shown less often ([`Shown`]).

use std::{path::Path, time::Duration};

use super::Source;
use crate::{
    health::{Health, Soft},
    kernel::Cgroups,
    plugin::tracker::Tracker,
    process::{BootTime, Event, FactIds, Facts, Identity, KeyMap, LostEnd, ProcessKey},
    procfs, users,
};

/// When the facts of processes were read that are only shown, which /proc may have to tell: four files a process are too many
/// for each collection.
#[derive(Debug, Default)]
pub(super) struct Shown(KeyMap<(FactIds, BootTime)>);

/// Processes take their user and cgroup soon after their start: facts are read again when a process is twice as old as at the
/// last look, where the kernel side tells others than before, and this often.
const AGAIN: Duration = Duration::from_secs(60);
/// Not more often than this.
const YOUNG: Duration = Duration::from_millis(500);

impl Shown {
    /// Whether they are to be read now; if so, notes that they are.
    pub(super) fn is_due(&mut self, key: ProcessKey, ids: FactIds, now: BootTime) -> bool {
        let is_known = |&(before, at): &(FactIds, BootTime)| {
            before == ids && now.since(at) < at.since(key.start).clamp(YOUNG, AGAIN)
        };
        if self.0.get(&key).is_some_and(is_known) {
            return false;
        }
        self.0.insert(key, (ids, now));
        true
    }

    /// Forgets all other processes.
    pub(super) fn retain(&mut self, is_tracked: impl Fn(ProcessKey) -> bool) {
        self.0.retain(|&key, _| is_tracked(key));
    }
}

/// Names for the numbers that a source tells.
pub(super) struct FactReader<'a> {
    /// Where proc is mounted.
    root: &'a Path,
    /// Of the kernel side.
    cgroups: Option<&'a mut Cgroups>,
}

impl<'a> FactReader<'a> {
    pub(super) fn new(root: &'a Path, cgroups: Option<&'a mut Cgroups>) -> Self {
        Self { root, cgroups }
    }

    pub(super) fn of(root: &'a Path, source: &'a mut Source) -> Self {
        let cgroups = match source {
            Source::Ebpf(kernel) => Some(kernel.cgroups()),
            Source::Proc(_) => None,
        };
        Self { root, cgroups }
    }

    /// What the kernel side's numbers mean, where it can be said.
    fn told(&mut self, ids: FactIds) -> Facts {
        let cgroups = self.cgroups.as_deref_mut();
        Facts {
            uid: ids.uid,
            user: ids.uid.and_then(users::name_of),
            cgroup: cgroups.zip(ids.cgroup).and_then(|(known, id)| known.path(id)),
            pid_namespace: ids.pid_namespace,
        }
    }

    /// Of the process `key`, of which the kernel side tells `ids`, with what /proc tells of it now. What nobody knows is
    /// `None`.
    pub(super) fn read(&mut self, key: ProcessKey, ids: FactIds) -> Facts {
        let told = self.told(ids);
        if told.is_whole() {
            return told;
        }
        let Ok(found) = procfs::facts(self.root, key) else {
            return told;
        };
        if let (Some(cgroups), Some(id), None, Some(path)) =
            (&mut self.cgroups, ids.cgroup, &told.cgroup, &found.cgroup)
        {
            cgroups.confirm(id, path);
        }
        told.or(&found)
    }

    /// Learns what an event tells, before its names are judged.
    pub(super) fn learn(&mut self, tracker: &mut Tracker, health: &mut Health, event: &Event, ids: FactIds) {
        match event {
            Event::Exec { key, identity, .. } => {
                if tracker.asks_for_facts(identity) || tracker.has_facts(*key) {
                    tracker.learn(*key, self.read(*key, ids));
                    let unknown = tracker.is_undecided(*key, identity);
                    health.add(Soft::FactsUnknown, u64::from(unknown));
                }
            }
            // Another namespace, or another cgroup (clone3(2)); the rest is its parent's.
            Event::Fork { key, parent, .. } => {
                if tracker.has_facts(*parent) {
                    tracker.learn_of_child(*key, *parent, self.told(ids));
                }
            }
            Event::Rename { key, comm, found, .. } => {
                let identity = Identity {
                    comm: comm.clone(),
                    ..found.clone().unwrap_or_default()
                };
                if tracker.has_facts(*key) || tracker.asks_for_facts(&identity) {
                    tracker.learn(*key, self.read(*key, ids));
                }
            }
            Event::Exit { key, time, .. } => self.learn_of_end(tracker, *key, ids, *time),
            Event::Free { key, time, ended, .. } => {
                self.learn_of_end(tracker, *key, ids, ended.unwrap_or(*time));
            }
        }
    }

    /// The last that can be known. /proc tells of one that is exiting less than its records do.
    fn learn_of_end(&mut self, tracker: &mut Tracker, key: ProcessKey, ids: FactIds, time: BootTime) {
        if tracker.asks_of(key) {
            tracker.judge_last_facts(key, self.told(ids), time);
        }
    }

    /// Learns what the kernel side kept of ends that no record told.
    pub(super) fn learn_of_ends(&mut self, tracker: &mut Tracker, ends: &[LostEnd]) {
        for end in ends {
            match &end.unheard {
                Some(identity) if tracker.asks_for_facts(identity) => {
                    tracker.learn(end.key, self.told(end.facts));
                }
                Some(_) => {}
                None => self.learn_of_end(tracker, end.key, end.facts, end.ended.unwrap_or(end.freed)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Tgid;

    #[test]
    fn shown_facts_are_read_as_age_doubles_when_others_and_once_a_minute() {
        let second = |at: u64| BootTime(at * 1_000_000_000);
        let key = ProcessKey {
            tgid: Tgid(7),
            start: second(100),
        };
        let ids = |uid: u32| FactIds {
            uid: Some(uid),
            ..FactIds::default()
        };
        let mut shown = Shown::default();
        let mut due = |at: u64, uid: u32| shown.is_due(key, ids(uid), second(at));
        let read: Vec<u64> = (100..400).filter(|&at| due(at, 0)).collect();
        assert_eq!(read, [100, 101, 102, 104, 108, 116, 132, 164, 224, 284, 344]);
        assert!(due(401, 33) && !due(402, 33), "another user");
        shown.retain(|_| false);
        assert!(shown.is_due(key, ids(33), second(403)));
    }
}
