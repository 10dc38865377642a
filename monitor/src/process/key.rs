//! Identity in time: which process, and when.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
};

/// Thread-group id in the initial pid namespace; what `ps` calls PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tgid(pub u32);

impl fmt::Display for Tgid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time, nanoseconds of CLOCK_BOOTTIME: it goes on during suspend and no clock step moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(pub u64);

impl BootTime {
    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A point in time that may lie before this boot: what was stored once is told the same ever after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// In this run, by the clock that no step moves.
    Boot(BootTime),
    /// From an earlier run, Unix time in nanoseconds.
    Unix(u64),
}

impl From<BootTime> for Moment {
    fn from(time: BootTime) -> Self {
        Self::Boot(time)
    }
}

/// One process. A thread-group id is reused; its pair with the start of the group's leader is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Thread-group id.
    pub tgid: Tgid,
    /// Start of the thread-group leader (`task_struct::start_boottime`). From /proc it is known to the clock
    /// tick only; see [`ProcessKey::same_process`].
    pub start: BootTime,
}

impl ProcessKey {
    /// Length of a clock tick as /proc counts them (`USER_HZ` is 100 on every architecture Linux runs on).
    pub const TICK_NANOS: u64 = 10_000_000;

    /// True when both name one process, where one of them may come from /proc (proc(5), `stat` field 22).
    pub fn same_process(self, other: Self) -> bool {
        self.tgid == other.tgid && self.start.0 / Self::TICK_NANOS == other.start.0 / Self::TICK_NANOS
    }
}

/// By process. Looked up several times for each event, hence not the standard library's slower hash.
pub type KeyMap<V> = HashMap<ProcessKey, V, foldhash::fast::RandomState>;
/// Of processes, likewise.
pub type KeySet = HashSet<ProcessKey, foldhash::fast::RandomState>;

/// By effective user, `None` for unknown ones; looked up for each event as well.
pub type UserMap<V> = HashMap<Option<u32>, V, foldhash::fast::RandomState>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_at_tick_resolution_across_sources() {
        let exact = ProcessKey {
            tgid: Tgid(7),
            start: BootTime(1_234_567_890),
        };
        let from_proc = ProcessKey {
            tgid: Tgid(7),
            start: BootTime(1_230_000_000),
        };
        let reused = ProcessKey {
            tgid: Tgid(7),
            start: BootTime(1_240_000_000),
        };
        assert!(exact.same_process(from_proc));
        assert!(!exact.same_process(reused), "a reused pid is another process");
        assert!(!exact.same_process(ProcessKey {
            tgid: Tgid(8),
            ..exact
        }));
    }
}
