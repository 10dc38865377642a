//! The detailed mode of a group: what its threads did at each switch, and samples between collections.

use super::{Group, read::Spaces};
use crate::{
    plugin::detail::{DetailReading, MemoryDetail, Samples},
    process::{
        BootTime, Contention, Counter, Gauges, KeyMap, ProcessKey, ProcessTable, Sample, Spread, SwitchTimes,
        Usage,
    },
};

/// What the detailed mode keeps of a group.
#[derive(Debug, Clone)]
pub(super) struct Detailed {
    since: BootTime,
    /// What threads did at each switch; `None` while nobody measures.
    times: Option<SwitchTimes>,
    samples: Samples,
    last: Option<(BootTime, Usage)>,
    memory: Option<MemoryDetail>,
    contention: Shared,
    /// Something of `times` was missed.
    missed: bool,
}

/// What the cgroup that all members share had to wait for, added up while they share one.
#[derive(Debug, Clone, Default)]
struct Shared {
    /// Which one, and its own sums, as of the last collection.
    last: Option<(String, Contention)>,
    sums: Option<Contention>,
}

impl Shared {
    fn take(&mut self, now: Option<(String, Contention)>) {
        // Of one that is new here, what was before is not the group's.
        if let (Some((path, now)), Some((known, before))) = (&now, &self.last)
            && path == known
        {
            let grown = now.grown(before);
            self.sums = Some(self.sums.unwrap_or_default().plus(&grown));
        }
        self.last = now;
    }

    /// The sums, while the members share a cgroup. They go on when they share one again.
    fn told(&self) -> Option<Contention> {
        self.sums.filter(|_| self.last.is_some())
    }
}

impl Group {
    /// Begins to keep what the detailed mode tells, or ends, as the plugin says.
    pub fn follow_detail(&mut self, now: BootTime, measures: bool) {
        if self.plugin.detail.is_none() {
            self.detailed = None;
        } else if self.detailed.is_none() {
            self.detailed = Some(Box::new(Detailed {
                since: now,
                times: measures.then(SwitchTimes::default),
                samples: Samples::NONE,
                last: None,
                memory: None,
                contention: Shared::default(),
                missed: false,
            }));
        }
    }

    /// Takes what was measured of a member's threads. False: the group keeps none of it.
    pub fn note_switches(&mut self, key: ProcessKey, new: &SwitchTimes) -> bool {
        let counts = self.role(key).is_some_and(|role| self.counts(role));
        let times = self
            .detailed
            .as_mut()
            .and_then(|detailed| detailed.times.as_mut());
        match times {
            Some(times) if counts => {
                times.add(new);
                true
            }
            _ => false,
        }
    }

    /// Takes what was measured of the threads of a process that was a member until it was freed.
    pub fn note_switches_of_a_former(&mut self, new: &SwitchTimes) {
        if let Some(times) = self
            .detailed
            .as_mut()
            .and_then(|detailed| detailed.times.as_mut())
        {
            times.add(new);
        }
    }

    /// Run-queue latency at each switch; `None`: nobody measures.
    pub(super) fn run_queue(&self) -> Option<&Spread> {
        Some(&self.detailed.as_ref()?.times.as_ref()?.run_queue)
    }

    /// Something of what its threads did was missed.
    pub fn note_missed_switches(&mut self) {
        if let Some(detailed) = &mut self.detailed {
            detailed.missed = true;
        }
    }

    /// What its members' memory is made of; `None`: not known.
    pub fn note_memory(&mut self, memory: Option<MemoryDetail>) {
        if let Some(detailed) = &mut self.detailed {
            detailed.memory = memory;
        }
    }

    /// What the cgroup at `path`, which all its members share, had to wait for since it was made; `None`: they share none.
    pub fn note_contention(&mut self, shared: Option<(String, Contention)>) {
        if let Some(detailed) = &mut self.detailed {
            detailed.contention.take(shared);
        }
    }

    /// Takes a sample. What the members have used is known by now.
    pub fn take_sample(
        &mut self,
        now: BootTime,
        samples: &KeyMap<Sample>,
        gauges: &KeyMap<Gauges>,
        table: &ProcessTable,
    ) {
        if self.detailed.is_none() {
            return;
        }
        let measures = self
            .detailed
            .as_ref()
            .is_some_and(|detailed| detailed.times.is_some());
        let members = self.members_now(now, table);
        let (own, live) = (members.own, members.live);
        let read: Vec<&Gauges> = live
            .iter()
            .filter_map(|process| gauges.get(&process.key))
            .collect();
        let is_read = !read.is_empty() || live.is_empty();
        let spaces = Spaces::of(&read);
        let sum = |of: fn(&Gauges) -> Option<u64>| {
            read.iter()
                .map(|gauges| of(gauges))
                .sum::<Option<u64>>()
                .filter(|_| is_read)
        };
        let runnable = live
            .iter()
            .filter_map(|process| samples.get(&process.key))
            .map(|sample| sample.runnable)
            .sum::<Option<u64>>();
        // A source that tells it of no process does not say that there is none.
        let runnable = runnable.filter(|_| measures || !live.is_empty());
        let (threads, fds) = (sum(|gauges| gauges.threads), sum(|gauges| gauges.fds));
        let Some(detailed) = &mut self.detailed else {
            return;
        };
        let last = detailed.last.replace((now, own));
        let cpu = last.and_then(|(then, before)| {
            let used = own.since(&before).get(Counter::Runtime)?;
            let passed = now.0.checked_sub(then.0).filter(|&passed| passed > 0)?;
            u64::try_from(u128::from(used) * 1_000_000_000 / u128::from(passed)).ok()
        });
        let samples = &mut detailed.samples;
        samples.cpu.add(cpu, now);
        samples.rss.add(spaces.rss.filter(|_| is_read), now);
        samples.threads.add(threads, now);
        samples.fds.add(fds, now);
        samples.runnable.add(runnable, now);
    }

    /// What a collection says of it; a new interval begins.
    pub(super) fn read_detail(&mut self) -> Option<Box<DetailReading>> {
        let detailed = self.detailed.as_mut()?;
        let reading = DetailReading {
            since: detailed.since,
            times: detailed.times.clone(),
            samples: detailed.samples.clone(),
            memory: detailed.memory,
            contention: detailed.contention.told(),
            is_complete: !detailed.missed,
        };
        detailed.samples.forget_peaks();
        detailed.missed = false;
        Some(Box::new(reading))
    }
}
