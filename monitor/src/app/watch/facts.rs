//! Whose processes are and where they run, where some plugin asks: by what the kernel side tells of them, and for the rest by
//! /proc, as long as they are there.

use std::path::Path;

use super::Source;
use crate::{
    health::{Health, Soft},
    kernel::Cgroups,
    plugin::tracker::Tracker,
    process::{BootTime, Event, FactIds, Facts, Identity, LostEnd, ProcessKey},
    procfs, users,
};

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
