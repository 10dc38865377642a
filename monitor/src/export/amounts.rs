//! Measured amounts in units that people read, or exactly.

use std::time::Duration;

use super::words::span;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Three digits and a unit that fits.
    #[default]
    Human,
    /// Every digit, in the unit that it was measured in.
    Exact,
}

/// Something measured; `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    Bytes(Option<u64>),
    Count(Option<u64>),
    /// A length of time, ns.
    Nanos(Option<u64>),
    /// CPUs in use: 1 is one CPU fully used.
    Cpus(Option<f64>),
    /// A part of a whole: 1 is all of it.
    Share(Option<f64>),
}

impl Amount {
    /// `None` where it is not known.
    pub(super) fn text(self, precision: Precision) -> Option<String> {
        Some(match self {
            Self::Bytes(bytes) => precision.bytes(bytes?),
            Self::Count(count) => precision.count(count?),
            Self::Nanos(nanos) => precision.length(nanos?),
            Self::Cpus(cpus) => precision.cpus(cpus?),
            Self::Share(share) => precision.share(share?),
        })
    }

    /// Whether it is known, and nothing.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Bytes(number) | Self::Count(number) | Self::Nanos(number) => number == Some(0),
            Self::Cpus(number) | Self::Share(number) => number == Some(0.0),
        }
    }

    /// By how much it is more than `before`; unknown where either is.
    pub(super) fn since(self, before: Self) -> Self {
        let grown = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        match (self, before) {
            (Self::Bytes(now), Self::Bytes(before)) => Self::Bytes(grown(now, before)),
            (Self::Count(now), Self::Count(before)) => Self::Count(grown(now, before)),
            (Self::Nanos(now), Self::Nanos(before)) => Self::Nanos(grown(now, before)),
            (amount, _) => amount,
        }
    }
}

/// `number` of `units`, of which each is 1,000 or 1,024 times the one before: three digits.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for larger in units {
        // What would be rounded up to four digits takes the larger unit.
        if number < 999.5 {
            break;
        }
        number /= step;
        unit = larger;
    }
    let digits = if number < 9.995 {
        2
    } else {
        usize::from(number < 99.95)
    };
    let text = format!("{number:.digits$} {unit}");
    text.trim_end().to_owned()
}

impl Precision {
    /// `512 B`, `88.1 MiB`; exactly, `92379136 B`.
    pub fn bytes(self, bytes: u64) -> String {
        if self == Self::Exact || bytes < 1024 {
            return format!("{bytes} B");
        }
        scaled(
            bytes as f64 / 1024.0,
            1024.0,
            &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        )
    }

    /// `9999`, `12.3 k`, `4.56 M`; exactly, all digits.
    pub fn count(self, count: u64) -> String {
        if self == Self::Exact || count < 10_000 {
            return count.to_string();
        }
        scaled(count as f64 / 1e3, 1e3, &["k", "M", "G", "T", "P", "E"])
    }

    /// `3.250 s`, `41m 10s`; exactly, `2470.123456789 s`.
    pub fn length(self, nanos: u64) -> String {
        match self {
            Self::Human => span(Duration::from_nanos(nanos)),
            Self::Exact => format!("{}.{:09} s", nanos / 1_000_000_000, nanos % 1_000_000_000),
        }
    }

    /// `0.73`; exactly, `0.734127`.
    pub fn cpus(self, cpus: f64) -> String {
        match self {
            Self::Human if cpus > 0.0 && cpus < 0.005 => "<0.01".to_owned(),
            Self::Human => format!("{cpus:.2}"),
            Self::Exact => format!("{cpus:.6}"),
        }
    }

    /// `1.6 %`; exactly, `1.634127 %`.
    pub fn share(self, share: f64) -> String {
        let percent = share * 100.0;
        match self {
            Self::Human if percent > 0.0 && percent < 0.05 => "<0.1 %".to_owned(),
            Self::Human => format!("{percent:.1} %"),
            Self::Exact => format!("{percent:.6} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_that_fits() {
        let human = Precision::Human;
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (88 << 20, "88.0 MiB"),
            (412 << 20, "412 MiB"),
            (1023 << 20, "1.00 GiB"),
            (5 << 40, "5.00 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human.bytes(bytes), text, "{bytes}");
            assert_eq!(Precision::Exact.bytes(bytes), format!("{bytes} B"));
        }
        for (count, text) in [
            (9_999, "9999"),
            (10_000, "10.0 k"),
            (999_499, "999 k"),
            (999_500, "1.00 M"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(human.count(count), text);
        }
    }

    #[test]
    fn small_is_not_nothing() {
        let human = Precision::Human;
        assert_eq!(
            [0.0, 0.001, 0.005, 0.734_127, 63.5].map(|cpus| human.cpus(cpus)),
            ["0.00", "<0.01", "0.01", "0.73", "63.50"]
        );
        assert_eq!(
            [0.0, 0.000_1, 0.016_341].map(|share| human.share(share)),
            ["0.0 %", "<0.1 %", "1.6 %"]
        );
        assert_eq!(Precision::Exact.cpus(0.734_127_1), "0.734127");
        assert_eq!(Precision::Exact.length(2_470_123_456_789), "2470.123456789 s");
    }

    #[test]
    fn what_is_not_known_stays_so() {
        assert_eq!(Amount::Count(None).text(Precision::Human), None);
        assert!(!Amount::Count(None).is_zero());
        assert_eq!(
            Amount::Count(Some(7)).since(Amount::Count(None)),
            Amount::Count(None)
        );
        assert_eq!(
            Amount::Count(Some(7)).since(Amount::Count(Some(5))),
            Amount::Count(Some(2))
        );
    }
}
