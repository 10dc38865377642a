//! What sources tell about processes: events as they happen, snapshots of who is there, samples of what they used.

use super::{BootTime, Ending, FactIds, Identity, ProcessKey, Usage};

/// Something happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It runs a new program.
    Exec {
        /// The process.
        key: ProcessKey,
        /// When.
        time: BootTime,
        /// Names this identity in a [`Judgement`].
        sequence: u64,
        /// Its parent.
        parent: ProcessKey,
        /// Who it is now.
        identity: Identity,
        /// What it used before.
        usage: Usage,
    },
    /// It was made by `parent`, whose identity it has.
    Fork {
        /// The new process.
        key: ProcessKey,
        /// When.
        time: BootTime,
        /// Names this identity in a [`Judgement`].
        sequence: u64,
        /// The process that forked.
        parent: ProcessKey,
    },
    /// It goes by another `comm`.
    Rename {
        /// The process.
        key: ProcessKey,
        /// When.
        time: BootTime,
        /// Names this identity in a [`Judgement`].
        sequence: u64,
        /// Its parent.
        parent: ProcessKey,
        /// The new name.
        comm: String,
        /// Threads it has: the usage holds the leader's and the ended ones' only. `None`: it holds nothing.
        threads: Option<u32>,
        /// The record of what it was before was lost: what is known of it is not true any more.
        unheard: bool,
        /// The rest of its identity, for the case that nothing is known of it, or nothing true.
        found: Option<Identity>,
        /// What it used before.
        usage: Usage,
    },
    /// Its last thread began to exit.
    Exit {
        /// The process.
        key: ProcessKey,
        /// When.
        time: BootTime,
        /// How it ended.
        ending: Ending,
        /// Provisional totals.
        usage: Usage,
        /// Peak resident set, bytes, where the kernel still knew it.
        peak_rss: Option<u64>,
    },
    /// The kernel let go of it.
    Free {
        /// The process.
        key: ProcessKey,
        /// When.
        time: BootTime,
        /// When it ended, where the kernel side saw that.
        ended: Option<BootTime>,
        /// How it ended.
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

    /// When it happened.
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
    /// When it took that identity.
    pub identified: BootTime,
    /// By a rename.
    pub renamed: bool,
    /// The totals are final; else they are those at its exit, and the free was never told.
    pub settled: bool,
    /// When it ended; `None` when only its free was seen.
    pub ended: Option<BootTime>,
    /// When the kernel let go of it.
    pub freed: BootTime,
    /// How it ended.
    pub ending: Ending,
    /// Final totals.
    pub usage: Usage,
    /// Peak resident set, bytes.
    pub peak_rss: Option<u64>,
    /// Whose it was and where.
    pub facts: FactIds,
}

/// Whole lives of processes that userspace never heard of, because the ring had no room: summed by name and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostLives {
    /// What they were called (`exe` and `comm` alone); `None` when the kernel side could not keep the name whole.
    pub identity: Option<Identity>,
    /// They were forked by a process of interest and never executed anything.
    pub forked: bool,
    /// How they ended; without sender.
    pub ending: Ending,
    /// How many since the last look.
    pub count: u64,
    /// Their totals together.
    pub usage: Usage,
    /// Highest peak of the resident set among them, bytes.
    pub peak_rss: Option<u64>,
}

/// What a source kept of the ends and lives whose records found no room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Of processes that userspace knows, in the order of their frees.
    pub ends: Vec<LostEnd>,
    /// Of those it never heard of.
    pub lives: Vec<LostLives>,
}

/// Tells the source whether an identity is worth further events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The process.
    pub key: ProcessKey,
    /// The identity judged.
    pub sequence: u64,
    /// False: nothing more is wanted about it.
    pub keep: bool,
}

/// A process that a snapshot or a scan shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The process.
    pub key: ProcessKey,
    /// Its parent, where that is known.
    pub parent: Option<ProcessKey>,
    /// The sequence of its mark, if it carries one.
    pub sequence: Option<u64>,
    /// A record of its present identity has been sent, by an exec, fork or rename.
    pub told: bool,
    /// No record of it was, and no judgement has been made.
    pub untold: bool,
    /// It took that identity by a rename.
    pub renamed: bool,
    /// Who it is.
    pub identity: Identity,
    /// Whose it is and where, as far as the source tells.
    pub facts: FactIds,
    /// No thread of it runs any more.
    pub ended: bool,
    /// How it ended, where the kernel side saw that.
    pub end: Option<SeenEnd>,
}

/// The end of a process that is still to be reaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEnd {
    /// When.
    pub time: BootTime,
    /// How.
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
    /// Threads.
    pub threads: Option<u64>,
    /// Equal values share an address space.
    pub address_space: Option<u64>,
    /// Highest resident set that the kernel has noted, bytes: below the peak while the set is at its largest.
    pub noted_rss: Option<u64>,
    /// Virtual size, bytes.
    pub vms: Option<u64>,
    /// Open file descriptors.
    pub fds: Option<u64>,
    /// Whose it is and where, as far as the source tells.
    pub facts: FactIds,
    /// Threads that run or are ready to, as far as the source tells.
    pub runnable: Option<u64>,
    /// Some thread of it still runs.
    pub live: bool,
}
