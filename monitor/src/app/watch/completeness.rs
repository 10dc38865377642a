//! How far the numbers of an interval can be trusted: its counts, and its totals.
//!
//! Each cause of doubt is a number that only grows ([`LostSoFar`]). An interval of a group is complete if none of them has grown
//! between two of its collections, so a cause makes one interval incomplete, and the next one is complete again.
//!
//! | cause | concerns | counted in |
//! |---|---|---|
//! | a record was lost, a map was full, the kernel skipped a program, the programs had stopped, an undecodable record | counts of all groups | `Watch::lost`, from `Losses::total` |
//! | processes could not be listed; kevmon was away and the kernel side did not go on; lives known by their sums alone | counts of all groups | `Watch::unclear` |
//! | a process was missing without an exit record; a matching process was beyond the bound | counts of all groups | `Irregularities::missing`, `untracked` |
//! | a verdict depended on arguments that could not be had | counts of that group, also while such a process lives | `Tracker::unknown_verdicts`, `is_unclear` |
//! | the usage could not be read | totals of all groups | `Watch::unread_totals` |
//! | an ended member was given up without its final totals | totals of that group | `Tracker::given_up` |
//!
//! Two more hold for as long as they last: the source is /proc, or the kernel side does not watch a member (its map was full). At the last
//! collection ([`Next::Never`]) totals that are still awaited are missing for good. Totals are never complete where counts are not.

use std::collections::BTreeMap;

use super::{Source, Watch};
use crate::plugin::{Completeness, GroupId, Tracker};

/// What a group's numbers lack, as of one of its readings. Each grows and never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LostSoFar {
    /// Causes for which starts, ends or changes of members may be missing.
    pub(super) counts: u64,
    /// Causes for which usage is missing although counts are exact.
    pub(super) totals: u64,
}

impl LostSoFar {
    /// The value to begin an interval with that cannot be complete.
    pub(super) const NEVER_EQUAL: Self = Self {
        counts: u64::MAX,
        totals: u64::MAX,
    };

    /// These losses, and those that `tracker` has counted of the group.
    fn of_group(self, tracker: &Tracker, group: GroupId) -> Self {
        let irregular = tracker.irregularities();
        // Verdicts that were not known concern their groups alone, as totals that never came do.
        Self {
            counts: self.counts + irregular.missing + irregular.untracked + tracker.unknown_verdicts(group),
            totals: self.totals + tracker.given_up(group),
        }
    }

    /// The completeness of the interval from `before` to now.
    fn since(self, before: Self) -> Completeness {
        let counts = self.counts == before.counts;
        Completeness {
            counts,
            totals: counts && self.totals == before.totals,
        }
    }
}

/// Whether more collections of a group come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Next {
    /// Totals that are still to come are in the next one.
    Comes,
    /// Totals that have not come by now never will.
    Never,
}

/// The completeness of the interval that ends now with `lost`, and began with `before`.
fn close(
    tracker: &Tracker,
    group: GroupId,
    (before, lost): (LostSoFar, LostSoFar),
    next: Next,
) -> Completeness {
    let interval = lost.since(before);
    let counts = interval.counts && !tracker.is_unclear(group);
    let is_short = next == Next::Never && tracker.awaits_totals(group);
    Completeness {
        counts,
        totals: counts && interval.totals && !is_short,
    }
}

impl Watch {
    /// What a group's numbers lack up to now.
    pub(super) fn lost_so_far(&self, group: GroupId) -> LostSoFar {
        let of_all = LostSoFar {
            counts: self.lost + self.unclear,
            totals: self.unread_totals,
        };
        of_all.of_group(&self.tracker, group)
    }

    /// Closes the intervals of these groups, which have just been collected, and says how far each can be trusted.
    pub(in crate::app) fn close_intervals(
        &mut self,
        due: &[GroupId],
        next: Next,
    ) -> BTreeMap<GroupId, Completeness> {
        let of_source = self.completeness_of_source();
        let closed = due.iter().map(|&group| {
            let lost = self.lost_so_far(group);
            let before = self.lost_at_reading.insert(group, lost).unwrap_or_default();
            let of_group = close(&self.tracker, group, (before, lost), next);
            (group, of_group.and(of_source))
        });
        closed.collect()
    }

    /// Of several groups together. Without any, of kevmon alone: whatever was lost was no group's.
    pub(in crate::app) fn completeness_of(
        &self,
        groups: impl IntoIterator<Item = Completeness>,
    ) -> Completeness {
        groups
            .into_iter()
            .fold(self.completeness_of_source(), Completeness::and)
    }

