//! Memory, descriptors and threads of live members: the values of this moment.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use procfs::process::Process;
use rustix::fs::OFlags;

use super::{Unread, open};
use crate::{
    health::{Health, Soft},
    process::{Gauges, ProcessKey, Sample},
};

/// Directory descriptors kept open at most: reading through one costs half and cannot meet a reused pid.
const KEPT: usize = 1024;

/// Reads gauges; keeps the processes' directories open between ticks.
#[derive(Debug)]
pub struct GaugeReader {
    root: PathBuf,
    page_size: u64,
    /// The kernel tells the number of descriptors as the size of the directory (6.2 and newer).
    fd_count_is_size: bool,
    kept: HashMap<ProcessKey, Process>,
}

impl GaugeReader {
    /// Below `root`, usually /proc.
    pub fn new(root: PathBuf) -> Self {
        Self {
            // This process surely has descriptors: a size of zero says that sizes tell nothing.
            fd_count_is_size: std::fs::metadata(root.join("self/fd"))
                .is_ok_and(|directory| directory.len() > 0),
            root,
            page_size: rustix::param::page_size() as u64,
            kept: HashMap::new(),
        }
    }

    /// The gauges of those of `members` that still live. Threads and address space come from the samples where
    /// they hold them.
    pub fn read(
        &mut self,
        members: &[ProcessKey],
        samples: &HashMap<ProcessKey, Sample>,
        health: &mut Health,
    ) -> HashMap<ProcessKey, Gauges> {
        let mut gauges = HashMap::with_capacity(members.len());
        for &key in members {
            match self.read_one(key, samples.get(&key), health) {
                Ok(read) => {
                    gauges.insert(key, read);
                }
                Err(Unread::Gone) => health.count(Soft::Vanished),
                Err(Unread::Unreadable) => {
                    health.count(Soft::Unreadable);
                    gauges.insert(key, Gauges::default());
                }
            }
        }
        gauges
    }

    /// Closes the directories of processes that are no longer members of anything.
    pub fn retain(&mut self, tracked: &HashSet<ProcessKey>) {
        self.kept.retain(|key, _| tracked.contains(key));
    }

    fn read_one(
        &mut self,
        key: ProcessKey,
        sample: Option<&Sample>,
        health: &mut Health,
    ) -> Result<Gauges, Unread> {
        let opened;
        let process = if let Some(kept) = self.kept.get(&key) {
            kept
        } else {
            opened = open(&self.root, key)?;
            if self.kept.len() < KEPT {
                self.kept.entry(key).or_insert(opened)
            } else {
                &opened
            }
        };
        let statm = process.statm()?;
        let mut known = |value: Result<Option<u64>, Unread>| match value {
            Ok(value) => value,
            Err(_) => {
                health.count(Soft::Unreadable);
                None
            }
        };
        Ok(Gauges {
            rss: Some(statm.resident.saturating_mul(self.page_size)),
            vms: Some(statm.size.saturating_mul(self.page_size)),
            fds: known(fd_count(process, self.fd_count_is_size)),
            threads: match sample.and_then(|sample| sample.threads) {
                Some(threads) => Some(threads),
                None => known(
                    process
                        .stat()
                        .map(|stat| u64::try_from(stat.num_threads).ok())
                        .map_err(Unread::from),
                ),
            },
            peak_rss: known(
                process
                    .status()
                    // Kernel threads and zombies have no such line.
                    .map(|status| status.vmhwm.map(|kibibytes| kibibytes.saturating_mul(1024)))
                    .map_err(Unread::from),
            ),
            address_space: sample.and_then(|sample| sample.address_space),
        })
    }
}

fn fd_count(process: &Process, by_size: bool) -> Result<Option<u64>, Unread> {
    if by_size {
        let directory =
            process.open_relative_flags("fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        return Ok(directory.metadata().ok().map(|directory| directory.len()));
    }
    Ok(Some(process.fd_count()? as u64))
}
