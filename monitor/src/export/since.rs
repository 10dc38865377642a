//! What a single run that goes on from an earlier one prints below its own figures: what happened since the last run.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    collection::{Collection, ServiceReading},
    json,
    text::{self, row},
    words::{self, span},
};
use crate::{
    metrics::{INSTANA, Instrument, JSON_ONLY, Measure, Metric},
    plugin::{GroupId, Reading},
    process::Reason,
};

/// The totals that a run keeps, and those that it went on from.
#[derive(Debug, Clone, Copy)]
pub struct Continued<'a> {
    /// This run's totals, since the first watch.
    pub kept: &'a Collection,
    /// The run before this one; `None` for the first.
    pub last: Option<LastRun<'a>>,
}

/// The run before this one.
#[derive(Debug, Clone, Copy)]
pub struct LastRun<'a> {
    /// Its collection's time, Unix ns.
    pub time: u64,
    /// The host has not booted since.
    pub same_boot: bool,
    /// The totals that it kept, by group; a group that it did not watch is not among them.
    pub totals: &'a [(GroupId, Reading)],
}

impl LastRun<'_> {
    fn of(&self, service: &ServiceReading) -> Option<&Reading> {
        let (_, reading) = self.totals.iter().find(|(group, _)| *group == service.group)?;
        Some(reading)
    }
}

/// By how much a counter has grown.
fn growth(metric: &Metric, before: &Reading, now: &Reading) -> Option<Measure> {
    if metric.instrument != Instrument::Counter {
        return None;
    }
    match (metric.total(before)?, metric.total(now)?) {
        (Measure::Integer(before), Measure::Integer(now)) => {
            Some(Measure::Integer(now.saturating_sub(before)))
        }
        (Measure::Float(before), Measure::Float(now)) => Some(Measure::Float((now - before).max(0.0))),
        _ => None,
    }
}

