//! The last minutes of each group: CPU and resident set for sparklines, and what happened for the ribbon.

use std::collections::{BTreeMap, VecDeque};

/// Frames that a sparkline goes back at most.
const FRAMES: usize = 300;
/// Seconds that a ribbon goes back at most.
const RIBBON_SECONDS: u64 = 600;

/// The values of one frame; `None`: not known, or nobody told.
type Point = (Option<f32>, Option<f32>);

/// Lifecycle events within some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::app::top) struct Lives {
    pub(in crate::app::top) starts: u32,
    pub(in crate::app::top) ends: u32,
    /// Ends other than with exit code 0, which are among the ends.
    pub(in crate::app::top) failures: u32,
    pub(in crate::app::top) restarts: u32,
}

impl Lives {
    pub(in crate::app::top) fn add(&mut self, other: &Self) {
        self.starts += other.starts;
        self.ends += other.ends;
        self.failures += other.failures;
        self.restarts += other.restarts;
    }
}

/// One group's.
#[derive(Debug, Default)]
pub(in crate::app::top) struct History {
    points: VecDeque<Point>,
    /// By Unix seconds.
    lives: BTreeMap<u64, Lives>,
}

impl History {
    /// The values of one more frame.
    pub(super) fn push(&mut self, cpus: Option<f64>, rss: Option<u64>) {
        if self.points.len() == FRAMES {
            self.points.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, reason = "a picture of eight steps")]
        let point = (cpus.map(|cpus| cpus as f32), rss.map(|bytes| bytes as f32));
        self.points.push_back(point);
    }

    /// Something has happened, at these Unix seconds.
    pub(super) fn happened(&mut self, at: u64, lives: &Lives) {
        self.lives.entry(at).or_default().add(lives);
        while self.lives.len() as u64 > RIBBON_SECONDS {
            self.lives.pop_first();
        }
    }

    /// CPUs in use, of the last `count` frames, oldest first.
    pub(in crate::app::top) fn cpus(&self, count: usize) -> Vec<Option<f32>> {
        self.last(count).map(|point| point.0).collect()
    }

    /// Resident sets, likewise, bytes.
    pub(in crate::app::top) fn rss(&self, count: usize) -> Vec<Option<f32>> {
        self.last(count).map(|point| point.1).collect()
    }

    fn last(&self, count: usize) -> impl Iterator<Item = &Point> {
        self.points.iter().skip(self.points.len().saturating_sub(count))
    }

    /// What happened in each of `count` steps of `step` seconds, of which the last holds the Unix second `now`.
    pub(in crate::app::top) fn ribbon(&self, now: u64, step: u64, count: usize) -> Vec<Lives> {
        let step = step.max(1);
        let last = now / step;
        let first = last.saturating_sub(count as u64 - u64::from(count > 0));
        let mut ribbon = vec![Lives::default(); count];
        for (second, lives) in self.lives.range(first * step..) {
            let at = usize::try_from(second / step - first).unwrap_or(usize::MAX);
            if let Some(place) = ribbon.get_mut(at) {
                place.add(lives);
            }
        }
        ribbon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ribbon_holds_each_event_in_its_step() {
        let mut history = History::default();
        let start = Lives {
            starts: 1,
            ..Lives::default()
        };
        for second in [1_000, 1_001, 1_004, 1_009] {
            history.happened(second, &start);
        }
        let starts: Vec<u32> = history
            .ribbon(1_009, 5, 3)
            .iter()
            .map(|lives| lives.starts)
            .collect();
        assert_eq!(starts, [0, 3, 1], "995, 1000 and 1005 on");
        assert!(history.ribbon(1_009, 5, 0).is_empty());
    }

    #[test]
    fn it_takes_bounded_memory() {
        let mut history = History::default();
        for second in 0..10_000 {
            history.push(None, Some(second));
            history.happened(second, &Lives::default());
        }
        assert_eq!((history.points.len(), history.lives.len()), (300, 600));
        assert_eq!(history.rss(2), [Some(9_998.0), Some(9_999.0)]);
    }
}
