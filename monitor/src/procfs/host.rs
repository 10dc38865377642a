//! Facts of the host.

use std::path::PathBuf;

use procfs::{FromRead, LoadAverage, Meminfo};

use crate::process::{BootTime, Host};

/// Reads them.
#[derive(Debug, Clone)]
pub struct HostReader {
    root: PathBuf,
    host: Host,
}

impl HostReader {
    /// Below `root`, usually /proc.
    pub fn new(root: PathBuf) -> Self {
        let host = Host {
            memory: Meminfo::from_file(root.join("meminfo"))
                .ok()
                .map(|memory| memory.mem_total),
            cpus: online_cpus(),
        };
        Self { root, host }
    }

    /// Memory and CPUs, as they were when kevmon started: reading them costs as much as several processes.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Number of tasks (threads) on the host; `loadavg` tells it without a walk.
    pub fn tasks(&self) -> Option<usize> {
        LoadAverage::from_file(self.root.join("loadavg"))
            .ok()
            .map(|load| load.max as usize)
    }

    /// Resident set (bytes) and threads of kevmon itself, where they can be read.
    pub fn own(&self) -> (Option<u64>, Option<u64>) {
        let Ok(me) = procfs::process::Process::new_with_root(self.root.join("self")) else {
            return (None, None);
        };
        let rss = me
            .statm()
            .ok()
            .map(|statm| statm.resident * rustix::param::page_size() as u64);
        let threads = me
            .stat()
            .ok()
            .and_then(|stat| u64::try_from(stat.num_threads).ok());
        (rss, threads)
    }

    /// Now, CLOCK_BOOTTIME.
    pub fn now() -> BootTime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootTime(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
    }
}

/// The host's CPUs, whatever part of them kevmon itself may use.
fn online_cpus() -> u64 {
    // SAFETY: takes no pointer (sysconf(3)).
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(online).unwrap_or(0).max(1)
}
