//! Collections as JSON lines. The format is documented in docs/json-output.md and stable: keys are added, never
//! changed.

use serde_json::{Map, Value as Json, json};

use super::{
    collection::{Collection, ServiceReading},
    json_detail,
    since::Continued,
    words::Previous,
};
use crate::plugin::collector::{Custom, CustomValue};
use crate::{
    metrics::{ExportReading, INSTANA, JSON_ONLY, Measure},
    plugin::Durations,
    process::{Reason, signal_name},
};

/// Version of the format.
const SCHEMA: u64 = 1;

/// One collection as one line, without the newline.
pub fn json_line(collection: &Collection) -> String {
    object(collection).to_string()
}

/// The same of a single run that keeps its totals.
pub fn json_line_continued(collection: &Collection, continued: &Continued<'_>) -> String {
    let mut object = object(collection);
    for (key, value) in continued.json() {
        object[key] = value;
    }
    object.to_string()
}

fn object(collection: &Collection) -> Json {
    let health = &collection.health;
    let plugins: Vec<Json> = collection
        .services
        .iter()
        .map(|service| plugin(collection, service))
        .collect();
    json!({
        "schema": SCHEMA,
        "time": collection.time,
        "source": health.source,
        "complete": health.complete,
        "complete_totals": health.complete_totals,
        "final": collection.is_final,
        "unsettled": collection.unsettled,
        "tick_cpu_ns": collection.tick_cpu,
        "records": known([
            ("sent", health.sent.map(Json::from)),
            ("received", health.received.map(Json::from)),
            ("lost", health.records_lost().map(Json::from)),
        ]),
        "lost": not_zero(&health.lost),
        "soft_failures": not_zero(&health.soft_failures),
        "unattributed_lives": health.unattributed,
        "outage_ns": health.outage_ns,
        "outages": health.outages,
        "exports": health.exports.iter().map(export).collect::<Vec<_>>(),
        "unconfirmed": health.unconfirmed,
        "plugins": plugins,
    })
}

/// How one signal fares on its way to one receiver.
fn export(lane: &ExportReading) -> Json {
    json!({
        "receiver": lane.receiver,
        "signal": lane.signal,
        "delivered": lane.delivered,
        "lost": not_zero(&lane.lost()),
        "repeated": lane.repeated,
        "failures": lane.failures,
        "unreadable_answers": lane.unread,
        "waiting_requests": lane.waiting_requests,
        "waiting_bytes": lane.waiting_bytes,
        "away": lane.away,
        "closed": lane.closed,
    })
}

/// Counts by name, but for those that are 0.
fn not_zero(counts: &[(&str, u64)]) -> Map<String, Json> {
    let counted = counts.iter().filter(|(_, count)| *count > 0);
    counted
        .map(|&(name, count)| (name.to_owned(), json!(count)))
        .collect()
}

