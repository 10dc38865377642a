//! What one tick hands to the outputs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::calendar::iso8601_millis;
use crate::{
    metrics::{HealthReading, Since},
    plugin::{Completeness, GroupId, Plugin, Reading, collector::CustomValue},
    process::{BootTime, Moment, ProcessKey},
};

/// How far two readings of the offset may differ without a step or a slew of the wall clock, ns: the two clocks are
/// read one after the other, and in between the CPU may be another's.
const JITTER: u128 = 1_000_000;

/// Turns CLOCK_BOOTTIME into Unix time. The greater of two tells later times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixClock {
    offset: i128,
}

impl UnixClock {
    /// From both clocks read at the same moment, ns.
    pub fn new(unix: u64, boot: BootTime) -> Self {
        Self {
            offset: i128::from(unix) - i128::from(boot.0),
        }
    }

    /// How far this clock is ahead of another one, ns; 0 where it is behind.
    pub fn ahead_of(self, other: Self) -> u64 {
        u64::try_from(self.offset.saturating_sub(other.offset)).unwrap_or(0)
    }

    /// This clock, or `newer` where the wall clock has moved in between: what is told again is told the same until
    /// then.
    pub fn follow(self, newer: Self) -> Self {
        if self.offset.abs_diff(newer.offset) > JITTER {
            newer
        } else {
            self
        }
    }

    /// The `process.creation.time` of a process, ISO 8601. To the tick that /proc tells its start in, so that it is the same
    /// whatever source kevmon has it from: a pid comes again after more than that.
    pub fn creation_time(&self, key: ProcessKey) -> String {
        let start = key.start.0 - key.start.0 % ProcessKey::TICK_NANOS;
        iso8601_millis(self.unix(BootTime(start)))
    }

    /// Unix time, ns; 0 for what lies before 1970.
    pub fn unix(&self, time: impl Into<Moment>) -> u64 {
        match time.into() {
            Moment::Boot(time) => u64::try_from(i128::from(time.0) + self.offset).unwrap_or(0),
            Moment::Unix(nanos) => nanos,
        }
    }
}

/// One plugin's part.
#[derive(Debug, Clone)]
pub struct ServiceReading {
    /// Its number among the plugins of this run.
    pub group: GroupId,
    /// Whose.
    pub plugin: Arc<Plugin>,
    /// What was read.
    pub reading: Reading,
    /// What the plugin wants beside that.
    pub extra: Extra,
    /// This run reads the group no more: the series of its single processes end with this collection.
    pub is_last: bool,
    /// How far its numbers since its last collection can be trusted.
    pub complete: Completeness,
}

/// What not every plugin has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extra {
    /// Resource attributes made from the members' facts.
    pub attributes: BTreeMap<String, String>,
    /// What collectors brought since the last collection.
    pub custom: Vec<CustomValue>,
    /// Live members that use the most, the busiest first. A single run's text names them; other collections have none.
    pub busiest: Vec<Busy>,
}

/// A live process, as a list of the busiest shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Busy {
    /// Which process.
    pub key: ProcessKey,
    /// The name that it is listed under.
    pub name: String,
    /// CPUs that it used since the last collection, or since its start; `None` where that is not known.
    pub cpus: Option<f64>,
    /// Its resident set, bytes; `None` where it could not be read.
    pub rss: Option<u64>,
    /// How long it has lived.
    pub age: Duration,
}

impl ServiceReading {
    /// When the sums of this kind began.
    pub fn start(&self, since: Since) -> Moment {
        match since {
            Since::Usage => self.reading.usage_start,
            Since::Watch => self.reading.watch_start,
            Since::Detail => {
                let detail = self.reading.detail.as_ref();
                detail.map_or(self.reading.watch_start, |detail| detail.since.into())
            }
        }
    }
}

