//! Values that only plugin files have: users, lists, settings of any type, filters and transforms.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeValue};

use super::{Value, Wrong, one, text};
use crate::{
    config::{finding::quoted, resource_filter::ResourceFilter, scalar::Scalar, schema::Kind},
    plugin::definition::User,
};

/// Most entries of a list.
const MOST: usize = 1000;

pub(super) fn read(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Wrong>> {
    match kind {
        Kind::Users => users(value).map(Value::Users),
        Kind::List => list(value, &|_| Ok(())).map(Value::Texts),
        Kind::Globs => list(value, &glob).map(Value::Texts),
        Kind::MetricName => {
            let name = text(value).map_err(one)?;
            metric_name(name)
                .map(|()| Value::Text(name.to_owned()))
                .map_err(|error| one(Wrong::from_error(value.span().start, &error)))
        }
        Kind::Texts => texts(value).map(Value::Map),
        Kind::Scalar => scalar(value).map(Value::Scalar).map_err(one),
        Kind::Scalars => scalars(value).map(Value::Scalars),
        Kind::ResourceFilter => {
            let written = text(value).map_err(one)?;
            ResourceFilter::parse(written)
                .map(Value::Filter)
                .map_err(|error| one(Wrong::from_error(value.span().start, &error)))
        }
        Kind::Transform => transform(value).map_err(one),
        _ => Ok(Value::Ignored),
    }
}

/// A metric's name by Scalyr's rule: a letter, then letters, digits, `.` and `_`; 255 at most.
pub(crate) fn metric_name(name: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let bad = characters.find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')));
    match bad {
        _ if name.len() > 255 => {
            Err("the metric's name is longer than 255 characters; shorten it".to_owned())
        }
        _ if !begins => Err(format!(
            "the metric's name {} does not begin with a letter; begin it with a-z or A-Z",
            quoted(name)
        )),
        Some(bad) => Err(format!(
            "the metric's name {} holds {bad:?}; use letters, digits, '.' and '_' only",
            quoted(name)
        )),
        None => Ok(()),
    }
}

fn glob(pattern: &str) -> Result<(), String> {
    let bad = pattern
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '*')));
    match bad {
        _ if pattern.is_empty() => Err("an entry is empty; name a metric, or remove it".to_owned()),
        Some(bad) => Err(format!(
            "{} holds {bad:?}; write a metric's name, with * for any characters",
            quoted(pattern)
        )),
        None => Ok(()),
    }
}

type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

fn list(value: &Spanned<DeValue<'_>>, check: Check<'_>) -> Result<Vec<String>, Vec<Wrong>> {
    let DeValue::Array(entries) = value.get_ref() else {
        return Err(one(Wrong::kind(
            value,
            "a list of strings",
            "write [\"first\", \"second\"]",
        )));
    };
    if entries.len() > MOST {
        let message = format!("has more than {MOST} entries");
        return Err(one(Wrong::new(value.span().start, message, "shorten it")));
    }
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries.iter() {
        match text(entry) {
            Ok(text) => match check(text) {
                Ok(()) => good.push(text.to_owned()),
                Err(error) => wrong.push(Wrong::from_error(entry.span().start, &error)),
            },
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

fn users(value: &Spanned<DeValue<'_>>) -> Result<Vec<User>, Vec<Wrong>> {
    let entries: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(list) if list.is_empty() => {
            let remedy = "name a user, or leave the key out";
            return Err(one(Wrong::new(value.span().start, "the list is empty", remedy)));
        }
        DeValue::Array(list) => list.iter().collect(),
        _ => vec![value],
    };
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        let remedy = "write a user's name, such as \"www-data\", or number";
        match entry.get_ref() {
            DeValue::String(name) if name.trim().is_empty() => {
                wrong.push(Wrong::new(entry.span().start, "is empty", remedy));
            }
            DeValue::String(name) => good.push(User {
                uid: name.parse().ok(),
                written: name.clone().into_owned(),
            }),
            DeValue::Integer(number) => match u32::from_str_radix(number.as_str(), number.radix()) {
                Ok(uid) => good.push(User {
                    written: uid.to_string(),
                    uid: Some(uid),
                }),
                Err(_) => {
                    let message = format!("{} is no user's number", quoted(number.as_str()));
                    wrong.push(Wrong::new(entry.span().start, message, "write 0 to 4294967295"));
                }
            },
            _ => wrong.push(Wrong::kind(entry, "a user's name or number", remedy)),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

fn texts(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, String>, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(one(Wrong::kind(
            value,
            "a table of strings",
            "write { NAME = \"value\" }",
        )));
    };
    let (mut good, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in table {
        match text(value) {
            Ok(text) => {
                good.insert(key.get_ref().to_string(), text.to_owned());
            }
            Err(mut error) => {
                error.message = format!("{} {}", quoted(key.get_ref()), error.message);
                wrong.push(error);
            }
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<Scalar, Wrong> {
    let out_of_range = |text: &str| {
        let message = format!("{} is out of range", quoted(text));
        Wrong::new(value.span().start, message, "write a smaller number")
    };
    match value.get_ref() {
        DeValue::String(text) => Ok(Scalar::Text(text.clone().into_owned())),
        DeValue::Boolean(flag) => Ok(Scalar::Flag(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Scalar::Int)
            .map_err(|_| out_of_range(number.as_str())),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Scalar::Float(float)),
            _ => Err(out_of_range(number.as_str())),
        },
        _ => Err(Wrong::kind(
            value,
            "a string, a number or a boolean",
            "write one value",
        )),
    }
}

fn scalars(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, Scalar>, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(one(Wrong::kind(
            value,
            "a table of settings",
            "write { gauss_mean = 8.5 }",
        )));
    };
    let (mut good, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in table {
        match scalar(value) {
            Ok(scalar) => {
                good.insert(key.get_ref().to_string(), scalar);
            }
            Err(mut error) => {
                error.message = format!("{} {}", quoted(key.get_ref()), error.message);
                wrong.push(error);
            }
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

/// `rate:<result group>:<counter,…>`, Panoptes' form.
fn transform(value: &Spanned<DeValue<'_>>) -> Result<Value, Wrong> {
    let remedy = "write \"rate:<result group>:<counter>,<counter>\"";
    let written = text(value)?;
    let at = value.span().start;
    let parts: Vec<&str> = written.splitn(3, ':').map(str::trim).collect();
    let [kind, result, counters] = parts[..] else {
        let message = format!("{} has not three parts", quoted(written));
        return Err(Wrong::new(at, message, remedy));
    };
    if kind != "rate" {
        let message = format!("the transform {} is not known", quoted(kind));
        return Err(Wrong::new(at, message, "\"rate\" is the only one"));
    }
    let counters: Vec<&str> = counters.split(',').map(str::trim).collect();
    for name in [result].into_iter().chain(counters.iter().copied()) {
        metric_name(name).map_err(|error| Wrong::from_error(at, &error))?;
    }
    Ok(Value::Rate {
        result: result.to_owned(),
        counters: counters.into_iter().map(str::to_owned).collect(),
    })
}
