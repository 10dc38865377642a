//! Who ran while a tracked thread waited for its CPU.
//!
//! Each CPU keeps the turns that ended on it last, while a tracked thread has been there within the last second. When a tracked
//! thread leaves, its wait before this turn is laid over them.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use kevmon_common::{COMM_LEN, PREEMPTORS, ThreadTimes};

use crate::{
    switch::{arrival, clock},
    task::Task,
};

/// Turns that a CPU keeps: a power of two.
const TURNS: usize = 64;
/// Places that a name may have.
const PROBES: u64 = 4;
/// 2^64 over the golden ratio: spreads names over the places.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// How long a CPU keeps them after a tracked thread has left it, ns.
const KEPT_FOR: u64 = 1_000_000_000;

/// One turn on a CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Turn {
    /// Beginning of the turn, ns of the run queue's clock.
    from: u64,
    /// End of the turn, ns of the run queue's clock.
    to: u64,
    /// `comm` of the thread that ran.
    comm: [u64; 2],
}

#[repr(C)]
struct Turns {
    /// Until when turns are kept, ns of the run queue's clock; 0: none are.
    until: u64,
    /// Number of turns kept so far, which chooses the next place.
    count: u64,
    turns: [Turn; TURNS],
}

#[map]
static TURNS_ON_CPU: PerCpuArray<Turns> = PerCpuArray::with_max_entries(1, 0);

/// Whether userspace asks who ran: the loader sets it.
#[unsafe(no_mangle)]
static NAMES_PREEMPTORS: u32 = 0;

#[inline(always)]
fn is_asked() -> bool {
    // SAFETY: a static that the loader writes.
    unsafe { core::ptr::read_volatile(&NAMES_PREEMPTORS) != 0 }
}

/// A thread that is not tracked leaves this CPU.
#[inline(always)]
pub(crate) fn note_untracked(task: Task) {
    if !is_asked() {
        return;
    }
    let Some(turns) = TURNS_ON_CPU.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's, whose run queue is locked.
    unsafe {
        if (*turns).until == 0 {
            return;
        }
        let now = clock(task);
        if now > (*turns).until {
            (*turns).until = 0;
            return;
        }
        keep(turns, task, now);
    }
}

/// A tracked thread leaves this CPU.
#[inline(always)]
pub(crate) fn note(task: Task, now: u64) {
    if !is_asked() || now == 0 {
        return;
    }
    let Some(turns) = TURNS_ON_CPU.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        (*turns).until = now + KEPT_FOR;
        keep(turns, task, now);
    }
}

/// # Safety
/// `turns` is this CPU's, and its run queue is locked.
#[inline(always)]
unsafe fn keep(turns: *mut Turns, task: Task, now: u64) {
    // SAFETY: the caller's word.
    unsafe {
        let from = arrival(task);
        if from == 0 {
            return; // the idle task, whose arrivals the kernel does not note (kernel/sched/stats.h, sched_info_switch)
        }
        let at = (*turns).count as usize & (TURNS - 1);
        (*turns).count += 1;
        let turn = &raw mut (*turns).turns[at];
        (*turn).from = from;
        (*turn).to = now;
        (*turn).comm = task.comm_words();
    }
}

/// The thread waited for `waited` ns until `arrived`: notes who ran. Where it has `moved` meanwhile, nobody knows.
///
/// # Safety
/// `times` is the thread's that leaves this CPU.
#[inline(always)]
pub(crate) unsafe fn blame(times: *mut ThreadTimes, arrived: u64, waited: u64, moved: bool) {
    if !is_asked() {
        return;
    }
    let Some(turns) = TURNS_ON_CPU.get_ptr_mut(0) else {
        return;
    };
    let mut unknown = waited;
    // SAFETY: this CPU's, whose run queue is locked; and the caller's word.
    unsafe {
        if !moved {
            let began = arrived.wrapping_sub(waited);
            let count = (*turns).count;
            let mut back = 0;
            while back < TURNS {
                back += 1;
                let at = count.wrapping_sub(back as u64) as usize & (TURNS - 1);
                let turn = &raw const (*turns).turns[at];
                let (from, to) = ((*turn).from, (*turn).to);
                if to <= began {
                    break;
                }
                let from = if from > began { from } else { began };
                let to = if to < arrived { to } else { arrived };
                if to > from {
                    let time = to - from;
                    unknown = if unknown > time { unknown - time } else { 0 };
                    name(times, (*turn).comm, time);
                }
            }
        }
        (*times).unknown_time = (*times).unknown_time.wrapping_add(unknown);
    }
}

/// Adds to the time of who is called `comm`, in one of [`PROBES`] places that the name chooses. Where others have them all, it
/// takes that of the one with the least, whose time then counts among that of others.
///
/// # Safety
/// As for `blame`.
#[inline(always)]
unsafe fn name(times: *mut ThreadTimes, comm: [u64; 2], time: u64) {
    let first = (comm[0] ^ comm[1].rotate_left(23)).wrapping_mul(MIX) >> 32;
    // SAFETY: the caller's word; a name is as long as two words (asserted below).
    unsafe {
        let mut least = &raw mut (*times).preemptors[first as usize & (PREEMPTORS - 1)];
        let mut probe = 0;
        while probe < PROBES {
            let at = first.wrapping_add(probe) as usize & (PREEMPTORS - 1);
            probe += 1;
            let entry = &raw mut (*times).preemptors[at];
            let words = (&raw mut (*entry).comm).cast::<u64>();
            let is_free = (*entry).count == 0;
            if is_free {
                *words = comm[0];
                *words.add(1) = comm[1];
            }
            if *words == comm[0] && *words.add(1) == comm[1] {
                (*entry).time = (*entry).time.wrapping_add(time);
                (*entry).count = (*entry).count.wrapping_add(1);
                return;
            }
            if (*entry).time < (*least).time {
                least = entry;
            }
        }
        (*times).others_time = (*times).others_time.wrapping_add((*least).time);
        let words = (&raw mut (*least).comm).cast::<u64>();
        *words = comm[0];
        *words.add(1) = comm[1];
        (*least).time = time;
        (*least).count = 1;
    }
}

const _: () = assert!(COMM_LEN == 16 && TURNS.is_power_of_two() && PREEMPTORS.is_power_of_two());
