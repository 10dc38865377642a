//! Every metric, once: name, unit, instrument, description, and how it comes out of a reading. The reference in
//! docs/metrics.md is generated from here.

use super::{
    Instrument::{self, Counter, Gauge, Histogram, UpDownCounter},
    Measure::{self, Float, Integer},
    Since::{self, Usage, Watch},
    Value,
    detail::{INSTANA_DETAIL, OTEL_DETAIL},
    exits,
};
use crate::{
    plugin::{Durations, Naming, Plugin, Reading, RestartKind},
    process::{Counter as Sum, Moment},
};

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit; UCUM, except where the original framework's dashboards expect its own words.
    pub unit: &'static str,
    /// Its instrument.
    pub instrument: Instrument,
    /// Where its sum begins.
    pub since: Since,
    /// What it means.
    pub description: &'static str,
    /// Its points; none when the value is not known.
    pub values: fn(&Reading) -> Vec<Value>,
}

impl Metric {
    /// Its one point, or the sum of its points: exits of every reason, restarts of every kind. `None` without
    /// points, and for what cannot be added up.
    pub fn total(&self, reading: &Reading) -> Option<Measure> {
        let points = (self.values)(reading)
            .into_iter()
            .map(|value| Some(value.measure));
        points
            .reduce(|sum, next| match (sum?, next?) {
                (Integer(sum), Integer(next)) => Some(Integer(sum.saturating_add(next))),
                (Float(sum), Float(next)) => Some(Float(sum + next)),
                _ => None,
            })
            .flatten()
    }
}

/// The metrics that a plugin with this naming exports.
pub fn metrics(naming: Naming) -> impl Iterator<Item = &'static Metric> {
    let tables: &[&[Metric]] = match naming {
        Naming::Instana => &[INSTANA, INSTANA_LIFE, INSTANA_DETAIL],
        Naming::Otel => &[OTEL, OTEL_DETAIL],
        Naming::Both => &[INSTANA, INSTANA_LIFE, INSTANA_DETAIL, OTEL, OTEL_DETAIL],
    };
    tables.iter().copied().flatten()
}

/// Those of them that this plugin exports.
pub fn of_plugin(plugin: &Plugin) -> impl Iterator<Item = &'static Metric> {
    // One that watches no process has nothing to say of any.
    let watches = !plugin.patterns.is_empty();
    metrics(plugin.naming).filter(move |listed| watches && plugin.metrics.lets(listed.name))
}

pub(super) fn one(measure: Option<Measure>) -> Vec<Value> {
    measure
        .map(|measure| Value {
            attributes: Vec::new(),
            measure,
        })
        .into_iter()
        .collect()
}

pub(super) fn integer(value: Option<u64>) -> Vec<Value> {
    one(value.map(Integer))
}

pub(super) fn float(value: Option<f64>) -> Vec<Value> {
    one(value.map(Float))
}

fn seconds(nanos: Option<u64>) -> Option<Measure> {
    nanos.map(|nanos| Float(nanos as f64 / 1e9))
}

fn time(moment: Option<Moment>) -> Vec<Value> {
    one(moment.map(Measure::Time))
}

fn histogram(durations: Durations) -> Vec<Value> {
    one(Some(Measure::Durations(durations)))
}

fn split<const N: usize>(key: &'static str, parts: [(&str, Option<Measure>); N]) -> Vec<Value> {
    parts
        .into_iter()
        .filter_map(|(value, measure)| {
            Some(Value {
                attributes: vec![(key, value.into())],
                measure: measure?,
            })
        })
        .collect()
}

fn restarts(r: &Reading) -> Vec<Value> {
    split(
        "kevmon.restart.kind",
        [
            (
                RestartKind::Respawn.name(),
                counted(r, r.happened.respawns).map(Integer),
            ),
            (
                RestartKind::Reexec.name(),
                counted(r, r.happened.reexecs).map(Integer),
            ),
        ],
    )
}

/// A count of members, or of what happened to them. Not known where /proc hides processes and shows no member: 0 would say that
/// there is none.
fn counted(r: &Reading, count: u64) -> Option<u64> {
    (!r.unlisted).then_some(count)
}

fn exits_of(r: &Reading) -> Vec<Value> {
    if r.unlisted {
        return Vec::new();
    }
    exits::points(&r.exits)
}

fn left_out(r: &Reading) -> Vec<Value> {
    integer(r.per_process.as_ref().map(|singles| singles.left_out))
}

