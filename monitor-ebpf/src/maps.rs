//! The maps, and the few operations the programs do on them.

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE,
    },
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use kevmon_common::{Failure, Key, Mark, RENAMES_A_SECOND, Verdict};

/// All lifecycle records, in one ring: reservation order is causal across CPUs. The loader sets its size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Processes of interest or not yet judged. Only programs write it. The loader sets its size.
#[map]
static MARKS: HashMap<Key, Mark> = HashMap::with_max_entries(1 << 15, 0);

/// Userspace's answers.
#[map]
static VERDICTS: HashMap<Key, Verdict> = HashMap::with_max_entries(1 << 15, 0);

/// One counter for each [`Failure`].
#[map]
static FAILURES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Failure::COUNT, 0);

/// The process's mark, writable.
#[inline(always)]
pub(crate) fn mark(key: &Key) -> Option<*mut Mark> {
    MARKS.get_ptr_mut(key)
}

/// True once userspace has said that the identity `sequence` of `key` is of no interest.
#[inline(always)]
pub(crate) fn rejected(key: &Key, sequence: u64) -> bool {
    // SAFETY: a verdict is written whole by one map update, and read here field by field as plain integers.
    match unsafe { VERDICTS.get(key) } {
        Some(verdict) => verdict.sequence == sequence && verdict.keep == 0,
        None => false,
    }
}

/// True when userspace asked for a mark on a process that a snapshot showed.
#[inline(always)]
pub(crate) fn wanted_from_snapshot(key: &Key) -> bool {
    // SAFETY: as in `rejected`.
    match unsafe { VERDICTS.get(key) } {
        Some(verdict) => verdict.sequence == 0 && verdict.keep == 1,
        None => false,
    }
}

/// Gives the process a new identity: a new sequence, which no verdict fits yet. Returns its mark as it is then.
#[inline(always)]
pub(crate) fn mark_undecided(key: &Key, sequence: u64) -> Mark {
    if let Some(mark) = MARKS.get_ptr_mut(key) {
        // SAFETY: the pointer is a live map value; only code running in this process writes its sequence.
        unsafe {
            (*mark).sequence = sequence;
            return *mark;
        }
    }
    let mark = Mark {
        sequence,
        ..Mark::default()
    };
    insert(key, &mark, u64::from(BPF_ANY));
    mark
}

/// False when the process has renamed itself too often; that is counted.
#[inline(always)]
pub(crate) fn may_rename(key: &Key, time: u64) -> bool {
    let Some(mark) = MARKS.get_ptr_mut(key) else {
        return true;
    };
    // SAFETY: a live map value. Two threads renaming at once may cost or win one rename.
    unsafe {
        if time.wrapping_sub((*mark).renames_since) > 1_000_000_000 {
            (*mark).renames_since = time;
            (*mark).renames = 0;
        }
        if (*mark).renames >= RENAMES_A_SECOND {
            count(Failure::RenameLimit);
            return false;
        }
        (*mark).renames += 1;
    }
    true
}

/// Marks a process that a snapshot showed, unless an exec or fork has marked it meanwhile.
#[inline(always)]
pub(crate) fn mark_from_snapshot(key: &Key) {
    // An existing mark is the better one: its insertion "fails" with EEXIST and nothing is lost.
    if MARKS.get_ptr(key).is_none() {
        insert(key, &Mark::default(), u64::from(BPF_NOEXIST));
    }
}

#[inline(always)]
fn insert(key: &Key, mark: &Mark, flags: u64) {
    const EEXIST: i64 = -17;
    match MARKS.insert(key, mark, flags) {
        Ok(()) => {}
        Err(errno) if i64::from(errno) == EEXIST => {}
        Err(_) => count(Failure::MarkInsert),
    }
}

/// Forgets a process that the kernel frees.
#[inline(always)]
pub(crate) fn forget(key: &Key) {
    // Absent entries are the usual case for the verdict, and no loss.
    let _ = MARKS.remove(key);
    let _ = VERDICTS.remove(key);
}

/// Ring space for a record; a refusal is counted.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(failure: Failure) -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        count(failure);
    }
    entry
}

/// Flags for a submit: wake the reader only when a quarter of the ring is waiting; else its timer does.
#[inline(always)]
pub(crate) fn wake_up() -> u64 {
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= EVENTS.query(u64::from(BPF_RB_RING_SIZE)) / 4 {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

#[inline(always)]
fn count(failure: Failure) {
    if let Some(slot) = FAILURES.get_ptr_mut(failure as u32) {
        // SAFETY: a per-CPU slot, written with preemption disabled; a softirq between the load and the store could
        // cost one count of a failure, never invent one.
        unsafe { *slot += 1 };
    }
}
