//! Values as `kevmon plugin run` prints them: `2014-07-29 20:22:06.789Z [name(id)] metric value key=value…`.

use crate::{
    export::{Collection, ServiceReading, iso8601_millis},
    metrics::{Attribute, Attributes, Measure, ProcessMetric, of_plugin, process_metrics},
    plugin::{
        Plugin,
        collector::{Custom, CustomValue},
    },
    shown,
};

/// Lines of one plugin at one time.
pub(super) struct Lines {
    /// The plugin and its instance, in brackets.
    of: String,
    time: u64,
    text: String,
}

impl Lines {
    pub(super) fn new(plugin: &Plugin, time: u64) -> Self {
        let id = plugin.instance.as_deref().unwrap_or_default();
        Self {
            of: format!("[{}({id})]", plugin.name),
            time,
            text: String::new(),
        }
    }

    /// Everything that a reading would export.
    pub(super) fn reading(&mut self, collection: &Collection, service: &ServiceReading) {
        let naming = service.plugin.naming;
        for metric in of_plugin(&service.plugin) {
            for value in (metric.values)(&service.reading) {
                self.measure(metric.name, value.measure, pairs(value.attributes), collection);
            }
        }
        let Some(singles) = &service.reading.per_process else {
            return;
        };
        for process in &singles.processes {
            let of = [
                ("process.pid".to_owned(), process.key.tgid.to_string()),
                ("process.executable.name".to_owned(), process.exe.clone()),
            ];
            let asked = |metric: &&ProcessMetric| service.plugin.metrics.lets(metric.name);
            for metric in process_metrics(naming).filter(asked) {
                for point in metric.points {
                    if let Some(measure) = (point.value)(process) {
                        let own = point
                            .attribute
                            .map(|(key, value)| (key.to_owned(), value.to_owned()));
                        self.measure(
                            metric.name,
                            measure,
                            own.into_iter().chain(of.clone()).collect(),
                            collection,
                        );
                    }
                }
            }
        }
    }

    /// What a collector brought, with the time at which it was measured.
    pub(super) fn custom(&mut self, value: &CustomValue) {
        let written = match &value.value {
            Custom::Int(number) | Custom::IntSum { value: number, .. } => number.to_string(),
            Custom::Float(number) | Custom::FloatSum { value: number, .. } => number.to_string(),
            Custom::Text(text) => quoted(text),
        };
        self.line(value.time, &value.name, &written, &value.attributes);
    }

    fn measure(
        &mut self,
        name: &str,
        measure: Measure,
        mut pairs: Vec<(String, String)>,
        collection: &Collection,
    ) {
        let written = match measure {
            Measure::Integer(number) => number.to_string(),
            Measure::Float(number) => number.to_string(),
            Measure::Time(moment) => (collection.wall.unix(moment) as f64 / 1e9).to_string(),
            // A histogram has no one value: how many, and their sum in seconds.
            Measure::Timing(timing) => {
                pairs.push(("sum".to_owned(), (timing.sum as f64 / 1e9).to_string()));
                timing.count().to_string()
            }
            Measure::Spread(spread) => {
                let sum = spread.sum as f64 / spread.quantity.units();
                pairs.push(("sum".to_owned(), sum.to_string()));
                spread.count.to_string()
            }
            Measure::Durations(durations) => {
                pairs.push(("sum".to_owned(), (durations.sum as f64 / 1e9).to_string()));
                durations.counts.iter().sum::<u64>().to_string()
            }
        };
        self.line(self.time, name, &written, &pairs);
    }

    fn line(&mut self, time: u64, name: &str, value: &str, pairs: &[(String, String)]) {
        let time = iso8601_millis(time).replace('T', " ");
        let mut line = format!("{time} {} {name} {value}", self.of);
        for (key, value) in pairs {
            line.push_str(&format!(" {key}={}", word(value)));
        }
        self.text.push_str(&shown::printable(&line));
        self.text.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn pairs(attributes: Attributes) -> Vec<(String, String)> {
    let text = |attribute| match attribute {
        Attribute::Text(text) => text,
        Attribute::Integer(number) => number.to_string(),
        Attribute::Float(number) => number.to_string(),
        Attribute::Boolean(flag) => flag.to_string(),
    };
    attributes
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(value)))
        .collect()
}

/// A text in quotes, on one line, as JSON writes it.
fn quoted(text: &str) -> String {
    shown::json(&serde_json::Value::String(text.to_owned()).to_string()).into_owned()
}

/// A value as it is, where it is one word.
fn word(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "._:/@+-".contains(c);
    if !text.is_empty() && text.chars().all(is_word) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tracker::tests::plugin;

    #[test]
    fn a_line_is_scalyrs() {
        let value = |value, attributes: &[(&str, &str)]| CustomValue {
            name: "uniform".into(),
            unit: String::new(),
            description: String::new(),
            value,
            attributes: attributes
                .iter()
                .map(|&(key, value)| (key.into(), value.into()))
                .collect(),
            time: 1_406_665_326_789_000_000,
        };
        let collected = 1_406_665_330_000_000_000;
        for (instance, custom, line) in [
            (
                None,
                value(Custom::Float(0.5), &[("count", "1")]),
                "[web()] uniform 0.5 count=1",
            ),
            (
                Some("a"),
                value(Custom::Int(-3), &[("k", "a b")]),
                "[web(a)] uniform -3 k=\"a b\"",
            ),
            (
                None,
                value(Custom::Text("x\ny".into()), &[]),
                "[web()] uniform \"x\\ny\"",
            ),
        ] {
            let plugin = Plugin {
                name: "web".into(),
                instance: instance.map(str::to_owned),
                ..plugin("web")
            };
            let mut lines = Lines::new(&plugin, collected);
            lines.custom(&custom);
            assert_eq!(lines.finish(), format!("2014-07-29 20:22:06.789Z {line}\n"));
        }
    }
}
