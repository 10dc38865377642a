//! From what an output holds to what is exported: names, types and units as the plugin wants them, sums with their starts,
//! rates of counters.

mod claims;
mod sums;

use std::time::Duration;

pub(super) use self::sums::Sums;
use self::{
    claims::{Claim, ClaimKind, Claims},
    sums::{MOST_BYTES, MOST_SERIES},
};
use super::{
    format::{Raw, RawValue},
    run::Found,
};
use crate::{
    plugin::{
        collector::{
            CollectorSpec, Custom, CustomValue, METRICS_GROUP, MetricKind, MetricSpec, Place, Source,
            Transform, ValueType,
        },
        rates::Rates,
    },
    process::ProcessKey,
};

/// Which member a value is of (OpenTelemetry, registry of attributes: process).
const PROCESS_ID: &str = "process.pid";

type Attributes = Vec<(String, String)>;

/// What is exported, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) values: Vec<CustomValue>,
    pub(super) failures: Vec<(&'static str, String)>,
}

/// Makes what is exported of what was `found`.
pub(super) fn make(
    spec: &CollectorSpec,
    transforms: &[Transform],
    found: Vec<Found>,
    interval: Duration,
    (sums, rates): (&mut Sums, &mut Rates),
    is_taken: fn(&str) -> bool,
) -> Made {
    let mut made = Made {
        failures: if is_stream(spec) {
            Vec::new() // each line has some of them
        } else {
            missing(spec, &found)
        },
        ..Made::default()
    };
    let mut claims = Claims::default();
    for Found {
        mut parsed,
        process,
        time,
    } in found
    {
        // Counters and rates need their samples in order; where no value has a time of its own, nothing moves.
        parsed.values.sort_by_key(|raw| raw.time.unwrap_or(time));
        for raw in parsed.values {
            let asked = spec.metrics.iter().find(|metric| is_of(metric, &raw));
            if asked.is_none() && !spec.metrics.is_empty() {
                continue; // not asked for
            }
            let attributes = attributes(&raw, process, asked, &mut made.failures);
            let name = asked.map_or(&raw.name, |metric| &metric.name);
            if is_taken(name) {
                let reason = format!("{name} is one of kevmon's own metrics; name it otherwise");
                made.failures.push(("name_taken", reason));
                continue;
            }
            let at = raw.time.unwrap_or(time);
            let claim = Claim {
                kind: ClaimKind::of(&raw, asked),
                group: raw.group.as_ref().map(|group| group.number),
                at,
            };
            let series = (name.clone(), attributes.clone());
            if let Err(reason) = claims.check(&series, claim) {
                made.failures.push(("duplicate", reason));
                continue;
            }
            let counted = Counted {
                raw: &raw,
                attributes: &attributes,
                at,
            };
            for rate in counted.rates(spec, transforms, interval, rates) {
                let series = (rate.name.clone(), rate.attributes.clone());
                let of_rate = Claim {
                    kind: ClaimKind::Gauge,
                    ..claim
                };
                match claims.check(&series, of_rate) {
                    Ok(()) => {
                        claims.add(series, of_rate);
                        made.values.push(rate);
                    }
                    Err(reason) => made.failures.push(("duplicate", reason)),
                }
            }
            match value(&raw, asked, &attributes, (at, time), sums) {
                Ok(value) => {
                    claims.add(series, claim);
                    made.values.push(CustomValue {
                        name: name.clone(),
                        unit: asked.map_or_else(String::new, |metric| metric.unit.clone()),
                        description: asked.map_or_else(String::new, |metric| metric.description.clone()),
                        value,
                        attributes,
                        time: at,
                    });
                }
                Err(failure) => made.failures.push(failure),
            }
        }
    }
    made
}

fn is_stream(spec: &CollectorSpec) -> bool {
    matches!(spec.source, Source::Command { stream: Some(_), .. })
}

/// A value that may be a counter of some transform.
struct Counted<'a> {
    raw: &'a RawValue,
    attributes: &'a Attributes,
    /// When it was, Unix ns.
    at: u64,
}

impl Counted<'_> {
    /// How fast it grows, for each group of rates that it goes into; none where there is nothing to compare it with.
    fn rates(
        &self,
        spec: &CollectorSpec,
        transforms: &[Transform],
        interval: Duration,
        rates: &mut Rates,
    ) -> Vec<CustomValue> {
        let name = &self.raw.name;
        let group = self.raw.group.as_ref();
        let is_of_group =
            |one: &Transform| group.is_some_and(|group| group.kind == one.group) || one.group == spec.name;
        let wanted = |one: &&Transform| is_of_group(one) && one.counters.contains(name);
        let mut results: Vec<&str> = transforms
            .iter()
            .filter(wanted)
            .map(|one| one.result.as_str())
            .collect();
        results.sort_unstable();
        results.dedup();
        let Some(number) = number(&self.raw.value).filter(|_| !results.is_empty()) else {
            return Vec::new();
        };
        // A group may be sampled less often than its collector runs.
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let nanos = nanos.max(group.and_then(|group| group.interval).unwrap_or(0));
        let Some(rate) = rates.rate(name, self.attributes, number, self.at, nanos) else {
            return Vec::new();
        };
        let of_result = |result: &str| {
            let mut attributes = self.attributes.clone();
            attributes.retain(|(key, _)| key != METRICS_GROUP);
            attributes.push((METRICS_GROUP.to_owned(), result.to_owned()));
            attributes.sort();
            CustomValue {
                name: format!("{name}_rate"),
                unit: "1/s".to_owned(),
                description: format!("Growth of {name} a second"),
                value: Custom::Float(rate),
                attributes,
                time: self.at,
            }
        };
        results.into_iter().map(of_result).collect()
    }
}

