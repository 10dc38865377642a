//! One value of a configuration file: from TOML, against the kind that the schema wants, to something typed.

mod export;
mod plugin;
mod resource;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use regex::Regex;
use toml::{Spanned, de::DeValue};

use super::{
    duration,
    endpoint::{self, Url},
    finding::{nearest, quoted},
    header::{HeaderValue, SecretPlace},
    pattern,
    receiver::JsonTarget,
    resource_filter::ResourceFilter,
    scalar::Scalar,
    schema::Kind,
    template::{Template, check_facts},
};
use crate::plugin::definition::User;

/// Longest text that names something, in characters.
const LONGEST_TEXT: usize = 256;

/// Resource attributes that say who is speaking; kevmon sets them itself.
const RESERVED_ATTRIBUTES: [&str; 7] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "host.id",
    "host.name",
    "process.executable.name",
    "kevmon.",
];

pub(crate) use self::export::{EndpointText, check_endpoint_name, listen_address};

/// A checked value.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    Template(Template),
    /// Each pattern as it was written, and compiled. Empty only where the list was.
    Patterns(Vec<Regex>),
    Flag(bool),
    Duration(Duration),
    Port(u16),
    Attributes(BTreeMap<String, String>),
    Count(u64),
    Bytes(u64),
    /// Each with the byte it stands at.
    Endpoints(Vec<(usize, EndpointText)>),
    Url(Url),
    Headers(Vec<(String, HeaderValue)>),
    Place(SecretPlace),
    Target(JsonTarget),
    Listen(SocketAddr),
    Users(Vec<User>),
    Texts(Vec<String>),
    Map(BTreeMap<String, String>),
    Scalar(Scalar),
    Scalars(BTreeMap<String, Scalar>),
    Filter(ResourceFilter),
    /// A transform, but for the group that it is of.
    Rate {
        result: String,
        counters: Vec<String>,
    },
    Regex(Regex),
    /// Nothing to keep.
    Ignored,
}

/// What is wrong with a value, and at which byte of the file.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

impl Wrong {
    fn new(at: usize, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// `text` is "what is wrong; what to do", as the errors of the modules beside this one are.
    fn from_error(at: usize, text: &impl ToString) -> Self {
        let text = text.to_string();
        match text.split_once("; ") {
            Some((message, remedy)) => Self::new(at, message, remedy),
            None => Self {
                at,
                message: text,
                remedy: None,
            },
        }
    }

    fn kind(value: &Spanned<DeValue<'_>>, wanted: &str, remedy: &str) -> Self {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Self::new(
            value.span().start,
            format!("must be {wanted}, found {found}"),
            remedy,
        )
    }
}

/// Reads `value` as `kind`; everything that is wrong with it at once.
pub(crate) fn read(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Wrong>> {
    match kind {
        Kind::Anything => Ok(Value::Ignored),
        Kind::FreeText => text(value).map(|text| Value::Text(text.to_owned())).map_err(one),
        Kind::Text => named(value).map(|text| Value::Text(text.to_owned())).map_err(one),
        Kind::Name => name(value).map(Value::Text).map_err(one),
        Kind::Template => {
            let written = named(value).map_err(one)?;
            Template::parse(written)
                .map(Value::Template)
                .map_err(|error| one(Wrong::from_error(value.span().start, &error)))
        }
        Kind::ServiceName => service_name(value).map(Value::Template).map_err(one),
        Kind::Pattern => pattern(value)
            .map(|pattern| Value::Patterns(vec![pattern]))
            .map_err(one),
        Kind::PatternOrPatterns => match value.get_ref() {
            DeValue::Array(list) if list.is_empty() => Err(one(Wrong::new(
                value.span().start,
                "the list is empty",
                "name at least one process",
            ))),
            DeValue::Array(_) => patterns(value),
            _ => pattern(value)
                .map(|pattern| Value::Patterns(vec![pattern]))
                .map_err(one),
        },
        Kind::Patterns => patterns(value),
        Kind::Flag => match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
            _ => Err(one(Wrong::kind(
                value,
                "true or false",
                "write it without quotes",
            ))),
        },
        Kind::Length(bounds) => length(value, bounds).map(Value::Duration).map_err(one),
        Kind::Host => {
            let host = text(value).map_err(one)?;
            endpoint::host(host)
                .map(Value::Text)
                .map_err(|error| one(Wrong::from_error(value.span().start, &error)))
        }
        Kind::Port => port(value).map(Value::Port).map_err(one),
        Kind::Choice(words) => choice(value, words).map(Value::Text).map_err(one),
        Kind::Attributes => attributes(value).map(Value::Attributes),
        Kind::ResourceAttributes => resource::read(value).map(Value::Attributes),
        Kind::Count(_)
        | Kind::Choices(_)
        | Kind::Bytes(_)
        | Kind::Endpoints
        | Kind::Url
        | Kind::Headers
        | Kind::File
        | Kind::Target
        | Kind::Listen => export::read(kind, value),
        Kind::Users
        | Kind::List
        | Kind::Globs
        | Kind::MetricName
        | Kind::Texts
        | Kind::Scalar
        | Kind::Scalars
        | Kind::ResourceFilter
        | Kind::Transform => plugin::read(kind, value),
        Kind::ValueRegex => value_regex(value).map(Value::Regex).map_err(one),
        Kind::Version => match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 && number.as_str() == "1" => Ok(Value::Ignored),
            DeValue::Integer(number) => Err(one(Wrong::new(
                value.span().start,
                format!(
                    "schema {} is not known to this version of kevmon",
                    number.as_str()
                ),
                "write schema = 1",
            ))),
            _ => Err(one(Wrong::kind(value, "an integer", "write schema = 1"))),
        },
    }
}