fn growths<'a>(
    before: &'a Reading,
    now: &'a Reading,
) -> impl Iterator<Item = (&'static Metric, Measure)> + 'a {
    let metrics = INSTANA.iter().chain(JSON_ONLY);
    metrics.filter_map(|metric| Some((metric, growth(metric, before, now)?)))
}

/// Ends since then, by reason; those that happened.
fn ends(before: &Reading, now: &Reading) -> Vec<(Reason, u64)> {
    let earlier = |reason| before.exits.iter().find(|(known, _)| *known == reason);
    let grown = now.exits.iter().map(|&(reason, count)| {
        let earlier = earlier(reason).map_or(0, |(_, count)| *count);
        (reason, count.saturating_sub(earlier))
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

impl Continued<'_> {
    /// For people: what has grown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        let Some(last) = self.last else {
            row(
                text,
                format_args!("since the last run: this is the first one; the next one goes on from it"),
            );
            return;
        };
        let ago = Duration::from_nanos(self.kept.time.saturating_sub(last.time));
        let boot = if last.same_boot {
            ""
        } else {
            ", and the host was booted in between"
        };
        row(
            text,
            format_args!(
                "since the last run, {} ago{boot} (not complete: what began and ended in between is not seen):",
                span(ago)
            ),
        );
        for service in &self.kept.services {
            if service.plugin.patterns.is_empty() {
                continue;
            }
            row(
                text,
                format_args!("  {} ({})", service.plugin.label(), service.plugin.service_name()),
            );
            match last.of(service) {
                Some(before) => grown(text, before, &service.reading),
                None => row(text, format_args!("    not watched by the last run")),
            }
        }
    }

    /// The keys `kept` and `since_last_run` of the JSON.
    pub(super) fn json(&self) -> Vec<(&'static str, Json)> {
        let health = &self.kept.health;
        let plugins: Vec<Json> = self
            .kept
            .services
            .iter()
            .map(|service| json::plugin(self.kept, service))
            .collect();
        let mut keys = vec![(
            "kept",
            json!({
                "complete": health.complete,
                "complete_totals": health.complete_totals,
                "outages": health.outages,
                "outage_ns": health.outage_ns,
                "plugins": plugins,
            }),
        )];
        if let Some(last) = self.last {
            let plugins = self.kept.services.iter();
            let plugins: Vec<Json> = plugins
                .filter_map(|service| Some(since_json(service, last.of(service)?)))
                .collect();
            let since = json!({
                "time": last.time,
                "elapsed_ns": self.kept.time.saturating_sub(last.time),
                "same_boot": last.same_boot,
                "complete": false,
                "complete_totals": false,
                "plugins": plugins,
            });
            keys.push(("since_last_run", since));
        }
        keys
    }
}

fn grown(text: &mut String, before: &Reading, now: &Reading) {
    let mut any = false;
    for (metric, growth) in growths(before, now) {
        if matches!(growth, Measure::Integer(0)) || growth == Measure::Float(0.0) {
            continue;
        }
        if let Some(value) = text::with_unit(metric, growth) {
            any = true;
            text::line(text, metric.name, &value);
        }
    }
    for (reason, count) in ends(before, now) {
        text::line(text, &format!("  {}", words::reason(reason)), &count.to_string());
    }
    if !any {
        row(text, format_args!("    nothing has changed"));
    }
}

fn since_json(service: &ServiceReading, before: &Reading) -> Json {
    let now = &service.reading;
    let metrics = growths(before, now).filter_map(|(metric, growth)| {
        let number = match growth {
            Measure::Integer(integer) => json!(integer),
            Measure::Float(float) => json!(float),
            Measure::Time(_) | Measure::Durations(_) | Measure::Timing(_) | Measure::Spread(_) => {
                return None;
            }
        };
        Some((metric.name.to_owned(), number))
    });
    let mut object = json::known([
        ("plugin", Some(json!(service.plugin.name))),
        ("instance", service.plugin.instance.as_ref().map(|id| json!(id))),
    ]);
    object.insert("metrics".to_owned(), Json::Object(metrics.collect()));
    object.insert("exits_by_reason".to_owned(), json::exits(&ends(before, now)));
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::collection::tests::collection;

    #[test]
    fn what_has_grown_is_told_and_nothing_else() {
        let kept = collection();
        let mut before = kept.services[0].reading.clone();
        before.happened.starts -= 2;
        before.happened.exits -= 1;
        before.exits = vec![(Reason::Exit { code: 7 }, 3)];
        let totals = [(kept.services[0].group, before)];
        let last = LastRun {
            time: kept.time - 60_000_000_000,
            same_boot: true,
            totals: &totals,
        };
        let continued = Continued {
            kept: &kept,
            last: Some(last),
        };
        let text = continued.text();
        assert!(
            text.starts_with("since the last run, 1m 00s ago (not complete"),
            "{text}"
        );
        for line in [
            "    starts                       2 processes",
            "    exits                        1 process",
            "      OOM kill                   1",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line:?} is not in\n{text}"
            );
        }
        assert!(!text.contains("exit 7") && !text.contains("respawns"), "{text}");
        let json: serde_json::Map<String, Json> = continued
            .json()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let since = &json["since_last_run"];
        assert_eq!(since["plugins"][0]["metrics"]["starts"], 2);
        assert_eq!(since["plugins"][0]["metrics"]["respawns"], 0);
        assert!(
            since["plugins"][0]["metrics"].get("process_count").is_none(),
            "no counter"
        );
        assert_eq!(
            since["plugins"][0]["exits_by_reason"],
            json!([{ "reason": "oom", "count": 1 }])
        );
        assert_eq!(since["complete"], false);
        assert_eq!(json["kept"]["plugins"][0]["metrics"]["starts"], 9);

        let first = Continued {
            kept: &kept,
            last: None,
        };
        assert!(first.text().contains("the first one"), "{}", first.text());
        assert_eq!(first.json().len(), 1, "only what is kept");
    }
}
