//! A group across restarts of kevmon: what is kept of it, and how it goes on from there.

use std::sync::Arc;

use super::{Arrival, Group, Membership, Role, RootLife};
use crate::{
    plugin::{Plugin, SavedExit, SavedGroup, SavedMember, restarts::RootEnd},
    process::{BootTime, Ending, Moment, Process, ProcessKey, ProcessTable, State, Usage},
};

impl Group {
    /// Everything that is to outlive kevmon, but for what only the export knows: the members' series. `unix` turns the start
    /// of a series into Unix ns, `event` the time of something that happened. The start is fixed by [`Group::read`].
    pub fn saved(
        &self,
        table: &ProcessTable,
        unix: &dyn Fn(Moment) -> u64,
        event: &dyn Fn(Moment) -> u64,
    ) -> SavedGroup {
        let members = self.members.iter().map(|(&key, membership)| {
            let process = table.get(key);
            let (name, exe) = names(&self.plugin, process);
            SavedMember {
                key,
                name,
                exe,
                former: false,
                root: membership.role == Role::Root,
                executed: membership.executed,
                base: membership.base,
                // Of one that was found and is not read yet, nothing has been taken into account.
                totals: process
                    .filter(|process| process.is_observed())
                    .map_or(membership.base, |process| process.totals()),
                attributed: process.map_or(Usage::ZERO, |process| process.attributed),
                ended: process.is_none_or(|process| !process.is_live()),
                series: None,
                user: process.and_then(|process| process.uid),
                programs: membership.root.as_ref().map(RootLife::programs),
            }
        });
        let former = self.former.iter().filter_map(|&key| {
            let process = table.get(key)?;
            let (name, exe) = names(&self.plugin, Some(process));
            Some(SavedMember {
                key,
                name,
                exe,
                former: true,
                root: false,
                executed: false,
                base: Usage::ZERO,
                totals: process.totals(),
                attributed: process.attributed,
                ended: !process.is_live(),
                series: None,
                user: process.uid,
                programs: None,
            })
        });
        SavedGroup {
            watch_start: unix(self.watch_start),
            usage_start: unix(self.usage_start.unwrap_or(self.watch_start)),
            left_behind: self.left_behind,
            happened: self.happened,
            exits: self.exit_counts(),
            given_up: self.given_up,
            downtime: self.downtime,
            lifetime: self.lifetime,
            last_start: self.last_start.map(event),
            last_exit: self.last_exit.map(event),
            peak_rss: self.peak_rss,
            members: members.chain(former).collect(),
            unpaired_ends: self.pairing.saved(),
            untold_exits: self.untold_exits(table),
        }
    }

    /// Ends of members that are counted, and of which nobody has been told.
    fn untold_exits(&self, table: &ProcessTable) -> Vec<SavedExit> {
        let untold = self.members.keys().filter_map(|&key| {
            let process = table.get(key).filter(|process| !process.exit_told)?;
            let State::Ended { at, ending } = &process.state else {
                return None;
            };
            Some(SavedExit {
                key,
                time: *at,
                ending: ending.clone(),
            })
        });
        let mut untold: Vec<SavedExit> = untold.collect();
        untold.sort_by_key(|exit| (exit.time, exit.key));
        untold
    }

    /// Goes on from what was kept. Members of this boot become members again, those of an earlier one are closed at
    /// their last known totals: nobody can say how they ended.
    /// `blurred`: until when nobody watched; `None`: somebody did, and members that had ended have their final totals yet to come.
    pub fn restore(&mut self, saved: &SavedGroup, same_boot: bool, blurred: Option<BootTime>, now: BootTime) {
        self.watch_start = Moment::Unix(saved.watch_start);
        self.usage_start = Some(Moment::Unix(saved.usage_start));
        self.left_behind = saved.left_behind;
        self.happened = saved.happened;
        self.exits = saved.exits.iter().copied().collect();
        self.given_up = saved.given_up;
        self.downtime = saved.downtime;
        self.lifetime = saved.lifetime;
        self.last_start = saved.last_start.map(Moment::Unix);
        self.last_exit = saved.last_exit.map(Moment::Unix);
        self.peak_rss = saved.peak_rss;
        // Ends and starts may have fallen into the gap: what starts after it may replace one that nobody saw.
        self.pairing
            .restore(if same_boot { &saved.unpaired_ends } else { &[] }, blurred);
        // Kept by this run from its first commit on: the next one counts from there.
        self.changed = true;
        for member in &saved.members {
            if same_boot && (blurred.is_none() || !member.ended) {
                self.take_back(member, now);
            } else if !member.former {
                self.close_unseen(member);
            }
        }
    }

    /// What happened since `since`, when an earlier run looked last, is found by comparing what it kept with what is there
    /// now: a process that began later has started, and takes the place of a root that is gone; how long the place was
    /// empty is not known. To be called after [`Group::restore`], which has closed the members of another boot already.
    pub fn compare(&mut self, saved: &SavedGroup, same_boot: bool, since: BootTime, now: BootTime) {
        self.compared_since = Some(since);
        if same_boot {
            return; // those that are gone are yet to be found missing
        }
        let ended = |member: &&SavedMember| member.root && !member.ended && !member.former;
        for member in saved.members.iter().filter(ended) {
            let RootLife { first, last, .. } = RootLife::remembered(member);
            // When in the earlier boot it ended, nobody knows, and its start has no time in this one.
            self.pairing.end(RootEnd {
                key: member.key,
                time: now,
                since: BootTime(0),
                ending: Ending::UNKNOWN,
                first,
                last,
                before_outage: false,
            });
        }
    }

    /// What is found from now on was not there, or went by another name, at the comparison.
    pub fn end_comparison(&mut self) {
        self.compared_since = None;
    }

    /// How and when a process has come in the light of a comparison.
    pub fn as_compared(&self, key: ProcessKey, arrival: Arrival, time: BootTime) -> (Arrival, BootTime) {
        match (arrival, self.compared_since) {
            (Arrival::Joined, Some(since)) if key.start >= since => (Arrival::Appeared, key.start),
            _ => (arrival, time),
        }
    }

    fn take_back(&mut self, member: &SavedMember, now: BootTime) {
        if member.former {
            self.former.insert(member.key);
            return;
        }
        if member.series.is_some() {
            self.keep_place(member.key);
        }
        let role = if member.root { Role::Root } else { Role::Worker };
        self.members.insert(
            member.key,
            Membership {
                role,
                base: member.base,
                since: now,
                started: None,
                unobserved: false,
                executed: member.executed,
                root: member.root.then(|| RootLife::remembered(member)),
            },
        );
    }

    fn close_unseen(&mut self, member: &SavedMember) {
        let role = if member.root { Role::Root } else { Role::Worker };
        if self.counts(role) {
            self.left_behind = self.left_behind.plus(&member.totals.since(&member.base));
        }
        self.given_up += 1;
        if !member.ended {
            self.happened.exits += 1;
            *self.exits.entry(Ending::UNKNOWN.reason()).or_default() += 1;
        }
    }
}

/// What a process is listed as and what it executes.
fn names(plugin: &Plugin, process: Option<&Process>) -> (Arc<str>, Arc<str>) {
    process.map_or_else(Default::default, |process| {
        let identity = &process.identity;
        (
            Arc::from(plugin.name_of(identity)),
            Arc::from(identity.exe.as_str()),
        )
    })
}
