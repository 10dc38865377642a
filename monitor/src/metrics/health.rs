//! kevmon's metrics about itself: how far its numbers can be trusted.

use std::time::Duration;

use super::{
    Attributes, ExportReading,
    Instrument::{self, Counter, Gauge},
    Measure::{Float, Integer},
    TelemetryReading, Value,
};
use crate::{
    plugin::collector::CollectorReading,
    process::{BootTime, Moment},
};

/// kevmon's own state at one collection.
#[derive(Debug, Clone)]
pub struct HealthReading {
    /// `ebpf` or `proc`.
    pub source: &'static str,
    /// Why that source.
    pub source_reason: String,
    /// Why some processes cannot be seen, and what to do about it; `None` when all can.
    pub hidden: Option<String>,
    /// No start, end or change of a member was missed since the last collection of the plugins due.
    pub complete: bool,
    /// Their usage sums hold all that members used since, too; never true where `complete` is not.
    pub complete_totals: bool,
    /// Records lost since the start, by what lost them; empty for a source that has no records.
    pub lost: Vec<(&'static str, u64)>,
    /// Records that the kernel side meant to deliver, and …
    pub sent: Option<u64>,
    /// … those that arrived: sent = received + those of `lost` that the ring had no room for.
    pub received: Option<u64>,
    /// Lives whose records were lost and of which nothing came back, or not whose they were: no group's numbers hold
    /// them.
    pub unattributed: u64,
    /// How long kevmon was not there, ns, since the first watch.
    pub outage_ns: u64,
    /// How many times.
    pub outages: u64,
    /// How far the times of collections are ahead of the wall clock; zero unless that was set back.
    pub clock_offset: Duration,
    /// Soft failures since the start, by kind.
    pub soft_failures: Vec<(&'static str, u64)>,
    /// Plugin files that are faulty at this moment.
    pub faulty_plugins: Vec<String>,
    /// Runs and failures of collectors.
    pub collectors: Vec<CollectorReading>,
    /// Processes in the table.
    pub tracked: u64,
    /// How far what was collected has come, by receiver and signal.
    pub exports: Vec<ExportReading>,
    /// 1 when the run before this one was killed and its last collection was neither answered by every receiver nor waits in the spool: whether it arrived is not known.
    pub unconfirmed: u64,
    /// What kevmon costs and how its exports fare.
    pub telemetry: TelemetryReading,
    /// When this run began, which is where most counts begin, …
    pub started: Moment,
    /// … and when the first group was first watched, by whichever run: where the outages are counted from.
    pub first_watch: Moment,
}

impl CollectorReading {
    fn point(&self, kind: Option<&'static str>, count: u64) -> Value {
        let mut attributes: Attributes = vec![
            ("kevmon.plugin", self.plugin.clone().into()),
            ("kevmon.collector", self.collector.clone().into()),
        ];
        attributes.extend(kind.map(|kind| ("error.type", kind.into())));
        Value {
            attributes,
            measure: Integer(count),
        }
    }
}

impl Default for HealthReading {
    /// Of a source that has nothing to tell.
    fn default() -> Self {
        Self {
            source: "",
            source_reason: String::new(),
            hidden: None,
            complete: false,
            complete_totals: false,
            lost: Vec::new(),
            sent: None,
            received: None,
            unattributed: 0,
            outage_ns: 0,
            outages: 0,
            clock_offset: Duration::ZERO,
            soft_failures: Vec::new(),
            faulty_plugins: Vec::new(),
            collectors: Vec::new(),
            tracked: 0,
            exports: Vec::new(),
            unconfirmed: 0,
            telemetry: TelemetryReading::default(),
            started: BootTime(0).into(),
            first_watch: BootTime(0).into(),
        }
    }
}

/// The programs that send records: what they lose, the ring had no room for.
pub(crate) const RING_PROGRAMS: [&str; 8] = [
    "sched_process_exec",
    "exec_arguments",
    "sched_process_fork",
    "sched_process_exit",
    "sched_process_free",
    "task_rename",
    "cgroup_mkdir",
    "task_dead",
];

/// Losses that each are a life of which nothing came back.
const LIVES: [&str; 3] = ["lost_ends", "lost_lives", "untold_lives"];

impl HealthReading {
    /// How many lives of `lost` are in no number.
    pub fn lives_in(lost: &[(&'static str, u64)]) -> u64 {
        let lives = lost.iter().filter(|(name, _)| LIVES.contains(name));
        lives.map(|(_, count)| count).sum()
    }

    /// Losses that the ring had no room for (`true`), or that another bound or the kernel made (`false`).
    fn lost_by(&self, ring: bool) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let lost = self.lost.iter().copied();
        lost.filter(move |(name, _)| RING_PROGRAMS.contains(name) == ring)
    }

    /// Adds to the soft failures of a kind.
    pub fn add_soft_failures(&mut self, kind: &'static str, times: u64) {
        match self.soft_failures.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += times,
            None => self.soft_failures.push((kind, times)),
        }
    }

    /// Records that were sent and not received; `None` for a source that has no records. What else is in `lost` was
    /// never sent.
    pub fn records_lost(&self) -> Option<u64> {
        (!self.lost.is_empty()).then(|| self.lost_by(true).map(|(_, count)| count).sum())
    }
}

impl HealthReading {
    /// Where the sums of one of kevmon's own metrics begin.
    pub fn start(&self, since: OwnSince) -> Moment {
        match since {
            OwnSince::Run => self.started,
            OwnSince::FirstWatch => self.first_watch,
        }
    }
}

/// Where a sum of kevmon's own begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnSince {
    /// With this run of kevmon: it is not kept.
    Run,
    /// With the first watch of any group: it is kept in the store.
    FirstWatch,
}

/// How often a metric of kevmon's own is sent by a daemon. Counters and levels that have been 0 all the time have no point;
/// the first point that is not 0 comes at once, with one of value 0 at the time of the collection before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// With each collection: it says how far that interval can be trusted.
    Each,
    /// With a collection that finds it changed, and once a minute.
    Changed,
    /// Once a minute.
    Minute,
}

