//! The table's columns: which there are at a width, and what a row has in each.

use ratatui::buffer::Buffer;

use super::{Look, panel, put};
use crate::{
    app::top::state::{GroupRow, LastEnd, MemberRow, Percentiles, Sort, State, Values},
    export::{Precision, Tone, display_width, short_time, span},
};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Count,
    Cpu,
    CpuLine,
    Rss,
    RssLine,
    Fds,
    Threads,
    Switches,
    Wait,
    P50,
    P99,
    Starts,
    Restarts,
    LastEnd,
}

/// One column.
struct Column {
    kind: Kind,
    title: &'static str,
    width: u16,
    /// The narrowest terminal that has it.
    from: u16,
    sort: Option<Sort>,
}

const fn column(kind: Kind, title: &'static str, width: u16, from: u16, sort: Option<Sort>) -> Column {
    Column {
        kind,
        title,
        width,
        from,
        sort,
    }
}

/// From left to right. The name takes what room the others leave, up to a bound, and the last end what is left then.
static ALL: [Column; 15] = [
    column(Kind::Name, "NAME", 12, 0, Some(Sort::Name)),
    column(Kind::Count, "N/PID", 7, 0, Some(Sort::Processes)),
    column(Kind::Cpu, "CPU", 6, 0, Some(Sort::Cpu)),
    column(Kind::CpuLine, "CPU", 12, 120, None),
    column(Kind::Rss, "RSS", 8, 0, Some(Sort::Rss)),
    column(Kind::RssLine, "RSS", 12, 150, None),
    column(Kind::Fds, "FDS", 6, 0, Some(Sort::Fds)),
    column(Kind::Threads, "THR", 6, 0, Some(Sort::Threads)),
    column(Kind::Switches, "CSW/s", 6, 0, Some(Sort::Switches)),
    column(Kind::Wait, "WAIT/s", 7, 0, Some(Sort::Wait)),
    column(Kind::P50, "RQ p50", 8, 170, None),
    column(Kind::P99, "RQ p99", 8, 170, None),
    column(Kind::Starts, "START", 6, 0, Some(Sort::Starts)),
    column(Kind::Restarts, "REST", 5, 0, Some(Sort::Restarts)),
    column(Kind::LastEnd, "LAST END", 24, 106, Some(Sort::LastEnd)),
];

/// Names are not wider than this.
const WIDEST_NAME: u16 = 40;
/// The mark of the selected row, and that of an expanded group.
const MARKS: u16 = 2;

