//! Who holds a lock. The holder writes this into the lock file once it has the lock; who is refused reads it, and believes
//! it only as long as the lock is held.
//!
//! A pid alone may be another process's by the time it is read: the holder may have been unable to write (a full disk), so
//! that an earlier one is still named; it may live in another pid namespace, or on another host of a network file
//! system. So the file holds the process's start time, the boot and the pid namespace as well, and a pid is named only
//! where /proc shows a process that agrees with all of them.

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path};

use crate::shown::printable;

/// Where the processes are that share a lock with this one.
const PROC: &str = "/proc";

/// Bytes of a command line that are shown.
const SHOWN: usize = 160;

/// The last line: without it, the text was cut.
const END: &str = ".";

/// What the holder of a lock says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its pid, in its own pid namespace.
    pid: u32,
    /// When it started, clock ticks since boot (proc_pid_stat(5), field 22).
    start: Option<u64>,
    /// /proc/sys/kernel/random/boot_id; empty where /proc does not show it.
    boot: String,
    /// The inode of its pid namespace.
    namespace: Option<u64>,
    /// What it was told to watch; see [`super::Wanted`].
    pub(super) scope: String,
    /// The plugins that it runs.
    pub(super) plugins: Vec<String>,
    /// It was told to end, and does so.
    pub(super) ending: bool,
}

/// The holder of a lock as it is named to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its pid, if that is known to be right.
    pub pid: Option<u32>,
    detail: String,
}

impl Holder {
    /// This process.
    pub(super) fn this_process(scope: &str, plugins: &[String]) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start: start_ticks(Path::new(PROC), pid),
            boot: boot_id(),
            namespace: pid_namespace(),
            scope: scope.to_owned(),
            plugins: plugins.to_vec(),
            ending: false,
        }
    }

    /// As it is written. The pid comes first, for people and for older versions.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.pid);
        let mut line = |key: &str, value: &str| {
            let value = value.replace(['\n', '\r'], " ");
            text.push_str(&format!("{key} {value}\n"));
        };
        if let Some(start) = self.start {
            line("start", &start.to_string());
        }
        line("boot", &self.boot);
        if let Some(namespace) = self.namespace {
            line("namespace", &namespace.to_string());
        }
        line("scope", &self.scope);
        for plugin in &self.plugins {
            line("plugin", plugin);
        }
        if self.ending {
            line("ending", "yes");
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// `None` for what no kevmon of this version wrote, or did not write to its end.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut holder = Self {
            pid: lines.next()?.trim().parse().ok()?,
            ..Self::default()
        };
        for line in lines {
            if line == END {
                return Some(holder);
            }
            let (key, value) = line.split_once(' ')?;
            match key {
                "start" => holder.start = Some(value.parse().ok()?),
                "boot" => value.clone_into(&mut holder.boot),
                "namespace" => holder.namespace = Some(value.parse().ok()?),
                "scope" => value.clone_into(&mut holder.scope),
                "plugin" => holder.plugins.push(value.to_owned()),
                "ending" => holder.ending = true,
                _ => {}
            }
        }
        None
    }

    /// What can be said of it from here.
    pub(super) fn named(&self) -> Named {
        let unknown = |detail: &str| Named {
            pid: None,
            detail: detail.to_owned(),
        };
        // Where either could not read it (a /proc mounted with subset=pid), namespace and start decide.
        let boot = boot_id();
        if !self.boot.is_empty() && !boot.is_empty() && self.boot != boot {
            return unknown("on another host, as it seems: its pid is not known here");
        }
        if self.namespace.is_none() || self.namespace != pid_namespace() {
            return unknown("in another container: its pid is not known here");
        }
        if self.start.is_none() || self.start != start_ticks(Path::new(PROC), self.pid) {
            return unknown("its pid is not known");
        }
        let mut detail = Vec::new();
        if let Some(age) = age(self.pid) {
            detail.push(format!("running for {age}"));
        }
        if state(self.pid) == Some('T') {
            detail.push("stopped by a signal: kill -CONT lets it go on".to_owned());
        }
        detail.extend(command(self.pid).map(|command| format!("started as `{command}`")));
        Named {
            pid: Some(self.pid),
            detail: detail.join(", "),
        }
    }
}

