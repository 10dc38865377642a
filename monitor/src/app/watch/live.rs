//! What happens to processes between their start and their end, for `kevmon events`: which program each one executes, and which
//! name it takes. Notices tell starts, ends and restarts; these are told here, with what the records say of each process, only
//! while somebody asks for them.

use std::sync::Arc;

use crate::{
    kernel::Cgroups,
    plugin::{GroupId, tracker::Tracker},
    process::{BootTime, Event, FactIds, Identity, ProcessKey},
};

/// An event of a process that is, or was until then, a member of some group.
#[derive(Debug, Clone)]
pub(in crate::app) struct Observed {
    /// When it happened.
    pub(in crate::app) time: BootTime,
    /// Which process.
    pub(in crate::app) key: ProcessKey,
    /// Its parent, where the event tells it.
    pub(in crate::app) parent: Option<ProcessKey>,
    /// Its user, as far as the event tells.
    pub(in crate::app) user: Option<u32>,
    /// Path of its cgroup, as far as that is known.
    pub(in crate::app) cgroup: Option<Arc<str>>,
    /// The groups that it belongs to, or belonged to before.
    pub(in crate::app) groups: Vec<GroupId>,
    /// What happened.
    pub(in crate::app) what: Happening,
}

/// What happened to it.
#[derive(Debug, Clone)]
pub(in crate::app) enum Happening {
    /// It was made by its parent.
    Fork,
    /// It executes another program.
    Exec {
        /// Its name before, where that is known.
        was: Option<String>,
        /// Who it is now.
        identity: Box<Identity>,
    },
    /// It goes by another `comm`.
    Rename {
        /// The one before, where that is known.
        was: Option<String>,
        /// The new one.
        comm: String,
    },
    /// It ended.
    Exit,
    /// The kernel let go of it.
    Free,
}

impl Observed {
    /// Of an event that the tracker has not heard of yet.
    pub(super) fn before(tracker: &Tracker, event: &Event, ids: FactIds, cgroups: &mut Cgroups) -> Self {
        let known = |key| tracker.identity_of(key);
        let (key, parent, what) = match event {
            Event::Exec {
                key,
                parent,
                identity,
                ..
            } => {
                let was = known(*key).map(|identity| identity.name().to_owned());
                let identity = Box::new(identity.clone());
                (*key, Some(*parent), Happening::Exec { was, identity })
            }
            Event::Fork { key, parent, .. } => (*key, Some(*parent), Happening::Fork),
            Event::Rename {
                key, parent, comm, ..
            } => {
                let was = known(*key).map(|identity| identity.comm.clone());
                let comm = comm.clone();
                (*key, Some(*parent), Happening::Rename { was, comm })
            }
            Event::Exit { key, .. } => (*key, None, Happening::Exit),
            Event::Free { key, .. } => (*key, None, Happening::Free),
        };
        Self {
            time: event.time(),
            key,
            parent,
            user: ids.uid,
            cgroup: ids.cgroup.and_then(|id| cgroups.path(id)),
            groups: tracker.groups_of(key).to_vec(),
            what,
        }
    }

    /// The same, once the tracker has heard of the event.
    pub(super) fn after(mut self, tracker: &Tracker) -> Self {
        for group in tracker.groups_of(self.key) {
            if !self.groups.contains(group) {
                self.groups.push(*group);
            }
        }
        self
    }
}
