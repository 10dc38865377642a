//! Lines `name value key=value…`, as Scalyr's monitors write them; also as its harness prints them, with a time and the
//! monitor's name in front.

use super::{Parsed, Raw, RawValue, check_name, cut, number};

pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (index, line) in text.lines().enumerate() {
        let line = without_head(line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match value(line) {
            Ok(value) => parsed.push(index + 1, value),
            Err(message) => parsed.problem(index + 1, message),
        }
    }
    parsed
}

/// Without `2014-07-29 20:22:06.789Z [monitor()] `.
fn without_head(line: &str) -> &str {
    let is_dated = line.as_bytes().first().is_some_and(u8::is_ascii_digit) && line.contains(" [");
    match line.split_once("] ") {
        Some((_, rest)) if is_dated => rest,
        _ => line,
    }
}

fn value(line: &str) -> Result<RawValue, String> {
    let mut words = Words(line);
    let name = words.next().unwrap_or_else(|| Ok(String::new()))?;
    check_name(&name)?;
    let is_quoted = words.0.trim_start().starts_with('"');
    let value = match words.next() {
        None => return Err(format!("{name} has no value; write \"{name} 1\"")),
        Some(word) => word?,
    };
    let value = match (value.as_str(), number(&value)) {
        // What stands in quotes is a text, whatever it looks like.
        _ if is_quoted => Raw::Text(cut(value)),
        ("true" | "True", _) => Raw::Int(1),
        ("false" | "False", _) => Raw::Int(0),
        (_, Some(Ok(number))) => number,
        (_, Some(Err(wrong))) => return Err(format!("the value of {name} {wrong}")),
        (_, None) => Raw::Text(cut(value)),
    };
    let mut attributes = Vec::new();
    for word in words {
        let word = word?;
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("{word:?} is no field; write key=value"))?;
        check_name(key)?;
        attributes.push((key.to_owned(), cut(value.to_owned())));
    }
    Ok(RawValue {
        name,
        value,
        kind: None,
        attributes,
        time: None,
        group: None,
    })
}

/// Words between blanks; in double quotes a word may hold blanks, and `\"` and `\\`.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = Result<String, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start();
        if rest.is_empty() {
            self.0 = rest;
            return None;
        }
        let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => {
                    word.push(c);
                    escaped = false;
                }
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                c if c.is_whitespace() && !quoted => {
                    self.0 = &rest[at..];
                    return Some(Ok(word));
                }
                c => word.push(c),
            }
        }
        self.0 = "";
        Some(if quoted {
            Err("a quote is not closed; close it".to_owned())
        } else {
            Ok(word)
        })
    }
}
