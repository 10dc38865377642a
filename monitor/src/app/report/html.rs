//! The page: HTML with its style and a small script in it. Charts and timelines are SVG that stretches to the screen; their texts
//! are HTML around it, so that they stay legible on a phone. Without the script all is there but the reading of single values.
//!
//! A process chooses its name. So all text goes through [`text`]: code points that reorder or hide text are shown by their number, and
//! what means something in HTML is escaped. The page's policy (CSP) lets nothing be loaded and no script run but its own, which
//! bears a number that nobody knows before.

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use super::{
    gather::{Mark, Report, Service},
    trace::{HEIGHT, Trace, WIDTH, place},
};
use crate::{
    app::local_time::{Local, wall},
    export::{Precision, Wall, span},
    shown::printable,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Events that a service's table has: the latest, or those around the crash.
const ROWS: usize = 300;
/// Events that a timeline has.
const MARKS: usize = 2_000;

/// `text` as it may stand in HTML, also within quotes.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::new();
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The whole page. Times are told by `date`.
pub(super) fn page(report: &Report, date: &dyn Fn(u64) -> Local) -> String {
    let nonce = format!("{:016x}", RandomState::new().build_hasher().finish());
    let title = format!("kevmon: {}", text(&report.title));
    let at = |time| {
        let Local { text: at, zone } = date(time);
        format!("{} {}", text(&at), text(&zone))
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'nonce-{nonce}'; \
         script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style nonce=\"{nonce}\">{STYLE}</style></head>\n<body>\n\
         <header><h1>{title}</h1>\n<p>{} to {}</p>\n<p class=\"soft\">Made {} by kevmon {}.</p></header>\n<main>\n",
        at(*report.range.start()),
        at(*report.range.end()),
        at(report.made),
        env!("CARGO_PKG_VERSION"),
    );
    page += PATTERNS;
    page += &completeness(report);
    if report.services.is_empty() {
        page += "<p>Nothing happened in this time, and nothing was recorded.</p>\n";
    }
    if !report.services.is_empty() {
        page += &overview(report, date);
    }
    for (number, service) in report.services.iter().enumerate() {
        page += &section(report, number, service, date);
    }
    let _ = writeln!(
        page,
        "</main>\n<script nonce=\"{nonce}\">{SCRIPT}</script>\n</body></html>"
    );
    page
}

/// What SVGs refer to.
const PATTERNS: &str = "<svg width=\"0\" height=\"0\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" \
     width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 8L8 0\"/></pattern></defs></svg>\n";

/// What is missing, by service.
fn completeness(report: &Report) -> String {
    let of_services = report.services.iter().flat_map(|service| {
        let label = text(&service.label);
        let sentence = move |missing: &String| format!("<bdi>{label}</bdi>: {}", text(missing));
        service.missing.iter().map(sentence)
    });
    let sentences: Vec<String> = report
        .missing
        .iter()
        .map(|missing| text(missing))
        .chain(of_services)
        .collect();
    if sentences.is_empty() {
        return "<section class=\"missing whole\" aria-label=\"Completeness\"><p>Nothing is known to be missing.</p></section>\n"
            .to_owned();
    }
    let items: String = sentences
        .iter()
        .map(|sentence| format!("<li>{sentence}</li>"))
        .collect();
    format!(
        "<section class=\"missing\" aria-label=\"Completeness\"><h3>What is missing</h3><ul>{items}</ul></section>\n"
    )
}

/// A row for each service: when it was down, and what happened.
fn overview(report: &Report, date: &dyn Fn(u64) -> Local) -> String {
    let mut out = String::from(
        "<section aria-label=\"Timelines\"><h2>Restarts and downtimes</h2>\n<p class=\"legend\">",
    );
    for (class, name) in [
        ("bad", "failed end"),
        ("exit", "end with code 0"),
        ("restart", "restart"),
        ("start", "start"),
    ] {
        let _ = write!(
            out,
            "<span><svg viewBox=\"0 0 20 10\" aria-hidden=\"true\"><line class=\"{class}\" x1=\"0\" x2=\"20\" y1=\"5\" \
             y2=\"5\"/></svg> {name}</span>"
        );
    }
    out += "<span><svg viewBox=\"0 0 20 10\" aria-hidden=\"true\"><rect class=\"down\" width=\"20\" height=\"10\"/></svg> down</span></p>\n";
    for (number, service) in report.services.iter().enumerate() {
        let _ = writeln!(
            out,
            "<div class=\"track\"><h3><a href=\"#s{number}\"><bdi>{}</bdi></a></h3>{}{}</div>",
            text(&service.label),
            timeline(report, service),
            axis(report, date)
        );
    }
    out + "</section>\n"
}

fn x(report: &Report, time: u64) -> f64 {
    place(&report.range, time) * WIDTH
}

fn timeline(report: &Report, service: &Service) -> String {
    let count = |kind| service.marks.iter().filter(|mark| mark.kind == kind).count();
    let mut out = format!(
        "<svg viewBox=\"0 0 1000 30\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Timeline of {}: {} starts, {} ends, {} \
         restarts, {} times down\">",
        text(&service.label),
        count("start"),
        count("exit"),
        count("restart"),
        service.downs.len()
    );
    for (from, until) in service.downs.iter().take(MARKS) {
        let (from, until) = (x(report, *from), x(report, *until));
        let width = (until - from).max(1.0);
        let _ = write!(
            out,
            "<rect class=\"down\" x=\"{from:.1}\" width=\"{width:.1}\" height=\"30\"/>"
        );
    }
    out += &marks(report, service, 30.0);
    out + "</svg>"
}

/// Lines where something happened. What falls on one place is one line.
fn marks(report: &Report, service: &Service, height: f64) -> String {
    let mut out = String::new();
    let mut drawn = BTreeMap::new();
    for mark in &service.marks {
        let x = x(report, mark.time);
        if drawn.insert(((x * 2.0) as u64, mark.class), ()).is_none() && drawn.len() <= MARKS {
            let _ = write!(
                out,
                "<line class=\"{}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>",
                mark.class
            );
        }
    }
    out
}

/// The times below a chart.
fn axis(report: &Report, date: &dyn Fn(u64) -> Local) -> String {
    let (from, until) = (*report.range.start(), *report.range.end());
    let is_long = until.saturating_sub(from) > 6 * 3_600_000_000_000;
    let at = |time| {
        let full = date(time).text;
        let cut = if is_long { 5..16 } else { 11..19 };
        text(full.get(cut).unwrap_or(&full))
    };
    format!(
        "<div class=\"ends\" aria-hidden=\"true\"><span>{}</span><span>{}</span><span>{}</span></div>",
        at(from),
        at(from + until.saturating_sub(from) / 2),
        at(until)
    )
}

fn section(report: &Report, number: usize, service: &Service, date: &dyn Fn(u64) -> Local) -> String {
    let label = text(&service.label);
    let mut out = format!("<section id=\"s{number}\" aria-label=\"{label}\"><h2><bdi>{label}</bdi></h2>\n");
    out += &ends(service);
    let charts = &service.charts;
    if charts.steps > 0 {
        out += "<p class=\"soft hint\">Point at a chart, or go to it with Tab and use the arrow keys, to read its values.</p>\n<div \
                class=\"grid\">\n";
        for (title, unit, trace) in [
            ("CPU", "CPU", &charts.cpu),
            ("Resident memory", "bytes", &charts.rss),
            ("Open descriptors", "", &charts.fds),
            ("Context switches", "/s", &charts.switches),
            ("Waiting for a CPU", "CPU", &charts.waits),
            ("Threads", "", &charts.threads),
            ("Processes", "", &charts.processes),
        ] {
            out += &chart(report, service, (title, unit, trace), date);
        }
        out += "</div>\n";
    }
    out += &table(report, service, date);
    out + "</section>\n"
}

/// Ends by reason, and how long lives and downtimes were.
fn ends(service: &Service) -> String {
    let mut out = String::new();
    if let Some(most) = service.exits.values().copied().max() {
        let all: u64 = service.exits.values().sum();
        let _ = write!(
            out,
            "<div class=\"scroll\"><table><caption class=\"soft\">{all} {} by reason</caption><tr><th>Reason</th><th \
             class=\"n\">Ends</th><th>Share</th></tr>",
            if all == 1 { "end" } else { "ends" }
        );
        let mut exits: Vec<(&String, &u64)> = service.exits.iter().collect();
        exits.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in exits {
            // The policy of the page lets no style stand at an element: an SVG has its width as an attribute.
            let _ = write!(
                out,
                "<tr><td>{}</td><td class=\"n\">{count}</td><td><svg width=\"{}\" height=\"10\" aria-hidden=\"true\"><rect \
                 class=\"down\" width=\"100%\" height=\"10\"/></svg> {:.0} %</td></tr>",
                text(reason),
                (count * 60).checked_div(most).unwrap_or(0).max(2),
                *count as f64 * 100.0 / all as f64
            );
        }
        out += "</table></div>\n";
    }
    for (title, lengths) in [
        ("Downtimes", &service.downtimes),
        ("Lifetimes", &service.lifetimes),
    ] {
        if let Some([least, middle, high, most]) = distribution(lengths) {
            let _ = writeln!(
                out,
                "<p>{title}: {} known, least {least}, median {middle}, 95 % up to {high}, most {most}.</p>",
                lengths.len()
            );
        }
    }
    out
}

/// The least, the median, the 95th percentile and the most.
fn distribution(lengths: &[u64]) -> Option<[String; 4]> {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    let at = |share: usize| sorted.get(last * share / 100).copied().unwrap_or(0);
    Some([0, 50, 95, 100].map(|share| span(Duration::from_nanos(at(share)))))
}

fn amount(unit: &str, value: f64) -> String {
    match unit {
        "bytes" => Precision::Human.bytes(value as u64),
        "" => format!("{value:.0}"),
        unit => format!("{value:.2} {unit}"),
    }
}

/// How far local time is ahead of UTC, ms.
fn offset(time: u64) -> i64 {
    let seconds = time / 1_000_000_000;
    let Wall { hour, minute, second } = wall(seconds);
    let local = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let utc = i64::try_from(seconds % 86_400).unwrap_or(0);
    // Zones are 12 hours behind at most, and 14 ahead.
    let ahead = (local - utc).rem_euclid(86_400);
    (if ahead > 14 * 3600 { ahead - 86_400 } else { ahead }) * 1000
}

fn chart(
    report: &Report,
    service: &Service,
    (title, unit, trace): (&str, &str, &Trace),
    date: &dyn Fn(u64) -> Local,
) -> String {
    if trace.is_empty() {
        return format!(
            "<div class=\"chart\"><h3>{title}</h3><p class=\"soft\">Not known in this time.</p></div>\n"
        );
    }
    let last = trace.last.map_or_else(String::new, |last| amount(unit, last));
    let most = amount(unit, trace.highest);
    let (from, until) = (*report.range.start() / 1_000_000, *report.range.end() / 1_000_000);
    let label = format!("{title} of {}: highest {most}, last {last}", text(&service.label));
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    for (from, until) in &service.charts.holes {
        let (from, until) = (x(report, *from), x(report, *until));
        let width = (until - from).max(1.0);
        let _ = write!(
            svg,
            "<rect class=\"hole\" x=\"{from:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
        );
    }
    if report.trigger.is_some() {
        svg += &marks(report, service, HEIGHT);
    }
    if let Some(trigger) = report.trigger {
        let x = x(report, trigger);
        let _ = write!(
            svg,
            "<line class=\"trigger\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>"
        );
    }
    let _ = write!(
        svg,
        "<path class=\"value\" d=\"{}\"/><line class=\"cursor\" y1=\"0\" y2=\"{HEIGHT}\"/></svg>",
        trace.path()
    );
    format!(
        "<div class=\"chart\"><h3>{title}</h3><div class=\"plot\" tabindex=\"0\" role=\"slider\" aria-label=\"{label}\" \
         aria-valuemin=\"0\" aria-valuemax=\"1\" aria-valuenow=\"0\" data-unit=\"{unit}\" data-top=\"{}\" data-from=\"{from}\" \
         data-until=\"{until}\" data-offset=\"{}\">{svg}<span class=\"top\">{most}</span></div>{}<p class=\"read\" \
         aria-hidden=\"true\">last {last}</p></div>\n",
        if trace.highest > 0.0 { trace.highest } else { 1.0 },
        offset(*report.range.start()),
        axis(report, date),
    )
}

/// The events, the latest or those around the crash.
fn table(report: &Report, service: &Service, date: &dyn Fn(u64) -> Local) -> String {
    let mut all: Vec<&Mark> = service.marks.iter().collect();
    all.sort_by_key(|mark| mark.time);
    if all.is_empty() {
        return "<p>No event is known in this time.</p>\n".to_owned();
    }
    let last = report.trigger.map_or(all.len(), |trigger| {
        let until = all.partition_point(|mark| mark.time <= trigger);
        (until + ROWS / 2).min(all.len())
    });
    let first = last.saturating_sub(ROWS);
    let shown = all.get(first..last).unwrap_or_default();
    let left = all.len() - shown.len();
    let mut out = format!(
        "<details open><summary>Events ({})</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Events of \
         {}\"><table><tr><th>Time</th><th>Event</th><th class=\"n\">Pid</th><th>Name</th><th>What</th></tr>\n",
        all.len(),
        text(&service.label)
    );
    for mark in shown {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td><bdi>{}</bdi></td><td><bdi>{}</bdi></td></tr>",
            text(&date(mark.time).text),
            mark.kind,
            mark.pid,
            text(&mark.name),
            text(&mark.what)
        );
    }
    out += "</table></div>\n";
    if left > 0 {
        let _ = writeln!(
            out,
            "<p class=\"soft\">{left} further events are not in this table; kevmon history has them.</p>"
        );
    }
    out + "</details>\n"
}
