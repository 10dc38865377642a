//! The detailed mode: what happens at switches of threads, and samples between collections.
//!
//! What is measured of a thread belongs to the groups that its process is a member of when it is taken. Of a thread that has
//! ended, that is known once the records of its process have been taken, and only until the process is freed. So the ring of
//! ended threads is emptied before each free and exec is applied; what belongs to nobody then waits for the end of a drain that has
//! taken all there was, and is a stranger's if it still does.

use std::time::{Duration, Instant};

use tracing::warn;

use super::{LARGE, Source, Watch};
use crate::{
    episode::Episode,
    kernel::{KernelSource, Missed, ThreadEnded},
    plugin::{GroupId, Tracker, detail::MemoryDetail},
    process::{BootTime, Event, KeyMap, KeySet},
    procfs::{self, HostReader},
};

/// A process that is new in a group and older than this may have been found running, or given up as a stranger.
const YOUNG: Duration = Duration::from_secs(1);

/// Threads that have ended and are held at once until it is known whose they were: strangers' too.
const WAITING: usize = 8192;
/// Time between two looks because of members' names.
const BETWEEN_RENAMES: Duration = Duration::from_millis(100);
/// A child executes something within this time of its fork, or not at all: until then it is nobody's, and not given up.
const UNTIL_EXEC: Duration = Duration::from_secs(2);

/// What the detailed mode keeps of a run.
#[derive(Default)]
pub(super) struct Detail {
    /// Groups in detail, with the time of each one's next sample.
    groups: Vec<(GroupId, Instant)>,
    /// Threads are measured.
    measures: bool,
    /// Of threads that have ended, until it is known whose they were.
    pending: KeyMap<Vec<ThreadEnded>>,
    /// How many those are, and how many found no room.
    waiting: usize,
    crowded: u64,
    /// When threads were last looked at because a member took another name.
    looked: Option<Instant>,
    /// The groups of those who were freed since the last full drain, and since the one before: a dying thread's own record may
    /// come after the one that frees its process.
    freed: [KeyMap<Vec<GroupId>>; 2],
    /// The same of those that have executed something.
    executed: [KeyMap<Vec<GroupId>>; 2],
    /// As of the last look.
    missed: Missed,
    /// Something was missed, which the log has said.
    losing: Episode,
}

