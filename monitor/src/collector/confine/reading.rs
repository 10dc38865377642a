//! Reads one file for a collector: a regular one, through no symbolic link, of bounded size, and of a process only while it
//! is the same process.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::{FileOrder, FileRead, Refusal};
use crate::plugin::collector::{FILE_BYTES, PROCESS_FILES};

/// Reads what is ordered.
pub(super) fn read(order: &FileOrder) -> FileRead {
    FileRead {
        process: order.process,
        content: match order.process {
            Some((pid, start)) => of_process(&order.proc.join(pid.to_string()), &order.path, start),
            None => content(CWD, &order.path),
        },
    }
}

fn refusal(reason: impl Into<String>) -> Refusal {
    Refusal {
        vanished: false,
        reason: reason.into(),
    }
}

fn of_process(folder: &Path, file: &Path, start: u64) -> Result<String, Refusal> {
    if !PROCESS_FILES.iter().any(|allowed| Path::new(allowed) == file) {
        return Err(refusal("is not among the files of a process that may be read"));
    }
    let vanished = || Refusal {
        vanished: true,
        reason: "the process is gone".to_owned(),
    };
    // Held open, the directory stays this process's, whoever gets its pid.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(|_| vanished())?;
    if started(&folder) != Some(start) {
        return Err(vanished());
    }
    let content = content(&folder, file);
    if started(&folder) == Some(start) {
        content
    } else {
        Err(vanished())
    }
}

/// Field 22 of `stat`, in clock ticks since boot (proc_pid_stat(5)).
fn started(folder: &OwnedFd) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = openat2(folder, "stat", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let mut text = String::new();
    File::from(stat).take(4096).read_to_string(&mut text).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn content(at: impl std::os::fd::AsFd, path: &Path) -> Result<String, Refusal> {
    // A FIFO would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(
        at,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    );
    let file = file.map_err(|error| match error {
        rustix::io::Errno::LOOP => refusal("a symbolic link is on the way to it"),
        rustix::io::Errno::SRCH => Refusal {
            vanished: true,
            reason: "the process is gone".to_owned(),
        },
        other => refusal(io::Error::from(other).to_string()),
    })?;
    let kind = fstat(&file).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::RegularFile) {
        return Err(refusal("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal {
            vanished: error.raw_os_error() == Some(libc::ESRCH),
            reason: error.to_string(),
        })?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(refusal(format!("is longer than {} KiB", FILE_BYTES >> 10)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
