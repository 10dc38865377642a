//! How values are spread: counts by bucket, with buckets that widen by a fixed factor.
//!
//! The buckets are those of an OpenTelemetry exponential histogram of scale 2 (opentelemetry-proto, metrics.proto,
//! ExponentialHistogramDataPoint): bucket `i` holds what lies between 2^(i/4) and 2^((i+1)/4). Four buckets together are one
//! power of two. A percentile read from them is off by a factor of 2^(1/8) at most.

use std::collections::BTreeMap;

/// Buckets of a power of two.
pub const PER_OCTAVE: i32 = 4;
/// By how much a percentile may be off: 2^(1/8) - 1.
pub const RELATIVE_ERROR: f64 = 0.090_507_732_665_257_66;

/// What is counted: in which unit the values are exported, and how many of the units they are kept in make up one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Kept in ns, exported in seconds.
    Time,
    /// Kept in billionths, exported as a fraction.
    Share,
    /// Kept and exported as it is: bytes, threads.
    Number,
}

impl Quantity {
    /// How many of the units that values are kept in make up one of those that they are exported in.
    pub fn units(self) -> f64 {
        match self {
            Self::Time | Self::Share => 1e9,
            Self::Number => 1.0,
        }
    }
}

/// Values by bucket, with their exact number and sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// In what they are counted.
    pub quantity: Quantity,
    /// Their number.
    pub count: u64,
    /// Their sum, in the unit that they are kept in.
    pub sum: u64,
    /// The smallest, where it is known.
    pub min: Option<u64>,
    /// The largest.
    pub max: Option<u64>,
    /// Those that are smaller than any bucket holds: see [`Spread::threshold`].
    pub zero: u64,
    /// The rest, by bucket; of values as they are exported.
    pub buckets: BTreeMap<i32, u64>,
}

impl Spread {
    /// Nothing counted yet.
    pub const fn new(quantity: Quantity) -> Self {
        Self {
            quantity,
            count: 0,
            sum: 0,
            min: None,
            max: None,
            zero: 0,
            buckets: BTreeMap::new(),
        }
    }

    /// What is smaller than this counts as zero, in the unit of the export.
    pub fn threshold(&self) -> f64 {
        match self.quantity {
            Quantity::Time | Quantity::Share => 2_f64.powi(kevmon_common::SHORTEST),
            Quantity::Number => 0.5,
        }
    }

    /// One more value.
    pub fn add_value(&mut self, value: u64) {
        let bucket = self.bucket(value);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = self.max.max(Some(value));
        match bucket {
            Some(bucket) => *self.buckets.entry(bucket).or_default() += 1,
            None => self.zero += 1,
        }
    }

    /// All of `other`'s values.
    pub fn add(&mut self, other: &Self) {
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.zero += other.zero;
        for (&bucket, &count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
        self.forget_wrong_ends();
    }

    /// The ends of parts are not always known: the smallest value of all is not in another bucket than the first one.
    fn forget_wrong_ends(&mut self) {
        let first = if self.zero > 0 {
            Some(None)
        } else {
            self.buckets.first_key_value().map(|(&bucket, _)| Some(bucket))
        };
        let last = self.buckets.last_key_value().map(|(&bucket, _)| bucket);
        self.min = self.min.filter(|&min| Some(self.bucket(min)) == first);
        self.max = self.max.filter(|&max| self.bucket(max) == last);
        // Of different parts both.
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            (self.min, self.max) = (None, None);
        }
    }

    /// The bucket that a value falls into; `None`: it counts as zero.
    fn bucket(&self, value: u64) -> Option<i32> {
        match self.quantity {
            Quantity::Time | Quantity::Share => kevmon_common::bucket(value)
                .map(|bucket| kevmon_common::FIRST_INDEX + i32::try_from(bucket).unwrap_or(i32::MAX)),
            Quantity::Number => index_of(value),
        }
    }

    /// What has come since `earlier`, which it was once. Its smallest and largest value are known where they are new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut new = self.clone();
        new.count = self.count.saturating_sub(earlier.count);
        new.sum = self.sum.saturating_sub(earlier.sum);
        new.zero = self.zero.saturating_sub(earlier.zero);
        new.min = self.min.filter(|_| earlier.count == 0 || self.min != earlier.min);
        new.max = self.max.filter(|_| earlier.count == 0 || self.max != earlier.max);
        for (bucket, count) in &earlier.buckets {
            if let Some(now) = new.buckets.get_mut(bucket) {
                *now = now.saturating_sub(*count);
            }
        }
        new.buckets.retain(|_, count| *count > 0);
        new
    }

    /// The value below which `share` of all lie, in the unit that they are kept in, off by [`RELATIVE_ERROR`] at most; `None`
    /// while there is none.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = (share * self.count as f64).ceil().clamp(1.0, self.count as f64) as u64;
        let bounded = |value: u64| value.max(self.min.unwrap_or(0)).min(self.max.unwrap_or(u64::MAX));
        if rank <= self.zero {
            return Some(bounded(0));
        }
        let mut below = self.zero;
        for (&bucket, &count) in &self.buckets {
            below += count;
            if rank <= below {
                return Some(bounded(middle(bucket, self.quantity.units())));
            }
        }
        self.max
    }
}

