//! The edges' soft failures, counted: what went wrong without stopping anything. (The tracker counts its own.) And whether
//! the threads move.

mod pulse;

pub use pulse::{Pulse, Pulses};

/// A kind of soft failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Soft {
    /// A ring record that no decoder knows.
    Undecodable,
    /// An argument vector of which an exec's records hold the beginning only: where more of it matters, /proc is read.
    ArgvCut,
    /// A verdict that the kernel's map did not take.
    VerdictRefused,
    /// A process that vanished while /proc was read.
    Vanished,
    /// A value of a process that /proc did not give (permission, mostly).
    Unreadable,
    /// An iterator that could not be read.
    IteratorFailed,
    /// A tick skipped because the one before took too long.
    TickSkipped,
    /// A line of JSON that the reader of standard output was too slow for.
    OutputDropped,
    /// Members that shared their address space with another one, whose memory counts once.
    SharedMemory,
    /// A process that was gone before its user or cgroup could be learnt, of a name that a plugin with selectors looks for:
    /// it may be a member, and is none.
    FactsUnknown,
    /// A scan that did not list every process, because /proc hides those of other users (hidepid).
    Hidden,
    /// Processes whose titles were not looked at an interval after their start: too many started.
    TitlesUnread,
    /// A collection of a plugin with very many processes took more than a tenth of its interval.
    OverBudget,
    /// No file descriptor was left to read a process with: its memory, threads and descriptors are unknown.
    OutOfFiles,
}

const KINDS: [(Soft, &str); 14] = [
    (Soft::Undecodable, "undecodable_record"),
    (Soft::ArgvCut, "argv_cut"),
    (Soft::VerdictRefused, "verdict_refused"),
    (Soft::Vanished, "process_vanished"),
    (Soft::Unreadable, "proc_unreadable"),
    (Soft::IteratorFailed, "iterator_failed"),
    (Soft::TickSkipped, "tick_skipped"),
    (Soft::OutputDropped, "output_dropped"),
    (Soft::SharedMemory, "shared_memory"),
    (Soft::FactsUnknown, "facts_unknown"),
    (Soft::Hidden, "processes_hidden"),
    (Soft::TitlesUnread, "titles_unread"),
    (Soft::OverBudget, "over_budget"),
    (Soft::OutOfFiles, "out_of_files"),
];

/// The counters.
#[derive(Debug, Clone, Default)]
pub struct Health {
    counts: [u64; KINDS.len()],
}

impl Health {
    /// One more.
    pub fn count(&mut self, kind: Soft) {
        self.add(kind, 1);
    }

    /// Some more.
    pub fn add(&mut self, kind: Soft, times: u64) {
        self.counts[kind as usize] += times;
    }

    /// How many so far.
    pub fn get(&self, kind: Soft) -> u64 {
        self.counts[kind as usize]
    }

    /// All, by the name they are exported under.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        KINDS.iter().map(|&(kind, name)| (name, self.get(kind)))
    }
}

/// Held by a thread or task without which numbers would be wrong or missing. Where it panics, kevmon ends: whoever started
/// it starts it again, and it goes on from its state.
#[derive(Debug)]
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} has panicked, which is a bug of kevmon's: it ends", self.0);
            std::process::abort();
        }
    }
}
