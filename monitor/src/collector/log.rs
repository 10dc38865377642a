//! How much of a plugin's own output goes into the log: 2,000 bytes a second, and 100 kB at once.

use std::time::Instant;

/// Bytes a second.
const RATE: f64 = 2_000.0;
/// Bytes at once.
const BURST: f64 = 100_000.0;
/// Between two complaints about what is left out, seconds.
const COMPLAINTS: f64 = 60.0;

/// A plugin's budget.
#[derive(Debug, Default)]
pub(super) struct LogBudget {
    /// Bytes that may be written, as of then; everything at the beginning.
    state: Option<(Instant, f64)>,
    suppressed: u64,
    complained: Option<Instant>,
}

impl LogBudget {
    /// Whether a line of so many bytes may be written now.
    pub(super) fn allows(&mut self, bytes: usize, now: Instant) -> bool {
        let left = self.state.map_or(BURST, |(at, left)| {
            (left + RATE * now.saturating_duration_since(at).as_secs_f64()).min(BURST)
        });
        #[expect(clippy::cast_precision_loss, reason = "a line is short")]
        let cost = bytes as f64;
        let allows = cost <= left;
        self.state = Some((now, if allows { left - cost } else { left }));
        self.suppressed += if allows { 0 } else { bytes as u64 };
        allows
    }

    /// How many bytes were left out, where that is to be said: at once, and then once a minute.
    pub(super) fn take_suppressed(&mut self, now: Instant) -> Option<u64> {
        let due = self
            .complained
            .is_none_or(|at| now.saturating_duration_since(at).as_secs_f64() >= COMPLAINTS);
        if self.suppressed == 0 || !due {
            return None;
        }
        self.complained = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_a_trickle() {
        let start = Instant::now();
        let mut budget = LogBudget::default();
        let written = (0..2_000).filter(|_| budget.allows(100, start)).count();
        assert_eq!(written, 1_000, "100 kB at once");
        assert_eq!(budget.take_suppressed(start), Some(100_000));
        assert_eq!(budget.take_suppressed(start), None);
        let later = start + Duration::from_secs(3);
        let written = (0..200).filter(|_| budget.allows(100, later)).count();
        assert_eq!(written, 60, "2,000 bytes for each second since");
        assert_eq!(budget.take_suppressed(later), None, "said less than a minute ago");
        assert_eq!(
            budget.take_suppressed(start + Duration::from_secs(60)),
            Some(14_000)
        );
    }
}