/// The middle of a bucket, by its logarithm.
fn middle(bucket: i32, units: f64) -> u64 {
    let middle = 2_f64.powf((f64::from(bucket) + 0.5) / f64::from(PER_OCTAVE));
    (middle * units).round() as u64
}

/// Where a bucket begins, in the unit of the export.
pub fn lower_bound(bucket: i32) -> f64 {
    2_f64.powf(f64::from(bucket) / f64::from(PER_OCTAVE))
}

/// The bucket of a whole number, which a bucket's upper bound belongs to: exactly 4 is in the one that ends there. `None` for 0.
fn index_of(value: u64) -> Option<i32> {
    let bit = i32::try_from(value.checked_ilog2()?).unwrap_or(0);
    let is_above = |quarter: i32| value as f64 > lower_bound(bit * PER_OCTAVE + quarter);
    let quarters = (0..PER_OCTAVE).filter(|&quarter| is_above(quarter)).count();
    Some(bit * PER_OCTAVE - 1 + i32::try_from(quarters).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(quantity: Quantity, values: &[u64]) -> Spread {
        let mut spread = Spread::new(quantity);
        for &value in values {
            spread.add_value(value);
        }
        spread
    }

    #[test]
    fn a_value_lies_in_its_bucket() {
        for value in (1..2_000).chain([1 << 20, (1 << 40) - 1, 987_654_321]) {
            let bucket = index_of(value).expect("not 0");
            assert!(lower_bound(bucket) < value as f64, "{value}");
            assert!(value as f64 <= lower_bound(bucket + 1) * 1.000_001, "{value}");
        }
        for power in 0..40 {
            assert_eq!(
                index_of(1 << power),
                Some(power * PER_OCTAVE - 1),
                "the upper bound belongs to it"
            );
        }
        assert_eq!(index_of(0), None);
    }

    #[test]
    fn percentiles_are_within_their_error() {
        for quantity in [Quantity::Time, Quantity::Number] {
            let values: Vec<u64> = (1..=1000).map(|n| n * 12_345).collect();
            let spread = of(quantity, &values);
            for (share, exact) in [(0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000)] {
                let exact = f64::from(exact) * 12_345.0;
                let told = spread.percentile(share).expect("there are values") as f64;
                assert!(
                    told / exact < 1.0 + RELATIVE_ERROR + 0.001
                        && exact / told < 1.0 + RELATIVE_ERROR + 0.001,
                    "{quantity:?} {share}: {told} for {exact}"
                );
            }
        }
    }

    #[test]
    fn what_came_since_and_what_was_before_make_all() {
        let before = of(Quantity::Time, &[0, 500, 70_000, 1_000_000]);
        let mut all = before.clone();
        for value in [30, 900, 5_000_000] {
            all.add_value(value);
        }
        let since = all.since(&before);
        assert_eq!((since.count, since.sum), (3, 5_000_930));
        assert_eq!(
            (since.min, since.max),
            (None, Some(5_000_000)),
            "0 was the smallest before"
        );
        let mut again = before;
        again.add(&since);
        assert_eq!(
            (again.count, again.sum, &again.buckets, again.zero),
            (all.count, all.sum, &all.buckets, all.zero)
        );
    }

    #[test]
    fn ends_of_different_parts_are_not_believed() {
        // A group that begins late: of one thread the smallest is new, of another one the largest, in one bucket.
        let mut first = of(Quantity::Time, &[10_024_831]);
        first.max = None;
        let mut second = of(Quantity::Time, &[9_526_993]);
        second.min = None;
        first.add(&second);
        assert_eq!((first.min, first.max), (None, None));
        assert!(first.percentile(0.5).is_some(), "no panic");
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Spread::new(Quantity::Time).percentile(0.5), None);
        assert_eq!(of(Quantity::Time, &[0]).percentile(0.5), Some(0));
        assert_eq!(
            of(Quantity::Number, &[7]).percentile(0.5),
            Some(7),
            "never beyond what was seen"
        );
    }
}
