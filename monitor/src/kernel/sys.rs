//! The bpf(2) calls that aya has no words for: links to iterators restricted to one process, map updates in
//! batches, names in bpffs, and a program's counts. Layouts: `union bpf_attr` and `struct bpf_prog_info`, include/uapi/linux/bpf.h, 6.1.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya::Pod;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `struct { … } link_create`, with iter_info.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// `union bpf_iter_link_info`, its `task` member.
#[repr(C)]
struct TaskInfo {
    tid: u32,
    pid: u32,
    pid_fd: u32,
    /// The union is as long as its longest member in 6.1; the kernel accepts shorter ones.
    pad: u32,
}

#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// `struct { … } batch`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
struct ObjGetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The part of `union bpf_attr` for BPF_OBJ_PIN and BPF_OBJ_GET that 4.4 knows.
#[repr(C)]
struct Obj {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `struct { … } raw_tracepoint`.
#[repr(C)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: none of the commands used with this writes to its attributes, and what they point to outlives the call.
    unsafe { bpf_raw(command, std::ptr::from_ref(attributes).cast_mut()) }
}

/// # Safety
/// `attributes` are those of `command`, writable where it writes to them, and so is what they point to.
unsafe fn bpf_raw<T>(command: libc::c_int, attributes: *mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`; the caller vouches for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>() as libc::c_uint) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Puts `values` under `keys` into a hash map, in order (5.6 and newer). Returns how many went in, and what stopped the
/// rest.
pub fn update_batch<K, V>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> (usize, io::Result<()>) {
    let total = keys.len().min(values.len());
    let mut attributes = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: total as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes, keys and values, and writes `count`; all outlive the call.
    let result = unsafe { bpf_raw(BPF_MAP_UPDATE_BATCH, &raw mut attributes) }.map(drop);
    let done = match &result {
        Ok(()) => total,
        Err(error) if knows_no_batches(error) => 0, // nothing was done, and `count` was not touched
        Err(_) => attributes.count as usize,
    };
    (done.min(total), result)
}

/// Takes up to `most` elements out of a hash map whose keys and values are `K` and `V` (5.6 and newer). The look at an element
/// and its removal are one step (kernel/bpf/hashtab.c, __htab_map_lookup_and_delete_batch, under the bucket's lock).
///
/// # Errors
/// ENOSPC: `most` is fewer than a bucket holds. Any other of bpf(2).
pub fn take_batch<K: Pod, V: Pod>(map: BorrowedFd<'_>, most: usize) -> io::Result<Vec<(K, V)>> {
    let mut keys: Vec<K> = Vec::with_capacity(most);
    let mut values: Vec<V> = Vec::with_capacity(most);
    let mut next = 0_u32;
    let mut attributes = Batch {
        in_batch: 0,
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: most as u32,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes, writes `count` and `next`, and as many keys and values as fit; all outlive the
    // call.
    let result = unsafe { bpf_raw(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &raw mut attributes) };
    match result {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {} // ENOENT: the end of the map was reached
    }
    let taken = (attributes.count as usize).min(most);
    // SAFETY: the kernel has written `count` of each, and any bytes are a `Pod`.
    unsafe {
        keys.set_len(taken);
        values.set_len(taken);
    }
    Ok(keys.into_iter().zip(values).collect())
}

/// True for the error of a kernel that has no batch operations, or not for this kind of map.
pub fn knows_no_batches(error: &io::Error) -> bool {
    /// include/linux/errno.h; never meant for userspace, and told to it all the same (kernel/bpf/syscall.c).
    const ENOTSUPP: i32 = 524;
    matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP))
}

fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: a successful LINK_CREATE, ITER_CREATE, OBJ_GET or RAW_TRACEPOINT_OPEN returns a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(result as i32) }
}

/// Attaches a tp_btf program to the tracepoint that it was loaded for. The link keeps it attached.
///
/// # Errors
/// Any of bpf(2).
pub fn attach_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = RawTracepoint {
        name: 0,
        prog_fd: program.as_raw_fd() as u32,
        pad: 0,
    };
    bpf(BPF_RAW_TRACEPOINT_OPEN, &attributes).map(descriptor)
}

/// Gives a map, program or link the name `path` in bpffs.
///
/// # Errors
/// EINVAL: a link before 5.7, or a link of perf_event_open(2). EPERM: no bpffs. EEXIST: the name is taken. Any other of bpf(2).
pub fn pin(path: &CStr, object: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Obj {
        pathname: path.as_ptr() as u64,
        bpf_fd: object.as_raw_fd() as u32,
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}

/// Opens what has the name `path` in bpffs.
///
/// # Errors
/// Any of bpf(2).
pub fn open_pinned(path: &CStr) -> io::Result<OwnedFd> {
    let attributes = Obj {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf(BPF_OBJ_GET, &attributes).map(descriptor)
}

/// `BPF_PROG_TYPE_TRACING`: of tp_btf programs and of iterators.
const TRACING: u32 = 26;

/// The id of a program of the type that kevmon's are; `None` for another one, and for what is no program.
pub fn tracing_program_id(program: BorrowedFd<'_>) -> Option<u32> {
    let mut info = [0_u32; 2];
    object_info(program, &mut info).ok()?;
    // `type` and `id`, the first two words of `struct bpf_prog_info`.
    let [kind, id] = info;
    (kind == TRACING && program_info(program).is_ok()).then_some(id)
}

/// The program that a link has attached; `None` for what is no link.
pub fn linked_program(link: BorrowedFd<'_>) -> Option<u32> {
    let mut info = [0_u32; 3];
    object_info(link, &mut info).ok()?;
    // `type`, `id` and `prog_id`, the first words of `struct bpf_link_info`.
    Some(info[2])
}

fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let attributes = ObjGetInfo {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes).map(drop)
}

/// A link that makes the task iterator `program` visit the threads of process `tgid` only (6.1 and newer).
///
/// # Errors
/// ESRCH: no such process. EINVAL: the kernel knows no restricted task iterators.
pub fn link_process_iterator(program: BorrowedFd<'_>, tgid: u32) -> io::Result<OwnedFd> {
    let info = TaskInfo {
        tid: 0,
        pid: tgid,
        pid_fd: 0,
        pad: 0,
    };
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: std::ptr::from_ref(&info) as u64,
        iter_info_len: size_of::<TaskInfo>() as u32,
        pad: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes).map(descriptor)
}

/// A link that makes the task iterator `program` visit every thread of the opener's pid namespace.
///
/// # Errors
/// Any of bpf(2).
pub fn link_full_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: 0,
        iter_info_len: 0,
        pad: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes).map(descriptor)
}

/// One walk of a linked iterator, to be read to its end.
///
/// # Errors
/// Any of bpf(2).
pub fn open_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    bpf(
        BPF_ITER_CREATE,
        &IterCreate {
            link_fd: link.as_raw_fd() as u32,
            flags: 0,
        },
    )
    .map(descriptor)
}

/// Counts that the kernel keeps of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Time spent in the program, ns, while `kernel.bpf_stats_enabled` was set (5.1 and newer).
    pub run_time: u64,
    /// Number of runs while it was set.
    pub runs: u64,
    /// Runs that the kernel skipped, because the program was running already on that CPU (5.12 and newer).
    pub recursion_misses: u64,
}

/// Asks for the counts of a program (`struct bpf_prog_info`); those that the kernel does not know are 0.
///
/// # Errors
/// Any of bpf(2).
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    /// Offset of `run_time_ns` in `struct bpf_prog_info`, in units of eight bytes; `run_cnt` and `recursion_misses`
    /// follow.
    const RUN_TIME: usize = 192 / 8;
    let mut info = [0u64; RUN_TIME + 3];
    object_info(program, &mut info)?;
    Ok(ProgramInfo {
        run_time: info[RUN_TIME],
        runs: info[RUN_TIME + 1],
        recursion_misses: info[RUN_TIME + 2],
    })
}
