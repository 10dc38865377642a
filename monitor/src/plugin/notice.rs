//! What happened to a group's processes, one notice each: for log records, the live view and the history.

use std::{sync::Arc, time::Duration};

use super::GroupId;
use crate::process::{BootTime, Ending, ProcessKey, Usage};

/// How a root came to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartKind {
    /// Another process took its place.
    Respawn,
    /// It executed again, in place.
    Reexec,
}

impl RestartKind {
    /// `respawn` or `reexec`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Respawn => "respawn",
            Self::Reexec => "reexec",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A member appeared by exec, fork or a first name.
    Start {
        /// Its parent is a member.
        worker: bool,
    },
    /// A member ended. Told once its totals are final, or could not be had soon.
    Exit {
        /// How.
        ending: Ending,
        /// From the start of its process to its end; `None` when the end was not seen.
        lifetime: Option<Duration>,
        /// Its totals, over its whole life.
        usage: Usage,
        /// Peak resident set, bytes.
        peak_rss: Option<u64>,
        /// The totals are final.
        settled: bool,
        /// Its parent was a member.
        worker: bool,
    },
    /// A root took the place of another one, or of itself.
    Restart {
        /// How.
        kind: RestartKind,
        /// Without a root from the old one's end to the new one's start; `None` for [`RestartKind::Reexec`], and where
        /// the end was not seen or kevmon was away in between.
        downtime: Option<Duration>,
        /// The root that ended; `None` for [`RestartKind::Reexec`].
        previous: Option<Box<Predecessor>>,
    },
}

/// A root that ended and whose place another one took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// Which process.
    pub key: ProcessKey,
    /// Its most telling name in the end.
    pub name: Arc<str>,
    /// How it ended; unknown for one that was found missing.
    pub ending: Ending,
    /// From its end to its successor's start, zero where that was earlier; `None` where its end was not seen.
    pub ago: Option<Duration>,
}

/// Something happened to a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Whose member.
    pub group: GroupId,
    /// When: of an exit the end, not when its totals came; of a restart the new process's start.
    pub time: BootTime,
    /// Which process: the new one, for a restart.
    pub key: ProcessKey,
    /// Its parent, where known.
    pub parent: Option<ProcessKey>,
    /// The name that it is listed under: see [`super::Plugin::name_of`].
    pub name: Arc<str>,
    /// Its executable's base name.
    pub exe: Arc<str>,
    /// Its effective user when it was looked at, where that is known.
    pub user: Option<u32>,
    /// Of an end: its names with each program that it executed, in their order, as far as kevmon saw them; see
    /// [`crate::process::Process::programs`].
    pub programs: Vec<Arc<str>>,
    /// What happened.
    pub what: What,
    /// The incident that the flight recorder keeps of it; `None`: none.
    pub incident: Option<Arc<str>>,
}