impl Detail {
    /// Whether there is anything to do.
    pub(super) fn is_on(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Takes the ends that wait.
    pub(super) fn take_ends(&mut self, kernel: &mut KernelSource) {
        while let Some(ended) = kernel.next_thread_end() {
            if self.waiting >= WAITING {
                self.crowded += 1;
                continue;
            }
            self.waiting += 1;
            self.pending.entry(ended.key).or_default().push(ended);
        }
    }

    /// `event` is about to change whose the process's threads are.
    pub(super) fn before(&mut self, kernel: &mut KernelSource, tracker: &mut Tracker, event: &Event) {
        let (key, until, executes) = match event {
            Event::Free { key, .. } => (*key, BootTime(u64::MAX), false),
            Event::Exec { key, time, .. } => (*key, *time, true),
            Event::Rename { key, time, .. } => (*key, *time, false),
            _ => return,
        };
        self.take_ends(kernel);
        let groups = tracker.groups_of(key).to_vec();
        // The other object's program comes second: the exec's own record bears a later time.
        let mut is_awaited = executes;
        if let Some(waiting) = self.pending.get_mut(&key) {
            let before = waiting.len();
            waiting.retain(|ended| {
                let is_of_exec = ended.time > until && ended.executes && std::mem::take(&mut is_awaited);
                let is_over = ended.time <= until || is_of_exec;
                if is_over {
                    tracker.note_switches(key, &ended.times);
                }
                !is_over
            });
            self.waiting -= before - waiting.len();
        }
        if groups.is_empty() {
            return;
        }
        if matches!(event, Event::Rename { .. }) {
            self.look_before_a_rename(kernel, tracker);
        } else if matches!(event, Event::Free { .. }) {
            self.freed[0].insert(key, groups);
        } else if is_awaited {
            self.executed[0].insert(key, groups);
        }
    }

    /// What a member did under the name that it has had is its group's. Whoever renames itself all the time is looked at as often as
    /// [`BETWEEN_RENAMES`] lets.
    fn look_before_a_rename(&mut self, kernel: &mut KernelSource, tracker: &mut Tracker) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < BETWEEN_RENAMES) {
            return;
        }
        self.looked = Some(now);
        // The next look tells the error.
        for (key, times) in kernel.look_at_threads(BootTime(0)).unwrap_or_default() {
            tracker.note_switches(key, &times);
        }
    }

    /// All that was told before `drained` has been taken.
    fn give_out(&mut self, tracker: &mut Tracker, drained: Option<BootTime>) {
        let (freed, executed) = (&self.freed, &mut self.executed);
        let mut waiting = 0;
        self.pending.retain(|&key, of_process| {
            of_process.retain(|ended| {
                let of_before = ended
                    .executes
                    .then(|| executed.iter_mut().find_map(|executed| executed.remove(&key)))
                    .flatten();
                let before = of_before.or_else(|| freed.iter().find_map(|freed| freed.get(&key)).cloned());
                let is_known = before.is_some() || !tracker.groups_of(key).is_empty();
                match before {
                    Some(groups) => tracker.note_switches_in(&groups, &ended.times),
                    None => drop(tracker.note_switches(key, &ended.times)),
                }
                !is_known && drained.is_none_or(|drained| ended.time > drained)
            });
            waiting += of_process.len();
            !of_process.is_empty()
        });
        self.waiting = waiting;
        if drained.is_some() {
            self.freed[1] = std::mem::take(&mut self.freed[0]);
            self.executed[1] = std::mem::take(&mut self.executed[0]);
        }
    }
}

impl Watch {
    /// Follows which plugins ask for the detailed mode.
    pub(in crate::app) fn follow_detail(&mut self) {
        let detailed = self.tracker.detailed();
        let is_asked = !detailed.is_empty();
        self.detail.measures = match &mut self.source {
            Source::Ebpf(kernel) => kernel.measure_threads(is_asked),
            Source::Proc(_) => {
                if is_asked {
                    warn!(
                        "detailed mode without what happens at context switches: it needs the eBPF source; samples between \
                         collections are taken from /proc"
                    );
                }
                false
            }
        };
        let now = Instant::now();
        let known = std::mem::take(&mut self.detail.groups);
        let next = |group| known.iter().find(|(known, _)| *known == group).map(|(_, at)| *at);
        self.detail.groups = detailed
            .into_iter()
            .map(|group| (group, next(group).unwrap_or(now)))
            .collect();
        self.tracker
            .follow_detail(HostReader::now(), self.detail.measures);
        self.want_threads();
    }

    /// When the next sample or step is due; `None` where no group is watched in detail or recorded.
    pub(in crate::app) fn next_sample(&self) -> Option<Instant> {
        let detailed = self.detail.groups.iter().map(|(_, at)| *at).min();
        detailed.into_iter().chain(self.record.next()).min()
    }

    /// The groups of which a sample is due.
    fn due_samples(&mut self, now: Instant) -> Vec<GroupId> {
        let mut due = Vec::new();
        for (group, at) in &mut self.detail.groups {
            let Some(detail) = self.tracker.plugin(*group).and_then(|plugin| plugin.detail) else {
                continue;
            };
            if *at <= now {
                due.push(*group);
                *at += detail.sample_interval;
                // Late: those that were left out are not made up for, and the next one has a time of its own before it.
                if *at < now + detail.sample_interval / 2 {
                    *at = now + detail.sample_interval;
                }
            }
        }
        due
    }

