//! Values as rows show them: the gauges of a frame, and rates from the difference of two frames of one run.
//!
//! A frame that is not fresh shows the sums of the last collection. A rate from it, or to it, would be 0 first and the growth of a
//! whole interval afterwards, so it has none. A single sum can fall back in a fresh frame, too: a process that ended between the
//! drain and the sample is in neither for a moment. The rate is unknown then, and the higher sum stays with its own time. The next
//! rate is the mean since that time.

use std::collections::HashMap;

use crate::{
    app::top::frame::{Frame, GroupFrame, Has, Latency, ProcessFrame, Used},
    process::Spread,
};

/// What a row shows. `None` where it is not known, or not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::app::top) struct Values {
    /// CPUs in use: 1 is one CPU fully used.
    pub(in crate::app::top) cpus: Option<f64>,
    /// Resident set, bytes.
    pub(in crate::app::top) rss: Option<u64>,
    /// Open file descriptors.
    pub(in crate::app::top) fds: Option<u64>,
    /// Threads.
    pub(in crate::app::top) threads: Option<u64>,
    /// Context switches a second.
    pub(in crate::app::top) switches: Option<f64>,
    /// Time that threads waited on a run queue, ns in each second.
    pub(in crate::app::top) wait: Option<f64>,
}

/// Percentiles of run-queue latency since the frame before, ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::app::top) struct Percentiles {
    pub(in crate::app::top) p50: u64,
    pub(in crate::app::top) p90: u64,
    pub(in crate::app::top) p99: u64,
}

/// A process among those of one run: pid and start.
pub(in crate::app::top) type ProcessId = (u32, u64);

/// Frames in a row for which a higher sum stays: most of what ends is settled in the next one. After that the lower sum is taken,
/// because totals that nobody could read are never settled.
const STAYS: u8 = 10;

/// Sums that a later frame is compared with.
#[derive(Debug, Clone, Copy)]
struct Known {
    used: Used,
    /// Time since boot, ns.
    time: u64,
    /// Frames since then, in which a sum was lower.
    lower: u8,
}

impl Known {
    /// The sums of a later frame of the same run, or these while one of them has fallen.
    fn or_later(self, time: u64, used: Used) -> Self {
        let fell = |of: fn(&Used) -> Option<u64>| {
            of(&used)
                .zip(of(&self.used))
                .is_some_and(|(now, before)| now < before)
        };
        let has_fallen = fell(|used| used.cpu_time_ns)
            || fell(|used| used.run_queue_wait_ns)
            || fell(|used| used.switches);
        if has_fallen && self.lower < STAYS {
            let lower = self.lower + 1;
            return Self { lower, ..self };
        }
        Self::new(time, used)
    }

    fn new(time: u64, used: Used) -> Self {
        Self { used, time, lower: 0 }
    }
}

/// The sums of the last frame.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    run: u64,
    is_fresh: bool,
    /// Time since boot, ns.
    time: u64,
    /// Unix time, ns.
    unix: u64,
    groups: HashMap<u64, (Known, Option<Spread>)>,
    processes: HashMap<ProcessId, Known>,
}

impl Baseline {
    /// Of this frame, which comes after `self`.
    pub(super) fn after(&self, frame: &Frame) -> Self {
        let is_comparable = self.is_comparable(frame);
        let known = |before: Option<&Known>, used: Used| match before.filter(|_| is_comparable) {
            Some(before) => before.or_later(frame.boot_time, used),
            None => Known::new(frame.boot_time, used),
        };
        let groups = frame.groups.iter().map(|group| {
            let run_queue = group.run_queue.as_ref().map(Latency::spread);
            let before = self.groups.get(&group.id).map(|(before, _)| before);
            (group.id, (known(before, group.used), run_queue))
        });
        let processes = frame.groups.iter().flat_map(|group| &group.processes);
        let processes =
            processes.map(|process| (id(process), known(self.processes.get(&id(process)), process.used)));
        Self {
            run: frame.run,
            is_fresh: frame.fresh,
            time: frame.boot_time,
            unix: frame.time,
            groups: groups.collect(),
            processes: processes.collect(),
        }
    }

    /// Whether sums of the last frame and of this one are of one kind.
    fn is_comparable(&self, frame: &Frame) -> bool {
        self.run == frame.run && self.is_fresh && frame.fresh
    }

    /// Whether this is the frame that is known already.
    pub(super) fn is_same(&self, frame: &Frame) -> bool {
        (self.run, self.time) == (frame.run, frame.boot_time)
    }

    pub(super) fn of_group(&self, frame: &Frame, group: &GroupFrame) -> (Values, Option<Percentiles>) {
        let known = self.groups.get(&group.id);
        let before = known.map(|(before, _)| before);
        let values = values(self.growth(frame, before, group.used), &group.has);
        let percentiles = known.and_then(|(_, before)| {
            let now = group.run_queue.as_ref()?.spread();
            let new = now.since(before.as_ref()?);
            Some(Percentiles {
                p50: new.percentile(0.5)?,
                p90: new.percentile(0.9)?,
                p99: new.percentile(0.99)?,
            })
        });
        (values, percentiles.filter(|_| self.run == frame.run))
    }

    pub(super) fn of_process(&self, frame: &Frame, process: &ProcessFrame) -> Values {
        let known = self.processes.get(&id(process));
        let growth = match known {
            // What began since then has used nothing before.
            None if self.is_comparable(frame) && process.start_time >= self.unix => Growth {
                before: Used {
                    cpu_time_ns: Some(0),
                    run_queue_wait_ns: Some(0),
                    switches: Some(0),
                },
                now: process.used,
                nanos: frame.time.saturating_sub(process.start_time),
            }
            .of_some_time(),
            known => self.growth(frame, known, process.used),
        };
        values(growth, &process.has)
    }

    /// What has grown since the sums that are known; `None`: the two have no difference.
    fn growth(&self, frame: &Frame, known: Option<&Known>, now: Used) -> Option<Growth> {
        let known = known.filter(|_| self.is_comparable(frame))?;
        let nanos = frame.boot_time.checked_sub(known.time)?;
        Growth {
            before: known.used,
            now,
            nanos,
        }
        .of_some_time()
    }
}

/// Two sums, and the time between them.
struct Growth {
    before: Used,
    now: Used,
    nanos: u64,
}

impl Growth {
    /// Without any time there is no rate.
    fn of_some_time(self) -> Option<Self> {
        (self.nanos > 0).then_some(self)
    }

    /// A second. `None`: a sum is not known, or has fallen.
    fn rate(&self, of: fn(&Used) -> Option<u64>) -> Option<f64> {
        let grown = of(&self.now)?.checked_sub(of(&self.before)?)?;
        Some(grown as f64 / (self.nanos as f64 / 1e9))
    }
}

pub(super) fn id(process: &ProcessFrame) -> ProcessId {
    (process.pid, process.start_time)
}

fn values(growth: Option<Growth>, has: &Has) -> Values {
    let rate = |of: fn(&Used) -> Option<u64>| growth.as_ref()?.rate(of);
    Values {
        cpus: rate(|used| used.cpu_time_ns).map(|nanos| nanos / 1e9),
        rss: has.rss_bytes,
        fds: has.open_file_descriptors,
        threads: has.threads,
        switches: rate(|used| used.switches),
        wait: rate(|used| used.run_queue_wait_ns),
    }
}
