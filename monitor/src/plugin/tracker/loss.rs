//! Repair after a loss: what the kernel side kept of processes whose records found no room in the ring.

use super::{Arrival, BootTime, Identity, LostEnd, LostLives, NAMED_AT_START, Process, Tracker, Usage};

impl Tracker {
    /// Takes what the kernel side kept. All events that were told must have been applied.
    pub fn recover(&mut self, ends: Vec<LostEnd>, lives: &[LostLives], now: BootTime) {
        for end in ends {
            self.recover_end(end);
        }
        for lives in lives {
            self.recover_lives(lives, now);
        }
    }

    fn recover_end(&mut self, end: LostEnd) {
        if self.closed.contains_key(&end.key) {
            self.forget(end.key);
            return; // counted as an unknown end already
        }
        if let Some(identity) = &end.unheard {
            self.take_unheard_identity(&end, identity);
        }
        let Some(process) = self.table.get_mut(end.key) else {
            return; // judged to be of no interest, or counted as unattributed above
        };
        process.observe(&end.usage);
        process.raise_peak_rss(end.peak_rss);
        self.ended(end.key, end.ended.unwrap_or(end.freed), end.ending, true);
        self.irregular.unsettled += u64::from(!end.settled);
        self.settle(end.key, !end.settled);
    }

    /// The process ended under a name that no record told. What it had used before it took that name was read at
    /// the last collection at best; what came later counts for the new name.
    fn take_unheard_identity(&mut self, end: &LostEnd, identity: &Identity) {
        let known = match self.table.get(end.key) {
            Some(process) if !process.is_live() => return, // it ended under the name that was known
            process => process.is_some(),
        };
        let groups = self.matched(end.key, identity).groups;
        if !known && (groups.is_empty() || !self.has_room_for(end.key)) {
            self.irregular.unattributed += 1;
            self.forget(end.key);
            return;
        }
        let process = self
            .table
            .entry(end.key, || Process::new(identity.clone(), None, end.identified));
        if end.renamed {
            process.identity.update(identity);
        } else {
            process.identity = identity.clone();
        }
        if !known {
            process.observe(&Usage::ZERO);
        }
        let identity = process.identity.clone();
        let groups = self.matched(end.key, &identity).groups;
        let arrival = if end.renamed && end.identified.since(end.key.start) > NAMED_AT_START {
            Arrival::Joined
        } else {
            Arrival::AppearedUnheard
        };
        self.move_to(end.key, groups, arrival, end.identified);
    }

    fn recover_lives(&mut self, lives: &LostLives, now: BootTime) {
        let groups = lives
            .identity
            .as_ref()
            .map(|identity| self.matcher.matched(identity, None).groups)
            .unwrap_or_default();
        if groups.is_empty() {
            self.irregular.unattributed += lives.count;
        }
        for group in groups {
            if let Some(group) = self.groups.get_mut(&group) {
                group.lost_lives(lives, now);
            }
        }
    }
}
