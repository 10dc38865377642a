//! The maps, and the few operations the programs do on them.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use kevmon_common::{
    ARGUMENTS_MOST, COMM_LEN, Counters, Failure, HELD_AT_MOST, HeldRename, Key, LOST_NAMES_AT_MOST,
    MARK_JUDGED_BEFORE, Mark, READER_CALL_AT, READER_WATCHED_UNTIL, Verdict, WATCHED_ALWAYS,
};
use kevmon_ebpf::atomic::add;

/// All lifecycle records, in one ring: reservation order is causal across CPUs. The loader sets its size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Marks of processes of interest, and of those without a verdict. Only programs write marks; userspace deletes those that
/// `sched_process_free` missed. The loader sets the map's size. kevmon-common's marks.rs has the protocol.
#[map]
static MARKS: HashMap<Key, Mark> = HashMap::with_max_entries(1 << 15, 0);

/// Verdicts: userspace's answers to marks.
#[map]
static VERDICTS: HashMap<Key, Verdict> = HashMap::with_max_entries(1 << 15, 0);

/// Names that found no place in the ring because their processes change them too often: the last one of each process.
/// Taken and deleted by userspace, in batches, whose look and removal are one step.
#[map]
static HELD: HashMap<Key, HeldRename> = HashMap::with_max_entries(HELD_AT_MOST, 0);

/// Names that another held name replaced, each once, for userspace to try on its patterns. The value means nothing.
#[map]
static LOST_NAMES: HashMap<[u8; COMM_LEN], u64> = HashMap::with_max_entries(LOST_NAMES_AT_MOST, 0);

/// Records that programs tried to send, and failures by kind; each CPU counts for itself.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// How many of the [`ARGUMENTS_MOST`] records for arguments that do not fit its own record an exec leaves out. Userspace
/// writes it, at the start and whenever its plugins change; what executes before that leaves out none.
#[map]
static ARGUMENTS_LEFT_OUT: Array<u32> = Array::with_max_entries(1, 0);

/// Of the reader, in one line of the cache. At [`READER_WATCHED_UNTIL`]: until when the programs work, ns of CLOCK_MONOTONIC,
/// which stands still while the host sleeps. Userspace moves it on while it lives; [`WATCHED_ALWAYS`]: nothing outlives
/// userspace, so that nobody has to look at the clock. At [`READER_CALL_AT`]: bytes waiting in the ring that wake the reader.
/// Userspace writes 1 when it goes to sleep; the record that wakes it puts [`WAKE_AT`] back, so that a burst wakes once.
#[map]
static READER: Array<u64> = Array::with_max_entries(2, 0);

/// The newest sequence that userspace has written a verdict about, or is about to write one. Of a later identity there is
/// none, and nobody has to look: a process that comes and goes between two drains ends without a search of `VERDICTS`.
#[map]
static JUDGED_UNTIL: Array<u64> = Array::with_max_entries(1, 0);

/// Bytes waiting in the ring that wake a reader who looks by himself as well; the loader sets it to a quarter of the ring.
#[unsafe(no_mangle)]
static WAKE_AT: u64 = 0;

/// False once userspace has been away for longer than it asked the programs to watch without it. Nothing is counted then:
/// userspace knows by the same value that it came too late.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    let Some(until) = READER.get(READER_WATCHED_UNTIL) else {
        return false;
    };
    // SAFETY: a live map value; volatile, because userspace writes it at any time.
    let until = unsafe { core::ptr::read_volatile(until) };
    // SAFETY: a helper without arguments.
    until == WATCHED_ALWAYS || unsafe { bpf_ktime_get_ns() } <= until
}

const ENOENT: i32 = -2;
const EEXIST: i32 = -17;

/// The process's mark, writable.
#[inline(always)]
pub(crate) fn mark(key: &Key) -> Option<*mut Mark> {
    MARKS.get_ptr_mut(key)
}

/// Puts a mark on a process that has none. A refusal is counted.
#[inline(always)]
pub(crate) fn insert_mark(key: &Key, mark: &Mark) {
    if MARKS.insert(key, mark, u64::from(BPF_ANY)).is_err() {
        count(Failure::MarkInsert);
    }
}