impl Named {
    /// A holder that says nothing about itself.
    pub(super) fn unknown() -> Self {
        Self {
            pid: None,
            detail: "its pid is not known".to_owned(),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) if self.detail.is_empty() => write!(f, "another kevmon (pid {pid})"),
            Some(pid) => write!(f, "another kevmon (pid {pid}, {})", self.detail),
            None => write!(f, "another kevmon ({})", self.detail),
        }
    }
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn pid_namespace() -> Option<u64> {
    Some(fs::metadata("/proc/self/ns/pid").ok()?.ino())
}

/// The fields of /proc/PID/stat from the state on.
fn stat(proc: &Path, pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// When a process started, clock ticks since boot; `None` for one that is not there.
pub(super) fn start_ticks(proc: &Path, pid: u32) -> Option<u64> {
    stat(proc, pid)?.get(19)?.parse().ok()
}

fn state(pid: u32) -> Option<char> {
    stat(Path::new(PROC), pid)?.first()?.chars().next()
}

/// How long the process has been there, in one unit.
fn age(pid: u32) -> Option<String> {
    // What /proc/uptime shows, which a /proc mounted with subset=pid lacks.
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let start = start_ticks(Path::new(PROC), pid)? / rustix::param::clock_ticks_per_second();
    let age = uptime.unsigned_abs().saturating_sub(start);
    Some(match age {
        0..120 => format!("{age} s"),
        120..7_200 => format!("{} min", age / 60),
        7_200..172_800 => format!("{} h", age / 3_600),
        _ => format!("{} days", age / 86_400),
    })
}

/// Its command line on one line, cut; flags of kevmon's hold no secrets.
fn command(pid: u32) -> Option<String> {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0').replace('\0', " ");
    let mut shown = printable(&text).into_owned();
    if shown.len() > SHOWN {
        shown.truncate(shown.floor_char_boundary(SHOWN));
        shown.push('…');
    }
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_was_cut_is_not() {
        let holder = Holder {
            ending: true,
            ..Holder::this_process("0123", &["a".to_owned(), "b(x y)".to_owned()])
        };
        let text = holder.text();
        assert_eq!(Holder::parse(&text), Some(holder));
        for cut in 0..text.len() - 1 {
            assert_eq!(Holder::parse(&text[..cut]), None, "{cut}");
        }
        assert_eq!(Holder::parse("4711\n"), None, "an older version's");
    }

    #[test]
    fn a_pid_is_named_only_where_the_process_is_the_same() {
        let this = Holder::this_process("", &[]);
        let hidden = Holder {
            boot: String::new(),
            ..this.clone()
        };
        for holder in [&this, &hidden] {
            let named = holder.named();
            assert_eq!(named.pid, Some(std::process::id()));
            assert!(named.detail.contains("running for"), "{named}");
        }
        let others = [
            (
                "reused",
                Holder {
                    start: this.start.map(|start| start + 1),
                    ..this.clone()
                },
            ),
            (
                "gone",
                Holder {
                    pid: u32::MAX,
                    ..this.clone()
                },
            ),
            (
                "another boot",
                Holder {
                    boot: "x".to_owned(),
                    ..this.clone()
                },
            ),
            (
                "hidden boot, reused",
                Holder {
                    boot: String::new(),
                    start: this.start.map(|start| start + 1),
                    ..this.clone()
                },
            ),
            (
                "another namespace",
                Holder {
                    namespace: Some(1),
                    ..this.clone()
                },
            ),
            (
                "nothing known",
                Holder {
                    start: None,
                    ..this.clone()
                },
            ),
        ];
        for (what, other) in others {
            let named = other.named();
            assert_eq!(named.pid, None, "{what}");
            assert!(named.to_string().contains("pid is not known"), "{what}: {named}");
        }
    }
}
