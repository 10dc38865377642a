//! Collections as text for people.

use std::{fmt, time::Duration};

use super::{
    collection::{Collection, ServiceReading},
    text_detail,
    words::{self, span},
};
use crate::plugin::collector::Custom;
use crate::{
    metrics::{HealthReading, INSTANA, JSON_ONLY, Measure, Metric},
    plugin::Durations,
    process::Moment,
    shown::printable,
};

/// Processes listed at most for each plugin.
const LISTED: usize = 10;

/// Counts that are worth a line only where they are not zero.
const IF_ANY: [&str; 4] = ["unpaired_starts", "failed_starts", "respawns", "reexecs"];

/// One collection, plugin by plugin: ✓ with its values, or ✗ with the likely causes.
pub fn render(collection: &Collection) -> String {
    let mut text = String::new();
    write_all(&mut text, collection);
    text
}

/// One line: names in it come from elsewhere, and do not end it.
pub(super) fn row(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&printable(&line.to_string()));
    text.push('\n');
}

fn write_all(text: &mut String, collection: &Collection) {
    let complete = match (collection.health.complete, collection.health.complete_totals) {
        (true, true) => "complete",
        (true, false) => "counts complete, totals not",
        (false, _) => "not complete",
    };
    row(
        text,
        format_args!(
            "source: {} ({}), {complete}",
            collection.health.source, collection.health.source_reason
        ),
    );
    if let Some(hidden) = &collection.health.hidden {
        row(text, format_args!("not seen: {hidden}"));
    }
    losses(text, &collection.health);
    for service in &collection.services {
        if service.plugin.patterns.is_empty() {
            row(
                text,
                format_args!("{} {}: values of its own", mark(service), service.plugin.label()),
            );
            custom(text, service);
        } else if service.reading.process_count > 0 || service.reading.happened.exits > 0 {
            present(text, collection, service);
        } else {
            let found = if collection.health.hidden.is_some() {
                "not known, no visible process"
            } else {
                "no process found"
            };
            row(
                text,
                format_args!(
                    "✗ {} ({}): {found}",
                    service.plugin.name,
                    service.plugin.service_name()
                ),
            );
            for cause in explain_absence(service, &collection.health) {
                row(text, format_args!("    - {cause}"));
            }
        }
    }
}

/// ✓ where something was found.
fn mark(service: &ServiceReading) -> &'static str {
    if service.extra.custom.is_empty() {
        "✗"
    } else {
        "✓"
    }
}

/// What collectors brought.
fn custom(text: &mut String, service: &ServiceReading) {
    for value in &service.extra.custom {
        let shown = match &value.value {
            Custom::Int(number) | Custom::IntSum { value: number, .. } => number.to_string(),
            Custom::Float(number) | Custom::FloatSum { value: number, .. } => number.to_string(),
            Custom::Text(shown) => shown.clone(),
        };
        let attributes = value
            .attributes
            .iter()
            .map(|(key, text)| format!(" {key}={text}"));
        let shown = [&shown, " ", &value.unit].concat();
        line(
            text,
            &value.name,
            &format!("{}{}", shown.trim_end(), attributes.collect::<String>()),
        );
    }
}

