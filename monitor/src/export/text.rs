//! Collections as text for people: a header line for each service, then what is known of it in sections.

mod header;

use std::time::Duration;

use self::header::Headers;
use super::{
    amounts::{Amount, Precision},
    collection::{Busy, Collection, ServiceReading},
    fields::{ENDED, Field, JOINED, LIVES, NOW, PEAKS, USED},
    page::{Column, Line, Page, Piece, Table, Tone},
    text_detail,
    words::{self, span},
};
use crate::{
    metrics::HealthReading,
    plugin::{Durations, Reading, collector::Custom},
    process::Reason,
};

/// Processes listed at most for each service, unless all are asked for.
pub const LISTED: usize = 5;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detail {
    /// How numbers are written.
    pub precision: Precision,
    /// Zeros are shown, and every process is listed.
    pub all: bool,
}

/// Where values begin.
const VALUES: usize = 26;
/// Where labels begin.
pub(super) const LABELS: usize = 4;

/// One collection, service by service: ✓ with its values, or ✗ with the likely causes.
pub fn render(collection: &Collection, detail: Detail) -> Page {
    let mut page = Page::default();
    head(&mut page, &collection.health);
    let headers = Headers::of(collection, detail);
    for (service, header) in collection.services.iter().zip(headers.lines) {
        page.gap();
        page.push(header);
        let of = Service {
            collection,
            service,
            detail,
        };
        match Found::of(service) {
            Found::Nothing => {
                for cause in explain_absence(service, &collection.health) {
                    let mut line = Line::indented(LABELS);
                    line.add(Tone::Faint, "- ").hang().add(Tone::Plain, cause);
                    page.push(line);
                }
            }
            Found::Values => of.custom(&mut page),
            Found::Processes => of.sections(&mut page),
        }
    }
    page
}

/// How the collection was made, and what it may lack.
fn head(page: &mut Page, health: &HealthReading) {
    let (complete, tone) = match (health.complete, health.complete_totals) {
        (true, true) => ("complete", Tone::Plain),
        (true, false) => ("counts complete, totals not", Tone::Warning),
        (false, _) => ("not complete", Tone::Warning),
    };
    let mut line = Line::default();
    let source = format!("source: {} ({}), ", health.source, health.source_reason);
    line.add(Tone::Faint, source).add(tone, complete);
    page.push(line);
    if let Some(hidden) = &health.hidden {
        page.line(0, Tone::Warning, format!("not seen: {hidden}"));
    }
    let lost = health.lost.iter().filter(|(_, count)| *count > 0);
    let lost: Vec<String> = lost
        .map(|(program, count)| format!("{program} {count}"))
        .collect();
    if !lost.is_empty() {
        page.line(0, Tone::Warning, format!("lost: {}", lost.join(", ")));
    }
    if health.unattributed > 0 {
        let processes = counted(health.unattributed, "process", "processes");
        page.line(
            0,
            Tone::Warning,
            format!("not attributed to any service: {processes}"),
        );
    }
    if health.outages > 0 {
        let text = format!(
            "kevmon was away: {}, {} in all",
            counted(health.outages, "time", "times"),
            span(Duration::from_nanos(health.outage_ns))
        );
        page.line(0, Tone::Warning, text);
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What there is to tell of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Processes, at least one that has ended.
    Processes,
    /// It watches no process, and has values of its own.
    Values,
    /// No process.
    Nothing,
}

impl Found {
    fn of(service: &ServiceReading) -> Self {
        if service.plugin.patterns.is_empty() {
            Self::Values
        } else if service.reading.process_count > 0 || service.reading.happened.exits > 0 {
            Self::Processes
        } else {
            Self::Nothing
        }
    }
}

/// One service of a collection, as it is told.
struct Service<'a> {
    collection: &'a Collection,
    service: &'a ServiceReading,
    detail: Detail,
}

