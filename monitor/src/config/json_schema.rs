//! The JSON Schema (draft 2020-12) of plugin files, for editors: made of the same table of keys that reading follows,
//! with the descriptions of `docs/plugins.md`.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    duration,
    kind::Kind,
    schema::{ANY, COLLECTOR, INSTANCE, Key, METRIC, Role, SETTINGS, Schema},
    size,
};

const DOCS: &str = include_str!("../../../docs/plugins.md");
const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";
const SETTING_NAME: &str = "^[A-Za-z][A-Za-z0-9_]{0,63}$";
const SERVICE_NAME: &str = "^[^\\u0000-\\u001f\\u007f]*$";
const METRIC_NAME: &str = "^[A-Za-z][A-Za-z0-9._]*$";

/// A schema that takes each of the three layouts of a plugin file. It knows types, words and bounds; what keys have to
/// do with each other is for `kevmon` itself to check.
pub fn json_schema() -> Value {
    let layouts = [
        (Schema::Native, "kevmon's own schema", &["schema"][..]),
        (Schema::Guide, "The guide's schema", &["service"]),
        (Schema::Repository, "The repository's schema", &["metadata"]),
    ];
    let layouts = layouts.map(|(schema, title, required)| {
        let mut layout = object(schema, "");
        insert(&mut layout, "title", json!(title));
        insert(&mut layout, "required", json!(required));
        layout
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kevmon plugin file",
        "description": "plugin.toml: the processes to watch and the service that their numbers are reported as.",
        "type": "object",
        "anyOf": layouts,
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// The object that `table` is (empty: the file), with the tables in it.
fn object(schema: Schema, table: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in schema.keys().filter(|key| key.table == table && key.name != ANY) {
        properties.insert(key.name.to_owned(), property(key));
        let item = [INSTANCE, COLLECTOR, METRIC].contains(&key.table);
        let always = item || (key.role == Role::ProcessName && schema != Schema::Native);
        if always && key.default == "required" {
            required.push(key.name);
        }
    }
    for inner in tables_in(schema, table) {
        let name = inner.rsplit('.').next().unwrap_or(inner);
        let value = if inner == SETTINGS {
            let patterns = Map::from_iter([(SETTING_NAME.to_owned(), object(schema, SETTINGS))]);
            json!({ "type": "object", "patternProperties": patterns, "additionalProperties": false })
        } else if [INSTANCE, COLLECTOR, METRIC].contains(&inner) {
            json!({ "type": "array", "items": object(schema, inner) })
        } else if let Some(any) = schema.keys().find(|key| key.table == inner && key.name == ANY) {
            json!({ "type": "object", "additionalProperties": property(any) })
        } else {
            object(schema, inner)
        };
        let name = if inner == SETTINGS { "settings" } else { name };
        properties.insert(name.to_owned(), value);
    }
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        insert(&mut object, "required", json!(required));
    }
    object
}

/// The tables that stand in `table`.
fn tables_in(schema: Schema, table: &str) -> Vec<&'static str> {
    let mut tables: Vec<&str> = Vec::new();
    for key in schema.keys() {
        let parent = match key.table {
            SETTINGS => "",
            other => other.rsplit_once('.').map_or("", |(parent, _)| parent),
        };
        if !key.table.is_empty() && parent == table && !tables.contains(&key.table) {
            tables.push(key.table);
        }
    }
    tables
}

fn property(key: &Key) -> Value {
    let mut property = of_kind(key.kind);
    let description = match key.role {
        Role::NoEffect => Some("Accepted, without effect in kevmon.".to_owned()),
        _ => described(&key.path()),
    };
    if let Some(description) = description {
        insert(&mut property, "description", json!(description));
    }
    let default = key
        .default
        .strip_prefix('`')
        .and_then(|text| text.strip_suffix('`'));
    if let Some(default) = default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        insert(&mut property, "default", default);
    }
    property
}

/// The last column of the documentation's row about `path`.
fn described(path: &str) -> Option<String> {
    let row = DOCS
        .lines()
        .find(|line| line.starts_with(&format!("| `{path}` |")))?;
    let text = row.trim_end_matches([' ', '|']).rsplit(" | ").next()?;
    Some(text.replace('`', ""))
}

fn of_kind(kind: Kind) -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let list = |of: Value| json!({ "type": "array", "items": of, "minItems": 1 });
    let or_list = |of: Value| json!({ "anyOf": [of.clone(), list(of)] });
    match kind {
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
        Kind::ServiceName => {
            json!({ "type": "string", "minLength": 1, "maxLength": 256, "pattern": SERVICE_NAME })
        }
        Kind::Name => json!({ "type": "string", "pattern": NAME }),
        Kind::MetricName => json!({ "type": "string", "pattern": METRIC_NAME }),
        Kind::Template
        | Kind::Pattern
        | Kind::Host
        | Kind::Url
        | Kind::File
        | Kind::Target
        | Kind::Listen
        | Kind::ResourceFilter
        | Kind::Transform
        | Kind::ValueRegex => text,
        Kind::FreeText => json!({ "type": "string" }),
        Kind::PatternOrPatterns | Kind::Endpoints => or_list(text),
        Kind::Patterns => json!({ "type": "array", "items": text }),
        Kind::Globs => json!({ "type": "array", "items": text }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Users => {
            or_list(json!({ "anyOf": [text, { "type": "integer", "minimum": 0, "maximum": u32::MAX - 1 }] }))
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Length(bounds) => length(bounds),
        Kind::Count(bounds) => {
            json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() })
        }
        Kind::Bytes(bounds) => json!({ "anyOf": [
            { "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() },
            { "type": "string", "minLength": 1, "examples": [size::short(*bounds.start()), size::short(*bounds.end())] },
        ] }),
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Choices(words) => list(json!({ "enum": words })),
        Kind::Attributes | Kind::ResourceAttributes | Kind::Texts | Kind::Headers => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Kind::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Scalars => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Kind::Version => json!({ "const": 1 }),
        Kind::Anything => json!({}),
    }
}

fn length(bounds: &RangeInclusive<Duration>) -> Value {
    let (least, most) = (bounds.start(), bounds.end());
    json!({ "anyOf": [
        { "type": "number", "minimum": least.as_secs_f64(), "maximum": most.as_secs_f64() },
        {
            "type": "string",
            "pattern": "^ *[0-9.]+ *(ms|s|m|h)? *$",
            "examples": [duration::short(*least), duration::short(*most)],
        },
    ] })
}

#[cfg(test)]
#[path = "json_schema_tests.rs"]
mod tests;