    /// Takes the samples that are due, and the flight recorder's steps.
    pub(in crate::app) fn take_samples(&mut self) {
        let now = Instant::now();
        let sampled = self.due_samples(now);
        let steps = self
            .record
            .due(now, |group| self.tracker.member_count(group) > LARGE);
        let recorded = self.record.of(&sampled, &steps);
        let all: Vec<GroupId> = sampled.iter().chain(&steps).copied().collect();
        if all.is_empty() {
            return;
        }
        self.drain();
        let wanted: KeySet = self.tracker.tracked_of(&all).collect();
        let Ok(samples) = self.sample(&wanted) else {
            self.record.misses();
            return; // the next collection says so
        };
        let applied = self.applied();
        self.tracker.observe(&samples, &wanted, applied);
        let gauges = self
            .gauges
            .read(&self.tracker.live_members(&all), &samples, &mut self.health);
        let at = HostReader::now();
        self.tracker.take_samples(&sampled, at, &samples, &gauges);
        self.take_step(&recorded, at, &gauges);
        self.record.took(&steps, now.elapsed());
    }

    /// At the end of a drain.
    pub(super) fn end_drain_of_threads(&mut self, drained: Option<BootTime>) {
        if !self.detail.is_on() {
            return;
        }
        self.detail.give_out(&mut self.tracker, drained);
        self.want_threads();
    }

    /// Has the members' threads measured, and nobody else's.
    fn want_threads(&mut self) {
        if !self.detail.measures {
            return;
        }
        let groups: Vec<GroupId> = self.detail.groups.iter().map(|(group, _)| *group).collect();
        let keys: KeySet = self.tracker.live_members(&groups).into_iter().collect();
        let Source::Ebpf(kernel) = &mut self.source else {
            return;
        };
        let new = kernel.want_threads_of(&keys);
        let now = HostReader::now();
        if new.iter().any(|key| now.since(key.start) > YOUNG) {
            self.look_at_threads();
        }
    }

    /// Takes what threads have done since the last look.
    pub(super) fn look_at_threads(&mut self) {
        if !self.detail.measures {
            return;
        }
        let decided = BootTime(
            self.drained_at
                .0
                .saturating_sub(u64::try_from(UNTIL_EXEC.as_nanos()).unwrap_or(u64::MAX)),
        );
        let Source::Ebpf(kernel) = &mut self.source else {
            return;
        };
        self.detail.take_ends(kernel);
        let mut missed = kernel.missed_of_threads();
        missed.ends_lost += self.detail.crowded;
        match kernel.look_at_threads(decided) {
            Ok(found) => {
                for (key, times) in found {
                    self.tracker.note_switches(key, &times);
                }
            }
            Err(error) => {
                missed.refused += 1;
                if self.detail.losing.fails(Instant::now()) {
                    warn!("what threads did cannot be read for now: {error}; the next look makes up for it");
                }
            }
        }
        self.detail.give_out(&mut self.tracker, None);
        if missed != self.detail.missed {
            if self.detail.losing.fails(Instant::now()) {
                warn!(
                    "what some threads did at switches was missed: {} found no place (16,384 are measured at once), the ends \
                     of {} were not told",
                    missed.refused, missed.ends_lost
                );
            }
            self.detail.missed = missed;
            self.tracker.note_missed_switches();
        } else {
            self.detail.losing.works(Instant::now());
        }
    }

    /// What the memory of these groups' members is made of, and what their cgroup had to wait for, where their plugins ask for
    /// that.
    pub(super) fn look_at_memory(&mut self, due: &[GroupId]) {
        for &group in due {
            let Some(detail) = self.tracker.plugin(group).and_then(|plugin| plugin.detail) else {
                continue;
            };
            let members = self.tracker.live_members(&[group]);
            let path = procfs::common_cgroup(&self.root, &members);
            let shared = path.and_then(|path| procfs::contention(&path).map(|waited| (path, waited)));
            self.tracker.note_contention(group, shared);
            if detail.memory {
                let memory = procfs::rollup(&self.root, &members).map(|sums| MemoryDetail {
                    pss: sums.pss,
                    swap: sums.swap,
                    shared: sums.shared,
                    private_dirty: sums.private_dirty,
                });
                self.tracker.note_memory(group, memory);
            }
        }
    }
}
