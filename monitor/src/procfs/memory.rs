//! What a process's memory is made of.

use std::path::Path;

use super::open;
use crate::process::ProcessKey;

/// Sums of `/proc/PID/smaps_rollup` (Documentation/filesystems/proc.rst; 4.14 and newer), bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rollup {
    /// `Pss`
    pub pss: u64,
    /// `Swap`
    pub swap: u64,
    /// `Shared_Clean` and `Shared_Dirty`
    pub shared: u64,
    /// `Private_Dirty`
    pub private_dirty: u64,
}

/// Sums over processes; a process that has ended meanwhile adds nothing. The kernel walks all of a process's pages for this:
/// 4 µs for a small one, 130 µs for 64 MiB. `None` where one may not be read: CAP_SYS_PTRACE is asked for the processes of others.
pub fn rollup(root: &Path, keys: &[ProcessKey]) -> Option<Rollup> {
    let mut sums = Rollup::default();
    for &key in keys {
        let Ok(process) = open(root, key) else { continue };
        let maps = match process.smaps_rollup() {
            Ok(rollup) => rollup.memory_map_rollup,
            Err(procfs::ProcError::NotFound(_)) => continue,
            // ESRCH: it has no address space any more.
            Err(procfs::ProcError::Io(error, _)) if error.raw_os_error() == Some(libc::ESRCH) => continue,
            Err(_) => return None,
        };
        for map in maps {
            let of = |name: &str| map.extension.map.get(name).copied().unwrap_or(0);
            sums.pss += of("Pss");
            sums.swap += of("Swap");
            sums.shared += of("Shared_Clean") + of("Shared_Dirty");
            sums.private_dirty += of("Private_Dirty");
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ProcessKey {
        let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
        ProcessKey {
            tgid: crate::process::Tgid(std::process::id()),
            start: crate::process::BootTime(stat.starttime * ProcessKey::TICK_NANOS),
        }
    }

    #[test]
    fn memory_of_its_own_is_private_and_dirty() {
        // Other tests fill and free memory of this process meanwhile.
        let is_told = |_| {
            let before = rollup(Path::new("/proc"), &[own()]).expect("its own process is readable");
            let filled = std::hint::black_box(vec![7_u8; 32 << 20]);
            let after = rollup(Path::new("/proc"), &[own()]).expect("still");
            drop(filled);
            after.private_dirty >= before.private_dirty + (30 << 20) && after.pss >= before.pss + (30 << 20)
        };
        assert!((0..100).any(is_told));
    }

    #[test]
    fn who_has_ended_adds_nothing() {
        let key = ProcessKey {
            tgid: crate::process::Tgid(u32::MAX >> 1),
            start: crate::process::BootTime(1),
        };
        assert_eq!(rollup(Path::new("/proc"), &[key]), Some(Rollup::default()));
        assert_eq!(rollup(Path::new("/proc"), &[]), Some(Rollup::default()));
    }
}
