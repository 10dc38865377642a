//! By which column rows are sorted.

use std::cmp::Ordering;

use super::{GroupRow, Values};

/// A column that rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app::top) enum Sort {
    Name,
    Processes,
    Cpu,
    Rss,
    Fds,
    Threads,
    Switches,
    Wait,
    Starts,
    Restarts,
    LastEnd,
}

const ALL: [Sort; 11] = [
    Sort::Name,
    Sort::Processes,
    Sort::Cpu,
    Sort::Rss,
    Sort::Fds,
    Sort::Threads,
    Sort::Switches,
    Sort::Wait,
    Sort::Starts,
    Sort::Restarts,
    Sort::LastEnd,
];

impl Sort {
    /// The column to the right of this one, or (`back`) to the left; around the ends.
    pub(super) fn next(self, back: bool) -> Self {
        let at = ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        let step = if back { ALL.len() - 1 } else { 1 };
        ALL[(at + step) % ALL.len()]
    }

    /// The order of two groups. What is not known comes last, whichever way the others stand; those that are equal stand by name.
    pub(super) fn groups(self, is_reversed: bool, one: &GroupRow, other: &GroupRow) -> Ordering {
        let key = |row: &GroupRow| match self {
            Self::Name => None,
            Self::Processes => Some(row.processes as f64),
            Self::Starts => Some(row.starts as f64),
            Self::Restarts => Some(row.restarts as f64),
            Self::LastEnd => row.last_end.as_ref().map(|end| end.time as f64),
            _ => self.of_values(&row.values),
        };
        self.ordered(is_reversed, key(one), key(other), one.label.cmp(&other.label))
    }

    /// The order of two processes of a group, by their names and values; what only groups have sorts them by CPU.
    pub(super) fn processes(
        self,
        is_reversed: bool,
        one: (&str, &Values, u32),
        other: (&str, &Values, u32),
    ) -> Ordering {
        let by = match self {
            Self::Processes | Self::Starts | Self::Restarts | Self::LastEnd => Self::Cpu,
            own => own,
        };
        let is_reversed = is_reversed && by == self;
        let names = (one.0, one.2).cmp(&(other.0, other.2));
        by.ordered(is_reversed, by.of_values(one.1), by.of_values(other.1), names)
    }

    fn of_values(self, values: &Values) -> Option<f64> {
        match self {
            Self::Cpu => values.cpus,
            Self::Rss => values.rss.map(|bytes| bytes as f64),
            Self::Fds => values.fds.map(|count| count as f64),
            Self::Threads => values.threads.map(|count| count as f64),
            Self::Switches => values.switches,
            Self::Wait => values.wait,
            Self::Name | Self::Processes | Self::Starts | Self::Restarts | Self::LastEnd => None,
        }
    }

    /// Names ascend and numbers descend, unless they are reversed.
    fn ordered(self, is_reversed: bool, one: Option<f64>, other: Option<f64>, names: Ordering) -> Ordering {
        if self == Self::Name {
            return if is_reversed { names.reverse() } else { names };
        }
        let numbers = match (one, other) {
            (Some(one), Some(other)) if is_reversed => one.total_cmp(&other),
            (Some(one), Some(other)) => other.total_cmp(&one),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        numbers.then(names)
    }
}
