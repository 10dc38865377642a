//! The times of collections: each is newer than the one before it, and than every start time that has been told.
//!
//! A data point whose time lies before its start time is invalid (OpenTelemetry protocol, metrics data model), and a receiver
//! may refuse a request with an older time than its resource had before: Prometheus' OTLP receiver rolls such a request back as
//! a whole and answers 400. So a wall clock that is set back must not carry the times with it. They are those of an anchor, the
//! wall clock as it once was, and of CLOCK_BOOTTIME, which nobody sets and which goes on through a suspend:
//!
//! - The anchor is taken at the start. A wall clock that is set forward moves it forward, at the next collection.
//! - A wall clock that is set back does not move it: times go on at full speed, ahead of the wall clock by the *offset*, which
//!   the log says once and a metric (`kevmon.clock.offset`) for as long as it lasts.
//! - The store keeps the anchor, so that a restart goes on with it. In another boot, or where the store has it from an older
//!   kevmon, times go on from the last collection.
//!
//! Two collections within a millisecond, which is what Prometheus' times resolve, are told a millisecond apart.

use std::time::Duration;

use tracing::{info, warn};

use crate::{export::UnixClock, process::BootTime};

/// Two collections are at least so far apart, ns.
const APART: u64 = 1_000_000;
/// What is behind by less is no step of the clock, ns.
const JITTER: u64 = 10_000_000;

/// What an earlier run told its last collection by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Earlier {
    /// The time of its last collection, Unix ns.
    pub(super) last: Option<u64>,
    /// Its anchor: when CLOCK_BOOTTIME was 0, Unix ns. `None` in another boot.
    pub(super) anchor: Option<u64>,
}

/// The clock of collections.
#[derive(Debug)]
pub(super) struct CollectionTimes {
    anchor: UnixClock,
    /// The time of the last collection, Unix ns.
    last: Option<u64>,
    /// How far times are ahead of the wall clock, ns; 0 below [`JITTER`].
    offset: u64,
}

impl CollectionTimes {
    /// Goes on from an earlier run; `wall` is the wall clock at `now`.
    pub(super) fn new(earlier: Earlier, wall: UnixClock, now: BootTime) -> Self {
        let after_last = earlier
            .last
            .map(|last| UnixClock::new(last.saturating_add(APART), now));
        let kept = earlier.anchor.map(|began| UnixClock::new(began, BootTime(0)));
        let anchors = [Some(wall), after_last, kept].into_iter().flatten();
        let mut times = Self {
            anchor: anchors.max().unwrap_or(wall),
            last: earlier.last,
            offset: 0,
        };
        times.measure(wall);
        times
    }

    /// The clock that times are told by now: for the starts of series that begin.
    pub(super) fn clock(&self) -> UnixClock {
        self.anchor
    }

    /// The time, Unix ns, of a collection at `now`. `wall` is the wall clock then.
    pub(super) fn next(&mut self, wall: UnixClock, now: BootTime) -> u64 {
        self.anchor = self.anchor.max(wall);
        self.measure(wall);
        let time = self.anchor.unix(now);
        let time = self
            .last
            .map_or(time, |last| time.max(last.saturating_add(APART)));
        self.last = Some(time);
        time
    }

    /// How far times are ahead of the wall clock; zero unless it was set back.
    pub(super) fn offset(&self) -> Duration {
        Duration::from_nanos(self.offset)
    }

