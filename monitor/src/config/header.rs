//! Headers of requests: their names, where their values come from, and the list that OpenTelemetry's variables
//! hold. Values are secrets: no message repeats one, nor anything that may be a piece of one.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};

use super::{finding::quoted, resource_attributes::decode};

/// Where a secret stands that is not given as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file, whole.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
    /// In a file with this name in systemd's folder of credentials.
    Credential(String),
}

/// A header's value as a settings file gives it.
#[derive(Debug, Clone)]
pub(crate) enum HeaderValue {
    Text(SecretString),
    Place(SecretPlace),
}

/// The value of `--header`. What is refused is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderFlag {
    /// A header's name, lower-case, and where its value stands.
    Named(String, SecretPlace),
    /// What is wrong; what to do.
    Refused(String),
}

impl FromStr for HeaderFlag {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match parse_flag(text) {
            Ok((name, place)) => Self::Named(name, place),
            Err(error) => Self::Refused(error),
        })
    }
}

fn parse_flag(text: &str) -> Result<(String, SecretPlace), String> {
    const FORM: &str = "write NAME=file:PATH, NAME=env:VARIABLE or NAME=credential:NAME";
    let Some((header, value)) = text.split_once('=') else {
        return Err(format!("there is no = in it; {FORM}"));
    };
    let Ok(header) = name(header) else {
        return Err(format!("what stands before the = is no header's name; {FORM}"));
    };
    let place = match value.split_once(':') {
        Some(("file", path)) if !path.is_empty() => SecretPlace::File(PathBuf::from(path)),
        Some(("env", variable)) => SecretPlace::Variable(variable_name(variable)?),
        Some(("credential", credential)) => SecretPlace::Credential(credential_name(credential)?),
        _ => {
            return Err(format!(
                "the value of {header} is given as it is, or its place is unknown, and every user of the host sees \
                 flags; {FORM}"
            ));
        }
    };
    Ok((header, place))
}

/// Headers that belong to the transport.
const RESERVED: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A header's name, lower-case.
///
/// # Errors
/// "What is wrong; what to do". A text that is no name is not repeated: it may be a value.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || text.len() > 128 || !text.chars().all(allowed) {
        return Err(
            "a header's name is empty or holds what no name may; write letters, digits and -".to_owned(),
        );
    }
    let lower = text.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("grpc-") {
        Err(format!("the transport sets {} itself; remove it", quoted(&lower)))
    } else if lower.ends_with("-bin") {
        Err(format!(
            "{} would be binary metadata, which kevmon does not send; remove it",
            quoted(&lower)
        ))
    } else {
        Ok(lower)
    }
}

/// Whether a value is one that a header may have: visible ASCII, blanks and tabs inside.
pub(crate) fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// Why a value is refused.
pub(crate) const BAD_VALUE: &str =
    "a header's value is empty or holds what no header may; write visible ASCII, on one line";

/// A variable's name.
///
/// # Errors
/// "What is wrong; what to do", without the text: it may be a secret that a shell put there.
pub(crate) fn variable_name(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(word) {
        return Err("that is no variable's name; write the name alone, without $".to_owned());
    }
    Ok(text.to_owned())
}

