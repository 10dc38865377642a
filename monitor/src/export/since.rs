//! What a single run that goes on from an earlier one prints below its own figures: what happened since the last run.

use serde_json::{Value as Json, json};

use super::{
    collection::{Collection, ServiceReading},
    fields::{ENDED, LIVES, Of, RESTARTS, USED},
    json,
    page::{Line, Page, Tone},
    text::{Detail, Entry, LABELS},
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
    pub fn text(&self, detail: Detail) -> Page {
        let mut page = Page::default();
        let Some(last) = self.last else {
            page.line(
                0,
                Tone::Plain,
                "since the last run: this is the first one; the next one goes on from it",
            );
            return page;
        };
        let ago = detail.precision.length(self.kept.time.saturating_sub(last.time));
        let boot = if last.same_boot {
            ""
        } else {
            ", and the host was booted in between"
        };
        let mut line = Line::default();
        line.add(Tone::Strong, format!("since the last run, {ago} ago{boot}"))
            .add(
                Tone::Warning,
                " (not complete: what began and ended in between is not seen):",
            );
        page.push(line);
        for service in &self.kept.services {
            if service.plugin.patterns.is_empty() {
                continue;
            }
            let name = format!("{} ({})", service.plugin.label(), service.plugin.service_name());
            page.line(2, Tone::Strong, name);
            match last.of(service) {
                Some(before) => grown(&mut page, before, &service.reading, detail),
                None => page.line(LABELS, Tone::Faint, "not watched by the last run"),
            }
        }
        page
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

fn grown(page: &mut Page, before: &Reading, now: &Reading, detail: Detail) {
    let mut any = false;
    let restarts = std::iter::once(&RESTARTS);
    for field in USED.iter().chain(LIVES).chain(restarts) {
        let growth = |part: Of| part(now).since(part(before));
        let amount = growth(field.amount);
        if amount.is_zero() && !detail.all {
            continue;
        }
        let Some(text) = field.text(detail.precision, growth) else {
            continue;
        };
        any |= !amount.is_zero();
        let mut entry = Entry::plain(field.label, text);
        if field.label == ENDED {
            entry.reasons(&ends(before, now));
        }
        entry.put(page);
    }
    if !any {
        page.line(LABELS, Tone::Faint, "nothing has changed");
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
    use crate::export::{collection::tests::collection, page::Look};

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
        let told = |continued: &Continued<'_>| {
            let page = continued.text(Detail::default());
            page.paint(Look::default()).as_str().to_owned()
        };
        let text = told(&continued);
        assert!(
            text.starts_with("since the last run, 1m 00s ago (not complete"),
            "{text}"
        );
        for line in [
            "    started               2",
            "    ended                 1: OOM kill",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line:?} is not in\n{text}"
            );
        }
        assert!(!text.contains("exit 7") && !text.contains("restarts"), "{text}");
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
        assert!(told(&first).contains("the first one"), "{}", told(&first));
        assert_eq!(first.json().len(), 1, "only what is kept");
    }
}
