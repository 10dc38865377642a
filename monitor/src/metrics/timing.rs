//! How long kevmon's own work takes, as a histogram that is small enough to be sent often.

use std::time::Duration;

/// Upper bounds of the buckets, ns, each included; one more bucket holds what is longer.
pub const TIMING_BOUNDS: [u64; 4] = [1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Counts of lengths of time, by bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// How many fell into each bucket; the last one has no upper bound.
    pub counts: [u64; TIMING_BOUNDS.len() + 1],
    /// Their sum, ns.
    pub sum: u64,
}

impl Timing {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[TIMING_BOUNDS.partition_point(|&bound| bound < nanos)] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|bucket| self.counts[bucket].saturating_sub(before.counts[bucket])),
            sum: self.sum.saturating_sub(before.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it_and_what_is_since_is_the_rest() {
        let mut timing = Timing::default();
        for nanos in [0, TIMING_BOUNDS[0], TIMING_BOUNDS[0] + 1] {
            timing.add(Duration::from_nanos(nanos));
        }
        assert_eq!(timing.counts, [2, 1, 0, 0, 0]);
        let before = timing;
        timing.add(Duration::from_secs(11));
        let since = timing.since(&before);
        assert_eq!(since.counts, [0, 0, 0, 0, 1]);
        assert_eq!((since.sum, since.count()), (11_000_000_000, 1));
    }
}
