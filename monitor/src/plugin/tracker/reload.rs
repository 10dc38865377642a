//! Plugins that come, change and go while processes are followed: what is not concerned keeps its counters.

use std::sync::Arc;

use super::{
    Arrival, BootTime, BuildError, Group, GroupId, Interest, Judgement, Matched, Matcher, Plugin, Process,
    ProcessKey, Seen, Tracker, planned,
};
use crate::plugin::KeptGroup;

impl Tracker {
    /// [`Tracker::replan_kept`] without anything kept.
    ///
    /// # Errors
    /// The patterns are too large together; nothing has changed then.
    #[cfg(test)]
    pub fn replan(
        &mut self,
        gone: &[GroupId],
        changed: Vec<(GroupId, Arc<Plugin>)>,
        new: Vec<Arc<Plugin>>,
        now: BootTime,
    ) -> Result<Vec<GroupId>, BuildError> {
        self.replan_kept(
            gone,
            changed,
            new.into_iter().map(|plugin| (plugin, None)).collect(),
            now,
        )
    }

    /// Removes the groups in `gone`, replaces the plugins of `changed` by ones that match and aggregate the same, and adds a group
    /// for each of `new`, with what an earlier run of kevmon kept of it. All totals must be up to date. Returns the ids of the new
    /// groups, in order. Members of theirs that are not in the table are for a snapshot to find.
    ///
    /// # Errors
    /// The patterns are too large together; nothing has changed then.
    pub fn replan_kept(
        &mut self,
        gone: &[GroupId],
        changed: Vec<(GroupId, Arc<Plugin>)>,
        new: Vec<(Arc<Plugin>, Option<KeptGroup>)>,
        now: BootTime,
    ) -> Result<Vec<GroupId>, BuildError> {
        let ids: Vec<GroupId> = (self.next.0..).map(GroupId).take(new.len()).collect();
        let replaced = |id: GroupId| changed.iter().find(|(changed, _)| *changed == id);
        let differs = !gone.is_empty() || !new.is_empty() || !changed.is_empty();
        if differs {
            let stay = planned(&self.groups).into_iter();
            let stay = stay.filter(|(id, _)| !gone.contains(id));
            let stay = stay.map(|(id, plugin)| (id, replaced(id).map_or(plugin, |(_, plugin)| plugin)));
            let come = ids.iter().copied().zip(new.iter().map(|(plugin, _)| &**plugin));
            let matcher = Matcher::new(&stay.chain(come).collect::<Vec<_>>())?;
            self.trace_descent(gone, &matcher);
            self.matcher = matcher;
        }
        for &id in gone {
            self.groups.remove(&id);
            self.unknown_verdicts.remove(&id);
            self.notices.forget(id);
        }
        for (id, plugin) in changed {
            self.notices.plan(id, &plugin);
            if let Some(group) = self.groups.get_mut(&id) {
                group.replan(plugin);
            }
        }
        for (&id, (plugin, kept)) in ids.iter().zip(new) {
            self.notices.plan(id, &plugin);
            self.groups.insert(id, Group::new(plugin, now));
            // Before anybody is judged again: a member that is followed already is no newcomer.
            if let Some(KeptGroup { saved, same_boot }) = kept {
                self.restore(id, &saved, same_boot, now);
            }
        }
        self.next = GroupId(self.next.0 + ids.len());
        if differs {
            self.judge_again(gone, now);
        }
        Ok(ids)
    }

    /// Takes a process that was judged to be of no interest before the plugins changed: it has been there all the time.
    /// Returns a judgement when it is of interest now.
    pub fn reconsider(&mut self, seen: &Seen, now: BootTime) -> Option<Judgement> {
        if self.is_unconfirmed(seen.key) && !seen.ended {
            // A member of a group that an earlier run kept.
            self.changed_unseen(seen, now);
            return Some(Judgement {
                key: seen.key,
                sequence: seen.sequence?,
                keep: true,
            });
        }
        if let Some(parent) = seen.parent {
            self.descends(seen.key, parent);
        }
        let Matched {
            groups,
            candidate,
            unknown,
        } = self.matched(seen.key, &seen.identity);
        let interest = self.interest(&seen.identity, &groups, seen.parent);
        if (groups.is_empty() && !candidate && interest != Interest::Always)
            || seen.ended
            || self.knows(seen.key)
            || !self.has_room_for(seen.key)
        {
            if !self.knows(seen.key) {
                self.forget(seen.key);
            }
            return None;
        }
        self.note_unknown(seen.key, &unknown);
        self.note_interest(seen.key, interest, now);
        self.note_encoding(&seen.identity);
        self.table
            .entry(seen.key, || Process::new(seen.identity.clone(), seen.parent, now));
        self.move_to(seen.key, groups, Arrival::Joined, now);
        Some(Judgement {
            key: seen.key,
            sequence: seen.sequence?,
            keep: true,
        })
    }

    /// Every process of the table to the groups that it belongs to now. What is known by an earlier run's names alone waits
    /// for the snapshot to come.
    fn judge_again(&mut self, gone: &[GroupId], now: BootTime) {
        let live: Vec<ProcessKey> = self
            .table
            .iter()
            .filter(|(_, process)| process.is_live() && !process.unconfirmed)
            .map(|(key, _)| key)
            .collect();
        for key in live {
            let Some(process) = self.table.get(key) else {
                continue;
            };
            let (identity, parent) = (process.identity.clone(), process.parent());
            let Matched { groups, unknown, .. } = self.matched(key, &identity);
            self.note_unknown(key, &unknown);
            let interest = self.interest(&identity, &groups, parent);
            self.note_interest(key, interest, now);
            let before = self.memberships.get(&key).map_or(&[][..], Vec::as_slice);
            // Also from a group that is gone: what it used there has been told, and is not told again by the next one.
            if before != groups {
                self.move_to(key, groups, Arrival::Joined, now);
            }
        }
        for of in self.memberships.values_mut() {
            of.retain(|group| !gone.contains(group));
        }
        self.memberships.retain(|_, of| !of.is_empty());
    }
}
