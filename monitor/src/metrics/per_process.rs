//! Metrics of single processes, for plugins that ask for them. Their names are none of the group's: whoever adds up all
//! series of a name counts nothing twice.
//!
//! With `naming = "otel"` they are the process metrics of OpenTelemetry's semantic conventions 1.44
//! (open-telemetry/semantic-conventions, model/process/metrics.yaml): names, units, instruments and attributes. What the
//! conventions have no name for is below `kevmon.process.`.

use super::{
    Instrument::{self, Counter, Gauge, UpDownCounter},
    Measure::{self, Float, Integer},
};
use crate::{
    plugin::{Naming, reading::SingleProcess},
    process::Counter as Sum,
};

/// One metric. Its sums begin at the process's start.
#[derive(Debug)]
pub struct ProcessMetric {
    /// Its name.
    pub name: &'static str,
    /// Its unit; as for the group's metrics.
    pub unit: &'static str,
    /// Its instrument.
    pub instrument: Instrument,
    /// What it means.
    pub description: &'static str,
    /// Its points of each process.
    pub points: &'static [ProcessPoint],
}

/// A point of each process.
#[derive(Debug)]
pub struct ProcessPoint {
    /// What tells it from the metric's other points of the same process.
    pub attribute: Option<(&'static str, &'static str)>,
    /// What it measures; `None` when that is not known.
    pub value: fn(&SingleProcess) -> Option<Measure>,
}

/// The metrics of a process of a plugin with this naming.
pub fn process_metrics(naming: Naming) -> impl Iterator<Item = &'static ProcessMetric> {
    let tables: &[&[ProcessMetric]] = match naming {
        Naming::Instana => &[INSTANA],
        Naming::Otel => &[OTEL],
        Naming::Both => &[INSTANA, OTEL],
    };
    tables.iter().copied().flatten()
}

/// All metrics, each with whether a plugin with this naming has it, and with the number of its first point: every point of a
/// process has a number of its own, below 64.
pub fn numbered_process_metrics(naming: Naming) -> impl Iterator<Item = (&'static ProcessMetric, bool, u32)> {
    let mut next = 0;
    process_metrics(Naming::Both)
        .enumerate()
        .map(move |(index, metric)| {
            let first = next;
            next += u32::try_from(metric.points.len()).unwrap_or(0);
            let is_of_framework = index < INSTANA.len();
            let is_asked = match naming {
                Naming::Instana => is_of_framework,
                Naming::Otel => !is_of_framework,
                Naming::Both => true,
            };
            (metric, is_asked, first)
        })
}

fn sum(process: &SingleProcess, sum: Sum) -> Option<Measure> {
    process.usage.get(sum).map(Integer)
}

fn seconds(process: &SingleProcess, sum: Sum) -> Option<Measure> {
    process.usage.get(sum).map(|nanos| Float(nanos as f64 / 1e9))
}

macro_rules! table {
    ($($name:literal, $unit:literal, $instrument:ident, $description:literal
        $(=> $value:expr)? $(, by $key:literal: $($part:literal => $part_value:expr),+)?;)+) => {
        &[$(ProcessMetric {
            name: $name,
            unit: $unit,
            instrument: $instrument,
            description: $description,
            points: &[
                $(ProcessPoint { attribute: None, value: $value })?
                $($(ProcessPoint { attribute: Some(($key, $part)), value: $part_value }),+)?
            ],
        }),+]
    };
}

