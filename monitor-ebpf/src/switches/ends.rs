//! The ring of what has ended.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::RingBuf,
};
use kevmon_common::{EndKind, Header, ThreadEnd, ThreadTimes};

use crate::{
    task::{self, Task, load_or_zero, offset},
    threads,
};

/// [`ThreadEnd`]s. The loader sets its size.
#[map]
static ENDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Bytes waiting in the ring that wake the reader; the loader sets it to a quarter of the ring.
#[unsafe(no_mangle)]
static ENDS_WAKE_AT: u64 = 0;

#[inline(always)]
fn wake_up() -> u64 {
    // SAFETY: a static that the loader writes.
    let wake_at = unsafe { core::ptr::read_volatile(&ENDS_WAKE_AT) };
    if ENDS.query(u64::from(BPF_RB_AVAIL_DATA)) >= wake_at {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Tells what was measured of a thread. False: there was no room.
#[inline(always)]
pub(crate) fn thread(kind: EndKind, task: Task, times: *const ThreadTimes) -> bool {
    let Some(mut entry) = ENDS.reserve::<ThreadEnd>(0) else {
        threads::count(|counters| &raw mut counters.ends_lost);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved ring space of this size, and a live map value.
    unsafe {
        (*record).header = header(kind, task);
        (*record).tid = task.pid();
        (*record).pad = 0;
        (*record).migrations = load_or_zero(task.0, offset!(task_migrations));
        bpf_probe_read_kernel(
            (&raw mut (*record).times).cast(),
            size_of::<ThreadTimes>() as u32,
            times.cast(),
        );
    }
    entry.submit(wake_up());
    true
}

#[inline(always)]
fn header(kind: EndKind, task: Task) -> Header {
    Header {
        kind: kind as u32,
        flags: 0,
        time: task::now(),
        key: task.key(),
    }
}