    /// Says when an offset begins, or grows, and when it ends.
    fn measure(&mut self, wall: UnixClock) {
        let ahead = self.anchor.ahead_of(wall);
        let ahead = if ahead > JITTER { ahead } else { 0 };
        let before = std::mem::replace(&mut self.offset, ahead);
        if ahead > before.saturating_add(JITTER) {
            warn!(
                "the wall clock was set back: exported times go on as before and are {:.1?} ahead of it \
                 (kevmon.clock.offset); a restart with a new state takes the wall clock's time",
                self.offset()
            );
        } else if before > 0 && ahead == 0 {
            info!("the wall clock has caught up: exported times are its own again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const T: u64 = 1_800_000_000 * S;

    /// The times and offsets (s) of collections at these moments (boot time, wall clock).
    fn times(earlier: Earlier, moments: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let at = |&(boot, wall): &(u64, u64)| (UnixClock::new(wall, BootTime(boot)), BootTime(boot));
        let (wall, now) = at(&moments[0]);
        let mut times = CollectionTimes::new(earlier, wall, now);
        let next = |moment| {
            let (wall, now) = at(moment);
            (times.next(wall, now), times.offset().as_secs())
        };
        moments.iter().map(next).collect()
    }

    const NEW: Earlier = Earlier {
        last: None,
        anchor: None,
    };

    #[test]
    fn times_are_those_of_the_wall_clock_also_after_a_step_forward() {
        let moments = [(0, T), (S, T + S), (2 * S, T + 100 * S), (3 * S, T + 101 * S)];
        let walls = moments.map(|(_, wall)| (wall, 0));
        assert_eq!(times(NEW, &moments), walls);
        let earlier = Earlier {
            last: Some(T - 5 * S),
            anchor: Some(T - 100 * S),
        };
        assert_eq!(times(earlier, &moments), walls);
    }

    #[test]
    fn a_clock_set_back_moves_no_time() {
        // By an hour, after the first collection; then by a minute more; then right again.
        let moments = [
            (0, T),
            (10 * S, T + 10 * S - 3_600 * S),
            (20 * S, T + 20 * S - 3_660 * S),
            (30 * S, T + 30 * S),
            (40 * S, T + 40 * S),
        ];
        let expected = [(0, 0), (10, 3_600), (20, 3_660), (30, 0), (40, 0)];
        assert_eq!(
            times(NEW, &moments),
            expected.map(|(seconds, offset)| (T + seconds * S, offset))
        );
    }

    #[test]
    fn a_suspend_and_a_slew_are_no_steps() {
        // Both clocks go on through a suspend; readings that are apart by a CPU's absence are no offset.
        let moments = [
            (0, T),
            (8 * 3_600 * S, T + 8 * 3_600 * S),
            (8 * 3_600 * S + S, T + 8 * 3_600 * S + S - 5_000_000),
        ];
        assert!(times(NEW, &moments).iter().all(|&(_, offset)| offset == 0));
    }

    #[test]
    fn a_restart_goes_on_from_the_anchor_and_another_boot_from_the_last_collection() {
        let set_back = [(100 * S, T - 30 * S)];
        let same_boot = Earlier {
            last: Some(T - 10 * S),
            anchor: Some(T - 100 * S),
        };
        assert_eq!(times(same_boot, &set_back), [(T, 30)]);
        let other_boot = Earlier {
            anchor: None,
            ..same_boot
        };
        assert_eq!(times(other_boot, &set_back), [(T - 10 * S + APART, 20)]);
    }

    /// For any clock, over restarts.
    #[test]
    fn each_is_newer_than_the_one_before_and_than_every_start() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..200 {
            let (mut boot, mut wall) = (next(100 * S), T + next(1_000 * S));
            let mut times = CollectionTimes::new(NEW, UnixClock::new(wall, BootTime(boot)), BootTime(boot));
            let mut start = times.clock().unix(BootTime(boot));
            let mut last = 0;
            for _ in 0..200 {
                let elapsed = next(3) * next(20 * S) + next(1_000);
                boot += elapsed;
                wall += elapsed;
                match next(10) {
                    0 => wall += next(100_000 * S),
                    1 => wall -= next(100_000 * S),
                    2 => {
                        let earlier = Earlier {
                            last: Some(last),
                            anchor: (next(2) == 0).then(|| times.clock().unix(BootTime(0))),
                        };
                        let wall = UnixClock::new(wall, BootTime(boot));
                        times = CollectionTimes::new(earlier, wall, BootTime(boot));
                        start = start.max(times.clock().unix(BootTime(boot)));
                    }
                    _ => {}
                }
                let time = times.next(UnixClock::new(wall, BootTime(boot)), BootTime(boot));
                assert!(time >= last + APART && time >= start, "{time} {last} {start}");
                last = time;
            }
        }
    }
}
