//! Marks and verdicts: what the kernel side remembers of each process it watches, what userspace answers, and what is kept
//! of processes whose records found no room in the ring.
//!
//! # The protocol
//!
//! A *mark* (map `MARKS`, by tgid and start time) says that the kernel side watches a process. Programs create it: at an
//! exec or a rename of a thread-group leader, at a fork by a marked process, and in a snapshot for a process that userspace
//! asked for. Each exec, fork or rename gives the process a new *identity*, named by [`Mark::sequence`] (its time). The mark
//! goes at `sched_process_free`; where that did not run, userspace removes it, once two snapshots 15 s apart lack the process.
//!
//! A *verdict* (map `VERDICTS`) is userspace's answer to one identity: keep, or send nothing more. It counts only while
//! [`Verdict::sequence`] equals [`Mark::sequence`], so a late answer never silences a newer program. Execs and renames are
//! sent whatever the verdict is: they make a new identity. Until there is a verdict everything is reported, so a process
//! that lives for one millisecond still delivers its exec, its exit and its final totals.
//!
//! | verdict on the present identity | its record | fork | exit | free |
//! |---|---|---|---|---|
//! | keep | sent or lost | record | record | record; `LOST_ENDS` if the ring is full |
//! | none | sent ([`MARK_TOLD`]) | record | record | record; `LOST_ENDS` if the ring is full |
//! | none | lost, an earlier one sent ([`MARK_KNOWN`]) | mark only | `PENDING` | `LOST_ENDS` |
//! | none | lost, as all before | mark only | `PENDING` | `LOST_LIVES` |
//! | refuse | sent or lost | nothing | nothing | nothing |
//!
//! A name beyond [`RENAMES_A_SECOND`] goes to the map `HELD` ([`MARK_HELD`]); for a fork it counts as sent. Where the dying
//! thread has already sent the totals (`[accounting] exact_ends`, [`MARK_SETTLED`]), the free sends nothing.
//!
//! # Losses
//!
//! A record is lost when its reservation in the ring fails. The failure is counted by program (`Counters::failures`), next to
//! the attempt (`Counters::sent`): received + lost = sent. What the process would have told is kept, by what userspace knows:
//!
//! - It knows the process: [`LostEnd`], one element a process, with time, reason, totals and last names.
//! - It never heard of it: [`Lives`], sums by executable, comm, status and flags ([`LivesKey`]).
//! - Between exit and free of an identity whose record was lost, its exit waits in `PENDING`. The free removes it. Where the
//!   free never comes, userspace takes it from there when it removes the mark.
//!
//! Userspace takes what these maps hold, then drains the ring, and applies what it took only once the ring has been
//! emptied (`app/watch/reconcile.rs`): the exec of a process whose end was kept may still be in the ring. After a new loss it
//! also takes a snapshot, which shows names that were lost ([`SNAPSHOT_UNTOLD`](crate::SNAPSHOT_UNTOLD)).
//!
//! # Races
//!
//! *Free against verdict.* Userspace adopts a process that a snapshot showed as untold (`KernelSource::claim`) while the
//! kernel may be freeing it. Each side writes first and looks second, with a full barrier in between:
//!
//! ```text
//! userspace                                program (free)
//! 1. raise JUDGED_UNTIL                    1. delete the mark
//! 2. write the verdict                     2. look for a verdict (if the sequence <= JUDGED_UNTIL), delete it
//! 3. look for the mark
//!    same sequence: adopted
//!    other sequence: delete the verdict, do not adopt
//!    no mark: delete the verdict
//! ```
//!
//! At least one side sees the other's write. Deleting an element is atomic, so where the mark is gone exactly one of the two
//! deletes the verdict. If the program does, the process is known: it sends the end, and userspace adopts the process. If
//! userspace does, the program saw no verdict: it has kept the life in a map, and userspace does not adopt the process.
//!
//! *Exec against verdict.* The new sequence is stored before the old verdict is looked up, with the same barrier. An old
//! verdict that may exist sets [`MARK_JUDGED_BEFORE`], so that the free looks for it and deletes it.
//!
//! *Two last threads.* Where the tracepoint does not pass `group_dead`, two threads may both see themselves as the last and
//! send two exits. Userspace takes the first.
//!
//! # Failure cases
//!
//! `MARKS` full: the exec is still sent; forks by the process, its exit and its free are not. This counts as a loss
//! (`marks`), so the next snapshot marks the process when there is room. `VERDICTS` full: everything about the process is reported, which costs time
//! and loses nothing. `LOST_ENDS` or `LOST_LIVES` full: the end is counted as a loss and stays unattributed.

use crate::{COMM_LEN, EndRecord, Key, Sender, Usage};

/// How much of an executable's base name a mark keeps, a NUL included; longer ones are cut, and flagged.
pub const MARK_EXE_LEN: usize = 64;

/// What the kernel side knows of a process it watches; value of the map `MARKS`. Only programs write marks; userspace only
/// deletes those that `sched_process_free` missed.
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
    /// Peak resident set size when the last thread began to exit, pages; 0 until then, and where the kernel no longer knew it.
    pub peak_rss: u64,
    /// Renames reported in the second that began at `renames_since`.
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
    /// A mark with every field zero.
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

/// [`Mark::flags`]: userspace may have written a verdict about an earlier identity of the process. The free deletes it.
pub const MARK_JUDGED_BEFORE: u32 = 64;

/// [`Mark::flags`]: the dying thread has sent the final totals, so the free sends nothing.
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
    /// The end as a free record holds it; in `PENDING`, as an exit record does.
    pub end: EndRecord,
    /// [`Mark::sequence`] of its last identity.
    pub sequence: u64,
    /// [`Mark::flags`] at the end.
    pub flags: u32,
    /// Bytes used of `exe`.
    pub exe_len: u32,
    /// Its last `comm`, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Base name of its executable.
    pub exe: [u8; MARK_EXE_LEN],
}

/// Key of the map `LOST_LIVES`: lives that userspace never heard of are summed by executable, comm, status and flags.
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

/// [`LivesKey::flags`]: the OOM killer picked these processes.
pub const LIVES_OOM: u32 = 1 << 16;

/// Sums over lives with one [`LivesKey`]; value of the map `LOST_LIVES`. They only grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lives {
    /// Number of lives.
    pub count: u64,
    /// Sums of their final totals.
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
