//! Whose processes are and where they run, where some plugin asks: by what the kernel side tells of them, and for the rest by
//! /proc, as long as they are there.

use std::path::Path;

use super::Source;
use crate::{
    health::{Health, Soft},
    kernel::Cgroups,
    plugin::tracker::Tracker,
    process::{Event, FactIds, Facts, Identity, LostEnd, ProcessKey},
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

    /// Of the process `key`, of which the kernel side tells `ids`. What nobody knows is `None`.
    pub(super) fn read(&mut self, key: ProcessKey, ids: FactIds) -> Facts {
        let cgroups = self.cgroups.as_deref_mut();
        let told = Facts {
            uid: ids.uid,
            user: ids.uid.and_then(users::name_of),
            cgroup: cgroups.zip(ids.cgroup).and_then(|(known, id)| known.path(id)),
            pid_namespace: ids.pid_namespace,
        };
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
            Event::Exec { key, identity, .. } if tracker.asks_for_facts(identity) => {
                let facts = self.read(*key, ids);
                // By its names alone it is no member.
                health.add(
                    Soft::FactsUnknown,
                    u64::from(facts.uid.is_none() || facts.cgroup.is_none()),
                );
                tracker.learn(*key, facts);
            }
            // Another namespace, or another cgroup (clone3(2)); else those of its parent.
            Event::Fork { key, parent, .. } if tracker.has_facts(*parent) => {
                tracker.learn(*key, self.read(*key, ids));
            }
            Event::Rename { key, comm, .. } => {
                let identity = Identity {
                    comm: comm.clone(),
                    ..Identity::default()
                };
                if tracker.has_facts(*key) || tracker.asks_for_facts(&identity) {
                    tracker.learn(*key, self.read(*key, ids));
                }
            }
            // The last that can be known.
            Event::Exit { key, time, .. } | Event::Free { key, time, .. } if tracker.asks_of(*key) => {
                tracker.judge_facts(*key, self.read(*key, ids), *time);
            }
            _ => {}
        }
    }

    /// Learns what the kernel side kept of ends that no record told.
    pub(super) fn learn_of_ends(&mut self, tracker: &mut Tracker, ends: &[LostEnd]) {
        for end in ends {
            match &end.unheard {
                Some(identity) if tracker.asks_for_facts(identity) => {
                    tracker.learn(end.key, self.read(end.key, end.facts));
                }
                None if tracker.asks_of(end.key) => {
                    let time = end.ended.unwrap_or(end.freed);
                    tracker.judge_facts(end.key, self.read(end.key, end.facts), time);
                }
                _ => {}
            }
        }
    }
}