/// One of kevmon's own metrics.
#[derive(Debug)]
pub struct OwnMetric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Its instrument.
    pub instrument: Instrument,
    /// Where its sum begins.
    pub since: OwnSince,
    /// How often it is sent.
    pub cadence: Cadence,
    /// What it means.
    pub description: &'static str,
    /// Its points.
    pub values: fn(&HealthReading) -> Vec<Value>,
}

fn by(key: &'static str, counts: impl IntoIterator<Item = (&'static str, u64)>) -> Vec<Value> {
    counts
        .into_iter()
        .map(|(value, count)| Value {
            attributes: vec![(key, value.into())],
            measure: Integer(count),
        })
        .collect()
}

fn plain(value: u64) -> Vec<Value> {
    vec![Value {
        attributes: Vec::new(),
        measure: Integer(value),
    }]
}

/// Only what was lost is told: three signals times every receiver times four reasons are many zeros.
fn lost(lane: &ExportReading) -> impl Iterator<Item = Value> + '_ {
    let lost = lane.lost().into_iter().filter(|(_, count)| *count > 0);
    lost.map(|(reason, count)| Value {
        attributes: vec![
            ("kevmon.receiver", lane.receiver.clone().into()),
            ("kevmon.signal", lane.signal.into()),
            ("kevmon.reason", reason.into()),
        ],
        measure: Integer(count),
    })
}

fn known(value: Option<u64>) -> Vec<Value> {
    value.map(plain).unwrap_or_default()
}