/// `naming = "instana"`: the words of the group's metrics. The original framework has no metrics of single processes, so
/// that their units are UCUM's.
pub(super) const INSTANA: &[ProcessMetric] = table! {
    "per_process.cpu_user_time_total", "s", Counter,
        "CPU time of one process in user mode" => |p| seconds(p, Sum::User);
    "per_process.cpu_system_time_total", "s", Counter,
        "CPU time of one process in the kernel" => |p| seconds(p, Sum::System);
    "per_process.cpu_usage", "1", Gauge,
        "CPU time of one process since the last collection, over the time it lived in it; a fraction" =>
        |p| p.cpu_usage.map(Float);
    "per_process.run_queue_wait_time", "s", Counter,
        "Time that one process's threads were ready to run and waited for a CPU" => |p| seconds(p, Sum::RunDelay);
    "per_process.voluntary_ctx_switches", "{context_switch}", Counter,
        "Context switches because one process waited" => |p| sum(p, Sum::Voluntary);
    "per_process.nonvoluntary_ctx_switches", "{context_switch}", Counter,
        "Context switches because another process was to run" => |p| sum(p, Sum::Involuntary);
    "per_process.disk_read_bytes", "By", Counter,
        "Bytes that one process caused to be fetched from storage" => |p| sum(p, Sum::ReadBytes);
    "per_process.disk_write_bytes", "By", Counter,
        "Bytes that one process caused to be sent to storage" => |p| sum(p, Sum::WriteBytes);
    "per_process.minor_faults", "{fault}", Counter,
        "Page faults of one process served from memory" => |p| sum(p, Sum::MinorFaults);
    "per_process.major_faults", "{fault}", Counter,
        "Page faults of one process that waited for storage" => |p| sum(p, Sum::MajorFaults);
    "per_process.memory_rss", "By", Gauge,
        "Resident set of one process" => |p| p.gauges.rss.map(Integer);
    "per_process.peak_rss", "By", Gauge,
        "Largest resident set that one process had since it executed its program" => |p| p.gauges.peak_rss.map(Integer);
    "per_process.memory_vms", "By", Gauge,
        "Virtual size of one process" => |p| p.gauges.vms.map(Integer);
    "per_process.memory_usage", "1", Gauge,
        "Resident set of one process over the host's physical memory; a fraction" => |p| p.memory_usage.map(Float);
    "per_process.thread_count", "{thread}", UpDownCounter,
        "Threads of one process" => |p| p.gauges.threads.map(Integer);
    "per_process.open_file_descriptors", "{file_descriptor}", UpDownCounter,
        "Open file descriptors of one process" => |p| p.gauges.fds.map(Integer);
    "per_process.uptime", "s", Gauge,
        "Age of one process" => |p| Some(Float(p.uptime.as_secs_f64()));
};

