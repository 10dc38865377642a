//! iter/task `snapshot`: who is there. One record for each process, with its identity; also puts the mark on
//! the processes that userspace picked from an earlier pass.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use kevmon_common::{
    MARK_HELD, MARK_RENAMED, MARK_TOLD, SNAPSHOT_ENDED, SNAPSHOT_MARKED, SNAPSHOT_OOM, SNAPSHOT_RENAMED,
    SNAPSHOT_TOLD, SNAPSHOT_UNTOLD, Sender, SnapshotRecord,
};

use kevmon_ebpf::iterator::{IterContext, write};

use crate::{
    facts,
    identity::{self, Name},
    maps,
    task::{self, Kernel, Task},
};

/// The record is too large for the 512 bytes of stack.
#[map]
static SNAPSHOT_SCRATCH: PerCpuArray<SnapshotRecord> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn snapshot(ctx: *const IterContext) -> i32 {
    // SAFETY: the kernel passes a valid context; `meta` is never NULL.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if !task.is_null() {
        try_snapshot(meta, Task::of(task));
    }
    0
}

#[inline(always)]
fn try_snapshot(meta: Kernel, task: Task) {
    if !task.is_leader() {
        return;
    }
    let key = task.key();
    let Some(record) = SNAPSHOT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's scratch. The program may be preempted (kernel/bpf/bpf_iter.c, bpf_iter_run_prog disables migration, and
    // no more), but it runs for whoever reads its iterator, and that is one thread of kevmon.
    unsafe {
        (*record).key = key;
        (*record).parent = task.parent().key();
        (*record).comm = task.comm();
        let exe_len = task::file_name(task.exe_file(), &mut (*record).exe);
        (*record).exe_len = exe_len;
        identity::found(&key, &Name::of_record(&raw const (*record).exe, exe_len));
        let mut flags = 0;
        (*record).sequence = 0;
        (*record).ended = 0;
        (*record).peak_rss = 0;
        (*record).sender = Sender::NONE;
        (*record).facts = facts::of(task);
        (*record).status = task.exit_status();
        (*record).pad = 0;
        let mark = maps::mark(&key);
        if let Some(mark) = mark {
            flags |= SNAPSHOT_MARKED;
            (*record).sequence = (*mark).sequence;
            (*record).ended = (*mark).ended;
            (*record).peak_rss = (*mark).peak_rss;
            (*record).sender = (*mark).sender;
            if (*mark).oom != 0 {
                flags |= SNAPSHOT_OOM;
            }
            if (*mark).flags & MARK_RENAMED != 0 {
                flags |= SNAPSHOT_RENAMED;
            }
            // A held name waits for userspace as a record in the ring does.
            if (*mark).flags & (MARK_TOLD | MARK_HELD) == 0 {
                if maps::verdict(&key, (*mark).sequence).is_none() {
                    flags |= SNAPSHOT_UNTOLD;
                }
            } else if (*mark).sequence > 0 {
                flags |= SNAPSHOT_TOLD;
            }
        }
        if task.live_threads() == 0 {
            flags |= SNAPSHOT_ENDED;
        }
        (*record).flags = flags;
        if mark.is_some() && maps::mark(&key).is_none() {
            return; // freed meanwhile: the element may be another process's mark, and the end is being told
        }
        write(meta, record.cast(), size_of::<SnapshotRecord>() as u32);
    }
}