/// All of them; they belong to the service `kevmon` itself.
pub const OWN: &[OwnMetric] = &[
    OwnMetric {
        name: "kevmon.complete",
        unit: "1",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Each,
        description: "1: no event was missed since the last collection, so counts are exact",
        values: |r| plain(u64::from(r.complete)),
    },
    OwnMetric {
        name: "kevmon.complete_totals",
        unit: "1",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Each,
        description: "1: CPU time, switches, faults and bytes are whole, too",
        values: |r| plain(u64::from(r.complete_totals)),
    },
    OwnMetric {
        name: "kevmon.source",
        unit: "1",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Always 1; its attributes name the source and why",
        values: |r| {
            vec![Value {
                attributes: vec![
                    ("kevmon.source.name", r.source.into()),
                    ("kevmon.source.reason", r.source_reason.clone().into()),
                ],
                measure: Integer(1),
            }]
        },
    },
    OwnMetric {
        name: "kevmon.records.lost",
        unit: "{record}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Records that the ring had no room for, by the program that sent them",
        values: |r| by("kevmon.program", r.lost_by(true)),
    },
    OwnMetric {
        name: "kevmon.limits.reached",
        unit: "{event}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Times that something was not told for another reason than the ring's room, by that reason",
        values: |r| by("kevmon.limit", r.lost_by(false)),
    },
    OwnMetric {
        name: "kevmon.records.sent",
        unit: "{record}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Records sent by the kernel side",
        values: |r| known(r.sent),
    },
    OwnMetric {
        name: "kevmon.records.received",
        unit: "{record}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Records that arrived",
        values: |r| known(r.received),
    },
    OwnMetric {
        name: "kevmon.lives.unattributed",
        unit: "{process}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Processes whose records were lost and that no plugin's numbers hold; some may be no plugin's",
        values: |r| plain(r.unattributed),
    },
    OwnMetric {
        name: "kevmon.outages",
        unit: "{outage}",
        instrument: Counter,
        since: OwnSince::FirstWatch,
        cadence: Cadence::Changed,
        description: "Times that kevmon was not there and went on from what it had stored",
        values: |r| plain(r.outages),
    },
    OwnMetric {
        name: "kevmon.outage.time",
        unit: "s",
        instrument: Counter,
        since: OwnSince::FirstWatch,
        cadence: Cadence::Changed,
        description: "How long kevmon was not there. Unless the kernel side went on meanwhile, members that ended count as ends of reason `unknown`, and what both started and ended is in no number",
        values: |r| {
            vec![Value {
                attributes: Vec::new(),
                measure: Float(r.outage_ns as f64 / 1e9),
            }]
        },
    },
    OwnMetric {
        name: "kevmon.clock.offset",
        unit: "s",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "How far exported times are ahead of the wall clock: 0 unless it was set back, since when they go on as before",
        values: |r| {
            vec![Value {
                attributes: Vec::new(),
                measure: Float(r.clock_offset.as_secs_f64()),
            }]
        },
    },
    OwnMetric {
        name: "kevmon.soft_failures",
        unit: "{failure}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Failures that stopped nothing",
        values: |r| by("kevmon.kind", r.soft_failures.iter().copied()),
    },
    OwnMetric {
        name: "kevmon.plugins.faulty",
        unit: "{file}",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "1 for each plugin file that could not be used, by `kevmon.plugin.file`",
        values: |r| {
            let point = |file: &String| Value {
                attributes: vec![("kevmon.plugin.file", file.clone().into())],
                measure: Integer(1),
            };
            r.faulty_plugins.iter().map(point).collect()
        },
    },
    OwnMetric {
        name: "kevmon.collector.runs",
        unit: "{run}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Runs of collectors that ended, well or not, by plugin and collector",
        values: |r| r.collectors.iter().map(|of| of.point(None, of.runs)).collect(),
    },
    OwnMetric {
        name: "kevmon.collector.failures",
        unit: "{failure}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "What went wrong in runs of collectors, by plugin, collector and kind",
        values: |r| {
            let failures = |of: &CollectorReading| -> Vec<Value> {
                of.failures
                    .iter()
                    .map(|&(kind, count)| of.point(Some(kind), count))
                    .collect()
            };
            r.collectors.iter().flat_map(failures).collect()
        },
    },
    OwnMetric {
        name: "kevmon.export.lost",
        unit: "{item}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Data points, log records and spans that a receiver will never have, by receiver, signal and reason: refused by it, or dropped for want of space, for their age or because they were damaged",
        values: |r| r.exports.iter().flat_map(lost).collect(),
    },
    OwnMetric {
        name: "kevmon.export.unconfirmed",
        unit: "{collection}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "1 when the run before this one was killed and its last collection was neither answered by every receiver nor waits in the spool: whether it arrived is not known",
        values: |r| plain(r.unconfirmed),
    },
    OwnMetric {
        name: "kevmon.processes.tracked",
        unit: "{process}",
        instrument: Gauge,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Processes in kevmon's table",
        values: |r| plain(r.tracked),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_sent_is_no_lost_record() {
        let mut health = HealthReading {
            lost: vec![
                ("sched_process_exec", 2),
                ("marks", 7),
                ("task_rename", 1),
                ("recursion", 3),
            ],
            ..HealthReading::default()
        };
        assert_eq!(health.records_lost(), Some(3));
        let lives = [
            ("lost_ends", 1),
            ("lost_lives", 2),
            ("untold_lives", 4),
            ("marks", 8),
        ];
        assert_eq!(HealthReading::lives_in(&lives), 7);
        let points = |name: &str| {
            let metric = OWN.iter().find(|own| own.name == name).expect(name);
            let told = |value: Value| (value.attributes, value.measure);
            (metric.values)(&health).into_iter().map(told).collect::<Vec<_>>()
        };
        let point = |key, value: &str, count| {
            (
                vec![(key, crate::metrics::Attribute::from(value))],
                Integer(count),
            )
        };
        assert_eq!(
            points("kevmon.records.lost"),
            [
                point("kevmon.program", "sched_process_exec", 2),
                point("kevmon.program", "task_rename", 1)
            ]
        );
        assert_eq!(
            points("kevmon.limits.reached"),
            [
                point("kevmon.limit", "marks", 7),
                point("kevmon.limit", "recursion", 3)
            ]
        );
        health.lost.clear();
        assert_eq!(health.records_lost(), None, "/proc has no records");
    }

    #[test]
    fn a_soft_failure_has_one_count() {
        let mut health = HealthReading {
            soft_failures: vec![("event_dropped", 2)],
            ..HealthReading::default()
        };
        health.add_soft_failures("event_dropped", 3);
        health.add_soft_failures("store_failed", 1);
        assert_eq!(
            health.soft_failures,
            [("event_dropped", 5), ("store_failed", 1)],
            "two points of one series would be refused"
        );
    }

    #[test]
    fn unknown_counts_are_absent_and_times_are_seconds() {
        let reading = HealthReading {
            received: Some(4),
            outage_ns: 1_500_000_000,
            ..HealthReading::default()
        };
        let values = |name: &str| {
            let metric = OWN.iter().find(|own| own.name == name).expect(name);
            (metric.values)(&reading)
        };
        assert!(values("kevmon.records.sent").is_empty());
        assert_eq!(values("kevmon.records.received")[0].measure, Integer(4));
        assert_eq!(values("kevmon.outage.time")[0].measure, Float(1.5));
    }
}
