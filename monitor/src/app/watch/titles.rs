//! Reads arguments from /proc where events do not tell them: what the kernel side cut, and the titles that programs write
//! over them. Whose, says the tracker; when, is decided here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Source, Watch, arguments};
use crate::{
    health::Soft,
    kernel::KernelSource,
    plugin::{Interest, NewLook, tracker::Tracker},
    process::{Arguments, BootTime, Event, Identity, ProcessKey, Seen},
    procfs::{self, HostReader, TextReader},
};

/// A program that writes its title does so before long: it is looked at so long after its start, …
const SOON: Duration = Duration::from_millis(100);
/// … and again while what it is called then still counts as the name it started with.
const AGAIN: Duration = Duration::from_millis(800);
/// An interval after a start is no longer than this.
pub(super) const LATEST: Duration = Duration::from_secs(60);
/// Processes that wait for a look of one kind; further ones are counted and left out.
const WAITING: usize = 4096;
/// Looks at one drain; the rest wait for the next one.
const LOOKS: usize = 256;

/// Looks that are due at some time, in order. One queue for each delay: what comes later is due later.
#[derive(Debug, Default)]
pub(super) struct Looks {
    soon: VecDeque<(Instant, ProcessKey)>,
    again: VecDeque<(Instant, ProcessKey)>,
    once: VecDeque<(Instant, ProcessKey)>,
}

impl Looks {
    /// When the next look is due; `None`: none is planned.
    pub(super) fn next(&self) -> Option<Instant> {
        let queues = [&self.soon, &self.again, &self.once];
        queues.iter().filter_map(|queue| Some(queue.front()?.0)).min()
    }

    /// Takes processes that have come; returns how many found no place.
    fn plan(&mut self, new: Vec<NewLook>, interval: Duration, (now, booted): (Instant, BootTime)) -> u64 {
        let mut left_out = 0;
        let push = |queue: &mut VecDeque<(Instant, ProcessKey)>, delay: Duration, look: NewLook| {
            let has_room = queue.len() < WAITING;
            if has_room {
                // From its fork or exec, which may have been taken a while after it. In the queue's order.
                let due = now + delay.saturating_sub(booted.since(look.since));
                let last = queue.back().map_or(due, |(last, _)| *last);
                queue.push_back((due.max(last), look.key));
            }
            has_room
        };
        for look in new {
            match look.interest {
                Interest::None => {}
                Interest::Once => {
                    left_out += u64::from(!push(&mut self.once, interval, look));
                }
                // Without room it is looked at by the next tick at the latest.
                Interest::Always => {
                    push(&mut self.soon, SOON, look);
                    push(&mut self.again, AGAIN, look);
                }
            }
        }
        left_out
    }

    fn due(&mut self) -> Vec<ProcessKey> {
        let now = Instant::now();
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for queue in [&mut self.soon, &mut self.again, &mut self.once] {
            while due.len() < LOOKS && queue.front().is_some_and(|(at, _)| *at <= now) {
                due.extend(queue.pop_front().map(|(_, key)| key));
            }
        }
        due
    }
}

impl Watch {
    /// Looks at the titles of processes that started a while ago.
    pub(super) fn look_at_starts(&mut self) {
        let new = self.tracker.take_looks();
        if !new.is_empty() {
            let clocks = (Instant::now(), HostReader::now());
            let left_out = self.looks.plan(new, self.title_interval(), clocks);
            self.health.add(Soft::TitlesUnread, left_out);
        }
        for key in self.looks.due() {
            if self.tracker.knows(key) {
                let _ = self.look_at(key);
            } else {
                self.look_at_stranger(key);
            }
        }
    }

    /// Looks at the titles of all followed processes that may write some, and for the rest of arguments that were cut.
    pub(super) fn look_at_titles(&mut self) {
        match &self.source {
            // A scan has just read them all.
            Source::Proc(_) => drop(self.tracker.take_looks()),
            Source::Ebpf(_) => {
                let mut reader = TextReader::new(&self.root);
                for key in self.tracker.with_titles() {
                    // Most are what they were, which costs a fifth of a look.
                    let text = reader.read(key);
                    if text.is_some_and(|text| self.tracker.has_text(key, text)) {
                        continue;
                    }
                    if self.look_at(key)
                        && let Some(text) = reader.last()
                    {
                        self.tracker.note_text(key, text);
                    }
                }
                self.look_at_forks();
            }
        }
    }

    /// Looks at one that is followed. True where it is known by just these arguments.
    fn look_at(&mut self, key: ProcessKey) -> bool {
        let now = HostReader::now();
        match procfs::arguments(&self.root, key) {
            // On its way out, or just executing, which a record tells.
            Ok(None) => {}
            Ok(Some(found)) if self.tracker.has_arguments(key, &found) => return true,
            // What it has executed since is told by a record, which waits to be taken; and so are its arguments.
            Ok(Some(_)) if self.has_changed_since_the_drain(key) => {}
            Ok(Some(found)) => self.tracker.retitle(key, found, now),
            Err(procfs::Unread::Gone) => {}
            Err(procfs::Unread::Unreadable) => self.health.count(Soft::Unreadable),
            Err(procfs::Unread::OutOfFiles(_)) => self.health.count(Soft::OutOfFiles),
        }
        false
    }

