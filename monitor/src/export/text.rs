//! Collections as text for people.

use std::fmt::{self, Write};

use super::collection::{Collection, ServiceReading};
use crate::metrics::{INSTANA, JSON_ONLY, Metric, Number};

/// Processes listed at most for each plugin.
const LISTED: usize = 10;

/// One collection, plugin by plugin: ✓ with its values, or ✗ with the likely causes.
pub fn render(collection: &Collection) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _: fmt::Result = write_all(&mut text, collection);
    text
}

fn write_all(text: &mut String, collection: &Collection) -> fmt::Result {
    let complete = if collection.health.complete {
        "complete"
    } else {
        "not complete"
    };
    writeln!(
        text,
        "source: {} ({}), {complete}",
        collection.health.source, collection.health.source_reason
    )?;
    for service in &collection.services {
        if service.reading.process_count > 0 || service.reading.happened.exits > 0 {
            present(text, service)?;
        } else {
            writeln!(
                text,
                "✗ {} ({}): no process found",
                service.plugin.name, service.plugin.service
            )?;
            for cause in explain_absence(service, collection.health.source) {
                writeln!(text, "    - {cause}")?;
            }
        }
    }
    Ok(())
}

fn present(text: &mut String, service: &ServiceReading) -> fmt::Result {
    let reading = &service.reading;
    let plural = if reading.process_count == 1 {
        "process"
    } else {
        "processes"
    };
    writeln!(
        text,
        "✓ {} ({}): {} {plural}",
        service.plugin.name, service.plugin.service, reading.process_count
    )?;
    if !service.plugin.description.is_empty() {
        writeln!(text, "    {}", service.plugin.description)?;
    }
    for metric in INSTANA.iter().chain(JSON_ONLY) {
        match (metric.values)(reading).first() {
            Some(value) => writeln!(
                text,
                "    {:<28} {}",
                metric.name,
                with_unit(metric, value.number)
            )?,
            None => writeln!(text, "    {:<28} not known", metric.name)?,
        }
    }
    for process in reading.processes.iter().take(LISTED) {
        writeln!(text, "    pid {:<10} {}", process.key.tgid, process.name)?;
    }
    if reading.processes.len() > LISTED {
        writeln!(text, "    … and {} more", reading.processes.len() - LISTED)?;
    }
    Ok(())
}

fn with_unit(metric: &Metric, number: Number) -> String {
    match (metric.unit, number) {
        ("%", Number::Float(share)) => format!("{:.2} %", share * 100.0),
        ("bytes" | "By", Number::Integer(bytes)) => format!("{bytes} B{}", scaled(bytes)),
        ("seconds" | "s", Number::Float(seconds)) => format!("{seconds:.6} s"),
        ("ns", Number::Integer(nanos)) => format!("{nanos} ns"),
        (unit, Number::Integer(count)) => format!("{count} {}", counted(unit, count == 1)),
        (unit, Number::Float(value)) => format!("{value:.2} {}", counted(unit, false)),
    }
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
fn explain_absence(service: &ServiceReading, source: &str) -> Vec<String> {
    let patterns: Vec<&str> = service.plugin.patterns.iter().map(regex::Regex::as_str).collect();
    let shown = patterns.join("\" or \"");
    let mut causes = vec![format!(
        "nothing on this host is called \"{shown}\" at the moment (case does not matter): is it running?"
    )];
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
    if source == "proc" {
        causes.push("it lives shorter than the interval: /proc shows only what runs at a scan".to_owned());
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

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
