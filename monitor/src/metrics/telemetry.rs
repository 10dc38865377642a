//! kevmon's metrics about its own work: what it costs, and how its exports fare. Unlike those of [`super::health`] they say
//! nothing about an interval, so they can be switched off (`[telemetry]`), and go to one receiver.

use super::{
    Attribute, Attributes, ExportReading,
    Instrument::{Counter, Histogram, UpDownCounter},
    Measure, Timing, Value,
    health::{Cadence, HealthReading, OwnMetric, OwnSince},
};

/// kevmon as a process, and its work so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetryReading {
    /// CPU time in user mode and in the kernel, ns.
    pub cpu: Option<(u64, u64)>,
    /// Resident set, bytes.
    pub rss: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// `process.pid` and `process.creation.time`, which identify the process.
    pub process: Attributes,
    /// Run time and runs of each eBPF program; empty while the kernel keeps no such statistics.
    pub programs: Vec<ProgramTime>,
    /// How long collections took.
    pub collections: Timing,
    /// How long attempts to deliver took.
    pub attempts: Vec<AttemptsReading>,
}

/// What the kernel counts of an eBPF program while `kernel.bpf_stats_enabled` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramTime {
    /// Its name.
    pub name: &'static str,
    /// Time spent in it, ns.
    pub nanos: u64,
    /// How often it ran.
    pub runs: u64,
}

/// Attempts to deliver to one receiver that ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptsReading {
    /// The receiver's name.
    pub receiver: String,
    /// `metrics`, `logs` or `traces`.
    pub signal: &'static str,
    /// The receiver took the request.
    pub accepted: bool,
    /// How long they took.
    pub took: Timing,
}

/// `kevmon.outcome` of an attempt.
pub fn outcome(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "failed" }
}

fn lanes(r: &HealthReading, count: fn(&ExportReading) -> u64) -> Vec<Value> {
    let point = |lane: &ExportReading| Value {
        attributes: vec![
            ("kevmon.receiver", lane.receiver.clone().into()),
            ("kevmon.signal", lane.signal.into()),
        ],
        measure: Measure::Integer(count(lane)),
    };
    r.exports.iter().map(point).collect()
}

fn process(r: &HealthReading, measure: Option<Measure>) -> Vec<Value> {
    let point = |measure| Value {
        attributes: r.telemetry.process.clone(),
        measure,
    };
    measure.map(point).into_iter().collect()
}

/// By mode, as the convention for `process.cpu.time` has it.
fn cpu_time(r: &HealthReading) -> Vec<Value> {
    let Some((user, system)) = r.telemetry.cpu else {
        return Vec::new();
    };
    let point = |(mode, nanos): (&'static str, u64)| Value {
        attributes: std::iter::once(("cpu.mode", Attribute::from(mode)))
            .chain(r.telemetry.process.clone())
            .collect(),
        measure: Measure::Float(nanos as f64 / 1e9),
    };
    [("user", user), ("system", system)].map(point).into()
}

fn programs(r: &HealthReading, measure: fn(&ProgramTime) -> Measure) -> Vec<Value> {
    let point = |program: &ProgramTime| Value {
        attributes: vec![("kevmon.program", Attribute::from(program.name))],
        measure: measure(program),
    };
    r.telemetry.programs.iter().map(point).collect()
}

/// All of them; docs/export.md has the table.
pub const TELEMETRY: &[OwnMetric] = &[
    OwnMetric {
        name: "kevmon.collection.duration",
        unit: "s",
        instrument: Histogram,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Duration of collections",
        values: |r| {
            vec![Value {
                attributes: Vec::new(),
                measure: Measure::Timing(r.telemetry.collections),
            }]
        },
    },
    OwnMetric {
        name: "kevmon.export.duration",
        unit: "s",
        instrument: Histogram,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Duration of attempts to deliver",
        values: |r| {
            let point = |of: &AttemptsReading| Value {
                attributes: vec![
                    ("kevmon.receiver", of.receiver.clone().into()),
                    ("kevmon.signal", of.signal.into()),
                    ("kevmon.outcome", outcome(of.accepted).into()),
                ],
                measure: Measure::Timing(of.took),
            };
            r.telemetry.attempts.iter().map(point).collect()
        },
    },
    OwnMetric {
        name: "kevmon.export.delivered",
        unit: "{item}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Items (points, log records, spans) delivered",
        values: |r| lanes(r, |lane| lane.delivered),
    },
    OwnMetric {
        name: "kevmon.export.failures",
        unit: "{attempt}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Attempts to deliver that failed",
        values: |r| lanes(r, |lane| lane.failures),
    },
    OwnMetric {
        name: "kevmon.export.unreadable_answers",
        unit: "{answer}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Answers that could not be read, to requests that are not sent again",
        values: |r| lanes(r, |lane| lane.unread),
    },
    OwnMetric {
        name: "kevmon.export.repeated",
        unit: "{request}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Requests sent again although an earlier attempt may have arrived",
        values: |r| lanes(r, |lane| lane.repeated),
    },
    OwnMetric {
        name: "kevmon.spool.requests",
        unit: "{request}",
        instrument: UpDownCounter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Requests that wait for the receiver, on disk and in memory",
        values: |r| lanes(r, |lane| lane.waiting_requests),
    },
    OwnMetric {
        name: "kevmon.spool.size",
        unit: "By",
        instrument: UpDownCounter,
        since: OwnSince::Run,
        cadence: Cadence::Changed,
        description: "Their bytes: on disk compressed, and 256 for each request",
        values: |r| lanes(r, |lane| lane.waiting_bytes),
    },
    OwnMetric {
        name: "process.cpu.time",
        unit: "s",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "CPU time of kevmon",
        values: cpu_time,
    },
    OwnMetric {
        name: "process.memory.usage",
        unit: "By",
        instrument: UpDownCounter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Resident set of kevmon",
        values: |r| process(r, r.telemetry.rss.map(Measure::Integer)),
    },
    OwnMetric {
        name: "process.thread.count",
        unit: "{thread}",
        instrument: UpDownCounter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Threads of kevmon",
        values: |r| process(r, r.telemetry.threads.map(Measure::Integer)),
    },
    OwnMetric {
        name: "kevmon.ebpf.run_time",
        unit: "s",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Time spent in each eBPF program, while the kernel's statistics were on",
        values: |r| programs(r, |program| Measure::Float(program.nanos as f64 / 1e9)),
    },
    OwnMetric {
        name: "kevmon.ebpf.runs",
        unit: "{run}",
        instrument: Counter,
        since: OwnSince::Run,
        cadence: Cadence::Minute,
        description: "Runs of each eBPF program, while the kernel's statistics were on",
        values: |r| programs(r, |program| Measure::Integer(program.runs)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../../docs/export.md");
        let rows = docs.lines().filter(|line| {
            line.starts_with("| `kevmon.") && line.contains("` |") || line.starts_with("| `process.")
        });
        assert_eq!(rows.count(), TELEMETRY.len());
        for metric in TELEMETRY {
            let row = format!(
                "| `{}` | {:?} | `{}` | {}",
                metric.name, metric.instrument, metric.unit, metric.description
            );
            assert!(docs.contains(&row), "docs/export.md lacks {row:?}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_point() {
        let health = HealthReading::default();
        for metric in TELEMETRY
            .iter()
            .filter(|metric| !metric.name.ends_with("duration"))
        {
            assert!((metric.values)(&health).is_empty(), "{}", metric.name);
        }
    }
}
