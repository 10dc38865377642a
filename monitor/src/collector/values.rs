//! From what an output holds to what is exported: names, types and units as the plugin wants them, sums with their starts,
//! rates of counters.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    format::{Raw, RawValue},
    run::Found,
};
use crate::{
    plugin::{
        collector::{
            CollectorSpec, Custom, CustomValue, MetricKind, MetricSpec, Place, Transform, ValueType,
        },
        rates::Rates,
    },
    process::ProcessKey,
};

/// Series of counters that a collector may have.
const MOST_SERIES: usize = 20_000;

/// Which member a value is of (OpenTelemetry, registry of attributes: process).
const PROCESS_ID: &str = "process.pid";

type Attributes = Vec<(String, String)>;

/// When each counter began, and what it was last.
#[derive(Debug, Default)]
pub(super) struct Sums(HashMap<(String, Attributes), (u64, f64)>);

impl Sums {
    /// Since when `value` counts: since it was first seen, or since it fell. Unix ns.
    fn start(&mut self, name: &str, attributes: &Attributes, value: f64, time: u64) -> Option<u64> {
        let full = self.0.len() >= MOST_SERIES;
        let key = (name.to_owned(), attributes.clone());
        match self.0.get_mut(&key) {
            Some((start, last)) => {
                if value < *last {
                    *start = time;
                }
                *last = value;
                Some(*start)
            }
            None if full => None,
            None => {
                self.0.insert(key, (time, value));
                Some(time)
            }
        }
    }
}

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
        failures: missing(spec, &found),
        ..Made::default()
    };
    let mut seen = HashSet::new();
    for Found {
        parsed,
        process,
        time,
    } in found
    {
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
            let series = (name.clone(), attributes.clone(), at);
            if seen.contains(&series) {
                let reason = format!(
                    "{name} has two values at one time and the first is kept; give them an attribute in which they \
                     differ"
                );
                made.failures.push(("duplicate", reason));
                continue;
            }
            let of_raw = Counted {
                raw: &raw,
                attributes: &attributes,
                at,
            };
            let in_transform =
                |one: &&Transform| raw.group.as_deref() == Some(&one.group) || one.group == spec.name;
            let asked_rates = transforms.iter().filter(in_transform);
            made.values
                .extend(asked_rates.filter_map(|one| of_raw.rate(one, interval, rates)));
            match value(&raw, asked, &attributes, (at, time), sums) {
                Ok(value) => {
                    seen.insert(series);
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

/// A value that may be a counter of some transform.
struct Counted<'a> {
    raw: &'a RawValue,
    attributes: &'a Attributes,
    /// When it was, Unix ns.
    at: u64,
}

impl Counted<'_> {
    /// What it grows by, where the transform asks for that and there is something to compare it with.
    fn rate(&self, transform: &Transform, interval: Duration, rates: &mut Rates) -> Option<CustomValue> {
        let number = number(&self.raw.value)?;
        let name = &self.raw.name;
        if !transform.counters.contains(name) {
            return None;
        }
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let rate = rates.rate(name, self.attributes, number, self.at, nanos)?;
        let mut attributes = self.attributes.clone();
        attributes.push(("kevmon.metrics_group".to_owned(), transform.result.clone()));
        Some(CustomValue {
            name: format!("{name}_rate"),
            unit: "1/s".to_owned(),
            description: format!("Growth of {name} a second"),
            value: Custom::Float(rate),
            attributes,
            time: self.at,
        })
    }
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
    for (key, value) in &raw.attributes {
        if attributes.iter().any(|(known, _)| known == key) {
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
    let kind = asked
        .and_then(|metric| metric.kind)
        .or(raw.kind)
        .unwrap_or(MetricKind::Gauge);
    Ok(match (typed, kind) {
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
                    format!("more than {MOST_SERIES} series of counters; use fewer attributes"),
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
mod tests {
    use super::{super::format, *};
    use crate::plugin::collector::{DEFAULT_TIMEOUT, Format, Source};

    const S: u64 = 1_000_000_000;

    fn spec(metrics: Vec<MetricSpec>) -> CollectorSpec {
        CollectorSpec {
            name: "c".into(),
            interval: None,
            timeout: DEFAULT_TIMEOUT,
            source: Source::BuiltIn("host_pressure".into()),
            metrics,
        }
    }

    fn metric(name: &str, from: &str, kind: Option<MetricKind>, value: Option<ValueType>) -> MetricSpec {
        MetricSpec {
            name: name.into(),
            unit: "By".into(),
            description: String::new(),
            kind,
            value,
            place: Place::Name(from.into()),
            attributes: [("extra".to_owned(), "x".to_owned())].into(),
        }
    }

    fn found(text: &str, time: u64) -> Vec<Found> {
        vec![Found {
            parsed: format::parse(Format::Scalyr, text.as_bytes(), &[]),
            process: None,
            time,
        }]
    }

    /// A point's attributes have each name once (OTLP, opentelemetry/proto/metrics/v1), and a series one value at a time.
    #[test]
    fn no_name_and_no_series_twice() {
        let mut spec = spec(vec![metric("a", "a", None, None), metric("b", "b", None, None)]);
        let pid = ("process.pid".to_owned(), "none".to_owned());
        spec.metrics[0].attributes.extend([pid]);
        let (mut sums, mut rates) = Default::default();
        let mut found = found("a 1 extra=y k=1 k=2\nb 1 k=1 l=1\nb 2 l=1 k=1\nb 3 l=2\n", 10 * S);
        found[0].process = Some(ProcessKey {
            tgid: crate::process::Tgid(7),
            start: crate::process::BootTime(1),
        });
        let every = Duration::from_secs(60);
        let made = make(&spec, &[], found, every, (&mut sums, &mut rates), |_| false);
        let told: Vec<String> = made
            .values
            .iter()
            .map(|of| {
                let attributes = of.attributes.iter().map(|(key, value)| format!(" {key}={value}"));
                format!("{} {:?}{}", of.name, of.value, attributes.collect::<String>())
            })
            .collect();
        assert_eq!(
            told,
            [
                "a Int(1) extra=x k=1 process.pid=7",
                "b Int(1) extra=x k=1 l=1 process.pid=7",
                "b Int(3) extra=x l=2 process.pid=7"
            ]
        );
        let kinds: Vec<&str> = made.failures.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, ["parse", "duplicate"], "{:?}", made.failures);
    }

    #[test]
    fn what_is_asked_for_as_it_is_asked_for() {
        let spec = spec(vec![
            metric("used", "mem", Some(MetricKind::Counter), Some(ValueType::Int)),
            metric("share", "load", None, Some(ValueType::Float)),
        ]);
        let (mut sums, mut rates) = Default::default();
        let mut run = |text: &str, time: u64| {
            make(
                &spec,
                &[],
                found(text, time),
                Duration::from_secs(60),
                (&mut sums, &mut rates),
                |name| name == "taken",
            )
        };
        let made = run("mem 5\nload 2\nother 1\n", 10 * S);
        let told: Vec<_> = made
            .values
            .iter()
            .map(|of| (of.name.as_str(), of.value.clone(), of.unit.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "used",
                    Custom::IntSum {
                        value: 5,
                        start: 10 * S
                    },
                    "By"
                ),
                ("share", Custom::Float(2.0), "By")
            ]
        );
        assert_eq!(made.values[0].attributes, [("extra".to_owned(), "x".to_owned())]);
        let made = run("mem 7.0\n", 20 * S);
        assert_eq!(made.failures.len(), 1, "{:?}", made.failures);
        assert_eq!(made.failures[0].0, "missing", "share has not come");
        assert_eq!(
            made.values[0].value,
            Custom::IntSum {
                value: 7,
                start: 10 * S
            }
        );
        let made = run("mem 3\n", 30 * S);
        assert_eq!(
            made.values[0].value,
            Custom::IntSum {
                value: 3,
                start: 30 * S
            },
            "begun anew"
        );
        let made = run("mem 3.5\nload x\nmem -1\n", 40 * S);
        assert_eq!(
            made.failures.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            ["type"; 3]
        );
    }

    #[test]
    fn everything_where_nothing_is_asked_for_but_kevmons_own_names() {
        let (mut sums, mut rates) = Default::default();
        let made = make(
            &spec(Vec::new()),
            &[],
            found("a 1\nb true\nstate ready\ntaken 1\n", S),
            Duration::from_secs(1),
            (&mut sums, &mut rates),
            |name| name == "taken",
        );
        let told: Vec<_> = made.values.iter().map(|of| of.value.clone()).collect();
        assert_eq!(
            told,
            [Custom::Int(1), Custom::Int(1), Custom::Text("ready".into())]
        );
        assert_eq!(made.failures[0].0, "name_taken");
    }

    #[test]
    fn rates_of_the_groups_that_are_named() {
        let transforms = [Transform {
            group: "c".into(),
            result: "out".into(),
            counters: vec!["n".into()],
        }];
        let (mut sums, mut rates) = Default::default();
        let mut run = |text: &str, time: u64| {
            let made = make(
                &spec(Vec::new()),
                &transforms,
                found(text, time),
                Duration::from_secs(10),
                (&mut sums, &mut rates),
                |_| false,
            );
            made.values
                .into_iter()
                .find(|of| of.name == "n_rate")
                .map(|of| (of.value, of.attributes))
        };
        assert_eq!(run("n 1\nm 1\n", 10 * S), None);
        let group = vec![("kevmon.metrics_group".to_owned(), "out".to_owned())];
        assert_eq!(run("n 6\nm 9\n", 20 * S), Some((Custom::Float(0.5), group)));
    }
}
