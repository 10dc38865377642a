//! The processes of this moment, and whether a plugin wants one: the one place where the tools ask that.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    health::Health,
    plugin::{Matching, Plugin},
    process::Identity,
    procfs::ProcSource,
};

/// A live process.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) pid: u32,
    pub(super) identity: Identity,
    /// Effective user; `None` where it could not be read.
    pub(super) uid: Option<u32>,
    /// Path in the cgroup v2 hierarchy.
    pub(super) cgroup: Option<String>,
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
        .map(|seen| {
            let folder = root.join(seen.key.tgid.to_string());
            Live {
                pid: seen.key.tgid.0,
                uid: effective_user(&folder),
                cgroup: cgroup(&folder),
                identity: seen.identity,
            }
        })
        .collect();
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

/// proc(5): `Uid:` real, effective, saved, file system.
fn effective_user(folder: &Path) -> Option<u32> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn cgroup(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("cgroup")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

impl Live {
    /// What a plugin's patterns are tried on.
    pub(super) fn texts(&self, matching: Matching) -> Vec<String> {
        let texts: Vec<String> = match matching {
            Matching::Name => self.identity.names().map(str::to_owned).collect(),
            Matching::Exe => vec![self.identity.exe.clone()],
            Matching::Cmdline => vec![self.identity.argv.join(" ")],
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
            let fits = |user: &crate::plugin::definition::User| user.uid.is_some() && user.uid == self.uid;
            if !selectors.users.iter().any(fits) {
                let is = match self.uid {
                    Some(uid) => format!("wants another user than {}", user_name(uid)),
                    None => "wants a user, and the process's cannot be read".to_owned(),
                };
                return Some(Refusal { key: "user", is });
            }
        }
        let path = self.cgroup.as_deref();
        let parts = [
            ("cgroup", &selectors.cgroups, path),
            ("unit", &selectors.units, path.and_then(unit)),
            ("container", &selectors.containers, path.and_then(container)),
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

/// The innermost systemd unit of a cgroup's path.
fn unit(path: &str) -> Option<&str> {
    const KINDS: [&str; 4] = [".service", ".scope", ".socket", ".mount"];
    path.rsplit('/')
        .find(|part| KINDS.iter().any(|kind| part.ends_with(kind)))
}

/// The innermost container id of a cgroup's path: 64 hexadecimal digits.
fn container(path: &str) -> Option<&str> {
    path.rsplit(['/', '-', '.', ':'])
        .find(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The user's name in /etc/passwd, or its number.
pub(super) fn user_name(uid: u32) -> String {
    let number = uid.to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    found.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_of_paths() {
        let id = "0123456789abcdef".repeat(4);
        let docker = format!("/system.slice/docker-{id}.scope");
        for (path, of_unit, of_container) in [
            ("/system.slice/nginx.service", Some("nginx.service"), None),
            (
                "/user.slice/user-0.slice/session-1.scope",
                Some("session-1.scope"),
                None,
            ),
            ("/", None, None),
            (docker.as_str(), docker.rsplit('/').next(), Some(id.as_str())),
        ] {
            assert_eq!((unit(path), container(path)), (of_unit, of_container), "{path}");
        }
    }
}
