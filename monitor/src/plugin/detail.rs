//! What the detailed mode tells of a group beyond the standard one.

use crate::process::{BootTime, Contention, Quantity, Spread, SwitchTimes};

/// The largest of the samples of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// The sample, in the unit of its [`Spread`].
    pub value: u64,
    /// When it was taken.
    pub at: BootTime,
}

/// One value that is sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// All samples since the group is watched in detail.
    pub spread: Spread,
    /// The largest one of the interval; `None`: none could be taken.
    pub peak: Option<Peak>,
}

impl Sampled {
    const fn new(quantity: Quantity) -> Self {
        Self {
            spread: Spread::new(quantity),
            peak: None,
        }
    }

    /// Adds a sample; `None` where it could not be taken, which adds nothing.
    pub(super) fn add(&mut self, value: Option<u64>, at: BootTime) {
        let Some(value) = value else { return };
        self.spread.add_value(value);
        if self.peak.is_none_or(|peak| value > peak.value) {
            self.peak = Some(Peak { value, at });
        }
    }
}

/// All values that are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// CPU time since the sample before over the time since then; 1 is one CPU, kept in billionths.
    pub cpu: Sampled,
    /// Sum of the resident sets, bytes.
    pub rss: Sampled,
    /// Threads of all members.
    pub threads: Sampled,
    /// Open file descriptors of all members.
    pub fds: Sampled,
    /// Threads of all members that run or are ready to run.
    pub runnable: Sampled,
}

impl Samples {
    /// No sample taken yet.
    pub const NONE: Self = Self {
        cpu: Sampled::new(Quantity::Share),
        rss: Sampled::new(Quantity::Number),
        threads: Sampled::new(Quantity::Number),
        fds: Sampled::new(Quantity::Number),
        runnable: Sampled::new(Quantity::Number),
    };

    /// Each sampled value, with its name in the JSON.
    pub fn all(&self) -> [(&'static str, &Sampled); 5] {
        [
            ("cpu_utilization", &self.cpu),
            ("rss_bytes", &self.rss),
            ("threads", &self.threads),
            ("open_file_descriptors", &self.fds),
            ("runnable_threads", &self.runnable),
        ]
    }

    /// A new interval begins.
    pub(super) fn forget_peaks(&mut self) {
        let Self {
            cpu,
            rss,
            threads,
            fds,
            runnable,
        } = self;
        for sampled in [cpu, rss, threads, fds, runnable] {
            sampled.peak = None;
        }
    }
}

/// Memory as its processes share it (`/proc/PID/smaps_rollup`), bytes. Sums over the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryDetail {
    /// Proportional set: shared pages divided by how many map them. Adds up over all processes.
    pub pss: u64,
    /// Pages written to swap.
    pub swap: u64,
    /// Pages that others map, too.
    pub shared: u64,
    /// Pages of its own that were written.
    pub private_dirty: u64,
}

/// What the detailed mode measured of one group, as of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct DetailReading {
    /// When the group began to be watched in detail.
    pub since: BootTime,
    /// What the scheduler did with its threads; `None`: this kernel, or this source, does not tell.
    pub times: Option<SwitchTimes>,
    /// Samples between the collections.
    pub samples: Samples,
    /// Memory, where that was asked for and could be read of all members.
    pub memory: Option<MemoryDetail>,
    /// What the cgroup had to wait for that all members share, since then; `None`: they share none, or it is not counted.
    pub contention: Option<Contention>,
    /// Nothing of `times` was missed.
    pub is_complete: bool,
}
