//! The limits that the host sets to kevmon: open files above all, memory, and what a refused system call says about the others.
//!
//! Open files are shared out once, at the start. The soft limit is raised to the hard one. Of what the hard limit allows,
//! [`RESERVE`] files and half of the rest are left to receivers, the store, the spool, listeners and collectors. The other
//! half may hold caches: descriptors that are kept open between two collections because that is cheaper, and for no other
//! reason. A cache that finds no room reads without it. [`LEAST`] files are what kevmon starts with; with fewer it would
//! miss processes and not know it.

use std::{io, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files without which kevmon does not start. The eBPF source, the store and one receiver take 75.
pub const LEAST: u64 = 128;
/// Open files that caches never take.
const RESERVE: u64 = 256;
/// Caches shrink when fewer files than this are left.
const SPARE: u64 = 32;

/// Processes whose /proc files are kept open at most. Each takes two descriptors.
const PROCESSES: usize = 1024;
/// Links to iterators of one process that are kept open at most. Each takes one descriptor.
const LINKS: usize = 128;

/// Gives memory that is free back to the system, which the allocator would keep: after much was needed for once. Takes some
/// milliseconds.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer and touches free memory only (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The hard limit of open files is too low to work with.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit} (ulimit -Hn), and kevmon needs {LEAST} at least; raise it (systemd: LimitNOFILE=, \
     docker: --ulimit nofile=, else /etc/security/limits.conf)"
)]
pub struct TooFewFiles {
    limit: u64,
}

/// Raises the soft limit of open files to the hard one, and returns it.
///
/// # Errors
/// The limit is below [`LEAST`].
pub fn raise_open_files() -> Result<u64, TooFewFiles> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Raising the soft limit as far as the hard one needs no privilege; a seccomp filter may refuse it all the same.
    let _: rustix::io::Result<()> = setrlimit(Resource::Nofile, raised);
    let limit = open_file_limit();
    if limit < LEAST {
        return Err(TooFewFiles { limit });
    }
    Ok(limit)
}

/// Has a write beyond the limit of a file's size (ulimit -f) fail with EFBIG, as on a full disk: the default of SIGXFSZ is to
/// end the process (setrlimit(2), RLIMIT_FSIZE).
pub fn survive_file_size() {
    // SAFETY: a signal is ignored; no handler runs. Collectors get the defaults back before they start.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether writing so many bytes more to a file of this length exceeds the limit of a file's size.
pub fn is_at_file_size(length: u64, more: u64) -> bool {
    getrlimit(Resource::Fsize)
        .current
        .is_some_and(|limit| length.saturating_add(more) > limit)
}

/// The soft limit of open files.
pub fn open_file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What may be kept open between two collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShare {
    /// Processes whose directory and `statm` are kept open: two descriptors each.
    pub processes: usize,
    /// Links to iterators of one process: one descriptor each.
    pub links: usize,
}

impl CacheShare {
    /// Of so many open files in all.
    pub fn of(limit: u64) -> Self {
        let share = usize::try_from(limit.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX);
        let links = LINKS.min(share / 4);
        Self {
            processes: PROCESSES.min((share - links) / 2),
            links,
        }
    }

    /// Not more than `most` of either.
    pub fn at_most(self, most: Self) -> Self {
        Self {
            processes: self.processes.min(most.processes),
            links: self.links.min(most.links),
        }
    }

    /// The next smaller one.
    pub fn halved(self) -> Self {
        Self {
            processes: self.processes / 2,
            links: self.links / 2,
        }
    }
}

/// Whether so few open files are left that caches should make room. False where the kernel does not say how many are open
/// without a listing of them (before 6.2).
pub fn is_short_of_files(proc_root: &Path) -> bool {
    let Ok(open) = std::fs::metadata(proc_root.join("self/fd")) else {
        return false;
    };
    open.len() > 0 && open.len() + SPARE > open_file_limit()
}

/// True where no descriptor is left: to this process (EMFILE) or to the host (ENFILE).
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What to do about a refusal that comes from a limit or from who runs kevmon, not from what it asked for; `None` for any
/// other error.
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EMFILE => {
            "kevmon's limit of open files is reached (ulimit -Hn): raise it (systemd: LimitNOFILE=, docker: --ulimit nofile=)"
        }
        libc::ENFILE => {
            "the host's limit of open files is reached: raise fs.file-max, or find who holds them (lsof)"
        }
        libc::EFBIG => {
            "the limit of a file's size is reached (ulimit -f), of kevmon's or of the file system: raise it (systemd: LimitFSIZE=)"
        }
        libc::ENOSYS => {
            "the system call is not there: a seccomp filter refuses it, or the kernel is built without it"
        }
        libc::ENOMEM => {
            "no memory for it: see the memory limit of kevmon's control group (systemd: MemoryMax=), and before Linux 5.11 \
             the limit of locked memory (ulimit -l, systemd: LimitMEMLOCK=)"
        }
        libc::EADDRNOTAVAIL => {
            "no local address or port is left for it: see net.ipv4.ip_local_port_range and the host's addresses"
        }
        _ => return None,
    })
}

/// [`remedy`] for what starts a process or a thread.
pub fn start_remedy(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Some(
            "a limit of processes or threads is reached (ulimit -u, systemd: TasksMax=, kernel.threads-max)",
        ),
        _ => remedy(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_take_half_of_what_the_reserve_leaves() {
        for (limit, processes, links) in [
            (0, 0, 0),
            (LEAST, 0, 0),
            (RESERVE, 0, 0),
            (RESERVE + 8, 1, 1),
            (512, 48, 32),
            (1_024, 144, 96),
            (4_096, 896, 128),
            (20_000, PROCESSES, LINKS),
            (u64::MAX, PROCESSES, LINKS),
        ] {
            let share = CacheShare::of(limit);
            assert_eq!((share.processes, share.links), (processes, links), "{limit}");
            let taken = (2 * share.processes + share.links) as u64;
            assert!(taken <= limit.saturating_sub(RESERVE) / 2, "{limit}: {taken}");
        }
    }

    #[test]
    fn halving_ends_at_nothing() {
        let mut share = CacheShare::of(u64::MAX);
        for _ in 0..16 {
            share = share.halved();
        }
        assert_eq!(
            share,
            CacheShare {
                processes: 0,
                links: 0
            }
        );
    }

    #[test]
    fn a_refusal_by_a_limit_has_a_remedy_and_another_has_none() {
        for errno in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOSYS,
            libc::ENOMEM,
            libc::EFBIG,
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(remedy(&error).is_some(), "{error}");
            let files = matches!(errno, libc::EMFILE | libc::ENFILE);
            assert_eq!(is_out_of_files(&error), files, "{error}");
        }
        for errno in [libc::ENOENT, libc::EINVAL, libc::ECONNREFUSED, libc::EACCES] {
            assert_eq!(remedy(&io::Error::from_raw_os_error(errno)), None);
        }
        assert_eq!(remedy(&io::Error::other("x")), None);
        let full = io::Error::from_raw_os_error(libc::EAGAIN);
        assert_eq!(
            remedy(&full),
            None,
            "of a socket or a program it says something else"
        );
        assert!(start_remedy(&full).is_some());
    }
}
