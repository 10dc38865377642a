//! Whose a process is, and where it runs, as /proc tells.

use std::{path::Path, sync::Arc};

use ::procfs::ProcessCGroup;

use super::{Unread, open};
use crate::{
    process::{Facts, ProcessKey},
    users,
};

/// `PF_EXITING` (include/linux/sched.h, all versions).
const PF_EXITING: u32 = 0x4;

/// The facts of the process `key`.
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn facts(root: &Path, key: ProcessKey) -> Result<Facts, Unread> {
    let process = open(root, key)?;
    let uid = process.status().ok().map(|status| status.euid);
    // Of one that exits, and of every zombie, version 1 tells the root (kernel/cgroup/cgroup.c, proc_cgroup_show).
    let is_exiting = process.stat().is_ok_and(|stat| stat.flags & PF_EXITING != 0);
    let cgroup = process
        .cgroups()
        .ok()
        .and_then(|groups| path_among(&groups.0, is_exiting).map(Arc::from));
    // `pid:[4026531836]`; needs CAP_SYS_PTRACE for other users' processes.
    let link = std::fs::read_link(super::directory(root, key.tgid).join("ns/pid")).ok();
    let pid_namespace = link.and_then(|link| {
        let text = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        text.parse().ok()
    });
    Ok(Facts {
        user: uid.and_then(users::name_of),
        uid,
        cgroup,
        pid_namespace,
    })
}

/// The path that tells where a process is.
fn path_among(groups: &[ProcessCGroup], is_exiting: bool) -> Option<&str> {
    // The unified hierarchy has no controllers listed; where there is none, or nothing is put into it (systemd's hybrid
    // layout), systemd's own names units.
    let unified = groups.iter().find(|group| group.hierarchy == 0);
    let of_systemd = groups
        .iter()
        .find(|group| group.controllers.iter().any(|one| one == "name=systemd"));
    let told = match (unified, of_systemd) {
        (Some(unified), _) if unified.pathname != "/" => Some(unified),
        (_, Some(_)) if is_exiting => None,
        (_, Some(of_systemd)) => Some(of_systemd),
        (unified, None) => unified,
    };
    told.map(|group| path_in(&group.pathname))
}

/// The path without the kernel's remark that the cgroup has been removed since (proc_cgroup_show).
pub(super) fn path_in(shown: &str) -> &str {
    shown.strip_suffix(" (deleted)").unwrap_or(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_tells_most() {
        let group = |hierarchy: u32, controller: &str, path: &str| ProcessCGroup {
            hierarchy,
            controllers: (!controller.is_empty())
                .then(|| controller.to_owned())
                .into_iter()
                .collect(),
            pathname: path.to_owned(),
        };
        let (root, inside) = (group(0, "", "/"), group(0, "", "/a.service"));
        let (systemd, memory) = (group(1, "name=systemd", "/b.service"), group(4, "memory", "/m"));
        let removed = group(0, "", "/a.service (deleted)");
        for (groups, is_exiting, path) in [
            (vec![inside.clone()], false, Some("/a.service")),
            (vec![inside.clone()], true, Some("/a.service")),
            (vec![removed], true, Some("/a.service")),
            (vec![root.clone()], false, Some("/")),
            (vec![root.clone()], true, Some("/")),
            (
                vec![memory.clone(), systemd.clone(), inside],
                false,
                Some("/a.service"),
            ),
            (
                vec![memory.clone(), systemd.clone(), root.clone()],
                false,
                Some("/b.service"),
            ),
            (vec![memory.clone(), systemd.clone(), root], true, None),
            (vec![memory.clone(), systemd], true, None),
            (vec![memory], false, None),
            (vec![], false, None),
        ] {
            assert_eq!(path_among(&groups, is_exiting), path, "{groups:?} {is_exiting}");
        }
    }
}