/// A credential's name.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn credential_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 255 || text == "." || text == ".." || !text.chars().all(allowed) {
        return Err("that is no credential's name; write the name that LoadCredential= gives it".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether a header most likely carries a credential.
pub(crate) fn is_credential(name: &str) -> bool {
    ["authorization", "api-key", "token"]
        .iter()
        .any(|part| name.contains(part))
}

/// The headers of `key1=value1,key2=value2`, values percent-encoded (W3C Baggage without its properties). Of two with
/// one name the later holds.
///
/// # Errors
/// "What is wrong; what to do", with an entry's number or its name, never its value.
pub(crate) fn parse_list(list: &SecretString) -> Result<Vec<(String, SecretString)>, String> {
    const FORM: &str = "write name=value, separated by commas, values percent-encoded";
    let mut headers: Vec<(String, SecretString)> = Vec::new();
    let entries = list.expose_secret().split(',').map(str::trim);
    for (number, entry) in (1..).zip(entries).filter(|(_, entry)| !entry.is_empty()) {
        let Some((header, value)) = entry.split_once('=') else {
            return Err(format!("entry {number} has no =; {FORM}"));
        };
        let header = name(header).map_err(|error| format!("entry {number}: {error}"))?;
        let value = match decode(value.trim()) {
            Some(value) if is_value(&value) => SecretString::from(value),
            _ => {
                return Err(format!(
                    "the value of {header} is empty, wrongly encoded or holds what no header may; {FORM}"
                ));
            }
        };
        headers.retain(|(known, _)| *known != header);
        headers.push((header, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, want) in [
            ("a=1", &[("a", "1")][..]),
            (" Api-Key = k1 , b=2,", &[("api-key", "k1"), ("b", "2")]),
            (
                "authorization=Basic%20dTpw==",
                &[("authorization", "Basic dTpw==")],
            ),
            ("a=x%2Cy%3Bz", &[("a", "x,y;z")]),
            ("a=1,b=2,A=3", &[("b", "2"), ("a", "3")]),
            ("a=1;p=2", &[("a", "1;p=2")]),
        ] {
            let headers = parse_list(&SecretString::from(list)).expect(list);
            let shown: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.expose_secret()))
                .collect();
            assert_eq!(shown, want, "{list}");
        }
    }

    #[test]
    fn refused_lists_never_show_a_value() {
        for (list, message) in [
            ("s3cret", "entry 1 has no =; write name=value"),
            ("a=1,Bearer s3cret", "entry 2 has no ="),
            ("Bearer s3cret=", "entry 1: a header's name is empty or holds"),
            ("=s3cret", "entry 1: a header's name is empty"),
            ("a=s3cret%2", "the value of a is empty, wrongly encoded"),
            ("a=s3cret%zz", "the value of a is empty, wrongly encoded"),
            ("a=s3cret%+1", "the value of a is empty, wrongly encoded"),
            ("a=s3cret%0A", "the value of a is empty"),
            ("a=s3cret%ff", "the value of a is empty"),
            ("a=s3cret\u{fffd}", "the value of a is empty"),
            ("a=", "the value of a is empty"),
            ("host=s3cret", "entry 1: the transport sets \"host\" itself"),
            ("grpc-timeout=s3cret", "entry 1: the transport sets"),
            ("x-bin=s3cret", "entry 1: \"x-bin\" would be binary"),
        ] {
            let error = parse_list(&SecretString::from(list)).expect_err(list);
            assert!(
                error.starts_with(message) && error.contains("; "),
                "{list}: {error}"
            );
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn flags() {
        for (text, name, place) in [
            (
                "Authorization=file:/run/t",
                "authorization",
                SecretPlace::File(PathBuf::from("/run/t")),
            ),
            ("a=env:TOKEN", "a", SecretPlace::Variable("TOKEN".to_owned())),
            (
                "a=credential:otlp-token",
                "a",
                SecretPlace::Credential("otlp-token".to_owned()),
            ),
        ] {
            let Ok(flag) = text.parse::<HeaderFlag>();
            assert_eq!(flag, HeaderFlag::Named(name.to_owned(), place));
        }
        for (text, message) in [
            ("s3cret", "there is no = in it"),
            ("authorization: Bearer s3cret", "there is no = in it"),
            (
                "authorization: s3cret=",
                "what stands before the = is no header's name",
            ),
            ("a=s3cret", "the value of a is given as it is"),
            ("a=Bearer:s3cret", "the value of a is given as it is"),
            ("a=file:", "the value of a is given as it is"),
            ("a=env:", "that is no variable's name"),
            ("a=env:s3cret/+", "that is no variable's name"),
            ("a=credential:../s3cret", "that is no credential's name"),
            ("a=credential:..", "that is no credential's name"),
        ] {
            let Ok(HeaderFlag::Refused(error)) = text.parse::<HeaderFlag>() else {
                panic!("{text} was taken");
            };
            assert!(
                error.starts_with(message) && error.contains("; "),
                "{text}: {error}"
            );
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
