//! Resource attributes for everything that kevmon sends: `[resource]` of the settings file, and `OTEL_RESOURCE_ATTRIBUTES`.

use std::collections::BTreeMap;

use super::finding::quoted;

/// The variable (OpenTelemetry specification 1.51, "Resource SDK", "Specifying resource information via an environment
/// variable").
pub(crate) const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The variable that names an application's service.
pub(crate) const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Attributes at most: the specification's default limit.
const MOST: usize = 128;
/// Longest name and value, characters.
const LONGEST_NAME: usize = 256;
const LONGEST_VALUE: usize = 1024;

/// Why an attribute cannot be given for all resources together, and where to say it instead; `None` where it can.
pub(crate) fn instead(name: &str) -> Option<(&'static str, &'static str)> {
    let of = |beginning: &str| name.starts_with(beginning);
    if name == "service.name" {
        Some((
            "each plugin is a service of its own, and kevmon another",
            "write name = \"…\" in [service] of a plugin file",
        ))
    } else if name == "service.namespace" {
        Some((
            "each plugin is a service of its own, and kevmon another",
            "write namespace = \"…\" in [service] of a plugin file",
        ))
    } else if name == "service.instance.id" {
        Some((
            "kevmon makes one for each service",
            "set host.id, which it is made of",
        ))
    } else if of("service.") {
        Some((
            "each plugin is a service of its own, and kevmon another",
            "write it into attributes in [service] of a plugin file",
        ))
    } else if of("kevmon.") {
        Some(("kevmon sets it itself", "remove it"))
    } else if of("process.") {
        Some((
            "it is about one process, and a resource is about a whole service",
            "remove it",
        ))
    } else {
        None
    }
}

/// Holds an attribute to a name and a value that receivers take: 1 to 256 and 1 to 1024 characters, none of them a control
/// character, no blanks around the name.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let shown = quoted(name);
    let control = |text: &str| text.chars().any(char::is_control);
    if name.is_empty() {
        Err("an attribute has no name; name it or remove it".to_owned())
    } else if name.trim() != name || control(name) || name.chars().count() > LONGEST_NAME {
        Err(format!(
            "{shown} is no attribute's name; write up to {LONGEST_NAME} characters, without blanks around them and without \
             control characters"
        ))
    } else if value.trim().is_empty() {
        Err(format!(
            "the attribute {shown} is empty; write a value or remove it"
        ))
    } else if control(value) {
        Err(format!(
            "the attribute {shown} holds a control character; write its value on one line, without tabs"
        ))
    } else if value.chars().count() > LONGEST_VALUE {
        Err(format!(
            "the attribute {shown} is longer than {LONGEST_VALUE} characters; shorten it"
        ))
    } else {
        Ok(())
    }
}

/// The attributes of `key1=value1,key2=value2`: W3C Baggage without its properties, keys and values percent-encoded. A pair
/// without a value, as a manifest's variable that is not set leaves it, says nothing. Of two with one name the later
/// holds.
///
/// # Errors
/// What is wrong with the first pair that is; the specification then wants the whole variable left out.
pub(crate) fn parse_variable(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    let pairs = text.split(',').map(str::trim);
    for (number, pair) in (1..).zip(pairs).filter(|(_, pair)| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("entry {number}, {}, has no =", quoted(pair)));
        };
        let decoded = |text: &str| {
            decode(text.trim()).ok_or_else(|| {
                format!(
                    "entry {number}, {}, is wrongly percent-encoded: %XX, UTF-8, is what it takes",
                    quoted(pair)
                )
            })
        };
        let (name, value) = (decoded(name)?, decoded(value)?);
        if value.is_empty() && !name.is_empty() {
            continue;
        }
        if let Err(error) = check(&name, &value) {
            let (message, _) = error.split_once("; ").unwrap_or((&error, ""));
            return Err(format!("entry {number}: {message}"));
        }
        attributes.insert(name, value);
    }
    if attributes.len() > MOST {
        return Err(format!("holds {} attributes, more than {MOST}", attributes.len()));
    }
    Ok(attributes)
}

