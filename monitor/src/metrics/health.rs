//! kevmon's metrics about itself: how far its numbers can be trusted.

use super::{
    Instrument::{self, Counter, Gauge},
    Number::Integer,
    Value,
};

/// kevmon's own state at one collection.
#[derive(Debug, Clone, Default)]
pub struct HealthReading {
    /// `ebpf` or `proc`.
    pub source: &'static str,
    /// Why that source.
    pub source_reason: String,
    /// Nothing was lost since the last collection.
    pub complete: bool,
    /// Records lost since the start, by what lost them.
    pub lost: Vec<(&'static str, u64)>,
    /// Soft failures since the start, by kind.
    pub soft_failures: Vec<(&'static str, u64)>,
    /// Plugin files that are faulty at this moment.
    pub faulty_plugins: Vec<String>,
    /// Processes in the table.
    pub tracked: u64,
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
    /// What it means.
    pub description: &'static str,
    /// Its points.
    pub values: fn(&HealthReading) -> Vec<Value>,
}

fn by(key: &'static str, counts: &[(&'static str, u64)]) -> Vec<Value> {
    counts
        .iter()
        .map(|&(value, count)| Value {
            attributes: vec![(key, value.to_owned())],
            number: Integer(count),
        })
        .collect()
}

fn plain(value: u64) -> Vec<Value> {
    vec![Value {
        attributes: Vec::new(),
        number: Integer(value),
    }]
}

/// All of them; they belong to the service `kevmon` itself.
pub const OWN: &[OwnMetric] = &[
    OwnMetric {
        name: "kevmon.complete",
        unit: "1",
        instrument: Gauge,
        description: "1: every event since the last collection was seen; 0: some were lost, or the source cannot see all",
        values: |r| plain(u64::from(r.complete)),
    },
    OwnMetric {
        name: "kevmon.source",
        unit: "1",
        instrument: Gauge,
        description: "Always 1; its attributes tell the source and why it was chosen",
        values: |r| {
            vec![Value {
                attributes: vec![
                    ("kevmon.source.name", r.source.to_owned()),
                    ("kevmon.source.reason", r.source_reason.clone()),
                ],
                number: Integer(1),
            }]
        },
    },
    OwnMetric {
        name: "kevmon.records.lost",
        unit: "{record}",
        instrument: Counter,
        description: "Records that the kernel side could not deliver, by program",
        values: |r| by("kevmon.program", &r.lost),
    },
    OwnMetric {
        name: "kevmon.soft_failures",
        unit: "{failure}",
        instrument: Counter,
        description: "Failures that stopped nothing, by kind",
        values: |r| by("kevmon.kind", &r.soft_failures),
    },
    OwnMetric {
        name: "kevmon.plugins.faulty",
        unit: "{file}",
        instrument: Gauge,
        description: "1 for each plugin file that could not be used, by `kevmon.plugin.file`",
        values: |r| {
            let point = |file: &String| Value {
                attributes: vec![("kevmon.plugin.file", file.clone())],
                number: Integer(1),
            };
            r.faulty_plugins.iter().map(point).collect()
        },
    },
    OwnMetric {
        name: "kevmon.processes.tracked",
        unit: "{process}",
        instrument: Gauge,
        description: "Processes in kevmon's table",
        values: |r| plain(r.tracked),
    },
];
