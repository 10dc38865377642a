//! sched_process_exit: a thread ends; with the last one, its process.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndRecord, Failure, Kind, MARK_TOLD};

use crate::{
    end, lost, maps, oom,
    task::{self, Task, offset},
};

/// `TP_PROTO(struct task_struct *p, bool group_dead)` since 6.16, `TP_PROTO(struct task_struct *p)` before
/// (include/trace/events/sched.h). Runs in each exiting thread (kernel/exit.c, do_exit), before its usage is
/// final. A leader's call with `group_dead` false is an exec by another thread, or a leader that leaves first.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    // As in `free`, nobody asks whether kevmon still watches.
    let task = Task::of(ctx.arg(0));
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
    let picked = oom::picked(task);
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value; `dead_run_delay` is added to atomically because threads may exit on several
    // CPUs at once, the sequence and flags are written by the running process alone, and of two last threads that
    // both set the rest either may win.
    let (sequence, flags) = unsafe {
        kevmon_ebpf::atomic::add(&raw mut (*mark).dead_run_delay, task.run_delay());
        if picked {
            (*mark).oom = 1;
        }
        ((*mark).sequence, (*mark).flags)
    };
    if !group_dead {
        return;
    }
    let time = task::now();
    // SAFETY: as above. The free record makes good an exit record that gets lost, so this is kept always.
    unsafe {
        (*mark).ended = time;
        (*mark).peak_rss = task.peak_rss();
    }
    match maps::verdict(&key, sequence) {
        Some(true) => {}
        Some(false) => return,
        None if flags & MARK_TOLD != 0 => {}
        None => {
            // Userspace would not know what it is about.
            // SAFETY: a live map value.
            unsafe {
                let usage = task.total_usage((*mark).dead_run_delay);
                lost::expect_free(&key, task, mark, usage);
            }
            return;
        }
    }
    let Some(mut entry) = maps::reserve::<EndRecord>(Failure::ExitReserve) else {
        return;
    };
    // SAFETY: reserved ring space of this size, and a live map value.
    unsafe {
        let usage = task.total_usage((*mark).dead_run_delay);
        end::fill(entry.as_mut_ptr(), Kind::Exit, time, &key, task, mark, usage);
    }
    entry.submit(maps::wake_up());
}
