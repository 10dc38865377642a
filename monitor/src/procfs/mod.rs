//! /proc readers: what the kernel side does not give, and a source of its own where eBPF is refused. The root is
//! injectable. Layouts: proc(5); Documentation/filesystems/proc.rst.

mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gauges;
mod hidden;
mod host;
mod identity;
mod memory;
mod pressure;
mod source;
mod text;

pub use facts::facts;
pub use gauges::GaugeReader;
pub use hidden::Hidden;
pub use host::{HostReader, Own};
pub use identity::{arguments, executable_path, identity};
pub use memory::rollup;
pub use pressure::{common_cgroup, contention};
pub use source::ProcSource;
pub use text::TextReader;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use procfs::{
    ProcError,
    process::{Process, Stat},
};

use crate::{
    limits,
    process::{BootTime, ProcessKey, Tgid},
};

/// Why a process's file gave nothing.
#[derive(Debug)]
pub enum Unread {
    /// The process is gone, or its pid is another process's now.
    Gone,
    /// It may not be read, or makes no sense.
    Unreadable,
    /// No file descriptor is left to read it with: this says nothing about the process.
    OutOfFiles(std::io::Error),
}

impl Unread {
    /// Of a read through a descriptor that was opened before: the process may have ended since.
    fn from_io(error: std::io::Error) -> Self {
        if error.raw_os_error() == Some(libc::ESRCH) {
            Self::Gone
        } else if limits::is_out_of_files(&error) {
            Self::OutOfFiles(error)
        } else {
            Self::Unreadable
        }
    }
}

impl From<ProcError> for Unread {
    fn from(error: ProcError) -> Self {
        match error {
            ProcError::NotFound(_) => Self::Gone,
            ProcError::Io(error, _) => Self::from_io(error),
            _ => Self::Unreadable,
        }
    }
}

/// Opens a process's directory and makes sure that it is this process's.
fn open(root: &Path, key: ProcessKey) -> Result<Process, Unread> {
    let process = Process::new_with_root(directory(root, key.tgid))?;
    let start = process.stat()?.starttime;
    let found = ProcessKey {
        tgid: key.tgid,
        start: BootTime(start.saturating_mul(ProcessKey::TICK_NANOS)),
    };
    if found.same_process(key) {
        Ok(process)
    } else {
        Err(Unread::Gone)
    }
}

/// Whether any thread runs. The state is the leader's alone, which may have left before the others (pthread_exit(3)).
fn is_live(process: &Process, stat: &Stat) -> bool {
    /// Zombie, dead.
    const ENDED: [char; 3] = ['Z', 'X', 'x'];
    if !ENDED.contains(&stat.state) {
        return true;
    }
    // A zombie leader counts as one until it is reaped.
    let threads = (stat.num_threads > 1).then(|| process.tasks().ok()).flatten();
    threads.is_some_and(|threads| {
        threads
            .flatten()
            .filter_map(|thread| thread.stat().ok())
            .any(|thread| !ENDED.contains(&thread.state))
    })
}

/// A thread of the process that still has memory, opened like a process of its own.
fn living_thread(root: &Path, process: &Process) -> Option<Process> {
    let tasks = directory(root, Tgid(u32::try_from(process.pid()).ok()?)).join("task");
    let threads = process.tasks().ok()?.flatten();
    threads
        .filter_map(|thread| Process::new_with_root(tasks.join(thread.tid.to_string())).ok())
        .find(|thread| thread.statm().is_ok_and(|statm| statm.size > 0))
}

/// The parent of the process `key`, where both live.
pub fn parent(root: &Path, key: ProcessKey) -> Option<ProcessKey> {
    let parent = open(root, key).ok()?.stat().ok()?.ppid;
    let tgid = Tgid(u32::try_from(parent).ok().filter(|&parent| parent > 0)?);
    let stat = Process::new_with_root(directory(root, tgid)).ok()?.stat().ok()?;
    Some(ProcessKey {
        tgid,
        start: BootTime(stat.starttime.saturating_mul(ProcessKey::TICK_NANOS)),
    })
}

/// The key of the process that has this pid now.
pub fn key_of(root: &Path, tgid: Tgid) -> Option<ProcessKey> {
    let stat = Process::new_with_root(directory(root, tgid)).ok()?.stat().ok()?;
    Some(ProcessKey {
        tgid,
        start: BootTime(stat.starttime.saturating_mul(ProcessKey::TICK_NANOS)),
    })
}

/// Every process that descends from `key`.
pub fn descendants(root: &Path, key: ProcessKey) -> Vec<ProcessKey> {
    let mut children: HashMap<Tgid, Vec<ProcessKey>> = HashMap::new();
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries {
        let Some(tgid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let tgid = Tgid(tgid);
        let process = Process::new_with_root(directory(root, tgid));
        if let Ok(stat) = process.and_then(|process| process.stat())
            && let Ok(parent) = u32::try_from(stat.ppid)
        {
            let start = BootTime(stat.starttime.saturating_mul(ProcessKey::TICK_NANOS));
            children
                .entry(Tgid(parent))
                .or_default()
                .push(ProcessKey { tgid, start });
        }
    }
    let mut found = Vec::new();
    let mut open = vec![key.tgid];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).into_iter().flatten() {
            open.push(child.tgid);
            found.push(child);
        }
    }
    found
}

/// The resident set of the process `key`, bytes; `None` where it is gone or cannot be read.
pub fn resident(root: &Path, key: ProcessKey) -> Option<u64> {
    let pages = open(root, key).ok()?.statm().ok()?.resident;
    pages.checked_mul(rustix::param::page_size() as u64)
}

fn directory(root: &Path, tgid: Tgid) -> PathBuf {
    root.join(tgid.to_string())
}