macro_rules! catalogue {
    ($($name:literal, $unit:literal, $instrument:ident, $since:ident, $values:expr, $description:literal;)+) => {
        &[$($crate::metrics::Metric {
            name: $name,
            unit: $unit,
            instrument: $instrument,
            since: $since,
            description: $description,
            values: $values,
        }),+]
    };
}

pub(super) use catalogue;

/// `naming = "instana"`: names, instruments and units of the original framework, and what it could not know.
pub const INSTANA: &[Metric] = catalogue! {
    "cpu_usage", "%", Gauge, Watch, |r| float(r.cpu_usage),
        "Mean per process of the CPU time used since the last collection, over the time the processes lived in it; a fraction: 2.5 is two and a half CPUs";
    "memory_usage", "%", Gauge, Watch, |r| float(r.memory_usage),
        "Mean per process of the resident set over the host's physical memory; a fraction";
    "process_count", "processes", UpDownCounter, Watch, |r| integer(counted(r, r.process_count)),
        "Live processes";
    "disk_read_bytes", "bytes", Counter, Usage, |r| integer(r.usage.get(Sum::ReadBytes)),
        "Bytes that the processes caused to be fetched from storage";
    "disk_write_bytes", "bytes", Counter, Usage, |r| integer(r.usage.get(Sum::WriteBytes)),
        "Bytes that the processes caused to be sent to storage";
    "open_file_descriptors", "descriptors", UpDownCounter, Watch, |r| integer(r.fds),
        "Open file descriptors of every kind";
    "thread_count", "threads", UpDownCounter, Watch, |r| integer(r.threads),
        "Threads";
    "max_threads_per_process", "threads", Gauge, Watch, |r| integer(r.max_threads),
        "Most threads in one process";
    "min_threads_per_process", "threads", Gauge, Watch, |r| integer(r.min_threads),
        "Fewest threads in one process";
    "avg_threads_per_process", "threads", Gauge, Watch, |r| float(r.avg_threads),
        "Mean number of threads per process";
    "voluntary_ctx_switches", "switches", Counter, Usage, |r| integer(r.usage.get(Sum::Voluntary)),
        "Context switches because the process waited";
    "nonvoluntary_ctx_switches", "switches", Counter, Usage, |r| integer(r.usage.get(Sum::Involuntary)),
        "Context switches because another process was to run";
    "cpu_user_time_total", "seconds", Counter, Usage, |r| one(seconds(r.usage.get(Sum::User))),
        "CPU time in user mode";
    "cpu_system_time_total", "seconds", Counter, Usage, |r| one(seconds(r.usage.get(Sum::System))),
        "CPU time in the kernel";
    "memory_rss_total", "bytes", Gauge, Watch, |r| integer(r.rss),
        "Sum of the resident sets; memory shared by all of an address space counts once";
    "memory_vms_total", "bytes", Gauge, Watch, |r| integer(r.vms),
        "Sum of the virtual sizes";
    "starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.starts)),
        "Processes that started and whose parent is not in the group";
    "worker_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.worker_starts)),
        "Processes that were started by a process of the group";
    "restarts", "{restart}", Counter, Watch, restarts,
        "Starts that took the place of an ended process, and re-executions, by `kevmon.restart.kind`";
    "exits", "{process}", Counter, Watch, |r| exits_of(r),
        "Processes that ended, by `kevmon.exit.reason` and what goes with it";
    "joins", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.joins)),
        "Processes that came otherwise than by a start: found running, renamed, returned";
    "leaves", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.leaves)),
        "Processes that live on under another name";
    "run_queue_wait_time", "s", Counter, Usage, |r| one(seconds(r.usage.get(Sum::RunDelay))),
        "Time that threads were ready to run and waited for a CPU";
    "peak_rss", "By", Gauge, Watch, |r| integer(r.peak_rss),
        "Largest resident set that one process ever had";
    "unpaired_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.unpaired_starts)),
        "Starts of which nobody can say whether they were restarts: records were lost, or kevmon was away";
    "failed_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.failed_starts)),
        "Processes that ended within `failed_start` of their start, other than with exit code 0";
};

/// The rest of `naming = "instana"`: what the JSON has in a form of its own, or not at all.
const INSTANA_LIFE: &[Metric] = catalogue! {
    "downtime", "s", Histogram, Watch, |r| histogram(r.downtime),
        "From the end of a process to the start that took its place";
    "last_downtime", "s", Gauge, Watch, |r| one(seconds(r.downtime.last)),
        "The latest downtime";
    "lifetime", "s", Histogram, Watch, |r| histogram(r.lifetime),
        "From the start of a process to its end, of those that ended";
    "last_start_time", "s", Gauge, Watch, |r| time(r.last_start),
        "When a process last started, in seconds since 1970";
    "last_exit_time", "s", Gauge, Watch, |r| time(r.last_exit),
        "When a process last ended, in seconds since 1970";
    "crash_loop", "1", Gauge, Watch, |r| integer(Some(r.crash_loop.into())),
        "1 while processes keep failing and being replaced";
    "per_process.left_out", "{process}", Gauge, Watch, |r| left_out(r),
        "Live processes that have no series of their own, being more than the plugin's bound";
};

