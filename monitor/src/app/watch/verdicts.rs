//! What an event changes about a process's groups, for the debug log. Asks nothing of anybody while nobody reads it.

use crate::{
    app::log::verdicts::{VerdictLog, decided, excluded},
    plugin::{GroupId, tracker::Tracker},
    process::{Event, Identity, ProcessKey, Seen},
};

/// A process about to be judged, and what was known of it.
pub(super) struct Judged {
    key: ProcessKey,
    /// The names that it is judged by.
    identity: Identity,
    before: Vec<GroupId>,
    /// Its parent brings it, by what that one is.
    is_fork: bool,
}

/// What `event` will be a verdict on; `None` for an event that changes no names.
pub(super) fn judged(tracker: &Tracker, event: &Event) -> Option<Judged> {
    let (key, identity, is_fork) = match event {
        Event::Exec { key, identity, .. } => (*key, identity.clone(), false),
        Event::Fork { key, parent, .. } => (*key, tracker.identity_of(*parent)?.clone(), true),
        Event::Rename { key, comm, found, .. } => {
            let known = tracker.identity_of(*key).or(found.as_ref());
            let identity = Identity {
                comm: comm.clone(),
                ..known.cloned().unwrap_or_default()
            };
            (*key, identity, false)
        }
        Event::Exit { .. } | Event::Free { .. } => return None,
    };
    Some(Judged {
        key,
        identity,
        before: tracker.groups_of(key).to_vec(),
        is_fork,
    })
}

/// The same of a process that a snapshot or a scan shows.
pub(super) fn judged_seen(tracker: &Tracker, seen: &Seen) -> Judged {
    Judged {
        key: seen.key,
        identity: seen.identity.clone(),
        before: tracker.groups_of(seen.key).to_vec(),
        is_fork: false,
    }
}

/// Says what became of it.
pub(super) fn say_verdict(log: &mut VerdictLog, tracker: &Tracker, judged: Judged) {
    let Judged {
        key,
        identity,
        before,
        is_fork,
    } = judged;
    let after = tracker.groups_of(key);
    let name = identity.name();
    for group in after.iter().filter(|group| !before.contains(group)) {
        if let Some(plugin) = tracker.plugin(*group) {
            let inherited = || {
                if is_fork {
                    "forked by a member"
                } else {
                    "child of a member"
                }
                .to_owned()
            };
            let why = decided(&plugin, &identity).unwrap_or_else(inherited);
            log.joins(key, name, &plugin, &why);
        }
    }
    for group in before.iter().filter(|group| !after.contains(group)) {
        if let Some(plugin) = tracker.plugin(*group) {
            log.leaves(key, name, &plugin);
        }
    }
    if before.is_empty() && after.is_empty() && !is_fork {
        let why = tracker
            .plugins()
            .find_map(|(_, plugin)| excluded(plugin, &identity));
        log.refused(key, &identity, why);
    }
}
