//! sched_process_exec: a process runs a new program.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel_str_bytes, generated::bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use kevmon_common::{ARGV_LEN, EXEC_ARGV_CUT, ExecRecord, Failure, Header, Kind};

use crate::{
    facts,
    identity::{self, Name},
    maps,
    task::{self, Kernel, Task, dead_run_delay, load, offset},
};

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.10 to 6.18
/// (include/trace/events/sched.h). Runs in the process that executes, after the new image is in place
/// and every other thread is gone (fs/exec.c, exec_binprm).
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg(0));
    if !try_exec(task, ctx.arg(2)) {
        // Off unless kevmon logs at `debug`: the verifier then drops it.
        debug!(&ctx, "exec of pid {} not told: no ring space", task.tgid());
    }
    0
}

#[inline(always)]
fn try_exec(task: Task, bprm: Kernel) -> bool {
    let key = task.key();
    let time = task::now();
    // SAFETY: the binprm of the tracepoint.
    let file: Kernel = unsafe { load(bprm, offset!(bprm_file)) };
    // The ring space first: the mark says whether this is told.
    let Some(mut entry) = maps::reserve::<ExecRecord>(Failure::ExecReserve) else {
        identity::executed(&key, maps::mark(&key), time, false, &Name::of_file(file));
        return false;
    };
    let record = entry.as_mut_ptr();
    let mark = maps::mark(&key);
    // SAFETY: `record` points to reserved ring space of this size; every field is written before the submit,
    // and of the three text arrays only the bytes that their lengths cover are read by userspace.
    unsafe {
        let head = &raw mut (*record).head;
        (*head).sequence = time;
        (*head).parent = task.parent().key();
        let mut usage = task.total_usage(dead_run_delay(mark));
        usage.run_delay += task.run_delay();
        (*head).usage = usage;
        (*head).facts = facts::of(task);
        (*head).comm = task.comm();
        let exe_len = task::file_name(file, &mut (*record).exe);
        (*head).exe_len = exe_len;
        let filename: Kernel = load(bprm, offset!(bprm_filename));
        (*head).filename_len = match bpf_probe_read_kernel_str_bytes(filename, &mut (*record).filename) {
            Ok(copied) => copied.len() as u32,
            Err(_) => 0,
        };
        let (argv_len, flags) = read_argv(task.mm(), &mut (*record).argv);
        (*head).argv_len = argv_len;
        (*head).pad = 0;
        (*head).header = Header {
            kind: Kind::Exec as u32,
            flags,
            time,
            key,
        };
        identity::executed(
            &key,
            mark,
            time,
            true,
            &Name::of_record(&raw const (*record).exe, exe_len),
        );
    }
    entry.submit(maps::wake_up());
    true
}

/// Copies the argument vector, at most [`ARGV_LEN`] bytes of it. Its pages were written a moment ago by the
/// exec itself, so the read does not fault; if it does, the length is 0.
#[inline(always)]
fn read_argv(mm: Kernel, argv: &mut [u8; ARGV_LEN]) -> (u32, u32) {
    if mm.is_null() {
        return (0, 0);
    }
    // SAFETY: a non-null mm_struct.
    let (start, end): (u64, u64) =
        unsafe { (load(mm, offset!(mm_arg_start)), load(mm, offset!(mm_arg_end))) };
    let mut len = end.wrapping_sub(start);
    let mut flags = 0;
    if len > ARGV_LEN as u64 {
        len = ARGV_LEN as u64;
        flags = EXEC_ARGV_CUT;
    }
    // SAFETY: the helper checks the user address; `len` fits the array.
    match unsafe { bpf_probe_read_user(argv.as_mut_ptr().cast(), len as u32, start as *const _) } {
        0 => (len as u32, flags),
        _ => (0, flags),
    }
}
