//! Who may have written a plugin file: with a command in it, it is as good as a program that kevmon runs.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

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
        let groups = [
            Some(0),
            Some(rustix::process::getegid().as_raw()),
            sudo("SUDO_GID"),
        ];
        Self {
            users: users.into_iter().flatten().collect(),
            groups: groups.into_iter().flatten().collect(),
        }
    }

    /// Refuses a file or folder that somebody else can write, of which `metadata` is (a link's target's).
    ///
    /// # Errors
    /// Who, and the command that takes it away.
    pub(crate) fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Fault> {
        let mode = metadata.mode() & 0o7777;
        let shown = path.display();
        let (message, remedy) = if !self.users.contains(&metadata.uid()) {
            (
                format!(
                    "belongs to user {}, who could have kevmon run anything",
                    metadata.uid()
                ),
                format!("chown root {shown}"),
            )
        } else if mode & 0o002 != 0 {
            (
                format!("every user can write it (mode {mode:04o}), and have kevmon run anything"),
                format!("chmod o-w {shown}"),
            )
        } else if mode & 0o020 != 0 && !self.groups.contains(&metadata.gid()) {
            (
                format!(
                    "group {} can write it (mode {mode:04o}), and have kevmon run anything",
                    metadata.gid()
                ),
                format!("chmod g-w {shown}"),
            )
        } else {
            return Ok(());
        };
        // A mounted ConfigMap has mode 0777, and nobody can write it.
        let read_only = statvfs(path).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY));
        if read_only && self.users.contains(&metadata.uid()) {
            return Ok(());
        }
        Err(Finding::in_file(path, None, message).remedy(remedy))
    }

    /// The same of what is at `path`; what is not there is for others to tell.
    pub(crate) fn check_at(&self, path: &Path) -> Result<(), Fault> {
        match fs::metadata(path) {
            Ok(metadata) => self.check(path, &metadata),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::tests::Folder;

    #[test]
    fn whoever_else_can_write_it_makes_it_refused() {
        let folder = Folder::new();
        folder.write("plugin.toml", "");
        let file = folder.path().join("plugin.toml");
        symlink(&file, folder.path().join("link")).expect("link");
        let own = rustix::process::geteuid().as_raw();
        let trusted = Trusted {
            users: vec![own],
            groups: vec![u32::MAX],
        };
        for (mode, refused) in [
            (0o600, None),
            (0o644, None),
            (0o664, Some("chmod g-w ")),
            (0o646, Some("chmod o-w ")),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("mode");
            for path in [&file, &folder.path().join("link")] {
                let found = trusted.check_at(path).err().and_then(|fault| fault.remedy);
                let expected = refused.map(|refused| format!("{refused}{}", path.display()));
                assert_eq!(found, expected, "{mode:o}");
            }
        }
        let of_the_group = Trusted {
            groups: vec![fs::metadata(&file).expect("file").gid()],
            ..trusted
        };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).expect("mode");
        assert_eq!(of_the_group.check_at(&file), Ok(()));
        let strangers = Trusted {
            users: vec![own + 1],
            groups: Vec::new(),
        };
        let fault = strangers.check_at(&file).expect_err("another user's");
        assert!(fault.message.starts_with("belongs to user "), "{fault}");
    }
}
