//! sched_switch, for those who leave their CPU for the last time: totals that do not wait for the parent.
//!
//! `sched_process_free` has a process's final totals, but comes once the process has been reaped, and from RCU: on a kernel, or
//! at a moment, where no program runs then, it does not come at all. Here the dying thread itself tells them, and
//! nothing else has to happen. Each switch of the host runs this program, so it is attached only where frees are missed.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndRecord, Failure, Kind, MARK_SETTLED, MARK_TOLD, Mark, Usage};

use crate::{
    end, maps,
    task::{self, ABSENT, TASK_DEAD, Task, offset},
};

/// How often sums that are being written are looked at.
const LOOKS: u32 = 3;

/// `TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)` since 5.18, without the
/// last one before (include/trace/events/sched.h). Runs on the CPU that is switched, while `prev` is still the current task.
#[btf_tracepoint(function = "sched_switch")]
fn task_dead(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(1));
    let state = if offset!(switch_has_state) != 0 {
        ctx.arg::<u32>(3)
    } else {
        task.state()
    };
    if state & TASK_DEAD != 0 && maps::is_watched() {
        try_dead(Task::of(task.0));
    }
    0
}

/// A thread has left for the last time. Where it is its process's last, tells what the process has used in all.
///
/// A thread that is no leader has been released by then, and is in the sums of `signal_struct`; the leader is, once it has been
/// reaped (kernel/exit.c, exit_notify, release_task). Which of the two holds changes together with the sums, under the writers'
/// side of `signal->stats_lock` (__exit_signal).
#[inline(always)]
fn try_dead(task: Task) {
    if offset!(signal_stats_sequence) == ABSENT || task.threads() > 1 || task.live_threads() > 0 {
        return;
    }
    // The leader may be on its way out still, and then tells itself.
    let leader = task.leader();
    if !task.is_leader() && !leader.is_reaped() && leader.state() & TASK_DEAD == 0 {
        return;
    }
    let key = task.key();
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value, which the threads that exit write, and no one else by now.
    let (sequence, flags, ended) = unsafe { ((*mark).sequence, (*mark).flags, (*mark).ended) };
    let is_known = match maps::verdict(&key, sequence) {
        Some(keep) => keep,
        // Nobody knows what it was: the free keeps its life.
        None => flags & MARK_TOLD != 0,
    };
    if is_known && ended != 0 && flags & MARK_SETTLED == 0 {
        tell(task, mark);
    }
}

#[inline(always)]
fn tell(task: Task, mark: *mut Mark) {
    // SAFETY: a live map value.
    let Some(usage) = whole_usage(task.leader(), unsafe { (*mark).dead_run_delay }) else {
        return; // the free tells it
    };
    let Some(mut entry) = maps::reserve::<EndRecord>(Failure::DeadReserve) else {
        return; // likewise
    };
    // SAFETY: reserved ring space of this size, and a live map value, whose flags only this thread writes by now.
    unsafe {
        end::fill(
            entry.as_mut_ptr(),
            Kind::Dead,
            task::now(),
            &task.key(),
            task,
            mark,
            usage,
        );
        (*mark).flags |= MARK_SETTLED;
    }
    entry.submit(maps::wake_up());
}

/// What all threads of a process have used; `None` where somebody writes the sums all the while. Nothing else is in the loop: the
/// verifier follows each of its rounds.
#[inline(always)]
fn whole_usage(leader: Task, dead_run_delay: u64) -> Option<Usage> {
    let mut look = 0;
    while look < LOOKS {
        look += 1;
        let before = leader.stats_sequence();
        let usage = if leader.is_reaped() {
            leader.ended_usage(dead_run_delay)
        } else {
            leader.total_usage(dead_run_delay)
        };
        if before & 1 == 0 && leader.stats_sequence() == before {
            return Some(usage);
        }
    }
    None
}
