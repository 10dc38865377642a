//! Prometheus's text exposition format, version 0.0.4. Histograms and summaries come as the series that they consist of:
//! `_sum`, `_count` and `_bucket` are counters, quantiles are gauges. Metric names keep to Scalyr's rule, so that a colon is
//! an underscore.

use std::collections::HashMap;

use super::{Parsed, RawValue, check_name, cut, number, shown};
use crate::plugin::collector::MetricKind;

pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if words.next() == Some("TYPE")
                && let (Some(name), Some(kind)) = (words.next(), words.next())
            {
                kinds.insert(name, kind);
            }
        } else if !line.is_empty() {
            match sample(line, &kinds) {
                Ok(value) => parsed.push(index + 1, value),
                Err(message) => parsed.problem(index + 1, message),
            }
        }
    }
    parsed
}

fn kind(name: &str, kinds: &HashMap<&str, &str>) -> Option<MetricKind> {
    match kinds.get(name) {
        Some(&"counter") => return Some(MetricKind::Counter),
        Some(_) => return Some(MetricKind::Gauge),
        None => {}
    }
    let of_parts = ["_sum", "_count", "_bucket"].iter().find_map(|part| {
        let whole = kinds.get(name.strip_suffix(part)?)?;
        matches!(*whole, "histogram" | "summary").then_some(MetricKind::Counter)
    });
    of_parts.or(Some(MetricKind::Gauge))
}

fn sample(line: &str, kinds: &HashMap<&str, &str>) -> Result<RawValue, String> {
    let end = line
        .find(|c: char| c == '{' || c.is_whitespace())
        .unwrap_or(line.len());
    let (written, rest) = line.split_at(end);
    let name = written.replace(':', "_");
    check_name(&name)?;
    let (attributes, rest) = match rest.strip_prefix('{') {
        Some(labels) => labels_of(labels)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words
        .next()
        .ok_or_else(|| format!("{name} has no value; write one"))?;
    let value = match number(value) {
        Some(Ok(value)) => value,
        Some(Err(wrong)) => return Err(format!("the value of {name} {wrong}")),
        None => {
            return Err(format!(
                "{} is not a number; write the value of {name} as one",
                shown(value)
            ));
        }
    };
    let time = words.next().and_then(|millis| millis.parse::<u64>().ok());
    Ok(RawValue {
        kind: kind(written, kinds),
        name,
        value,
        attributes,
        time: time.and_then(|millis| millis.checked_mul(1_000_000)),
        group: None,
    })
}

type Labels<'a> = (Vec<(String, String)>, &'a str);

/// `a="b",c="d"} rest`.
fn labels_of(mut text: &str) -> Result<Labels<'_>, String> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ', '\t']);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text
            .split_once('=')
            .ok_or("the labels are not closed; close them with }")?;
        let rest = rest.trim_start();
        let rest = rest
            .strip_prefix('"')
            .ok_or("a label's value is not in quotes; put it in \"…\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in rest.char_indices() {
            match c {
                'n' if escaped => value.push('\n'),
                c if escaped => value.push(c),
                '\\' => {
                    escaped = true;
                    continue;
                }
                '"' => {
                    end = Some(at + 1);
                    break;
                }
                c => value.push(c),
            }
            escaped = false;
        }
        let end = end.ok_or("a label's quote is not closed; close it")?;
        check_name(name.trim().trim_start_matches('_'))?;
        labels.push((name.trim().to_owned(), cut(value)));
        text = &rest[end..];
    }
}