/// Puts a mark on a process, unless an exec or fork has marked it meanwhile: that mark is newer. A refusal is counted.
#[inline(always)]
pub(crate) fn insert_missing_mark(key: &Key, mark: &Mark) {
    match MARKS.insert(key, mark, u64::from(BPF_NOEXIST)) {
        Ok(()) => {}
        Err(errno) if errno as i32 == EEXIST => {}
        Err(_) => count(Failure::MarkInsert),
    }
}

/// Forgets a process that the kernel frees.
#[inline(always)]
pub(crate) fn remove_mark(key: &Key) {
    // What could not be removed, userspace sweeps up later.
    let _ = MARKS.remove(key);
}

/// False when userspace cannot have written a verdict about the identity `sequence`.
///
/// Userspace raises [`JUDGED_UNTIL`] before it writes a verdict, and looks at the mark after it. A program changes or removes
/// the mark before it asks this (with a [`barrier`] between): when it does not see the raised value yet, userspace sees
/// that the mark has changed or gone, and takes the verdict back itself.
#[inline(always)]
pub(crate) fn may_be_judged(sequence: u64) -> bool {
    let Some(until) = JUDGED_UNTIL.get(0) else {
        return true;
    };
    // SAFETY: a live map value; volatile, because userspace writes it at any time.
    sequence <= unsafe { core::ptr::read_volatile(until) }
}

/// What userspace said of the identity `sequence` of `key`: whether it wants to hear more. `None`: nothing yet.
#[inline(always)]
pub(crate) fn verdict(key: &Key, sequence: u64) -> Option<bool> {
    if !may_be_judged(sequence) {
        return None;
    }
    // SAFETY: a verdict is written whole by one map update, and read here field by field as plain integers.
    match unsafe { VERDICTS.get(key) } {
        Some(verdict) if verdict.sequence == sequence => Some(verdict.keep != 0),
        _ => None,
    }
}

/// Reads and deletes the verdict on the identity `sequence` of `key`. `flags` are those of its mark, which must have been
/// deleted before, with a [`barrier`] in between. `None`: there was no verdict, or userspace deleted it first.
///
/// Userspace writes a verdict, then looks for the mark; if the mark is gone, it deletes the verdict itself. Deletion is atomic,
/// so one side succeeds, and both know who tells the process's life (kevmon-common's marks.rs, *Races*).
#[inline(always)]
pub(crate) fn take_verdict(key: &Key, sequence: u64, flags: u32) -> Option<bool> {
    if flags & MARK_JUDGED_BEFORE == 0 && !may_be_judged(sequence) {
        return None;
    }
    // SAFETY: as in `verdict`.
    let found = unsafe { VERDICTS.get(key) }?;
    let (judged, keep) = (found.sequence, found.keep);
    match VERDICTS.remove(key) {
        Err(errno) if errno as i32 == ENOENT => None,
        _ => (judged == sequence).then_some(keep != 0),
    }
}

/// Between a write to one map and a look into another, where userspace does the same the other way round: one of the
/// two must see the other's write. On x86 any atomic operation is a full barrier. On arm64 only one that returns the old value
/// is (Documentation/atomic_t.txt): BPF_FETCH, which its JIT has from Linux 5.18 on.
#[inline(always)]
pub(crate) fn barrier() {
    let mut word = 0;
    // SAFETY: a local.
    #[cfg(not(bpf_target_arch = "aarch64"))]
    unsafe {
        add(&raw mut word, 0);
    }
    // SAFETY: one BPF_ATOMIC add on a local.
    #[cfg(bpf_target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            word = in(reg) &raw mut word,
            value = inout(reg) 0_u64 => _,
        );
    }
    core::hint::black_box(word);
}

/// True once userspace has said that the identity `sequence` of `key` is of no interest.
#[inline(always)]
pub(crate) fn rejected(key: &Key, sequence: u64) -> bool {
    verdict(key, sequence) == Some(false)
}

