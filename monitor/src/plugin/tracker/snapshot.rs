//! What snapshots and scans show: who was there already, who is missing, who changed unseen.

use std::collections::HashSet;

use super::{Arrival, BootTime, Ending, Judgement, Process, ProcessKey, Seen, Tracker};

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
        let keep = Judgement {
            key: seen.key,
            sequence,
            keep: true,
        };
        if let Some(process) = self.table.get(seen.key) {
            if !process.is_live() {
                return None;
            }
            if process.identity.differs_from(&seen.identity) {
                // An exec or rename between two scans, or one whose record was lost.
                self.changed_unseen(seen, now);
                return Some(keep);
            }
            // Known, but not marked: the kernel side's map was full when it tried.
            return (new_since.is_none() && seen.sequence.is_none()).then_some(keep);
        }
        let groups = self.matcher.groups(&seen.identity);
        let refuse = seen.sequence.map(|sequence| Judgement {
            key: seen.key,
            sequence,
            keep: false,
        });
        if groups.is_empty() || !self.has_room_for(seen.key) {
            return refuse;
        }
        self.note_encoding(&seen.identity);
        self.table
            .entry(seen.key, || Process::new(seen.identity.clone(), seen.parent, now));
        let (arrival, time) = match new_since {
            Some(since) if seen.key.start >= since => (Arrival::Appeared, seen.key.start),
            // A mark of which no record came: it took its name under kevmon's eyes, and the record was lost.
            None if sequence > 0 => (Arrival::AppearedUnheard, BootTime(sequence)),
            _ => (Arrival::Joined, now),
        };
        self.move_to(seen.key, groups, arrival, time);
        Some(keep)
    }

    fn changed_unseen(&mut self, seen: &Seen, now: BootTime) {
        let Some(process) = self.table.get_mut(seen.key) else {
            return;
        };
        let executed = !seen.identity.exe.is_empty() && process.identity.exe != seen.identity.exe;
        let known_by_name = !process.identity.exe.is_empty();
        process.identity.update(&seen.identity);
        process.parent = seen.parent;
        let groups = self.matcher.groups(&process.identity);
        let (arrival, time) = match seen.sequence {
            Some(sequence) if sequence > 0 && executed && known_by_name => {
                (Arrival::AppearedUnheard, BootTime(sequence))
            }
            _ => (Arrival::Joined, now),
        };
        self.move_to(seen.key, groups, arrival, time);
    }

    /// True when a snapshot shows a process that is not known, or by other names than it is known by.
    pub fn is_news(&self, seen: &Seen) -> bool {
        self.table
            .get(seen.key)
            .is_none_or(|process| process.identity.differs_from(&seen.identity))
    }

    /// True when a name alone makes a process a member of something.
    pub fn matches_name(&self, comm: &str) -> bool {
        self.matcher.matches_comm(comm)
    }

    /// Ends, for an unknown reason, what a snapshot shows as ended and still counts as live: its exit record was
    /// lost. Its totals are still to be had. All events up to the snapshot must have been applied.
    pub fn end_seen(&mut self, ended: &[ProcessKey], now: BootTime) {
        for &key in ended {
            if self.table.get(key).is_some_and(Process::is_live) {
                self.ended(key, now, Ending::UNKNOWN, true);
                self.irregular.missing += 1;
            }
        }
    }

    /// True when something that was known to live before `began` is not in the snapshot that began then.
    pub fn is_missing(&self, present: &HashSet<ProcessKey>, began: BootTime) -> bool {
        self.missing(present, began).next().is_some()
    }

    fn missing<'a>(
        &'a self,
        present: &'a HashSet<ProcessKey>,
        began: BootTime,
    ) -> impl Iterator<Item = ProcessKey> + 'a {
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
    pub fn end_missing(
        &mut self,
        present: &HashSet<ProcessKey>,
        began: BootTime,
        now: BootTime,
        lossy: bool,
    ) -> u64 {
        let missing: Vec<ProcessKey> = self.missing(present, began).collect();
        for &key in &missing {
            self.ended(key, now, Ending::UNKNOWN, lossy);
            self.settle(key, true);
        }
        self.irregular.missing += missing.len() as u64;
        missing.len() as u64
    }
}
