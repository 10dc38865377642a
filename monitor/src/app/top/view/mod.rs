//! Draws the state into a buffer. Pure: the state, the size, the clock's zone and whether there are colours decide over every cell.
//!
//! From the top: a title, how the source fares, the table, the selected group's panel, the latest events, and the keys. All text
//! from elsewhere goes through [`printable`]. Nothing is told by colour alone: the selected row has a mark, ends have their reasons.

mod columns;
mod panel;
#[cfg(test)]
mod tests;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use self::columns::Columns;
use super::{
    keys,
    state::{Condition, Mode, Row, State},
};
use crate::{
    export::{self, Precision, Tone, UnixClock, Wall, display_width},
    process::BootTime,
    shown::printable,
};

/// Columns of the smallest terminal.
const LEAST_WIDTH: u16 = 80;
/// Its lines.
const LEAST_HEIGHT: u16 = 24;
/// Lines above the table's rows: title, condition, heading.
const ABOVE: u16 = 3;
/// A terminal of this height has more lines for events.
const HIGH: u16 = 30;

/// How things look, and by which zone times are told.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) has_colours: bool,
    /// Turns Unix seconds into the time of day here.
    pub(super) local: fn(u64) -> Wall,
}

impl Look {
    fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let colour = |colour| if self.has_colours { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Strong => style.add_modifier(Modifier::BOLD),
            Tone::Faint => style.add_modifier(Modifier::DIM),
            Tone::Good => colour(Color::Green),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Warning => colour(Color::Yellow),
        }
    }

    /// The time of day of Unix nanoseconds.
    fn time(self, unix: u64) -> String {
        let Wall { hour, minute, second } = (self.local)(unix / 1_000_000_000);
        format!("{hour:02}:{minute:02}:{second:02}")
    }
}

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Areas {
    rows: Rect,
    panel: Rect,
    events: Rect,
    keys: Rect,
}

fn areas(area: Rect, shows_events: bool) -> Areas {
    let events = match (shows_events, area.height) {
        (false, _) => 0,
        (true, HIGH..) => area.height / 4,
        (true, _) => 5,
    };
    let below = panel::HEIGHT + events + 1;
    let strip = |y: u16, height: u16| Rect { y, height, ..area };
    let end = area.height.saturating_sub(below);
    Areas {
        rows: strip(ABOVE, end.saturating_sub(ABOVE)),
        panel: strip(end, panel::HEIGHT),
        events: strip(end + panel::HEIGHT, events),
        keys: strip(area.height.saturating_sub(1), 1),
    }
}

/// Rows of the table that a terminal of this size shows.
pub(super) fn table_height(area: Rect, state: &State) -> usize {
    usize::from(areas(area, state.shows_events).rows.height)
}

/// The line that the first of them is on.
pub(super) fn table_line() -> usize {
    usize::from(ABOVE)
}

/// Draws all of it.
pub(super) fn draw(buffer: &mut Buffer, state: &State, look: Look) {
    let area = buffer.area;
    if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
        too_small(buffer);
        return;
    }
    title(buffer, state, look);
    condition(buffer, state, look);
    if state.mode == Mode::Help {
        help(buffer, look);
        return;
    }
    let areas = areas(area, state.shows_events);
    table(buffer, state, look, areas.rows);
    panel::draw(buffer, state, look, areas.panel);
    events(buffer, state, look, areas.events);
    key_line(buffer, look, areas.keys);
}

fn too_small(buffer: &mut Buffer) {
    let area = buffer.area;
    let text = format!(
        "kevmon top needs {LEAST_WIDTH} columns and {LEAST_HEIGHT} lines; this terminal has {} and {}: make it larger, or \
         press q",
        area.width, area.height
    );
    let (mut x, mut y) = (0, 0);
    for word in text.split(' ') {
        let width = u16::try_from(word.len()).unwrap_or(u16::MAX);
        if x > 0 && x + 1 + width > area.width {
            (x, y) = (0, y + 1);
        } else if x > 0 {
            x += 1;
        }
        if y >= area.height {
            return;
        }
        put(buffer, (x, y), area.width.saturating_sub(x), word, Style::new());
        x += width;
    }
}

