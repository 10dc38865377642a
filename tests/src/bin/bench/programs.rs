//! What the kernel's own statistics say of kevmon's eBPF programs: how often they ran, and for how long.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{FromRawFd, OwnedFd},
};

/// Keeps the kernel's run-time statistics on until it is dropped, also by a kill (bpf(2), BPF_ENABLE_STATS; Linux
/// 5.8): what `sysctl kernel.bpf_stats_enabled=1` does, without touching the setting. It adds two readings of a clock
/// to each run, some of which the figures hold.
pub(crate) struct RunTimeStatistics(#[expect(dead_code, reason = "held open")] OwnedFd);

/// Sums over programs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Runs {
    /// Nanoseconds.
    pub(crate) time: u64,
    pub(crate) count: u64,
}

impl RunTimeStatistics {
    /// Switches them on.
    pub(crate) fn enable() -> Self {
        const BPF_ENABLE_STATS: i32 = 32;
        // The one member of the union's struct, `type`: BPF_STATS_RUN_TIME is 0.
        let kind = 0_u32;
        // SAFETY: the command reads four bytes, which live across the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_ENABLE_STATS,
                &raw const kind,
                size_of_val(&kind),
            )
        };
        let fd = i32::try_from(fd).expect("a descriptor");
        assert!(
            fd >= 0,
            "missing prerequisite: bpf(BPF_ENABLE_STATS): {}",
            std::io::Error::last_os_error()
        );
        // SAFETY: a descriptor that the kernel has just made and nobody else owns.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// The programs that process `pid` holds, each once, since they were loaded.
pub(crate) fn of(pid: u32) -> Runs {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("kevmon runs") {
        let text = fs::read_to_string(entry.expect("kevmon runs").path()).unwrap_or_default();
        let value = |name: &str| -> Option<u64> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line?.trim().parse().ok()
        };
        // A link tells the id of its program too, but not its runs.
        if let (Some(id), Some(time), Some(count)) =
            (value("prog_id"), value("run_time_ns"), value("run_cnt"))
        {
            programs.insert(id, Runs { time, count });
        }
    }
    assert!(
        !programs.is_empty(),
        "missing prerequisite: run_time_ns in /proc/{pid}/fdinfo (Linux 5.1)"
    );
    programs.values().fold(Runs::default(), |sum, runs| Runs {
        time: sum.time + runs.time,
        count: sum.count + runs.count,
    })
}
