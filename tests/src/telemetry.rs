//! What kevmon tells of itself through the SDK, as a receiver has it.

use serde_json::Value;

use crate::{
    fake::{Arrival, Signal},
    points::{CUMULATIVE, Instrument, Point},
    push::{COUNTER, UP_DOWN},
    tick::Tick,
    watched::Watched,
};

/// A histogram.
pub const HISTOGRAM: Instrument = Instrument::Histogram {
    temporality: CUMULATIVE,
};
/// The table of docs/export.md, but for what the kernel's statistics bring, and what goes wrong.
pub const OWN: [(&str, Instrument, &str); 6] = [
    ("kevmon.collection.duration", HISTOGRAM, "s"),
    ("kevmon.export.duration", HISTOGRAM, "s"),
    ("kevmon.export.delivered", COUNTER, "{item}"),
    ("process.cpu.time", COUNTER, "s"),
    ("process.memory.usage", UP_DOWN, "By"),
    ("process.thread.count", UP_DOWN, "{thread}"),
];

/// Those that have points once something has gone wrong.
pub const TROUBLES: [&str; 5] = [
    "kevmon.export.failures",
    "kevmon.export.unreadable_answers",
    "kevmon.export.repeated",
    "kevmon.spool.requests",
    "kevmon.spool.size",
];

/// Settings for one receiver, with telemetry every second.
pub fn settings(watched: &Watched, url: &str) -> String {
    watched.write_settings(&format!(
        "[export]\nendpoint = \"{url}\"\n[telemetry]\ninterval = \"1s\"\n"
    ))
}

/// The points of one of kevmon's own metrics, in order of arrival.
pub fn own(points: &[Point], metric: &str) -> Vec<Point> {
    points
        .iter()
        .filter(|point| {
            point
                .resource
                .get("service.name")
                .is_some_and(|name| name == "kevmon")
        })
        .filter(|point| point.metric == metric)
        .cloned()
        .collect()
}

/// The values of one lane's series.
pub fn of_lane(points: &[Point], metric: &str, receiver: &str, signal: &str) -> Vec<f64> {
    own(points, metric)
        .iter()
        .filter(|point| {
            point.attributes["kevmon.receiver"] == receiver && point.attributes["kevmon.signal"] == signal
        })
        .map(|point| point.value.as_f64())
        .collect()
}

/// Whether spans came.
pub fn has_traces(arrivals: &[Arrival]) -> bool {
    arrivals.iter().any(|arrival| arrival.signal == Signal::Traces)
}

/// How a lane fared by a line of the JSON.
pub fn lane<'a>(tick: &'a Tick, receiver: &str, signal: &str) -> &'a Value {
    let lanes = tick.0["exports"].as_array().expect("a list of lanes");
    let mut found = lanes
        .iter()
        .filter(|lane| lane["receiver"] == receiver && lane["signal"] == signal);
    found
        .next()
        .unwrap_or_else(|| panic!("no {signal} of {receiver}: {}", tick.0))
}
