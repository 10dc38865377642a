//! Trouble that comes and goes: said when it begins and when it has ended, however often it flickers in between.
//!
//! On a full disk a short write may fit where a long one does not, so that failures and successes alternate. An episode has
//! ended once something worked and nothing has failed for [`CALM`], or for twice as long as the last two failures were apart:
//! what is tried once a minute is not well again after ten seconds.

use std::time::{Duration, Instant};

/// Without failures for so long, an episode is over.
const CALM: Duration = Duration::from_secs(10);
/// Failures further apart than this do not belong together.
const APART: Duration = Duration::from_secs(600);

/// One kind of trouble.
#[derive(Debug, Default)]
pub struct Episode {
    /// Failures since it began; `None` while there is none.
    failures: Option<u64>,
    last_failure: Option<Instant>,
    /// Between the last two failures.
    gap: Duration,
}

impl Episode {
    /// Notes a failure. True: an episode begins, and is to be said.
    pub fn fails(&mut self, now: Instant) -> bool {
        if let Some(last) = self.last_failure.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.gap = if gap > APART { Duration::ZERO } else { gap };
        }
        let begins = self.failures.is_none();
        self.failures = Some(self.failures.unwrap_or(0) + 1);
        begins
    }

    /// Notes a success. `Some`: an episode of so many failures has ended, which is to be said.
    pub fn works(&mut self, now: Instant) -> Option<u64> {
        let calm = now.saturating_duration_since(self.last_failure?);
        if calm < CALM.max(self.gap * 2) {
            return None;
        }
        self.failures.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of these moments, in seconds from the beginning, and of the outcome at each.
    fn said(outcomes: impl Iterator<Item = (u64, bool)>) -> Vec<(u64, Option<u64>)> {
        let (mut episode, start) = (Episode::default(), Instant::now());
        let mut said = Vec::new();
        for (at, works) in outcomes {
            let now = start + Duration::from_secs(at);
            if works {
                said.extend(episode.works(now).map(|failures| (at, Some(failures))));
            } else if episode.fails(now) {
                said.push((at, None));
            }
        }
        said
    }

    #[test]
    fn what_flickers_is_one_episode() {
        assert_eq!(said((0..60).map(|at| (at, true))), [], "nothing fails");
        // Each second a short line fits and a long one does not, until there is room.
        let outcomes = (0..40).flat_map(|at| [(at, at >= 20), (at, true)]);
        assert_eq!(said(outcomes), [(0, None), (29, Some(20))]);
        let twice = (0..100).map(|at| (at, at % 50 >= 5));
        let expected = [(0, None), (14, Some(5)), (50, None), (64, Some(5))];
        assert_eq!(said(twice), expected, "there may be another one");
    }

    #[test]
    fn what_is_tried_once_a_minute_is_not_well_in_between() {
        let outcomes = (0..1_200).step_by(20).map(|at| (at, at % 60 != 0 || at >= 600));
        let said = said(outcomes);
        // Only the first pause may be taken for the end.
        assert_eq!(said, [(0, None), (20, Some(1)), (60, None), (660, Some(9))]);
    }
}
