//! Panoptes' `rate` transform: how fast a counter grows, and when that cannot be told.

use std::collections::HashMap;

/// A gap of more intervals than this has no rate.
const GAP: u64 = 3;
/// Counters of which the last sample is held.
const MOST_SERIES: usize = 20_000;

/// A counter's name and attributes.
type Series = (String, Vec<(String, String)>);

/// What was seen of each counter last.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    last: HashMap<Series, (u64, f64)>,
}

impl Rates {
    /// The rate of the counter `name` with these attributes, of which `value` was measured at `time` (Unix ns), per second,
    /// for a collector that runs every `interval` ns. `None` at a first sample, after a gap of more than three intervals, for
    /// a time that has not moved on, for a counter that has fallen, and for more counters than are held.
    pub fn rate(
        &mut self,
        name: &str,
        attributes: &[(String, String)],
        value: f64,
        time: u64,
        interval: u64,
    ) -> Option<f64> {
        let key = (name.to_owned(), attributes.to_vec());
        if self.last.len() >= MOST_SERIES && !self.last.contains_key(&key) {
            return None;
        }
        let (before, last) = self.last.insert(key, (time, value))?;
        let elapsed = time.checked_sub(before).filter(|elapsed| *elapsed > 0)?;
        let too_long = elapsed > interval.saturating_mul(GAP);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a length of time, good to a nanosecond in months"
        )]
        let seconds = elapsed as f64 / 1e9;
        (!too_long && value >= last).then(|| (value - last) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_and_its_four_exceptions() {
        const S: u64 = 1_000_000_000;
        let mut rates = Rates::default();
        let of = |cpu: &str| vec![("cpu".to_owned(), cpu.to_owned())];
        for (time, value, expected) in [
            (100 * S, 50.0, None), // the first
            (160 * S, 110.0, Some(1.0)),
            (160 * S, 170.0, None), // no time has passed
            (150 * S, 180.0, None), // nor here
            (210 * S, 180.0, Some(0.0)),
            (270 * S, 100.0, None), // fallen
            (330 * S, 220.0, Some(2.0)),
            (511 * S, 900.0, None),       // 181 s: more than three intervals
            (691 * S, 1080.0, Some(1.0)), // exactly three
        ] {
            assert_eq!(
                rates.rate("a", &of("0"), value, time, 60 * S),
                expected,
                "{time} {value}"
            );
        }
        assert_eq!(
            rates.rate("a", &of("1"), 5.0, 700 * S, 60 * S),
            None,
            "another series"
        );
    }
}
