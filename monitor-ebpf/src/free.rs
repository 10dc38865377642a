//! sched_process_free: the kernel lets go of a process; its totals are final.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndRecord, Failure, Kind, MARK_KNOWN, MARK_SETTLED, MARK_TOLD};

use crate::{
    end, lost, maps,
    task::{self, Task},
};

/// `TP_PROTO(struct task_struct *p)`, 5.10 to 6.18 (include/trace/events/sched.h). Runs from RCU once the task
/// is reaped and off the CPU (kernel/exit.c, delayed_put_task_struct). By then __exit_signal has added every
/// thread, the leader too, to `signal_struct`, which the task still holds: these are wait4's numbers.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    // Nobody asks whether kevmon still watches: without it no process gets a mark, and without a mark nothing is done.
    try_free(Task::of(ctx.arg(0)));
    0
}

#[inline(always)]
fn try_free(task: Task) {
    if !task.is_leader() {
        return;
    }
    let key = task.key();
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value, which no program writes any more; copied, because once the mark is removed its place
    // may hold another one.
    let mark = unsafe { *mark };
    // The mark first, then the verdict: see `take_verdict`.
    maps::remove_mark(&key);
    if mark.flags & MARK_TOLD == 0 {
        lost::freed(&key);
    }
    maps::barrier();
    let known = match maps::take_verdict(&key, mark.sequence, mark.flags) {
        Some(true) => true,
        Some(false) => return,
        None => mark.flags & MARK_TOLD != 0,
    };
    if mark.flags & MARK_SETTLED != 0 {
        return; // the dying thread has told them
    }
    let usage = task.ended_usage(mark.dead_run_delay);
    if known {
        if let Some(mut entry) = maps::reserve::<EndRecord>(Failure::FreeReserve) {
            // SAFETY: reserved ring space of this size, and a local.
            unsafe {
                end::fill(
                    entry.as_mut_ptr(),
                    Kind::Free,
                    task::now(),
                    &key,
                    task,
                    &raw const mark,
                    usage,
                );
            }
            entry.submit(maps::wake_up());
            return;
        }
    } else if mark.flags & MARK_KNOWN == 0 {
        lost::keep_life(task, &mark, usage);
        return;
    }
    lost::keep_end(&key, task, &mark, usage);
}
