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
/// Attributes of one value at most, as many as OpenTelemetry's SDKs keep (AttributeCountLimit).
const MOST_ATTRIBUTES: usize = 128;
/// Memory of the attributes of one value at most, bytes: series are kept by them.
const MOST_ATTRIBUTE_BYTES: usize = 16 << 10;
/// Memory of the values of one output at most, bytes: the attributes of a metrics group are each of its metrics'.
const MOST_BYTES: usize = 64 << 20;
/// Characters of a text that a problem shows.
const SHOWN: usize = 40;

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
    /// Memory that the values take, about, bytes.
    pub(super) bytes: usize,
}

impl Parsed {
    fn problem(&mut self, line: usize, message: impl std::fmt::Display) {
        self.faulty += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(format!("line {line}: {message}"));
        }
    }

    /// Whether a value of so many attributes, which take `bytes` of memory, may be among the others. Where it may not, that is a
    /// problem.
    fn takes(&mut self, line: usize, attributes: usize, bytes: usize) -> bool {
        let reason = if attributes > MOST_ATTRIBUTES || bytes > MOST_ATTRIBUTE_BYTES {
            format!(
                "a value has more than {MOST_ATTRIBUTES} attributes, or {} KiB of them, and is left out; use fewer or shorter \
                 ones",
                MOST_ATTRIBUTE_BYTES >> 10
            )
        } else if self.values.len() >= MOST_VALUES {
            format!("more than {MOST_VALUES} values; the rest is left out")
        } else if self.bytes.saturating_add(bytes) > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            format!(
                "the values take more than {most} MiB; the rest is left out; use fewer or shorter attributes"
            )
        } else {
            return true;
        };
        self.problem(line, reason);
        false
    }

    fn push(&mut self, line: usize, value: RawValue) {
        let bytes = bytes_of(&value.attributes);
        if self.takes(line, value.attributes.len(), bytes) {
            self.bytes += size_of::<RawValue>() + value.name.len() + bytes;
            self.values.push(value);
        }
    }
}

/// Memory that attributes take, about, bytes.
fn bytes_of(attributes: &[(String, String)]) -> usize {
    let texts = attributes.iter().map(|(key, value)| key.len() + value.len());
    texts.sum::<usize>() + size_of_val(attributes)
}

/// The beginning of `text`, in quotes.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
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
        Err(format!(
            "{} is no name of a metric; begin with a letter, then use letters, digits, '.' and '_'",
            shown(name)
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
