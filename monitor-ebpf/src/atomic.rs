//! Atomic operations on memory that several processors write.

/// Atomic add: `AtomicU64::fetch_add` does not exist on this target. Needed for the per-CPU counters too: `free` runs
/// in a softirq, which may come between the load and the store of a plain addition.
///
/// # Safety
/// `counter` points to a map value or to a local.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    // SAFETY: one BPF_ATOMIC add on memory the caller vouches for.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {value}", counter = in(reg) counter, value = in(reg) value);
    }
}