/// The columns of a terminal, each with its place and width.
pub(super) struct Columns(Vec<(&'static Column, u16, u16)>);

impl Columns {
    pub(super) fn of(width: u16) -> Self {
        let shown: Vec<&Column> = ALL.iter().filter(|column| column.from <= width).collect();
        let needed: u16 = shown.iter().map(|column| column.width + 1).sum::<u16>() - 1 + MARKS;
        let spare = width.saturating_sub(needed);
        let for_name = spare.min(WIDEST_NAME - 12);
        let mut x = MARKS;
        let placed = shown.into_iter().map(|column| {
            let more = match column.kind {
                Kind::Name => for_name,
                Kind::LastEnd => spare - for_name,
                _ => 0,
            };
            let place = (column, x, column.width + more);
            x += column.width + more + 1;
            place
        });
        Self(placed.collect())
    }

    pub(super) fn heading(&self, buffer: &mut Buffer, state: &State, look: Look, y: u16) {
        for &(column, x, width) in &self.0 {
            let is_sorted = column.sort == Some(state.sort);
            let ascends = (state.sort == Sort::Name) != state.is_reversed;
            let mark = match (is_sorted, ascends) {
                (false, _) => "",
                (true, true) => "↑",
                (true, false) => "↓",
            };
            let tone = if is_sorted { Tone::Strong } else { Tone::Faint };
            let title = format!("{}{mark}", column.title);
            cell(buffer, (x, y), width, column.kind, &title, look.style(tone));
        }
    }

    pub(super) fn group(&self, buffer: &mut Buffer, state: &State, look: Look, row: &GroupRow, y: u16) {
        let mark = if state.is_expanded(&row.label) {
            "▾"
        } else {
            "▸"
        };
        put(buffer, (1, y), 1, mark, look.style(Tone::Faint));
        let history = state.histories.get(&row.label);
        for &(column, x, width) in &self.0 {
            let count = |count: u64| (Tone::Plain, Precision::Human.count(count));
            let percentile = |of: fn(&Percentiles) -> u64| {
                let text = row
                    .percentiles
                    .as_ref()
                    .map_or_else(unknown, |all| short_time(of(all)));
                (Tone::Plain, text)
            };
            let (tone, text) = match column.kind {
                Kind::Name => (Tone::Strong, row.label.clone()),
                Kind::Count => count(row.processes),
                Kind::Starts => count(row.starts),
                Kind::Restarts if row.crash_loop => (Tone::Bad, Precision::Human.count(row.restarts) + "!"),
                Kind::Restarts => count(row.restarts),
                Kind::P50 => percentile(|all| all.p50),
                Kind::P99 => percentile(|all| all.p99),
                Kind::LastEnd => row
                    .last_end
                    .as_ref()
                    .map_or((Tone::Faint, unknown()), |end| last_end(end, state.time, look)),
                Kind::CpuLine => {
                    let points = history.map(|history| history.cpus(usize::from(width)));
                    (Tone::Plain, panel::sparkline(&points.unwrap_or_default()))
                }
                Kind::RssLine => {
                    let points = history.map(|history| history.rss(usize::from(width)));
                    (Tone::Plain, panel::sparkline(&points.unwrap_or_default()))
                }
                kind => (Tone::Plain, value(kind, &row.values)),
            };
            cell(buffer, (x, y), width, column.kind, &text, look.style(tone));
        }
    }

    pub(super) fn process(&self, buffer: &mut Buffer, look: Look, row: &MemberRow, y: u16) {
        for &(column, x, width) in &self.0 {
            let text = match column.kind {
                Kind::Name if row.worker => format!("  └ {}", row.name),
                Kind::Name => format!("└ {}", row.name),
                Kind::Count => row.pid.to_string(),
                kind => value(kind, &row.values),
            };
            let tone = if column.kind == Kind::Count {
                Tone::Faint
            } else {
                Tone::Plain
            };
            cell(buffer, (x, y), width, column.kind, &text, look.style(tone));
        }
    }
}

fn unknown() -> String {
    "-".to_owned()
}

/// What groups and processes both have; nothing for what only groups have.
fn value(kind: Kind, values: &Values) -> String {
    let human = Precision::Human;
    let text = match kind {
        Kind::Cpu => values.cpus.map(|cpus| human.cpus(cpus)),
        Kind::Rss => values.rss.map(|bytes| human.bytes(bytes)),
        Kind::Fds => values.fds.map(|count| human.count(count)),
        Kind::Threads => values.threads.map(|count| human.count(count)),
        Kind::Switches => values.switches.map(|rate| human.count(whole(rate))),
        Kind::Wait => values.wait.map(|nanos| human.length(whole(nanos))),
        _ => Some(String::new()),
    };
    text.unwrap_or_else(unknown)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of counters: never below 0, and saturated above"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// When, on the day before by how long ago, and how.
pub(super) fn last_end(end: &LastEnd, now: u64, look: Look) -> (Tone, String) {
    const DAY_NS: u64 = 86_400_000_000_000;
    let ago = now.saturating_sub(end.time);
    let time = if ago < DAY_NS {
        look.time(end.time)
    } else {
        format!("{} ago", span(std::time::Duration::from_nanos(ago)))
    };
    let tone = if end.is_success { Tone::Plain } else { Tone::Bad };
    match &end.how {
        Some(how) => (tone, format!("{time} {how}")),
        None => (tone, time),
    }
}

/// Text of names and ends begins at the left, numbers end at the right.
fn cell(
    buffer: &mut Buffer,
    (x, y): (u16, u16),
    width: u16,
    kind: Kind,
    text: &str,
    style: ratatui::style::Style,
) {
    let is_left = matches!(kind, Kind::Name | Kind::LastEnd | Kind::CpuLine | Kind::RssLine);
    let taken = u16::try_from(display_width(text)).unwrap_or(u16::MAX);
    let indent = if is_left { 0 } else { width.saturating_sub(taken) };
    put(buffer, (x + indent, y), width - indent, text, style);
}
