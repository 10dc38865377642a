//! The selected group: its last end, its last minutes as sparklines, and the ribbon of what happened to its processes.

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Look, columns, put, put_all, rule};
use crate::{
    app::top::state::{GroupRow, Lives, State},
    export::{Precision, Tone, short_time, span},
};

/// Lines of the panel.
pub(super) const HEIGHT: u16 = 7;
/// Columns of the names at the left.
const NAMES: u16 = 9;
/// Columns for the numbers at the right.
const NUMBERS: u16 = 24;
/// Seconds that a ribbon goes back at least.
const LEAST_SECONDS: u64 = 300;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A row of the ribbon: its name, how its numbers stand out, and what it counts.
type RibbonRow = (&'static str, Tone, fn(&Lives) -> u32);

pub(super) fn draw(buffer: &mut Buffer, state: &State, look: Look, area: Rect) {
    let Some(group) = state.selected_group() else {
        rule(buffer, area.y, "", look);
        return;
    };
    rule(buffer, area.y, &group.label, look);
    put_all(buffer, area.y + 1, look, &story(state, group, look));
    let Some(history) = state.histories.get(&group.label) else {
        return;
    };
    let room = area.width.saturating_sub(NAMES + NUMBERS);
    let cells = usize::from(room);
    let human = Precision::Human;
    let (cpus, rss) = (history.cpus(cells), history.rss(cells));
    let lines = [
        (
            "CPU",
            sparkline(&cpus),
            group.values.cpus.map(|cpus| human.cpus(cpus)),
            most(&cpus).map(|most| human.cpus(f64::from(most))),
        ),
        (
            "RSS",
            sparkline(&rss),
            group.values.rss.map(|bytes| human.bytes(bytes)),
            most(&rss).map(|most| human.bytes(bytes(most))),
        ),
    ];
    for ((name, picture, now, most), y) in lines.into_iter().zip(area.y + 2..) {
        put(buffer, (0, y), NAMES, name, look.style(Tone::Faint));
        put(buffer, (NAMES, y), room, &picture, look.style(Tone::Plain));
        let now = now.unwrap_or_else(|| "-".to_owned());
        let most = most.map_or_else(String::new, |most| format!(", most {most}"));
        let text = format!(" {now}{most}");
        put(buffer, (NAMES + room, y), NUMBERS, &text, look.style(Tone::Plain));
    }
    let step = LEAST_SECONDS.div_ceil(u64::from(room).max(1));
    let ribbon = history.ribbon(state.time / 1_000_000_000, step, cells);
    let rows: [RibbonRow; 3] = [
        ("starts", Tone::Good, |lives| lives.starts),
        ("ends", Tone::Warning, |lives| lives.ends),
        ("restarts", Tone::Warning, |lives| lives.restarts),
    ];
    for ((name, tone, of), y) in rows.into_iter().zip(area.y + 4..) {
        put(buffer, (0, y), NAMES, name, look.style(Tone::Faint));
        for (lives, x) in ribbon.iter().zip(NAMES..) {
            let count = of(lives);
            let tone = match count {
                0 => Tone::Faint,
                _ if name == "ends" && lives.failures > 0 => Tone::Bad,
                _ => tone,
            };
            put(buffer, (x, y), 1, &digit(count), look.style(tone));
        }
        let sum: u32 = ribbon.iter().map(of).sum();
        let back = span(Duration::from_secs(step * cells as u64));
        let text = format!(" {} in {back}", Precision::Human.count(u64::from(sum)));
        put(buffer, (NAMES + room, y), NUMBERS, &text, look.style(Tone::Plain));
    }
}

/// The last end in full, and in detailed mode the latency of the run queue.
fn story(state: &State, group: &GroupRow, look: Look) -> Vec<(Tone, String)> {
    let mut pieces = match &group.last_end {
        Some(end) => {
            let (tone, text) = columns::last_end(end, state.time, look);
            let pid = end.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            vec![
                (Tone::Faint, "last end ".to_owned()),
                (tone, text),
                (Tone::Plain, pid),
            ]
        }
        None => vec![(Tone::Faint, "no process has ended".to_owned())],
    };
    if group.crash_loop {
        pieces.push((
            Tone::Bad,
            ", crash loop: it keeps failing and coming back".to_owned(),
        ));
    }
    if let Some(of) = &group.percentiles {
        let text = format!(
            "; run queue p50 {}, p90 {}, p99 {}",
            short_time(of.p50),
            short_time(of.p90),
            short_time(of.p99)
        );
        pieces.push((Tone::Plain, text));
    }
    if group.left_out > 0 {
        let text = format!(
            "; {} processes are left out",
            Precision::Human.count(group.left_out)
        );
        pieces.push((Tone::Warning, text));
    }
    pieces
}

/// `·` for nothing, a digit, or `+` for more than nine.
fn digit(count: u32) -> String {
    match count {
        0 => "·".to_owned(),
        1..=9 => count.to_string(),
        _ => "+".to_owned(),
    }
}

fn most(points: &[Option<f32>]) -> Option<f32> {
    points.iter().flatten().copied().reduce(f32::max)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes, never below 0, shown to three digits"
)]
fn bytes(number: f32) -> u64 {
    number as u64
}

/// One letter for each point: eight steps from zero to the largest one, and a space for what is not known.
pub(super) fn sparkline(points: &[Option<f32>]) -> String {
    let most = most(points).unwrap_or(0.0);
    let letter = |point: &Option<f32>| match point {
        None => ' ',
        Some(value) if most > 0.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 7"
            )]
            let step = (value / most * 7.0).round() as usize;
            BARS[step.min(7)]
        }
        Some(_) => BARS[0],
    };
    points.iter().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_grows_from_zero_and_has_gaps() {
        let points = [Some(0.0), Some(2.0), None, Some(7.0), Some(3.5)];
        assert_eq!(sparkline(&points), "▁▃ █▅");
        assert_eq!(sparkline(&[Some(0.0), None]), "▁ ");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn counts_beyond_a_digit_are_a_plus() {
        assert_eq!([0, 1, 9, 10, 5_000].map(digit), ["·", "1", "9", "+", "+"]);
    }
}
