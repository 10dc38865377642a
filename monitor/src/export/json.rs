//! Collections as JSON lines. The format is documented in docs/json-output.md and stable: keys are added, never
//! changed.

use serde_json::{Map, Value as Json, json};

use super::collection::{Collection, ServiceReading};
use crate::metrics::{INSTANA, JSON_ONLY, Number};

/// Version of the format.
const SCHEMA: u64 = 1;

/// One collection as one line, without the newline.
pub fn json_line(collection: &Collection) -> String {
    let plugins: Vec<Json> = collection
        .services
        .iter()
        .map(|service| plugin(collection, service))
        .collect();
    json!({
        "schema": SCHEMA,
        "time": collection.time,
        "source": collection.health.source,
        "complete": collection.health.complete,
        "final": collection.is_final,
        "unsettled": collection.unsettled,
        "tick_cpu_ns": collection.tick_cpu,
        "plugins": plugins,
    })
    .to_string()
}

fn plugin(collection: &Collection, service: &ServiceReading) -> Json {
    let clock = &collection.clock;
    let name = &service.plugin.service;
    let processes: Vec<Json> = service
        .reading
        .processes
        .iter()
        .map(|process| {
            json!({ "pid": process.key.tgid.0, "start_time": clock.unix(process.key.start), "name": process.name })
        })
        .collect();
    json!({
        "plugin": service.plugin.name,
        "service": { "id": name.id, "display_name": name.display(), "namespace": name.namespace },
        "start_time": clock.unix(service.reading.usage_start),
        "watch_start_time": clock.unix(service.reading.watch_start),
        "unsettled": service.reading.unsettled,
        "metrics": metrics(service),
        "processes": processes,
    })
}

/// The plain names, whatever the plugin's naming; absent where there is no value.
fn metrics(service: &ServiceReading) -> Map<String, Json> {
    INSTANA
        .iter()
        .chain(JSON_ONLY)
        .filter_map(|metric| {
            let value = (metric.values)(&service.reading).into_iter().next()?;
            let number = match value.number {
                Number::Integer(integer) => json!(integer),
                Number::Float(float) => json!(float),
            };
            Some((metric.name.to_owned(), number))
        })
        .collect()
}