fn one(wrong: Wrong) -> Vec<Wrong> {
    vec![wrong]
}

fn text<'v>(value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(Wrong::kind(value, "a string", "put it in quotes")),
    }
}

fn named<'v>(value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, Wrong> {
    let text = text(value)?;
    if text.trim().is_empty() {
        Err(Wrong::new(
            value.span().start,
            "is empty",
            "write a name, or leave the key out",
        ))
    } else if text.chars().count() > LONGEST_TEXT {
        let message = format!("is longer than {LONGEST_TEXT} characters");
        Err(Wrong::new(value.span().start, message, "shorten it"))
    } else {
        Ok(text)
    }
}

fn service_name(value: &Spanned<DeValue<'_>>) -> Result<Template, Wrong> {
    let (written, at) = (named(value)?, value.span().start);
    check_service_name(written).map_err(|error| Wrong::from_error(at, &error))?;
    Template::parse(written).map_err(|error| Wrong::from_error(at, &error))
}

/// Holds what is sent as `service.name` to 1 to 256 characters, none of them a control character; the error says "what is
/// wrong; what to do".
pub(crate) fn check_service_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        Err("is empty; write a name, or leave the key out".to_owned())
    } else if name.chars().count() > LONGEST_TEXT {
        Err(format!("is longer than {LONGEST_TEXT} characters; shorten it"))
    } else if let Some(bad) = name.chars().find(|c| c.is_control()) {
        Err(format!(
            "{} holds the control character {bad:?}; write the name on one line, without tabs",
            quoted(name)
        ))
    } else {
        Ok(())
    }
}

fn name(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let text = text(value)?;
    check_name(text)
        .map(|()| text.to_owned())
        .map_err(|error| Wrong::from_error(value.span().start, &error))
}

/// Holds a plugin name to 1 to 64 of `A-Z a-z 0-9 . _ -`; the error says "what is wrong; what to do".
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("the name is empty; write one, or leave the key out to use the folder's name".to_owned())
    } else if name.chars().count() > 64 {
        Err(format!(
            "the name {} is longer than 64 characters; shorten it",
            quoted(name)
        ))
    } else if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        let name = quoted(name);
        Err(format!(
            "the name {name} holds {bad:?}; use letters A-Z a-z, digits, '.', '_' and '-' only"
        ))
    } else {
        Ok(())
    }
}

fn pattern(value: &Spanned<DeValue<'_>>) -> Result<Regex, Wrong> {
    let remedy = "write a name, or a regular expression such as \"^nginx$\"";
    let DeValue::String(text) = value.get_ref() else {
        return Err(Wrong::kind(value, "a string", remedy));
    };
    pattern::compile(text).map_err(|error| Wrong::new(value.span().start, error.to_string(), remedy))
}

fn value_regex(value: &Spanned<DeValue<'_>>) -> Result<Regex, Wrong> {
    let remedy = "write a regular expression whose first group is the value, such as 'queued: ([0-9]+)'";
    let DeValue::String(text) = value.get_ref() else {
        return Err(Wrong::kind(value, "a string", remedy));
    };
    let at = value.span().start;
    // Checked as every pattern is, and compiled as it is written: what it finds is no name.
    pattern::compile(text).map_err(|error| Wrong::new(at, error.to_string(), remedy))?;
    match Regex::new(text) {
        Ok(regex) if regex.captures_len() > 1 => Ok(regex),
        Ok(_) => Err(Wrong::new(at, "has no group for the value", remedy)),
        Err(error) => Err(Wrong::new(at, error.to_string(), remedy)),
    }
}

