//! Lines `name value key=value…`, as Scalyr's monitors write them; also as its harness prints them, with a time and the
//! monitor's name in front.

use super::{Parsed, Raw, RawValue, check_name, cut, number, shown};

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
            .ok_or_else(|| format!("{} is no field; write key=value", shown(&word)))?;
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

/// Words between blanks; in double quotes a word may hold blanks, and the escapes of a JSON string.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = Result<String, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start();
        if rest.is_empty() {
            self.0 = rest;
            return None;
        }
        let (mut word, mut quoted, mut at) = (String::new(), false, 0);
        while let Some(c) = rest[at..].chars().next() {
            let from = at;
            at += c.len_utf8();
            match c {
                '\\' if quoted => {
                    let (letter, length) = escape(&rest[at..]);
                    word.extend(letter);
                    at += length;
                }
                '"' => quoted = !quoted,
                c if c.is_whitespace() && !quoted => {
                    self.0 = &rest[from..];
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

/// The character that an escape stands for, by what follows its backslash, and how many bytes of that it takes. What JSON
/// does not know stands for itself.
fn escape(behind: &str) -> (Option<char>, usize) {
    let Some(c) = behind.chars().next() else {
        return (None, 0);
    };
    let plain = match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            // A sign would be taken for part of the number.
            let is_hex = |text: &&str| text.bytes().all(|digit| digit.is_ascii_hexdigit());
            let unit = |text: &str| u16::from_str_radix(text.get(..4).filter(is_hex)?, 16).ok();
            let Some(first) = unit(&behind[1..]) else {
                return (Some(char::REPLACEMENT_CHARACTER), 1);
            };
            let second = behind[5..].strip_prefix("\\u").and_then(unit);
            let pair = [first, second.unwrap_or_default()];
            // Two halves of one character, or one that is whole.
            let (units, length) = match char::decode_utf16(pair).next() {
                Some(Ok(c)) if c.len_utf16() == 2 => (&pair[..], 11),
                _ => (&pair[..1], 5),
            };
            let c = char::decode_utf16(units.iter().copied()).next();
            return (c.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)), length);
        }
        other => other,
    };
    (Some(plain), c.len_utf8())
}
