//! The processes of this moment, and whether a plugin wants one: the one place where the tools ask that.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    health::Health,
    plugin::{Matching, Plugin},
    process::{Facts, Identity},
    procfs::{self, ProcSource},
    users,
};

/// A live process.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) pid: u32,
    /// Its parent's, where that lives too.
    pub(super) parent: Option<u32>,
    pub(super) identity: Identity,
    pub(super) facts: Facts,
}

/// Why a plugin's selectors refuse a process that its patterns match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The key.
    pub(super) key: &'static str,
    /// What the process is instead.
    pub(super) is: String,
}

/// All that live, by pid, but for this one.
///
/// # Errors
/// /proc cannot be listed.
pub(super) fn processes(root: &Path) -> Result<Vec<Live>> {
    let mut health = Health::default();
    let seen = ProcSource::new(root.to_owned())
        .scan(&mut health)
        .with_context(|| format!("the processes in {}", root.display()))?;
    let mut processes: Vec<Live> = seen
        .into_iter()
        .filter(|seen| !seen.ended && seen.key.tgid.0 != std::process::id())
        .map(|seen| Live {
            pid: seen.key.tgid.0,
            parent: seen.parent.map(|parent| parent.tgid.0),
            // What cannot be read is not known.
            facts: procfs::facts(root, seen.key).unwrap_or_default(),
            identity: seen.identity,
        })
        .collect();
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

impl Live {
    /// What a plugin's patterns are tried on.
    pub(super) fn texts(&self, matching: Matching) -> Vec<String> {
        let texts: Vec<String> = match matching {
            Matching::Name => self.identity.names().map(str::to_owned).collect(),
            Matching::Exe => vec![self.identity.exe.clone()],
            Matching::Cmdline => vec![self.identity.cmdline()],
        };
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    }

    /// The name that one of `plugin`'s patterns matches.
    pub(super) fn matched(&self, plugin: &Plugin) -> Option<String> {
        let texts = self.texts(plugin.matching);
        texts
            .into_iter()
            .find(|text| plugin.patterns.iter().any(|pattern| pattern.is_match(text)))
    }

    /// The first selector that keeps it out.
    pub(super) fn refusal(&self, plugin: &Plugin) -> Option<Refusal> {
        let selectors = &plugin.selectors;
        let texts = self.texts(plugin.matching);
        let excluded = texts
            .iter()
            .find(|text| selectors.exclude.iter().any(|pattern| pattern.is_match(text)));
        if let Some(text) = excluded {
            let is = format!("excludes {text}");
            return Some(Refusal { key: "exclude", is });
        }
        if !selectors.users.is_empty() {
            let fits =
                |user: &crate::plugin::definition::User| user.uid.is_some() && user.uid == self.facts.uid;
            if !selectors.users.iter().any(fits) {
                let is = match self.facts.uid {
                    Some(uid) => format!("wants another user than {}", user_name(uid)),
                    None => "wants a user, and the process's cannot be read".to_owned(),
                };
                return Some(Refusal { key: "user", is });
            }
        }
        let parts = [
            ("cgroup", &selectors.cgroups, self.facts.cgroup.as_deref()),
            ("unit", &selectors.units, self.facts.unit()),
            ("container", &selectors.containers, self.facts.container()),
        ];
        for (key, patterns, part) in parts {
            if patterns.is_empty() || part.is_some_and(|part| patterns.iter().any(|p| p.is_match(part))) {
                continue;
            }
            let is = part.map_or_else(
                || "fits nothing: it has none".to_owned(),
                |part| format!("does not fit {part}"),
            );
            return Some(Refusal { key, is });
        }
        None
    }
}

/// The user's name, or its number.
pub(super) fn user_name(uid: u32) -> String {
    users::by_uid(uid).map_or_else(|| uid.to_string(), |user| user.name)
}
