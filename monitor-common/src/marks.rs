//! What the kernel side remembers of the processes it watches, userspace's answers, and what is kept of those whose
//! records found no room.

use crate::{COMM_LEN, EndRecord, Key, Sender, Usage};

/// How much of an executable's base name a mark keeps, a NUL included; longer ones are cut, and flagged.
pub const MARK_EXE_LEN: usize = 64;

/// What the kernel side knows of a process it watches; in the map `MARKS`, written by programs alone.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Names the identity a verdict is about: the ns (CLOCK_BOOTTIME) of the exec, fork or rename that gave it;
    /// 0 for a process found by a snapshot.
    pub sequence: u64,
    /// `run_delay` of the threads that ended while marked, ns; `signal_struct` does not sum it.
    pub dead_run_delay: u64,
    /// When the present second of [`RENAMES_A_SECOND`] began, ns of CLOCK_BOOTTIME.
    pub renames_since: u64,
    /// When the last thread began to exit, ns of CLOCK_BOOTTIME; 0 until then.
    pub ended: u64,
    /// Peak resident set size at that time, pages; 0 where the kernel no longer knew it.
    pub peak_rss: u64,
    /// Renames reported in that second.
    pub renames: u32,
    /// Of `MARK_*`; written by the process itself alone.
    pub flags: u32,
    /// 1: the OOM killer picked it. No bit of `flags`, because it is written by whoever ran out of memory.
    pub oom: u32,
    /// Bytes used of `exe`, the NUL not counted.
    pub exe_len: u32,
    /// Who sent the last terminating signal.
    pub sender: Sender,
    /// Base name of the executable; what lies behind `exe_len` is undefined.
    pub exe: [u8; MARK_EXE_LEN],
}

impl Mark {
    /// Nothing known yet.
    pub const NEW: Self = Self {
        sequence: 0,
        dead_run_delay: 0,
        renames_since: 0,
        ended: 0,
        peak_rss: 0,
        renames: 0,
        flags: 0,
        oom: 0,
        exe_len: 0,
        sender: Sender::NONE,
        exe: [0; MARK_EXE_LEN],
    };
}

/// [`Mark::flags`]: the record of the present identity reached the ring, or userspace found it by a snapshot.
pub const MARK_TOLD: u32 = 1;
/// [`Mark::flags`]: some record of this process reached the ring, or userspace found it by a snapshot.
pub const MARK_KNOWN: u32 = 2;
/// [`Mark::flags`]: the executable's name was longer than [`MARK_EXE_LEN`] holds.
pub const MARK_EXE_CUT: u32 = 4;
/// [`Mark::flags`]: forked by a watched process, and has not executed anything since.
pub const MARK_FORKED: u32 = 8;
/// [`Mark::flags`]: a rename gave it its present identity, and userspace had been told of the one before.
pub const MARK_RENAMED: u32 = 16;

/// [`Mark::flags`]: the present name was put into `HELD`, and userspace knows what the process was before.
pub const MARK_HELD: u32 = 32;

/// [`Mark::flags`]: userspace may have written a verdict about an earlier identity of the process, which goes with the
/// process.
pub const MARK_JUDGED_BEFORE: u32 = 64;

/// [`Mark::flags`]: its totals have been told before its free, which then has nothing more to tell.
pub const MARK_SETTLED: u32 = 128;

/// Key of the map `READER`: until when the programs watch, ns of CLOCK_MONOTONIC.
pub const READER_WATCHED_UNTIL: u32 = 0;
/// Key of the map `READER`: bytes waiting in the ring that wake the reader.
pub const READER_CALL_AT: u32 = 1;
/// The value at [`READER_WATCHED_UNTIL`] while the programs end with userspace.
pub const WATCHED_ALWAYS: u64 = u64::MAX;

/// Renames of one process that are sent as records within a second, at most: any program may rename itself in a loop,
/// and must not push everybody else's records out of the ring. Of what is beyond, the last name is held for userspace in the
/// map `HELD`, and the names before it in `LOST_NAMES`.
pub const RENAMES_A_SECOND: u32 = 64;

/// Processes whose last name is held at once. One that is in the map has renamed itself more than
/// [`RENAMES_A_SECOND`] times since userspace last emptied it.
pub const HELD_AT_MOST: u32 = 4096;

/// Names in `LOST_NAMES`.
pub const LOST_NAMES_AT_MOST: u32 = 1 << 15;

/// A rename beyond [`RENAMES_A_SECOND`]: the value of the map `HELD`, by the process's key. The next one replaces it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldRename {
    /// The mark's sequence since then: the time, ns of CLOCK_BOOTTIME.
    pub sequence: u64,
    /// The parent's key.
    pub parent: Key,
    /// The new `comm`, padded with zeros.
    pub comm: [u8; COMM_LEN],
}

/// Userspace's answer to a mark; in the map `VERDICTS`. Holds only while the sequences agree.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// [`Mark::sequence`] of the identity judged.
    pub sequence: u64,
    /// 1: of interest; 0: send nothing more about this identity.
    pub keep: u64,
}

/// The end of a process that userspace knows, for which the ring had no room; in the map `LOST_ENDS`, by its key.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LostEnd {
    /// What the free record would have told.
    pub end: EndRecord,
    /// [`Mark::sequence`] of its last identity.
    pub sequence: u64,
    /// [`Mark::flags`].
    pub flags: u32,
    /// Bytes used of `exe`.
    pub exe_len: u32,
    /// Its last `comm`, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Base name of its executable.
    pub exe: [u8; MARK_EXE_LEN],
}

/// By what the lives that userspace never heard of are summed; key of the map `LOST_LIVES`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LivesKey {
    /// Base name of the executable, padded with zeros.
    pub exe: [u8; MARK_EXE_LEN],
    /// The last `comm`, padded with zeros.
    pub comm: [u8; COMM_LEN],
    /// The status wait4(2) reports.
    pub status: u32,
    /// [`MARK_EXE_CUT`], [`MARK_FORKED`] and [`LIVES_OOM`].
    pub flags: u32,
}

/// [`LivesKey::flags`]: the OOM killer picked them.
pub const LIVES_OOM: u32 = 1 << 16;

/// Sums over such lives; value of the map `LOST_LIVES`. They only grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lives {
    /// How many.
    pub count: u64,
    /// Their final totals.
    pub usage: Usage,
    /// The highest peak resident set size, pages.
    pub peak_rss: u64,
}

const _: () = {
    assert!(size_of::<Mark>() == 40 + 16 + 24 + MARK_EXE_LEN);
    assert!(size_of::<Verdict>() == 16);
    assert!(size_of::<HeldRename>() == 8 + 16 + COMM_LEN);
    assert!(size_of::<LostEnd>() == 176 + 16 + COMM_LEN + MARK_EXE_LEN);
    assert!(size_of::<LivesKey>() == MARK_EXE_LEN + COMM_LEN + 8);
    assert!(size_of::<Lives>() == 8 + 80 + 8);
    // Copied in words of eight bytes.
    assert!(core::mem::offset_of!(Mark, exe).is_multiple_of(8) && MARK_EXE_LEN.is_multiple_of(8));
};
