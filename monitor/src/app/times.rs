//! The times of collections: each is newer than the one before it.
//!
//! A receiver may refuse a request with an older time than its resource had before: Prometheus' OTLP receiver rolls such a
//! request back as a whole and answers 400. Others take both, and then see counters that fall. Two things would make times
//! cross. The wall clock is set back: times then go on from the last one at half speed until the clock has caught up.
//! And two collections come within a millisecond, which is what Prometheus' times resolve: the second one is put off.

use std::time::Duration;

use tracing::warn;

use crate::process::BootTime;

/// Two collections are at least so far apart, ns.
const APART: u64 = 1_000_000;
/// A clock that was set back further is followed at once, ns: receivers refuse what lies so far in the future (Prometheus:
/// ten minutes).
const FOLLOWED: u64 = 600_000_000_000;
/// What is behind by less is no step of the clock, ns.
const JITTER: u64 = 10_000_000;

/// The time of the last collection.
#[derive(Debug)]
pub(super) struct CollectionTimes {
    /// Unix ns, and when that was.
    last: Option<(u64, BootTime)>,
    /// The clock was set back, which the log has said.
    behind: bool,
}

impl CollectionTimes {
    /// Goes on from `last`, Unix ns, the last collection of an earlier run; `now` is when this one begins.
    pub(super) fn new(last: Option<u64>, now: BootTime) -> Self {
        Self {
            last: last.map(|last| (last, now)),
            behind: false,
        }
    }

    /// The time, Unix ns, of a collection that is made when the wall clock says `wall`, Unix ns.
    pub(super) fn next(&mut self, wall: u64, now: BootTime) -> u64 {
        let Some((last, then)) = self.last else {
            self.last = Some((wall, now));
            return wall;
        };
        let slowed = now.0.saturating_sub(then.0) / 2;
        let earliest = last.saturating_add(slowed.max(APART));
        let behind = earliest.saturating_sub(wall);
        let is_followed = behind > FOLLOWED;
        let is_behind = behind > JITTER;
        let was_behind = std::mem::replace(&mut self.behind, is_behind && !is_followed);
        if is_behind && !was_behind {
            say(behind, is_followed);
        }
        let time = if is_followed { wall } else { earliest.max(wall) };
        self.last = Some((time, now));
        time
    }
}

fn say(behind: u64, is_followed: bool) {
    let behind = Duration::from_nanos(behind);
    if is_followed {
        warn!(
            "the wall clock was set back by {behind:.1?}: collections have the new time from now on; a receiver that takes \
             no older times (Prometheus) refuses them until the clock is where it was"
        );
    } else {
        warn!(
            "the wall clock was set back by {behind:.1?}: times of collections go on from the last one at half speed until \
             the clock has caught up"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const T: u64 = 1_800_000_000 * S;

    /// The times of collections at these moments (boot time, wall clock).
    fn times(last: Option<u64>, moments: &[(u64, u64)]) -> Vec<u64> {
        let mut times = CollectionTimes::new(last, BootTime(0));
        let at = moments.iter();
        at.map(|&(boot, wall)| times.next(wall, BootTime(boot))).collect()
    }

    #[test]
    fn times_are_those_of_the_wall_clock() {
        let moments = [(0, T), (S, T + S), (2 * S, T + 100 * S), (3 * S, T + 101 * S)];
        let walls = moments.map(|(_, wall)| wall);
        assert_eq!(times(None, &moments), walls, "also after a step forwards");
        assert_eq!(times(Some(T - 5 * S), &moments), walls);
    }

    #[test]
    fn a_clock_set_back_is_waited_for_at_half_speed() {
        // Set back by 20 s after the first collection, which is an interval of 10 s before the next one.
        let moments: Vec<(u64, u64)> = (0..8)
            .map(|tick| {
                (
                    tick * 10 * S,
                    if tick == 0 { T } else { T - 20 * S + tick * 10 * S },
                )
            })
            .collect();
        let expected = [0, 5, 10, 15, 20, 30, 40, 50].map(|seconds| T + seconds * S);
        assert_eq!(times(None, &moments), expected);
    }

    #[test]
    fn a_clock_that_is_far_behind_is_followed() {
        let moments = [(0, T), (10 * S, T - 3_600 * S), (20 * S, T - 3_590 * S)];
        assert_eq!(times(None, &moments), moments.map(|(_, wall)| wall));
    }

    #[test]
    fn an_earlier_runs_last_collection_stays_the_older_one() {
        assert_eq!(times(Some(T), &[(0, T - 30 * S)]), [T + APART]);
    }

    /// For any clock that is never behind by ten minutes.
    #[test]
    fn each_is_newer_than_the_one_before_by_a_millisecond() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..200 {
            let (mut boot, mut wall) = (next(100 * S), T + next(1_000 * S));
            let mut times = CollectionTimes::new(next(2).eq(&0).then_some(wall), BootTime(boot));
            let mut last = 0;
            for _ in 0..200 {
                let elapsed = next(3) * next(20 * S) + next(1_000);
                boot += elapsed;
                wall += elapsed;
                match next(10) {
                    0 => wall += next(1_000 * S),
                    1 => wall -= next(60 * S),
                    _ => {}
                }
                let time = times.next(wall, BootTime(boot));
                assert!(time >= last + APART, "{time} {last}");
                last = time;
            }
        }
    }
}
