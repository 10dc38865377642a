//! signal_generate: somebody sends a signal.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_probe_read_kernel},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use kevmon_common::{COMM_LEN, Mark};

use crate::{
    maps,
    task::{ABSENT, Task, offset},
};

/// Signals whose default action does not end the process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH
/// (include/linux/signal.h, SIG_KERNEL_STOP_MASK and SIG_KERNEL_IGNORE_MASK; numbers of x86 and ARM).
const HARMLESS: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 28;

/// `TRACE_SIGNAL_DELIVERED` (include/trace/events/signal.h).
const DELIVERED: u32 = 0;
/// `TRACE_SIGNAL_LOSE_INFO`: delivered, without what came with it.
const LOSE_INFO: u32 = 4;

/// Where a signal comes from that a process sent: kill(2), sigqueue(3), tgkill(2)
/// (include/uapi/asm-generic/siginfo.h).
const SI_USER: i32 = 0;
const SI_QUEUE: i32 = -1;
const SI_TKILL: i32 = -6;

/// `info` where the kernel fills in SI_USER and the current process, and where it speaks for itself
/// (include/linux/sched/signal.h).
const SEND_SIG_NOINFO: u64 = 0;
const SEND_SIG_PRIV: u64 = 1;

/// SIGKILL has this number on every architecture.
const SIGKILL: u32 = 9;

/// `TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`, 5.10 to 6.18
/// (include/trace/events/signal.h). Runs in the sender, or in whatever a timer's interrupt hit
/// (kernel/signal.c, __send_signal_locked).
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let signal = ctx.arg::<u64>(0) as u32;
    // Most signals are CHLD. Signals are 1 to 64: bit 0 stands for the last one.
    if HARMLESS >> (signal & 63) & 1 != 0 {
        return 0;
    }
    let result = ctx.arg::<u64>(4) as u32;
    // As in `free`, nobody asks whether kevmon still watches.
    if result == DELIVERED || result == LOSE_INFO {
        try_signal(&ctx, signal, Task::of(ctx.arg(2)));
    }
    0
}

#[inline(always)]
fn try_signal(ctx: &BtfTracePointContext, signal: u32, target: Task) {
    let Some(mark) = maps::mark(&target.key()) else {
        return;
    };
    if target.dies_of_another(signal) {
        return;
    }
    if sent_by_process(ctx) {
        // SAFETY: a live map value. Two senders at once may mix; the signal that kills is told once in any case
        // (a second one of the same number is TRACE_SIGNAL_ALREADY_PENDING).
        unsafe { note_sender(mark, signal) };
    } else {
        // SAFETY: as above. Of the same signals the last one counts, and nobody sent it; SIGKILL comes before all.
        unsafe {
            if (*mark).sender.signal == signal || signal == SIGKILL {
                (*mark).sender.signal = 0;
            }
        }
    }
}

/// True for a `si_code` that only a process brings about. `info` may be SEND_SIG_NOINFO or SEND_SIG_PRIV and must not be followed as it is. The verifier takes it for a pointer to the type, some
/// versions for one that may be null; read from the context's memory it is a plain number, and the helper fails on bad
/// addresses.
#[inline(always)]
fn sent_by_process(ctx: &BtfTracePointContext) -> bool {
    if offset!(siginfo_code) == ABSENT {
        return false;
    }
    let mut info = 0u64;
    let mut code = 0i32;
    // SAFETY: the context is the array of the arguments, eight bytes each; the helpers check every address.
    unsafe {
        let argument = ctx.as_ptr().cast::<u64>().add(1);
        if bpf_probe_read_kernel((&raw mut info).cast(), 8, argument.cast()) != 0 || info == SEND_SIG_PRIV {
            return false;
        }
        if info == SEND_SIG_NOINFO {
            return true; // the receiver is told SI_USER and the current process (cgroup.kill, a parent's death)
        }
        let address = (info + offset!(siginfo_code)) as *const _;
        if bpf_probe_read_kernel((&raw mut code).cast(), 4, address) != 0 {
            return false;
        }
    }
    matches!(code, SI_USER | SI_QUEUE | SI_TKILL)
}

/// # Safety
/// `mark` is a live map value.
#[inline(always)]
unsafe fn note_sender(mark: *mut Mark, signal: u32) {
    // SAFETY: the caller vouches for `mark`.
    unsafe {
        let sender = &raw mut (*mark).sender;
        (*sender).tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        bpf_get_current_comm((&raw mut (*sender).comm).cast(), COMM_LEN as u32);
        (*sender).signal = signal;
    }
}
