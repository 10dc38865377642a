//! What task iterators get, and how they answer.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;

use crate::{
    offset,
    task::{Kernel, load},
};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c, 5.8 and newer). The task is NULL at the end of the walk.
#[repr(C)]
pub struct IterContext {
    pub meta: Kernel,
    pub task: Kernel,
}

/// Appends to what the reader of the iterator gets. When the buffer is full the kernel calls again for the same
/// task after the reader took what there was (kernel/bpf/bpf_iter.c, bpf_seq_read).
///
/// # Safety
/// `data` points to `len` readable bytes.
#[inline(always)]
pub unsafe fn write(meta: Kernel, data: *const c_void, len: u32) {
    // SAFETY: `meta` is the iterator's, and the caller vouches for `data`.
    unsafe {
        let seq: Kernel = load(meta, offset!(iter_seq));
        bpf_seq_write(seq.cast_mut().cast(), data, len);
    }
}
