//! Names, units and labels as Prometheus wants them: the OpenTelemetry specification "Prometheus and OpenMetrics
//! Compatibility", in the form that Prometheus's own OTLP receiver gives it.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

/// The instrument of a metric, as far as its name depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// A sum that may fall.
    UpDownCounter,
    Histogram,
    /// A gauge that is always 1, with a type of its own in OpenMetrics.
    Info,
}

impl Kind {
    /// The type that Prometheus has for it. Metrics of one name must agree in it.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::UpDownCounter | Self::Info => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Prometheus's words for units of UCUM. Every other unit is its own word, such as the original framework's `threads`.
const UNIT_WORDS: [(&str, &str); 24] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];

/// Words for a unit behind a slash.
const PER_WORDS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric's family, by the rules of Prometheus's OTLP receiver and of the Collector's exporters (module
/// `otlptranslator`, version 1.0, strategy "underscore escaping with suffixes"), so that a series has one name by every
/// route. A counter's samples have `_total` behind it.
pub(super) fn family_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = name
        .split(|c: char| !is_plain(c))
        .filter(|word| !word.is_empty())
        .collect();
    let (unit_word, per_word) = unit_words(unit);
    for word in [&unit_word, &per_word] {
        if !word.is_empty() && !words.contains(&word.as_str()) {
            words.push(word);
        }
    }
    match kind {
        Kind::Counter => words.retain(|word| *word != "total"),
        Kind::Gauge if unit == "1" => {
            words.retain(|word| *word != "ratio");
            words.push("ratio");
        }
        _ => {}
    }
    let mut family = words.join("_");
    if family.is_empty() || family.starts_with(|c: char| c.is_ascii_digit()) {
        family.insert(0, '_');
    }
    family
}

/// The unit that OpenMetrics shows, if it is what `family` ends with, as that format demands.
pub(super) fn shown_unit(family: &str, unit: &str, kind: Kind) -> Option<String> {
    let words = match (unit, kind) {
        ("1", Kind::Gauge) => ("ratio".to_owned(), String::new()),
        _ => unit_words(unit),
    };
    let shown = match words {
        (unit, per) if per.is_empty() => unit,
        (unit, per) if unit.is_empty() => per,
        (unit, per) => format!("{unit}_{per}"),
    };
    let ends = family == shown || family.ends_with(&format!("_{shown}"));
    (!shown.is_empty() && ends).then_some(shown)
}

/// The words for a unit and for what is behind its slash; empty where there is nothing to say: `1`, and `{process}`,
/// which counts what the name tells.
fn unit_words(unit: &str) -> (String, String) {
    let (unit, per) = unit.split_once('/').unwrap_or((unit, ""));
    let unit = match unit.trim() {
        "1" => String::new(),
        // The value may be a fraction; the translation looks at the unit alone.
        "%" => "percent".to_owned(),
        unit => word_for(unit, &UNIT_WORDS),
    };
    let per = word_for(per.trim(), &PER_WORDS);
    if per.is_empty() {
        return (unit, per);
    }
    (unit, format!("per_{per}"))
}

fn word_for(unit: &str, words: &[(&str, &str)]) -> String {
    if unit.contains(['{', '}']) {
        return String::new();
    }
    let known = words.iter().find(|(known, _)| *known == unit);
    let word = known.map_or(unit, |(_, word)| word);
    escaped(word).trim_matches('_').to_owned()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// With `_` for each character that names of Prometheus do not have, and one for several.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if is_plain(c) { c } else { '_' };
        if c != '_' || !escaped.ends_with('_') {
            escaped.push(c);
        }
    }
    escaped
}

/// The label for an attribute. A label that begins with `_` is Prometheus's own, and none begins with a digit.
fn label_name(attribute: &str) -> String {
    let mut label = escaped(&attribute.replace(':', "_"));
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "key_");
    } else if label.starts_with('_') {
        label.insert_str(0, "key");
    }
    label
}

