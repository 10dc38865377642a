//! What happened to a group's processes, one notice each: for log records, the live view and the history.

use std::{sync::Arc, time::Duration};

use super::GroupId;
use crate::process::{BootTime, Ending, ProcessKey, Usage};

/// Whether a restart is another process or the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartKind {
    /// Another process took its place.
    Respawn,
    /// The root executed its program again, in place.
    Reexec,
}

impl RestartKind {
    /// The kind as metrics and events name it: `respawn` or `reexec`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Respawn => "respawn",
            Self::Reexec => "reexec",
        }
    }
}

/// The kinds of lifecycle events, with what is known of each.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A member appeared by exec, fork or a first name.
    Start {
        /// It is a worker: its parent is a member.
        worker: bool,
    },
    /// A member ended. Told once its totals are final, or could not be had soon.
    Exit {
        /// Exit code or signal, and who sent it.
        ending: Ending,
        /// Time from the start of the process to its end; `None` when the end was not seen.
        lifetime: Option<Duration>,
        /// Totals of its whole life, in this group or not.
        usage: Usage,
        /// Peak resident set, bytes.
        peak_rss: Option<u64>,
        /// The totals are final; else they are the last that were read.
        settled: bool,
        /// It was a worker: its parent was a member.
        worker: bool,
    },
    /// A root took the place of another one, or of itself.
    Restart {
        /// By another process or in place.
        kind: RestartKind,
        /// Time from the old root's end to the new one's start; `None` for [`RestartKind::Reexec`], and where the end
        /// was not seen or kevmon was away in between.
        downtime: Option<Duration>,
        /// The root that ended; `None` for [`RestartKind::Reexec`].
        previous: Option<Box<Predecessor>>,
    },
}

/// A root that ended and whose place another one took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// The process that ended.
    pub key: ProcessKey,
    /// The name that it was listed under when it ended.
    pub name: Arc<str>,
    /// How it ended; unknown for one that was found missing.
    pub ending: Ending,
    /// From its end to its successor's start, zero where that was earlier; `None` where its end was not seen.
    pub ago: Option<Duration>,
}

/// A lifecycle event: something happened to a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The group of the member. A process in two groups has a notice in each.
    pub group: GroupId,
    /// Time of the event: of an exit the end, not when its totals came; of a restart the new process's start.
    pub time: BootTime,
    /// The process that it happened to; for a restart, the new one.
    pub key: ProcessKey,
    /// The process's parent; `None` where it is not known.
    pub parent: Option<ProcessKey>,
    /// The name that it is listed under: see [`super::Plugin::name_of`].
    pub name: Arc<str>,
    /// Base name of the process's executable.
    pub exe: Arc<str>,
    /// Its effective user when it was looked at, where that is known.
    pub user: Option<u32>,
    /// Of an end: its names with each program that it executed, in their order, as far as kevmon saw them; see
    /// [`crate::process::Process::programs`].
    pub programs: Vec<Arc<str>>,
    /// The event itself.
    pub what: What,
    /// The incident that the flight recorder keeps of it; `None`: none.
    pub incident: Option<Arc<str>>,
}
