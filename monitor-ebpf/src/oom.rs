//! mark_victim: the OOM killer picks a process.

use aya_ebpf::{
    bindings::BPF_ANY,
    macros::{btf_tracepoint, map},
    maps::HashMap,
    programs::BtfTracePointContext,
};
use kevmon_common::Failure;

use crate::{
    maps,
    task::{Task, offset},
};

/// SIGKILL has this number on every architecture.
const SIGKILL: u32 = 9;

/// Threads picked, by id, on kernels that tell no more than that, until they exit.
#[map]
static VICTIMS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// `TP_PROTO(struct task_struct *task, uid_t uid)` since 6.10 and in the stable kernels that took it over (6.1.192),
/// `TP_PROTO(int pid)` before (include/trace/events/oom.h). Runs in whoever ran out of memory, right after the victim was
/// sent its SIGKILL (mm/oom_kill.c, __oom_kill_process). Others that share its memory are killed without a mark. The victim is any thread of its process that still has its memory.
#[btf_tracepoint(function = "mark_victim")]
fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    if !maps::is_watched() {
        return 0;
    }
    if offset!(mark_victim_has_task) != 0 {
        mark(Task::of(ctx.arg(0)));
    } else {
        remember(ctx.arg::<u64>(0) as u32);
    }
    0
}

#[inline(always)]
fn mark(victim: Task) {
    if let Some(mark) = maps::mark(&victim.key()) {
        // SAFETY: a live map value, and a field that is only ever set.
        unsafe {
            // The kernel also picks what is dying already (mm/oom_kill.c, task_will_free_mem). Its own SIGKILL has no
            // sender, so one with a sender came from elsewhere.
            if (*mark).sender.signal != SIGKILL {
                (*mark).oom = 1;
            }
        }
    }
}

#[inline(always)]
fn remember(tid: u32) {
    if VICTIMS.insert(tid, 1, u64::from(BPF_ANY)).is_err() {
        maps::count(Failure::Victims);
    }
}

/// To be asked of every exiting thread: whether the OOM killer had picked it. Marks have that already where the kernel
/// tells the task.
#[inline(always)]
pub(crate) fn picked(task: Task) -> bool {
    offset!(mark_victim_has_task) == 0 && VICTIMS.remove(task.pid()).is_ok()
}
