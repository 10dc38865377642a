//! sched_process_exec: a process runs a new program.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel_str_bytes, generated::bpf_probe_read_kernel_str},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use kevmon_common::{EXEC_ARGV_CUT, EXEC_FILENAME_CUT, ExecRecord, FILENAME_LEN, Failure, Header, Kind};

use crate::{
    arguments::Arguments,
    facts,
    identity::{self, Name},
    maps::{self, SCRATCH_LEN, Scratch},
    task::{self, Kernel, Task, dead_run_delay, load, offset},
};

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.10 to 6.18
/// (include/trace/events/sched.h). Runs in the process that executes, after the new image is in place
/// and every other thread is gone (fs/exec.c, exec_binprm).
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if !maps::is_watched() {
        return 0;
    }
    let task = Task::of(ctx.arg(0));
    if !try_exec(task, task::binprm(ctx.arg(2))) {
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
    // Before the exec's own record: whoever reads that one has the whole argument vector.
    let before = Arguments::of(task.mm()).send_rest(&key, time);
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
        let (filename_len, filename_cut) = read_end(filename, &mut (*record).filename);
        (*head).filename_len = filename_len;
        // Loaded again: what the verifier knows of the length from above would have it follow each way on from there.
        let arguments = Arguments::of(task.mm());
        let argv_len = arguments.read(&mut (*record).argv);
        (*head).argv_len = argv_len;
        (*head).argv_before = before;
        let mut flags = if filename_cut { EXEC_FILENAME_CUT } else { 0 };
        if arguments.is_more_than(argv_len, before) {
            flags |= EXEC_ARGV_CUT;
        }
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

/// As many bytes as one read of a path gives: all but the NUL.
const WINDOW: usize = FILENAME_LEN - 1;

/// Copies the end of a path. Returns its length, and whether the beginning is missing. Half a name is none: of a path whose
/// end cannot be found nothing is told.
#[inline(always)]
fn read_end(path: Kernel, end: &mut [u8; FILENAME_LEN]) -> (u32, bool) {
    let len = read_text(path, end);
    if len < WINDOW {
        return (len as u32, false);
    }
    // Full. How long is it?
    let Some(mut scratch) = Scratch::new() else {
        return (0, true);
    };
    // SAFETY: as many bytes as there are; the helper checks the address.
    let copied =
        unsafe { bpf_probe_read_kernel_str(scratch.as_mut_ptr().cast(), SCRATCH_LEN as u32, path.cast()) };
    scratch.discard();
    let cut = (copied as usize).wrapping_sub(1 + WINDOW);
    (read_text(path.wrapping_add(cut), end) as u32, cut != 0)
}

/// Copies a text of the kernel's; returns its length without the NUL, 0 when it cannot be read.
#[inline(always)]
fn read_text(text: Kernel, into: &mut [u8; FILENAME_LEN]) -> usize {
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_kernel_str_bytes(text, into) } {
        Ok(copied) => copied.len(),
        Err(_) => 0,
    }
}
