//! Names, units and labels as Prometheus wants them: the OpenTelemetry specification "Prometheus and OpenMetrics
//! Compatibility".

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

/// What a family is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A gauge that is always 1, with a type of its own in OpenMetrics.
    Info,
}

/// The word for a unit; `None` where there is nothing to say: `{process}`, and the original framework's `processes`, count
/// what the name tells.
pub(super) fn unit_word(unit: &str, kind: Kind) -> Option<&'static str> {
    Some(match unit {
        // The original framework's `%` is a fraction, as every `1` of a gauge.
        "%" => "ratio",
        "1" if kind == Kind::Gauge => "ratio",
        "s" | "seconds" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "min" => "minutes",
        "h" => "hours",
        "d" => "days",
        "By" | "bytes" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "Hz" => "hertz",
        "Cel" => "celsius",
        _ => return None,
    })
}

/// The name of a metric's family. A counter's samples have `_total` behind it.
pub(super) fn family_name(name: &str, unit: Option<&str>, kind: Kind) -> String {
    let mut family = plain(name, ':');
    if kind == Kind::Counter
        && let Some(stem) = family.strip_suffix("_total")
    {
        family.truncate(stem.len());
    }
    if let Some(unit) = unit
        && family != unit
        && !family.ends_with(&format!("_{unit}"))
    {
        family.push('_');
        family.push_str(unit);
    }
    family
}

/// With `_` for every character that Prometheus's names do not have, but `also`, and one for several.
fn plain(name: &str, also: char) -> String {
    let mut plain = String::with_capacity(name.len() + 1);
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || c == also {
            c
        } else {
            '_'
        };
        if c == '_' && plain.ends_with('_') {
            continue;
        }
        if plain.is_empty() && c.is_ascii_digit() {
            plain.push('_');
        }
        plain.push(c);
    }
    plain
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
        let mut name = plain(key, '_');
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
        use Kind::{Counter, Gauge, Histogram};
        for (name, unit, kind, expected) in [
            ("process.cpu.time", "s", Counter, "process_cpu_time_seconds"),
            ("cpu_user_time_total", "seconds", Counter, "cpu_user_time_seconds"),
            ("disk_read_bytes", "bytes", Counter, "disk_read_bytes"),
            ("starts", "{process}", Counter, "starts"),
            ("ratio.of.sums", "1", Counter, "ratio_of_sums"),
            ("cpu_usage", "%", Gauge, "cpu_usage_ratio"),
            (
                "process.cpu.utilization",
                "1",
                Gauge,
                "process_cpu_utilization_ratio",
            ),
            ("memory_rss_total", "bytes", Gauge, "memory_rss_total_bytes"),
            ("process_count", "processes", Gauge, "process_count"),
            ("downtime", "s", Histogram, "downtime_seconds"),
            ("web-1..x__y.starts", "{process}", Gauge, "web_1_x_y_starts"),
            ("seconds", "s", Gauge, "seconds"),
            ("kiloseconds", "s", Gauge, "kiloseconds_seconds"),
            ("9lives", "{life}", Gauge, "_9lives"),
            ("größe", "By", Gauge, "gr_e_bytes"),
        ] {
            assert_eq!(family_name(name, unit_word(unit, kind), kind), expected, "{name}");
        }
    }

    /// A unit that is neither known nor a count of what the name tells would be left out in silence.
    #[test]
    fn every_unit_of_the_catalogue_is_known() {
        use crate::{metrics, plugin::Naming};
        let own = metrics::OWN.iter().map(|own| own.unit);
        for unit in metrics::metrics(Naming::Both)
            .map(|metric| metric.unit)
            .chain(metrics::process_metrics(Naming::Both).map(|metric| metric.unit))
            .chain(own)
        {
            let counted =
                unit.starts_with('{') || ["processes", "descriptors", "threads", "switches"].contains(&unit);
            assert_eq!(unit_word(unit, Kind::Gauge).is_none(), counted, "{unit}");
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
            attribute("none", Value::BytesValue(Vec::new())),
        ]);
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            labels,
            [
                ("_4th", "0.5"),
                ("a_b", "first;second"),
                ("core_dumped", "true"),
                ("exported_job", "other"),
                ("kevmon_exit_reason", "exit"),
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