impl Service<'_> {
    fn sections(&self, page: &mut Page) {
        if !self.service.plugin.description.is_empty() {
            page.line(2, Tone::Faint, &self.service.plugin.description);
        }
        section(page, "now", None, self.now());
        let reading = &self.service.reading;
        let began = self.ago(self.collection.clock.unix(reading.usage_start));
        section(page, "since start", Some(&began), self.used());
        let watched = self.length_since(self.collection.wall.unix(reading.watch_start));
        section(
            page,
            "lifecycle",
            Some(&format!("in the {watched} watched")),
            self.lives(),
        );
        self.in_detail(page);
        self.custom(page);
        self.processes(page);
    }

    /// What the detailed mode adds.
    fn in_detail(&self, page: &mut Page) {
        let Some(detail) = &self.service.reading.detail else {
            return;
        };
        let lines = text_detail::lines(detail);
        if !lines.is_empty() {
            page.line(2, Tone::Strong, "in detail");
        }
        for line in lines {
            page.line(LABELS, Tone::Plain, line);
        }
    }

    fn length_since(&self, unix: u64) -> String {
        let nanos = self.collection.time.saturating_sub(unix);
        self.detail.precision.length(nanos)
    }

    fn ago(&self, unix: u64) -> String {
        format!("{} ago", self.length_since(unix))
    }

    fn now(&self) -> Vec<Entry> {
        let reading = &self.service.reading;
        let precision = self.detail.precision;
        let mut entries = Vec::new();
        if reading.process_count == 0 {
            return entries;
        }
        // The header says that they are not known; here is why.
        let of_header = [
            ("CPU", reading.cpus.is_none(), Kind::Rate),
            ("RSS", reading.rss.is_none(), Kind::Gauge),
        ];
        for (label, _, kind) in of_header.into_iter().filter(|(_, is_unknown, _)| *is_unknown) {
            entries.push(self.unknown(label, kind));
        }
        if reading.process_count > 1 {
            let mean = Amount::Cpus(reading.cpu_usage);
            entries.extend(self.entry("CPU of each, mean", mean, mean.text(precision), Kind::Rate));
        }
        for field in NOW {
            let amount = (field.amount)(reading);
            let mut text = amount.text(precision);
            if field.label == "threads"
                && let Some(text) = &mut text
                && let Some(spread) = threads(reading, precision)
            {
                *text += &spread;
            }
            entries.extend(self.entry(field.label, amount, text, Kind::Gauge));
        }
        entries
    }

    fn used(&self) -> Vec<Entry> {
        let reading = &self.service.reading;
        let mut entries: Vec<Entry> = USED
            .iter()
            .filter_map(|field| self.field(field, Kind::Usage))
            .collect();
        // Of a single process that has never been larger than now the header has it already.
        let is_in_header = reading.peak_rss.is_some() && reading.peak_rss == reading.rss;
        let is_known_or_missed = reading.process_count > 0 || reading.peak_rss.is_some();
        if is_known_or_missed && (self.detail.all || !is_in_header) {
            entries.extend(PEAKS.iter().filter_map(|field| self.field(field, Kind::Gauge)));
        }
        entries
    }

    fn lives(&self) -> Vec<Entry> {
        let reading = &self.service.reading;
        let mut entries = Vec::new();
        let happened = &reading.happened;
        // Where nothing else has happened, they were there when kevmon looked first, and are counted in the header.
        let were_there = happened.joins == reading.process_count
            && happened.starts + happened.worker_starts + happened.exits + happened.leaves == 0;
        for field in LIVES {
            if field.label == JOINED && were_there && !self.detail.all {
                continue;
            }
            let Some(mut entry) = self.field(field, Kind::Happened) else {
                continue;
            };
            if field.label == ENDED {
                entry.reasons(&reading.exits);
            }
            entries.push(entry);
        }
        for (label, durations) in [("downtime", &reading.downtime), ("lifetime", &reading.lifetime)] {
            if let Some(text) = lengths(durations, self.detail.precision) {
                entries.push(Entry::plain(label, text));
            }
        }
        let moments = [
            ("last start", reading.last_start),
            ("last end", reading.last_exit),
        ];
        for (label, moment) in moments {
            if let Some(moment) = moment {
                let ago = self.ago(self.collection.wall.unix(moment));
                entries.push(Entry::plain(label, ago));
            }
        }
        entries
    }

    fn field(&self, field: &Field, kind: Kind) -> Option<Entry> {
        let reading = &self.service.reading;
        let text = field.text(self.detail.precision, |part| part(reading));
        self.entry(field.label, (field.amount)(reading), text, kind)
    }

    /// `None`: it is zero, and zeros are not asked for.
    fn entry(&self, label: &'static str, amount: Amount, text: Option<String>, kind: Kind) -> Option<Entry> {
        if amount.is_zero() && !self.detail.all {
            return None;
        }
        Some(match text {
            Some(text) => Entry::plain(label, text),
            None => self.unknown(label, kind),
        })
    }

    fn unknown(&self, label: &'static str, kind: Kind) -> Entry {
        Entry {
            label: label.to_owned(),
            value: Vec::new(),
            why_unknown: Some(kind.why_unknown(&self.collection.health)),
        }
    }

    /// What collectors brought.
    fn custom(&self, page: &mut Page) {
        let values = &self.service.extra.custom;
        let entries = values.iter().map(|value| {
            let shown = match &value.value {
                Custom::Int(number) | Custom::IntSum { value: number, .. } => number.to_string(),
                Custom::Float(number) | Custom::FloatSum { value: number, .. } => number.to_string(),
                Custom::Text(shown) => shown.clone(),
            };
            let shown = [&shown, " ", &value.unit].concat();
            let attributes: String = value
                .attributes
                .iter()
                .map(|(key, text)| format!("  {key}={text}"))
                .collect();
            Entry {
                label: value.name.clone(),
                value: vec![
                    Piece::new(Tone::Plain, shown.trim_end()),
                    Piece::new(Tone::Faint, attributes),
                ],
                why_unknown: None,
            }
        });
        section(page, "values", None, entries.collect());
    }

    /// The processes that use the most.
    fn processes(&self, page: &mut Page) {
        let processes = &self.service.reading.processes;
        let busiest = &self.service.extra.busiest;
        if processes.is_empty() {
            return;
        }
        let precision = self.detail.precision;
        if let [process] = processes.as_slice() {
            // The header and the section above tell all else of it.
            let mut line = Line::indented(2);
            line.add(Tone::Strong, "process");
            line.add(Tone::Plain, format!(" {} ", process.key.tgid)).hang();
            line.add(Tone::Plain, &process.name);
            page.push(line);
            return;
        }
        let title = if processes.len() > busiest.len() {
            "busiest processes"
        } else {
            "processes, the busiest first"
        };
        page.line(2, Tone::Strong, title);
        let columns = [
            ("PID", true),
            ("CPU", true),
            ("RSS", true),
            ("AGE", true),
            ("NAME", false),
        ];
        let columns = columns.map(|(title, is_right)| Column { title, is_right });
        let mut table = Table::new(&columns);
        for Busy {
            key,
            name,
            cpus,
            rss,
            age,
        } in busiest
        {
            let cell = |text: Option<String>| match text {
                Some(text) => Piece::new(Tone::Plain, text),
                None => Piece::new(Tone::Warning, "not known"),
            };
            table.row(vec![
                cell(Some(key.tgid.to_string())),
                cell(Amount::Cpus(*cpus).text(precision)),
                cell(Amount::Bytes(*rss).text(precision)),
                cell(
                    u64::try_from(age.as_nanos())
                        .ok()
                        .map(|age| precision.length(age)),
                ),
                Piece::new(Tone::Plain, name),
            ]);
        }
        table.put(page, LABELS);
        let more = processes.len().saturating_sub(busiest.len());
        if more > 0 {
            page.line(LABELS, Tone::Faint, format!("and {more} more (--all lists them)"));
        }
    }
}