/// Labels by name. Attributes whose names become one label stand in it together, in the order of their names.
pub(super) fn labels<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    let mut sorted: Vec<(&str, Cow<'_, str>)> = attributes
        .into_iter()
        .filter_map(|attribute| {
            let value = attribute.value.as_ref()?.value.as_ref()?;
            Some((attribute.key.as_str(), text(value)?))
        })
        .collect();
    sorted.sort();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in sorted {
        let mut name = label_name(key);
        // These two tell whose the series is.
        if matches!(name.as_str(), "job" | "instance") {
            name.insert_str(0, "exported_");
        }
        labels
            .entry(name)
            .and_modify(|values| {
                values.push(';');
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    labels
}

/// `None` for what kevmon does not export: lists and bytes.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::StringValue(text) => Cow::Borrowed(text),
        Value::BoolValue(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::IntValue(number) => Cow::Owned(number.to_string()),
        Value::DoubleValue(number) => Cow::Owned(number.to_string()),
        _ => return None,
    })
}

/// Appends `name="value"`, behind a comma where something stands before it.
pub(super) fn write_label(to: &mut String, name: &str, value: &str) {
    if !to.is_empty() {
        to.push(',');
    }
    // Writing to a String does not fail.
    let _: std::fmt::Result = write!(to, "{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            c => to.push(c),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::AnyValue;

    use super::*;

    #[test]
    fn names_follow_the_specification() {
        use Kind::{Counter, Gauge, Histogram, UpDownCounter};
        for (name, unit, kind, expected, shown) in [
            (
                "process.cpu.time",
                "s",
                Counter,
                "process_cpu_time_seconds",
                "seconds",
            ),
            (
                "cpu_user_time_total",
                "seconds",
                Counter,
                "cpu_user_time_seconds",
                "seconds",
            ),
            ("disk_read_bytes", "bytes", Counter, "disk_read_bytes", "bytes"),
            ("starts", "{process}", Counter, "starts", ""),
            ("ratio.of.sums", "1", Counter, "ratio_of_sums", ""),
            ("cpu_usage", "%", Gauge, "cpu_usage_percent", "percent"),
            ("cpu.utilization", "1", Gauge, "cpu_utilization_ratio", "ratio"),
            ("ratio.used", "1", Gauge, "used_ratio", "ratio"),
            ("balance", "1", UpDownCounter, "balance", ""),
            (
                "memory_rss_total",
                "bytes",
                Gauge,
                "memory_rss_total_bytes",
                "bytes",
            ),
            (
                "process_count",
                "processes",
                UpDownCounter,
                "process_count_processes",
                "processes",
            ),
            // A word that is in the name already is not repeated, and the unit that OpenMetrics shows must end the name.
            (
                "max_threads_per_process",
                "threads",
                Gauge,
                "max_threads_per_process",
                "",
            ),
            (
                "voluntary_ctx_switches",
                "switches",
                Counter,
                "voluntary_ctx_switches",
                "switches",
            ),
            ("downtime", "s", Histogram, "downtime_seconds", "seconds"),
            ("web-1..x__y.starts", "{process}", Gauge, "web_1_x_y_starts", ""),
            ("seconds", "s", Gauge, "seconds", "seconds"),
            ("kiloseconds", "s", Gauge, "kiloseconds_seconds", "seconds"),
            ("total.of.totals", "By", Counter, "of_totals_bytes", "bytes"),
            ("read", "By/s", Gauge, "read_bytes_per_second", "bytes_per_second"),
            ("read", "{request}/s", Gauge, "read_per_second", "per_second"),
            ("read", "{request}/{job}", Gauge, "read", ""),
            ("read", "By/{job}", Gauge, "read_bytes", "bytes"),
            ("fuel", "l/100km", Gauge, "fuel_l_per_100km", "l_per_100km"),
            ("odd", "°C", Gauge, "odd_C", "C"),
            ("empty", "", Gauge, "empty", ""),
            ("9lives", "{life}", Gauge, "_9lives", ""),
            ("größe", "By", Gauge, "gr_e_bytes", "bytes"),
            ("a:b", "kBy", Gauge, "a:b_kBy", "kBy"),
        ] {
            let family = family_name(name, unit, kind);
            assert_eq!(family, expected, "{name} {unit}");
            let unit = shown_unit(&family, unit, kind);
            assert_eq!(unit.as_deref().unwrap_or_default(), shown, "{name}");
        }
    }

    #[test]
    fn labels_follow_the_specification() {
        let attribute = |key: &str, value: Value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        let labels = labels(&[
            attribute("kevmon.exit.reason", Value::StringValue("exit".to_owned())),
            attribute("process.exit.code", Value::IntValue(7)),
            attribute("core-dumped", Value::BoolValue(true)),
            attribute("a_b", Value::StringValue("second".to_owned())),
            attribute("a.b", Value::StringValue("first".to_owned())),
            attribute("job", Value::StringValue("other".to_owned())),
            attribute("4th", Value::DoubleValue(0.5)),
            attribute("__own", Value::BoolValue(true)),
            attribute("none", Value::BytesValue(Vec::new())),
        ]);
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            labels,
            [
                ("a_b", "first;second"),
                ("core_dumped", "true"),
                ("exported_job", "other"),
                ("kevmon_exit_reason", "exit"),
                ("key_4th", "0.5"),
                ("key_own", "true"),
                ("process_exit_code", "7"),
            ]
        );
    }

    #[test]
    fn values_are_escaped() {
        let mut text = String::new();
        write_label(&mut text, "a", "C:\\x \"y\"\nz");
        write_label(&mut text, "b", "ü{}");
        assert_eq!(text, r#"a="C:\\x \"y\"\nz",b="ü{}""#);
    }
}
