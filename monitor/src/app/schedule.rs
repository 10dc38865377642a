//! When each plugin is due. Ticks lie on a grid: multiples of the plugin's interval, counted from a moment that all
//! plugins of the daemon share ([`super::phase`]). So ticks do not drift, plugins that fall together are collected
//! together, and another host's ticks lie elsewhere.
//!
//! The first tick of a plugin is at once, wherever the grid is; the second one is the first place on the grid at least
//! half an interval later, so that no interval is too short to measure in.

use std::time::{Duration, Instant};

use super::phase::Phase;
use crate::plugin::GroupId;

/// Plugins due within this time of each other share a tick.
const TOGETHER: Duration = Duration::from_millis(1);

struct Entry {
    group: GroupId,
    interval: Duration,
    due: Instant,
    /// `due` is a place on the grid of `interval`.
    on_grid: bool,
}

/// An axis of time on which ticks lie at multiples of their intervals. It runs with the monotonic clock, so that a step of
/// the wall clock moves no tick.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// A moment …
    origin: Instant,
    /// … and its place on the axis, ns.
    position: u64,
}

impl Grid {
    /// The first multiple of `interval` at or after `earliest`, which is not before the origin.
    fn next(self, interval: Duration, earliest: Instant) -> Instant {
        let since = earliest.saturating_duration_since(self.origin);
        let interval = interval.as_nanos().max(1);
        let over = (u128::from(self.position) + since.as_nanos()) % interval;
        let missing = if over == 0 { 0 } else { interval - over };
        earliest + Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX))
    }
}

/// The plugins' next ticks.
pub(super) struct Schedule {
    grid: Grid,
    entries: Vec<Entry>,
}

/// What [`Schedule::take`] gives.
pub(super) struct Due {
    /// The plugins to collect now.
    pub groups: Vec<GroupId>,
    /// Ticks that were not taken in time and are left out.
    pub skipped: u64,
}

impl Schedule {
    /// Everything is due at `start` for the first time. `unix` is that moment by the wall clock, Unix ns: a daemon that is
    /// started again goes on with the grid it had.
    pub fn new(
        plugins: impl Iterator<Item = (GroupId, Duration)>,
        phase: Phase,
        (start, unix): (Instant, u64),
    ) -> Self {
        let mut schedule = Self {
            grid: Grid {
                origin: start,
                position: unix.wrapping_add(phase.nanos()),
            },
            entries: Vec::new(),
        };
        for (group, interval) in plugins {
            schedule.plan(group, interval, start);
        }
        schedule
    }

    /// From now on without `group`.
    pub fn remove(&mut self, group: GroupId) {
        self.entries.retain(|entry| entry.group != group);
    }

    /// `group` is due at `now` for the first time, or, where it is known, at its next tick by this interval.
    pub fn plan(&mut self, group: GroupId, interval: Duration, now: Instant) {
        let grid = self.grid;
        match self.entries.iter_mut().find(|entry| entry.group == group) {
            Some(entry) if entry.interval == interval => {}
            Some(entry) => {
                entry.interval = interval;
                entry.due = entry.due.min(grid.next(interval, now + interval / 2));
                entry.on_grid = false;
            }
            None => self.entries.push(Entry {
                group,
                interval,
                due: now,
                on_grid: false,
            }),
        }
    }