/// One collection.
#[derive(Debug, Clone)]
pub struct Collection {
    /// When, Unix ns.
    pub time: u64,
    /// For the starts of series: fixed at kevmon's start, so that each series keeps its start, whatever happens to the wall
    /// clock.
    pub clock: UnixClock,
    /// For the starts of processes: the same in every run of kevmon on this boot, so that a process is known by one creation
    /// time for as long as it lives.
    pub boot: UnixClock,
    /// For when something happened: as the wall clock is now.
    pub wall: UnixClock,
    /// The plugins due.
    pub services: Vec<ServiceReading>,
    /// kevmon itself.
    pub health: HealthReading,
    /// CPU time that the collection took, with its commit to the store, ns of the process's own clock.
    pub tick_cpu: u64,
    /// The last one before the end.
    pub is_final: bool,
    /// Members that have ended without their final totals: the sum over the services.
    pub unsettled: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        plugin::{Durations, reading::Happened, tracker::tests::plugin},
        process::{Reason, Tgid, Usage},
    };

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_clock_follows_steps_and_no_jitter() {
        let at = |unix| UnixClock::new(unix, BootTime(0));
        for (newer, followed) in [
            (1_000 * S, false),
            (1_000 * S + 1_000_000, false),
            (1_000 * S - 1_000_000, false),
            (1_000 * S + 1_000_001, true),
            (1_000 * S - 1_000_001, true),
            (1, true),
        ] {
            let expected = at(if followed { newer } else { 1_000 * S });
            assert_eq!(at(1_000 * S).follow(at(newer)), expected, "{newer}");
        }
    }

    #[test]
    fn a_creation_time_is_the_same_from_both_sources() {
        let clock = UnixClock::new(1_700_000_000_123_000_000, BootTime(0));
        let told = |start| {
            clock.creation_time(ProcessKey {
                tgid: Tgid(7),
                start: BootTime(start),
            })
        };
        assert_eq!(told(12_340_000_000), "2023-11-14T22:13:32.463Z", "from /proc");
        assert_eq!(
            told(12_345_678_901),
            "2023-11-14T22:13:32.463Z",
            "from the kernel"
        );
        assert_eq!(
            told(12_350_000_000),
            "2023-11-14T22:13:32.473Z",
            "another process"
        );
    }

    /// A collection with something of everything; the machine started at Unix time 10^9 s.
    pub(crate) fn collection() -> Collection {
        let mut downtime = Durations::default();
        downtime.add(Duration::from_millis(250));
        let reading = Reading {
            usage_start: BootTime(5 * S).into(),
            watch_start: BootTime(5 * S).into(),
            usage: Usage::ZERO,
            happened: Happened {
                starts: 9,
                respawns: 2,
                reexecs: 1,
                unpaired_starts: 5,
                failed_starts: 6,
                exits: 4,
                ..Happened::default()
            },
            exits: vec![(Reason::Exit { code: 7 }, 3), (Reason::Oom, 1)],
            downtime,
            lifetime: Durations::default(),
            last_start: Some(BootTime(20 * S).into()),
            last_exit: Some(Moment::Unix(7)),
            crash_loop: true,
            process_count: 0,
            unlisted: false,
            cpu_usage: None,
            cpu_utilization: None,
            cpus: None,
            memory_usage: None,
            memory_utilization: None,
            rss: Some(0),
            vms: Some(0),
            fds: Some(0),
            threads: Some(0),
            max_threads: None,
            min_threads: None,
            avg_threads: None,
            peak_rss: None,
            uptime: None,
            processes: Vec::new(),
            per_process: None,
            unsettled: 0,
            sharing: 0,
            detail: None,
        };
        Collection {
            time: 1_000_000_030 * S,
            clock: UnixClock::new(1_000_000_000 * S, BootTime(0)),
            boot: UnixClock::new(1_000_000_000 * S, BootTime(0)),
            wall: UnixClock::new(1_000_000_000 * S, BootTime(0)),
            services: vec![ServiceReading {
                extra: Default::default(),
                is_last: false,
                complete: Completeness::WHOLE,
                group: GroupId(0),
                plugin: Arc::new(plugin("web")),
                reading,
            }],
            health: HealthReading {
                source: "ebpf",
                complete: true,
                complete_totals: true,
                lost: vec![("sched_process_exec", 0), ("sched_process_exit", 2), ("marks", 1)],
                sent: Some(12),
                received: Some(10),
                unattributed: 3,
                outage_ns: 1_500_000_000,
                outages: 1,
                soft_failures: vec![("export_failed", 0), ("event_dropped", 4)],
                ..HealthReading::default()
            },
            tick_cpu: 0,
            is_final: false,
            unsettled: 0,
        }
    }
}
