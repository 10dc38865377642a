//! What the flight recorder is told: the values of groups at a fine step, between collections.
//!
//! Groups in detailed mode are sampled anyway, and each sample is a step. Groups in standard mode are read for the recorder alone,
//! all that are due at once: what a step costs is mostly one look at the kernel's tasks, however many groups share it. A group of
//! many members has a turn of its own. Reading takes a hundredth of the time at most ([`SHARE`]): where it takes more, steps are
//! further apart.

use std::time::{Duration, Instant};

use tracing::info;

use super::Watch;
use crate::{
    config::recorder::Recorder,
    plugin::{GroupId, StepReading},
    process::{BootTime, Gauges, KeyMap},
    procfs::HostReader,
};

/// Steps take this part of the time at most.
const SHARE: u32 = 100;

/// The values of some groups at one moment.
#[derive(Debug)]
pub(in crate::app) struct StepOf {
    /// When.
    pub(in crate::app) time: BootTime,
    /// Something may be missing of what happened since the step before.
    pub(in crate::app) is_lossy: bool,
    /// By group.
    pub(in crate::app) groups: Vec<(GroupId, StepReading)>,
}

/// When which groups are read.
#[derive(Debug, Default)]
pub(in crate::app) struct Record {
    settings: Option<Recorder>,
    /// Groups in standard mode, with the time of each one's next step.
    groups: Vec<(GroupId, Instant)>,
    /// Steps that nobody has taken yet.
    steps: Vec<StepOf>,
    /// Steps that could not be read since they were taken last.
    missed: u64,
    /// Causes so far for which something may be missing.
    lost: Option<u64>,
    /// Steps are further apart than was asked for, which the log has said.
    is_slow: bool,
}

impl Record {
    /// When the next step of a group in standard mode is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.groups.iter().map(|(_, at)| *at).min()
    }

    /// The groups in standard mode of which a step is due: all small ones, or a large one alone.
    pub(super) fn due(&mut self, now: Instant, is_large: impl Fn(GroupId) -> bool) -> Vec<GroupId> {
        let due = self.groups.iter().filter(|(_, at)| *at <= now);
        let (large, mut due): (Vec<_>, Vec<_>) =
            due.map(|(group, _)| *group).partition(|group| is_large(*group));
        if due.is_empty() {
            due.extend(large.first());
        }
        let Some(settings) = &self.settings else {
            return Vec::new();
        };
        for (group, at) in &mut self.groups {
            if due.contains(group) {
                *at += settings.step;
                if *at < now + settings.step / 2 {
                    *at = now + settings.step;
                }
            }
        }
        due
    }

    /// The groups that a step is made of: those whose step is due, and those that are sampled anyway.
    pub(super) fn of(&self, sampled: &[GroupId], due: &[GroupId]) -> Vec<GroupId> {
        let sampled = sampled.iter().filter(|_| self.settings.is_some());
        sampled.chain(due).copied().collect()
    }

    /// A step could not be read.
    pub(super) fn misses(&mut self) {
        self.missed += u64::from(self.settings.is_some());
    }

    /// The steps of these groups took so long.
    pub(super) fn took(&mut self, groups: &[GroupId], took: Duration) {
        let Some(settings) = self.settings.filter(|_| !groups.is_empty()) else {
            return;
        };
        let pause = took * SHARE;
        if pause <= settings.step {
            return;
        }
        let earliest = Instant::now() + pause;
        for (group, at) in &mut self.groups {
            if groups.contains(group) {
                *at = earliest.max(*at);
            }
        }
        // One that took long because the host was busy says nothing of those to come.
        if pause > settings.step * 3 && !std::mem::replace(&mut self.is_slow, true) {
            info!(
                "flight recorder: to read a step of {} groups takes {:.1?}, so steps are up to {:.1?} apart (told once)",
                groups.len(),
                took,
                pause
            );
        }
    }
}

impl Watch {
    /// Steps are made from now on, as these settings say.
    pub(in crate::app) fn start_record(&mut self, settings: Recorder) {
        self.record.settings = Some(settings);
        self.follow_record();
    }

    /// Follows which groups there are.
    pub(super) fn follow_record(&mut self) {
        let Some(settings) = self.record.settings.filter(|settings| settings.standard) else {
            return;
        };
        let (now, known) = (Instant::now(), std::mem::take(&mut self.record.groups));
        let next = |group| known.iter().find(|(known, _)| *known == group).map(|(_, at)| *at);
        let standard = self
            .tracker
            .plugins()
            .filter(|(_, plugin)| plugin.detail.is_none());
        self.record.groups = standard
            .map(|(group, _)| (group, next(group).unwrap_or(now + settings.step)))
            .collect();
    }

    /// Makes a step of these groups, of what has been observed.
    pub(super) fn take_step(&mut self, groups: &[GroupId], time: BootTime, gauges: &KeyMap<Gauges>) {
        if groups.is_empty() {
            return;
        }
        let is_unlisted = self.hidden_processes().is_some();
        let read = groups.iter().filter_map(|&group| {
            let mut step = self.tracker.step(group, time, gauges)?;
            if is_unlisted && step.process_count == Some(0) {
                step.set_unlisted();
            }
            Some((group, step))
        });
        let groups: Vec<_> = read.collect();
        let lost = self.lost + self.unclear;
        let before = self.record.lost.replace(lost);
        let is_lossy = before.is_some_and(|before| before != lost);
        self.record.steps.push(StepOf {
            time,
            is_lossy,
            groups,
        });
    }

    /// The steps since the last call, and how many could not be read.
    pub(in crate::app) fn take_steps(&mut self) -> (Vec<StepOf>, u64) {
        let missed = std::mem::take(&mut self.record.missed);
        (std::mem::take(&mut self.record.steps), missed)
    }

    /// Whether a program of the group keeps failing and being replaced.
    pub(in crate::app) fn in_crash_loop(&self, group: GroupId) -> bool {
        self.tracker.in_crash_loop(group, HostReader::now())
    }
}
