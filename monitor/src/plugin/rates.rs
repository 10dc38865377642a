//! Panoptes' `rate` transform: how fast a counter grows, and when that cannot be told.

use std::collections::HashMap;

/// A gap of more intervals than this has no rate.
const GAP: u64 = 3;
/// Counters of which the last sample is held.
const MOST_SERIES: usize = 20_000;
/// Memory that their names and attributes take at most, about, bytes.
const MOST_BYTES: usize = 32 << 20;

/// A counter's name and attributes.
type Series = (String, Vec<(String, String)>);

/// The last sample of each counter, from which rates are made.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    last: HashMap<Series, (u64, f64)>,
    /// Memory that names and attributes take, about.
    bytes: usize,
}

impl Rates {
    /// The rate of the counter `name` with these attributes, of which `value` was measured at `time` (Unix ns), per second,
    /// for a collector that runs every `interval` ns. `None` at a first sample, after a gap of more than three intervals, for
    /// a time that has not moved on, for a counter that has fallen, for a rate beyond all numbers, and for more counters than are
    /// held.
    pub fn rate(
        &mut self,
        name: &str,
        attributes: &[(String, String)],
        value: f64,
        time: u64,
        interval: u64,
    ) -> Option<f64> {
        let key = (name.to_owned(), attributes.to_vec());
        let texts = attributes.iter().map(|(key, value)| key.len() + value.len());
        let bytes = name.len() + size_of_val(attributes) + texts.sum::<usize>();
        let is_full = self.last.len() >= MOST_SERIES || self.bytes + bytes > MOST_BYTES;
        if is_full && !self.last.contains_key(&key) {
            return None;
        }
        let Some((before, last)) = self.last.insert(key, (time, value)) else {
            self.bytes += bytes;
            return None;
        };
        let elapsed = time.checked_sub(before).filter(|elapsed| *elapsed > 0)?;
        let too_long = elapsed > interval.saturating_mul(GAP);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a length of time, good to a nanosecond in months"
        )]
        let seconds = elapsed as f64 / 1e9;
        // Two finite numbers may be further apart in a nanosecond than any number tells.
        let rate = (value - last) / seconds;
        (!too_long && value >= last && rate.is_finite()).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_take_bounded_memory() {
        const S: u64 = 1_000_000_000;
        let mut rates = Rates::default();
        let long = |number: usize| vec![(format!("k{number}"), "x".repeat(1 << 20))];
        for time in [S, 2 * S] {
            let known = (0..100).filter(|number| rates.rate("a", &long(*number), 1.0, time, S).is_some());
            assert_eq!(known.count(), if time == S { 0 } else { 31 });
        }
    }

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
        let most = f64::MAX;
        for (time, value) in [(1, -most), (2, most), (3, 0.0), (4, most)] {
            assert_eq!(rates.rate("b", &[], value, time, 60 * S), None, "{value:e}");
        }
        assert_eq!(
            rates.rate("a", &of("1"), 5.0, 700 * S, 60 * S),
            None,
            "another series"
        );
    }
}
