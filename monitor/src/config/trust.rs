//! Who may have written a file of the configuration. A plugin file with a command in it is as good as a program that kevmon
//! runs; a settings file makes kevmon read files and send them elsewhere.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Fault, Finding};
use crate::files::{self, Owners};

/// Users and groups that may write files of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted(Owners);

impl Trusted {
    /// Of this process.
    pub(crate) fn of_this_process() -> Self {
        Self(Owners::of_this_process())
    }

    /// Refuses a file or folder that somebody else can write, of which `metadata` is (a link's target's).
    ///
    /// # Errors
    /// Who, and the command that takes it away.
    pub(crate) fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Fault> {
        let Some(other) = self.0.other(metadata.uid(), metadata.gid(), metadata.mode()) else {
            return Ok(());
        };
        // A mounted ConfigMap has mode 0777, and nobody can write it.
        let read_only = statvfs(path).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY));
        if read_only && self.0.has(metadata.uid()) {
            return Ok(());
        }
        let message = format!("{}, and have kevmon run anything", other.message);
        Err(Finding::in_file(path, None, message).remedy(format!("{} {}", other.command, path.display())))
    }
}

/// What keeps a file or its way from being used, as a fault; `None`: the system refused.
pub(crate) fn fault(error: &io::Error) -> Option<Fault> {
    let refusal = files::refusal(error)?;
    let finding = Finding::in_file(&refusal.path, None, refusal.message.clone());
    Some(finding.remedy(refusal.remedy.clone()))
}

/// Refuses a file whose folders or links somebody else can change. What else is wrong with it, reading it tells.
///
/// # Errors
/// What is wrong, and the command that mends it.
pub(crate) fn check_way(path: &Path) -> Result<(), Fault> {
    let opened = files::open_to_read(path);
    opened.err().as_ref().and_then(fault).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::config::{discover, tests::Folder};

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
    #[test]
    fn a_folder_above_counts_as_well() {
        let folder = Folder::new();
        folder.write("above/plugins/x/plugin.toml", "schema = 1\n");
        let above = folder.path().join("above");
        let fault = || {
            let found = discover::search(&[above.join("plugins")], &[]);
            assert_eq!(found.files.len(), 1);
            found.files.into_iter().next().and_then(|(_, text)| text.err())
        };
        for (mode, is_refused) in [(0o755, false), (0o777, true), (0o1777, false)] {
            fs::set_permissions(&above, fs::Permissions::from_mode(mode)).expect("mode");
            let found = fault().map(|fault| fault.to_string());
            assert_eq!(found.is_some(), is_refused, "{mode:o}: {found:?}");
            let remedy = format!("chmod o-w {}", above.display());
            assert!(found.is_none_or(|text| text.contains(&remedy)), "{mode:o}");
        }
    }
}
