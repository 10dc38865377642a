//! Outputs that name no values of themselves: text, in which a key or a regular expression finds each value, and JSON, in
//! which a pointer does.

use serde_json::Value;

use super::{Parsed, Raw, RawValue, cut, number};
use crate::plugin::collector::{MetricSpec, Place};

pub(super) fn text(text: &str, metrics: &[MetricSpec]) -> Parsed {
    each(metrics, |place| {
        let found = match place {
            Place::Key(key) => by_key(text, key),
            Place::Regex(regex) => regex
                .captures(text)
                .and_then(|found| Some(found.get(1)?.as_str())),
            Place::Name(_) | Place::Pointer(_) => None,
        };
        Ok(found.map(raw))
    })
}

/// What follows `key` on the first line that begins with it, up to the next blank: `Threads: 4`, `pgfault 17`, `a=1`.
fn by_key<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?;
        let value = rest.trim_start_matches([' ', '\t', ':', '=']);
        let parted = value.len() < rest.len();
        parted.then(|| value.split_whitespace().next()).flatten()
    })
}

pub(super) fn json(text: &str, metrics: &[MetricSpec]) -> Parsed {
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => {
            let mut parsed = Parsed::default();
            parsed.problem(
                error.line().max(1),
                format!("not JSON: {error}; answer with a JSON document"),
            );
            return parsed;
        }
    };
    each(metrics, |place| {
        let Place::Pointer(pointer) = place else {
            return Ok(None);
        };
        match document.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(Ok(Raw::Int(i64::from(*flag))))),
            Some(Value::String(text)) => Ok(Some(raw(text))),
            Some(Value::Number(number)) => {
                let number = number
                    .as_i64()
                    .map(Raw::Int)
                    .or_else(|| number.as_f64().map(Raw::Float));
                Ok(number.map(Ok))
            }
            Some(Value::Array(_) | Value::Object(_)) => {
                let place = if pointer.is_empty() {
                    "the whole document"
                } else {
                    pointer
                };
                Err(format!("{place} is no single value; point to a number"))
            }
        }
    })
}

type Found = Result<Option<Result<Raw, &'static str>>, String>;

fn each(metrics: &[MetricSpec], find: impl Fn(&Place) -> Found) -> Parsed {
    let mut parsed = Parsed::default();
    for metric in metrics {
        let name = &metric.name;
        match find(&metric.place) {
            Ok(Some(Ok(value))) => parsed.push(
                1,
                RawValue {
                    name: name.clone(),
                    value,
                    kind: None,
                    attributes: Vec::new(),
                    time: None,
                    group: None,
                },
            ),
            Ok(Some(Err(wrong))) => parsed.problem(1, format!("the value of {name} {wrong}")),
            Ok(None) => parsed.problem(
                1,
                format!("{name} was not found; correct its key, regex or pointer"),
            ),
            Err(message) => parsed.problem(1, message),
        }
    }
    parsed
}

fn raw(text: &str) -> Result<Raw, &'static str> {
    match number(text) {
        Some(number) => number,
        None if text == "true" => Ok(Raw::Int(1)),
        None if text == "false" => Ok(Raw::Int(0)),
        None => Ok(Raw::Text(cut(text.to_owned()))),
    }
}
