//! The flight recorder: the values of every group at a fine step, in a bounded ring on disk, and the incidents that are cut
//! from it.
//!
//! # Layout on disk
//!
//! The folder `<state>.recorder` holds two kinds of files with one layout:
//!
//! - `ring-SEQUENCE.kfr`: a *segment* of the ring. A run of kevmon begins a new one, and so does a segment that is full (a 16th
//!   of the ring's bytes, or a 12th of its age). The oldest are removed until the rest keeps to both bounds.
//! - `incident-ID.kfi`: an *incident*: the minute before a crash and the minute after it, of one group ([`incident`]).
//!
//! A file is a header and blocks. All integers of fixed size are little-endian; `v` is a LEB128 varint, `z` a zigzag varint.
//!
//! ```text
//! header (40 bytes)  "KEVMONFR"  version u32  kind u32 (1 ring, 2 incident)  created u64 (Unix ns)
//!                    sequence u64  reserved u32 (0)  checksum u32 (of the 36 bytes before it)
//! block              length u32 (of the payload, 1 byte to 1 MiB)  checksum u32 (of length and payload)  payload
//! payload            tag u8, then by tag:
//!   1 group          index v, step v (ns), flags u8 (1: detailed), key, plugin, label: texts
//!   2 step           time z (ns after the step before it, the first after `created`), flags u8 (1: records were lost;
//!                    2: sums do not go on from those of earlier steps),
//!                    groups v; of each: index v, present v (a bit for each field), changed v (likewise), then for each
//!                    changed field its difference z from the last value that the group had there
//!   3 event          index v, time v (Unix ns), pid v, name: text, kind u8 and what it tells, incident: text
//!   4 gap            time v (Unix ns), steps v: so many steps were lost before this one
//!   5 trigger        an incident begins: id, group index v, time v, from v, until v (Unix ns), cause u8, pid v, name: text
//!   6 end            the incident is whole
//!   7 left out       events v: so many were left out of the incident for their number
//! text               length v (at most 1,024), UTF-8
//! ```
//!
//! # Invariants
//!
//! - A file is only appended to, a block with one write(2). So whatever ends kevmon leaves whole blocks, and one that is torn
//!   at most; a run never appends to the file of another one.
//! - A reader believes a block whose checksum holds (CRC-32 finds each error of up to 32 bits in a row) and stops at the first
//!   that does not: differences mean nothing without what came before. What it has read until then is right.
//! - A value that is absent is not in `present`. It is never zero.
//! - A file of another version or without the header is not read, not appended to, and named with what to do about it.

mod bytes;
mod decode;
mod encode;
pub mod incident;
pub mod read;
mod ring;
mod values;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use self::{
    incident::{Incident, Incidents},
    read::{Gap, Recording, read, spacing},
    ring::{Bounds, Ring},
    values::{FIELDS, Field, Values},
};
use crate::process::Reason;

/// The layout's version; readers refuse any other.
pub const VERSION: u32 = 1;

/// A group, as the files know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What tells it from all others, over runs: the store's key.
    pub key: String,
    /// Its plugin's name.
    pub plugin: String,
    /// Its plugin's name with the instance.
    pub label: String,
    /// Time between two steps, ns.
    pub step: u64,
    /// It is watched in detail.
    pub detailed: bool,
}

/// What is to be known of a step's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Records of the kernel were lost since the step before: counts may be short.
    pub is_lossy: bool,
    /// It is the first of its groups in a run of kevmon: their sums do not go on from those of earlier steps.
    pub begins: bool,
}

/// Something that happened to a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// When, Unix ns.
    pub time: u64,
    /// The process; the new one, for a restart.
    pub pid: u32,
    /// Its name. A process chooses it.
    pub name: String,
    /// What happened.
    pub kind: EventKind,
    /// The incident that this end began or belongs to; empty for none.
    pub incident: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It started.
    Start {
        /// Its parent is a member.
        worker: bool,
    },
    /// It ended.
    Exit {
        /// Its parent was a member.
        worker: bool,
        /// Why.
        reason: Reason,
        /// Who sent the signal that it died of, where a process did: pid and name.
        sender: Option<(u32, String)>,
        /// From its start to its end, ns; `None` where the end was not seen.
        lifetime: Option<u64>,
        /// Highest resident set that it had, bytes.
        peak_rss: Option<u64>,
    },
    /// It took the place of a root that ended, or executed itself again.
    Restart {
        /// The same process executed again.
        reexec: bool,
        /// Without a root in between, ns.
        downtime: Option<u64>,
    },
}

/// What begins an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A member crashed.
    Crash,
    /// The OOM killer ended a member.
    Oom,
    /// The group began to crash and come back.
    CrashLoop,
}

impl Cause {
    /// `crash`, `oom` or `crash_loop`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Oom => "oom",
            Self::CrashLoop => "crash_loop",
        }
    }
}

/// An incident begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The incident's id: [`is_id`].
    pub id: String,
    /// What began it.
    pub cause: Cause,
    /// When that was, Unix ns.
    pub time: u64,
    /// What it holds begins then, Unix ns.
    pub from: u64,
    /// And ends then, Unix ns.
    pub until: u64,
    /// The process that ended.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Whether `text` can be an incident's id: it is a part of a file's name.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Where the recorder of the state in `database` keeps its files.
pub fn folder(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".recorder");
    path.into()
}

/// Why a file is not read, or not to its end. Its `Display` is a line: what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The header is not the recorder's.
    #[error("{path}: this is no file of the flight recorder; it is left as it is: move it elsewhere")]
    Foreign {
        /// Which file.
        path: String,
    },
    /// Another kevmon wrote it.
    #[error(
        "{path}: layout {version} of the flight recorder, and this kevmon knows {VERSION}: read it with the kevmon that wrote \
         it, or remove it"
    )]
    Version {
        /// Which file.
        path: String,
        /// What it says.
        version: u32,
    },
    /// It is damaged, or its end is missing.
    #[error(
        "{path}: damaged at byte {at}: what comes before is read, the {left} bytes from there on are not"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// Where the first unreadable block begins.
        at: u64,
        /// So many bytes are left out.
        left: u64,
    },
    /// It cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said, or why it is refused.
        error: String,
    },
}

/// The names of the recorder's files in `folder` with this beginning and ending, with what stands between; sorted. None where
/// there is no folder.
fn names(folder: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<(String, String)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let inner = name
            .strip_prefix(prefix)
            .and_then(|name| name.strip_suffix(suffix));
        if let Some(inner) = inner.map(str::to_owned) {
            found.push((name, inner));
        }
    }
    found.sort();
    Ok(found)
}
