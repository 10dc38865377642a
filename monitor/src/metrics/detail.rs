//! The metrics of the detailed mode: distributions of what threads do, samples between collections, peaks, memory.

use std::sync::Arc;

use super::{
    Instrument::{Counter, Gauge, Histogram},
    Measure::{self, Float, Integer},
    Metric,
    Since::{Detail, Watch},
    Value,
    catalogue::{catalogue, float, integer, one},
};
use crate::{
    plugin::{
        Reading,
        detail::{DetailReading, MemoryDetail, Sampled},
    },
    process::{Contention, Spread, SwitchTimes},
};

/// Names of preemptors that are exported.
pub const PREEMPTORS: usize = 10;

fn detail(r: &Reading) -> Option<&DetailReading> {
    r.detail.as_deref()
}

fn times(r: &Reading) -> Option<&SwitchTimes> {
    detail(r)?.times.as_ref()
}

fn spread(spread: Option<&Spread>) -> Vec<Value> {
    one(spread.map(|spread| Measure::Spread(Arc::new(spread.clone()))))
}

fn off_cpu(r: &Reading) -> Vec<Value> {
    let Some(times) = times(r) else { return Vec::new() };
    [
        ("sleep", &times.sleep),
        ("uninterruptible", &times.uninterruptible),
        ("preempted", &times.preempted),
    ]
    .into_iter()
    .map(|(state, spread)| Value {
        attributes: vec![("kevmon.off_cpu.state", state.into())],
        measure: Measure::Spread(Arc::new(spread.clone())),
    })
    .collect()
}

fn preemptors(r: &Reading, of: fn(&crate::process::Preempted) -> Measure) -> Vec<Value> {
    let Some(times) = times(r) else { return Vec::new() };
    let top = times.top_preemptors(PREEMPTORS);
    top.into_iter()
        .map(|(name, preempted)| Value {
            attributes: vec![("kevmon.preemptor.name", name.into())],
            measure: of(&preempted),
        })
        .collect()
}

fn sampled(r: &Reading, of: fn(&DetailReading) -> &Sampled) -> Vec<Value> {
    let sampled = detail(r).map(of);
    spread(
        sampled
            .map(|sampled| &sampled.spread)
            .filter(|spread| spread.count > 0),
    )
}

fn peak(r: &Reading, of: fn(&DetailReading) -> &Sampled) -> Option<u64> {
    Some(of(detail(r)?).peak?.value)
}

fn memory(r: &Reading, of: fn(&MemoryDetail) -> u64) -> Vec<Value> {
    integer(detail(r).and_then(|detail| detail.memory.as_ref()).map(of))
}

fn contention(r: &Reading) -> Option<&Contention> {
    detail(r)?.contention.as_ref()
}

fn pressure(r: &Reading) -> Vec<Value> {
    let Some(of) = contention(r) else {
        return Vec::new();
    };
    let stalls = [("cpu", of.cpu), ("memory", of.memory), ("io", of.io)];
    let mut values = Vec::new();
    for (resource, stall) in stalls {
        let Some(stall) = stall else { continue };
        for (kind, nanos) in [("some", Some(stall.some_ns)), ("full", stall.full_ns)] {
            values.extend(nanos.map(|nanos| Value {
                attributes: vec![
                    ("kevmon.pressure.resource", resource.into()),
                    ("kevmon.pressure.kind", kind.into()),
                ],
                measure: Float(nanos as f64 / 1e9),
            }));
        }
    }
    values
}

fn throttled(r: &Reading) -> Vec<Value> {
    float(
        contention(r)
            .and_then(|of| of.throttled_ns)
            .map(|nanos| nanos as f64 / 1e9),
    )
}

fn share(billionths: Option<u64>) -> Vec<Value> {
    float(billionths.map(|billionths| billionths as f64 / 1e9))
}

/// A table for each naming, of rows that differ in their names alone: instana's, otel's, unit, instrument, where the sum begins, values,
/// meaning.
macro_rules! by_both_names {
    ($($instana:literal, $otel:literal, $unit:literal, $instrument:ident, $since:ident, $values:expr, $description:literal;)+) => {
        /// `naming = "instana"`.
        pub const INSTANA_DETAIL: &[Metric] =
            catalogue! { $($instana, $unit, $instrument, $since, $values, $description;)+ };

        /// `naming = "otel"`.
        pub const OTEL_DETAIL: &[Metric] =
            catalogue! { $($otel, $unit, $instrument, $since, $values, $description;)+ };
    };
}