/// Writes `text` within `width` columns; what does not fit ends with an ellipsis. Returns the columns that it takes.
fn put(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, text: &str, style: Style) -> u16 {
    let text = printable(text);
    let room = usize::from(width);
    if room == 0 || y >= buffer.area.bottom() {
        return 0;
    }
    if display_width(&text) <= room {
        let (end, _) = buffer.set_stringn(x, y, &text, room, style);
        return end - x;
    }
    let (end, _) = buffer.set_stringn(x, y, &text, room - 1, style);
    buffer.set_stringn(end, y, "…", 1, style);
    width
}

/// Writes pieces one after the other.
fn put_all(buffer: &mut Buffer, y: u16, look: Look, pieces: &[(Tone, String)]) {
    let width = buffer.area.width;
    let mut x = 0;
    for (tone, text) in pieces {
        x += put(buffer, (x, y), width.saturating_sub(x), text, look.style(*tone));
    }
}

fn title(buffer: &mut Buffer, state: &State, look: Look) {
    let processes: u64 = state.groups.iter().map(|group| group.processes).sum();
    let cpus: Vec<f64> = state
        .groups
        .iter()
        .filter_map(|group| group.values.cpus)
        .collect();
    let mut pieces = vec![(Tone::Strong, "kevmon top".to_owned())];
    if state.time > 0 {
        let count = |count: u64, one: &str, many: &str| {
            format!(
                "{} {}",
                Precision::Human.count(count),
                if count == 1 { one } else { many }
            )
        };
        let mut parts = vec![
            look.time(state.time),
            format!("source {}", state.source),
            count(state.groups.len() as u64, "group", "groups"),
            count(processes, "process", "processes"),
        ];
        if !cpus.is_empty() {
            parts.push(format!("{} CPU", Precision::Human.cpus(cpus.iter().sum())));
        }
        pieces.push((Tone::Plain, format!("  {}", parts.join(" · "))));
    }
    put_all(buffer, 0, look, &pieces);
}

fn condition(buffer: &mut Buffer, state: &State, look: Look) {
    let mut pieces: Vec<(Tone, String)> = Vec::new();
    let mut add = |tone: Tone, text: String| {
        if !pieces.is_empty() {
            pieces.push((Tone::Plain, "  ".to_owned()));
        }
        pieces.push((tone, text));
    };
    match &state.condition {
        Condition::Waiting => add(Tone::Faint, "waiting for the first values".to_owned()),
        Condition::Live => {}
        Condition::Away { since, why } => {
            add(Tone::Bad, format!("since {} {why}", look.time(*since)));
        }
    }
    if let Some(fault) = &state.replay {
        add(
            Tone::Faint,
            "recorded, groups alone; , and . step, < and > ten".to_owned(),
        );
        if let Some(fault) = fault {
            add(Tone::Warning, fault.clone());
        }
    }
    if state.is_paused {
        add(Tone::Warning, "PAUSED: Space goes on".to_owned());
    }
    if state.lacks_processes() {
        add(Tone::Faint, "processes come after the pause".to_owned());
    }
    let filter = &state.filter;
    if state.mode == Mode::Filter || !filter.text().is_empty() {
        let cursor = if state.mode == Mode::Filter { "_" } else { "" };
        add(Tone::Strong, format!("/{}{cursor}", filter.text()));
    }
    if filter.is_faulty() {
        add(
            Tone::Warning,
            "not a pattern yet: the one before stands".to_owned(),
        );
    }
    if !state.is_fresh {
        add(
            Tone::Warning,
            "very many processes: values of the last collections".to_owned(),
        );
    }
    if state.lost > 0 {
        let lost = Precision::Human.count(state.lost);
        add(Tone::Warning, format!("{lost} records were lost"));
    }
    if state.groups_left_out > 0 {
        add(
            Tone::Warning,
            format!("{} groups are left out", state.groups_left_out),
        );
    }
    put_all(buffer, 1, look, &pieces);
}

