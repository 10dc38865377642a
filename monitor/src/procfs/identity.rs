//! The names of a process as /proc tells them.

use std::{
    ffi::OsStr,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use kevmon_common::ARGV_BOUND;
use procfs::process::{Process, Stat};
use rustix::fs::OFlags;

use super::{Unread, living_thread, open};
use crate::process::{Arguments, COMM_BYTES, Identity, ProcessKey, executable_name};

/// The names of the process `key`.
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn identity(root: &Path, key: ProcessKey) -> Result<Identity, Unread> {
    let process = open(root, key)?;
    let stat = process.stat()?;
    Ok(of(root, &process, &stat))
}

/// The arguments of the process `key`: those that it was started with, or the title that it wrote over them, which may be
/// nothing. `None` where it has no text at the moment, and had or will have one: it is on its way out and has given its
/// memory up, or is just executing a program, whose arguments are not in place yet (fs/binfmt_elf.c, create_elf_tables).
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn arguments(root: &Path, key: ProcessKey) -> Result<Option<Arguments>, Unread> {
    read_arguments(&open(root, key)?)
}

/// The path of the file that the process `key` executes, in its own mount namespace: `None` for kernel threads, for a memfd, for
/// a process that is gone, and for other users' without CAP_SYS_PTRACE.
pub fn executable_path(root: &Path, key: ProcessKey) -> Option<String> {
    let process = open(root, key).ok()?;
    let link = process.exe().ok()?;
    let (path, is_gone) = path_in(&link, || is_still_there(&process, &link));
    let is_file = path.starts_with(b"/") && !(is_gone && path.starts_with(b"/memfd:"));
    is_file.then(|| String::from_utf8_lossy(path).into_owned())
}

/// The names of an opened process, of which `stat` has been read.
pub(super) fn of(root: &Path, process: &Process, stat: &Stat) -> Identity {
    let mut identity = Identity {
        comm: comm(stat),
        ..Identity::default()
    };
    if is_kernel_thread(stat) {
        return identity;
    }
    // The link needs CAP_SYS_PTRACE for other users' processes; argv[0] then has to do.
    identity.exe = executable(process).unwrap_or_default();
    identity.set_arguments(present_arguments(process));
    // A leader that has ended before its threads has given up its memory, and with it its executable and arguments.
    if identity.exe.is_empty()
        && identity.argv.is_empty()
        && stat.num_threads > 1
        && let Some(thread) = living_thread(root, process)
    {
        identity.exe = executable(&thread).unwrap_or_default();
        identity.set_arguments(present_arguments(&thread));
    }
    identity
}

/// Whether it is one of the kernel's own threads, which have neither an executable nor arguments.
pub(super) fn is_kernel_thread(stat: &Stat) -> bool {
    /// `PF_KTHREAD` (include/linux/sched.h, all versions).
    const PF_KTHREAD: u32 = 0x0020_0000;
    stat.flags & PF_KTHREAD != 0
}

/// `comm`, as the kernel side tells it. Of a kernel thread /proc tells more: its name in full, and what a worker works on
/// at the moment (fs/proc/array.c, proc_task_name; kernel/workqueue.c, wq_worker_comm).
pub(super) fn comm(stat: &Stat) -> String {
    let comm = stat.comm.as_str();
    if !is_kernel_thread(stat) {
        return comm.to_owned();
    }
    let work = comm
        .strip_prefix("kworker/")
        .and_then(|_| comm.find(':'))
        .and_then(|colon| comm[colon..].find(['+', '-']).map(|at| colon + at));
    let name = &comm[..work.unwrap_or(comm.len())];
    name[..name.floor_char_boundary(COMM_BYTES)].to_owned()
}

/// The name of the file that the process executes.
pub(super) fn executable(process: &Process) -> Option<String> {
    let link = process.exe().ok()?;
    Some(executable_in(&link, || is_still_there(process, &link)))
}

/// The path in what the link `exe` shows, and whether the file is gone from there. The kernel adds a remark when it has been
/// removed (d_path); a file may have a name that ends like that, which `is_there` finds out.
fn path_in(link: &Path, is_there: impl FnOnce() -> bool) -> (&[u8], bool) {
    const REMARK: &[u8] = b" (deleted)";
    let shown = link.as_os_str().as_bytes();
    match shown.strip_suffix(REMARK) {
        Some(path) if !is_there() => (path, true),
        _ => (shown, false),
    }
}

/// The name in what the link `exe` shows.
fn executable_in(link: &Path, is_there: impl FnOnce() -> bool) -> String {
    let (path, is_gone) = path_in(link, is_there);
    // A memfd has no folder, and may have slashes in its name.
    let name = match path.strip_prefix(b"/") {
        Some(name) if is_gone && name.starts_with(b"memfd:") => name,
        _ => path.rsplit(|&byte| byte == b'/').next().unwrap_or(path),
    };
    executable_name(&String::from_utf8_lossy(name)).to_owned()
}

/// Whether the path that the link shows leads to the file itself, in the process's own root.
fn is_still_there(process: &Process, link: &Path) -> bool {
    let file = |path: &Path| {
        let file = process
            .open_relative_flags(path, OFlags::PATH | OFlags::CLOEXEC)
            .ok()?;
        let file = file.metadata().ok()?;
        Some((file.dev(), file.ino()))
    };
    let in_root: PathBuf = [
        OsStr::new("root"),
        link.strip_prefix("/").unwrap_or(link).as_os_str(),
    ]
    .iter()
    .collect();
    let executed = file(Path::new("exe"));
    executed.is_some() && executed == file(&in_root)
}

/// The arguments of an opened process; unknown where they cannot be had.
fn present_arguments(process: &Process) -> Arguments {
    match read_arguments(process) {
        Ok(Some(arguments)) => arguments,
        Ok(None) | Err(_) => Arguments::unknown(),
    }
}

/// The same as [`arguments`], of an opened process.
pub(super) fn read_arguments(process: &Process) -> Result<Option<Arguments>, Unread> {
    let file = process.open_relative("cmdline")?;
    let mut bytes = Vec::new();
    // One byte more than is kept tells that there is more.
    file.take(ARGV_BOUND as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Unread::from_io)?;
    if bytes.is_empty() {
        return Ok(has_none(&process.stat()?).then(Arguments::default));
    }
    let is_cut = bytes.len() > ARGV_BOUND;
    bytes.truncate(ARGV_BOUND);
    Ok(Some(Arguments::parse(&bytes, is_cut)))
}

/// Whether a process whose text is empty has no arguments: a kernel thread, or one that was executed with none at all
/// (execve(2); since Linux 5.18 it has an empty one). What was written over with NULs is not empty here.
fn has_none(stat: &Stat) -> bool {
    is_kernel_thread(stat) || (stat.arg_start.is_some_and(|at| at > 0) && stat.arg_start == stat.arg_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_no_part_of_a_name() {
        for (link, is_there, name) in [
            ("/usr/sbin/nginx", true, "nginx"),
            ("/usr/sbin/nginx", false, "nginx"),
            ("/usr/sbin/nginx (deleted)", false, "nginx"),
            ("/opt/old (deleted)", true, "old (deleted)"),
            ("/opt/old (deleted) (deleted)", false, "old (deleted)"),
            ("/opt/two words\nlines", true, "two words\nlines"),
            ("/opt/3", true, "3"),
            ("/opt/exe (deleted)", false, "exe"),
            ("/memfd:my prog (deleted)", false, "my prog"),
            ("/memfd: (deleted)", false, "memfd"),
            (
                "/memfd:runc_cloned:/proc/self/exe (deleted)",
                false,
                "runc_cloned:/proc/self/exe",
            ),
            ("/memfd:x (deleted) (deleted)", false, "x (deleted)"),
            ("/opt/memfd:x/app", true, "app"),
            ("app", true, "app"),
        ] {
            assert_eq!(executable_in(Path::new(link), || is_there), name, "{link}");
        }
        let invalid = Path::new(OsStr::from_bytes(b"/opt/a\xff"));
        assert_eq!(executable_in(invalid, || true), "a\u{fffd}");
    }
}
