//! How long a receiver that does not take requests is left alone.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Before the second attempt …
const FIRST: Duration = Duration::from_millis(500);
/// … and at most: a receiver that comes back is found within this time, and a quarter of it.
const LONGEST: Duration = Duration::from_secs(16);
/// Longest pause that a receiver may ask for: a broken one must not silence kevmon for a day.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Doubles from attempt to attempt, with jitter, so that a fleet does not call in step.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The pause after one more failure. What the receiver asked for (gRPC's RetryInfo, HTTP's Retry-After) is the
    /// least; `random` from 0 to 1 stretches the pause by up to a quarter.
    pub(super) fn pause(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        let least = doubled
            .min(LONGEST)
            .max(asked.unwrap_or_default().min(LONGEST_ASKED));
        least.mul_f64(1.0 + 0.25 * random.clamp(0.0, 1.0))
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Anything from 0 to 1, from the keys that the standard library draws for its hash maps.
pub(super) fn random() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_begin_anew() {
        let mut back_off = BackOff::default();
        let pauses = [0; 8].map(|_| back_off.pause(None, 0.0).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]);
        assert_eq!(
            back_off.pause(None, 1.0),
            Duration::from_secs(20),
            "with all its jitter"
        );
        back_off.reset();
        assert_eq!(back_off.pause(None, 0.0), FIRST);
    }

    #[test]
    fn a_receiver_is_left_alone_as_long_as_it_asks_within_reason() {
        let asked = |seconds| {
            let mut back_off = BackOff::default();
            back_off.pause(Some(Duration::from_secs(seconds)), 0.0).as_secs()
        };
        assert_eq!((asked(30), asked(86_400)), (30, 600));
        let mut back_off = BackOff::default();
        assert_eq!(back_off.pause(Some(Duration::ZERO), 0.0), FIRST, "never at once");
    }

    #[test]
    fn jitter_differs_and_stays_within_its_bounds() {
        let drawn: Vec<f64> = (0..50).map(|_| random()).collect();
        assert!(drawn.iter().all(|one| (0.0..1.0).contains(one)), "{drawn:?}");
        assert!(drawn.iter().any(|one| *one != drawn[0]));
    }
}
