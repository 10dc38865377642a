//! Values that say where collections go and how: URLs, headers, files, sizes.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use secrecy::SecretString;
use toml::{Spanned, de::DeValue};

use super::{Value, Wrong, choice, named, one, text};
use crate::config::{
    endpoint::{Url, withhold_user_info},
    finding::{nearest, quoted},
    header::{self, HeaderValue, SecretPlace},
    receiver::{DEFAULT_RECEIVER, JsonTarget},
    schema::Kind,
    size,
};

/// What a plugin's file calls an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndpointText {
    /// A name of the settings file.
    Name(String),
    /// A URL, as written, and its parts.
    Url(String, Url),
}

/// Holds an endpoint's name to 1 to 64 of `A-Z a-z 0-9 _ -`.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn check_endpoint_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name == DEFAULT_RECEIVER {
        Err(format!(
            "{} is what [export] describes; write it there",
            quoted(name)
        ))
    } else if name.is_empty() || name.chars().count() > 64 || !name.chars().all(allowed) {
        let name = quoted(withhold_user_info(name));
        Err(format!(
            "{name} is no endpoint's name; write 1 to 64 letters A-Z a-z, digits, '_' and '-'"
        ))
    } else {
        Ok(())
    }
}

/// Reads `value` as `kind`, of those kinds that say where collections go and how.
pub(super) fn read(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Wrong>> {
    match kind {
        Kind::Count(bounds) => count(value, bounds).map(Value::Count).map_err(one),
        Kind::Bytes(bounds) => bytes(value, bounds).map(Value::Bytes).map_err(one),
        Kind::Choices(words) => choices(value, words).map(Value::Texts),
        Kind::Endpoints => endpoints(value).map(Value::Endpoints),
        Kind::Url => url(value).map(Value::Url).map_err(one),
        Kind::Headers => headers(value).map(Value::Headers),
        Kind::File => file(value).map(Value::Place).map_err(one),
        Kind::Target => named(value)
            .map(|text| match text {
                "-" => JsonTarget::Stdout,
                path => JsonTarget::File(path.into()),
            })
            .map(Value::Target)
            .map_err(one),
        Kind::Listen => listen(value).map(Value::Listen).map_err(one),
        _ => Ok(Value::Ignored),
    }
}

fn url(value: &Spanned<DeValue<'_>>) -> Result<Url, Wrong> {
    Url::parse_whole(named(value)?.trim()).map_err(|error| Wrong::from_error(value.span().start, &error))
}

fn choices(value: &Spanned<DeValue<'_>>, words: &'static [&'static str]) -> Result<Vec<String>, Vec<Wrong>> {
    let listed = || words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>();
    let remedy = format!("write a list of one or more of {}", listed().join(", "));
    let DeValue::Array(list) = value.get_ref() else {
        return Err(one(Wrong::kind(value, "a list of strings", &remedy)));
    };
    if list.is_empty() {
        return Err(one(Wrong::new(value.span().start, "the list is empty", remedy)));
    }
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for entry in list.iter() {
        match choice(entry, words) {
            Ok(word) if good.contains(&word) => {}
            Ok(word) => good.push(word),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

fn endpoints(value: &Spanned<DeValue<'_>>) -> Result<Vec<(usize, EndpointText)>, Vec<Wrong>> {
    let DeValue::Array(list) = value.get_ref() else {
        return endpoint(value).map(|one| vec![one]).map_err(one);
    };
    if list.is_empty() {
        let remedy = "name at least one endpoint, or leave the key out for the default one";
        return Err(one(Wrong::new(value.span().start, "the list is empty", remedy)));
    }
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for entry in list.iter() {
        match endpoint(entry) {
            Ok((_, text)) if good.iter().any(|(_, known)| *known == text) => {}
            Ok(endpoint) => good.push(endpoint),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

/// A URL has a scheme; everything else is a name, known or not.
fn endpoint(value: &Spanned<DeValue<'_>>) -> Result<(usize, EndpointText), Wrong> {
    let text = named(value)?.trim();
    let at = value.span().start;
    if !text.contains("://") && !text.contains('@') {
        return Ok((at, EndpointText::Name(text.to_owned())));
    }
    let url = Url::parse_whole(text).map_err(|error| Wrong::from_error(at, &error))?;
    Ok((at, EndpointText::Url(text.to_owned(), url)))
}

fn headers(value: &Spanned<DeValue<'_>>) -> Result<Vec<(String, HeaderValue)>, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        let remedy = "write { authorization = { file = \"/path\" } }";
        return Err(one(Wrong::kind(value, "a table of headers", remedy)));
    };
    let (mut good, mut wrong) = (Vec::<(String, HeaderValue)>::new(), Vec::new());
    for (key, value) in table {
        let at = key.span().start;
        let name = match header::name(key.get_ref()) {
            Ok(name) if good.iter().any(|(known, _)| *known == name) => {
                let message = format!("the header {name} stands here twice, in different cases");
                wrong.push(Wrong::new(at, message, "remove one of them"));
                continue;
            }
            Ok(name) => name,
            Err(error) => {
                wrong.push(Wrong::from_error(at, &error));
                continue;
            }
        };
        match header_value(&name, value) {
            Ok(value) => good.push((name, value)),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

fn header_value(name: &str, value: &Spanned<DeValue<'_>>) -> Result<HeaderValue, Wrong> {
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(text) if header::is_value(text.trim()) => {
            Ok(HeaderValue::Text(SecretString::from(text.trim())))
        }
        DeValue::String(_) => {
            let mut wrong = Wrong::from_error(at, &header::BAD_VALUE);
            wrong.message = format!("{name}: {}", wrong.message);
            Err(wrong)
        }
        DeValue::Table(_) => place(value, &["env", "file", "credential"]).map(HeaderValue::Place),
        _ => {
            let remedy =
                "write \"text\", { env = \"VARIABLE\" }, { file = \"/path\" } or { credential = \"NAME\" }";
            let mut wrong = Wrong::kind(value, "a string or one place to read it from", remedy);
            wrong.message = format!("{name} {}", wrong.message);
            Err(wrong)
        }
    }
}

fn file(value: &Spanned<DeValue<'_>>) -> Result<SecretPlace, Wrong> {
    match value.get_ref() {
        DeValue::String(_) => named(value).map(|path| SecretPlace::File(PathBuf::from(path))),
        DeValue::Table(_) => place(value, &["credential"]),
        _ => {
            let remedy = "write \"/path\" or { credential = \"NAME\" }";
            Err(Wrong::kind(value, "a path or a credential", remedy))
        }
    }
}

/// `{ KIND = "…" }`, of one of `kinds`.
fn place(value: &Spanned<DeValue<'_>>, kinds: &[&'static str]) -> Result<SecretPlace, Wrong> {
    let at = value.span().start;
    let forms: Vec<String> = kinds.iter().map(|kind| format!("{{ {kind} = \"…\" }}")).collect();
    let remedy = format!("write {}", forms.join(" or "));
    let DeValue::Table(table) = value.get_ref() else {
        return Err(Wrong::kind(value, "a table", &remedy));
    };
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(Wrong::new(at, "must name exactly one place", remedy));
    };
    let (kind, at) = (key.get_ref().as_ref(), key.span().start);
    if !kinds.contains(&kind) {
        let near = nearest(kind, kinds.iter().copied());
        let remedy = near.map_or(remedy, |near| format!("did you mean \"{near}\"?"));
        return Err(Wrong::new(
            at,
            format!("{} is no place to read from", quoted(kind)),
            remedy,
        ));
    }
    // Not repeated, whatever it is: it may be the secret itself.
    let text = text(value)?;
    let read = match kind {
        "env" => header::variable_name(text).map(SecretPlace::Variable),
        "credential" => header::credential_name(text).map(SecretPlace::Credential),
        _ if text.trim().is_empty() => Err("the path is empty; write one".to_owned()),
        _ => Ok(SecretPlace::File(PathBuf::from(text))),
    };
    read.map_err(|error| Wrong::from_error(value.span().start, &error))
}

/// An address to listen on.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    match text.trim().parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(format!(
            "{} is not an address with a port; write 127.0.0.1:9464 or [::1]:9464",
            quoted(withhold_user_info(text))
        )),
    }
}

fn listen(value: &Spanned<DeValue<'_>>) -> Result<SocketAddr, Wrong> {
    listen_address(text(value)?).map_err(|error| Wrong::from_error(value.span().start, &error))
}

fn bytes(value: &Spanned<DeValue<'_>>, bounds: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let at = value.span().start;
    let size = match value.get_ref() {
        DeValue::String(text) => size::parse(text, bounds),
        DeValue::Integer(integer) if integer.radix() == 10 => size::parse(integer.as_str(), bounds),
        DeValue::Integer(integer) => {
            let bytes = u64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(u64::MAX);
            size::bounded(bytes, &integer.to_string(), bounds)
        }
        _ => {
            let remedy = "write bytes, or a string with a unit (\"64MiB\")";
            return Err(Wrong::kind(value, "a size", remedy));
        }
    };
    size.map_err(|error| Wrong::from_error(at, &error))
}

fn count(value: &Spanned<DeValue<'_>>, bounds: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let remedy = format!("write {} to {}, without quotes", bounds.start(), bounds.end());
    let DeValue::Integer(integer) = value.get_ref() else {
        return Err(Wrong::kind(value, "an integer", &remedy));
    };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(count) if bounds.contains(&count) => Ok(count),
        _ => {
            let message = format!("{} is out of bounds", quoted(integer.as_str()));
            Err(Wrong::new(value.span().start, message, remedy))
        }
    }
}
