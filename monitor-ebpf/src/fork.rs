//! sched_process_fork: a watched process makes another one.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{Failure, ForkRecord, Header, Kind, MARK_HELD, MARK_TOLD};

use crate::{
    facts, identity, maps,
    task::{self, Task},
};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, 5.10 to 6.18
/// (include/trace/events/sched.h). Runs in the parent, before the child first runs
/// (kernel/fork.c, kernel_clone), so no record of the child can precede this one.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    if !maps::is_watched() {
        return 0;
    }
    try_fork(Task::of(ctx.arg(0)), Task::of(ctx.arg(1)));
    0
}

#[inline(always)]
fn try_fork(parent: Task, child: Task) {
    if !child.is_leader() {
        return; // a thread
    }
    let parent = parent.key();
    let Some(mark) = maps::mark(&parent) else { return };
    // SAFETY: a live map value, written by the process that runs this.
    let (sequence, flags) = unsafe { ((*mark).sequence, (*mark).flags) };
    let parent_is_known = match maps::verdict(&parent, sequence) {
        Some(true) => true,
        Some(false) => return,
        None => flags & (MARK_TOLD | MARK_HELD) != 0,
    };
    let key = child.key();
    let time = task::now();
    // Of a parent that userspace has not heard of it could not tell what the child is.
    let entry = if parent_is_known {
        maps::reserve::<ForkRecord>(Failure::ForkReserve)
    } else {
        None
    };
    let Some(mut entry) = entry else {
        // SAFETY: a live map value.
        unsafe { identity::forked(&key, mark, time, false) };
        return;
    };
    // SAFETY: as above. (A second look at `entry` behind one call for both cases is more than 6.1's verifier follows.)
    unsafe { identity::forked(&key, mark, time, true) };
    entry.write(ForkRecord {
        header: Header {
            kind: Kind::Fork as u32,
            flags: 0,
            time,
            key,
        },
        sequence: time,
        parent,
        facts: facts::of(child),
    });
    entry.submit(maps::wake_up());
    if flags & MARK_HELD != 0 {
        identity::inherit_held(&parent, &key, time);
    }
}
