//! The live members of a group that use the most, for people who look once.

use std::path::Path;

use super::watch::Watch;
use crate::{
    export::{Busy, LISTED, ServiceReading},
    plugin::GroupId,
    process::{BootTime, KeyMap, ProcessKey},
    procfs::{self, HostReader},
};

/// Idle members whose memory is read at most, to find the largest ones.
const LOOKED_AT: usize = 1000;

/// What each member had used when the window began.
#[derive(Debug)]
pub(super) struct Before {
    time: BootTime,
    /// CPU time, ns.
    used: KeyMap<Option<u64>>,
}

impl Before {
    /// As it is now, of these groups, which have just been read.
    pub(super) fn of(watch: &Watch, groups: &[GroupId]) -> Self {
        let members = groups.iter().flat_map(|group| watch.members(*group));
        let used = members.map(|key| (key, watch.cpu_time_of(key)));
        Self {
            time: HostReader::now(),
            used: used.collect(),
        }
    }

    /// Names those members of a service that have used the most CPU time since then, and then the largest ones; all of them where
    /// `all` are asked for.
    pub(super) fn name_busiest(&self, watch: &Watch, root: &Path, service: &mut ServiceReading, all: bool) {
        let now = HostReader::now();
        let members = service.reading.processes.iter();
        let mut busy: Vec<Busy> = members
            .map(|member| Busy {
                key: member.key,
                name: member.name.clone(),
                cpus: self.cpus(member.key, watch.cpu_time_of(member.key), now),
                rss: None,
                age: now.since(member.key.start),
            })
            .collect();
        let most = if all { usize::MAX } else { LISTED };
        let cpus = |busy: &Busy| busy.cpus.unwrap_or(0.0);
        busy.sort_by(|a, b| cpus(b).total_cmp(&cpus(a)));
        let working = busy.iter().filter(|busy| cpus(busy) > 0.0).count();
        let looked_at = if working >= most {
            most
        } else {
            LOOKED_AT.max(working)
        };
        for busy in busy.iter_mut().take(looked_at) {
            busy.rss = procfs::resident(root, busy.key);
        }
        busy.sort_by(|a, b| cpus(b).total_cmp(&cpus(a)).then(b.rss.cmp(&a.rss)));
        busy.truncate(most);
        service.extra.busiest = busy;
    }

    /// CPUs that a process has used since then, or since its start where that was later.
    fn cpus(&self, key: ProcessKey, used: Option<u64>, now: BootTime) -> Option<f64> {
        let before = match self.used.get(&key) {
            Some(before) => (*before)?,
            None if key.start >= self.time => 0,
            None => return None,
        };
        let elapsed = now.since(self.time.max(key.start)).as_nanos();
        (elapsed > 0).then(|| used.map(|used| used.saturating_sub(before) as f64 / elapsed as f64))?
    }
}
