//! Facts of the host.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use procfs::{FromRead, LoadAverage, Meminfo};

use crate::process::{BootTime, Host, ProcessKey};

/// Memory and CPUs are read again after this long: reading them costs as much as several processes.
const FRESH: Duration = Duration::from_secs(10);

/// kevmon as a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// Its resident set, bytes.
    pub rss: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// CPU time in user mode and in the kernel, ns, to the clock tick.
    pub cpu: Option<(u64, u64)>,
    /// Its pid, …
    pub pid: Option<u32>,
    /// … and when it started, to the clock tick.
    pub started: Option<BootTime>,
}

/// Reads them.
#[derive(Debug, Clone)]
pub struct HostReader {
    root: PathBuf,
    host: Host,
    read_at: Instant,
}

impl HostReader {
    /// Below `root`, usually /proc.
    pub fn new(root: PathBuf) -> Self {
        let unread = Host {
            memory: None,
            cpus: 1,
        };
        let mut reader = Self {
            root,
            host: unread,
            read_at: Instant::now(),
        };
        reader.read_again();
        reader
    }

    /// Memory and CPUs, as they were 10 s ago at most.
    pub fn host(&mut self) -> Host {
        if self.read_at.elapsed() >= FRESH {
            self.read_again();
        }
        self.host
    }

    /// Reads memory and CPUs again now. What cannot be read any more keeps its last value.
    pub fn read_again(&mut self) {
        self.read_at = Instant::now();
        let memory = Meminfo::from_file(self.root.join("meminfo")).ok();
        let memory = memory.map(|memory| memory.mem_total).or_else(physical_memory);
        self.host = Host {
            memory: memory.or(self.host.memory),
            cpus: online_cpus().unwrap_or(self.host.cpus),
        };
    }

    /// The pid that was given out last, to a process or thread: where it is the same as before, nothing has started.
    pub fn last_pid(&self) -> Option<u32> {
        LoadAverage::from_file(self.root.join("loadavg"))
            .ok()
            .map(|load| load.latest_pid)
    }

    /// Number of tasks (threads) on the host; `loadavg` tells it without a walk.
    pub fn tasks(&self) -> Option<usize> {
        LoadAverage::from_file(self.root.join("loadavg"))
            .ok()
            .map(|load| load.max as usize)
    }

    /// kevmon itself, as far as it can be read.
    pub fn own(&self) -> Own {
        let Ok(me) = procfs::process::Process::new_with_root(self.root.join("self")) else {
            return Own::default();
        };
        let rss = me
            .statm()
            .ok()
            .and_then(|statm| statm.resident.checked_mul(rustix::param::page_size() as u64));
        let stat = me.stat().ok();
        let nanos = |ticks: u64| ticks.checked_mul(ProcessKey::TICK_NANOS);
        Own {
            rss,
            threads: stat
                .as_ref()
                .and_then(|stat| u64::try_from(stat.num_threads).ok()),
            cpu: stat
                .as_ref()
                .and_then(|stat| nanos(stat.utime).zip(nanos(stat.stime))),
            pid: stat.as_ref().and_then(|stat| u32::try_from(stat.pid).ok()),
            started: stat.as_ref().and_then(|stat| nanos(stat.starttime)).map(BootTime),
        }
    }

    /// Now, CLOCK_BOOTTIME.
    pub fn now() -> BootTime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootTime(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
    }
}

/// The host's memory, bytes: what `MemTotal` of /proc/meminfo is made of (fs/proc/meminfo.c, Linux 6.12), which a /proc mounted
/// with subset=pid does not show.
fn physical_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    info.totalram
        .checked_mul(info.mem_unit.into())
        .filter(|&bytes| bytes > 0)
}

/// The host's CPUs, whatever part of them kevmon itself may use.
fn online_cpus() -> Option<u64> {
    // SAFETY: takes no pointer (sysconf(3)).
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(online).ok().filter(|&online| online > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_same_without_meminfo() {
        let shown = HostReader::new(PathBuf::from("/proc")).host();
        let hidden = HostReader::new(PathBuf::from("/nonexistent")).host();
        assert!(shown.memory > Some(0));
        assert_eq!(shown, hidden);
    }
}