/// Ring space for a record; the attempt is counted, and a refusal too.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(failure: Failure) -> Option<RingBufEntry<T>> {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(&raw mut (*counters).sent, 1) };
    }
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        count(failure);
    }
    entry
}

/// Flags for a submit: wake the reader only when a quarter of the ring is waiting, or where it asked for the next record; else
/// its timer does.
#[inline(always)]
pub(crate) fn wake_up() -> u64 {
    // SAFETY: a reference; volatile, because the loader rewrites the static after compilation.
    let usual = unsafe { core::ptr::read_volatile(&WAKE_AT) };
    let Some(call_at) = READER.get_ptr_mut(READER_CALL_AT) else {
        return u64::from(BPF_RB_NO_WAKEUP);
    };
    // SAFETY: a live map value; volatile, because userspace writes it at any time.
    let wake_at = unsafe { core::ptr::read_volatile(call_at) };
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) < wake_at {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    if wake_at != usual {
        // SAFETY: as above. Two CPUs may both get here: then the reader is woken twice.
        unsafe { core::ptr::write_volatile(call_at, usual) };
    }
    u64::from(BPF_RB_FORCE_WAKEUP)
}

/// True while half of the ring is waiting: what can be had in another way is not sent then, so that long arguments never
/// take the place of lifecycle records.
#[inline(always)]
pub(crate) fn is_crowded() -> bool {
    // SAFETY: as in `wake_up`.
    let wake_at = unsafe { core::ptr::read_volatile(&WAKE_AT) };
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= wake_at * 2
}

/// How many records an exec may send for arguments that do not fit its own.
#[inline(always)]
pub(crate) fn argument_records() -> u32 {
    let left_out = ARGUMENTS_LEFT_OUT.get(0).copied().unwrap_or(0);
    ARGUMENTS_MOST.saturating_sub(left_out)
}

/// As long as the longest path (`PATH_MAX`, include/uapi/linux/limits.h).
pub(crate) const SCRATCH_LEN: usize = 4096;

/// Memory for a moment that is too large for the stack: ring space that is given back. A per-CPU map would do only where
/// nothing may come between.
pub(crate) struct Scratch(RingBufEntry<[u8; SCRATCH_LEN]>);

impl Scratch {
    /// `None` while the ring is crowded.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        if is_crowded() {
            return None;
        }
        EVENTS.reserve(0).map(Self)
    }

    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut [u8; SCRATCH_LEN] {
        self.0.as_mut_ptr()
    }

    /// Gives it back; nobody is told.
    #[inline(always)]
    pub(crate) fn discard(self) {
        self.0.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
}

/// Holds a process's new name. A refusal is counted: a snapshot tells the name then.
#[inline(always)]
pub(crate) fn hold(key: &Key, rename: &HeldRename) {
    if HELD.insert(key, rename, u64::from(BPF_ANY)).is_err() {
        count(Failure::Held);
        return;
    }
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(&raw mut (*counters).held, 1) };
    }
}

/// The name that is held for this process; `None` once userspace has taken it. (When userspace takes it while this runs,
/// the element may be another process's already: the name is then one that is held, too, and the process's own has been told.)
#[inline(always)]
pub(crate) fn held_name(key: &Key) -> Option<[u8; COMM_LEN]> {
    // SAFETY: a held rename is replaced as a whole; read here as plain bytes.
    unsafe { HELD.get(key) }.map(|held| held.comm)
}

/// Another name takes the place of the one that is held for this process, unless userspace has taken it.
#[inline(always)]
pub(crate) fn lose_held_name(key: &Key) {
    let Some(comm) = held_name(key) else { return };
    if LOST_NAMES.insert(comm, 0, u64::from(BPF_ANY)).is_err() {
        count(Failure::RenameLimit);
    }
}

/// Counts a failure.
#[inline(always)]
pub(crate) fn count(failure: Failure) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(&raw mut (*counters).failures[failure as usize], 1) };
    }
}

/// Counts a life that was put into one of the maps for what got lost.
#[inline(always)]
pub(crate) fn count_kept() {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(&raw mut (*counters).kept, 1) };
    }
}
