//! Exact ends: when dying threads are to tell their processes' totals, because the kernel's free does not come.

use super::{Source, Watch};
use crate::config::accounting::ExactEnds;

/// Ends that have to be told before their share says anything.
const ENOUGH: u64 = 100;
/// One end in so many may stay without its final totals.
const ONE_IN: u64 = 100;

/// What is known of how ends are told.
pub(super) struct Ends {
    wanted: ExactEnds,
    /// They are asked for, and it has been said if they cannot be had.
    asked: bool,
    /// Ends whose final totals have come.
    pub(super) told: u64,
}

impl Ends {
    pub(super) fn new(wanted: ExactEnds) -> Self {
        Self {
            wanted,
            asked: false,
            told: 0,
        }
    }

    /// `unsettled` ends never got their final totals.
    fn are_needed(&self, unsettled: u64) -> bool {
        match self.wanted {
            ExactEnds::Never => false,
            ExactEnds::Always => true,
            ExactEnds::Auto => {
                let all = self.told + unsettled;
                all >= ENOUGH && unsettled * ONE_IN > all
            }
        }
    }
}

impl Watch {
    /// Has dying threads tell totals, where that is asked for or needed.
    pub(super) fn look_at_ends(&mut self) {
        if self.ends.asked || !self.ends.are_needed(self.tracker.irregularities().unsettled) {
            return;
        }
        self.ends.asked = true;
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.tell_exact_ends();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_asked_for_when_more_than_one_in_a_hundred_stays_open() {
        let ends = |wanted, told| Ends {
            told,
            ..Ends::new(wanted)
        };
        for (wanted, told, unsettled, needed) in [
            (ExactEnds::Auto, 0, 0, false),
            (ExactEnds::Auto, 50, 49, false),
            (ExactEnds::Auto, 990, 10, false),
            (ExactEnds::Auto, 989, 11, true),
            (ExactEnds::Auto, 0, 100, true),
            (ExactEnds::Always, 0, 0, true),
            (ExactEnds::Never, 0, 1000, false),
        ] {
            let of = ends(wanted, told);
            assert_eq!(of.are_needed(unsettled), needed, "{wanted:?} {told} {unsettled}");
        }
    }
}
