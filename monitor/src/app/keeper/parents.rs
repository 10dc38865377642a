//! Names of the processes that started what the history tells of.

use std::path::Path;

use crate::{
    plugin::Notice,
    process::{KeyMap, ProcessKey},
    procfs,
};

/// Processes whose names are read for one commit, at most: each takes some 50 µs of the thread that collects.
const MOST: usize = 32;

/// The names that one commit has asked for.
pub(super) struct Parents<'a> {
    root: &'a Path,
    /// Whom notices tell of.
    told: KeyMap<&'a str>,
    /// Whom /proc was asked for.
    known: KeyMap<Option<String>>,
}

impl<'a> Parents<'a> {
    /// Of a commit with these `notices`; `root` is where proc is mounted.
    pub(super) fn new(root: &'a Path, notices: &'a [Notice]) -> Self {
        Self {
            root,
            told: notices.iter().map(|notice| (notice.key, &*notice.name)).collect(),
            known: KeyMap::default(),
        }
    }

    /// The name of a process; `None` where it is gone, or too many were asked for.
    pub(super) fn name_of(&mut self, key: ProcessKey) -> Option<String> {
        // Some are gone before the commit: a service's worker starts, and both end.
        if let Some(told) = self.told.get(&key) {
            return Some((*told).to_owned());
        }
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.known.len() >= MOST {
            return None;
        }
        let identity = procfs::identity(self.root, key).ok();
        let name = identity.map(|identity| identity.name().to_owned());
        self.known.insert(key, name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::{GroupId, What},
        process::{BootTime, Tgid},
    };

    #[test]
    fn names_are_read_once_and_not_too_many() {
        let root = Path::new("/proc");
        let own = procfs::key_of(root, Tgid(std::process::id())).unwrap();
        let told = ProcessKey {
            tgid: Tgid(u32::MAX),
            start: BootTime(1),
        };
        let notices = [Notice {
            group: GroupId(0),
            time: BootTime(1),
            key: told,
            parent: None,
            name: "shop".into(),
            exe: "shop".into(),
            user: None,
            programs: Vec::new(),
            incident: None,
            what: What::Start { worker: false },
        }];
        let mut parents = Parents::new(root, &notices);
        assert_eq!(parents.name_of(told).as_deref(), Some("shop"), "which is gone");
        let name = parents.name_of(own);
        assert!(name.is_some());
        let gone = |start| ProcessKey {
            tgid: own.tgid,
            start: BootTime(start),
        };
        for start in 0..2 * MOST as u64 {
            assert_eq!(parents.name_of(gone(start * ProcessKey::TICK_NANOS)), None);
        }
        assert_eq!(parents.known.len(), MOST);
        assert_eq!(parents.name_of(own), name);
    }
}
