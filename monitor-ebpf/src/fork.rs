//! sched_process_fork: a watched process makes another one.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{Failure, ForkRecord, Header, Kind};

use crate::{
    maps,
    task::{self, Task},
};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, 5.10 to 6.18
/// (include/trace/events/sched.h). Runs in the parent, before the child first runs
/// (kernel/fork.c, kernel_clone), so no record of the child can precede this one.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    try_fork(Task(ctx.arg(0)), Task(ctx.arg(1)));
    0
}

#[inline(always)]
fn try_fork(parent: Task, child: Task) {
    if !child.is_leader() {
        return; // a thread
    }
    let parent = parent.key();
    let Some(mark) = maps::mark(&parent) else { return };
    // SAFETY: a live map value.
    if maps::rejected(&parent, unsafe { (*mark).sequence }) {
        return;
    }
    let key = child.key();
    let time = task::now();
    maps::mark_undecided(&key, time);
    let Some(mut entry) = maps::reserve::<ForkRecord>(Failure::ForkReserve) else {
        return;
    };
    entry.write(ForkRecord {
        header: Header {
            kind: Kind::Fork as u32,
            flags: 0,
            time,
            key,
        },
        sequence: time,
        parent,
    });
    entry.submit(maps::wake_up());
}