/// `text` with its `%XX` replaced; `None` where one is broken, or what comes of it is not UTF-8. `+` is itself.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if digits.starts_with('+') {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_grammar() {
        for (text, expected) in [
            ("host.name=node-7", &[("host.name", "node-7")][..]),
            ("a=1,b=2", &[("a", "1"), ("b", "2")]),
            (" a = 1 ,\tb =2, ", &[("a", "1"), ("b", "2")]),
            (",,a=1,,", &[("a", "1")]),
            ("", &[]),
            (",", &[]),
            ("a=1,a=2,b=3", &[("a", "2"), ("b", "3")]),
            ("a=x%2Cy%3Dz%20%25", &[("a", "x,y=z %")]),
            ("a=caf%C3%A9,b=%e2%82%bf", &[("a", "café"), ("b", "₿")]),
            ("a=café", &[("a", "café")]),
            ("k%2Ee%2Cy=v", &[("k.e,y", "v")]),
            ("a=b=c==", &[("a", "b=c==")]),
            ("a=x;p=1", &[("a", "x;p=1")]),
            ("a=1+1", &[("a", "1+1")]),
            ("a=\"x y\"", &[("a", "\"x y\"")]),
            ("a='x'", &[("a", "'x'")]),
            ("a=x y", &[("a", "x y")]),
            ("a=me@example.com", &[("a", "me@example.com")]),
            // As a manifest leaves it where the variable behind it is not set.
            ("host.name=,a=1", &[("a", "1")]),
            ("a=1,a=", &[("a", "1")]),
        ] {
            let read = parse_variable(text).expect(text);
            let shown: Vec<(&str, &str)> = read
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn one_wrong_pair_spoils_the_variable() {
        let long = format!("a=1,{}=1", "x".repeat(257));
        let long_value = format!("a={}", "x".repeat(1025));
        let many: Vec<String> = (0..129).map(|number| format!("a{number}=1")).collect();
        for (text, message) in [
            ("host.name", "entry 1, \"host.name\", has no ="),
            ("a=1,b", "entry 2, \"b\", has no ="),
            ("a=1,,b c", "entry 3, \"b c\", has no ="),
            ("=1", "entry 1: an attribute has no name"),
            ("=", "entry 1: an attribute has no name"),
            ("a=1,%20b=1", "entry 2: \" b\" is no attribute's name"),
            ("a=%", "entry 1, \"a=%\", is wrongly percent-encoded"),
            ("a=%2", "entry 1, \"a=%2\", is wrongly percent-encoded"),
            ("a=%zz", "wrongly percent-encoded"),
            ("a=%+1", "wrongly percent-encoded"),
            ("a=100%,b=1", "entry 1, \"a=100%\", is wrongly percent-encoded"),
            ("a=%ff", "wrongly percent-encoded"),
            ("a%=1", "wrongly percent-encoded"),
            (
                "a=x%0Ay",
                "entry 1: the attribute \"a\" holds a control character",
            ),
            ("a=x%00", "holds a control character"),
            ("a=%20", "entry 1: the attribute \"a\" is empty"),
            (&long, "entry 2: \"xxx"),
            (
                &long_value,
                "entry 1: the attribute \"a\" is longer than 1024 characters",
            ),
            (&many.join(","), "holds 129 attributes, more than 128"),
        ] {
            let error = parse_variable(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn what_belongs_to_no_resource_in_general() {
        for (name, refused) in [
            ("service.name", true),
            ("service.namespace", true),
            ("service.instance.id", true),
            ("service.version", true),
            ("service.criticality", true),
            ("kevmon.plugin", true),
            ("process.pid", true),
            ("process.executable.name", true),
            ("host.name", false),
            ("host.id", false),
            ("host.arch", false),
            ("os.type", false),
            ("k8s.node.name", false),
            ("services", false),
            ("deployment.environment.name", false),
        ] {
            assert_eq!(instead(name).is_some(), refused, "{name}");
        }
    }
}
