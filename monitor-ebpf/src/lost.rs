//! What becomes of lives whose records found no room in the ring: the ends of processes that userspace knows, one by
//! one, and the whole lives of those it never heard of, summed by name and end.
//!
//! Both maps are allocated in advance: `free` runs in a softirq, where allocation on demand is safe only since 6.1
//! (kernel/bpf/memalloc.c); before that the verifier warns of it in tracing programs, or refuses.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use kevmon_common::{
    COMM_LEN, Failure, Key, Kind, LIVES_OOM, Lives, LivesKey, LostEnd, MARK_EXE_CUT, MARK_EXE_LEN,
    MARK_FORKED, Mark, Usage,
};

use crate::{
    end, maps,
    task::{self, Task},
};

/// Ends of processes that userspace knows, taken and deleted by userspace.
#[map]
static LOST_ENDS: HashMap<Key, LostEnd> = HashMap::with_max_entries(4096, 0);

/// Lives whose record was lost, between exit and free; where the free never comes, userspace takes them after a while.
/// (docs/adr/0005)
#[map]
static PENDING: HashMap<Key, LostEnd> = HashMap::with_max_entries(1024, 0);

/// Sums of lives that userspace never heard of. They only grow; userspace takes differences, and deletes sums that have not
/// moved for long.
#[map]
static LOST_LIVES: HashMap<LivesKey, Lives> = HashMap::with_max_entries(512, 0);

/// Where `free` makes a [`LostEnd`], which is too large for the 512 bytes of stack.
#[map]
static END_SCRATCH: PerCpuArray<LostEnd> = PerCpuArray::with_max_entries(1, 0);

/// Where `exit` makes a [`LostEnd`]; not [`END_SCRATCH`], because the softirq of a free may interrupt it.
#[map]
static EXIT_SCRATCH: PerCpuArray<LostEnd> = PerCpuArray::with_max_entries(1, 0);

struct Life {
    key: LivesKey,
    sums: Lives,
}

#[map]
static LIFE_SCRATCH: PerCpuArray<Life> = PerCpuArray::with_max_entries(1, 0);

/// Keeps what is known of a life that nobody was told of, at its exit.
///
/// # Safety
/// `mark` is a live map value.
#[inline(always)]
pub(crate) unsafe fn expect_free(key: &Key, task: Task, mark: *const Mark, usage: Usage) {
    let Some(lost) = EXIT_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's scratch. Only `exit` uses it, which runs with preemption disabled (include/linux/tracepoint.h,
    // __DO_TRACE) in the thread that exits; what interrupts it exits no thread. The caller vouches for `mark`.
    let lost = unsafe {
        fill(lost, Kind::Exit, key, task, mark, usage);
        &*lost
    };
    // A full map costs only what the kernel does not tell.
    let _ = PENDING.insert(key, lost, u64::from(BPF_ANY));
}

/// The free has been told.
#[inline(always)]
pub(crate) fn freed(key: &Key) {
    // Absent where the map was full, or the exit was not told.
    let _ = PENDING.remove(key);
}

/// # Safety
/// `lost` is writable, `mark` readable.
#[inline(always)]
unsafe fn fill(lost: *mut LostEnd, kind: Kind, key: &Key, task: Task, mark: *const Mark, usage: Usage) {
    // SAFETY: the caller vouches for both.
    unsafe {
        end::fill(&raw mut (*lost).end, kind, task::now(), key, task, mark, usage);
        (*lost).sequence = (*mark).sequence;
        (*lost).flags = (*mark).flags;
        (*lost).exe_len = (*mark).exe_len;
        (*lost).comm = task.comm();
        (*lost).exe = (*mark).exe;
    }
}

/// Keeps all that the exit and free records of a process would have told, and its last names.
#[inline(always)]
pub(crate) fn keep_end(key: &Key, task: Task, mark: &Mark, usage: Usage) {
    let Some(lost) = END_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's scratch. Only `free` uses it, which runs with softirqs off (kernel/rcu/tree.c, rcu_do_batch)
    // and is not entered again on the same CPU.
    let lost = unsafe {
        fill(lost, Kind::Free, key, task, mark, usage);
        &*lost
    };
    match LOST_ENDS.insert(key, lost, u64::from(BPF_ANY)) {
        Ok(()) => maps::count_kept(),
        Err(_) => maps::count(Failure::LostEnds),
    }
}