/// `naming = "otel"`: the semantic conventions'.
pub(super) const OTEL: &[ProcessMetric] = table! {
    "process.cpu.time", "s", Counter, "CPU time of one process",
        by "cpu.mode": "user" => |p| seconds(p, Sum::User), "system" => |p| seconds(p, Sum::System);
    "process.cpu.utilization", "1", Gauge,
        "CPU time of one process since the last collection, over the time it lived in it and the CPUs available",
        by "cpu.mode":
            "user" => |p| p.cpu_utilization.map(|(user, _)| Float(user)),
            "system" => |p| p.cpu_utilization.map(|(_, system)| Float(system));
    "kevmon.process.run_queue.wait_time", "s", Counter,
        "Time that one process's threads were ready to run and waited for a CPU" => |p| seconds(p, Sum::RunDelay);
    "process.context_switches", "{context_switch}", Counter, "Context switches of one process",
        by "process.context_switch.type":
            "voluntary" => |p| sum(p, Sum::Voluntary), "involuntary" => |p| sum(p, Sum::Involuntary);
    "process.disk.io", "By", Counter, "Bytes transferred from and to storage by one process",
        by "disk.io.direction": "read" => |p| sum(p, Sum::ReadBytes), "write" => |p| sum(p, Sum::WriteBytes);
    "process.paging.faults", "{fault}", Counter, "Page faults of one process",
        by "system.paging.fault.type":
            "minor" => |p| sum(p, Sum::MinorFaults), "major" => |p| sum(p, Sum::MajorFaults);
    "process.memory.usage", "By", UpDownCounter,
        "Physical memory in use by one process" => |p| p.gauges.rss.map(Integer);
    "kevmon.process.memory.peak", "By", Gauge,
        "Largest resident set that one process had since it executed its program" => |p| p.gauges.peak_rss.map(Integer);
    "process.memory.virtual", "By", UpDownCounter,
        "Virtual memory of one process" => |p| p.gauges.vms.map(Integer);
    "process.memory.utilization", "1", Gauge,
        "Physical memory in use by one process, over the host's" => |p| p.memory_usage.map(Float);
    "process.thread.count", "{thread}", UpDownCounter,
        "Threads of one process" => |p| p.gauges.threads.map(Integer);
    "process.unix.file_descriptor.count", "{file_descriptor}", UpDownCounter,
        "Open file descriptors of one process" => |p| p.gauges.fds.map(Integer);
    "process.uptime", "s", Gauge,
        "Age of one process" => |p| Some(Float(p.uptime.as_secs_f64()));
};

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::metrics;

    #[test]
    fn names_are_no_groups_and_points_are_told_apart() {
        let groups: Vec<&str> = metrics(Naming::Both).map(|metric| metric.name).collect();
        // As long as groups have names of the conventions, too, a single process is told from its group by its attributes.
        let own = !groups.iter().any(|name| name.starts_with("process."));
        let all: Vec<&ProcessMetric> = process_metrics(Naming::Both).collect();
        for (index, metric) in all.iter().enumerate() {
            assert!(
                !metric.description.is_empty() && !metric.unit.is_empty(),
                "{}",
                metric.name
            );
            assert!(
                !own || !groups.contains(&metric.name),
                "{} is a group's",
                metric.name
            );
            let twice = all[..index].iter().any(|other| other.name == metric.name);
            assert!(!twice, "{} twice", metric.name);
            let attributes: Vec<_> = metric.points.iter().map(|point| point.attribute).collect();
            for (index, attribute) in attributes.iter().enumerate() {
                assert!(
                    !attributes[..index].contains(attribute),
                    "{}: {attribute:?} twice",
                    metric.name
                );
                assert!(attribute.is_some() || attributes.len() == 1, "{}", metric.name);
            }
        }
        for naming in [Naming::Instana, Naming::Otel] {
            let points: usize = process_metrics(naming).map(|metric| metric.points.len()).sum();
            assert!(points >= 17, "{points} with {naming:?}");
        }
    }

    #[test]
    fn every_point_has_a_number_of_its_own() {
        let mut expected = 0;
        for (metric, _, first) in numbered_process_metrics(Naming::Both) {
            assert_eq!(first, expected, "{}", metric.name);
            expected += u32::try_from(metric.points.len()).unwrap();
        }
        assert!(expected <= u64::BITS, "{expected}");
        for naming in [Naming::Instana, Naming::Otel, Naming::Both] {
            let asked = numbered_process_metrics(naming).filter(|(_, is_asked, _)| *is_asked);
            let asked: Vec<&str> = asked.map(|(metric, ..)| metric.name).collect();
            let all: Vec<&str> = process_metrics(naming).map(|metric| metric.name).collect();
            assert_eq!(asked, all, "{naming:?}");
        }
    }

    /// model/process/metrics.yaml of the semantic conventions 1.44.0: name, instrument, unit, and the attribute whose values
    /// tell its points apart.
    const CONVENTIONS: [(&str, Instrument, &str, Option<&str>); 11] = [
        ("process.cpu.time", Counter, "s", Some("cpu.mode")),
        ("process.cpu.utilization", Gauge, "1", Some("cpu.mode")),
        ("process.memory.usage", UpDownCounter, "By", None),
        ("process.memory.virtual", UpDownCounter, "By", None),
        ("process.memory.utilization", Gauge, "1", None),
        ("process.disk.io", Counter, "By", Some("disk.io.direction")),
        ("process.thread.count", UpDownCounter, "{thread}", None),
        (
            "process.unix.file_descriptor.count",
            UpDownCounter,
            "{file_descriptor}",
            None,
        ),
        (
            "process.context_switches",
            Counter,
            "{context_switch}",
            Some("process.context_switch.type"),
        ),
        (
            "process.paging.faults",
            Counter,
            "{fault}",
            Some("system.paging.fault.type"),
        ),
        ("process.uptime", Gauge, "s", None),
    ];

    #[test]
    fn names_of_the_conventions_mean_what_they_mean_there() {
        let told = process_metrics(Naming::Otel).map(|metric| {
            let attribute = metric.points[0].attribute.map(|(key, _)| key);
            (metric.name, metric.instrument, metric.unit, attribute)
        });
        let (of_conventions, others): (Vec<_>, Vec<_>) =
            told.partition(|(name, ..)| name.starts_with("process."));
        for metric in &of_conventions {
            assert!(CONVENTIONS.contains(metric), "{metric:?}");
        }
        assert_eq!(of_conventions.len(), CONVENTIONS.len(), "each once");
        assert!(
            others
                .iter()
                .all(|(name, ..)| name.starts_with("kevmon.process.")),
            "{others:?}"
        );
        let words = ["seconds", "bytes", "%", "switches", "threads", "descriptors"];
        for metric in process_metrics(Naming::Instana) {
            assert!(!words.contains(&metric.unit), "{} is UCUM's", metric.name);
        }
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let written = include_str!("../../../docs/metrics.md");
        for line in process_metrics(Naming::Both).map(reference_line) {
            assert!(written.contains(&line), "docs/metrics.md lacks the line\n{line}");
        }
    }

    pub(in crate::metrics) fn reference_line(metric: &ProcessMetric) -> String {
        format!(
            "| `{}` | {:?} | `{}` | {} |",
            metric.name, metric.instrument, metric.unit, metric.description
        )
    }
}
