//! `kevmon history`: what the store has kept, as a table for people and as JSON lines, in the words of `kevmon events`.
//! The JSON is documented in docs/store.md and stable: keys are added, never changed.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};

use super::{Exit, output, state_path};
use crate::{
    cli::HistoryArgs,
    config::Environment,
    export::{Previous, death, iso8601_millis, known, previous_json, reason_keys, restart, span},
    shown::{self, printable},
    store::{self, Event, History, HistoryRow, Outage, PreviousRow, StoreError},
};

const HEADING: [&str; 6] = ["TIME (UTC)", "PLUGIN", "EVENT", "PID", "NAME", "WHAT"];

/// Prints what the store has kept.
///
/// # Errors
/// There is no store that can be read.
pub(super) fn run(args: &HistoryArgs) -> Result<Exit> {
    let asked = args.metadata_db_path.as_deref();
    let Some(path) = state_path(asked, &Environment::of_this_process()) else {
        return Ok(Exit::Usage);
    };
    let history = match store::history(&path, args.plugin.as_deref()) {
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
    if let Some(plugin) = &args.plugin
        && let Some(complaint) = unknown_plugin(plugin, &history, &path)
    {
        shown::complain(complaint);
        return Ok(Exit::Usage);
    }
    let text = if args.json {
        shown::json(&json(&history)).into_owned()
    } else {
        text(&history)
    };
    output::print(&text).context("standard output")?;
    Ok(Exit::Success)
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

/// A table.
fn text(history: &History) -> String {
    let cells: Vec<[String; 6]> = lines(history).iter().map(cells).collect();
    if cells.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    let heading = HEADING.map(str::to_owned);
    let rows = || std::iter::once(&heading).chain(&cells);
    let mut widths = [0; 6];
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in rows() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _: std::fmt::Result = write!(line, "{cell:width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn cells(line: &Line<'_>) -> [String; 6] {
    match line {
        Line::Outage(outage) => {
            let boot = if outage.same_boot {
                ""
            } else {
                ", the host booted in between"
            };
            [
                iso8601_millis(outage.from),
                String::new(),
                "OUTAGE".to_owned(),
                String::new(),
                "kevmon".to_owned(),
                format!("away until {}{boot}", iso8601_millis(outage.to)),
            ]
        }
        Line::Row(row) => [
            iso8601_millis(row.time),
            printable(&row.group.plugin).into_owned(),
            row.event.name().to_uppercase(),
            row.pid.to_string(),
            printable(&row.name).into_owned(),
            what(&row.event),
        ],
    }
}

fn what(event: &Event) -> String {
    let length = |nanos: u64| span(Duration::from_nanos(nanos));
    match event {
        Event::Start { worker } => worker_word(*worker).unwrap_or_default().to_owned(),
        Event::Exit {
            worker,
            reason,
            sender,
            lifetime,
        } => {
            let sender = sender.as_ref().map(|(pid, comm)| (*pid, comm.as_str()));
            let mut parts = vec![death(*reason, sender)];
            parts.extend(lifetime.map(|lifetime| format!("lived {}", length(lifetime))));
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
    object
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        plugin::RestartKind,
        process::{Reason, Tgid},
        store::GroupKey,
    };

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_795_231_679 * SECOND;

    fn exit(reason: Reason, sender: Option<u32>, lifetime: Option<u64>, worker: bool) -> Event {
        Event::Exit {
            worker,
            reason,
            sender: sender.map(|pid| (Tgid(pid), "ba\u{1b}sh".to_owned())),
            lifetime,
        }
    }

    fn signal(number: u8, core_dumped: bool) -> Reason {
        Reason::Signal { number, core_dumped }
    }

    /// One event a second, and an outage between the third and the fourth.
    fn all() -> History {
        let restart = |kind, downtime| Event::Restart {
            kind,
            downtime,
            previous: None,
        };
        let previous = PreviousRow {
            pid: Tgid(815),
            start_time: Some(NOW - 60 * SECOND),
            name: "old\u{1b}nginx".to_owned(),
            reason: signal(9, false),
            sender: Some((Tgid(1), "systemd".to_owned())),
            ago: Some(250_000_000),
        };
        let events = [
            Event::Start { worker: false },
            Event::Start { worker: true },
            exit(Reason::Exit { code: 7 }, None, Some(3_250_000_000), false),
            exit(signal(11, true), None, None, true),
            exit(signal(9, false), Some(123), Some(340_000), false),
            exit(Reason::Oom, None, Some(312 * SECOND), false),
            exit(Reason::Unknown, None, None, false),
            restart(RestartKind::Respawn, Some(250_000_000)),
            restart(RestartKind::Reexec, None),
            Event::Restart {
                kind: RestartKind::Respawn,
                downtime: previous.ago,
                previous: Some(Box::new(previous)),
            },
        ];
        let group = Arc::new(GroupKey {
            plugin: "web".to_owned(),
            key: "web/x".to_owned(),
        });
        let row = |(second, event)| HistoryRow {
            group: Arc::clone(&group),
            time: NOW + second * SECOND,
            pid: Tgid(4_321),
            start_time: (second != 6).then_some(NOW - SECOND),
            name: "nginx\u{1b}[2J".to_owned(),
            user: Some(33),
            event,
        };
        History {
            rows: (0..).zip(events).map(row).collect(),
            outages: vec![Outage {
                from: NOW + 2 * SECOND + 1,
                to: NOW + 100 * SECOND,
                same_boot: false,
            }],
            plugins: ["web".to_owned()].into(),
        }
    }

    #[test]
    fn a_table_for_people() {
        let name = "nginx\\u{1b}[2J";
        let expected = [
            "TIME (UTC)                PLUGIN  EVENT    PID   NAME            WHAT".to_owned(),
            format!("2026-11-21T03:27:59.000Z  web     START    4321  {name}"),
            format!("2026-11-21T03:28:00.000Z  web     START    4321  {name}  worker"),
            format!("2026-11-21T03:28:01.000Z  web     EXIT     4321  {name}  exit 7, lived 3.250 s"),
            "2026-11-21T03:28:01.000Z          OUTAGE         kevmon          \
             away until 2026-11-21T03:29:39.000Z, the host booted in between"
                .to_owned(),
            format!("2026-11-21T03:28:02.000Z  web     EXIT     4321  {name}  SIGSEGV (core dumped), worker"),
            format!(
                "2026-11-21T03:28:03.000Z  web     EXIT     4321  {name}  \
                 SIGKILL by 123 (ba\\u{{1b}}sh), lived 0.3 ms"
            ),
            format!("2026-11-21T03:28:04.000Z  web     EXIT     4321  {name}  OOM kill, lived 5m 12s"),
            format!("2026-11-21T03:28:05.000Z  web     EXIT     4321  {name}  unknown"),
            format!("2026-11-21T03:28:06.000Z  web     RESTART  4321  {name}  respawn, down 250 ms"),
            format!("2026-11-21T03:28:07.000Z  web     RESTART  4321  {name}  reexec"),
            format!(
                "2026-11-21T03:28:08.000Z  web     RESTART  4321  {name}  \
                 respawn of 815 (old\\u{{1b}}nginx): SIGKILL by 1 (systemd), down 250 ms"
            ),
        ];
        let told = text(&all());
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{told}");
        assert_eq!(text(&History::default()), "nothing has happened yet\n");
    }

    #[test]
    fn lines_for_programs() {
        let told = json(&all());
        let told: Vec<&str> = told.lines().collect();
        let beginning = |second: u64, event: &str, role: &str| {
            format!(
                r#"{{"time":{},"event":"{event}","plugin":"web","pid":4321,"start_time":1795231678000000000,"name":"nginx\u001b[2J","role":"{role}""#,
                NOW + second * SECOND
            )
        };
        for (line, beginning, rest) in [
            (0, beginning(0, "start", "root"), ""),
            (1, beginning(1, "start", "worker"), ""),
            (
                2,
                beginning(2, "exit", "root"),
                r#","reason":"exit","code":7,"lifetime_ns":3250000000"#,
            ),
            (
                4,
                beginning(3, "exit", "worker"),
                r#","reason":"signal","signal":11,"signal_name":"SIGSEGV","core_dumped":true"#,
            ),
            (
                5,
                beginning(4, "exit", "root"),
                r#","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"ba\u001bsh"},"lifetime_ns":340000"#,
            ),
            (
                8,
                beginning(7, "restart", "root"),
                r#","kind":"respawn","downtime_ns":250000000"#,
            ),
            (9, beginning(8, "restart", "root"), r#","kind":"reexec""#),
            (
                10,
                beginning(9, "restart", "root"),
                r#","kind":"respawn","downtime_ns":250000000,"previous":{"pid":815,"start_time":1795231619000000000,"name":"old\u001bnginx","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":1,"name":"systemd"},"ended_ago_ns":250000000}"#,
            ),
        ] {
            assert_eq!(told[line], format!("{beginning}{rest}}}"));
        }
        assert_eq!(
            told[3],
            r#"{"time":1795231681000000001,"event":"outage","until":1795231779000000000,"same_boot":false}"#
        );
        assert_eq!(
            told[7],
            r#"{"time":1795231685000000000,"event":"exit","plugin":"web","pid":4321,"name":"nginx\u001b[2J","role":"root","reason":"unknown"}"#,
            "when it started is not known"
        );
    }

    #[test]
    fn a_plugin_that_the_store_does_not_know() {
        let path = Path::new("/x/y.db");
        let mut history = all();
        assert_eq!(unknown_plugin("web", &history, path), None);
        history.plugins.insert("db".to_owned());
        assert_eq!(
            unknown_plugin("nope", &history, path).as_deref(),
            Some("--plugin nope: store /x/y.db knows no plugin of that name; it knows db, web")
        );
        let none = unknown_plugin("nope", &History::default(), path).unwrap_or_default();
        assert!(none.ends_with("; it knows none yet"), "{none}");
    }
}