/// Names that `--output json` and the text have beside those of [`INSTANA`]: exact integers, and parts of sums.
pub const JSON_ONLY: &[Metric] = catalogue! {
    "cpu_time_ns", "ns", Counter, Usage, |r| integer(r.usage.get(Sum::Runtime)),
        "CPU time, user and system, exact";
    "run_queue_wait_ns", "ns", Counter, Usage, |r| integer(r.usage.get(Sum::RunDelay)),
        "Time that threads were ready to run and waited for a CPU";
    "peak_rss_bytes", "By", Gauge, Watch, |r| integer(r.peak_rss),
        "Largest resident set that one process ever had";
    "respawns", "{restart}", Counter, Watch, |r| integer(counted(r, r.happened.respawns)),
        "Starts that took the place of an ended process";
    "reexecs", "{restart}", Counter, Watch, |r| integer(counted(r, r.happened.reexecs)),
        "Re-executions in place";
};

/// `naming = "otel"`: metrics of the group, under `kevmon.group.`. Where the semantic conventions (1.44) have a metric of a
/// process for the same, the rest of the name, the unit, the instrument and the attributes are its own; `process.` itself
/// is for single processes.
const OTEL: &[Metric] = catalogue! {
    "kevmon.group.cpu.time", "s", Counter, Usage,
        |r| split("cpu.mode", [
            ("user", seconds(r.usage.get(Sum::User))),
            ("system", seconds(r.usage.get(Sum::System))),
        ]),
        "CPU time";
    "kevmon.group.cpu.utilization", "1", Gauge, Watch,
        |r| split("cpu.mode", [
            ("user", r.cpu_utilization.map(|(user, _)| Float(user))),
            ("system", r.cpu_utilization.map(|(_, system)| Float(system))),
        ]),
        "CPU time since the last collection, over the elapsed time and the CPUs available";
    "kevmon.group.memory.usage", "By", UpDownCounter, Watch, |r| integer(r.rss),
        "Physical memory in use";
    "kevmon.group.memory.utilization", "1", Gauge, Watch, |r| float(r.memory_utilization),
        "Physical memory in use, over the host's";
    "kevmon.group.memory.virtual", "By", UpDownCounter, Watch, |r| integer(r.vms),
        "Virtual memory";
    "kevmon.group.disk.io", "By", Counter, Usage,
        |r| split("disk.io.direction", [
            ("read", r.usage.get(Sum::ReadBytes).map(Integer)),
            ("write", r.usage.get(Sum::WriteBytes).map(Integer)),
        ]),
        "Bytes transferred from and to storage";
    "kevmon.group.thread.count", "{thread}", UpDownCounter, Watch, |r| integer(r.threads),
        "Threads";
    "kevmon.group.unix.file_descriptor.count", "{file_descriptor}", UpDownCounter, Watch, |r| integer(r.fds),
        "Open file descriptors";
    "kevmon.group.context_switches", "{context_switch}", Counter, Usage,
        |r| split("process.context_switch.type", [
            ("voluntary", r.usage.get(Sum::Voluntary).map(Integer)),
            ("involuntary", r.usage.get(Sum::Involuntary).map(Integer)),
        ]),
        "Context switches";
    "kevmon.group.paging.faults", "{fault}", Counter, Usage,
        |r| split("system.paging.fault.type", [
            ("minor", r.usage.get(Sum::MinorFaults).map(Integer)),
            ("major", r.usage.get(Sum::MajorFaults).map(Integer)),
        ]),
        "Page faults";
    "kevmon.group.uptime", "s", Gauge, Watch, |r| float(r.uptime.map(|uptime| uptime.as_secs_f64())),
        "Age of the oldest live process";
    "kevmon.group.process.count", "{process}", UpDownCounter, Watch, |r| integer(counted(r, r.process_count)),
        "Live processes";
    "kevmon.group.starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.starts)),
        "Processes that started and whose parent is not in the group";
    "kevmon.group.worker_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.worker_starts)),
        "Processes that were started by a process of the group";
    "kevmon.group.restarts", "{restart}", Counter, Watch, restarts,
        "Starts that took the place of an ended process, and re-executions, by `kevmon.restart.kind`";
    "kevmon.group.exits", "{process}", Counter, Watch, |r| exits_of(r),
        "Processes that ended, by `kevmon.exit.reason` and what goes with it";
    "kevmon.group.joins", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.joins)),
        "Processes that came otherwise than by a start: found running, renamed, returned";
    "kevmon.group.leaves", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.leaves)),
        "Processes that live on under another name";
    "kevmon.group.run_queue.wait_time", "s", Counter, Usage, |r| one(seconds(r.usage.get(Sum::RunDelay))),
        "Time that threads were ready to run and waited for a CPU";
    "kevmon.group.memory.peak", "By", Gauge, Watch, |r| integer(r.peak_rss),
        "Largest resident set that one process ever had";
    "kevmon.group.unpaired_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.unpaired_starts)),
        "Starts of which nobody can say whether they were restarts: records were lost, or kevmon was away";
    "kevmon.group.failed_starts", "{process}", Counter, Watch, |r| integer(counted(r, r.happened.failed_starts)),
        "Processes that ended within `failed_start` of their start, other than with exit code 0";
    "kevmon.group.downtime", "s", Histogram, Watch, |r| histogram(r.downtime),
        "From the end of a process to the start that took its place";
    "kevmon.group.last_downtime", "s", Gauge, Watch, |r| one(seconds(r.downtime.last)),
        "The latest downtime";
    "kevmon.group.lifetime", "s", Histogram, Watch, |r| histogram(r.lifetime),
        "From the start of a process to its end, of those that ended";
    "kevmon.group.last_start_time", "s", Gauge, Watch, |r| time(r.last_start),
        "When a process last started, in seconds since 1970";
    "kevmon.group.last_exit_time", "s", Gauge, Watch, |r| time(r.last_exit),
        "When a process last ended, in seconds since 1970";
    "kevmon.group.crash_loop", "1", Gauge, Watch, |r| integer(Some(r.crash_loop.into())),
        "1 while processes keep failing and being replaced";
    "kevmon.group.process.left_out", "{process}", Gauge, Watch, |r| left_out(r),
        "Live processes that have no series of their own, being more than the plugin's bound";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lines_complete() {
        let all: Vec<_> = metrics(Naming::Both).chain(JSON_ONLY).collect();
        for (index, metric) in all.iter().enumerate() {
            assert!(
                !metric.description.is_empty() && !metric.unit.is_empty(),
                "{}",
                metric.name
            );
            assert!(
                !all[..index].iter().any(|other| other.name == metric.name),
                "{} twice",
                metric.name
            );
        }
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let written = include_str!("../../../docs/metrics.md");
        let own = crate::metrics::OWN.iter().map(|own| {
            format!(
                "| `{}` | {:?} | `{}` | {} |",
                own.name, own.instrument, own.unit, own.description
            )
        });
        let all = metrics(Naming::Both).chain(JSON_ONLY);
        for line in all.map(reference_line).chain(own) {
            assert!(written.contains(&line), "docs/metrics.md lacks the line\n{line}");
        }
    }

    fn reference_line(metric: &Metric) -> String {
        format!(
            "| `{}` | {:?} | `{}` | {} |",
            metric.name, metric.instrument, metric.unit, metric.description
        )
    }

    /// `cargo test -p kevmon print_reference -- --ignored --nocapture` prints the tables for docs/metrics.md.
    #[test]
    #[ignore = "prints the reference tables, checks nothing"]
    fn print_reference() {
        for (title, metrics) in [
            ("instana", INSTANA),
            ("instana, lives", INSTANA_LIFE),
            ("json", JSON_ONLY),
            ("otel", OTEL),
            ("instana, detailed", INSTANA_DETAIL),
            ("otel, detailed", OTEL_DETAIL),
        ] {
            println!("\n{title}\n| name | instrument | unit | meaning |\n|---|---|---|---|");
            for metric in metrics {
                println!("{}", reference_line(metric));
            }
        }
        let line_of = crate::metrics::per_process::tests::reference_line;
        println!("\nper process\n| name | instrument | unit | meaning |\n|---|---|---|---|");
        for metric in crate::metrics::process_metrics(Naming::Both) {
            println!("{}", line_of(metric));
        }
        println!("\nown\n| name | instrument | unit | meaning |\n|---|---|---|---|");
        for own in crate::metrics::OWN {
            println!(
                "| `{}` | {:?} | `{}` | {} |",
                own.name, own.instrument, own.unit, own.description
            );
        }
    }
}
