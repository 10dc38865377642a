//! What the JSON says of a plugin in detailed mode.

use serde_json::{Map, Value as Json, json};

use super::{collection::Collection, json::known};
use crate::{
    metrics::PREEMPTORS,
    plugin::detail::{DetailReading, Samples},
    process::{Contention, Quantity, Spread, Stall, SwitchTimes, spread::RELATIVE_ERROR},
};

/// Percentiles that are told.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// The keys that stand next to a plugin's `metrics`.
pub(super) fn keys(collection: &Collection, detail: &DetailReading) -> Vec<(&'static str, Json)> {
    let mut keys = vec![
        ("detail_start_time", json!(collection.clock.unix(detail.since))),
        ("detail_complete", json!(detail.is_complete)),
        ("sampled", sampled(&detail.samples)),
        ("peaks", peaks(collection, &detail.samples)),
    ];
    if let Some(times) = &detail.times {
        keys.push(("distributions", distributions(times)));
        keys.push(("cpu_migrations", json!(times.migrations)));
        keys.push(("preemptors", preemptors(times)));
        keys.push(("preemptors_others_ns", json!(times.others_time)));
        keys.push(("preemptors_unknown_ns", json!(times.unknown_time)));
    }
    if let Some(of) = &detail.contention {
        keys.push(("pressure", pressure(of)));
    }
    if let Some(memory) = &detail.memory {
        let memory = json!({
            "pss_bytes": memory.pss,
            "swap_bytes": memory.swap,
            "shared_bytes": memory.shared,
            "private_dirty_bytes": memory.private_dirty,
        });
        keys.push(("memory", memory));
    }
    keys
}

fn pressure(of: &Contention) -> Json {
    let stall = |stall: Stall| {
        Json::Object(known([
            ("some_ns", Some(json!(stall.some_ns))),
            ("full_ns", stall.full_ns.map(|nanos| json!(nanos))),
        ]))
    };
    Json::Object(known([
        ("cpu", of.cpu.map(stall)),
        ("memory", of.memory.map(stall)),
        ("io", of.io.map(stall)),
        ("throttled_ns", of.throttled_ns.map(|nanos| json!(nanos))),
        (
            "throttled_periods",
            of.throttled_periods.map(|count| json!(count)),
        ),
    ]))
}

fn distributions(times: &SwitchTimes) -> Json {
    json!({
        "relative_error": RELATIVE_ERROR,
        "run_queue_latency": spread(&times.run_queue),
        "on_cpu": spread(&times.on_cpu),
        "off_cpu_sleep": spread(&times.sleep),
        "off_cpu_uninterruptible": spread(&times.uninterruptible),
        "preempted": spread(&times.preempted),
    })
}

/// Times in ns, with keys that say so; shares as fractions; numbers as they are.
fn spread(spread: &Spread) -> Json {
    let suffix = if spread.quantity == Quantity::Time {
        "_ns"
    } else {
        ""
    };
    let value = |value: u64| match spread.quantity {
        Quantity::Share => json!(value as f64 / 1e9),
        Quantity::Time | Quantity::Number => json!(value),
    };
    let mut object = Map::new();
    object.insert("count".to_owned(), json!(spread.count));
    let mut add = |name: &str, number: Option<u64>| {
        if let Some(number) = number {
            object.insert(format!("{name}{suffix}"), value(number));
        }
    };
    add("sum", Some(spread.sum));
    add("min", spread.min);
    add("max", spread.max);
    for (name, share) in PERCENTILES {
        add(name, spread.percentile(share));
    }
    Json::Object(object)
}

fn preemptors(times: &SwitchTimes) -> Json {
    times
        .top_preemptors(PREEMPTORS)
        .into_iter()
        .map(|(name, by)| json!({ "name": name, "time_ns": by.time, "switches": by.switches }))
        .collect()
}

fn sampled(samples: &Samples) -> Json {
    let all = samples.all().into_iter();
    let all = all.filter(|(_, sampled)| sampled.spread.count > 0);
    Json::Object(
        all.map(|(name, sampled)| (name.to_owned(), spread(&sampled.spread)))
            .collect(),
    )
}

/// The largest sample of the interval, and when it was.
fn peaks(collection: &Collection, samples: &Samples) -> Json {
    let all = samples.all().into_iter().map(|(name, sampled)| {
        let peak = sampled.peak.map(|peak| {
            let value = match sampled.spread.quantity {
                Quantity::Share => json!(peak.value as f64 / 1e9),
                Quantity::Time | Quantity::Number => json!(peak.value),
            };
            json!({ "value": value, "time": collection.wall.unix(peak.at) })
        });
        (name, peak)
    });
    let mut object = Map::new();
    for (name, peak) in all {
        object.extend(known([(name, peak)]));
    }
    Json::Object(object)
}
