//! What snapshots and scans show: who was there already, who is missing, who changed unseen.

use std::time::Duration;

use super::{
    Arrival, BootTime, Ending, Interest, Judgement, Matched, NAMED_AT_START, Process, ProcessKey, Seen,
    SeenEnd, Tracker,
};
use crate::process::KeySet;

/// What is told of a process that was found missing is waited for, and left out, so long.
const CLOSED_FOR: Duration = Duration::from_secs(120);

/// A program has written its first title by then, if it ever does: what has lived longer shows it already.
const STARTS_UP: Duration = Duration::from_secs(60);

impl Tracker {
    /// Takes a process that a snapshot or scan shows. Returns a judgement when it is of interest and was not known,
    /// or carries a mark whose exec was never told. `new_since` is set by a source that has no events: a process
    /// that started after then has appeared.
    pub fn discover(&mut self, seen: &Seen, now: BootTime, new_since: Option<BootTime>) -> Option<Judgement> {
        // What has ended tells no names any more (its address space is gone); its end is told by other means. And
        // what the kernel side has told of need not be guessed: its record has been taken, or is waiting.
        if seen.ended || seen.told {
            return None;
        }
        let sequence = seen.sequence.unwrap_or(0);
        let named_at = BootTime(sequence);
        let unheard = sequence > 0 && new_since.is_none();
        let renamed_late = seen.renamed && named_at.since(seen.key.start) > NAMED_AT_START;
        let keep = Judgement {
            key: seen.key,
            sequence,
            keep: true,
        };
        if let Some(process) = self.table.get(seen.key) {
            if !process.is_live() {
                return None;
            }
            if process.unconfirmed || seen.untold || process.identity.differs_from(&seen.identity) {
                // An exec or rename between two scans, or one whose record was lost.
                self.changed_unseen(seen, now);
                return Some(keep);
            }
            // Known, but not marked: the kernel side's map was full when it tried.
            return (new_since.is_none() && seen.sequence.is_none()).then_some(keep);
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
        self.note_unknown(seen.key, &unknown);
        let refuse = seen.sequence.map(|sequence| Judgement {
            key: seen.key,
            sequence,
            keep: false,
        });
        let of_interest = !groups.is_empty() || candidate || interest == Interest::Always;
        if !of_interest || !self.has_room_for(seen.key) {
            self.forget(seen.key);
            if interest == Interest::Once && now.since(seen.key.start) <= STARTS_UP {
                self.note_interest(seen.key, interest, now);
            }
            return refuse;
        }
        self.note_interest(seen.key, interest, now);
        self.note_encoding(&seen.identity);
        let stranger = self.strangers.contains(&seen.key);
        let process = self
            .table
            .entry(seen.key, || Process::new(seen.identity.clone(), seen.parent, now));
        process.past_is_others = stranger;
        process.uid = seen.facts.uid.or(process.uid);
        let (arrival, time) = match new_since {
            Some(since) if seen.key.start >= since => (Arrival::Appeared, seen.key.start),
            // A mark of which no record came: it took its name under kevmon's eyes, and the record was lost.
            None if unheard && !renamed_late => (Arrival::AppearedUnheard, named_at),
            None if unheard => (Arrival::Joined, named_at),
            _ => (Arrival::Joined, now),
        };
        self.move_to(seen.key, groups, arrival, time);
        Some(keep)
    }

    pub(super) fn changed_unseen(&mut self, seen: &Seen, now: BootTime) {
        let Some(process) = self.table.get_mut(seen.key) else {
            return;
        };
        let unconfirmed = std::mem::take(&mut process.unconfirmed) && !seen.identity.exe.is_empty();
        let known_by_name = !unconfirmed && !process.identity.exe.is_empty();
        let executed = seen.untold && !seen.renamed;
        if executed || unconfirmed {
            process.identity = seen.identity.clone(); // another script may have the same interpreter
        } else {
            process.identity.update(&seen.identity);
        }
        let identity = process.identity.clone();
        self.table.set_parent(seen.key, seen.parent);
        let before = self.memberships.get(&seen.key).cloned().unwrap_or_default();
        let Matched { groups, unknown, .. } = self.matched(seen.key, &identity);
        self.note_unknown(seen.key, &unknown);
        let interest = self.interest(&identity, &groups, seen.parent);
        self.note_interest(seen.key, interest, now);
        let (arrival, time) = match seen.sequence {
            Some(sequence) if executed && known_by_name => (Arrival::AppearedUnheard, BootTime(sequence)),
            _ => (Arrival::Joined, now),
        };
        self.move_to(seen.key, groups, arrival, time);
        for group in self.memberships.get(&seen.key).into_iter().flatten() {
            if before.contains(group)
                && let Some(of) = self.groups.get_mut(group)
            {
                of.looked_at(seen.key, &self.table, &self.facts);
            }
        }
    }

    /// True when a snapshot shows a process that is not known, or by other names than it is known by.
    pub fn is_news(&self, seen: &Seen) -> bool {
        self.table.get(seen.key).is_none_or(|process| {
            process.unconfirmed || seen.untold || process.identity.differs_from(&seen.identity)
        })
    }

    /// True when a name alone makes a process a member of something.
    pub fn matches_name(&self, comm: &str) -> bool {
        self.matcher.matches_comm(comm)
    }

    /// Ends what a snapshot shows as ended and still counts as live: its exit record was lost, but the kernel side
    /// remembers it. Its final totals are still to come; so are its names, where they were lost too, and with them its
    /// end. All events up to the snapshot must have been applied.
    pub fn end_seen(&mut self, seen: Vec<Seen>, now: BootTime) {
        self.end_seen_as(seen, now, true);
    }

    /// Ends what a snapshot shows as ended. `lossy`: records were lost, as for [`Tracker::end_seen`]; else every end since an earlier
    /// look is found by comparison with it.
    pub fn end_seen_as(&mut self, seen: Vec<Seen>, now: BootTime, lossy: bool) {
        for seen in seen.into_iter().filter(|seen| seen.ended && !seen.untold) {
            let end = match (seen.end, seen.sequence) {
                (Some(end), _) => end,
                (None, Some(_)) => continue, // about to be told
                // It ended before kevmon came.
                (None, None) => SeenEnd {
                    time: now,
                    ending: Ending::UNKNOWN,
                    peak_rss: None,
                },
            };
            if let Some(process) = self.table.get_mut(seen.key).filter(|process| process.is_live()) {
                process.raise_peak_rss(end.peak_rss);
                self.ended(seen.key, end.time, end.ending, lossy);
            }
        }
    }

    /// True when something that was known to live before `began` is not in the snapshot that began then.
    pub fn is_missing(&self, present: &KeySet, began: BootTime) -> bool {
        self.missing(present, began).next().is_some()
    }

    fn missing<'a>(&'a self, present: &'a KeySet, began: BootTime) -> impl Iterator<Item = ProcessKey> + 'a {
        self.table
            .iter()
            .filter(move |(key, process)| {
                process.is_live() && process.known_since < began && !present.contains(key)
            })
            .map(|(key, _)| key)
    }

    /// Ends, for an unknown reason, what was known to live before `began` and is not in the snapshot that began then.
    /// All events up to the snapshot must have been applied. `lossy`: the source has events, and some of them were
    /// lost; else it has none, and whatever ended is missing. Returns how many.
    pub fn end_missing(&mut self, present: &KeySet, began: BootTime, now: BootTime, lossy: bool) -> u64 {
        let missing: Vec<ProcessKey> = self.missing(present, began).collect();
        for &key in &missing {
            self.ended(key, now, Ending::UNKNOWN, lossy);
            self.settle(key, true);
            self.closed.insert(key, now);
        }
        self.closed.retain(|_, at| now.since(*at) < CLOSED_FOR);
        self.irregular.missing += missing.len() as u64;
        missing.len() as u64
    }
}
