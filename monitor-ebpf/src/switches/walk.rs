//! iter/task `walk`: what was measured of the threads that userspace wants. It also begins to track those that are not yet, and
//! gives up those that nobody wants.

use aya_ebpf::{macros::map, maps::Array};
use kevmon_common::{EndKind, Header, TRACK_ENDED, TRACK_WANTED, ThreadEnd, ThreadTimes};
use kevmon_ebpf::iterator::{IterContext, write};

use crate::{
    task::{Kernel, Task, load_or_zero, offset},
    threads,
};

/// What is tracked since before this, ns of CLOCK_BOOTTIME, and not wanted, is given up. Userspace writes it: of what
/// began before that it knows all.
#[map]
static DECIDED_UNTIL: Array<u64> = Array::with_max_entries(1, 0);

#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn walk(ctx: *const IterContext) -> i32 {
    // SAFETY: the kernel passes a valid context; `meta` is never NULL.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if !task.is_null() {
        try_walk(meta, Task(task));
    }
    0
}

#[inline(always)]
fn try_walk(meta: Kernel, task: Task) {
    let key = task.key();
    let times = threads::times(task);
    if !threads::is_wanted(&key) {
        let Some(times) = times else { return };
        // What is on its way out tells what was measured itself, and userspace may know that it has ended.
        if task.is_exiting() {
            return;
        }
        let decided = DECIDED_UNTIL.get(0).copied().unwrap_or(0);
        // SAFETY: a live map value.
        if unsafe { (*times).since } < decided {
            threads::give_up(task);
        }
        return;
    }
    let Some(times) = times else {
        if !task.is_exiting() {
            threads::track(task, TRACK_WANTED);
        }
        return;
    };
    // SAFETY: a live map value; only the thread itself writes it, but for these flags.
    unsafe {
        if (*times).flags & TRACK_ENDED != 0 {
            return; // told
        }
        (*times).flags |= TRACK_WANTED;
    }
    let head = ThreadHead {
        header: Header {
            kind: EndKind::Thread as u32,
            flags: 0,
            time: 0,
            key,
        },
        tid: task.pid(),
        pad: 0,
        migrations: unsafe { load_or_zero(task.0, offset!(task_migrations)) },
    };
    // SAFETY: a local, and a live map value. (When the buffer is full after the first, the kernel takes it back and calls again:
    // kernel/bpf/bpf_iter.c, bpf_seq_read.)
    unsafe {
        write(meta, (&raw const head).cast(), size_of::<ThreadHead>() as u32);
        write(meta, times.cast_const().cast(), size_of::<ThreadTimes>() as u32);
    }
}

/// What a [`ThreadEnd`] begins with.
#[repr(C)]
struct ThreadHead {
    header: Header,
    tid: u32,
    pad: u32,
    migrations: u64,
}

const _: () = assert!(size_of::<ThreadHead>() == core::mem::offset_of!(ThreadEnd, times));
