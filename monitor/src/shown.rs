//! Text from elsewhere as it may be shown to a person.
//!
//! Names of processes, paths, collectors' output and receivers' errors are chosen by others. A control character moves a
//! terminal's cursor; U+202E shows the rest of a line from right to left; U+2028 breaks a line; U+E0041 is invisible. So
//! whatever kevmon writes for people goes through this module: its log, standard error, tables, reports. Each such code
//! point is shown by its number, as Rust writes it: `\u{202e}`.
//!
//! Data keeps its text: OTLP attributes and the Prometheus page are sent as they are. JSON on standard output has the same
//! code points as JSON escapes, which every parser turns back.

use std::{borrow::Cow, fmt::Write};

/// Code points that are not shown: general categories Cc, Cf, Zl and Zp, and `Default_Ignorable_Code_Point` (Unicode 16;
/// `UnicodeData.txt`, `DerivedCoreProperties.txt`). The bidirectional controls are among Cf. Sorted; both ends belong to it.
const UNSAFE: &[(u32, u32)] = &[
    (0x0000, 0x001f),
    (0x007f, 0x009f),
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

/// Whether `letter` moves, breaks, reorders or hides text instead of being text.
pub fn is_unsafe(letter: char) -> bool {
    let code = u32::from(letter);
    let place = UNSAFE.partition_point(|(_, last)| *last < code);
    UNSAFE.get(place).is_some_and(|(first, _)| *first <= code)
}

/// `letter` by its number, or by its usual escape: `\n`, `\u{202e}`.
pub fn escape(letter: char) -> impl Iterator<Item = char> {
    // escape_default names what is ASCII, and numbers all else.
    letter.escape_default()
}

/// `text` on one line, with every unsafe code point escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe, |shown, letter| shown.extend(escape(letter)))
}

/// `text` of several lines, with every unsafe code point but line feeds and tabs escaped. Names within it have to be
/// [`printable`] already: a line feed of theirs would be kept.
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_escaped = |letter| !matches!(letter, '\n' | '\t') && is_unsafe(letter);
    escaped(text, is_escaped, |shown, letter| shown.extend(escape(letter)))
}

/// A line of the log, or a message, with its line feed at the end and no other.
pub fn one_line(text: &str) -> Cow<'_, str> {
    match text.strip_suffix('\n') {
        Some(line) => match printable(line) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(line) => Cow::Owned(line + "\n"),
        },
        None => printable(text),
    }
}

/// JSON `text` of the same values, with JSON's escapes for unsafe code points. Outside strings JSON has none but white space.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_escaped = |letter| !matches!(letter, '\n' | '\r' | '\t') && is_unsafe(letter);
    escaped(text, is_escaped, |shown, letter| {
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _: std::fmt::Result = write!(shown, "\\u{unit:04x}");
        }
    })
}

/// Writes a message to standard error: `kevmon: message`. Nothing can be done where that is closed.
pub fn complain(message: impl std::fmt::Display) {
    eprintln!("kevmon: {}", lines(&message.to_string()));
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_escaped(letter) {
            write(&mut shown, letter);
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every unsafe code point.
    pub fn all() -> impl Iterator<Item = char> {
        ('\0'..=char::MAX).filter(|letter| is_unsafe(*letter))
    }

    #[test]
    fn the_table_is_what_unicode_says() {
        let classes = regex::Regex::new(
            r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}]$",
        );
        let classes = classes.unwrap();
        let mut buffer = [0; 4];
        for letter in '\0'..=char::MAX {
            let by_class = classes.is_match(letter.encode_utf8(&mut buffer));
            assert_eq!(is_unsafe(letter), by_class, "{letter:?}");
        }
    }

    #[test]
    fn what_is_shown_holds_none_and_json_means_the_same() {
        for letter in all() {
            let text = format!("a{letter}b");
            let shown = printable(&text);
            assert!(!shown.chars().any(is_unsafe), "{letter:?}: {shown}");
            assert!(
                shown.starts_with("a\\") && shown.ends_with('b'),
                "{letter:?}: {shown}"
            );
            let kept = matches!(letter, '\n' | '\t');
            assert_eq!(lines(&text) == text, kept, "{letter:?}");
            assert_eq!(one_line(&format!("{text}\n")), format!("{shown}\n"));
            let written = json(&serde_json::Value::String(text.clone()).to_string()).into_owned();
            assert!(!written.chars().any(is_unsafe), "{letter:?}: {written}");
            let read: String = serde_json::from_str(&written).unwrap();
            assert_eq!(read, text);
        }
        for text in ["", "plain", "Grüße 日本 עברית 🦀", "a\\b"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }
}
