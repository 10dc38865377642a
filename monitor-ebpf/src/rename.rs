//! task_rename: a process takes another name without an exec (prctl, /proc/self/comm).

use aya_ebpf::{
    helpers::bpf_probe_read_kernel_str_bytes, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use kevmon_common::{
    COMM_LEN, Failure, Header, HeldRename, Key, Kind, Mark, RENAME_UNHEARD, RENAMES_A_SECOND, RenameRecord,
};

use crate::{
    facts, identity, maps,
    task::{self, Kernel, Task, dead_run_delay},
};

/// `TP_PROTO(struct task_struct *task, const char *comm)`, 5.10 to 6.18 (include/trace/events/task.h).
/// Runs in a thread of the same group (fs/proc/base.c, comm_write; kernel/sys.c, PR_SET_NAME), before `comm`
/// changes; also for every exec and for kernel threads.
#[btf_tracepoint(function = "task_rename")]
fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task = Task::of(ctx.arg(0));
    // A thread's name is not the process's; an exec's rename is told by the exec.
    if task.is_leader() && !task.in_execve() && maps::is_watched() {
        try_rename(task, ctx.arg(1));
    }
    0
}

#[inline(always)]
fn try_rename(task: Task, comm: Kernel) {
    let key = task.key();
    let time = task::now();
    let mark = maps::mark(&key);
    if let Some(mark) = mark
        && !may_rename(mark, time)
    {
        hold(&key, mark, time, task, comm);
        return;
    }
    // Read before the reservation: what both of its outcomes begin with, the compiler puts between it and a second look at
    // whether it is null, and Linux 5.10 does not see that the first has told (kernel/bpf/verifier.c, reg_type_not_null).
    let file = task.exe_file();
    let Some(mut entry) = maps::reserve::<RenameRecord>(Failure::RenameReserve) else {
        identity::renamed(&key, mark, time, false, file);
        return;
    };
    let heard = identity::renamed(&key, mark, time, true, file);
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to reserved ring space of this size; every field is written before the submit.
    unsafe {
        (*record).header = Header {
            kind: Kind::Rename as u32,
            flags: task.threads() | if heard { 0 } else { RENAME_UNHEARD },
            time,
            key,
        };
        (*record).sequence = time;
        (*record).parent = task.parent().key();
        let mut usage = task.total_usage(dead_run_delay(mark));
        usage.run_delay += task.run_delay();
        (*record).usage = usage;
        (*record).facts = facts::of(task);
        (*record).comm = [0; COMM_LEN];
        // A failed copy leaves an empty name, which matches nothing.
        let _ = bpf_probe_read_kernel_str_bytes(comm, &mut (*record).comm);
    }
    entry.submit(maps::wake_up());
}

/// Keeps a rename beyond the limit until userspace comes for it, in the place of the one before.
#[inline(always)]
fn hold(key: &Key, mark: *mut Mark, time: u64, task: Task, comm: Kernel) {
    let mut rename = HeldRename {
        sequence: time,
        parent: task.parent().key(),
        comm: [0; COMM_LEN],
    };
    // SAFETY: the helper checks the address. A failed copy leaves an empty name, which matches nothing.
    let _ = unsafe { bpf_probe_read_kernel_str_bytes(comm, &mut rename.comm) };
    // SAFETY: the live mark of the process that runs this.
    unsafe { identity::held(key, mark, &rename) };
}

/// False when the process has renamed itself too often.
#[inline(always)]
fn may_rename(mark: *mut Mark, time: u64) -> bool {
    // SAFETY: a live map value. Two threads renaming at once may cost or win one rename.
    unsafe {
        if time.wrapping_sub((*mark).renames_since) > 1_000_000_000 {
            (*mark).renames_since = time;
            (*mark).renames = 0;
        }
        if (*mark).renames >= RENAMES_A_SECOND {
            return false;
        }
        (*mark).renames += 1;
    }
    true
}
