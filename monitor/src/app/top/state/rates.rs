//! Values as rows show them: the gauges of a frame, and rates from the difference of two frames of one run.

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

/// The sums of the last frame.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    run: u64,
    /// Time since boot, ns.
    time: u64,
    /// Unix time, ns.
    unix: u64,
    groups: HashMap<u64, (Used, Option<Spread>)>,
    processes: HashMap<ProcessId, Used>,
}

impl Baseline {
    /// Of this frame.
    pub(super) fn of(frame: &Frame) -> Self {
        let groups = frame.groups.iter().map(|group| {
            let run_queue = group.run_queue.as_ref().map(Latency::spread);
            (group.id, (group.used, run_queue))
        });
        let processes = frame.groups.iter().flat_map(|group| &group.processes);
        Self {
            run: frame.run,
            time: frame.boot_time,
            unix: frame.time,
            groups: groups.collect(),
            processes: processes.map(|process| (id(process), process.used)).collect(),
        }
    }

    /// Seconds from the last frame to this one; `None`: they have no difference.
    fn elapsed(&self, frame: &Frame) -> Option<f64> {
        let nanos = frame.boot_time.checked_sub(self.time)?;
        (self.run == frame.run && nanos > 0).then_some(nanos as f64 / 1e9)
    }

    /// Whether this is the frame that is known already.
    pub(super) fn is_same(&self, frame: &Frame) -> bool {
        (self.run, self.time) == (frame.run, frame.boot_time)
    }

    pub(super) fn of_group(&self, frame: &Frame, group: &GroupFrame) -> (Values, Option<Percentiles>) {
        let known = self.groups.get(&group.id);
        let before = known.map(|(used, _)| used);
        let values = values(self.elapsed(frame), before, &group.used, &group.has);
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
        let elapsed = self.elapsed(frame);
        match self.processes.get(&id(process)) {
            Some(before) => values(elapsed, Some(before), &process.used, &process.has),
            // What began since then has used nothing before.
            None if elapsed.is_some() && process.start_time >= self.unix => {
                let since_start = frame.time.saturating_sub(process.start_time) as f64 / 1e9;
                let nothing = Used {
                    cpu_time_ns: Some(0),
                    run_queue_wait_ns: Some(0),
                    switches: Some(0),
                };
                let since_start = Some(since_start).filter(|&seconds| seconds > 0.0);
                values(since_start, Some(&nothing), &process.used, &process.has)
            }
            None => values(None, None, &process.used, &process.has),
        }
    }
}

pub(super) fn id(process: &ProcessFrame) -> ProcessId {
    (process.pid, process.start_time)
}

fn values(elapsed: Option<f64>, before: Option<&Used>, now: &Used, has: &Has) -> Values {
    let rate = |of: fn(&Used) -> Option<u64>| {
        let grown = of(now)?.checked_sub(of(before?)?)?;
        Some(grown as f64 / elapsed?)
    };
    Values {
        cpus: rate(|used| used.cpu_time_ns).map(|nanos| nanos / 1e9),
        rss: has.rss_bytes,
        fds: has.open_file_descriptors,
        threads: has.threads,
        switches: rate(|used| used.switches),
        wait: rate(|used| used.run_queue_wait_ns),
    }
}
