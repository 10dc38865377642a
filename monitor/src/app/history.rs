//! `kevmon history`: what the store has kept, as a table for people and as JSON lines, in the words of `kevmon events`.
//! The JSON is documented in docs/store.md and stable: keys are added, never changed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};

use super::{
    Exit,
    local_time::{self, Local},
    output, state_path, terminal,
};
use crate::{
    cli::HistoryArgs,
    config::Environment,
    export::{
        Column, Page, Piece, Precision, Previous, Table, Tone, death, known, previous_json, reason_keys,
        restart, span,
    },
    process::Reason,
    shown::{self, printable},
    store::{self, Event, History, HistoryRow, Outage, PreviousRow, StoreError},
};

/// Prints what the store has kept.
///
/// # Errors
/// There is no store that can be read.
pub(super) fn run(args: &HistoryArgs) -> Result<Exit> {
    let Some((mut history, _)) = read(args.metadata_db_path.as_deref(), args.plugin.as_deref())? else {
        return Ok(Exit::Usage);
    };
    let oldest = history.rows.iter().map(|row| row.time).min();
    if let Some(since) = args.since {
        let length = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        keep_since(&mut history, output::unix_now().saturating_sub(length));
    }
    if args.json {
        output::print(&shown::json(&json(&history))).context("standard output")?;
        return Ok(Exit::Success);
    }
    let mut page = page(&history, &local_time::date);
    if history.rows.is_empty() && history.outages.is_empty() {
        page.line(0, Tone::Plain, nothing(args.since, oldest, &local_time::date));
    }
    output::print_painted(&page.paint(terminal::look(args.paint.color))).context("standard output")?;
    Ok(Exit::Success)
}

