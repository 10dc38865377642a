//! The groups across restarts of kevmon.

use super::{BootTime, GroupId, Moment, Process, ProcessKey, State, Tracker};
use crate::{
    plugin::{KeptGroup, SavedGroup},
    process::Ending,
};

impl Tracker {
    /// Whether something has happened to a group since it was kept last, or is to be told without waiting any longer.
    pub fn is_unsaved(&self, now: BootTime) -> bool {
        self.groups.values().any(|group| group.changed) || self.notices.is_due(now, &self.table)
    }

    /// What is to outlive kevmon of these groups, which have just been read. `unix` turns the start of a series into Unix
    /// ns, `event` the time of something that happened.
    /// Also those to which something has happened since they were kept last: both sides of a move are kept, or none, and
    /// what began or ended in a group that is read less often is not lost with kevmon.
    pub fn saved(
        &mut self,
        groups: &[GroupId],
        unix: &dyn Fn(Moment) -> u64,
        event: &dyn Fn(Moment) -> u64,
    ) -> Vec<(GroupId, SavedGroup)> {
        let table = &self.table;
        self.groups
            .iter_mut()
            .filter_map(|(&id, group)| {
                let changed = std::mem::take(&mut group.changed);
                (changed || groups.contains(&id)).then(|| (id, group.saved(table, unix, event)))
            })
            .collect()
    }

    /// Restored groups find by comparison what happened since `since`, until [`Tracker::end_comparison`].
    pub fn compare(&mut self, id: GroupId, kept: &KeptGroup, since: BootTime, now: BootTime) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.compare(&kept.saved, kept.same_boot, since, now);
        }
    }

    /// Members that these groups find running bring their whole lives, until [`Tracker::end_comparison`].
    pub fn count_whole_lives(&mut self, groups: &[GroupId]) {
        for id in groups {
            if let Some(group) = self.groups.get_mut(id) {
                group.counts_whole_lives = true;
            }
        }
    }

    /// Ends the comparison with an earlier run: what is found from now on has joined, and not started.
    pub fn end_comparison(&mut self) {
        for group in self.groups.values_mut() {
            group.end_comparison();
            group.counts_whole_lives = false;
        }
        self.goes_on = false;
    }

    /// What happened since the earlier run is told by records, as if this one had been there: groups that are restored from now
    /// on miss nothing but what is counted as lost.
    pub fn go_on_unseen(&mut self) {
        self.goes_on = true;
    }

    /// Nobody watched for a while: what is known of live processes is what an earlier run would have kept.
    pub fn unconfirm_all(&mut self) {
        for process in self.table.iter_mut().filter(|process| process.is_live()) {
            process.unconfirmed = true;
        }
    }

    /// A process that is known by what an earlier run kept of it alone.
    pub fn is_unconfirmed(&self, key: ProcessKey) -> bool {
        self.table.get(key).is_some_and(|process| process.unconfirmed)
    }

    /// Goes on from what an earlier run kept of a group. Before the first snapshot, which then shows who of the
    /// members lived through the outage: their totals are the kernel's own, so what they used meanwhile is caught
    /// up. `same_boot` says whether the members' keys still mean anything.
    pub fn restore(&mut self, id: GroupId, saved: &SavedGroup, same_boot: bool, now: BootTime) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        // One that is followed already, for another group, and has ended is told of no more.
        let mut saved = saved.clone();
        for member in &mut saved.members {
            member.ended |= self
                .table
                .get(member.key)
                .is_some_and(|process| !process.is_live());
        }
        group.restore(&saved, same_boot, (!self.goes_on).then_some(now), now);
        if !same_boot {
            self.strangers
                .extend(saved.members.iter().map(|member| member.key));
            return;
        }
        if !self.goes_on {
            self.notices.tell_untold(id, &saved);
        }
        // Where the kernel side went on, it also tells what is left of those that had ended: their final totals.
        let goes_on = self.goes_on;
        for member in saved.members.iter().filter(|member| goes_on || !member.ended) {
            let process = self.table.entry(member.key, || {
                let mut process = Process::new(member.names(), None, BootTime(0));
                process.unconfirmed = true;
                process.uid = member.user;
                process
            });
            process.take_back(&member.totals, &member.attributed);
            if member.ended && process.is_live() {
                let untold = saved.untold_exits.iter().find(|exit| exit.key == member.key);
                process.exit_told = untold.is_none();
                let (at, ending) =
                    untold.map_or((now, Ending::UNKNOWN), |exit| (exit.time, exit.ending.clone()));
                process.state = State::Ended { at, ending };
                self.ended.insert(member.key);
                if untold.is_some() {
                    self.notices.expect_totals(member.key, at, &self.table);
                }
            }
            if member.former {
                self.left.entry(member.key).or_default().push(id);
            } else {
                self.memberships.entry(member.key).or_default().push(id);
            }
        }
    }
}
