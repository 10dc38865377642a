//! A line of a chart: any number of values over a range of time, kept as the least and the highest of each of [`CELLS`] parts of it,
//! so that no peak is lost and a day is no larger than a minute.

use std::{fmt::Write, ops::RangeInclusive};

/// Parts of the range.
pub(super) const CELLS: usize = 400;
/// Width and height that a chart is drawn in.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 100.0;

/// What one part of the range holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    least: f64,
    highest: f64,
    /// Nothing connects it with what came before.
    begins: bool,
}

/// The values of one kind.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    range: RangeInclusive<u64>,
    cells: Vec<Option<Cell>>,
    /// The next value begins a line.
    begins: bool,
    pub(super) highest: f64,
    pub(super) last: Option<f64>,
}

impl Trace {
    /// Without a value yet, over `range`, Unix ns.
    pub(super) fn new(range: RangeInclusive<u64>) -> Self {
        Self {
            range,
            cells: vec![None; CELLS],
            begins: true,
            highest: 0.0,
            last: None,
        }
    }

    /// The value at `time`, Unix ns; `None`: it is not known, and the line ends.
    pub(super) fn add(&mut self, time: u64, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            self.begins = true;
            return;
        };
        let place = place(&self.range, time) * CELLS as f64;
        let place = (place as usize).min(CELLS - 1);
        let begins = std::mem::take(&mut self.begins);
        let cell = self.cells[place].get_or_insert(Cell {
            least: value,
            highest: value,
            begins,
        });
        cell.least = cell.least.min(value);
        cell.highest = cell.highest.max(value);
        self.highest = self.highest.max(value);
        self.last = Some(value);
    }

    /// Whether it has no value at all.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The path of an SVG, from 0 at the bottom to the highest value at the top.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        let top = if self.highest > 0.0 { self.highest } else { 1.0 };
        for (place, cell) in self.cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            let x = (place as f64 + 0.5) * WIDTH / CELLS as f64;
            let y = |value: f64| HEIGHT - value / top * HEIGHT;
            let letter = if cell.begins || path.is_empty() { 'M' } else { 'L' };
            // Writing to a string does not fail.
            let _ = write!(path, "{letter}{x:.0} {:.1}", y(cell.least));
            if cell.highest > cell.least {
                let _ = write!(path, "L{x:.0} {:.1}", y(cell.highest));
            } else if letter == 'M' {
                path.push_str("h1"); // a line of one point is seen
            }
        }
        path
    }
}

/// Where `time` lies in `range`: 0 at its beginning, 1 at its end.
pub(super) fn place(range: &RangeInclusive<u64>, time: u64) -> f64 {
    let length = range.end().saturating_sub(*range.start()).max(1);
    let passed = time.saturating_sub(*range.start()).min(length);
    passed as f64 / length as f64
}