/// What is not known is absent.
pub fn known<const N: usize>(pairs: [(&str, Option<Json>); N]) -> Map<String, Json> {
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// What one collection says of one plugin, as in [`json_line`].
pub fn plugin(collection: &Collection, service: &ServiceReading) -> Json {
    let (clock, wall, reading) = (&collection.clock, &collection.wall, &service.reading);
    let name = &service.plugin.service;
    let processes: Vec<Json> = reading
        .processes
        .iter()
        .map(|process| {
            json!({ "pid": process.key.tgid.0, "start_time": collection.boot.unix(process.key.start), "name": process.name })
        })
        .collect();
    let mut object = known([
        ("plugin", Some(json!(service.plugin.name))),
        (
            "service",
            Some(
                json!({ "id": name.id, "name": service.plugin.service_name(), "display_name": name.display(),
                "namespace": name.namespace }),
            ),
        ),
        ("start_time", Some(json!(clock.unix(reading.usage_start)))),
        ("watch_start_time", Some(json!(clock.unix(reading.watch_start)))),
        ("complete", Some(json!(service.complete.counts))),
        ("complete_totals", Some(json!(service.complete.totals))),
        ("unsettled", Some(json!(reading.unsettled))),
        ("metrics", Some(Json::Object(metrics(service)))),
        ("exits_by_reason", Some(exits(&reading.exits))),
        ("downtime", Some(durations(&reading.downtime))),
        ("lifetime", Some(durations(&reading.lifetime))),
        (
            "last_start_time",
            reading.last_start.map(|moment| json!(wall.unix(moment))),
        ),
        (
            "last_exit_time",
            reading.last_exit.map(|moment| json!(wall.unix(moment))),
        ),
        ("crash_loop", Some(json!(reading.crash_loop))),
    ]);
    object.insert("processes".to_owned(), Json::Array(processes));
    if let Some(detail) = &reading.detail {
        let keys = json_detail::keys(collection, detail).into_iter();
        object.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    }
    if let Some(instance) = &service.plugin.instance {
        object.insert("instance".to_owned(), json!(instance));
    }
    if !service.extra.custom.is_empty() {
        let custom = service.extra.custom.iter().map(custom).collect();
        object.insert("custom".to_owned(), Json::Array(custom));
    }
    Json::Object(object)
}

/// One value that a collector brought.
fn custom(value: &CustomValue) -> Json {
    let (kind, number, start) = match &value.value {
        Custom::Int(number) => ("gauge", json!(number), None),
        Custom::Float(number) => ("gauge", json!(number), None),
        Custom::IntSum { value, start } => ("counter", json!(value), Some(*start)),
        Custom::FloatSum { value, start } => ("counter", json!(value), Some(*start)),
        Custom::Text(text) => ("text", json!(text), None),
    };
    let attributes: Map<String, Json> = value
        .attributes
        .iter()
        .map(|(key, text)| (key.clone(), json!(text)))
        .collect();
    Json::Object(known([
        ("name", Some(json!(value.name))),
        ("type", Some(json!(kind))),
        ("value", Some(number)),
        ("unit", (!value.unit.is_empty()).then(|| json!(value.unit))),
        (
            "attributes",
            (!attributes.is_empty()).then(|| Json::Object(attributes)),
        ),
        ("start_time", start.map(|start| json!(start))),
        ("time", Some(json!(value.time))),
    ]))
}

/// The plain names, whatever the plugin's naming; absent where there is no value.
fn metrics(service: &ServiceReading) -> Map<String, Json> {
    INSTANA
        .iter()
        .chain(JSON_ONLY)
        .filter_map(|metric| {
            let number = match metric.total(&service.reading)? {
                Measure::Integer(integer) => json!(integer),
                Measure::Float(float) => json!(float),
                Measure::Time(_) | Measure::Durations(_) | Measure::Timing(_) | Measure::Spread(_) => {
                    return None;
                }
            };
            Some((metric.name.to_owned(), number))
        })
        .collect()
}

pub(super) fn exits(exits: &[(Reason, u64)]) -> Json {
    exits
        .iter()
        .map(|&(reason, count)| {
            let mut object = reason_keys(reason);
            object.insert("count".to_owned(), json!(count));
            Json::Object(object)
        })
        .collect()
}

/// `reason`, and `code`, or `signal`, `signal_name` and `core_dumped`.
pub fn reason_keys(reason: Reason) -> Map<String, Json> {
    let (code, signal) = match reason {
        Reason::Exit { code } => (Some(code), None),
        Reason::Signal { number, core_dumped } => (None, Some((number, core_dumped))),
        Reason::Oom | Reason::Unknown => (None, None),
    };
    known([
        ("reason", Some(json!(reason.name()))),
        ("code", code.map(Json::from)),
        ("signal", signal.map(|(number, _)| json!(number))),
        (
            "signal_name",
            signal.map(|(number, _)| json!(signal_name(number))),
        ),
        ("core_dumped", signal.map(|(_, dumped)| json!(dumped))),
    ])
}

/// The root whose place another one took; `start_time` in Unix ns.
pub fn previous_json(previous: Previous<'_>, start_time: Option<u64>) -> Json {
    let mut object = known([
        ("pid", Some(json!(previous.pid.0))),
        ("start_time", start_time.map(Json::from)),
        ("name", Some(json!(previous.name))),
    ]);
    object.extend(reason_keys(previous.reason));
    let sender = previous
        .sender
        .map(|(pid, name)| json!({ "pid": pid.0, "name": name }));
    let ago = previous
        .ago
        .map(|ago| json!(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    object.extend(known([("sender", sender), ("ended_ago_ns", ago)]));
    Json::Object(object)
}

fn durations(durations: &Durations) -> Json {
    Json::Object(known([
        ("count", Some(json!(durations.count()))),
        ("sum_ns", Some(json!(durations.sum))),
        ("last_ns", durations.last.map(Json::from)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{UnixClock, collection::tests::collection},
        *,
    };
    use crate::process::BootTime;

    fn line() -> Json {
        serde_json::from_str(&json_line(&collection())).expect("one object")
    }

    #[test]
    fn what_became_of_the_lives() {
        let plugin = &line()["plugins"][0];
        for (metric, value) in [
            ("exits", 4),
            ("restarts", 3),
            ("respawns", 2),
            ("reexecs", 1),
            ("unpaired_starts", 5),
            ("failed_starts", 6),
        ] {
            assert_eq!(plugin["metrics"][metric], json!(value), "{metric}");
        }
        assert_eq!(
            plugin["downtime"],
            json!({ "count": 1, "sum_ns": 250_000_000, "last_ns": 250_000_000 })
        );
        assert_eq!(plugin["lifetime"], json!({ "count": 0, "sum_ns": 0 }));
        assert_eq!(plugin["last_start_time"], json!(1_000_000_020_000_000_000_u64));
        assert_eq!(plugin["last_exit_time"], json!(7));
        assert_eq!(plugin["crash_loop"], json!(true));
        for key in [
            "downtime",
            "lifetime",
            "last_start_time",
            "last_downtime",
            "crash_loop",
        ] {
            assert_eq!(plugin["metrics"].get(key), None, "{key} has a place of its own");
        }
    }

    #[test]
    fn what_was_lost() {
        let line = line();
        assert_eq!(line["records"], json!({ "sent": 12, "received": 10, "lost": 2 }));
        assert_eq!(line["lost"], json!({ "sched_process_exit": 2, "marks": 1 }));
        assert_eq!(line["soft_failures"], json!({ "event_dropped": 4 }));
        assert_eq!(line["unattributed_lives"], json!(3));
        assert_eq!(
            (&line["outages"], &line["outage_ns"]),
            (&json!(1), &json!(1_500_000_000))
        );
    }

    #[test]
    fn how_the_exports_fare() {
        let mut collection = collection();
        collection.health.unconfirmed = 1;
        collection.health.exports = vec![ExportReading {
            receiver: "default".to_owned(),
            signal: "metrics",
            delivered: 40,
            refused: 3,
            dropped_age: 2,
            repeated: 1,
            failures: 5,
            waiting_requests: 6,
            waiting_bytes: 700,
            away: true,
            ..ExportReading::default()
        }];
        let line: Json = serde_json::from_str(&json_line(&collection)).expect("one object");
        assert_eq!(line["unconfirmed"], json!(1));
        assert_eq!(
            line["exports"],
            json!([{
                "receiver": "default", "signal": "metrics", "delivered": 40, "lost": { "refused": 3, "age": 2 },
                "repeated": 1, "failures": 5, "unreadable_answers": 0, "waiting_requests": 6, "waiting_bytes": 700, "away": true,
                "closed": false,
            }])
        );
    }

    #[test]
    fn a_step_of_the_clock_moves_what_happened_and_no_start() {
        let mut collection = collection();
        collection.wall = UnixClock::new(2_000_000_000_000_000_000, BootTime(0));
        let line: Json = serde_json::from_str(&json_line(&collection)).expect("one object");
        let plugin = &line["plugins"][0];
        for start in ["start_time", "watch_start_time"] {
            assert_eq!(plugin[start], json!(1_000_000_005_000_000_000_u64), "{start}");
        }
        assert_eq!(plugin["last_start_time"], json!(2_000_000_020_000_000_000_u64));
        assert_eq!(plugin["last_exit_time"], json!(7), "was told in Unix time");
    }

    #[test]
    fn a_source_without_records_has_no_counts_of_them() {
        let mut collection = collection();
        collection.health = crate::metrics::HealthReading::default();
        collection.services[0].reading.last_exit = None;
        let line: Json = serde_json::from_str(&json_line(&collection)).expect("one object");
        assert_eq!((&line["records"], &line["lost"]), (&json!({}), &json!({})));
        assert_eq!(line["plugins"][0].get("last_exit_time"), None);
    }

    #[test]
    fn a_reason_has_the_keys_that_belong_to_it() {
        let told = exits(&[
            (Reason::Exit { code: 7 }, 3),
            (
                Reason::Signal {
                    number: 11,
                    core_dumped: true,
                },
                1,
            ),
            (Reason::Oom, 2),
        ]);
        assert_eq!(
            told.to_string(),
            r#"[{"reason":"exit","code":7,"count":3},{"reason":"signal","signal":11,"signal_name":"SIGSEGV","core_dumped":true,"count":1},{"reason":"oom","count":2}]"#
        );
    }
}
