//! Lengths of time as people write them (`60`, `0.5`, `500ms`, `2s`, `1m`, `1h`), with the bounds that
//! keep an interval from being absurd.

use std::{ops::RangeInclusive, time::Duration};

/// Shortest and longest time between two collections.
pub const INTERVAL_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;

/// Shortest and longest time between two samples of the detailed mode.
pub const SAMPLE_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5);

/// How long a collector may run.
pub(crate) const COLLECTOR_TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(300);

/// After how long a group without processes may be forgotten.
pub(crate) const FORGET_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Shortest and longest time in which a start still replaces an ended process (0 s pairs none), or within which an
/// end is a failed start (0 s: none is).
pub const WINDOW_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=DAY;

/// Shortest and longest time that one request may take.
pub const TIMEOUT_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

/// Youngest and oldest that a kept request may become.
pub const SPOOL_AGE_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_hours(30 * 24);

/// Shortest and longest time between two exports of kevmon's own telemetry.
pub const TELEMETRY_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;

/// How long the kernel side may watch without kevmon (0 s: it does not).
pub const KEEP_WATCHING_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=DAY;

const DAY: Duration = Duration::from_hours(24);

/// Why a text is no length of time; its message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number, or a number that is none (`nan`).
    #[error(
        "{0:?} is not a length of time; write seconds (60, 0.5) or a number with a unit (500ms, 2s, 1m, 1h)"
    )]
    NotANumber(String),
    /// A number with a unit that kevmon does not know.
    #[error("{0:?} is not a known unit; write ms, s, m or h")]
    UnknownUnit(String),
    /// Less than nothing.
    #[error("{given:?} is negative; write {bounds}")]
    Negative {
        /// As written.
        given: String,
        /// What is allowed, in words.
        bounds: String,
    },
    /// Shorter or longer than allowed.
    #[error("{given:?} is too {direction}; write {bounds}")]
    OutOfBounds {
        /// As written.
        given: String,
        /// `short` or `long`.
        direction: &'static str,
        /// What is allowed, in words.
        bounds: String,
    },
}

/// The time between two collections (10 ms to 24 h); without a unit, seconds.
///
/// # Errors
/// When `text` is no length of time within [`INTERVAL_BOUNDS`].
pub fn parse_interval(text: &str) -> Result<Duration, DurationError> {
    parse(text, &INTERVAL_BOUNDS)
}

/// Reads `text` (without a unit, seconds) and holds it to `bounds`.
///
/// # Errors
/// When `text` is no length of time within `bounds`.
pub fn parse(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, DurationError> {
    let text = text.trim();
    let unit_at = text
        .find(|letter: char| letter.is_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = (text[..unit_at].trim_end(), text[unit_at..].trim());
    // `inf`, `nan` and `e` are letters, so what is left of them is not a number either.
    if number.is_empty() {
        return Err(DurationError::NotANumber(text.to_owned()));
    }
    let seconds_each = match unit.to_ascii_lowercase().as_str() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(DurationError::UnknownUnit(unit.to_owned())),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| DurationError::NotANumber(text.to_owned()))?;
    bounded(number * seconds_each, text, bounds)
}

/// Holds `seconds`, written as `given`, to `bounds`.
///
/// # Errors
/// When `seconds` is not a number or outside `bounds`.
pub fn bounded(
    seconds: f64,
    given: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, DurationError> {
    let given = given.to_owned();
    if seconds.is_nan() {
        return Err(DurationError::NotANumber(given));
    }
    let words = describe(bounds);
    if seconds < 0.0 {
        return Err(DurationError::Negative { given, bounds: words });
    }
    // What does not fit a Duration is far beyond any bound.
    let length = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if length < *bounds.start() {
        Err(DurationError::OutOfBounds {
            given,
            direction: "short",
            bounds: words,
        })
    } else if length > *bounds.end() {
        Err(DurationError::OutOfBounds {
            given,
            direction: "long",
            bounds: words,
        })
    } else {
        Ok(length)
    }
}

fn describe(bounds: &RangeInclusive<Duration>) -> String {
    format!("{} to {}", short(*bounds.start()), short(*bounds.end()))
}

/// A length of time in the notation that [`parse`] reads: `10ms`, `60s`, `24h`.
pub(crate) fn short(length: Duration) -> String {
    let whole = length.as_secs();
    if length.subsec_nanos() != 0 {
        format!("{}ms", length.as_millis())
    } else if whole >= 3600 && whole.is_multiple_of(3600) {
        format!("{}h", whole / 3600)
    } else {
        format!("{whole}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, milliseconds) in [
            ("60", 60_000),
            ("0.5", 500),
            (".5", 500),
            ("500ms", 500),
            ("10ms", 10),
            ("0.01", 10),
            ("2s", 2_000),
            (" 2 s ", 2_000),
            ("2S", 2_000),
            ("1m", 60_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                parse_interval(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text:?}"
            );
        }
        assert_eq!(parse("0", &WINDOW_BOUNDS), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_refused_and_how_it_is_said() {
        for (text, message) in [
            ("", "\"\" is not a length of time; write seconds"),
            ("soon", "\"soon\" is not a length of time"),
            ("nan", "\"nan\" is not a length of time"),
            ("inf", "\"inf\" is not a length of time"),
            ("1.2.3", "\"1.2.3\" is not a length of time"),
            ("--5", "\"--5\" is not a length of time"),
            ("5 years", "\"years\" is not a known unit; write ms, s, m or h"),
            ("1m30s", "\"m30s\" is not a known unit"),
            ("1e3", "\"e3\" is not a known unit"),
            ("-1", "\"-1\" is negative; write 10ms to 24h"),
            ("-1ms", "\"-1ms\" is negative; write 10ms to 24h"),
            ("0", "\"0\" is too short; write 10ms to 24h"),
            ("9ms", "\"9ms\" is too short; write 10ms to 24h"),
            ("24.1h", "\"24.1h\" is too long; write 10ms to 24h"),
            (&"9".repeat(400), "is too long; write 10ms to 24h"),
        ] {
            let error = parse_interval(text).expect_err(text).to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
        let error = bounded(f64::NAN, "nan", &INTERVAL_BOUNDS).expect_err("not a number");
        assert_eq!(error, DurationError::NotANumber("nan".to_owned()));
    }
}
