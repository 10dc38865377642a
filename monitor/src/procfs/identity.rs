//! The names of a process as /proc tells them.

use std::{
    ffi::OsStr,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use procfs::process::{Process, Stat};
use rustix::fs::OFlags;

use super::{Unread, living_thread, open};
use crate::process::{Identity, ProcessKey, executable_name};

/// How much of a command line is kept.
const ARGV_BYTES: u64 = 4096;

/// The names of the process `key`.
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn identity(root: &Path, key: ProcessKey) -> Result<Identity, Unread> {
    let process = open(root, key)?;
    let stat = process.stat()?;
    Ok(of(root, &process, &stat))
}

/// The argument vector of this process; empty for kernel threads and processes that are gone.
pub fn argv(root: &Path, key: ProcessKey) -> Vec<String> {
    open(root, key)
        .ok()
        .map(|process| command_line(&process))
        .unwrap_or_default()
}

/// The names of an opened process, of which `stat` has been read.
pub(super) fn of(root: &Path, process: &Process, stat: &Stat) -> Identity {
    // The link needs CAP_SYS_PTRACE for other users' processes; argv[0] then has to do.
    let (exe, argv) = (executable(process), command_line(process));
    let mut identity = Identity {
        comm: comm(stat),
        exe: exe.unwrap_or_default(),
        filename: String::new(),
        argv,
    };
    // A leader that has ended before its threads has given up its memory, and with it its executable and arguments.
    if identity.exe.is_empty()
        && identity.argv.is_empty()
        && stat.num_threads > 1
        && let Some(thread) = living_thread(root, process)
    {
        identity.exe = executable(&thread).unwrap_or_default();
        identity.argv = command_line(&thread);
    }
    identity
}

/// `comm`, as the kernel side tells it. Of a kernel thread /proc tells more: its name in full, and what a worker works on
/// at the moment (fs/proc/array.c, proc_task_name; kernel/workqueue.c, wq_worker_comm).
pub(super) fn comm(stat: &Stat) -> String {
    /// `PF_KTHREAD` (include/linux/sched.h, all versions).
    const PF_KTHREAD: u32 = 0x0020_0000;
    /// TASK_COMM_LEN without the terminating zero.
    const COMM_BYTES: usize = 15;
    let comm = stat.comm.as_str();
    if stat.flags & PF_KTHREAD == 0 {
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
fn executable(process: &Process) -> Option<String> {
    let link = process.exe().ok()?;
    Some(executable_in(&link, || is_still_there(process, &link)))
}

/// The name in what the link `exe` shows. The kernel adds a remark when the file has been removed (d_path); a file may
/// have a name that ends like that, which `is_there` finds out.
fn executable_in(link: &Path, is_there: impl FnOnce() -> bool) -> String {
    const REMARK: &[u8] = b" (deleted)";
    let shown = link.as_os_str().as_bytes();
    let (path, is_gone) = match shown.strip_suffix(REMARK) {
        Some(path) if !is_there() => (path, true),
        _ => (shown, false),
    };
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

fn command_line(process: &Process) -> Vec<String> {
    process
        .open_relative("cmdline")
        .map(arguments)
        .unwrap_or_default()
}

fn arguments(file: impl Read) -> Vec<String> {
    let mut bytes = Vec::new();
    // A process that vanishes while it is read has no arguments any more.
    if file.take(ARGV_BYTES).read_to_end(&mut bytes).is_err() || bytes.is_empty() {
        return Vec::new();
    }
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    bytes
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
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
