//! One kevmon a state: claims the place for the state before anything else is done, and refuses to be the second one.

use std::path::Path;

use uuid::Uuid;

use super::{keeper::Claimed, sources::Sources};
use crate::{
    config::{Loaded, PluginSources},
    export::Reporter,
    store::{Claim, StoreError, Wanted},
};

/// Namespace of the names of what a daemon was told to watch.
const SCOPES: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_7363_6f70_6573);

/// Claims the state at `path` for what `sources` and `loaded` name.
///
/// # Errors
/// [`StoreError::InUse`]: another kevmon watches the same.
pub(super) fn claim(path: &Path, sources: &Sources, loaded: &Loaded) -> Result<Claimed, StoreError> {
    let scope = scope(&sources.plugins());
    let plugins: Vec<String> = loaded.plugins.iter().map(|plugin| plugin.label()).collect();
    let wanted = Wanted {
        scope: &scope,
        plugins: &plugins,
    };
    match Claim::take(path, wanted) {
        Ok(claim) => Ok(Claimed::Mine(Box::new(claim))),
        Err(reason @ StoreError::InUse { .. }) => Err(reason),
        Err(reason) => Ok(Claimed::Refused(reason)),
    }
}

/// What the daemon with the state at `path` says of itself at receivers, so that two on one host are two.
pub(super) fn reporter(claimed: &Claimed, path: &Path, sources: &Sources) -> Reporter {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let hash = |text: &str| Uuid::new_v5(&SCOPES, text.as_bytes()).as_u64_pair().0;
    match claimed {
        Claimed::Mine(claim) if claim.is_of_set() => {
            let scope = scope(&sources.plugins());
            Reporter::OfSet(hash(&format!("{}\0{scope}", path.display())))
        }
        Claimed::NotWanted => Reporter::Unstored(unique()),
        Claimed::Mine(_) | Claimed::Refused(_) => Reporter::OfState(hash(&path.display().to_string())),
    }
}

/// What a daemon was told to watch, as 16 hexadecimal digits: the folders as they were named, or the plugins and
/// processes. Not what is in the folders, which changes; nor where kevmon was started, which cron and systemd do
/// differently.
fn scope(sources: &PluginSources) -> String {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        names.join("\0")
    };
    let folders = if sources.directories.is_empty() {
        &sources.search_path
    } else {
        &sources.directories
    };
    // With ad hoc plugins alone, no folder is read.
    let reads_folders = sources.process_names.is_empty() || !sources.plugins.is_empty();
    let folders = folders.iter().filter(|_| reads_folders);
    let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
    let text = format!(
        "{}\0\0{}\0\0{}",
        folders.join("\0"),
        sorted(&sources.plugins),
        sorted(&sources.process_names)
    );
    let id = Uuid::new_v5(&SCOPES, text.as_bytes());
    format!("{:016x}", id.as_u64_pair().0)
}

/// A number that no other process of any boot has.
fn unique() -> u64 {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let (pid, now) = (std::process::id(), super::output::unix_now());
    let text = format!("{boot}{random}{pid} {now}");
    Uuid::new_v5(&SCOPES, text.as_bytes()).as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_scope_is_what_was_asked_for_in_whatever_order() {
        let of = |folders: &[&str], plugins: &[&str], processes: &[&str]| {
            scope(&PluginSources {
                directories: folders.iter().map(Into::into).collect(),
                plugins: names(plugins),
                process_names: names(processes),
                ..PluginSources::default()
            })
        };
        assert_eq!(of(&[], &["a", "b"], &[]), of(&[], &["b", "a", "b"], &[]));
        assert_eq!(
            of(&["/x"], &[], &["p"]),
            of(&[], &[], &["p"]),
            "no folder is read"
        );
        let all = [
            of(&[], &[], &[]),
            of(&["/x"], &[], &[]),
            of(&["/y"], &[], &[]),
            of(&["/x"], &["a"], &[]),
            of(&["/x"], &["b"], &[]),
            of(&[], &[], &["a"]),
            of(&["/x"], &["a"], &["a"]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 16);
            assert!(all.iter().skip(index + 1).all(|other| other != one), "{index}");
        }
    }
}
