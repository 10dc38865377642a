//! sched_process_exit: a thread ends; with the last one, its process.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndRecord, Failure, Header, Kind};

use crate::{
    maps,
    task::{self, Task, offset},
};

/// `TP_PROTO(struct task_struct *p, bool group_dead)` since 6.16, `TP_PROTO(struct task_struct *p)` before
/// (include/trace/events/sched.h). Runs in each exiting thread (kernel/exit.c, do_exit), before its usage is
/// final. A leader's call with `group_dead` false is an exec by another thread, or a leader that leaves first.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    let group_dead = if offset!(exit_has_group_dead) != 0 {
        ctx.arg::<u64>(1) & 0xff != 0
    } else {
        // Two last threads on two CPUs may both see zero: userspace takes the first end of a key only.
        task.live_threads() == 0
    };
    try_exit(task, group_dead);
    0
}

#[inline(always)]
fn try_exit(task: Task, group_dead: bool) {
    let key = task.key();
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value; `dead_run_delay` is added to atomically because threads may exit on several
    // CPUs at once, `sequence` is written by the running process alone.
    let snapshot = unsafe {
        add(&raw mut (*mark).dead_run_delay, task.run_delay());
        *mark
    };
    if !group_dead || maps::rejected(&key, snapshot.sequence) {
        return;
    }
    let Some(mut entry) = maps::reserve::<EndRecord>(Failure::ExitReserve) else {
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to reserved ring space of this size; every field is written before the submit.
    unsafe {
        (*record).header = Header {
            kind: Kind::Exit as u32,
            flags: 0,
            time: task::now(),
            key,
        };
        (*record).status = task.exit_status();
        (*record).pad = 0;
        (*record).usage = task.total_usage(&snapshot);
        (*record).peak_rss = task.peak_rss();
    }
    entry.submit(maps::wake_up());
}

/// Atomic add: `AtomicU64::fetch_add` does not exist on this target.
///
/// # Safety
/// `counter` points to a map value.
#[inline(always)]
unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: one BPF_ATOMIC add on memory the caller vouches for.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {value}", counter = in(reg) counter, value = in(reg) value);
    }
}