/// A label and its value.
pub(super) struct Entry {
    label: String,
    value: Vec<Piece>,
    /// Why there is no value.
    why_unknown: Option<&'static str>,
}

impl Entry {
    pub(super) fn plain(label: &str, text: impl AsRef<str>) -> Self {
        Self {
            label: label.to_owned(),
            value: vec![Piece::new(Tone::Plain, text)],
            why_unknown: None,
        }
    }

    /// Adds why members ended: `4: exit 7 3 times, OOM kill`.
    pub(super) fn reasons(&mut self, reasons: &[(Reason, u64)]) {
        for (index, (reason, count)) in reasons.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            let times = match count {
                1 => String::new(),
                count => format!(" {count} times"),
            };
            let tone = if reason.is_success() {
                Tone::Plain
            } else {
                Tone::Warning
            };
            let text = format!("{}{times}", words::reason(*reason));
            self.value.push(Piece::new(Tone::Plain, before));
            self.value.push(Piece::new(tone, text));
        }
    }

    pub(super) fn put(self, page: &mut Page) {
        let mut line = Line::indented(LABELS);
        line.add(Tone::Faint, self.label).pad(VALUES).hang();
        for piece in self.value {
            line.push(piece);
        }
        page.push(line);
    }
}

/// A section, unless nothing is in it: what is known, and then what is not.
fn section(page: &mut Page, title: &str, remark: Option<&str>, entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    let mut line = Line::indented(2);
    line.add(Tone::Strong, title);
    if let Some(remark) = remark {
        line.add(Tone::Faint, format!(" ({remark})"));
    }
    page.push(line);
    // What is not known for one reason stands in one line.
    let mut unknown: Vec<(&'static str, Vec<String>)> = Vec::new();
    for entry in entries {
        match entry.why_unknown {
            None => entry.put(page),
            Some(why) => match unknown.iter_mut().find(|(known, _)| *known == why) {
                Some((_, labels)) => labels.push(entry.label),
                None => unknown.push((why, vec![entry.label])),
            },
        }
    }
    for (why, labels) in unknown {
        let text = format!("{}: {why}", labels.join(", "));
        Entry {
            label: "not known".to_owned(),
            value: vec![Piece::new(Tone::Warning, text)],
            why_unknown: None,
        }
        .put(page);
    }
}

/// `: 4 to 12 a process`, of several.
fn threads(reading: &Reading, precision: Precision) -> Option<String> {
    if reading.process_count < 2 {
        return None;
    }
    let (least, most) = reading.min_threads.zip(reading.max_threads)?;
    let mean = reading.avg_threads?;
    Some(match precision {
        Precision::Human if least == most => format!(": {least} a process"),
        Precision::Human => format!(": {least} to {most} a process"),
        Precision::Exact => format!(": {least} to {most} a process, {mean:.6} in the mean"),
    })
}

/// `250 ms`; of several `250 ms at last, 1.200 s in the mean of 4`.
fn lengths(durations: &Durations, precision: Precision) -> Option<String> {
    let last = durations.last?;
    let mean = durations.sum.checked_div(durations.count())?;
    Some(match durations.count() {
        1 => precision.length(last),
        count => format!(
            "{} at last, {} in the mean of {count}",
            precision.length(last),
            precision.length(mean)
        ),
    })
}

/// Where a value comes from, which says why it may not be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// CPU time over time.
    Rate,
    /// Read of each live process.
    Gauge,
    /// Counted by the kernel.
    Usage,
    /// Counted by kevmon.
    Happened,
}

impl Kind {
    pub(super) fn why_unknown(self, health: &HealthReading) -> &'static str {
        let is_proc = health.source == "proc";
        if health.hidden.is_some() {
            return "/proc hides processes, see above";
        }
        match self {
            Self::Rate if health.complete_totals => "no process lived long enough to be measured",
            Self::Rate => "what some processes used could not be read",
            Self::Gauge if is_proc => {
                "/proc shows it to root and to the process's own user (or give kevmon CAP_SYS_PTRACE)"
            }
            Self::Gauge => "no process could be read before it ended",
            Self::Usage if is_proc => {
                "this kernel does not count it, or /proc shows it to root and to the process's own user alone"
            }
            Self::Usage => "this kernel does not count it, or a process's totals were lost",
            Self::Happened => "not every process could be listed",
        }
    }
}

/// Why a service may have found nothing.
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
mod tests;
