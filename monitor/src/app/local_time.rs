//! Times by the clock on the wall here: the zone of `TZ`, else of /etc/localtime.

use std::mem::MaybeUninit;

use crate::export::Wall;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_that_of_the_time_zone() {
        // Zones differ from UTC in whole quarters of an hour, so seconds agree everywhere.
        let Wall { hour, minute, second } = wall(1_700_558_772);
        assert_eq!((minute % 15, second), (26 % 15, 12), "09:26:12 UTC");
        assert!(hour < 24);
    }
}
