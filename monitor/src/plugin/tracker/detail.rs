//! The detailed mode: where what was measured of threads and sampled of processes goes.

use super::{Group, GroupId, Tracker};
use crate::{
    plugin::detail::MemoryDetail,
    process::{BootTime, Contention, Gauges, KeyMap, ProcessKey, Sample, SwitchTimes},
};

impl Tracker {
    /// Groups begin or end to keep what the detailed mode tells, as their plugins say. `measures`: threads are measured.
    pub fn follow_detail(&mut self, now: BootTime, measures: bool) {
        for group in self.groups.values_mut() {
            group.follow_detail(now, measures);
        }
    }

    /// Takes what was measured of a process's threads. False: no group of it keeps that.
    pub fn note_switches(&mut self, key: ProcessKey, new: &SwitchTimes) -> bool {
        let mut is_kept = false;
        for group in self.memberships.get(&key).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(group) {
                is_kept |= group.note_switches(key, new);
            }
        }
        is_kept
    }

    /// Takes what was measured of the threads of a process that was a member of `groups` until it was freed.
    pub fn note_switches_in(&mut self, groups: &[GroupId], new: &SwitchTimes) {
        for group in groups {
            if let Some(group) = self.groups.get_mut(group) {
                group.note_switches_of_a_former(new);
            }
        }
    }

    /// Notes that something of what threads did was missed, in groups that are not known: in all.
    pub fn note_missed_switches(&mut self) {
        self.groups.values_mut().for_each(Group::note_missed_switches);
    }

    /// Takes what the memory of a group's members is made of; `None` where it could not be read.
    pub fn note_memory(&mut self, group: GroupId, memory: Option<MemoryDetail>) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.note_memory(memory);
        }
    }

    /// Takes what the cgroup that all members of a group share had to wait for; `None` where they share none.
    pub fn note_contention(&mut self, group: GroupId, shared: Option<(String, Contention)>) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.note_contention(shared);
        }
    }

    /// Takes a sample of each group, of what has been observed.
    pub fn take_samples(
        &mut self,
        groups: &[GroupId],
        now: BootTime,
        samples: &KeyMap<Sample>,
        gauges: &KeyMap<Gauges>,
    ) {
        for group in groups {
            if let Some(group) = self.groups.get_mut(group) {
                group.take_sample(now, samples, gauges, &self.table);
            }
        }
    }
}
