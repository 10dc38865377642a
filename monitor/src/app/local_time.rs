//! Times by the clock on the wall here: the zone of `TZ`, else of /etc/localtime.

use std::{ffi::CStr, mem::MaybeUninit};

use crate::export::{Wall, iso8601_millis};

/// A moment in local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    /// `2026-11-21 04:27:59.000`.
    pub(super) text: String,
    /// What the zone calls itself at that moment: `CET`, `UTC`, `+03`.
    pub(super) zone: String,
}

fn fields(seconds: u64) -> Option<libc::tm> {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let mut fields = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to values of the right types that live until the call returns; it writes the second.
    let told = unsafe { libc::localtime_r(&raw const seconds, fields.as_mut_ptr()) };
    // SAFETY: localtime_r(3) fills the structure when it does not return null.
    (!told.is_null()).then(|| unsafe { fields.assume_init() })
}

/// The time of day, of Unix seconds; UTC where the time zone cannot be had.
pub(super) fn wall(unix: u64) -> Wall {
    let part = |value: u64| u32::try_from(value).unwrap_or_default();
    match fields(unix) {
        Some(fields) => Wall {
            hour: fields.tm_hour.unsigned_abs(),
            minute: fields.tm_min.unsigned_abs(),
            second: fields.tm_sec.unsigned_abs(),
        },
        None => Wall {
            hour: part(unix / 3600 % 24),
            minute: part(unix / 60 % 60),
            second: part(unix % 60),
        },
    }
}

/// Date and time, of Unix nanoseconds; UTC where the time zone cannot be had.
pub(super) fn date(unix: u64) -> Local {
    let millis = unix / 1_000_000 % 1_000;
    let Some(fields) = fields(unix / 1_000_000_000) else {
        return Local {
            text: iso8601_millis(unix).trim_end_matches('Z').replace('T', " "),
            zone: "UTC".to_owned(),
        };
    };
    let zone = if fields.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: the C library's own text, NUL-terminated, and valid for as long as nobody calls tzset(3): localtime_r(3) does so
        // once at most, and kevmon does not.
        let zone = unsafe { CStr::from_ptr(fields.tm_zone) };
        zone.to_string_lossy().into_owned()
    };
    let year = i64::from(fields.tm_year) + 1900;
    let (month, day) = (fields.tm_mon + 1, fields.tm_mday);
    let (hour, minute, second) = (fields.tm_hour, fields.tm_min, fields.tm_sec);
    Local {
        text: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}"),
        zone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_that_of_the_time_zone() {
        // Zones differ from UTC in whole quarters of an hour, so seconds agree everywhere.
        let Wall { hour, minute, second } = wall(1_700_558_772);
        assert_eq!((minute % 15, second), (26 % 15, 12), "09:26:12 UTC");
        assert!(hour < 24);
        let Local { text, zone } = date(1_700_558_772_345_000_000);
        assert!(
            text.starts_with("2023-11-2") && text.ends_with(":12.345"),
            "{text}"
        );
        assert!(!zone.is_empty());
    }
}