/// Adds a life to the sums of those with its name and end.
#[inline(always)]
pub(crate) fn keep_life(task: Task, mark: &Mark, usage: Usage) {
    let Some(life) = LIFE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `keep_end`.
    let life = unsafe {
        let key = &raw mut (*life).key;
        (*key).exe = padded_exe(mark);
        (*key).comm = padded_comm(task.comm());
        (*key).status = task.exit_status();
        (*key).flags = mark.flags & (MARK_EXE_CUT | MARK_FORKED) | if mark.oom != 0 { LIVES_OOM } else { 0 };
        (*life).sums = Lives {
            count: 1,
            usage,
            peak_rss: mark.peak_rss,
        };
        &*life
    };
    if LOST_LIVES.get_ptr(life.key).is_none()
        && LOST_LIVES
            .insert(life.key, life.sums, u64::from(BPF_NOEXIST))
            .is_ok()
    {
        maps::count_kept();
        return;
    }
    // There already, or put there by another CPU meanwhile; or there is no room.
    match LOST_LIVES.get_ptr_mut(life.key) {
        Some(sums) => {
            // SAFETY: a live map value.
            unsafe { add_life(sums, &life.sums) };
            maps::count_kept();
        }
        None => maps::count(Failure::LostLives),
    }
}

/// # Safety
/// `sums` is a live map value.
#[inline(always)]
unsafe fn add_life(sums: *mut Lives, life: &Lives) {
    // SAFETY: several CPUs may add at once; of two that raise the peak at once either may win.
    unsafe {
        let usage = &raw mut (*sums).usage;
        kevmon_ebpf::atomic::add(&raw mut (*usage).runtime, life.usage.runtime);
        kevmon_ebpf::atomic::add(&raw mut (*usage).utime, life.usage.utime);
        kevmon_ebpf::atomic::add(&raw mut (*usage).stime, life.usage.stime);
        kevmon_ebpf::atomic::add(&raw mut (*usage).run_delay, life.usage.run_delay);
        kevmon_ebpf::atomic::add(&raw mut (*usage).nvcsw, life.usage.nvcsw);
        kevmon_ebpf::atomic::add(&raw mut (*usage).nivcsw, life.usage.nivcsw);
        kevmon_ebpf::atomic::add(&raw mut (*usage).min_flt, life.usage.min_flt);
        kevmon_ebpf::atomic::add(&raw mut (*usage).maj_flt, life.usage.maj_flt);
        kevmon_ebpf::atomic::add(&raw mut (*usage).read_bytes, life.usage.read_bytes);
        kevmon_ebpf::atomic::add(&raw mut (*usage).write_bytes, life.usage.write_bytes);
        if (*sums).peak_rss < life.peak_rss {
            (*sums).peak_rss = life.peak_rss;
        }
        kevmon_ebpf::atomic::add(&raw mut (*sums).count, 1);
    }
}

/// The name with zeros behind it: keys are compared byte by byte.
#[inline(always)]
fn padded_exe(mark: &Mark) -> [u8; MARK_EXE_LEN] {
    let mut exe = [0; MARK_EXE_LEN];
    let mut start = 0;
    while start < MARK_EXE_LEN {
        let mut word = [0; 8];
        word.copy_from_slice(&mark.exe[start..start + 8]);
        let kept = (mark.exe_len as usize).wrapping_sub(start);
        let word = u64::from_le_bytes(word);
        // A `kept` that has wrapped is far beyond the word too, hence the first test.
        let word = if mark.exe_len as usize <= start {
            0
        } else if kept >= 8 {
            word
        } else {
            word & ((1 << (kept * 8)) - 1)
        };
        exe[start..start + 8].copy_from_slice(&word.to_le_bytes());
        start += 8;
    }
    exe
}

/// The same for `comm`, whose rest the kernel may have left as it was (strlcpy in __set_task_comm, before 6.14).
#[inline(always)]
fn padded_comm(comm: [u8; COMM_LEN]) -> [u8; COMM_LEN] {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&comm[..8]);
    second.copy_from_slice(&comm[8..]);
    let (first, second) = (u64::from_le_bytes(first), u64::from_le_bytes(second));
    let (before, ended) = before_nul(first);
    let after = if ended { 0 } else { before_nul(second).0 };
    let mut padded = [0; COMM_LEN];
    padded[..8].copy_from_slice(&before.to_le_bytes());
    padded[8..].copy_from_slice(&after.to_le_bytes());
    padded
}

/// The bytes of `word` before its first zero byte, and whether it has one. (The lowest bit of the usual test for a
/// zero byte is exact.)
#[inline(always)]
fn before_nul(word: u64) -> (u64, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    if zeros == 0 {
        return (word, false);
    }
    let lowest = zeros & zeros.wrapping_neg();
    (word & ((lowest >> 7).wrapping_sub(1)), true)
}
