//! Which threads are tracked, and where what is measured of them is kept.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, task_struct},
    helpers::generated::{bpf_probe_read_kernel, bpf_task_storage_delete, bpf_task_storage_get},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray},
};
use kevmon_common::{Key, SwitchCounters, TRACK_WANTED, ThreadTimes};
use kevmon_ebpf::atomic::add;

use crate::task::{ABSENT, Task, load, load_or_zero, now, offset};

/// `BPF_MAP_TYPE_TASK_STORAGE` (include/uapi/linux/bpf.h); 5.11 and newer, for tracing programs 5.13.
const TASK_STORAGE: usize = 29;

/// A map of values that the kernel keeps with its tasks and frees with them. What aya's own BTF maps are made of; it has none
/// of this type.
#[repr(C)]
struct TaskStorage<T> {
    r#type: *const [i32; TASK_STORAGE],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: a definition for the loader; the programs take its address and nothing else.
unsafe impl<T> Sync for TaskStorage<T> {}

#[btf_map]
static THREADS: TaskStorage<ThreadTimes> = TaskStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
};

/// Processes whose threads userspace wants to be tracked. The value means nothing.
#[map]
static WANTED: HashMap<Key, u64> = HashMap::with_max_entries(1 << 14, 0);

/// Zeros, which `begin_again` copies over what was measured of a thread.
#[map]
static ZEROS: Array<ThreadTimes> = Array::with_max_entries(1, 0);

#[map]
static SWITCH_COUNTERS: PerCpuArray<SwitchCounters> = PerCpuArray::with_max_entries(1, 0);

/// Threads tracked at most: 4 KiB of kernel memory each. The loader sets it.
#[unsafe(no_mangle)]
static THREADS_AT_MOST: u64 = 0;

/// Threads tracked now, over all CPUs.
#[map]
static TRACKED: Array<u64> = Array::with_max_entries(1, 0);

/// What was measured of a thread, if it is tracked.
#[inline(always)]
pub(crate) fn times(task: Task) -> Option<*mut ThreadTimes> {
    // Most have nothing of any program's, and need no look-up.
    // SAFETY: a task_struct.
    if offset!(task_bpf_storage) != ABSENT && unsafe { load::<u64>(task.0, offset!(task_bpf_storage)) } == 0 {
        return None;
    }
    get(task, 0)
}

#[inline(always)]
fn get(task: Task, flags: u64) -> Option<*mut ThreadTimes> {
    // SAFETY: a map of this type and a task that the kernel handed out; the helper checks both.
    let times = unsafe {
        bpf_task_storage_get(
            (&raw const THREADS).cast_mut().cast(),
            task.0.cast_mut().cast::<task_struct>(),
            core::ptr::null_mut(),
            flags,
        )
    };
    let times = times.cast::<ThreadTimes>();
    if times.is_null() { None } else { Some(times) }
}

/// Whether userspace wants this process to be tracked.
#[inline(always)]
pub(crate) fn is_wanted(key: &Key) -> bool {
    WANTED.get_ptr(key).is_some()
}

/// Begins to track a thread, from what it has used by now. Not where a run queue is locked: memory is taken.
#[inline(always)]
pub(crate) fn track(task: Task, flags: u32) -> bool {
    // SAFETY: a static that the loader writes.
    let most = unsafe { core::ptr::read_volatile(&THREADS_AT_MOST) };
    // Signed: what died while nobody looked may have been taken away twice.
    if TRACKED
        .get(0)
        .is_none_or(|tracked| *tracked as i64 >= most as i64)
    {
        count(|counters| &raw mut counters.refused);
        return false;
    }
    let Some(times) = get(task, BPF_LOCAL_STORAGE_GET_F_CREATE.into()) else {
        count(|counters| &raw mut counters.refused);
        return false;
    };
    // SAFETY: a live map value; new storage is all zeros, and a thread that runs elsewhere leaves it alone until it has begun.
    unsafe {
        if (*times).since != 0 {
            return true;
        }
        begin(task, times, flags);
    }
    note_tracked(1);
    true
}

/// # Safety
/// `times` is the task's.
#[inline(always)]
unsafe fn begin(task: Task, times: *mut ThreadTimes, flags: u32) {
    // SAFETY: the caller's word.
    unsafe {
        (*times).runtime = task.runtime();
        (*times).run_delay = task.run_delay();
        begin_since(task, times, flags);
    }
}

/// # Safety
/// `times` is the task's.
#[inline(always)]
unsafe fn begin_since(task: Task, times: *mut ThreadTimes, flags: u32) {
    // SAFETY: the caller's word.
    unsafe {
        (*times).migrations = load_or_zero(task.0, offset!(task_migrations));
        (*times).flags = flags;
        (*times).tid = task.pid();
        // Last: a thread that leaves its CPU before that is not measured yet.
        core::ptr::write_volatile(&raw mut (*times).since, now());
    }
}

/// Tracks a thread that executed as a new one. The turn that it is in goes on, and counts where it ends: so it is in one of the
/// two, whole.
#[inline(always)]
pub(crate) fn begin_again(task: Task, times: *mut ThreadTimes, flags: u32) {
    let Some(zeros) = ZEROS.get_ptr(0) else { return };
    // SAFETY: a live map value of this size that only this thread writes, and another one that nobody writes.
    unsafe {
        let (runtime, run_delay) = ((*times).runtime, (*times).run_delay);
        let (left, left_at, cpu) = ((*times).left, (*times).left_at, (*times).cpu);
        bpf_probe_read_kernel(times.cast(), size_of::<ThreadTimes>() as u32, zeros.cast());
        (*times).runtime = runtime;
        (*times).run_delay = run_delay;
        (*times).left = left;
        (*times).left_at = left_at;
        (*times).cpu = cpu;
        begin_since(task, times, flags);
    }
}

/// No longer tracks a thread.
#[inline(always)]
pub(crate) fn give_up(task: Task) {
    // SAFETY: as in `get`.
    let gone = unsafe {
        bpf_task_storage_delete(
            (&raw const THREADS).cast_mut().cast(),
            task.0.cast_mut().cast::<task_struct>(),
        )
    };
    if gone == 0 {
        note_tracked(u64::MAX);
    }
}

/// Adds to the number of tracked threads.
#[inline(always)]
pub(crate) fn note_tracked(more: u64) {
    if let Some(tracked) = TRACKED.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(tracked, more) };
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(which: impl FnOnce(&mut SwitchCounters) -> *mut u64) {
    if let Some(counters) = SWITCH_COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe { add(which(&mut *counters), 1) };
    }
}

/// Whether the thread's process is wanted, by the thread itself or by userspace.
#[inline(always)]
pub(crate) fn flags_of(times: *const ThreadTimes) -> u32 {
    // SAFETY: a live map value.
    unsafe { (*times).flags & TRACK_WANTED }
}