/// Gauge or counter: as the plugin file says, else as the output says.
fn kind_of(raw: &RawValue, asked: Option<&MetricSpec>) -> MetricKind {
    let asked = asked.and_then(|metric| metric.kind);
    asked.or(raw.kind).unwrap_or(MetricKind::Gauge)
}

/// Metrics that are declared by name and that an output did not hold. (Those with a place of their own are told by it.)
fn missing(spec: &CollectorSpec, found: &[Found]) -> Vec<(&'static str, String)> {
    let mut outputs = found.iter().map(|found| &found.parsed.values);
    let Some(values) = outputs.next() else {
        return Vec::new(); // why there is none is told already
    };
    let absent = spec.metrics.iter().filter(|metric| {
        matches!(metric.place, Place::Name(_)) && !values.iter().any(|raw| is_of(metric, raw))
    });
    absent
        .map(|metric| {
            let reason = format!("{} was not in the output; correct its name or from", metric.name);
            ("missing", reason)
        })
        .collect()
}

/// Of one point, each name once: the plugin file's say is the last, but for which process it is.
fn attributes(
    raw: &RawValue,
    process: Option<ProcessKey>,
    asked: Option<&MetricSpec>,
    failures: &mut Vec<(&'static str, String)>,
) -> Attributes {
    let mut attributes = Attributes::new();
    let mut told = false;
    for (key, value) in &raw.attributes {
        if attributes.iter().any(|(known, _)| known == key) {
            if std::mem::replace(&mut told, true) {
                continue; // one failure a value
            }
            let reason = format!(
                "{} has the attribute {key} twice and the first is kept; print it once",
                raw.name
            );
            failures.push(("parse", reason));
        } else {
            attributes.push((key.clone(), value.clone()));
        }
    }
    let asked = asked.iter().flat_map(|metric| metric.attributes.clone());
    let process = process.map(|key| (PROCESS_ID.to_owned(), key.tgid.0.to_string()));
    for (key, value) in asked.chain(process) {
        match attributes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => attributes.push((key, value)),
        }
    }
    attributes.sort(); // the same series in whatever order they are printed
    attributes
}

fn is_of(metric: &MetricSpec, raw: &RawValue) -> bool {
    match &metric.place {
        Place::Name(name) => *name == raw.name,
        _ => metric.name == raw.name,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for comparison and rates")]
fn number(raw: &Raw) -> Option<f64> {
    match raw {
        Raw::Int(value) => Some(*value as f64),
        Raw::Float(value) => Some(*value),
        Raw::Text(_) => None,
    }
}

fn value(
    raw: &RawValue,
    asked: Option<&MetricSpec>,
    attributes: &Attributes,
    (at, now): (u64, u64),
    sums: &mut Sums,
) -> Result<Custom, (&'static str, String)> {
    let wanted = asked.and_then(|metric| metric.value);
    let typed = match (&raw.value, wanted) {
        (Raw::Int(value), Some(ValueType::Float)) => number(&Raw::Int(*value)).map(Raw::Float),
        (Raw::Float(value), Some(ValueType::Int)) if value.fract() == 0.0 && value.abs() < 9e15 => {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            let whole = *value as i64;
            Some(Raw::Int(whole))
        }
        (Raw::Float(_), Some(ValueType::Int)) | (Raw::Text(_), Some(_)) => None,
        (value, _) => Some(value.clone()),
    };
    let Some(typed) = typed else {
        let reason = format!(
            "the value of {} is not of the type that it is declared with; correct one of the two",
            raw.name
        );
        return Err(("type", reason));
    };
    Ok(match (typed, kind_of(raw, asked)) {
        (Raw::Text(text), MetricKind::Gauge) => Custom::Text(text),
        (Raw::Text(_), MetricKind::Counter) => {
            return Err((
                "type",
                format!("the counter {} is a text; declare it as a gauge", raw.name),
            ));
        }
        (Raw::Int(value), MetricKind::Gauge) => Custom::Int(value),
        (Raw::Float(value), MetricKind::Gauge) => Custom::Float(value),
        (sum, MetricKind::Counter) => {
            let amount = number(&sum).unwrap_or_default();
            if amount < 0.0 {
                return Err((
                    "type",
                    format!("the counter {} is negative; declare it as a gauge", raw.name),
                ));
            }
            // A sum that is first seen now counts since before: its first point says nothing but where it stands.
            let start = sums.start(&raw.name, attributes, amount, at.min(now));
            let Some(start) = start else {
                return Err((
                    "series_limit",
                    format!(
                        "more than {MOST_SERIES} series of counters, or {} MiB of them; use fewer attributes",
                        MOST_BYTES >> 20
                    ),
                ));
            };
            match sum {
                Raw::Int(value) => Custom::IntSum { value, start },
                Raw::Float(value) => Custom::FloatSum { value, start },
                Raw::Text(_) => return Err(("type", raw.name.clone())),
            }
        }
    })
}

#[cfg(test)]
mod tests;
