//! sched_switch: a thread leaves its CPU.
//!
//! What is measured of it, all of it when it leaves:
//! - *on CPU*: what `se.sum_exec_runtime` has grown by since it left last; put_prev_task has brought that up to date.
//! - *run queue*: what `sched_info.run_delay` has grown by: its wait for this turn (kernel/sched/stats.h, sched_info_arrive).
//! - *off CPU*: from when it left last to when it came (`sched_info.last_arrival`), less that wait. How it left last says what
//!   kind of time that was.
//!
//! The times are those of the run queue's clock, which every switch brings up to date (kernel/sched/core.c, __schedule). To read
//! it through the task costs a tenth of bpf_ktime_get_ns.

use aya_ebpf::{
    helpers::generated::bpf_get_smp_processor_id, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use kevmon_common::{EndKind, Left, PLACE_MASK, Spread, TRACK_ENDED, ThreadTimes, place};

use crate::{
    ends, preemptors,
    task::{ABSENT, Kernel, Task, load, offset},
    threads,
};
use kevmon_ebpf::task::TASK_DEAD;

/// States of a task (include/linux/sched.h, 5.10 to 6.18).
const TASK_UNINTERRUPTIBLE: u32 = 0x2;
/// Waits of kernel threads that no load average counts: TASK_IDLE is both.
const TASK_NOLOAD: u32 = 0x400;

/// `TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)` since 5.18, without the
/// last one before (include/trace/events/sched.h). Runs on the CPU that is switched, while `prev` is still the current task.
#[btf_tracepoint(function = "sched_switch")]
fn switches_switch(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(1));
    // Where the kernel does not pass it, and the task is woken meanwhile, it is the state after that.
    let state = if offset!(switch_has_state) != 0 {
        ctx.arg::<u32>(3)
    } else {
        task.state()
    };
    let Some(times) = threads::times(task) else {
        preemptors::note_untracked(task);
        return 0;
    };
    let now = clock(task);
    // SAFETY: a live map value that only this thread's own switches write.
    unsafe {
        left(task, times, now, ctx.arg::<u32>(0) != 0, state);
    }
    preemptors::note(task, now);
    if state & TASK_DEAD != 0 {
        if ends::thread(EndKind::Thread, task, times) {
            // A leader may stay as a zombie, and is not to be told again.
            // SAFETY: a live map value that only this thread's own switches write.
            unsafe {
                (*times).flags |= TRACK_ENDED;
            }
        }
        threads::note_tracked(u64::MAX);
    }
    0
}

/// Now on this CPU's run queue, ns; 0 where the kernel does not show it.
#[inline(always)]
pub(crate) fn clock(task: Task) -> u64 {
    if offset!(task_cfs_rq) == ABSENT || offset!(cfs_rq_rq) == ABSENT || offset!(rq_clock) == ABSENT {
        return 0;
    }
    // SAFETY: the task's own queue is on the CPU that it leaves (kernel/sched/sched.h, set_task_rq); a null pointer reads zero.
    unsafe {
        let queue: Kernel = load(task.0, offset!(task_cfs_rq));
        let queue: Kernel = load(queue, offset!(cfs_rq_rq));
        load(queue, offset!(rq_clock))
    }
}

/// When a task came to its CPU, ns of the run queue's clock; 0 where the kernel does not say.
#[inline(always)]
pub(crate) fn arrival(task: Task) -> u64 {
    if offset!(task_last_arrival) == ABSENT {
        return 0;
    }
    // SAFETY: a task_struct.
    unsafe { load(task.0, offset!(task_last_arrival)) }
}

/// # Safety
/// `times` is the task's, and nobody else writes it.
#[inline(always)]
unsafe fn left(task: Task, times: *mut ThreadTimes, now: u64, preempted: bool, state: u32) {
    // SAFETY: the caller's word.
    unsafe {
        if core::ptr::read_volatile(&raw const (*times).since) == 0 {
            return; // another program is about to write what it begins with
        }
        let (runtime, run_delay) = (task.runtime(), task.run_delay());
        let ran = runtime.wrapping_sub((*times).runtime);
        let waited = run_delay.wrapping_sub((*times).run_delay);
        let arrived = arrival(task);
        let last = (*times).left;
        let cpu = bpf_get_smp_processor_id();
        add(&raw mut (*times).on_cpu, ran, place(ran));
        let waited_place = place(waited);
        add(&raw mut (*times).run_queue, waited, waited_place);
        if last == Left::Preempted as u32 {
            add(&raw mut (*times).preempted, waited, waited_place);
        } else if last != Left::Unseen as u32 && now != 0 {
            let away = arrived.wrapping_sub((*times).left_at).wrapping_sub(waited);
            // Clocks of two CPUs may differ by little.
            let away = if away as i64 <= 0 { 0 } else { away };
            let spread = if last == Left::Uninterruptible as u32 {
                &raw mut (*times).uninterruptible
            } else {
                &raw mut (*times).sleep
            };
            add(spread, away, place(away));
        }
        if waited != 0 {
            // Whoever was moved while it waited did so on two CPUs.
            let moved = last == Left::Preempted as u32 && (*times).cpu != cpu;
            preemptors::blame(times, arrived, waited, moved);
        }
        (*times).runtime = runtime;
        (*times).run_delay = run_delay;
        (*times).left_at = now;
        (*times).cpu = cpu;
        (*times).left = if preempted || state == 0 {
            Left::Preempted as u32
        } else if state & TASK_UNINTERRUPTIBLE != 0 && state & TASK_NOLOAD == 0 {
            Left::Uninterruptible as u32
        } else {
            Left::Asleep as u32
        };
    }
}

/// # Safety
/// Nobody else writes `spread`.
#[inline(always)]
unsafe fn add(spread: *mut Spread, nanos: u64, place: usize) {
    // SAFETY: the caller's word.
    unsafe {
        (*spread).sum = (*spread).sum.wrapping_add(nanos);
        if nanos > (*spread).max {
            (*spread).max = nanos;
        }
        if !nanos > (*spread).not_min {
            (*spread).not_min = !nanos;
        }
        // The mask changes nothing. It is for the verifier, behind a wall for the compiler, which might find that out.
        let place = core::hint::black_box(place) & PLACE_MASK;
        let count = (&raw mut (*spread).places).cast::<u32>().add(place);
        *count = (*count).wrapping_add(1);
    }
}