by_both_names! {
    "run_queue_latency", "kevmon.group.run_queue.latency", "s", Histogram, Detail, |r| spread(times(r).map(|times| &times.run_queue)),
        "Time from when a thread was ready to run to when it ran, each time";
    "on_cpu_time", "kevmon.group.on_cpu.time", "s", Histogram, Detail, |r| spread(times(r).map(|times| &times.on_cpu)),
        "Time that a thread ran until it left the CPU, each time";
    "off_cpu_time", "kevmon.group.off_cpu.time", "s", Histogram, Detail, off_cpu,
        "Time from when a thread left the CPU to when it was ready again (`sleep`, `uninterruptible`), or ran again (`preempted`), by `kevmon.off_cpu.state`";
    "cpu_migrations", "kevmon.group.cpu.migrations", "{migration}", Counter, Detail, |r| integer(times(r).map(|times| times.migrations)),
        "Moves of a thread to another CPU";
    "preemption_time", "kevmon.group.preemption.time", "s", Counter, Detail, |r| preemptors(r, |by| Float(by.time as f64 / 1e9)),
        "Time that threads were ready and another process ran in their place, by `kevmon.preemptor.name`; the ten that took most";
    "preemptions", "kevmon.group.preemption.count", "{turn}", Counter, Detail, |r| preemptors(r, |by| Integer(by.switches)),
        "Turns of those processes";
    "sampled_cpu_utilization", "kevmon.group.sampled.cpu.utilization", "1", Histogram, Detail, |r| sampled(r, |detail| &detail.samples.cpu),
        "CPU time over time between two samples; 1 is one CPU";
    "sampled_memory_rss", "kevmon.group.sampled.memory.usage", "By", Histogram, Detail, |r| sampled(r, |detail| &detail.samples.rss),
        "Sum of the resident sets at each sample";
    "sampled_threads", "kevmon.group.sampled.thread.count", "{thread}", Histogram, Detail, |r| sampled(r, |detail| &detail.samples.threads),
        "Threads at each sample";
    "sampled_file_descriptors", "kevmon.group.sampled.file_descriptor.count", "{file_descriptor}", Histogram, Detail, |r| sampled(r, |detail| &detail.samples.fds),
        "Open file descriptors at each sample";
    "sampled_runnable_threads", "kevmon.group.sampled.runnable.count", "{thread}", Histogram, Detail, |r| sampled(r, |detail| &detail.samples.runnable),
        "Threads that ran or were ready to, at each sample";
    "peak_cpu_utilization", "kevmon.group.peak.cpu.utilization", "1", Gauge, Watch, |r| share(peak(r, |detail| &detail.samples.cpu)),
        "Largest of the interval's samples; 1 is one CPU";
    "peak_memory_rss", "kevmon.group.peak.memory.usage", "By", Gauge, Watch, |r| integer(peak(r, |detail| &detail.samples.rss)),
        "Largest of the interval's samples";
    "peak_threads", "kevmon.group.peak.thread.count", "{thread}", Gauge, Watch, |r| integer(peak(r, |detail| &detail.samples.threads)),
        "Most threads at a sample of the interval";
    "peak_file_descriptors", "kevmon.group.peak.file_descriptor.count", "{file_descriptor}", Gauge, Watch, |r| integer(peak(r, |detail| &detail.samples.fds)),
        "Most open file descriptors at a sample of the interval";
    "peak_runnable_threads", "kevmon.group.peak.runnable.count", "{thread}", Gauge, Watch, |r| integer(peak(r, |detail| &detail.samples.runnable)),
        "Most threads that ran or were ready to, at a sample of the interval";
    "memory_pss", "kevmon.group.memory.pss", "By", Gauge, Watch, |r| memory(r, |memory| memory.pss),
        "Proportional set: each shared page divided by how many processes map it; adds up over all processes";
    "memory_swap", "kevmon.group.memory.swap", "By", Gauge, Watch, |r| memory(r, |memory| memory.swap),
        "Memory that was written to swap";
    "memory_shared", "kevmon.group.memory.shared", "By", Gauge, Watch, |r| memory(r, |memory| memory.shared),
        "Resident pages that other processes map, too";
    "memory_private_dirty", "kevmon.group.memory.private_dirty", "By", Gauge, Watch, |r| memory(r, |memory| memory.private_dirty),
        "Resident pages of their own that were written";
    "pressure_time", "kevmon.group.pressure.time", "s", Counter, Detail, pressure,
        "Time in which at least one process (`some`), or all that had work (`full`), of the cgroup that the members share stood still for want of a resource, by `kevmon.pressure.resource` and `kevmon.pressure.kind`";
    "cpu_throttled_time", "kevmon.group.cpu.throttled.time", "s", Counter, Detail, throttled,
        "Time in which that cgroup was held back by its bound on CPU time";
    "cpu_throttled_periods", "kevmon.group.cpu.throttled.periods", "{period}", Counter, Detail, |r| integer(contention(r).and_then(|of| of.throttled_periods)),
        "Periods of that bound in which it was";
}