/// The history of one plugin or of all, and where it was read; `None`: there is no place for it, or it knows no such plugin, which
/// has been said then.
///
/// # Errors
/// There is no store that can be read.
pub(super) fn read(asked: Option<&Path>, plugin: Option<&str>) -> Result<Option<(History, PathBuf)>> {
    let Some(path) = state_path(asked, &Environment::of_this_process()) else {
        return Ok(None);
    };
    let history = match store::history(&path, plugin) {
        Ok(history) => history,
        // Nothing was asked for by name: the one that is meant may be root's.
        Err(error @ StoreError::Missing { .. })
            if asked.is_none() && !rustix::process::geteuid().is_root() =>
        {
            anyhow::bail!(
                "{error}; a kevmon that root started keeps its own in /var/lib/kevmon: run this as root to read it"
            );
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(plugin) = plugin
        && let Some(complaint) = unknown_plugin(plugin, &history, &path)
    {
        shown::complain(complaint);
        return Ok(None);
    }
    Ok(Some((history, path)))
}

/// Leaves out what was over before `cutoff`, Unix ns.
fn keep_since(history: &mut History, cutoff: u64) {
    history.rows.retain(|row| row.time >= cutoff);
    history
        .outages
        .retain(|outage| outage.to.max(outage.from) >= cutoff);
}

/// What to say where there is nothing to show.
fn nothing(since: Option<Duration>, oldest: Option<u64>, date: &dyn Fn(u64) -> Local) -> String {
    match (since, oldest) {
        (Some(since), Some(oldest)) => {
            let Local { text, zone } = date(oldest);
            format!(
                "nothing has happened in the last {}; the history goes back to {text} {zone}",
                span(since)
            )
        }
        _ => "nothing has happened yet".to_owned(),
    }
}

/// What to say of a plugin that the store does not know.
fn unknown_plugin(plugin: &str, history: &History, path: &Path) -> Option<String> {
    if history.plugins.contains(plugin) {
        return None;
    }
    let known: Vec<String> = history
        .plugins
        .iter()
        .map(|name| printable(name).into_owned())
        .collect();
    let known = if known.is_empty() {
        "it knows none yet".to_owned()
    } else {
        format!("it knows {}", known.join(", "))
    };
    let (plugin, path) = (printable(plugin), path.display());
    Some(format!(
        "--plugin {plugin}: store {path} knows no plugin of that name; {known}"
    ))
}

/// What is told, in the order of time.
enum Line<'a> {
    Row(&'a HistoryRow),
    Outage(&'a Outage),
}

/// Merged by time. What happened at the same time stays in the order in which it was stored.
fn lines(history: &History) -> Vec<Line<'_>> {
    let rows = history.rows.iter().map(|row| (row.time, Line::Row(row)));
    let outages = history
        .outages
        .iter()
        .map(|outage| (outage.from, Line::Outage(outage)));
    let mut lines: Vec<(u64, Line<'_>)> = rows.chain(outages).collect();
    lines.sort_by_key(|(time, _)| *time);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// A table, with times as `date` tells them.
fn page(history: &History, date: &dyn Fn(u64) -> Local) -> Page {
    let mut page = Page::default();
    let lines = lines(history);
    if lines.is_empty() {
        return page;
    }
    // One zone stands above; where it changed meanwhile, each time has its own.
    let zones: BTreeSet<String> = lines.iter().map(|line| date(line.time()).zone).collect();
    let is_one = zones.len() == 1;
    let heading = match zones.first().filter(|_| is_one) {
        Some(zone) => format!("TIME ({})", printable(zone)),
        None => "TIME".to_owned(),
    };
    let columns = [
        (heading.as_str(), false),
        ("PLUGIN", false),
        ("EVENT", false),
        ("PID", true),
        ("NAME", false),
        ("WHAT", false),
    ];
    let mut table = Table::new(&columns.map(|(title, is_right)| Column { title, is_right }));
    for line in &lines {
        let Local { text, zone } = date(line.time());
        let time = if is_one { text } else { format!("{text} {zone}") };
        let mut cells = vec![Piece::new(Tone::Faint, time)];
        cells.extend(line.cells(date));
        table.row(cells);
    }
    table.put(&mut page, 0);
    page
}

impl Line<'_> {
    /// When, Unix ns.
    fn time(&self) -> u64 {
        match self {
            Self::Row(row) => row.time,
            Self::Outage(outage) => outage.from,
        }
    }

    /// What stands in the columns behind the time.
    fn cells(&self, date: &dyn Fn(u64) -> Local) -> Vec<Piece> {
        let plain = |text: &str| Piece::new(Tone::Plain, text);
        match self {
            Self::Outage(outage) => vec![
                plain(""),
                Piece::new(Tone::Warning, "OUTAGE"),
                plain(""),
                plain("kevmon"),
                plain(&away(outage, date)),
            ],
            Self::Row(row) => vec![
                plain(&row.group.plugin),
                Piece::new(tone(&row.event), row.event.name().to_uppercase()),
                plain(&row.pid.to_string()),
                Piece::new(Tone::Strong, &row.name),
                plain(&what(row)),
            ],
        }
    }
}

/// How long kevmon was away, and until when.
fn away(outage: &Outage, date: &dyn Fn(u64) -> Local) -> String {
    let boot = if outage.same_boot {
        ""
    } else {
        ", the host booted in between"
    };
    let Local { text, zone } = date(outage.to);
    let until = format!("{text} {zone}");
    match outage.to.checked_sub(outage.from) {
        Some(length) => format!(
            "away for {}, until {until}{boot}",
            span(Duration::from_nanos(length))
        ),
        None => format!("away until {until}; for how long is not known, as the clock was set back{boot}"),
    }
}

fn tone(event: &Event) -> Tone {
    match event {
        Event::Start { .. } => Tone::Good,
        Event::Restart { .. } => Tone::Warning,
        Event::Exit { reason, .. } => match reason {
            Reason::Exit { code: 0 } => Tone::Faint,
            Reason::Exit { .. } | Reason::Unknown => Tone::Warning,
            Reason::Signal { .. } | Reason::Oom => Tone::Bad,
        },
    }
}

fn what(row: &HistoryRow) -> String {
    let length = |nanos: u64| span(Duration::from_nanos(nanos));
    let details = &row.details;
    match &row.event {
        Event::Start { worker } => {
            let by = details.parent.as_ref().map(|parent| match &parent.name {
                Some(name) => format!("by {} ({name})", parent.pid),
                None => format!("by {}", parent.pid),
            });
            let parts: Vec<String> = by
                .into_iter()
                .chain(worker_word(*worker).map(str::to_owned))
                .collect();
            parts.join(", ")
        }
        Event::Exit {
            worker,
            reason,
            sender,
            lifetime,
        } => {
            let sender = sender.as_ref().map(|(pid, comm)| (*pid, comm.as_str()));
            let at_least = if details.settled == Some(false) { "≥" } else { "" };
            let mut parts = vec![death(*reason, sender)];
            parts.extend(lifetime.map(|lifetime| format!("lived {}", length(lifetime))));
            parts.extend(details.cpu.map(|cpu| format!("cpu {at_least}{}", length(cpu))));
            let peak = details.peak_rss.map(|bytes| Precision::Human.bytes(bytes));
            parts.extend(peak.map(|peak| format!("peak {peak}")));
            parts.extend(worker_word(*worker).map(str::to_owned));
            parts.join(", ")
        }
        Event::Restart {
            kind,
            downtime,
            previous,
        } => restart(
            *kind,
            previous.as_deref().map(of_row),
            downtime.map(Duration::from_nanos),
        ),
    }
}

/// The root whose place another one took.
fn of_row(previous: &PreviousRow) -> Previous<'_> {
    let sender = previous.sender.as_ref();
    Previous {
        pid: previous.pid,
        name: &previous.name,
        reason: previous.reason,
        sender: sender.map(|(pid, comm)| (*pid, comm.as_str())),
        ago: previous.ago.map(Duration::from_nanos),
    }
}

fn worker_word(worker: bool) -> Option<&'static str> {
    worker.then_some("worker")
}

/// One JSON object a line; what is not known is absent.
fn json(history: &History) -> String {
    let mut text = String::new();
    for line in lines(history) {
        let object = match line {
            Line::Row(row) => row_json(row),
            Line::Outage(outage) => known([
                ("time", Some(json!(outage.from))),
                ("event", Some(json!("outage"))),
                ("until", Some(json!(outage.to))),
                ("same_boot", Some(json!(outage.same_boot))),
            ]),
        };
        text.push_str(&Json::Object(object).to_string());
        text.push('\n');
    }
    text
}

/// The rows of some processes, one JSON object a line.
pub(super) fn rows_json<'a>(rows: impl Iterator<Item = &'a HistoryRow>) -> String {
    let lines = rows.map(|row| Json::Object(row_json(row)).to_string() + "\n");
    lines.collect()
}

