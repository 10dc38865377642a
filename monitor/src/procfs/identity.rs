//! The names of a process as /proc tells them.

use std::{io::Read, path::Path};

use procfs::process::Process;

use super::{Unread, open};
use crate::process::{Identity, ProcessKey};

/// How much of a command line is kept.
const ARGV_BYTES: u64 = 4096;

/// The names of the process `key`.
///
/// # Errors
/// It is gone, or its files cannot be read.
pub fn identity(root: &Path, key: ProcessKey) -> Result<Identity, Unread> {
    let process = open(root, key)?;
    let comm = process.stat()?.comm;
    Ok(of(&process, comm))
}

/// The argument vector of this process; empty for kernel threads and processes that are gone.
pub fn argv(root: &Path, key: ProcessKey) -> Vec<String> {
    open(root, key)
        .ok()
        .and_then(|process| process.open_relative("cmdline").ok())
        .map(arguments)
        .unwrap_or_default()
}

/// The names of an opened process, with the `comm` that `stat` has told already.
pub(super) fn of(process: &Process, comm: String) -> Identity {
    // The link needs CAP_SYS_PTRACE for other users' processes; argv[0] then has to do.
    let exe = process.exe().ok().and_then(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name))
    });
    Identity {
        comm,
        exe: exe.unwrap_or_default(),
        filename: String::new(),
        argv: process
            .open_relative("cmdline")
            .map(arguments)
            .unwrap_or_default(),
    }
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
