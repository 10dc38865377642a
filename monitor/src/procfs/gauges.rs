//! Memory, descriptors and threads of live members: the values of this moment.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    path::{Path, PathBuf},
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
        tell_shared_spaces(&mut gauges);
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
        let mut statm = process.statm()?;
        let other;
        let mut process = process;
        // A leader that ended before its threads has neither memory nor descriptors; the process has.
        if statm.size == 0
            && sample.is_some_and(|sample| sample.address_space.is_some())
            && let Some(thread) = living_thread(&self.root, process)
        {
            other = thread;
            process = &other;
            statm = process.statm()?;
        }
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
            peak_rss: known(peak_rss(process)),
            address_space: sample.and_then(|sample| sample.address_space),
        })
    }
}

/// A thread of the process that still has memory, opened like a process of its own.
fn living_thread(root: &Path, process: &Process) -> Option<Process> {
    let tasks = root.join(process.pid().to_string()).join("task");
    let threads = process.tasks().ok()?.flatten();
    threads
        .filter_map(|thread| Process::new_with_root(tasks.join(thread.tid.to_string())).ok())
        .find(|thread| thread.statm().is_ok_and(|statm| statm.size > 0))
}

/// Processes of equal size that are asked for at most: more than this are one program started many times, and their
/// number squared is too much to ask.
const ASKED: usize = 32;

/// Gives processes that share their memory a common address space, where the source did not tell: /proc does not.
/// Sharers have equal sizes, so only equal ones are asked for (kcmp(2), which takes the right to trace both).
fn tell_shared_spaces(gauges: &mut HashMap<ProcessKey, Gauges>) {
    let mut by_size: HashMap<(Option<u64>, Option<u64>), Vec<ProcessKey>> = HashMap::new();
    for (&key, gauge) in gauges
        .iter()
        .filter(|(_, gauge)| gauge.address_space.is_none() && gauge.vms > Some(0))
    {
        by_size.entry((gauge.rss, gauge.vms)).or_default().push(key);
    }
    for same_size in by_size
        .into_values()
        .filter(|keys| (2..=ASKED).contains(&keys.len()))
    {
        let mut spaces: Vec<ProcessKey> = Vec::new();
        for key in same_size {
            let space = spaces.iter().copied().find(|&space| share_memory(space, key));
            if space.is_none() {
                spaces.push(key);
            }
            if let Some(gauge) = gauges.get_mut(&key) {
                gauge.address_space = Some(u64::from(space.unwrap_or(key).tgid.0));
            }
        }
    }
}

fn share_memory(one: ProcessKey, other: ProcessKey) -> bool {
    /// `enum kcmp_type`, include/uapi/linux/kcmp.h.
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one.tgid.0, other.tgid.0, KCMP_VM, 0, 0) };
    order == 0
}

fn fd_count(process: &Process, by_size: bool) -> Result<Option<u64>, Unread> {
    if by_size {
        let directory =
            process.open_relative_flags("fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        return Ok(directory.metadata().ok().map(|directory| directory.len()));
    }
    Ok(Some(process.fd_count()? as u64))
}

/// `VmHWM` of `status`, alone: taking the whole file apart costs five times as much. Kernel threads and zombies have
/// no such line.
fn peak_rss(process: &Process) -> Result<Option<u64>, Unread> {
    let mut text = [0; 4096];
    let read = process
        .open_relative("status")?
        .read(&mut text)
        .map_err(|_| Unread::Unreadable)?;
    Ok(vm_hwm(&text[..read]))
}

/// Bytes; the file tells kibibytes (fs/proc/task_mmu.c, task_mem).
fn vm_hwm(status: &[u8]) -> Option<u64> {
    let line = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"VmHWM:"))?;
    let kibibytes = std::str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim();
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_or_absent() {
        let status = b"Name:\tapp\nVmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1000 kB\n";
        assert_eq!(vm_hwm(status), Some(1234 * 1024));
        for other in [&b"Name:\tkthreadd\n"[..], b"VmHWM:\t x kB\n", b"VmHWM:\t12", b""] {
            assert_eq!(vm_hwm(other), None, "{other:?}");
        }
    }

    #[test]
    fn memory_shared_with_another_process_is_told() {
        let me = ProcessKey {
            tgid: crate::process::Tgid(std::process::id()),
            start: crate::process::BootTime(1),
        };
        let same = ProcessKey {
            start: crate::process::BootTime(2),
            ..me
        };
        let init = ProcessKey {
            tgid: crate::process::Tgid(1),
            start: crate::process::BootTime(3),
        };
        let gauge = Gauges {
            rss: Some(4096),
            vms: Some(8192),
            ..Gauges::default()
        };
        let mut gauges = HashMap::from([(me, gauge), (same, gauge), (init, gauge)]);
        tell_shared_spaces(&mut gauges);
        assert_eq!(gauges[&me].address_space, gauges[&same].address_space);
        assert_ne!(gauges[&me].address_space, gauges[&init].address_space);
    }

    #[test]
    fn a_pid_that_is_another_processs_is_gone() {
        let mut reader = GaugeReader::new(PathBuf::from("/proc"));
        let mut health = Health::default();
        let me = crate::process::Tgid(std::process::id());
        let never = ProcessKey {
            tgid: me,
            start: crate::process::BootTime(10),
        };
        assert!(reader.read(&[never], &HashMap::new(), &mut health).is_empty());
        assert_eq!(health.get(Soft::Vanished), 1);
    }
}
