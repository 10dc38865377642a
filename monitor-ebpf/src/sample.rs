//! iter/task `sample`: what the watched processes have used so far. One record for each of their threads.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use kevmon_common::{Facts, SampleRecord};
use kevmon_ebpf::iterator::{IterContext, write};

use crate::{
    facts, files, maps,
    task::{Kernel, Task},
};

#[map]
static SAMPLE_SCRATCH: PerCpuArray<SampleRecord> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn sample(ctx: *const IterContext) -> i32 {
    // SAFETY: the kernel passes a valid context; `meta` is never NULL.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if !task.is_null() {
        try_sample(meta, Task::of(task));
    }
    0
}

#[inline(always)]
fn try_sample(meta: Kernel, task: Task) {
    let key = task.key();
    let Some(mark) = maps::mark(&key) else { return };
    // SAFETY: a live map value; a sequence read while it changes only costs one record too many or too few.
    let (sequence, dead_run_delay) = unsafe { ((*mark).sequence, (*mark).dead_run_delay) };
    if maps::rejected(&key, sequence) {
        return;
    }
    let Some(record) = SAMPLE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's scratch. The program may be preempted (kernel/bpf/bpf_iter.c, bpf_iter_run_prog disables migration, and
    // no more), but it runs for whoever reads its iterator, and that is one thread of kevmon.
    unsafe {
        (*record).key = key;
        (*record).tid = task.pid();
        (*record).threads = task.threads();
        (*record).live = task.live_threads();
        (*record).status = task.exit_status();
        let memory = task.memory();
        (*record).mm = memory.mm;
        (*record).hiwater_rss = memory.hiwater_rss;
        (*record).total_vm = memory.total_vm;
        (*record).fds = files::open_descriptors(task);
        (*record).runnable = task.is_runnable().into();
        (*record).facts = if task.is_leader() {
            facts::of(task)
        } else {
            Facts::UNKNOWN
        };
        // The sums first: a thread that ends between the two loads is then missed, never counted twice.
        (*record).ended = task.ended_usage(dead_run_delay);
        let mut own = task.usage();
        if task.is_exiting() {
            own.run_delay = 0; // in the mark, or about to be
        }
        (*record).own = own;
        // `free` removes the mark while a walk still holds the task, and the element, which is allocated in advance, is the
        // next process's at once: its `dead_run_delay` may be another's. The free record has the totals.
        if maps::mark(&key).is_none() {
            return;
        }
        write(meta, record.cast_const().cast(), size_of::<SampleRecord>() as u32);
    }
}
