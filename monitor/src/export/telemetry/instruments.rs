//! The instruments that are read when the SDK asks: kevmon as a process, its exports, its eBPF programs.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::{KeyValue, metrics::Meter};

use super::{Observed, integer};
use crate::metrics::ExportReading;

pub(super) fn observe_process(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    let state = Arc::clone(observed);
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("CPU time of kevmon")
        .with_callback(move |observer| observer.observe(read(&state).cpu as f64 / 1e9, &[]))
        .build();
    let state = Arc::clone(observed);
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Resident set of kevmon")
        .with_callback(move |observer| {
            if let Some(rss) = read(&state).rss {
                observer.observe(integer(rss), &[]);
            }
        })
        .build();
    let state = Arc::clone(observed);
    meter
        .i64_observable_up_down_counter("process.thread.count")
        .with_unit("{thread}")
        .with_description("Threads of kevmon")
        .with_callback(move |observer| {
            if let Some(threads) = read(&state).threads {
                observer.observe(integer(threads), &[]);
            }
        })
        .build();
}

/// One of the numbers that a lane has, with its name, unit and meaning.
type LaneNumber = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ExportReading) -> u64,
);

/// Those that only grow.
const LANE_COUNTERS: [LaneNumber; 4] = [
    (
        "kevmon.export.failures",
        "{attempt}",
        "Attempts to deliver a request that failed",
        |lane| lane.failures,
    ),
    (
        "kevmon.export.delivered",
        "{item}",
        "Data points, log records and spans that the receiver took",
        |lane| lane.delivered,
    ),
    (
        "kevmon.export.repeated",
        "{request}",
        "Requests that were sent again although an earlier attempt may have arrived",
        |lane| lane.repeated,
    ),
    (
        "kevmon.export.unreadable_answers",
        "{answer}",
        "Answers that could not be read, to requests that are not sent again",
        |lane| lane.unread,
    ),
];

/// Those that also fall.
const LANE_LEVELS: [LaneNumber; 2] = [
    (
        "kevmon.spool.requests",
        "{request}",
        "Requests that wait for the receiver, on disk and in memory",
        |lane| lane.waiting_requests,
    ),
    (
        "kevmon.spool.size",
        "By",
        "Their bytes: on disk compressed, and 256 for each request",
        |lane| lane.waiting_bytes,
    ),
];

pub(super) fn observe_exports(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    for (name, unit, description, value) in LANE_COUNTERS {
        let state = Arc::clone(observed);
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for lane in &read(&state).exports {
                    observer.observe(value(lane), &of_lane(lane));
                }
            })
            .build();
    }
    for (name, unit, description, value) in LANE_LEVELS {
        let state = Arc::clone(observed);
        meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for lane in &read(&state).exports {
                    observer.observe(integer(value(lane)), &of_lane(lane));
                }
            })
            .build();
    }
}

fn of_lane(lane: &ExportReading) -> [KeyValue; 2] {
    [
        KeyValue::new("kevmon.receiver", lane.receiver.clone()),
        KeyValue::new("kevmon.signal", lane.signal),
    ]
}

pub(super) fn observe_programs(meter: &Meter, observed: &Arc<Mutex<Observed>>) {
    let state = Arc::clone(observed);
    meter
        .f64_observable_counter("kevmon.ebpf.run_time")
        .with_unit("s")
        .with_description("Time spent in each eBPF program, while the kernel's statistics were on")
        .with_callback(move |observer| {
            for program in &read(&state).programs {
                let name = KeyValue::new("kevmon.program", program.name);
                observer.observe(program.nanos as f64 / 1e9, &[name]);
            }
        })
        .build();
    let state = Arc::clone(observed);
    meter
        .u64_observable_counter("kevmon.ebpf.runs")
        .with_unit("{run}")
        .with_description("Runs of each eBPF program, while the kernel's statistics were on")
        .with_callback(move |observer| {
            for program in &read(&state).programs {
                observer.observe(program.runs, &[KeyValue::new("kevmon.program", program.name)]);
            }
        })
        .build();
}

fn read(observed: &Mutex<Observed>) -> Observed {
    observed.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
