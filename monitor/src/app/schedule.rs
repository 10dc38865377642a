//! When each plugin is due: multiples of its interval since the start, so that ticks do not drift, and plugins
//! that fall together are collected together.

use std::time::{Duration, Instant};

use crate::plugin::GroupId;

/// Plugins due within this time of each other share a tick.
const TOGETHER: Duration = Duration::from_millis(1);

struct Entry {
    group: GroupId,
    interval: Duration,
    due: Instant,
}

/// The plugins' next ticks.
pub(super) struct Schedule {
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
    /// Everything is due at `start` for the first time.
    pub fn new(plugins: impl Iterator<Item = (GroupId, Duration)>, start: Instant) -> Self {
        Self {
            entries: plugins
                .map(|(group, interval)| Entry {
                    group,
                    interval,
                    due: start,
                })
                .collect(),
        }
    }

    /// From now on without `group`.
    pub fn remove(&mut self, group: GroupId) {
        self.entries.retain(|entry| entry.group != group);
    }

    /// `group` is due at `now` for the first time, or, where it is known, at its next tick by this interval.
    pub fn plan(&mut self, group: GroupId, interval: Duration, now: Instant) {
        match self.entries.iter_mut().find(|entry| entry.group == group) {
            Some(entry) if entry.interval == interval => {}
            Some(entry) => {
                entry.interval = interval;
                entry.due = entry.due.min(now + interval);
            }
            None => self.entries.push(Entry {
                group,
                interval,
                due: now,
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
            entry.due += entry.interval;
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
    use super::*;

    #[test]
    fn ticks_neither_drift_nor_pile_up() {
        const MS: Duration = Duration::from_millis(1);
        let start = Instant::now();
        let plugins = [(GroupId(0), 100 * MS), (GroupId(1), 250 * MS)];
        let mut schedule = Schedule::new(plugins.into_iter(), start);
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
        const S: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let plugins = [(GroupId(0), 60 * S), (GroupId(1), 10 * S), (GroupId(2), S)];
        let mut schedule = Schedule::new(plugins.into_iter(), start);
        schedule.take(start);
        schedule.plan(GroupId(0), 5 * S, start + 2 * S);
        schedule.plan(GroupId(1), 10 * S, start + 2 * S);
        schedule.remove(GroupId(2));
        schedule.plan(GroupId(3), 30 * S, start + 2 * S);
        let mut take = |at: u32| schedule.take(start + at * S).groups;
        assert_eq!(take(2), [GroupId(3)], "new: at once");
        assert_eq!(take(6), [], "the one that was removed is not collected");
        assert_eq!(
            take(7),
            [GroupId(0)],
            "5 s from the change on, not 60 from the last tick"
        );
        assert_eq!(take(10), [GroupId(1)], "as before");
        assert_eq!(take(12), [GroupId(0)]);
        assert_eq!(take(32), [GroupId(0), GroupId(1), GroupId(3)]);
    }
}
