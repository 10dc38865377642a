//! Whose files kevmon uses, and who else can write a file: decided by owner, group and mode alone.

use std::{fs, path::Path};

/// Users and groups that may write what kevmon reads and uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    users: Vec<u32>,
    groups: Vec<u32>,
    /// Whose folders belong to somebody outside of this user namespace, as the kernel shows them (user_namespaces(7)): in a
    /// container without root, the host's own.
    outside: Option<u32>,
}

/// Somebody else can write a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Who, and by which right.
    pub message: String,
    /// The command that takes the right away; the path is its last argument.
    pub command: &'static str,
}

/// Who makes names in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody else.
    Private,
    /// Others too, and they cannot rename or remove ours.
    Shared,
}

/// Ubuntu lets the group `syslog` write this folder of root's. Its members write the host's logs already.
const LOGS: &str = "/var/log";

/// The user that the kernel shows for all that have no number in a user namespace (/proc/sys/kernel/overflowuid).
const OVERFLOW: u32 = 65_534;

/// Whether /proc/self/uid_map has a number for the user.
fn is_mapped(maps: &str, uid: u32) -> bool {
    maps.lines().any(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(uid)))
    })
}

impl Owners {
    /// Root, this process's effective user, and whoever started it by sudo.
    pub fn of_this_process() -> Self {
        let sudo = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
        let maps = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self {
            outside: (!maps.is_empty() && !is_mapped(&maps, OVERFLOW)).then_some(OVERFLOW),
            ..Self::of(rustix::process::geteuid().as_raw(), sudo("SUDO_UID"))
        }
    }

    /// Root, the user `own` and `sudo`.
    pub fn of(own: u32, sudo: Option<u32>) -> Self {
        Self {
            users: [Some(0), Some(own), sudo].into_iter().flatten().collect(),
            groups: vec![0],
            outside: None,
        }
    }

    /// Whether the user is one of them.
    pub fn has(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// Who else can write what belongs to `uid` and `gid` and has `mode`.
    pub fn other(&self, uid: u32, gid: u32, mode: u32) -> Option<Other> {
        let mode = mode & 0o7777;
        // A user's private group (useradd(8), USERGROUPS_ENAB) is that user.
        let private = self.groups.contains(&gid) || gid == uid;
        let (message, command) = if !self.has(uid) {
            (format!("belongs to user {uid}, who could write it"), "chown root")
        } else if mode & 0o002 != 0 {
            (format!("every user can write it (mode {mode:04o})"), "chmod o-w")
        } else if mode & 0o020 != 0 && !private {
            (format!("group {gid} can write it (mode {mode:04o})"), "chmod g-w")
        } else {
            return None;
        };
        Some(Other { message, command })
    }

    /// Who makes names in the folder `path`.
    ///
    /// # Errors
    /// Others can put their own file or folder in the place of ours.
    pub(super) fn reach(&self, path: &Path, uid: u32, gid: u32, mode: u32) -> Result<Reach, Other> {
        let inside = |id| if Some(id) == self.outside { 0 } else { id };
        let (uid, gid) = (inside(uid), inside(gid));
        let Some(other) = self.other(uid, gid, mode) else {
            return Ok(Reach::Private);
        };
        // The owner of a sticky folder removes whatever is in it (unlink(2), EPERM).
        let is_sticky = mode & 0o1000 != 0;
        let is_of_logs = path == Path::new(LOGS) && mode & 0o002 == 0;
        if self.has(uid) && (is_sticky || is_of_logs) {
            Ok(Reach::Shared)
        } else {
            Err(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_else_can_write_it_is_found() {
        let owners = Owners::of(1000, None);
        for (uid, gid, mode, command) in [
            (0, 0, 0o100_644, None),
            (0, 0, 0o100_664, None),
            (0, 100, 0o100_664, Some("chmod g-w")),
            (0, 100, 0o100_644, None),
            (0, 0, 0o100_646, Some("chmod o-w")),
            (1000, 1000, 0o100_664, None),
            (1000, 100, 0o100_664, Some("chmod g-w")),
            (1001, 1001, 0o100_600, Some("chown root")),
            (0, 0, 0o041_777, Some("chmod o-w")),
        ] {
            let found = owners.other(uid, gid, mode).map(|other| other.command);
            assert_eq!(found, command, "{uid} {gid} {mode:o}");
        }
    }

    #[test]
    fn names_are_made_by_others_in_sticky_folders_alone() {
        let owners = Owners::of(0, None);
        let reach = |path: &str, uid, gid, mode| owners.reach(Path::new(path), uid, gid, mode).ok();
        assert_eq!(reach("/x", 0, 0, 0o755), Some(Reach::Private));
        assert_eq!(reach("/x", 0, 0, 0o1777), Some(Reach::Shared));
        assert_eq!(reach("/x", 0, 5, 0o1775), Some(Reach::Shared));
        assert_eq!(reach("/x", 0, 0, 0o777), None);
        assert_eq!(reach("/x", 5, 5, 0o1777), None, "its owner removes ours");
        assert_eq!(reach("/x", 0, 5, 0o775), None);
        assert_eq!(reach("/var/log", 0, 5, 0o775), Some(Reach::Shared));
        assert_eq!(reach("/var/log", 0, 5, 0o777), None);
        assert_eq!(reach("/var/log", 5, 5, 0o775), None);
    }

    #[test]
    fn folders_from_outside_of_a_user_namespace_are_its_hosts() {
        for (maps, mapped) in [
            ("         0          0 4294967295\n", true),
            ("         0       1000          1\n", false),
            ("0 1000 1\n1 100000 65536\n", true),
            ("0 100000 65534\n", false),
        ] {
            assert_eq!(is_mapped(maps, OVERFLOW), mapped, "{maps}");
        }
        let inside = Owners {
            outside: Some(OVERFLOW),
            ..Owners::of(0, None)
        };
        let reach = |owners: &Owners, mode| owners.reach(Path::new("/x"), OVERFLOW, OVERFLOW, mode).ok();
        assert_eq!(reach(&inside, 0o755), Some(Reach::Private));
        assert_eq!(reach(&inside, 0o1777), Some(Reach::Shared));
        assert_eq!(reach(&inside, 0o777), None);
        assert_eq!(reach(&Owners::of(0, None), 0o755), None);
        assert!(inside.other(OVERFLOW, OVERFLOW, 0o644).is_some(), "a file");
    }
}
