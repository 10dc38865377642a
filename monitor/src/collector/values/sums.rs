//! Since when each counter counts.

use std::collections::HashMap;

use super::Attributes;

/// Series of counters that a collector may have.
pub(super) const MOST_SERIES: usize = 20_000;
/// Memory that their names and attributes take at most, about, bytes.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// When each counter began, and what it was last.
#[derive(Debug, Default)]
pub(in crate::collector) struct Sums {
    series: HashMap<(String, Attributes), (u64, f64)>,
    /// Memory that names and attributes take, about.
    bytes: usize,
}

impl Sums {
    /// Since when `value` counts, Unix ns: since it was first seen, since it fell, or since the clock was set back behind that.
    /// `None` for a series beyond the bounds.
    pub(super) fn start(
        &mut self,
        name: &str,
        attributes: &Attributes,
        value: f64,
        time: u64,
    ) -> Option<u64> {
        let texts = attributes.iter().map(|(key, value)| key.len() + value.len());
        let bytes = name.len() + size_of_val(attributes.as_slice()) + texts.sum::<usize>();
        let full = self.series.len() >= MOST_SERIES || self.bytes + bytes > MOST_BYTES;
        let key = (name.to_owned(), attributes.clone());
        match self.series.get_mut(&key) {
            Some((start, last)) => {
                if value < *last || time < *start {
                    *start = time;
                }
                *last = value;
                Some(*start)
            }
            None if full => None,
            None => {
                self.series.insert(key, (time, value));
                self.bytes += bytes;
                Some(time)
            }
        }
    }
}
