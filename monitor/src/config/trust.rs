//! Who may have written a plugin file: with a command in it, it is as good as a program that kevmon runs.

use std::{fs::Metadata, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Fault, Finding};

/// Users and groups that may write plugin files: root, kevmon's own, and those of whoever started it by sudo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Trusted {
    /// Of this process.
    pub(crate) fn of_this_process() -> Self {
        let sudo = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
        let users = [
            Some(0),
            Some(rustix::process::geteuid().as_raw()),
            sudo("SUDO_UID"),
        ];
        Self {
            users: users.into_iter().flatten().collect(),
            groups: vec![0],
        }
    }

    /// Refuses a file or folder that somebody else can write, of which `metadata` is (a link's target's).
    ///
    /// # Errors
    /// Who, and the command that takes it away.
    pub(crate) fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Fault> {
        let Some((message, change)) = self.who_else(metadata.uid(), metadata.gid(), metadata.mode()) else {
            return Ok(());
        };
        // A mounted ConfigMap has mode 0777, and nobody can write it.
        let read_only = statvfs(path).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY));
        if read_only && self.users.contains(&metadata.uid()) {
            return Ok(());
        }
        let message = format!("{message}, and have kevmon run anything");
        Err(Finding::in_file(path, None, message).remedy(format!("{change} {}", path.display())))
    }

    /// Who else can write what belongs to `uid` and `gid` and has `mode`, and the command that takes it away.
    fn who_else(&self, uid: u32, gid: u32, mode: u32) -> Option<(String, &'static str)> {
        let mode = mode & 0o7777;
        // A user's private group (useradd(8), USERGROUPS_ENAB) is that user.
        let private = self.groups.contains(&gid) || gid == uid;
        if !self.users.contains(&uid) {
            Some((format!("belongs to user {uid}, who could write it"), "chown root"))
        } else if mode & 0o002 != 0 {
            Some((format!("every user can write it (mode {mode:04o})"), "chmod o-w"))
        } else if mode & 0o020 != 0 && !private {
            Some((format!("group {gid} can write it (mode {mode:04o})"), "chmod g-w"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::config::tests::Folder;

    #[test]
    fn whoever_else_can_write_it_makes_it_refused() {
        let trusted = Trusted {
            users: vec![0, 1000],
            groups: vec![0],
        };
        for (uid, gid, mode, remedy) in [
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
            let found = trusted.who_else(uid, gid, mode).map(|(_, remedy)| remedy);
            assert_eq!(found, remedy, "{uid} {gid} {mode:o}");
        }
    }

    #[test]
    fn a_links_target_counts() {
        let folder = Folder::new();
        folder.write("plugin.toml", "");
        let file = folder.path().join("plugin.toml");
        let link = folder.path().join("link");
        symlink(&file, &link).expect("link");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("mode");
        let check = || Trusted::of_this_process().check(&link, &fs::metadata(&link).expect("a file"));
        let fault = check().expect_err("anybody's");
        assert_eq!(
            fault.to_string(),
            format!(
                "{0}: every user can write it (mode 0666), and have kevmon run anything; chmod o-w {0}",
                link.display()
            )
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
        assert_eq!(check(), Ok(()));
    }
}
