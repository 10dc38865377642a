//! The schema is one, knows every key, and takes and refuses files as reading does.

use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use super::json_schema;
use crate::config::{
    schema::{ANY, KEYS},
    tests::{GUIDE, NATIVE},
};

/// Words of a schema that this checker and so the schema may use.
const WORDS: [&str; 21] = [
    "$schema",
    "title",
    "description",
    "type",
    "anyOf",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "items",
    "minItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "enum",
    "const",
    "default",
    "examples",
    "not",
];

/// Fails where `schema` is none.
fn check_schema(schema: &Value) {
    let Some(object) = schema.as_object() else {
        assert!(schema.is_boolean(), "{schema}");
        return;
    };
    for (word, value) in object {
        assert!(WORDS.contains(&word.as_str()), "{word}");
        match word.as_str() {
            "properties" | "patternProperties" => {
                value.as_object().expect("object").values().for_each(check_schema)
            }
            "additionalProperties" | "items" => check_schema(value),
            "anyOf" => value.as_array().expect("list").iter().for_each(check_schema),
            "pattern" => drop(Regex::new(value.as_str().expect("text")).expect("a pattern")),
            "minimum" | "maximum" => assert!(value.is_number()),
            "required" | "enum" => assert!(value.as_array().is_some_and(|list| !list.is_empty())),
            _ => {}
        }
    }
    if let Some(default) = object.get("default") {
        assert!(fits(schema, default), "the default of {schema}");
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("no type {other}"),
    }
}

/// Whether `value` is as `schema` says, of the words above.
fn fits(schema: &Value, value: &Value) -> bool {
    let Some(words) = schema.as_object() else {
        return schema == &json!(true);
    };
    let number = |word: &str| schema.get(word).and_then(Value::as_f64);
    words.iter().all(|(word, rule)| match word.as_str() {
        "type" => match rule {
            Value::Array(types) => types
                .iter()
                .any(|name| is_type(value, name.as_str().expect("text"))),
            name => is_type(value, name.as_str().expect("text")),
        },
        "anyOf" => rule
            .as_array()
            .expect("list")
            .iter()
            .any(|rule| fits(rule, value)),
        "enum" => rule.as_array().expect("list").contains(value),
        "const" => rule == value,
        "required" => rule
            .as_array()
            .expect("list")
            .iter()
            .all(|name| value.get(name.as_str().expect("text")).is_some()),
        "items" => value
            .as_array()
            .is_none_or(|list| list.iter().all(|value| fits(rule, value))),
        "minItems" => value
            .as_array()
            .is_none_or(|list| list.len() as u64 >= rule.as_u64().expect("number")),
        "pattern" => value.as_str().is_none_or(|text| {
            Regex::new(rule.as_str().expect("text"))
                .expect("a pattern")
                .is_match(text)
        }),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().expect("number")),
        "minimum" | "maximum" => value.as_f64().is_none_or(|value| {
            number("minimum").is_none_or(|least| value >= least)
                && number("maximum").is_none_or(|most| value <= most)
        }),
        "properties" => value.as_object().is_none_or(|members| {
            members.iter().all(|(name, value)| {
                if let Some(rule) = rule.get(name) {
                    return fits(rule, value);
                }
                let patterns = words.get("patternProperties").and_then(Value::as_object);
                patterns.is_some() || fits(words.get("additionalProperties").unwrap_or(&json!(true)), value)
            })
        }),
        "patternProperties" => value.as_object().is_none_or(|members| {
            members.iter().all(|(name, value)| {
                rule.as_object().expect("object").iter().any(|(pattern, rule)| {
                    Regex::new(pattern).expect("a pattern").is_match(name) && fits(rule, value)
                })
            })
        }),
        "additionalProperties"
            if !words.contains_key("properties") && !words.contains_key("patternProperties") =>
        {
            value
                .as_object()
                .is_none_or(|members| members.values().all(|value| fits(rule, value)))
        }
        _ => true,
    })
}

fn takes(text: &str) -> bool {
    let value: Value = toml::from_str(text).expect("TOML");
    fits(&json_schema(), &value)
}

#[test]
fn it_is_a_schema() {
    check_schema(&json_schema());
}

#[test]
fn every_key_is_in_it_with_a_description() {
    let schema = json_schema();
    for key in KEYS.iter() {
        let path = key.path();
        let found = schema["anyOf"]
            .as_array()
            .expect("layouts")
            .iter()
            .find_map(|layout| {
                let mut at = layout;
                for part in path.split('.') {
                    at = at.get("items").unwrap_or(at);
                    if part == ANY && at.get("patternProperties").is_none() {
                        return at.get("additionalProperties").filter(|any| any.is_object());
                    }
                    at = match at.get("patternProperties") {
                        Some(patterns) => patterns.as_object()?.values().next()?,
                        None => at.get("properties")?.get(part)?,
                    };
                }
                Some(at)
            });
        let found = found.unwrap_or_else(|| panic!("the schema misses {path}"));
        assert!(found["description"].is_string(), "{path}");
    }
}

#[test]
fn it_takes_the_shipped_plugins() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the plugins") {
        let path = entry.expect("an entry").path().join("plugin.toml");
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        assert!(takes(&text), "{}", path.display());
        files += 1;
    }
    assert!(files >= 5, "{files}");
    assert!(takes(GUIDE) && takes(NATIVE));
}

#[test]
fn it_takes_and_refuses() {
    let native = |rest: &str| format!("schema = 1\nservice.process_name = 'a'\n{rest}");
    for (text, taken) in [
        (native(""), true),
        ("schema = 2".to_owned(), false),
        (native("[monitoring]\ninterval = 0.001"), false),
        (native("[monitoring]\ninterval = '5s'"), true),
        (native("[monitoring]\nintervall = 5"), false),
        (native("[monitoring]\nmode = 'slow'"), false),
        (native("[settings.n]\ntype = 'int'\nmax = 5"), true),
        // That a bound needs a type is for kevmon to say.
        (native("[settings.n]\nmax = 5"), true),
        (native("[settings.n]\nmost = 5"), false),
        (native("[settings.1]\ntype = 'int'"), false),
        (native("[[instance]]\nid = 'a'\nuser = ['x', 5]"), true),
        (native("[[instance]]\nuser = 'x'"), false),
        (
            native(
                "[[collector]]\nname = 'a'\nkind = 'file'\npath = '/x'\n[[collector.metric]]\nname = 'a.b'\nkey = 'x'",
            ),
            true,
        ),
        (
            native("[[collector]]\nname = 'a'\nkind = 'file'\n[[collector.metric]]\nname = '1'"),
            false,
        ),
        (
            native("[[collector]]\nname = 'a'\nkind = 'command'\ncommand = '/bin/x'"),
            false,
        ),
        (native("[transforms]\na = 'rate:a:b'"), true),
        ("[metadata]\nprocess_name = 'a'\nschema = 1".to_owned(), false),
        ("[plugin]\nname = 'a'".to_owned(), false),
    ] {
        assert_eq!(takes(&text), taken, "{text}");
    }
}
