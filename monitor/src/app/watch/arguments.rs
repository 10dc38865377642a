//! The arguments of processes that a snapshot shows or whose record was cut, from /proc.

use std::path::Path;

use crate::{
    process::{Arguments, Identity, ProcessKey, Seen},
    procfs::{self, Unread},
};

/// Why there are no arguments to look at, nor to be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// /proc does not show the process. Where something hides processes there, that says nothing about it.
    Gone,
    /// It has no text at the moment: it ends, or executes a program. A record follows in either case, as the kernel side
    /// tells of an exec when the arguments are in place (fs/exec.c, exec_binprm).
    Passing,
}

/// The arguments that the process has now; unknown where they cannot be had, whatever the reason.
///
/// # Errors
/// /proc does not show it, or it has no text at the moment.
pub(super) fn present(root: &Path, key: ProcessKey) -> Result<Arguments, Absent> {
    known(procfs::arguments(root, key))
}

/// Adds what a snapshot does not tell: the arguments, and the executable of a process whose leader has left before its
/// threads, and with it the memory that a snapshot looks at. `hidden`: /proc hides processes.
///
/// # Errors
/// The process is gone, or ends or executes at this moment.
pub(super) fn complete(seen: &mut Seen, root: &Path, hidden: bool) -> Result<(), Absent> {
    let identity = &mut seen.identity;
    let told = if !identity.exe.is_empty() {
        present(root, seen.key)
    } else if is_kernel_thread(seen.key, seen.parent) {
        Ok(Arguments::default())
    } else {
        let found = procfs::identity(root, seen.key);
        let has_none = found.as_ref().is_ok_and(Identity::arguments_are_unknown)
            && matches!(procfs::arguments(root, seen.key), Ok(None));
        known(found.map(|found| {
            let Identity { exe, argv, cut, .. } = found;
            identity.exe = exe;
            (!has_none).then_some(Arguments { whole: argv, cut })
        }))
    };
    match told {
        Ok(arguments) => identity.set_arguments(arguments),
        Err(Absent::Gone) if hidden => identity.set_arguments(Arguments::unknown()),
        Err(absent) => return Err(absent),
    }
    Ok(())
}

fn known(told: Result<Option<Arguments>, Unread>) -> Result<Arguments, Absent> {
    match told {
        Ok(Some(arguments)) => Ok(arguments),
        Err(Unread::Unreadable | Unread::OutOfFiles(_)) => Ok(Arguments::unknown()),
        Ok(None) => Err(Absent::Passing),
        Err(Unread::Gone) => Err(Absent::Gone),
    }
}

/// kthreadd and its children (kernel/kthread.c): what has no executable among them is a thread of the kernel's.
fn is_kernel_thread(key: ProcessKey, parent: Option<ProcessKey>) -> bool {
    /// The pid of kthreadd (init/main.c, rest_init, all versions).
    const KTHREADD: u32 = 2;
    key.tgid.0 == KTHREADD || parent.is_some_and(|parent| parent.tgid.0 == KTHREADD)
}
