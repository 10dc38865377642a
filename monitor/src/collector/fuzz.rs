//! Whatever a collector prints, what comes of it are sound values and problems that say where they are.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use regex::Regex;

use super::{
    format::{self, Parsed, Raw, RawValue},
    lines::LineReader,
    run::Found,
    values::{self, Sums},
};
use crate::plugin::{
    collector::{
        CollectorSpec, Custom, DEFAULT_TIMEOUT, Format, MetricKind, MetricSpec, Place, Source, Transform,
    },
    rates::Rates,
};

/// When outputs are read, Unix ns.
const NOW: u64 = 1_700_000_000_000_000_000;
/// Longest problem about a line, bytes: names of metrics and attributes have 255 each, and what else is shown is cut.
const LONGEST: usize = 1024;

/// Reads `input` as an output: a byte that says the format and whether metrics are asked for, and the output.
pub fn output(input: &[u8]) {
    let Some((mode, text)) = input.split_first() else {
        return;
    };
    let format = match mode % 5 {
        0 => Format::Scalyr,
        1 => Format::Panoptes,
        2 => Format::Prometheus,
        3 => Format::Json,
        _ => Format::Text,
    };
    static METRICS: OnceLock<Vec<MetricSpec>> = OnceLock::new();
    let metrics = METRICS.get_or_init(metrics);
    let seeks = matches!(format, Format::Json | Format::Text);
    let metrics = if seeks || mode & 0x80 != 0 {
        metrics.as_slice()
    } else {
        &[]
    };
    let parsed = format::parse(format, text, metrics);
    check(&parsed, text);
    for value in &parsed.values {
        written_again(format, value);
    }
    streamed(format, text);
    exported(parsed, metrics);
}

fn metrics() -> Vec<MetricSpec> {
    let regex = Regex::new(r"(?m)^total (\S+)").ok().map(Place::Regex);
    let places = [
        ("a", Some(Place::Name("a".to_owned())), Some(MetricKind::Counter)),
        ("b", Some(Place::Key("Threads".to_owned())), None),
        (
            "c",
            Some(Place::Pointer("/a/0".to_owned())),
            Some(MetricKind::Counter),
        ),
        ("d", Some(Place::Pointer(String::new())), None),
        ("e", regex, Some(MetricKind::Gauge)),
    ];
    places
        .into_iter()
        .filter_map(|(name, place, kind)| {
            Some(MetricSpec {
                name: name.to_owned(),
                unit: "1".to_owned(),
                description: String::new(),
                kind,
                value: None,
                place: place?,
                attributes: BTreeMap::from([("extra".to_owned(), "x".to_owned())]),
            })
        })
        .collect()
}

fn check(parsed: &Parsed, text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(parsed.faulty >= parsed.problems.len() as u64);
    for problem in &parsed.problems {
        let line = problem
            .strip_prefix("line ")
            .and_then(|rest| rest.split_once(": "))
            .and_then(|(line, said)| Some((line.parse::<usize>().ok()?, said)));
        assert!(
            line.is_some_and(|(line, said)| (1..=lines).contains(&line) && !said.is_empty()),
            "{problem:?} of {lines} lines"
        );
        assert!(problem.len() <= LONGEST, "{} bytes", problem.len());
    }
    for value in &parsed.values {
        assert!(!value.name.is_empty() && value.name.is_ascii(), "{value:?}");
        if let Raw::Float(number) = value.value {
            assert!(number.is_finite(), "{value:?}");
        }
    }
}

/// A value is the same when it is written as its format has it.
fn written_again(format: Format, value: &RawValue) {
    let (number, is_text) = match &value.value {
        Raw::Int(number) => (number.to_string(), false),
        Raw::Float(number) => (format!("{number:?}"), false),
        Raw::Text(text) => (serde_json::Value::from(text.as_str()).to_string(), true),
    };
    let quoted = |text: &str| match format {
        Format::Scalyr => serde_json::Value::from(text).to_string(),
        _ => format!(
            "\"{}\"",
            text.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
        ),
    };
    let attributes = value
        .attributes
        .iter()
        .map(|(key, text)| format!("{key}={}", quoted(text)));
    let attributes: Vec<String> = attributes.collect();
    let line = match format {
        Format::Scalyr => [value.name.clone(), number, attributes.join(" ")].join(" "),
        Format::Prometheus if !is_text => {
            let kind = match value.kind {
                Some(MetricKind::Counter) => "counter",
                _ => "gauge",
            };
            let millis = value
                .time
                .map_or(String::new(), |time| (time / 1_000_000).to_string());
            let name = &value.name;
            format!(
                "# TYPE {name} {kind}\n{name}{{{}}} {number} {millis}",
                attributes.join(",")
            )
        }
        _ => return,
    };
    let again = format::parse(format, line.as_bytes(), &[]);
    assert_eq!(again.problems, Vec::<String>::new(), "{line:?} of {value:?}");
    assert_eq!(again.values, std::slice::from_ref(value), "{line:?}");
}

/// Lines of a program that stays are found, in whatever pieces they come.
fn streamed(format: Format, text: &[u8]) {
    let longest = 64;
    let (mut whole, mut pieces) = (LineReader::new(longest), LineReader::new(longest));
    let too_long = whole.add(text);
    let all = whole.complete();
    let (mut lines, mut in_pieces) = (Vec::new(), 0);
    for piece in text.chunks(7) {
        in_pieces += pieces.add(piece);
        lines.extend(pieces.complete());
    }
    assert_eq!((&lines, in_pieces), (&all, too_long));
    for line in all.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.len() <= longest + 1, "{} bytes", line.len());
        check(&format::parse(format, line, &[]), line);
    }
}

/// What is exported: finite, sums that do not fall below zero, each series with one value at a time.
fn exported(parsed: Parsed, metrics: &[MetricSpec]) {
    let spec = CollectorSpec {
        name: "c".to_owned(),
        interval: None,
        timeout: DEFAULT_TIMEOUT,
        source: Source::BuiltIn("host_pressure".to_owned()),
        metrics: metrics.to_vec(),
    };
    let transforms = [Transform {
        group: "c".to_owned(),
        result: "r".to_owned(),
        counters: vec!["a".to_owned(), "b".to_owned()],
    }];
    let (mut sums, mut rates) = (Sums::default(), Rates::default());
    let found = vec![Found {
        parsed,
        process: None,
        time: NOW,
    }];
    let every = Duration::from_secs(60);
    let kept = (&mut sums, &mut rates);
    let made = values::make(&spec, &transforms, found, every, kept, |name| name == "taken");
    for value in &made.values {
        assert!(value.name != "taken" && !value.name.is_empty());
        assert!(value.attributes.is_sorted(), "{value:?}");
        let keys: Vec<&str> = value.attributes.iter().map(|(key, _)| key.as_str()).collect();
        assert!(keys.windows(2).all(|two| two[0] != two[1]), "{value:?}");
        match value.value {
            Custom::Int(_) | Custom::Text(_) => {}
            Custom::Float(number) => assert!(number.is_finite(), "{value:?}"),
            Custom::IntSum { value: sum, start } => {
                assert!(sum >= 0 && start <= value.time, "{value:?}");
            }
            Custom::FloatSum { value: sum, start } => {
                assert!(sum.is_finite() && sum >= 0.0 && start <= value.time, "{value:?}");
            }
        }
    }
    let longest = made.failures.iter().map(|(_, reason)| reason.len()).max();
    assert!(longest.unwrap_or(0) <= LONGEST);
}
