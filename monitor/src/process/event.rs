//! What sources tell about processes: events as they happen, snapshots of who is there, samples of what they used.

use super::{BootTime, Ending, FactIds, Identity, ProcessKey, Usage};

/// Something happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process executed a program.
    Exec {
        /// The process.
        key: ProcessKey,
        /// Time of the exec.
        time: BootTime,
        /// Names the new identity in a [`Judgement`].
        sequence: u64,
        /// The process's parent.
        parent: ProcessKey,
        /// Names and arguments after the exec.
        identity: Identity,
        /// Totals until then.
        usage: Usage,
    },
    /// A process was forked by `parent`, whose identity it has.
    Fork {
        /// The new process.
        key: ProcessKey,
        /// Time of the fork.
        time: BootTime,
        /// Names the new identity in a [`Judgement`].
        sequence: u64,
        /// The process that forked.
        parent: ProcessKey,
    },
    /// A process changed its `comm` without an exec.
    Rename {
        /// The process.
        key: ProcessKey,
        /// Time of the rename.
        time: BootTime,
        /// Names the new identity in a [`Judgement`].
        sequence: u64,
        /// The process's parent.
        parent: ProcessKey,
        /// The new `comm`.
        comm: String,
        /// Number of its threads; `usage` holds the sums of the leader and of ended threads alone. `None`: `usage` holds nothing.
        threads: Option<u32>,
        /// The record of the identity before was lost, so what is known of the process is out of date.
        unheard: bool,
        /// The rest of its identity, read from /proc where nothing is known of it, or what is known is out of date.
        found: Option<Identity>,
        /// Totals until then, as far as `threads` says.
        usage: Usage,
    },
    /// The last thread of a process began to exit.
    Exit {
        /// The process.
        key: ProcessKey,
        /// Time of the exit.
        time: BootTime,
        /// Exit code or signal, and who sent it.
        ending: Ending,
        /// Totals without the rest of the way out.
        usage: Usage,
        /// Peak resident set, bytes, where the kernel still knew it.
        peak_rss: Option<u64>,
    },
    /// The kernel freed a process, or its dying thread told the totals: they are final.
    Free {
        /// The process.
        key: ProcessKey,
        /// Time of the record.
        time: BootTime,
        /// When its last thread began to exit; `None` where the kernel side did not see that.
        ended: Option<BootTime>,
        /// Exit code or signal, and who sent it.
        ending: Ending,
        /// Final totals.
        usage: Usage,
        /// Peak resident set, bytes, where the kernel still knew it at its end.
        peak_rss: Option<u64>,
    },
}

impl Event {
    /// The process that it happened to.
    pub fn key(&self) -> ProcessKey {
        match self {
            Self::Exec { key, .. }
            | Self::Fork { key, .. }
            | Self::Rename { key, .. }
            | Self::Exit { key, .. }
            | Self::Free { key, .. } => *key,
        }
    }

    /// Time of the event.
    pub fn time(&self) -> BootTime {
        match self {
            Self::Exec { time, .. }
            | Self::Fork { time, .. }
            | Self::Rename { time, .. }
            | Self::Exit { time, .. }
            | Self::Free { time, .. } => *time,
        }
    }
}

/// The end of a process that userspace has heard of, kept in a map because the ring had no room for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostEnd {
    /// The process.
    pub key: ProcessKey,
    /// What it was called last (`exe` and `comm` alone), where the record of that identity was lost as well.
    pub unheard: Option<Identity>,
    /// When it took its last identity.
    pub identified: BootTime,
    /// It took that identity by a rename.
    pub renamed: bool,
    /// The totals are final; else they are those at its exit, and the free was never told.
    pub settled: bool,
    /// When it ended; `None` when only its free was seen.
    pub ended: Option<BootTime>,
    /// When the kernel freed it; when its exit was kept, where the free was never told.
    pub freed: BootTime,
    /// Exit code or signal, and who sent it.
    pub ending: Ending,
    /// Totals; final where `settled`.
    pub usage: Usage,
    /// Peak resident set, bytes.
    pub peak_rss: Option<u64>,
    /// User, cgroup and pid namespace at its end.
    pub facts: FactIds,
}

/// Whole lives of processes that userspace never heard of, because the ring had no room: summed by name and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostLives {
    /// What they were called (`exe` and `comm` alone); `None` when the kernel side could not keep the name whole.
    pub identity: Option<Identity>,
    /// They were forked by a process of interest and never executed anything.
    pub forked: bool,
    /// Exit code or signal, the same for all; without sender.
    pub ending: Ending,
    /// Number of lives since the last look.
    pub count: u64,
    /// Sums of their final totals.
    pub usage: Usage,
    /// Highest peak of the resident set among them, bytes.
    pub peak_rss: Option<u64>,
}

/// What a source kept of the ends and lives whose records found no room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Ends of processes that userspace knows, in the order of their frees.
    pub ends: Vec<LostEnd>,
    /// Lives of processes that it never heard of, summed.
    pub lives: Vec<LostLives>,
}

/// A verdict: whether the source should report further events of one identity of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The process.
    pub key: ProcessKey,
    /// The identity that the verdict is about.
    pub sequence: u64,
    /// False: nothing more of this identity is to be reported.
    pub keep: bool,
}

/// A process that a snapshot or a scan shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The process.
    pub key: ProcessKey,
    /// Its parent; `None` where it is not known.
    pub parent: Option<ProcessKey>,
    /// The sequence of its mark, if it carries one.
    pub sequence: Option<u64>,
    /// A record of its present identity has been sent, by an exec, fork or rename.
    pub told: bool,
    /// No record of its present identity has been sent, and no verdict made.
    pub untold: bool,
    /// It took its present identity by a rename.
    pub renamed: bool,
    /// Its names, as far as the source shows them.
    pub identity: Identity,
    /// User, cgroup and pid namespace, as far as the source tells.
    pub facts: FactIds,
    /// No thread of it runs any more.
    pub ended: bool,
    /// Its end; `None` where the kernel side has not seen it.
    pub end: Option<SeenEnd>,
}

/// The end of a process that is still to be reaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEnd {
    /// When its last thread began to exit.
    pub time: BootTime,
    /// Exit code or signal, and who sent it.
    pub ending: Ending,
    /// Peak resident set, bytes, where the kernel still knew it.
    pub peak_rss: Option<u64>,
}

/// A reading of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The process.
    pub key: ProcessKey,
    /// Its totals. A reading of a process with several threads is not atomic; it errs downwards only.
    pub usage: Usage,
    /// Number of threads; `None` once none runs.
    pub threads: Option<u64>,
    /// Equal values share an address space.
    pub address_space: Option<u64>,
    /// Highest resident set that the kernel has noted, bytes: below the peak while the set is at its largest.
    pub noted_rss: Option<u64>,
    /// Virtual size, bytes.
    pub vms: Option<u64>,
    /// Open file descriptors.
    pub fds: Option<u64>,
    /// User, cgroup and pid namespace, as far as the source tells.
    pub facts: FactIds,
    /// Threads that run or are ready to, as far as the source tells.
    pub runnable: Option<u64>,
    /// Some thread of it still runs.
    pub live: bool,
}
