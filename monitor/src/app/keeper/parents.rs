//! Names of the processes that started what the history tells of.

use std::path::PathBuf;

use crate::{
    plugin::Notice,
    process::{KeyMap, ProcessKey},
    procfs,
};

/// Processes whose names are read for one commit, at most: each takes some 50 µs of the thread that collects.
const MOST: usize = 32;

/// The names that were read for one commit, of processes that may be gone by then.
#[derive(Debug)]
pub(super) struct Names {
    /// Where proc is mounted.
    root: PathBuf,
    /// Whom /proc was asked for.
    known: KeyMap<Option<String>>,
}

impl Names {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: KeyMap::default(),
        }
    }

    /// The name of a process; `None` where it is gone, or too many were asked for.
    pub(super) fn read(&mut self, key: ProcessKey) -> Option<String> {
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.known.len() >= MOST {
            return None;
        }
        let identity = procfs::identity(&self.root, key).ok();
        let name = identity.map(|identity| identity.name().to_owned());
        self.known.insert(key, name.clone());
        name
    }

    /// The names for a commit with these `notices`, after which others find room.
    pub(super) fn of_commit<'a>(&'a mut self, notices: &'a [Notice]) -> Parents<'a> {
        Parents {
            told: notices.iter().map(|notice| (notice.key, &*notice.name)).collect(),
            names: self,
        }
    }
}

/// The names that one commit asks for.
pub(super) struct Parents<'a> {
    /// Whom notices tell of.
    told: KeyMap<&'a str>,
    names: &'a mut Names,
}

impl Parents<'_> {
    /// The name of a process; `None` where it is gone, or too many were asked for.
    pub(super) fn name_of(&mut self, key: ProcessKey) -> Option<String> {
        // Some are gone before the commit: a service's worker starts, and both end.
        let told = self.told.get(&key).map(|told| (*told).to_owned());
        told.or_else(|| self.names.read(key))
    }
}

impl Drop for Parents<'_> {
    fn drop(&mut self) {
        self.names.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;
    use crate::{
        plugin::{GroupId, What},
        process::{BootTime, Tgid},
    };

    #[test]
    fn names_are_read_once_and_not_too_many() {
        let mut names = Names::new(PathBuf::from("/proc"));
        let own = procfs::key_of(&names.root, Tgid(std::process::id())).unwrap();
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
        let mut parents = names.of_commit(&notices);
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
        assert_eq!(parents.names.known.len(), MOST);
        assert_eq!(parents.name_of(own), name);
        drop(parents);
        assert!(names.known.is_empty(), "the next commit has room");
    }

    #[test]
    fn a_name_that_was_read_outlives_its_process() {
        let mut names = Names::new(PathBuf::from("/proc"));
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let key = procfs::key_of(&names.root, Tgid(sleeper.id())).unwrap();
        let by_then = |name: &Option<String>| name.as_deref() == Some("sleep");
        while !by_then(&names.read(key)) {
            names.known.clear(); // it has not executed yet
            std::thread::sleep(Duration::from_millis(2));
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(by_then(&names.of_commit(&[]).name_of(key)));
        assert_eq!(names.of_commit(&[]).name_of(key), None);
    }
}
