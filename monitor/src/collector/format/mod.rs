//! What collectors' outputs look like, and the values in them. Pure, and bounded by the size of the output: whatever the
//! bytes, the result is values and problems, each with its line.

mod panoptes;
mod places;
mod prometheus;
mod scalyr;
#[cfg(test)]
mod tests;

use crate::plugin::collector::{Format, MetricKind, MetricSpec};

/// Values of one output at most.
const MOST_VALUES: usize = 10_000;
/// Problems that are told of one output; the rest is counted.
const MOST_PROBLEMS: usize = 5;
/// Longest text value and attribute, bytes.
const LONGEST_TEXT: usize = 4096;

/// A number, or a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Int(i64),
    /// Finite.
    Float(f64),
    Text(String),
}

/// A value as the output has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawValue {
    pub(super) name: String,
    pub(super) value: Raw,
    /// Where the format says.
    pub(super) kind: Option<MetricKind>,
    pub(super) attributes: Vec<(String, String)>,
    /// When it was measured, Unix ns, where the format says.
    pub(super) time: Option<u64>,
    /// The metrics group that it is in, where the format has such.
    pub(super) group: Option<Group>,
}

/// The metrics group that a value came in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// Its type; empty where the output does not say.
    pub(super) kind: String,
    /// Its place among the groups of the output, from 0.
    pub(super) number: usize,
    /// Time between two samples, ns, where the output says.
    pub(super) interval: Option<u64>,
}

/// What an output holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Parsed {
    pub(super) values: Vec<RawValue>,
    /// The first few, as "line 3: what is wrong; what to do".
    pub(super) problems: Vec<String>,
    /// All of them.
    pub(super) faulty: u64,
}

impl Parsed {
    fn problem(&mut self, line: usize, message: impl std::fmt::Display) {
        self.faulty += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(format!("line {line}: {message}"));
        }
    }

    fn push(&mut self, line: usize, value: RawValue) {
        if self.values.len() < MOST_VALUES {
            self.values.push(value);
        } else if self.values.len() == MOST_VALUES {
            self.problem(
                line,
                format!("more than {MOST_VALUES} values; the rest is left out"),
            );
        }
    }
}

/// Reads `output`. The metrics that are asked for are sought in text and JSON; other formats give all of theirs.
pub(super) fn parse(format: Format, output: &[u8], metrics: &[MetricSpec]) -> Parsed {
    let text = String::from_utf8_lossy(output);
    match format {
        Format::Scalyr => scalyr::parse(&text),
        Format::Panoptes => panoptes::parse(&text),
        Format::Prometheus => prometheus::parse(&text),
        Format::Json => places::json(&text, metrics),
        Format::Text => places::text(&text, metrics),
    }
}

/// A metric's name by Scalyr's rule: a letter, then letters, digits, `.` and `_`.
fn check_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if begins
        && name.len() <= 255
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
    {
        Ok(())
    } else {
        let shown: String = name.chars().take(40).collect();
        Err(format!(
            "{shown:?} is no name of a metric; begin with a letter, then use letters, digits, '.' and '_'"
        ))
    }
}

/// A number as it is written; `None` for what is none, `Err` for what is not finite.
fn number(text: &str) -> Option<Result<Raw, &'static str>> {
    if let Ok(integer) = text.parse::<i64>() {
        return Some(Ok(Raw::Int(integer)));
    }
    let float = text.parse::<f64>().ok()?;
    Some(if float.is_finite() {
        Ok(Raw::Float(float))
    } else {
        Err("is not finite; leave it out instead")
    })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}
