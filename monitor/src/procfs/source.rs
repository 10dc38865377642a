//! /proc as a source of its own, where eBPF is refused: what lives between two scans is not seen, and sums are as
//! coarse as /proc tells them. Whatever uses it says so (`kevmon.complete` = 0).

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use procfs::process::{Process, Stat};

use super::{Unread, directory, identity, open};
use crate::{
    health::{Health, Soft},
    process::{BootTime, Counter, Identity, ProcessKey, Sample, Seen, Tgid, Usage},
};

/// Scans /proc.
#[derive(Debug)]
pub struct ProcSource {
    root: PathBuf,
    /// Identities as of the last scan: they are read anew when `comm` has changed.
    identities: HashMap<ProcessKey, Identity>,
}

impl ProcSource {
    /// Below `root`, usually /proc.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            identities: HashMap::new(),
        }
    }

    /// Every process.
    ///
    /// # Errors
    /// The root cannot be listed.
    pub fn scan(&mut self, health: &mut Health) -> std::io::Result<Vec<Seen>> {
        let mut found: Vec<(Process, Stat)> = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let process = Process::new_with_root(directory(&self.root, Tgid(pid)));
            match process
                .and_then(|process| process.stat().map(|stat| (process, stat)))
                .map_err(Unread::from)
            {
                Ok(process) => found.push(process),
                Err(Unread::Gone) => health.count(Soft::Vanished),
                Err(Unread::Unreadable) => health.count(Soft::Unreadable),
            }
        }
        let starts: HashMap<i32, BootTime> = found.iter().map(|(_, stat)| (stat.pid, start(stat))).collect();
        let mut known = std::mem::take(&mut self.identities);
        let seen = found.into_iter().filter_map(|(process, stat)| {
            let key = ProcessKey {
                tgid: Tgid(u32::try_from(stat.pid).ok()?),
                start: start(&stat),
            };
            let parent = starts.get(&stat.ppid).and_then(|&start| {
                Some(ProcessKey {
                    tgid: Tgid(u32::try_from(stat.ppid).ok()?),
                    start,
                })
            });
            let names = match known.remove(&key) {
                Some(names) if names.comm == stat.comm => names,
                _ => identity::of(&process, stat.comm),
            };
            self.identities.insert(key, names.clone());
            Some(Seen {
                key,
                parent,
                sequence: None,
                identity: names,
                ended: matches!(stat.state, 'Z' | 'X'),
            })
        });
        Ok(seen.collect())
    }

    /// The usage of the processes in `wanted` that still exist.
    pub fn sample(&self, wanted: &HashSet<ProcessKey>, health: &mut Health) -> HashMap<ProcessKey, Sample> {
        let mut samples = HashMap::new();
        for &key in wanted {
            match read(&self.root, key, health) {
                Ok(sample) => {
                    samples.insert(key, sample);
                }
                Err(Unread::Gone) => health.count(Soft::Vanished),
                Err(Unread::Unreadable) => health.count(Soft::Unreadable),
            }
        }
        samples
    }
}

fn start(stat: &Stat) -> BootTime {
    BootTime(stat.starttime.saturating_mul(ProcessKey::TICK_NANOS))
}

fn read(root: &Path, key: ProcessKey, health: &mut Health) -> Result<Sample, Unread> {
    let process = open(root, key)?;
    let stat = process.stat()?;
    let user = stat.utime.saturating_mul(ProcessKey::TICK_NANOS);
    let system = stat.stime.saturating_mul(ProcessKey::TICK_NANOS);
    let usage = Usage::UNKNOWN
        .with(Counter::Runtime, Some(user.saturating_add(system)))
        .with(Counter::User, Some(user))
        .with(Counter::System, Some(system))
        .with(Counter::MinorFaults, Some(stat.minflt))
        .with(Counter::MajorFaults, Some(stat.majflt));
    Ok(Sample {
        key,
        usage: add_threads(&process, usage, health),
        threads: u64::try_from(stat.num_threads).ok(),
        address_space: None,
        live: !matches!(stat.state, 'Z' | 'X'),
    })
}

/// Switches and run-queue wait, which /proc tells per thread only, and bytes: the living threads' sums. What ended
/// threads had is not to be had here, so these sums are short by it. (The process's own `io` would have their bytes,
/// but those of its reaped children too.)
fn add_threads(process: &Process, usage: Usage, health: &mut Health) -> Usage {
    let Ok(threads) = process.tasks() else {
        return usage;
    };
    let mut sums = Usage::ZERO;
    for thread in threads.flatten() {
        let Ok(status) = thread.status() else { continue }; // it has ended meanwhile
        // Needs the same user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.
        let io = thread.io().inspect_err(|_| health.count(Soft::Unreadable)).ok();
        let own = Usage::ZERO
            .with(Counter::Voluntary, status.voluntary_ctxt_switches)
            .with(Counter::Involuntary, status.nonvoluntary_ctxt_switches)
            // Absent without CONFIG_SCHED_INFO.
            .with(
                Counter::RunDelay,
                thread.schedstat().ok().map(|schedstat| schedstat.run_delay),
            )
            .with(Counter::ReadBytes, io.as_ref().map(|io| io.read_bytes))
            .with(Counter::WriteBytes, io.as_ref().map(|io| io.write_bytes));
        sums = sums.plus(&own);
    }
    [
        Counter::Voluntary,
        Counter::Involuntary,
        Counter::RunDelay,
        Counter::ReadBytes,
        Counter::WriteBytes,
    ]
    .into_iter()
    .fold(usage, |usage, counter| usage.with(counter, sums.get(counter)))
}