fn table(buffer: &mut Buffer, state: &State, look: Look, area: Rect) {
    let columns = Columns::of(area.width);
    columns.heading(buffer, state, look, area.y - 1);
    if state.rows.is_empty() && state.time > 0 {
        let text = match (state.groups.is_empty(), state.filter.is_set()) {
            (true, _) => "no plugin runs",
            (false, true) => "nothing matches the filter; Esc shows everything",
            (false, false) => "",
        };
        put(buffer, (2, area.y), area.width - 2, text, look.style(Tone::Faint));
    }
    let shown = state.rows.iter().enumerate().skip(state.offset);
    for ((place, row), y) in shown.zip(area.y..area.bottom()) {
        match row {
            Row::Group(group) => columns.group(buffer, state, look, &state.groups[*group], y),
            Row::Process(group, member) => {
                columns.process(buffer, look, &state.groups[*group].members[*member], y);
            }
        }
        let line = Rect { y, height: 1, ..area };
        if matches!(state.condition, Condition::Away { .. }) {
            buffer.set_style(line, look.style(Tone::Faint));
        }
        if place == state.place() {
            put(buffer, (0, y), 1, ">", look.style(Tone::Strong));
            buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

fn events(buffer: &mut Buffer, state: &State, look: Look, area: Rect) {
    if area.height == 0 {
        return;
    }
    let mut heading = "events".to_owned();
    if state.events.missed > 0 {
        let missed = Precision::Human.count(state.events.missed);
        heading += &format!(", {missed} more came too fast to be shown");
    }
    if state.events.unread > 0 {
        heading += ", some of a kind that only a newer kevmon knows";
    }
    rule(buffer, area.y, &heading, look);
    let shown: Vec<&str> = state.groups_shown().map(|group| group.label.as_str()).collect();
    let is_set = state.filter.is_set();
    let lines = usize::from(area.height) - 1;
    let mut latest: Vec<_> = state
        .events
        .latest(|told| !is_set || shown.contains(&told.group.as_str()))
        .take(lines)
        .collect();
    latest.reverse();
    let columns = export::Columns::new(Some(usize::from(area.width)), false);
    // An event's times are Unix times already.
    let clock = UnixClock::new(0, BootTime(0));
    for (told, y) in latest.into_iter().zip(area.y + 1..area.bottom()) {
        let mut line = columns.line(&told.event, None, clock, look.local);
        if state.groups.len() > 1 {
            line.add(Tone::Faint, format!(" [{}]", told.group));
        }
        let pieces: Vec<_> = line
            .pieces()
            .map(|(tone, text)| (tone, text.to_owned()))
            .collect();
        put_all(buffer, y, look, &pieces);
    }
}

/// A heading with a line to the right border.
fn rule(buffer: &mut Buffer, y: u16, text: &str, look: Look) {
    let width = buffer.area.width;
    let x = put(
        buffer,
        (0, y),
        width.saturating_sub(3),
        text,
        look.style(Tone::Strong),
    );
    let line = "─".repeat(usize::from(width.saturating_sub(x + 1)));
    put(
        buffer,
        (x + 1, y),
        width.saturating_sub(x + 1),
        &line,
        look.style(Tone::Faint),
    );
}

fn key_line(buffer: &mut Buffer, look: Look, area: Rect) {
    let text = "q quit  ? help  Enter expand  s sort  r reverse  / filter  Space pause  v events";
    put(buffer, (0, area.y), area.width, text, look.style(Tone::Faint));
}

fn help(buffer: &mut Buffer, look: Look) {
    let width = buffer.area.width;
    for ((keys, what), y) in keys::HELP.iter().zip(ABOVE..) {
        put(buffer, (2, y), 20, keys, look.style(Tone::Strong));
        put(buffer, (24, y), width - 24, what, look.style(Tone::Plain));
    }
    let about = [
        "CPU: CPUs in use, 1.00 is one of them; CSW/s: context switches a second;",
        "WAIT/s: time that threads waited for a CPU in each second, all together;",
        "N/PID: live processes of a group, or a process's pid; -: not known.",
    ];
    let first = ABOVE + u16::try_from(keys::HELP.len()).unwrap_or(0) + 1;
    for (text, y) in about.iter().zip(first..) {
        put(buffer, (2, y), width - 2, text, look.style(Tone::Faint));
    }
    let last = buffer.area.bottom() - 1;
    put(
        buffer,
        (2, last),
        width - 2,
        "any key ends the help",
        look.style(Tone::Faint),
    );
}
