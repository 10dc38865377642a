//! Amounts of storage as people write them (`67108864`, `64MiB`), held to bounds.

use std::ops::RangeInclusive;

use super::finding::quoted;

/// What the spool may hold at least and at most.
pub const SPOOL_BOUNDS: RangeInclusive<u64> = 64 << 10..=16 << 30;

/// How large a request may be at most.
pub const REQUEST_BOUNDS: RangeInclusive<u64> = 1 << 10..=4 << 20;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `text` (without a unit, bytes) and holds it to `bounds`.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn parse(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let text = text.trim();
    let unit_at = text
        .find(|letter: char| letter.is_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = (text[..unit_at].trim_end(), &text[unit_at..]);
    let wrong = || {
        let given = quoted(text);
        format!("{given} is not a size; write bytes, or a whole number with KiB, MiB or GiB (64MiB)")
    };
    let each = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, each)) => *each,
        None if unit.is_empty() => 1,
        None => return Err(wrong()),
    };
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    // What does not fit is far beyond any bound.
    let bytes = number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(each);
    bounded(bytes, text, bounds)
}

/// Holds `bytes`, written as `given`, to `bounds`.
///
/// # Errors
/// "What is wrong; what to do".
pub(crate) fn bounded(bytes: u64, given: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    if bounds.contains(&bytes) {
        return Ok(bytes);
    }
    let size = if bytes < *bounds.start() { "small" } else { "large" };
    let (given, least, most) = (quoted(given), short(*bounds.start()), short(*bounds.end()));
    Err(format!("{given} is too {size}; write {least} to {most}"))
}

/// An amount in the largest unit that leaves it whole: `64MiB`.
pub(crate) fn short(bytes: u64) -> String {
    let fits = |each: u64| bytes >= each && bytes.is_multiple_of(each);
    match UNITS.iter().find(|(_, each)| fits(*each)) {
        Some((name, each)) => format!("{}{name}", bytes / each),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("1MiB", 1 << 20),
            (" 64 mib ", 64 << 20),
            ("16GiB", 16 << 30),
            ("2048KiB", 2 << 20),
            ("1048577B", (1 << 20) + 1),
        ] {
            assert_eq!(parse(text, &SPOOL_BOUNDS), Ok(bytes), "{text}");
        }
        assert_eq!(
            (short(64 << 20), short(1025)),
            ("64MiB".to_owned(), "1025B".to_owned())
        );
    }

    #[test]
    fn what_is_refused() {
        for (text, message) in [
            ("", "\"\" is not a size; write bytes, or"),
            ("much", "\"much\" is not a size"),
            ("64MB", "\"64MB\" is not a size"),
            ("1.5GiB", "\"1.5GiB\" is not a size"),
            ("-1", "\"-1\" is not a size"),
            ("MiB", "\"MiB\" is not a size"),
            ("65535", "\"65535\" is too small; write 64KiB to 16GiB"),
            ("17GiB", "\"17GiB\" is too large; write 64KiB to 16GiB"),
            ("99999999999999999999999", "is too large"),
        ] {
            let error = parse(text, &SPOOL_BOUNDS).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
