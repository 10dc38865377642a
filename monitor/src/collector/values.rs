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
            CollectorSpec, Custom, CustomValue, METRICS_GROUP, MetricKind, MetricSpec, Place, Source,
            Transform, ValueType,
        },
        rates::Rates,
    },
    process::ProcessKey,
};

/// Series of counters that a collector may have.
const MOST_SERIES: usize = 20_000;
/// Memory that their names and attributes take at most, about, bytes.
const MOST_BYTES: usize = 32 << 20;

/// Which member a value is of (OpenTelemetry, registry of attributes: process).
const PROCESS_ID: &str = "process.pid";

type Attributes = Vec<(String, String)>;

/// When each counter began, and what it was last.
#[derive(Debug, Default)]
pub(super) struct Sums {
    series: HashMap<(String, Attributes), (u64, f64)>,
    /// Memory that names and attributes take, about.
    bytes: usize,
}

impl Sums {
    /// Since when `value` counts: since it was first seen, since it fell, or since the clock was set back behind that. Unix
    /// ns.
    fn start(&mut self, name: &str, attributes: &Attributes, value: f64, time: u64) -> Option<u64> {
        let texts = attributes.iter().map(|(key, value)| key.len() + value.len());
        let bytes = name.len() + size_of_val(attributes.as_slice()) + texts.sum::<usize>();
        let full = self.series.len() >= MOST_SERIES || self.bytes + bytes > MOST_BYTES;
        let key = (name.to_owned(), attributes.clone());
        match self.series.get_mut(&key) {
            Some((start, last)) => {
                if value < *last || time < *start {
                    *start = time;
                }
                *last = value;
                Some(*start)
            }
            None if full => None,
            None => {
                self.series.insert(key, (time, value));
                self.bytes += bytes;
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

/// The series that an output has brought so far. One series has one kind, one value at a time, and one value in a metrics
/// group.
#[derive(Debug, Default)]
struct Claims(HashMap<(String, Attributes), Claimed>);

/// The values of a series so far.
#[derive(Debug)]
struct Claimed {
    kind: ClaimKind,
    groups: HashSet<usize>,
    times: HashSet<u64>,
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    kind: ClaimKind,
    /// Number of its metrics group, where it came in one.
    group: Option<usize>,
    /// When it was measured, Unix ns.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClaimKind {
    Gauge,
    Counter,
    Text,
}

impl ClaimKind {
    fn of(raw: &RawValue, asked: Option<&MetricSpec>) -> Self {
        match (&raw.value, kind_of(raw, asked)) {
            (Raw::Text(_), _) => Self::Text,
            (_, MetricKind::Counter) => Self::Counter,
            (_, MetricKind::Gauge) => Self::Gauge,
        }
    }
}

impl Claims {
    /// Whether a value may go with those before it.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    fn check(&self, series: &(String, Attributes), claim: Claim) -> Result<(), String> {
        let Some(before) = self.0.get(series) else {
            return Ok(());
        };
        let name = &series.0;
        if before.kind != claim.kind {
            return Err(format!(
                "{name} is of two types under the same attributes and the first is kept; name one of the two otherwise"
            ));
        }
        if claim.group.is_some_and(|group| before.groups.contains(&group)) {
            return Err(format!(
                "{name} is twice in one metrics group and the first is kept; use two groups, or two names"
            ));
        }
        if before.times.contains(&claim.at) {
            return Err(format!(
                "{name} has two values at one time and the first is kept; give them an attribute in which they differ"
            ));
        }
        Ok(())
    }

    fn add(&mut self, series: (String, Attributes), claim: Claim) {
        let claimed = self.0.entry(series).or_insert_with(|| Claimed {
            kind: claim.kind,
            groups: HashSet::new(),
            times: HashSet::new(),
        });
        claimed.groups.extend(claim.group);
        claimed.times.insert(claim.at);
    }
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
mod tests {
    use super::{super::format, *};
    use crate::plugin::collector::{DEFAULT_TIMEOUT, Format};

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

    /// The series of counters are kept for as long as the collector: one of which each run has other attributes would go on
    /// for ever.
    #[test]
    fn series_of_counters_take_bounded_memory() {
        let mut sums = Sums::default();
        let long = |number: usize| vec![(format!("k{number}"), "x".repeat(1 << 20))];
        let kept = (0..100).filter(|number| sums.start("a", &long(*number), 1.0, S).is_some());
        assert_eq!(kept.count(), 31);
        assert_eq!(
            sums.start("a", &long(0), 2.0, 2 * S),
            Some(S),
            "what is kept goes on"
        );
    }

    #[test]
    fn names_that_come_again_are_one_failure_of_their_value() {
        let (mut sums, mut rates) = Default::default();
        let text = format!("a 1{}\nb 1 k=1 k=2\nc 1 k=1\n", " k=1 l=1".repeat(20));
        let every = Duration::from_secs(60);
        let made = make(
            &spec(vec![]),
            &[],
            found(&text, S),
            every,
            (&mut sums, &mut rates),
            |_| false,
        );
        assert_eq!(made.values.len(), 3);
        let told: Vec<&str> = made.failures.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(
            told,
            [
                "a has the attribute k twice and the first is kept; print it once",
                "b has the attribute k twice and the first is kept; print it once"
            ]
        );
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

    /// A metrics group of one metric, as its output has it.
    fn group(kind: &str, device: &str, (name, value, metric): (&str, i64, &str), seconds: u64) -> String {
        format!(
            r#"{{"metrics_group_type":"{kind}","metrics_group_interval":60,"metrics_group_schema_version":"0.2","resource":{{"resource_id":"{device}"}},"metrics":[{{"metric_name":"{name}","metric_value":{value},"metric_type":"{metric}","metric_creation_timestamp":{seconds}}}],"dimensions":[]}}"#
        ) + "\n"
    }

    fn groups(text: &str, time: u64) -> Vec<Found> {
        vec![Found {
            parsed: format::parse(Format::Panoptes, text.as_bytes(), &[]),
            process: None,
            time,
        }]
    }

    fn written(values: &[CustomValue]) -> Vec<String> {
        let one = |of: &CustomValue| {
            let attributes = of.attributes.iter().map(|(key, value)| format!(" {key}={value}"));
            format!("{} {:?}{}", of.name, of.value, attributes.collect::<String>())
        };
        values.iter().map(one).collect()
    }

    /// Two groups, and two devices, of one metric: each is a series of its own, whatever their times, and so are their sums
    /// and rates.
    #[test]
    fn groups_and_devices_are_series_of_their_own() {
        let transforms = ["cpu", "disk"].map(|group| Transform {
            group: group.into(),
            result: format!("{group}_rates"),
            counters: vec!["n".into()],
        });
        let (mut sums, mut rates) = Default::default();
        let mut run = |text: &str, at: u64| {
            let every = Duration::from_secs(60);
            let spec = spec(Vec::new());
            make(
                &spec,
                &transforms,
                groups(text, at * S),
                every,
                (&mut sums, &mut rates),
                |_| false,
            )
        };
        let all = |at: u64, by: i64| {
            [("cpu", "r1", 100), ("disk", "r1", 5), ("cpu", "r2", 70)]
                .map(|(kind, device, value)| group(kind, device, ("n", value + by, "counter"), at))
                .concat()
        };
        let made = run(&all(1_000, 0), 1_000);
        assert_eq!(made.failures, []);
        assert_eq!(
            written(&made.values),
            [
                "n IntSum { value: 100, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r1",
                "n IntSum { value: 5, start: 1000000000000 } kevmon.metrics_group=disk resource_id=r1",
                "n IntSum { value: 70, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r2",
            ]
        );
        let made = run(&all(1_060, 120), 1_060);
        assert_eq!(made.failures, []);
        assert_eq!(
            written(&made.values),
            [
                "n_rate Float(2.0) kevmon.metrics_group=cpu_rates resource_id=r1",
                "n IntSum { value: 220, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r1",
                "n_rate Float(2.0) kevmon.metrics_group=disk_rates resource_id=r1",
                "n IntSum { value: 125, start: 1000000000000 } kevmon.metrics_group=disk resource_id=r1",
                "n_rate Float(2.0) kevmon.metrics_group=cpu_rates resource_id=r2",
                "n IntSum { value: 190, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r2",
            ]
        );
    }

    #[test]
    fn a_series_has_one_type_and_one_value_in_a_group() {
        let double = group("g", "r", ("n", 1, "gauge"), 10).replace(
            "}],",
            r#"},{"metric_name":"n","metric_value":2,"metric_type":"gauge","metric_creation_timestamp":11}],"#,
        );
        for (text, kept, part) in [
            (double, 1, "twice in one metrics group"),
            (
                group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "counter"), 11),
                1,
                "of two types",
            ),
            (
                group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "gauge"), 10),
                1,
                "two values at one time",
            ),
            // Two samples, and two types in two groups.
            (
                group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "gauge"), 11),
                2,
                "",
            ),
            (
                group("g", "r", ("n", 1, "gauge"), 10) + &group("h", "r", ("n", 2, "counter"), 10),
                2,
                "",
            ),
        ] {
            let (mut sums, mut rates) = Default::default();
            let every = Duration::from_secs(60);
            let found = groups(&text, 20 * S);
            let made = make(
                &spec(Vec::new()),
                &[],
                found,
                every,
                (&mut sums, &mut rates),
                |_| false,
            );
            assert_eq!(made.values.len(), kept, "{text}");
            let first = &made.values[0].value;
            assert!(matches!(first, Custom::Int(1)), "{first:?}: the first is kept");
            assert_eq!(
                made.failures.len(),
                usize::from(!part.is_empty()),
                "{:?}",
                made.failures
            );
            for (kind, reason) in &made.failures {
                assert!(*kind == "duplicate" && reason.contains(part), "{reason}");
            }
        }
    }

    /// A group's samples may come in any order, and less often than its collector runs.
    #[test]
    fn samples_go_by_their_times_and_gaps_by_the_groups_interval() {
        let transforms = [Transform {
            group: "g".into(),
            result: "out".into(),
            counters: vec!["n".into()],
        }];
        let (mut sums, mut rates) = Default::default();
        let text = [(1_120, 30), (1_000, 10), (1_060, 20)]
            .map(|(at, value)| group("g", "r", ("n", value, "counter"), at))
            .concat();
        let every = Duration::from_secs(10);
        let found = groups(&text, 1_200 * S);
        let made = make(
            &spec(Vec::new()),
            &transforms,
            found,
            every,
            (&mut sums, &mut rates),
            |_| false,
        );
        assert_eq!(made.failures, []);
        let starts: Vec<_> = made.values.iter().filter(|of| of.name == "n").collect();
        assert!(
            starts
                .iter()
                .all(|of| matches!(of.value, Custom::IntSum { start, .. } if start == 1_000 * S)),
            "{starts:?}"
        );
        let rates = made.values.iter().filter(|of| of.name == "n_rate");
        assert_eq!(
            rates.count(),
            2,
            "60 s apart, of a collector that runs every 10 s"
        );
    }

    /// Both a collector and a group may have the name of a transform; several may ask for one counter.
    #[test]
    fn a_counter_of_several_transforms_has_a_rate_in_each() {
        let transform = |group: &str, result: &str| Transform {
            group: group.into(),
            result: result.into(),
            counters: vec!["n".into()],
        };
        let transforms = [
            transform("c", "one"),
            transform("g", "two"),
            transform("h", "two"),
        ];
        let (mut sums, mut rates) = Default::default();
        let mut run = |text: &str, at: u64| {
            let every = Duration::from_secs(60);
            let spec = spec(Vec::new());
            make(
                &spec,
                &transforms,
                groups(text, at * S),
                every,
                (&mut sums, &mut rates),
                |_| false,
            )
        };
        run(&group("g", "r", ("n", 0, "counter"), 1_000), 1_000);
        let made = run(&group("g", "r", ("n", 60, "counter"), 1_060), 1_060);
        let of_rate = made.values.iter().filter(|of| of.name == "n_rate").cloned();
        assert_eq!(
            written(&of_rate.collect::<Vec<_>>()),
            [
                "n_rate Float(1.0) kevmon.metrics_group=one resource_id=r",
                "n_rate Float(1.0) kevmon.metrics_group=two resource_id=r",
            ]
        );
        // Two groups whose rates would be one series.
        let both = |at: u64, value: i64| {
            ["g", "h"]
                .map(|kind| group(kind, "r", ("n", value, "counter"), at))
                .concat()
        };
        run(&both(1_120, 120), 1_120);
        let made = run(&both(1_180, 180), 1_180);
        assert_eq!(made.failures.len(), 2, "{:?}", made.failures);
        assert!(made.failures.iter().all(|(kind, _)| *kind == "duplicate"));
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