fn row_json(row: &HistoryRow) -> Map<String, Json> {
    let role = match row.event {
        Event::Start { worker: true } | Event::Exit { worker: true, .. } => "worker",
        Event::Start { .. } | Event::Exit { .. } | Event::Restart { .. } => "root",
    };
    let mut object = known([
        ("time", Some(json!(row.time))),
        ("event", Some(json!(row.event.name()))),
        ("plugin", Some(json!(row.group.plugin))),
        ("pid", Some(json!(row.pid.0))),
        ("start_time", row.start_time.map(Json::from)),
        ("name", Some(json!(row.name))),
        ("role", Some(json!(role))),
    ]);
    let parent = row.details.parent.as_ref();
    let programs = &row.details.programs;
    let details = known([
        ("uid", row.user.map(Json::from)),
        ("parent_pid", parent.map(|parent| json!(parent.pid.0))),
        (
            "parent_name",
            parent
                .and_then(|parent| parent.name.as_ref())
                .map(|name| json!(name)),
        ),
        ("exe", row.details.exe.as_ref().map(|exe| json!(exe))),
        ("programs", (!programs.is_empty()).then(|| json!(programs))),
        ("cpu_time_ns", row.details.cpu.map(Json::from)),
        ("peak_rss_bytes", row.details.peak_rss.map(Json::from)),
        ("settled", row.details.settled.map(Json::from)),
    ]);
    match &row.event {
        Event::Start { .. } => {}
        Event::Exit {
            reason,
            sender,
            lifetime,
            ..
        } => {
            object.extend(reason_keys(*reason));
            let sender = sender
                .as_ref()
                .map(|(pid, name)| json!({ "pid": pid.0, "name": name }));
            object.extend(known([
                ("sender", sender),
                ("lifetime_ns", lifetime.map(Json::from)),
            ]));
        }
        Event::Restart {
            kind,
            downtime,
            previous,
        } => object.extend(known([
            ("kind", Some(json!(kind.name()))),
            ("downtime_ns", downtime.map(Json::from)),
            (
                "previous",
                previous
                    .as_deref()
                    .map(|previous| previous_json(of_row(previous), previous.start_time)),
            ),
        ])),
    }
    object.extend(details);
    object
}

#[cfg(test)]
mod tests;
