//! Lengths of time as a histogram with fixed bounds.

use std::time::Duration;

/// Upper bounds of the buckets, ns, each included; one more bucket holds what is longer. From what a failing start
/// takes to what a long-lived service reaches.
pub const BOUNDS: [u64; 15] = [
    1_000_000,
    10_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    21_600_000_000_000,
    86_400_000_000_000,
];

/// Counts of lengths of time, by bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// Number of durations in each bucket; the last one has no upper bound.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Sum of all durations, ns.
    pub sum: u64,
    /// The duration that was added last, ns; `None` before the first.
    pub last: Option<u64>,
}

impl Durations {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|&bound| bound < nanos)] += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.last = Some(nanos);
    }

    /// Number of durations in all buckets.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let mut durations = Durations::default();
        for nanos in [0, BOUNDS[0], BOUNDS[0] + 1, BOUNDS[14], BOUNDS[14] + 1] {
            durations.add(Duration::from_nanos(nanos));
        }
        assert_eq!(
            (
                durations.counts[0],
                durations.counts[1],
                durations.counts[14],
                durations.counts[15]
            ),
            (2, 1, 1, 1)
        );
        assert_eq!(durations.count(), 5);
        assert_eq!(durations.sum, BOUNDS[0] * 2 + 1 + BOUNDS[14] * 2 + 1);
        assert_eq!(durations.last, Some(BOUNDS[14] + 1));
    }
}
