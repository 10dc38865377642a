//! sched_process_free: the kernel lets go of a process; its totals are final.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use kevmon_common::{EndRecord, Failure, Header, Kind};

use crate::{
    maps,
    task::{self, Task},
};

/// `TP_PROTO(struct task_struct *p)`, 5.10 to 6.18 (include/trace/events/sched.h). Runs from RCU once the task
/// is reaped and off the CPU (kernel/exit.c, delayed_put_task_struct). By then __exit_signal has added every
/// thread, the leader too, to `signal_struct`, which the task still holds: these are wait4's numbers.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    try_free(Task(ctx.arg(0)));
    0
}

#[inline(always)]
fn try_free(task: Task) {
    if !task.is_leader() {
        return;
    }
    let key = task.key();
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value, which no program writes any more.
    let mark = unsafe { *mark };
    if !maps::rejected(&key, mark.sequence)
        && let Some(mut entry) = maps::reserve::<EndRecord>(Failure::FreeReserve)
    {
        let record = entry.as_mut_ptr();
        // SAFETY: `record` points to reserved ring space of this size; every field is written before the submit.
        unsafe {
            (*record).header = Header {
                kind: Kind::Free as u32,
                flags: 0,
                time: task::now(),
                key,
            };
            (*record).status = task.exit_status();
            (*record).pad = 0;
            (*record).usage = task.ended_usage(&mark);
            (*record).peak_rss = 0; // the address space went long ago
        }
        entry.submit(maps::wake_up());
    }
    maps::forget(&key);
}