    fn has_changed_since_the_drain(&self, key: ProcessKey) -> bool {
        let Source::Ebpf(kernel) = &self.source else {
            return false;
        };
        kernel
            .sequence(key)
            .is_some_and(|sequence| sequence >= self.drained_at.0)
    }

    /// Looks at one that was of no interest by its names: it may be by its title.
    pub(super) fn look_at_stranger(&mut self, key: ProcessKey) {
        let Ok(identity) = procfs::identity(&self.root, key) else {
            return; // gone, as most are
        };
        // Where the arguments cannot be had because it ends or executes, there is nothing to look at.
        let passes = identity.arguments_are_unknown()
            && self.hidden.is_none()
            && matches!(
                procfs::arguments(&self.root, key),
                Ok(None) | Err(procfs::Unread::Gone)
            );
        if passes || self.has_changed_since_the_drain(key) {
            return;
        }
        let now = HostReader::now();
        let Source::Ebpf(kernel) = &mut self.source else {
            return;
        };
        let seen = Seen {
            key,
            parent: procfs::parent(&self.root, key).map(|parent| self.tracker.known_as(parent)),
            sequence: kernel.sequence(key),
            told: true,
            untold: false,
            renamed: false,
            identity,
            facts: crate::process::FactIds::default(),
            ended: false,
            end: None,
        };
        if self.tracker.asks_for_facts(&seen.identity) {
            let facts =
                super::facts::FactReader::new(&self.root, Some(kernel.cgroups())).read(key, seen.facts);
            self.tracker.learn(key, facts);
        }
        if let Some(judgement) = self.tracker.reconsider(&seen, now) {
            kernel.judge(&judgement);
        }
        if self.tracker.knows(key) && seen.sequence.is_none() {
            // Found by a snapshot, and without a mark until the next one puts it on.
            kernel.judge(&crate::process::Judgement {
                key,
                sequence: 0,
                keep: true,
            });
            self.sweep_at = Some(now);
        }
    }
}

/// Reads the rest of the arguments of a process that executes, where the kernel side cut them and it matters. They are taken
/// only if the process has executed nothing else since, and if they begin as the kernel side says: else it has written a
/// title over them, and what they were nobody can tell any more.
pub(super) fn complete(tracker: &Tracker, kernel: &KernelSource, root: &std::path::Path, event: &mut Event) {
    let Event::Exec {
        key,
        sequence,
        identity,
        ..
    } = event
    else {
        return;
    };
    if identity.cut.is_none() || !tracker.needs_the_rest(identity) {
        return;
    }
    let found = match arguments::present(root, *key) {
        Ok(found) => found,
        Err(arguments::Absent::Gone | arguments::Absent::Passing) => return,
    };
    if kernel.sequence(*key) == Some(*sequence) && continues(identity, &found) {
        identity.set_arguments(found);
    }
}

/// Whether these arguments begin with those that are known.
fn continues(known: &Identity, found: &Arguments) -> bool {
    let count = known.argv.len();
    if found.whole.get(..count) != Some(&known.argv[..]) {
        return false;
    }
    let next = found.whole.get(count).or(found.cut.as_ref());
    match (&known.cut, next) {
        (Some(cut), Some(next)) => next.starts_with(cut.trim_end_matches(char::REPLACEMENT_CHARACTER)),
        (Some(cut), None) => cut.is_empty(),
        (None, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Tgid;

    /// A wrapper that executes its program after an hour has its look an interval after that.
    #[test]
    fn looks_are_due_by_the_exec_and_not_by_the_age_of_the_process() {
        const S: u64 = 1_000_000_000;
        let hour = 3_600 * S;
        let look = |tgid, interest, since| NewLook {
            key: ProcessKey {
                tgid: Tgid(tgid),
                start: BootTime(S),
            },
            interest,
            since: BootTime(since),
        };
        let mut looks = Looks::default();
        let now = Instant::now();
        let booted = BootTime(hour + S / 2);
        let new = vec![
            look(1, Interest::Once, hour),
            look(2, Interest::Always, hour),
            // Taken late: it is looked at all the same, and in order.
            look(3, Interest::Once, hour - 20 * S),
        ];
        assert_eq!(looks.plan(new, Duration::from_secs(10), (now, booted)), 0);
        let due = |queue: &VecDeque<(Instant, ProcessKey)>| -> Vec<Duration> {
            queue.iter().map(|(due, _)| *due - now).collect()
        };
        let millis = Duration::from_millis;
        assert_eq!(due(&looks.once), [millis(9_500), millis(9_500)]);
        assert_eq!(
            (due(&looks.soon), due(&looks.again)),
            (vec![millis(0)], vec![millis(300)])
        );
        assert_eq!(looks.next(), Some(now));
    }
}