fn patterns(value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Wrong>> {
    let DeValue::Array(list) = value.get_ref() else {
        return Err(one(Wrong::kind(
            value,
            "a list of strings",
            "write [\"first\", \"second\"]",
        )));
    };
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for entry in list.iter() {
        match pattern(entry) {
            Ok(pattern) => pattern::push_new(&mut good, pattern),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(Value::Patterns(good))
    } else {
        Err(wrong)
    }
}

fn length(
    value: &Spanned<DeValue<'_>>,
    bounds: &std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Wrong> {
    let at = value.span().start;
    let number = |digits: &str| digits.parse::<f64>().unwrap_or(f64::NAN);
    let length = match value.get_ref() {
        DeValue::String(text) => duration::parse(text, bounds),
        DeValue::Float(float) => duration::bounded(number(float.as_str()), float.as_str(), bounds),
        DeValue::Integer(integer) if integer.radix() == 10 => {
            duration::bounded(number(integer.as_str()), integer.as_str(), bounds)
        }
        DeValue::Integer(integer) => {
            // Beyond 32 bits of seconds the value is out of bounds, whatever it is exactly.
            let seconds = u32::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(u32::MAX);
            duration::bounded(f64::from(seconds), &integer.to_string(), bounds)
        }
        _ => {
            let remedy =
                "write seconds (60, 0.5) or a string with a unit (\"500ms\", \"2s\", \"1m\", \"1h\")";
            return Err(Wrong::kind(value, "a length of time", remedy));
        }
    };
    length.map_err(|error| Wrong::from_error(at, &error))
}

fn port(value: &Spanned<DeValue<'_>>) -> Result<u16, Wrong> {
    let DeValue::Integer(integer) = value.get_ref() else {
        return Err(Wrong::kind(
            value,
            "an integer",
            "write a port from 1 to 65535, without quotes",
        ));
    };
    match u16::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(port) if port != 0 => Ok(port),
        _ => {
            let message = format!("{} is not a port", quoted(integer.as_str()));
            Err(Wrong::new(value.span().start, message, "write 1 to 65535"))
        }
    }
}

fn choice(value: &Spanned<DeValue<'_>>, words: &[&'static str]) -> Result<String, Wrong> {
    let text = text(value)?;
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let remedy = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of {}", words.join(", ")),
    };
    Err(Wrong::new(
        value.span().start,
        format!("{} is not known", quoted(text)),
        remedy,
    ))
}

/// Where to say what a reserved attribute would say.
fn instead_of_attribute(name: &str) -> &'static str {
    match name {
        "service.name" => "write name = \"…\" in [service], or in an [[instance]] for that one",
        "service.namespace" => "write namespace = \"…\" in [service]",
        _ => "choose another name or remove it",
    }
}

fn attributes(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, String>, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(one(Wrong::kind(
            value,
            "a table of strings",
            "write { \"service.version\" = \"1.0\" }",
        )));
    };
    let (mut good, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in table {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        let reserved = |own: &str| name == own || own.ends_with('.') && name.starts_with(own);
        match value.get_ref() {
            _ if name.trim().is_empty() => {
                wrong.push(Wrong::new(at, "an attribute has no name", "name it or remove it"));
            }
            _ if RESERVED_ATTRIBUTES.into_iter().any(reserved) => {
                let message = format!("kevmon sets the attribute {} itself", quoted(name));
                wrong.push(Wrong::new(at, message, instead_of_attribute(name)));
            }
            DeValue::String(text) => match check_facts(text) {
                Ok(()) => {
                    good.insert(name.to_owned(), text.clone().into_owned());
                }
                Err(error) => {
                    let error = format!("the attribute {}: {error}", quoted(name));
                    wrong.push(Wrong::from_error(value.span().start, &error));
                }
            },
            DeValue::Table(_) => {
                let message = format!("the attribute {} is a table", quoted(name));
                wrong.push(Wrong::new(
                    at,
                    message,
                    "quote a dotted name: \"service.version\" = \"1.0\"",
                ));
            }
            _ => {
                let mut error = Wrong::kind(value, "a string", "put it in quotes");
                error.message = format!("the attribute {} {}", quoted(name), error.message);
                wrong.push(error);
            }
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}
