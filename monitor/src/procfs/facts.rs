//! Whose a process is, and where it runs, as /proc tells.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Unread, open};
use crate::{
    process::{Facts, ProcessKey},
    users,
};

/// A user's name is asked for again after this long.
const FRESH: Duration = Duration::from_secs(60);

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
            .map(|group| Arc::from(group.pathname.as_str()))
    });
    // `pid:[4026531836]`; needs CAP_SYS_PTRACE for other users' processes.
    let link = std::fs::read_link(super::directory(root, key.tgid).join("ns/pid")).ok();
    let pid_namespace = link.and_then(|link| {
        let text = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        text.parse().ok()
    });
    Ok(Facts {
        user: uid.and_then(name_of),
        uid,
        cgroup,
        pid_namespace,
    })
}

fn name_of(uid: u32) -> Option<Arc<str>> {
    type Known = HashMap<u32, (Instant, Option<Arc<str>>)>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(&uid) {
        Some((at, name)) if at.elapsed() < FRESH => name.clone(),
        _ => {
            let name = users::by_uid(uid).map(|user| Arc::from(user.name));
            known.insert(uid, (Instant::now(), name.clone()));
            name
        }
    }
}