    /// /proc does not tell what lives between two scans, nor the kernel side what it does not watch.
    fn completeness_of_source(&self) -> Completeness {
        if matches!(self.source, Source::Ebpf(_)) && self.unmarked == 0 {
            Completeness::WHOLE
        } else {
            Completeness::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::tracker::tests::plugin,
        process::{
            BootTime, Ending, Event, FactIds, Identity, KeyMap, KeySet, ProcessKey, Sample, Tgid, Usage,
        },
    };

    const MS: u64 = 1_000_000;
    const APP: GroupId = GroupId(0);

    /// Sent = received + lost holds for whoever reads the metrics only where each is in one of the two.
    #[test]
    fn what_the_ring_loses_is_in_the_metric_of_lost_records() {
        let mut programs: Vec<&str> = crate::kernel::of_the_ring().collect();
        let mut shown = crate::metrics::RING_PROGRAMS;
        programs.sort_unstable();
        shown.sort_unstable();
        assert_eq!(programs, shown);
    }

    #[test]
    fn totals_are_never_complete_where_counts_are_not() {
        let at = |counts, totals| LostSoFar { counts, totals };
        for (now, before, counts, totals) in [
            (at(0, 0), at(0, 0), true, true),
            (at(3, 5), at(3, 5), true, true),
            (at(3, 6), at(3, 5), true, false),
            (at(4, 5), at(3, 5), false, false),
            (at(4, 6), at(3, 5), false, false),
            (at(3, 5), LostSoFar::NEVER_EQUAL, false, false),
        ] {
            assert_eq!(
                now.since(before),
                Completeness { counts, totals },
                "{now:?} {before:?}"
            );
        }
    }

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(MS),
        }
    }

    fn start(tracker: &mut Tracker, tgid: u32, name: &str) {
        tracker.apply(Event::Exec {
            key: key(tgid),
            time: BootTime(MS),
            sequence: MS,
            parent: key(1),
            identity: Identity {
                exe: name.to_owned(),
                ..Identity::default()
            },
            usage: Usage::ZERO,
        });
    }

    fn end(tracker: &mut Tracker, tgid: u32) {
        tracker.apply(Event::Exit {
            key: key(tgid),
            time: BootTime(2 * MS),
            ending: Ending::UNKNOWN,
            usage: Usage::ZERO,
            peak_rss: None,
        });
    }

    /// Closes one interval after the other, as a watch does.
    struct Intervals(BTreeMap<GroupId, LostSoFar>);

    impl Intervals {
        fn close(&mut self, tracker: &Tracker, group: GroupId, next: Next) -> (bool, bool) {
            let lost = LostSoFar::default().of_group(tracker, group);
            let before = self.0.insert(group, lost).unwrap_or_default();
            let Completeness { counts, totals } = close(tracker, group, (before, lost), next);
            (counts, totals)
        }
    }

    #[test]
    fn an_end_without_final_totals_makes_one_interval_of_its_group_short_and_no_count() {
        let mut tracker = Tracker::new(vec![plugin("^app$"), plugin("^other$")], BootTime(0)).unwrap();
        let mut intervals = Intervals(BTreeMap::new());
        start(&mut tracker, 10, "app");
        end(&mut tracker, 10);
        assert_eq!(
            intervals.close(&tracker, APP, Next::Comes),
            (true, true),
            "its totals may still come"
        );
        let long_after = BootTime(70_000 * MS);
        tracker.observe(&KeyMap::default(), &KeySet::from_iter([key(10)]), long_after);
        assert_eq!(intervals.close(&tracker, APP, Next::Comes), (true, false));
        assert_eq!(
            intervals.close(&tracker, GroupId(1), Next::Comes),
            (true, true),
            "another group's totals are whole"
        );
        assert_eq!(
            intervals.close(&tracker, APP, Next::Comes),
            (true, true),
            "the next one"
        );
    }

    #[test]
    fn the_last_interval_is_short_by_totals_that_never_come() {
        let mut tracker = Tracker::new(vec![plugin("^app$")], BootTime(0)).unwrap();
        let mut intervals = Intervals(BTreeMap::new());
        start(&mut tracker, 10, "app");
        end(&mut tracker, 10);
        assert_eq!(intervals.close(&tracker, APP, Next::Never), (true, false));
        // A process that is not reaped can be read: nothing is added to its totals any more.
        let sample = Sample {
            key: key(10),
            usage: Usage::ZERO,
            threads: None,
            address_space: None,
            noted_rss: None,
            vms: None,
            fds: None,
            facts: FactIds::default(),
            runnable: None,
            live: false,
        };
        let samples = KeyMap::from_iter([(key(10), sample)]);
        tracker.observe(&samples, &KeySet::from_iter([key(10)]), BootTime(3 * MS));
        assert_eq!(intervals.close(&tracker, APP, Next::Never), (true, true));
    }
}