/// What kevmon itself missed; nothing is the rule.
fn losses(text: &mut String, health: &HealthReading) {
    let lost = health.lost.iter().filter(|(_, count)| *count > 0);
    let lost: Vec<String> = lost
        .map(|(program, count)| format!("{program} {count}"))
        .collect();
    if !lost.is_empty() {
        row(text, format_args!("lost: {}", lost.join(", ")));
    }
    if health.unattributed > 0 {
        row(
            text,
            format_args!(
                "not attributed to any plugin: {}",
                count(health.unattributed, "process")
            ),
        );
    }
    if health.outages > 0 {
        let seconds = health.outage_ns as f64 / 1e9;
        row(
            text,
            format_args!(
                "kevmon was not there: {}, {seconds:.3} s",
                count(health.outages, "time")
            ),
        );
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {}", counted(noun, number == 1))
}

fn present(text: &mut String, collection: &Collection, service: &ServiceReading) {
    let reading = &service.reading;
    let plural = if reading.process_count == 1 {
        "process"
    } else {
        "processes"
    };
    row(
        text,
        format_args!(
            "✓ {} ({}): {} {plural}",
            service.plugin.name,
            service.plugin.service_name(),
            reading.process_count
        ),
    );
    if !service.plugin.description.is_empty() {
        row(text, format_args!("    {}", service.plugin.description));
    }
    for metric in INSTANA.iter().chain(JSON_ONLY) {
        match metric.total(reading).and_then(|total| with_unit(metric, total)) {
            _ if IF_ANY.contains(&metric.name) && metric.total(reading) == Some(Measure::Integer(0)) => {}
            Some(value) => line(text, metric.name, &value),
            None => line(text, metric.name, "not known"),
        }
    }
    custom(text, service);
    lives(text, collection, service);
    if let Some(detail) = &reading.detail {
        for line in text_detail::lines(detail) {
            row(text, format_args!("    {line}"));
        }
    }
    for process in reading.processes.iter().take(LISTED) {
        row(
            text,
            format_args!("    pid {:<10} {}", process.key.tgid, process.name),
        );
    }
    if reading.processes.len() > LISTED {
        row(
            text,
            format_args!("    … and {} more", reading.processes.len() - LISTED),
        );
    }
}

pub(super) fn line(text: &mut String, name: &str, value: &str) {
    row(text, format_args!("    {name:<28} {value}"));
}

/// How members ended and came back, as far as any did.
fn lives(text: &mut String, collection: &Collection, service: &ServiceReading) {
    let reading = &service.reading;
    for (reason, number) in &reading.exits {
        line(
            text,
            &format!("  {}", words::reason(*reason)),
            &number.to_string(),
        );
    }
    for (name, durations) in [("downtime", &reading.downtime), ("lifetime", &reading.lifetime)] {
        if let Some(value) = lengths(durations) {
            line(text, name, &value);
        }
    }
    let ago = |moment: Moment| {
        let nanos = collection.time.saturating_sub(collection.wall.unix(moment));
        format!("{} ago", span(Duration::from_nanos(nanos)))
    };
    for (name, moment) in [
        ("last_start_time", reading.last_start),
        ("last_exit_time", reading.last_exit),
    ] {
        if let Some(moment) = moment {
            line(text, name, &ago(moment));
        }
    }
    if reading.crash_loop {
        line(
            text,
            "crash_loop",
            "yes: processes keep failing and being replaced",
        );
    }
}

fn lengths(durations: &Durations) -> Option<String> {
    let last = durations.last?;
    let mean = durations.sum.checked_div(durations.count())?;
    Some(format!(
        "{} in the mean of {}, {} at last",
        span(Duration::from_nanos(mean)),
        durations.count(),
        span(Duration::from_nanos(last))
    ))
}

pub(super) fn with_unit(metric: &Metric, measure: Measure) -> Option<String> {
    Some(match (metric.unit, measure) {
        ("%", Measure::Float(share)) => format!("{:.2} %", share * 100.0),
        ("bytes" | "By", Measure::Integer(bytes)) => format!("{bytes} B{}", scaled(bytes)),
        ("seconds" | "s", Measure::Float(seconds)) => format!("{seconds:.6} s"),
        ("ns", Measure::Integer(nanos)) => format!("{nanos} ns"),
        (unit, Measure::Integer(number)) => count(number, unit),
        (unit, Measure::Float(value)) => format!("{value:.2} {}", counted(unit, false)),
        // These are no numbers, and have lines of their own.
        (_, Measure::Time(_) | Measure::Durations(_) | Measure::Timing(_) | Measure::Spread(_)) => {
            return None;
        }
    })
}

/// What is counted, in the right number; some units are plural already, others UCUM annotations in the singular.
fn counted(unit: &str, one: bool) -> String {
    let noun = unit.trim_matches(['{', '}']);
    match (noun, one) {
        ("processes" | "process", true) => "process".to_owned(),
        ("processes" | "process", false) => "processes".to_owned(),
        ("switches", true) => "switch".to_owned(),
        (noun, true) => noun.trim_end_matches('s').to_owned(),
        (noun, false) if noun.ends_with('s') => noun.to_owned(),
        (noun, false) => format!("{noun}s"),
    }
}

fn scaled(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    UNITS
        .iter()
        .find(|(_, size)| bytes >= *size)
        .map(|(unit, size)| format!(" ({:.1} {unit})", bytes as f64 / *size as f64))
        .unwrap_or_default()
}

/// Why a plugin may have found nothing.
fn explain_absence(service: &ServiceReading, health: &HealthReading) -> Vec<String> {
    let patterns: Vec<&str> = service.plugin.patterns.iter().map(regex::Regex::as_str).collect();
    let shown = patterns.join("\" or \"");
    let mut causes = vec![match &health.hidden {
        Some(hidden) => hidden.clone(),
        None => {
            format!(
                "nothing on this host is called \"{shown}\" at the moment (case does not matter): is it running?"
            )
        }
    }];
    causes.push(match service.plugin.origin {
        Some(_) => "it runs under another name: `ps -eo pid,comm,args` shows names; \
                    `kevmon --run-once --process-name REGEX` tries one"
            .to_owned(),
        None => "it runs under another name: `ps -eo pid,comm,args` shows names".to_owned(),
    });
    if patterns
        .iter()
        .any(|pattern| pattern.starts_with('^') || pattern.ends_with('$'))
    {
        causes.push("the pattern is anchored: ^ is where a name begins, $ where it ends".to_owned());
    }
    if health.source == "proc" {
        causes.push("it lives shorter than the interval: /proc shows only what runs at a scan".to_owned());
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::{super::collection::tests::collection, *};

    #[test]
    fn what_is_not_zero_is_shown() {
        let text = render(&collection());
        for line in [
            "lost: sched_process_exit 2, marks 1",
            "not attributed to any plugin: 3 processes",
            "kevmon was not there: 1 time, 1.500 s",
            "    exits                        4 processes",
            "      exit 7                     3",
            "      OOM kill                   1",
            "    respawns                     2 restarts",
            "    failed_starts                6 processes",
            "    downtime                     250 ms in the mean of 1, 250 ms at last",
            "    last_start_time              10.000 s ago",
            "    crash_loop                   yes: processes keep failing and being replaced",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line:?} is not in\n{text}"
            );
        }
    }

    #[test]
    fn names_do_nothing_to_a_terminal() {
        let all: String = crate::shown::tests::all().collect();
        let rendered = |name: &str| {
            let mut collection = collection();
            collection.health.source_reason = name.to_owned();
            collection.health.hidden = Some(name.to_owned());
            let service = &mut collection.services[0];
            let plugin = std::sync::Arc::make_mut(&mut service.plugin);
            plugin.name = name.to_owned();
            plugin.description = name.to_owned();
            plugin.instance = Some(name.to_owned());
            plugin.service.id = name.to_owned();
            service.reading.process_count = 1;
            for process in &mut service.reading.processes {
                process.name = name.into();
            }
            service.extra.custom = vec![crate::plugin::collector::CustomValue {
                name: name.to_owned(),
                unit: name.to_owned(),
                description: name.to_owned(),
                value: Custom::Text(name.to_owned()),
                attributes: vec![(name.to_owned(), name.to_owned())],
                time: 1,
            }];
            render(&collection)
        };
        let (plain, hostile) = (rendered("name"), rendered(&all));
        assert_eq!(plain.lines().count(), hostile.lines().count(), "{hostile}");
        let bad: Vec<char> = hostile
            .chars()
            .filter(|c| *c != '\n' && crate::shown::is_unsafe(*c))
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(hostile.contains("\\u{202e}"));
    }

    #[test]
    fn zeros_of_the_rare_are_not_shown() {
        let mut quiet = collection();
        quiet.health = HealthReading::default();
        let reading = &mut quiet.services[0].reading;
        reading.happened = crate::plugin::reading::Happened::default();
        reading.process_count = 1;
        reading.exits.clear();
        reading.downtime = Durations::default();
        reading.crash_loop = false;
        let text = render(&quiet);
        for word in [
            "lost",
            "attributed",
            "was not there",
            "respawns",
            "failed_starts",
            "downtime",
            "crash",
        ] {
            assert!(!text.contains(word), "{word:?} in\n{text}");
        }
        assert!(
            text.contains("    restarts                     0 restarts\n"),
            "{text}"
        );
    }

    #[test]
    fn one_process_two_processes() {
        for (unit, one, many) in [
            ("processes", "process", "processes"),
            ("{process}", "process", "processes"),
            ("switches", "switch", "switches"),
            ("threads", "thread", "threads"),
            ("descriptors", "descriptor", "descriptors"),
            ("{restart}", "restart", "restarts"),
        ] {
            assert_eq!(
                (counted(unit, true).as_str(), counted(unit, false).as_str()),
                (one, many)
            );
        }
    }
}
