//! sched_process_fork and sched_process_exec: threads that begin, and those that become something else.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndKind, TRACK_WANTED};

use crate::{
    ends,
    task::Task,
    threads::{self, flags_of},
};

/// Runs in the parent, before the child first runs; see the other object's program of this name.
#[btf_tracepoint(function = "sched_process_fork")]
fn switches_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child) = (Task(ctx.arg(0)), Task(ctx.arg(1)));
    let parent_times = threads::times(parent);
    // A thread is what its process is. A new process may become anything: it is tracked until userspace knows better.
    if parent_times.is_none() && !child.is_leader() {
        return 0;
    }
    let flags = match parent_times {
        Some(times) => flags_of(times),
        None => 0,
    };
    threads::track(child, flags);
    0
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.10 to 6.18. Runs in the process that
/// executes, which has one thread by then.
#[btf_tracepoint(function = "sched_process_exec")]
fn switches_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    let Some(times) = threads::times(task) else {
        threads::track(task, 0);
        return 0;
    };
    // What it did while it was of interest belongs to what it was. What it did before anybody knew what it is belongs to what it
    // becomes, as its usage does.
    if flags_of(times) & TRACK_WANTED != 0 || threads::is_wanted(&task.key()) {
        ends::thread(EndKind::Exec, task, times);
        threads::begin_again(task, times, 0);
    }
    0
}
