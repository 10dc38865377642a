//! Writes `plugin.toml`: keys, values and comments, so that whatever a text holds stays a text.

use std::fmt::Write as _;

use super::Value;
use crate::shown::{is_unsafe, printable};

/// A plugin file in the making.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
}

impl Writer {
    /// One in kevmon's own layout, with a comment on where it comes from.
    pub(super) fn new(origin: &str) -> Self {
        let mut writer = Self::default();
        writer.comment(&format!(
            "Imported from {origin}. docs/plugins.md describes every key."
        ));
        writer.text.push_str("schema = 1\n");
        writer
    }

    /// A table's head.
    pub(super) fn table(&mut self, path: &[&str]) {
        let path: Vec<String> = path.iter().map(|part| key(part)).collect();
        let _: std::fmt::Result = write!(self.text, "\n[{}]\n", path.join("."));
    }

    /// The head of one of an array's tables.
    pub(super) fn array_table(&mut self, name: &str) {
        let _: std::fmt::Result = write!(self.text, "\n[[{}]]\n", key(name));
    }

    /// A comment of one line.
    pub(super) fn comment(&mut self, comment: &str) {
        let _: std::fmt::Result = writeln!(self.text, "# {}", printable(comment));
    }

    /// A key with its value.
    pub(super) fn set(&mut self, name: &str, written: &str) {
        let _: std::fmt::Result = writeln!(self.text, "{} = {written}", key(name));
    }

    /// The file.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A key as it is written.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        text(name)
    }
}

/// A text as it is written.
pub(super) fn text(text: &str) -> String {
    let mut written = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            letter if is_unsafe(letter) => {
                let _: std::fmt::Result = match u32::from(letter) {
                    code @ ..=0xffff => write!(written, "\\u{code:04X}"),
                    code => write!(written, "\\U{code:08X}"),
                };
            }
            letter => written.push(letter),
        }
    }
    written.push('"');
    written
}

/// Several of them.
pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let written: Vec<String> = texts.into_iter().map(|one| text(one)).collect();
    format!("[{}]", written.join(", "))
}

/// A number with a point, or an exponent.
pub(super) fn float(number: f64) -> String {
    format!("{number:?}")
}

/// A plain value as it is written; `None` for one that is not plain.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => number.is_finite().then(|| float(*number)),
        Value::Text(value) => Some(text(value)),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}
