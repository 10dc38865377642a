//! Panoptes' metrics groups, schema version 0.2: one JSON object, a list of them, or one on each line.

use serde_json::Value;

use super::{Group, Parsed, Raw, RawValue, bytes_of, check_name, cut};
use crate::plugin::collector::{METRICS_GROUP, MetricKind};

/// The version that is read.
const VERSION: &str = "0.2";
/// Fields of a resource that tell one from another, and become attributes of the same name. The others (its creation time
/// and its metadata) describe it, and may change while it stays the same resource.
const RESOURCE: [&str; 7] = [
    "resource_site",
    "resource_class",
    "resource_subclass",
    "resource_type",
    "resource_id",
    "resource_endpoint",
    "resource_plugin",
];

pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut number = 0;
    let mut each = |one: &Value, line, parsed: &mut Parsed| {
        group(one, (line, number), parsed);
        number += 1;
    };
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let from = documents.byte_offset();
        let line = line_at(text, from);
        match documents.next() {
            None => return parsed,
            Some(Ok(Value::Array(groups))) => groups.iter().for_each(|one| each(one, line, &mut parsed)),
            Some(Ok(one)) => each(&one, line, &mut parsed),
            Some(Err(error)) => {
                // The error counts lines from the beginning of the text.
                parsed.problem(
                    error.line().max(1),
                    format!("not JSON: {error}; print one object a line"),
                );
                return parsed;
            }
        }
    }
}

/// The line of the first character behind `from` that is no blank.
fn line_at(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let at = from + (rest.len() - rest.trim_start().len());
    1 + text
        .as_bytes()
        .iter()
        .take(at)
        .filter(|byte| **byte == b'\n')
        .count()
}

/// A metrics group that begins in `line` and is the output's `number`th.
fn group(group: &Value, (line, number): (usize, usize), parsed: &mut Parsed) {
    let text = |key: &str| group.get(key).and_then(Value::as_str);
    if text("metrics_group_schema_version") != Some(VERSION) {
        parsed.problem(
            line,
            format!(
                "the metrics group has not metrics_group_schema_version \"{VERSION}\"; no other is known"
            ),
        );
        return;
    }
    let of = Group {
        kind: cut(text("metrics_group_type").unwrap_or_default().to_owned()),
        number,
        interval: group.get("metrics_group_interval").and_then(nanos),
    };
    let attributes = match attributes(group, &of.kind) {
        Ok(attributes) => attributes,
        Err(message) => return parsed.problem(line, message),
    };
    let Some(metrics) = group.get("metrics").and_then(Value::as_array) else {
        return parsed.problem(
            line,
            "the metrics group has no list of metrics; write \"metrics\": []",
        );
    };
    let bytes = bytes_of(&attributes);
    let time = group.get("metrics_group_creation_timestamp").and_then(nanos);
    for one in metrics {
        match metric(one) {
            Ok(_) if !parsed.takes(line, attributes.len(), bytes) => {}
            Ok(value) => parsed.push(
                line,
                RawValue {
                    attributes: attributes.clone(),
                    group: Some(of.clone()),
                    time: value.time.or(time),
                    ..value
                },
            ),
            Err(message) => parsed.problem(line, message),
        }
    }
}

/// What tells the group's series from others of the same metrics: its type, its resource and its dimensions. A dimension
/// cannot stand for one of the others: they come first, and the first of a name is kept.
fn attributes(group: &Value, kind: &str) -> Result<Vec<(String, String)>, String> {
    let mut attributes = Vec::new();
    if !kind.is_empty() {
        attributes.push((METRICS_GROUP.to_owned(), kind.to_owned()));
    }
    match group.get("resource") {
        None | Some(Value::Null) => {}
        Some(Value::Object(resource)) => {
            for field in RESOURCE {
                let text = match resource.get(field) {
                    None | Some(Value::Null) => continue,
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(_) => return Err(format!("{field} is neither a string nor a number; correct it")),
                };
                if !text.is_empty() {
                    attributes.push((field.to_owned(), cut(text)));
                }
            }
        }
        Some(_) => return Err("the resource is no object; write \"resource\": {…}".to_owned()),
    }
    attributes.extend(dimensions(group)?);
    Ok(attributes)
}

/// Seconds in JSON, as ns to a microsecond; `None` for what is neither a length nor a Unix time.
fn nanos(seconds: &Value) -> Option<u64> {
    let seconds = seconds.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within the bounds of the condition"
    )]
    (seconds > 0.0 && seconds < 1e10).then(|| (seconds * 1e6).round() as u64 * 1_000)
}

fn dimensions(group: &Value) -> Result<Vec<(String, String)>, String> {
    let all = group.get("dimensions").and_then(Value::as_array);
    let all = all.map_or(&[][..], Vec::as_slice);
    all.iter()
        .map(|dimension| {
            let text = |key: &str| dimension.get(key).and_then(Value::as_str);
            match (text("dimension_name"), text("dimension_value")) {
                (Some(name), Some(value)) => {
                    check_name(name).map(|()| (name.to_owned(), cut(value.to_owned())))
                }
                _ => Err(
                    "a dimension has not dimension_name and dimension_value; give both as strings".to_owned(),
                ),
            }
        })
        .collect()
}

fn metric(metric: &Value) -> Result<RawValue, String> {
    let name = metric.get("metric_name").and_then(Value::as_str);
    let name = name.ok_or("a metric has no metric_name; give it as a string")?;
    check_name(name)?;
    let kind = match metric.get("metric_type") {
        Some(Value::String(kind)) if kind == "gauge" => MetricKind::Gauge,
        Some(Value::String(kind)) if kind == "counter" => MetricKind::Counter,
        _ => {
            return Err(format!(
                "{name} has no metric_type; write \"gauge\" or \"counter\""
            ));
        }
    };
    let value = metric.get("metric_value");
    let value = value
        .and_then(|value| {
            value
                .as_i64()
                .map(Raw::Int)
                .or_else(|| value.as_f64().map(Raw::Float))
        })
        .ok_or_else(|| format!("{name} has no metric_value; give it as a number"))?;
    let time = metric.get("metric_creation_timestamp").and_then(nanos);
    Ok(RawValue {
        name: name.to_owned(),
        value,
        kind: Some(kind),
        attributes: Vec::new(),
        time,
        group: None,
    })
}
