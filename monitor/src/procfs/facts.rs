//! Whose a process is, and where it runs, as /proc tells.

use std::{path::Path, sync::Arc};

use super::{Unread, open};
use crate::{
    process::{Facts, ProcessKey},
    users,
};

/// The facts of the process `key`.
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn facts(root: &Path, key: ProcessKey) -> Result<Facts, Unread> {
    let process = open(root, key)?;
    let uid = process.status().ok().map(|status| status.euid);
    let cgroup = process.cgroups().ok().and_then(|groups| {
        // The unified hierarchy has no controllers listed; where there is none, or nothing is put into it (systemd's hybrid
        // layout), systemd's own names units.
        let unified = groups
            .0
            .iter()
            .find(|group| group.hierarchy == 0 && group.pathname != "/");
        let of_systemd = || {
            groups
                .0
                .iter()
                .find(|group| group.controllers.iter().any(|one| one == "name=systemd"))
        };
        let root = || groups.0.iter().find(|group| group.hierarchy == 0);
        unified
            .or_else(of_systemd)
            .or_else(root)
            .map(|group| Arc::from(path_in(&group.pathname)))
    });
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

/// The path without the kernel's remark that the cgroup has been removed since (proc_cgroup_show).
fn path_in(shown: &str) -> &str {
    shown.strip_suffix(" (deleted)").unwrap_or(shown)
}