    /// When the next plugin is due; `None` without plugins.
    pub fn next(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    /// The plugins that are due at `now`, which moves each on to its next tick after `now`.
    pub fn take(&mut self, now: Instant) -> Due {
        let mut due = Due {
            groups: Vec::new(),
            skipped: 0,
        };
        for entry in &mut self.entries {
            if entry.due > now + TOGETHER {
                continue;
            }
            due.groups.push(entry.group);
            entry.due = if std::mem::replace(&mut entry.on_grid, true) {
                entry.due + entry.interval
            } else {
                self.grid.next(entry.interval, entry.due + entry.interval / 2)
            };
            while entry.due <= now {
                entry.due += entry.interval;
                due.skipped += 1;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        export::{HostIdentity, UnixClock},
        process::BootTime,
    };

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn phase() -> Phase {
        Phase::of(
            &HostIdentity::new(None, "h".to_owned()),
            Some("b"),
            UnixClock::new(0, BootTime(0)),
        )
    }

    /// A schedule whose start has this place on the grid, ns.
    fn starting_at(position: u64, plugins: &[Duration], start: Instant) -> Schedule {
        let plugins = plugins.iter().enumerate();
        let plugins = plugins.map(|(group, &interval)| (GroupId(group), interval));
        let unix = position.wrapping_sub(phase().nanos());
        Schedule::new(plugins, phase(), (start, unix))
    }

    #[test]
    fn ticks_neither_drift_nor_pile_up() {
        let start = Instant::now();
        let mut schedule = starting_at(0, &[100 * MS, 250 * MS], start);
        let mut take = |at: u32| {
            let due = schedule.take(start + at * MS);
            (
                due.groups.iter().map(|group| group.0).collect::<Vec<_>>(),
                due.skipped,
            )
        };
        assert_eq!(take(0), (vec![0, 1], 0), "all at the start");
        assert_eq!(take(50), (vec![], 0));
        assert_eq!(take(103), (vec![0], 0), "late");
        assert_eq!(take(200), (vec![0], 0), "but the next one is not");
        assert_eq!(
            take(720),
            (vec![0, 1], 4 + 1),
            "300 was meant; 400, 500, 600, 700 and 500 are left out"
        );
        assert_eq!(take(800), (vec![0, 1], 0), "750 and 800");
    }

    #[test]
    fn a_plugin_that_changes_keeps_its_rhythm_unless_its_interval_does() {
        let start = Instant::now();
        let mut schedule = starting_at(0, &[60 * S, 10 * S, S], start);
        schedule.take(start);
        schedule.plan(GroupId(0), 5 * S, start + 2 * S);
        schedule.plan(GroupId(1), 10 * S, start + 2 * S);
        schedule.remove(GroupId(2));
        schedule.plan(GroupId(3), 30 * S, start + 2 * S);
        let mut take = |at: u32| schedule.take(start + at * S).groups;
        assert_eq!(take(2), [GroupId(3)], "new: at once");
        assert_eq!(take(4), [], "the one that was removed is not collected");
        assert_eq!(
            take(5),
            [GroupId(0)],
            "on the grid of 5 s, not 60 from the last tick"
        );
        assert_eq!(take(10), [GroupId(0), GroupId(1)], "one as before");
        assert_eq!(
            take(30),
            [GroupId(0), GroupId(1), GroupId(3)],
            "they share a grid"
        );
    }

    /// Whatever the phase: the first tick at the start, the second after half an interval to one and a half, all others an
    /// interval after it, and those of intervals that divide each other at the same moments.
    #[test]
    fn after_the_first_tick_all_lie_on_one_grid() {
        let intervals = [10 * MS, 100 * MS, 300 * MS, S, 10 * S, 60 * S];
        let start = Instant::now();
        for step in 0..500_u64 {
            let position = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2;
            for (shorter, interval) in intervals.iter().enumerate() {
                for longer in intervals.iter().skip(shorter) {
                    if longer.as_nanos() % interval.as_nanos() != 0 {
                        continue;
                    }
                    let mut schedule = starting_at(position, &[*interval, *longer], start);
                    let mut ticks = [Vec::new(), Vec::new()];
                    while ticks[1].len() < 4 {
                        let at = schedule.next().expect("there are plugins");
                        for group in schedule.take(at).groups {
                            ticks[group.0].push(at);
                        }
                    }
                    for (ticks, interval) in ticks.iter().zip([*interval, *longer]) {
                        assert_eq!(ticks[0], start);
                        let first = ticks[1] - start;
                        assert!(
                            first >= interval / 2 && first < interval * 3 / 2,
                            "{first:?} of {interval:?}"
                        );
                        assert!(ticks[1..].windows(2).all(|pair| pair[1] - pair[0] == interval));
                    }
                    let all: BTreeSet<&Instant> = ticks[0].iter().collect();
                    assert!(
                        ticks[1].iter().all(|tick| all.contains(tick)),
                        "{interval:?} {longer:?}"
                    );
                }
            }
        }
    }

    /// Daemons with phases of their own that start at one moment do not tick together after the first interval.
    #[test]
    fn daemons_that_start_together_do_not_tick_together() {
        let (start, interval) = (Instant::now(), 10 * S);
        let mut by_second = [0_u32; 10];
        for host in 0..1_000 {
            let host = HostIdentity::new(Some(host.to_string()), "h".to_owned());
            let phase = Phase::of(&host, Some("b"), UnixClock::new(0, BootTime(0)));
            let plugins = [(GroupId(0), interval)].into_iter();
            let mut schedule = Schedule::new(plugins, phase, (start, 1_800_000_000_000_000_000));
            schedule.take(start);
            let mut at = start;
            while at < start + 2 * interval {
                at = schedule.next().expect("there is a plugin");
                schedule.take(at);
            }
            by_second[usize::try_from((at - start).as_secs() % 10).unwrap()] += 1;
        }
        assert!(by_second.iter().all(|count| *count < 200), "{by_second:?}");
    }

    #[test]
    fn a_restart_goes_on_with_the_grid() {
        let (start, interval) = (Instant::now(), 10 * S);
        let tick = |later: Duration| {
            let unix = 1_800_000_000_000_000_000 + u64::try_from(later.as_nanos()).unwrap();
            let plugins = [(GroupId(0), interval)].into_iter();
            let mut schedule = Schedule::new(plugins, phase(), (start + later, unix));
            schedule.take(start + later);
            schedule.next().expect("there is a plugin")
        };
        let first = tick(Duration::ZERO);
        for later in [S, 7 * S, 123_456 * MS] {
            assert_eq!(
                (tick(later) - first).as_nanos() % interval.as_nanos(),
                0,
                "{later:?}"
            );
        }
    }
}
