//! The history as text for people and as JSON lines. Pure.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde_json::{Value as Json, json};

use super::history::{Event, History, HistoryRow, Outage};
use crate::process::{Reason, signal_name};

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

/// Writes a table.
///
/// # Errors
/// Those of `out`.
pub fn render_text(history: &History, out: &mut impl Write) -> io::Result<()> {
    let cells: Vec<[String; 6]> = lines(history).iter().map(cells).collect();
    if cells.is_empty() {
        return writeln!(out, "nothing has happened yet");
    }
    let header = ["TIME (UTC)", "PLUGIN", "EVENT", "PID", "NAME", "WHAT"].map(str::to_owned);
    let mut widths = [0; 6];
    for row in std::iter::once(&header).chain(&cells) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&header).chain(&cells) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _: std::fmt::Result = write!(line, "{cell:width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes one JSON object a line. Keys are added, their meaning is never changed; what is not known is absent.
///
/// # Errors
/// Those of `out`.
pub fn render_json(history: &History, out: &mut impl Write) -> io::Result<()> {
    for line in lines(history) {
        let mut object = match line {
            Line::Row(row) => row_json(row),
            Line::Outage(outage) => json!({
                "time": outage.from,
                "event": "outage",
                "until": outage.to,
                "same_boot": outage.same_boot,
            }),
        };
        if let Some(keys) = object.as_object_mut() {
            keys.retain(|_, value| !value.is_null());
        }
        writeln!(out, "{object}")?;
    }
    Ok(())
}

fn row_json(row: &HistoryRow) -> Json {
    let mut object = json!({
        "time": row.time,
        "plugin": row.group.plugin,
        "event": row.event.name(),
        "pid": row.pid.0,
        "start_time": row.start_time,
        "name": row.name,
    });
    let details = match &row.event {
        Event::Start { worker } => json!({ "worker": worker }),
        Event::Exit {
            worker,
            reason,
            sender,
            lifetime,
        } => {
            let (code, signal, core) = match *reason {
                Reason::Exit { code } => (Some(code), None, None),
                Reason::Signal { number, core_dumped } => (None, Some(number), Some(core_dumped)),
                Reason::Oom | Reason::Unknown => (None, None, None),
            };
            json!({
                "worker": worker,
                "reason": reason.name(),
                "code": code,
                "signal": signal,
                "signal_name": signal.map(signal_name),
                "core_dumped": core,
                "sender_pid": sender.as_ref().map(|(pid, _)| pid.0),
                "sender_comm": sender.as_ref().map(|(_, comm)| comm),
                "lifetime_ns": lifetime,
            })
        }
        Event::Restart { kind, downtime } => json!({ "kind": kind.name(), "downtime_ns": downtime }),
    };
    if let (Some(object), Json::Object(details)) = (object.as_object_mut(), details) {
        object.extend(details);
    }
    object
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
                utc(outage.from),
                String::new(),
                "outage".to_owned(),
                String::new(),
                "kevmon".to_owned(),
                format!("away until {}{boot}", utc(outage.to)),
            ]
        }
        Line::Row(row) => [
            utc(row.time),
            printable(&row.group.plugin),
            row.event.name().to_owned(),
            row.pid.to_string(),
            printable(&row.name),
            what(&row.event),
        ],
    }
}

fn what(event: &Event) -> String {
    match event {
        Event::Start { worker: true } => "worker".to_owned(),
        Event::Start { worker: false } => String::new(),
        Event::Exit {
            worker,
            reason,
            sender,
            lifetime,
        } => {
            let mut text = match *reason {
                Reason::Exit { code } => format!("exit code {code}"),
                Reason::Signal { number, core_dumped } => {
                    let core = if core_dumped { ", core dumped" } else { "" };
                    format!("{}{core}", signal_name(number))
                }
                Reason::Oom => "killed by the OOM killer".to_owned(),
                Reason::Unknown => "found missing, reason unknown".to_owned(),
            };
            if let Some((pid, comm)) = sender {
                text = format!("{text}, sent by {} (pid {pid})", printable(comm));
            }
            if let Some(lifetime) = lifetime {
                text = format!("{text}, lived {}", length(*lifetime));
            }
            if *worker {
                text += ", worker";
            }
            text
        }
        Event::Restart { kind, downtime } => match downtime {
            Some(downtime) => format!("{}, down for {}", kind.name(), length(*downtime)),
            None => kind.name().to_owned(),
        },
    }
}

/// A process chooses its name: control characters in it must not reach a terminal.
fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_default());
            let plain = escaped.is_none().then_some(letter);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// A length of time in the unit that people would use: `12 µs`, `1.500 s`, `2 h 03 min`.
fn length(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    match nanos {
        0..1_000_000 => format!("{} µs", nanos / 1_000),
        1_000_000..SECOND => format!("{} ms", nanos / 1_000_000),
        _ => {
            let seconds = nanos / SECOND;
            let (minutes, hours) = (seconds / 60, seconds / 3_600);
            match seconds {
                0..60 => format!("{seconds}.{:03} s", nanos % SECOND / 1_000_000),
                60..3_600 => format!("{minutes} min {:02} s", seconds % 60),
                3_600..86_400 => format!("{hours} h {:02} min", minutes % 60),
                _ => format!("{} d {:02} h", hours / 24, hours % 24),
            }
        }
    }
}

/// `2026-11-21T03:26:19.123Z`, by the proleptic Gregorian calendar.
fn utc(nanos: u64) -> String {
    let milliseconds = nanos / 1_000_000;
    let (days, of_day) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    // Years begin in March here, so that a leap day is a year's last; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, five months have 153 days.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let seconds = of_day / 1_000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_231_579, "2026-11-21T03:26:19.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), expected);
        }
        assert_eq!(utc(1_500_000_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(utc(u64::MAX), "2554-07-21T23:34:33.709Z");
    }

    #[test]
    fn lengths() {
        for (nanos, expected) in [
            (0, "0 µs"),
            (12_900, "12 µs"),
            (999_999_999, "999 ms"),
            (1_500_000_000, "1.500 s"),
            (61_000_000_000, "1 min 01 s"),
            (7_380_000_000_000, "2 h 03 min"),
            (90_000_000_000_000, "1 d 01 h"),
        ] {
            assert_eq!(length(nanos), expected);
        }
    }

    #[test]
    fn names_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
    }
}
