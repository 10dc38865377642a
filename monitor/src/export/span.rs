//! Lengths of time for people: three or four digits and the unit that fits.

use std::time::Duration;

/// `0.3 ms`, `25 ms`, `3.250 s`, `5m 12s`, `3h 07m`, `12d 04h`.
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if length < Duration::from_millis(10) {
        format!("{:.1} ms", length.as_secs_f64() * 1e3)
    } else if seconds == 0 {
        format!("{} ms", length.as_millis())
    } else if minutes == 0 {
        format!("{seconds}.{:03} s", length.subsec_millis())
    } else if hours == 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else if days == 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else {
        format!("{days}d {:02}h", hours % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_fit() {
        for (micros, expected) in [
            (0, "0.0 ms"),
            (340, "0.3 ms"),
            (9_900, "9.9 ms"),
            (25_999, "25 ms"),
            (999_999, "999 ms"),
            (3_250_000, "3.250 s"),
            (59_999_999, "59.999 s"),
            (312_000_000, "5m 12s"),
            (11_220_000_000, "3h 07m"),
            (1_051_200_000_000, "12d 04h"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), expected, "{micros} µs");
        }
    }
}
