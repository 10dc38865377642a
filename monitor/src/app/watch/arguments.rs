//! The arguments of processes that a snapshot shows or whose record was cut, from /proc.

use std::path::Path;

use crate::{
    process::{Arguments, Identity, ProcessKey, Seen},
    procfs::{self, Unread},
};

/// /proc does not show the process. Where something hides processes there, that says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The arguments that the process has now; unknown where they cannot be had, whatever the reason.
///
/// # Errors
/// /proc does not show it.
pub(super) fn present(root: &Path, key: ProcessKey) -> Result<Arguments, Gone> {
    known(procfs::arguments(root, key))
}

/// Adds what a snapshot does not tell: the arguments, and the executable of a process whose leader has left before its
/// threads, and with it the memory that a snapshot looks at. `hidden`: /proc hides processes.
///
/// # Errors
/// The process is gone.
pub(super) fn complete(seen: &mut Seen, root: &Path, hidden: bool) -> Result<(), Gone> {
    let identity = &mut seen.identity;
    let told = if !identity.exe.is_empty() {
        present(root, seen.key)
    } else if is_kernel_thread(seen.key, seen.parent) {
        Ok(Arguments::default())
    } else {
        known(procfs::identity(root, seen.key).map(|found| {
            let Identity { exe, argv, cut, .. } = found;
            identity.exe = exe;
            Some(Arguments { whole: argv, cut })
        }))
    };
    match told {
        Ok(arguments) => identity.set_arguments(arguments),
        Err(Gone) if hidden => identity.set_arguments(Arguments::unknown()),
        Err(Gone) => return Err(Gone),
    }
    Ok(())
}

fn known(told: Result<Option<Arguments>, Unread>) -> Result<Arguments, Gone> {
    match told {
        Ok(Some(arguments)) => Ok(arguments),
        Ok(None) | Err(Unread::Unreadable | Unread::OutOfFiles(_)) => Ok(Arguments::unknown()),
        Err(Unread::Gone) => Err(Gone),
    }
}

/// kthreadd and its children (kernel/kthread.c): what has no executable among them is a thread of the kernel's.
fn is_kernel_thread(key: ProcessKey, parent: Option<ProcessKey>) -> bool {
    /// The pid of kthreadd (init/main.c, rest_init, all versions).
    const KTHREADD: u32 = 2;
    key.tgid.0 == KTHREADD || parent.is_some_and(|parent| parent.tgid.0 == KTHREADD)
}
