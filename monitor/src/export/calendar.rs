//! Unix time as dates of the Gregorian calendar, UTC (ISO 8601).

const DAY: u64 = 86_400;

/// `2023-11-21T09:26:12.315000000Z`, of nanoseconds since 1970.
pub fn iso8601(unix: u64) -> String {
    format!("{}.{:09}Z", to_the_second(unix), unix % 1_000_000_000)
}

/// The same to the millisecond, for people.
pub fn iso8601_millis(unix: u64) -> String {
    format!("{}.{:03}Z", to_the_second(unix), unix / 1_000_000 % 1_000)
}

fn to_the_second(unix: u64) -> String {
    let seconds = unix / 1_000_000_000;
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day, of days since 1970. Nanoseconds in 64 bits end in 2554, so counting years is quick enough.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The days that a year has more than 365.
fn leap(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    leap.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // As date(1) tells them: `date -u -d @951782399 --iso-8601=ns`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_700_558_772, "2023-11-21T09:26:12"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (4_133_980_799, "2100-12-31T23:59:59"),
            (18_446_744_073, "2554-07-21T23:34:33"),
        ] {
            let told = iso8601(seconds * 1_000_000_000 + 7);
            assert_eq!(told, format!("{expected}.000000007Z"));
        }
        assert_eq!(iso8601_millis(1_500_999_999), "1970-01-01T00:00:01.500Z");
    }
}
