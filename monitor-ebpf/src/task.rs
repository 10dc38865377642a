//! Field loads from kernel structures, at the offsets that userspace resolved from the kernel's BTF.
//!
//! A tracepoint's arguments are trusted BTF pointers: the verifier knows their type, checks each constant
//! offset against it, and makes a load through them fault-free (a bad pointer reads zero). A direct load
//! costs a tenth of `bpf_probe_read_kernel`. The loader puts the offsets into the instructions, so the verifier sees
//! constants and drops the branches of fields that are absent.
//!
//! Since Linux 6.4 the verifier asks of each pointer that a program loads through a trusted one whether it is trusted as well, and
//! searches the names of all the kernel's types for the answer, up to four times (kernel/bpf/verifier.c, type_is_trusted): 4 ms a load, and
//! 270 of the 290 ms that the programs took to load. No program needs to know. [`untrusted`] gives the same pointer without that.

use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str_bytes};
use kevmon_common::{Key, Mark, Usage};

pub use crate::offset;

/// It leaves its CPU for the last time (include/linux/sched.h, all versions).
pub const TASK_DEAD: u32 = 0x80;
/// `PF_EXITING` (include/linux/sched.h, all versions).
const PF_EXITING: u32 = 0x4;
/// Bytes in a block of `inblock` and `oublock` (include/linux/task_io_accounting_ops.h, task_io_get_inblock).
const BLOCK: u64 = 512;
/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h, all versions).
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// A pointer to a kernel structure.
pub type Kernel = *const u8;

/// The offset of one field of [`kevmon_common::Offsets`] in this kernel.
#[macro_export]
macro_rules! offset {
    ($field:ident $([$index:literal])?) => {
        $crate::task::placed::<{
            kevmon_common::placeholder(core::mem::offset_of!(kevmon_common::Offsets, $field) $(+ $index * 4)?)
        }>()
    };
}

/// An instruction `r = PLACEHOLDER`, whose immediate operand the loader replaces (kevmon-common, offsets.rs).
#[inline(always)]
pub fn placed<const PLACEHOLDER: i32>() -> u64 {
    let offset: u64;
    // SAFETY: a constant moved into a register.
    unsafe {
        core::arch::asm!(
            "{offset} = {placeholder}",
            offset = lateout(reg) offset,
            placeholder = const PLACEHOLDER,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    offset
}

/// The same pointer, to a structure of the BTF type that `TYPE` stands for, of which the verifier knows no more than the type.
/// Calls `bpf_rdonly_cast` (kernel/bpf/helpers.c, 6.2 to 6.18), which the verifier replaces by a move; the loader does so itself where
/// the kernel has no such function.
#[inline(always)]
fn untrusted<const TYPE: i32, const CAST: i32>(pointer: Kernel) -> Kernel {
    let same: Kernel;
    // SAFETY: returns its argument, and touches no memory; a call leaves r1 to r5 undefined.
    unsafe {
        core::arch::asm!(
            "r2 = {of_type}",
            "call {cast}",
            of_type = const TYPE,
            cast = const CAST,
            inlateout("r1") pointer => _,
            lateout("r0") same,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nomem, nostack),
        );
    }
    same
}

/// The placeholder of one field of [`kevmon_common::Offsets`].
macro_rules! placeholder {
    ($field:ident) => {{ kevmon_common::placeholder(core::mem::offset_of!(kevmon_common::Offsets, $field)) }};
}

/// The `struct linux_binprm` of a tracepoint.
#[inline(always)]
pub fn binprm(trusted: Kernel) -> Kernel {
    untrusted::<{ placeholder!(bprm_type) }, { placeholder!(cast) }>(trusted)
}

/// The offset of a field that this kernel lacks: [`kevmon_common::ABSENT`], as the immediate extends to 64 bits.
pub const ABSENT: u64 = u64::MAX;

/// Reads a `T` at `base + offset`.
///
/// # Safety
/// `base` is a BTF pointer to a structure with a `T` there.
#[inline(always)]
pub unsafe fn load<T>(base: Kernel, offset: u64) -> T {
    // SAFETY: the verifier proves the access against the structure's BTF.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// Like [`load`] for a `u64` that this kernel may lack: 0 then, and userspace, which resolved the offset, says so.
#[inline(always)]
pub unsafe fn load_or_zero(base: Kernel, offset: u64) -> u64 {
    if offset == ABSENT {
        return 0;
    }
    // SAFETY: as for `load`.
    unsafe { load(base, offset) }
}

/// Now, ns of CLOCK_BOOTTIME.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// A thread, as a tracepoint or an iterator gave it.
#[derive(Clone, Copy)]
pub struct Task(pub Kernel);

/// Sizes of an address space, pages.
pub struct Memory {
    /// Tells address spaces apart; 0: the task has none.
    pub mm: u64,
    pub hiwater_rss: u64,
    pub total_vm: u64,
}

impl Memory {
    const NONE: Self = Self {
        mm: 0,
        hiwater_rss: 0,
        total_vm: 0,
    };
}

impl Task {
    /// A thread whose fields are loaded, and no more: helpers that want a trusted pointer do not take it. `trusted` is not null.
    #[inline(always)]
    pub fn of(trusted: Kernel) -> Self {
        Self(untrusted::<{ placeholder!(task_type) }, { placeholder!(cast) }>(
            trusted,
        ))
    }

    #[inline(always)]
    pub fn pid(self) -> u32 {
        // SAFETY: `Task` wraps a task_struct; likewise in the methods below.
        unsafe { load(self.0, offset!(task_pid)) }
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        // SAFETY: see `pid`.
        unsafe { load(self.0, offset!(task_tgid)) }
    }

    #[inline(always)]
    pub fn is_leader(self) -> bool {
        self.pid() == self.tgid()
    }

    #[inline(always)]
    pub fn leader(self) -> Self {
        // SAFETY: see `pid`.
        Self(unsafe { load(self.0, offset!(task_group_leader)) })
    }

    #[inline(always)]
    pub fn parent(self) -> Self {
        // SAFETY: see `pid`.
        Self(unsafe { load(self.0, offset!(task_real_parent)) })
    }

    #[inline(always)]
    pub fn signal(self) -> Kernel {
        // SAFETY: see `pid`.
        unsafe { load(self.0, offset!(task_signal)) }
    }

    #[inline(always)]
    pub fn mm(self) -> Kernel {
        // SAFETY: see `pid`.
        unsafe { load(self.0, offset!(task_mm)) }
    }

    /// Its open files; null once it has let go of them.
    #[inline(always)]
    pub fn files(self) -> Kernel {
        // SAFETY: see `pid`; called where the kernel has the field.
        unsafe { load(self.0, offset!(task_files)) }
    }

    /// Its address space and the sizes that need no walk over per-CPU counters.
    #[inline(always)]
    pub fn memory(self) -> Memory {
        let mm = self.mm();
        if mm.is_null() {
            return Memory::NONE;
        }
        // SAFETY: a non-null mm_struct.
        let memory = unsafe {
            Memory {
                mm: mm as u64,
                hiwater_rss: load(mm, offset!(mm_hiwater_rss)),
                total_vm: load_or_zero(mm, offset!(mm_total_vm)),
            }
        };
        // A thread that exits gives its address space up before that is freed (kernel/exit.c, exit_mm).
        if self.mm() == mm { memory } else { Memory::NONE }
    }

    /// Its executable; null for a kernel thread, and after its address space went.
    #[inline(always)]
    pub fn exe_file(self) -> Kernel {
        let mm = self.mm();
        if mm.is_null() {
            return core::ptr::null();
        }
        // SAFETY: a non-null mm_struct.
        let file = unsafe { load(mm, offset!(mm_exe_file)) };
        // As for `memory`: an address space that was given up meanwhile may be another process's.
        if self.mm() == mm { file } else { core::ptr::null() }
    }

    /// The process this thread belongs to. The start is the leader's: a thread that takes the leader's place in an
    /// exec inherits it (fs/exec.c, de_thread).
    #[inline(always)]
    pub fn key(self) -> Key {
        // SAFETY: see `pid`.
        let start_boottime = unsafe { load(self.leader().0, offset!(task_start_boottime)) };
        Key {
            start_boottime,
            tgid: self.tgid(),
            pad: 0,
        }
    }

    /// Its name, as two integers: the verifier takes loads of at most eight bytes.
    #[inline(always)]
    pub fn comm_words(self) -> [u64; 2] {
        // SAFETY: see `pid`.
        unsafe {
            [
                load(self.0, offset!(task_comm)),
                load(self.0, offset!(task_comm) + 8),
            ]
        }
    }

    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        let [first, second] = self.comm_words().map(u64::to_ne_bytes);
        let mut comm = [0; 16];
        comm[..8].copy_from_slice(&first);
        comm[8..].copy_from_slice(&second);
        comm
    }

    /// True inside execve(2), whose own rename is part of the exec. False where the kernel has no such flag.
    #[inline(always)]
    pub fn in_execve(self) -> bool {
        if offset!(in_execve_mask) == 0 {
            return false;
        }
        // SAFETY: see `pid`; the byte that holds the bit.
        let byte: u8 = unsafe { load(self.0, offset!(in_execve_byte)) };
        u64::from(byte) & offset!(in_execve_mask) != 0
    }

    /// True when some other signal than this one is ending the process already. (A fatal signal is entered as the
    /// group's exit code before `signal_generate`: kernel/signal.c, complete_signal.)
    #[inline(always)]
    pub fn dies_of_another(self, signal: u32) -> bool {
        let group = self.signal();
        // SAFETY: a task's signal_struct.
        unsafe {
            load::<u32>(group, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0
                && load::<u32>(group, offset!(signal_group_exit_code)) & 0x7f != signal
        }
    }

    /// What the thread is doing (`TASK_*`, include/linux/sched.h); 0: it runs, or is ready to.
    #[inline(always)]
    pub fn state(self) -> u32 {
        // SAFETY: see `pid`.
        unsafe { load(self.0, offset!(task_state)) }
    }

    /// Whether the thread runs or is ready to (`TASK_RUNNING`).
    #[inline(always)]
    pub fn is_runnable(self) -> bool {
        self.state() == 0
    }

    /// True once this thread has begun to exit; its `run_delay` is then (about to be) in the mark.
    #[inline(always)]
    pub fn is_exiting(self) -> bool {
        // SAFETY: see `pid`.
        let flags: u32 = unsafe { load(self.0, offset!(task_flags)) };
        flags & PF_EXITING != 0
    }

    #[inline(always)]
    pub fn run_delay(self) -> u64 {
        // SAFETY: see `pid`.
        unsafe { load_or_zero(self.0, offset!(task_run_delay)) }
    }

    /// CPU time of the thread, ns.
    #[inline(always)]
    pub fn runtime(self) -> u64 {
        // SAFETY: see `pid`.
        unsafe { load(self.0, offset!(task_runtime)) }
    }

    /// This thread's own usage.
    #[inline(always)]
    pub fn usage(self) -> Usage {
        // SAFETY: see `pid`.
        unsafe {
            Usage {
                runtime: load(self.0, offset!(task_runtime)),
                utime: load(self.0, offset!(task_utime)),
                stime: load(self.0, offset!(task_stime)),
                run_delay: self.run_delay(),
                nvcsw: load(self.0, offset!(task_nvcsw)),
                nivcsw: load(self.0, offset!(task_nivcsw)),
                min_flt: load(self.0, offset!(task_min_flt)),
                maj_flt: load(self.0, offset!(task_maj_flt)),
                read_bytes: load_or_zero(self.0, offset!(task_read_bytes)),
                write_bytes: load_or_zero(self.0, offset!(task_write_bytes)),
            }
        }
    }

    /// Usage of the group's threads that have been released (kernel/exit.c, __exit_signal adds each one);
    /// their run-queue wait, which `signal_struct` does not sum, comes from the mark. Bytes come from the block
    /// counts: to `ioac`, unlike to these, wait_task_zombie adds what reaped children read and wrote.
    #[inline(always)]
    pub fn ended_usage(self, dead_run_delay: u64) -> Usage {
        let signal = self.signal();
        // SAFETY: a task's signal_struct.
        unsafe {
            Usage {
                runtime: load(signal, offset!(signal_runtime)),
                utime: load(signal, offset!(signal_utime)),
                stime: load(signal, offset!(signal_stime)),
                run_delay: dead_run_delay,
                nvcsw: load(signal, offset!(signal_nvcsw)),
                nivcsw: load(signal, offset!(signal_nivcsw)),
                min_flt: load(signal, offset!(signal_min_flt)),
                maj_flt: load(signal, offset!(signal_maj_flt)),
                read_bytes: load::<u64>(signal, offset!(signal_inblock)) * BLOCK,
                write_bytes: load::<u64>(signal, offset!(signal_oublock)) * BLOCK,
            }
        }
    }

    /// Threads that have not begun to exit.
    #[inline(always)]
    pub fn live_threads(self) -> u32 {
        // SAFETY: a task's signal_struct.
        unsafe { load(self.signal(), offset!(signal_live)) }
    }

    /// Counts the changes of the group's sums; odd during one (`signal->stats_lock`). Called where the kernel has it.
    #[inline(always)]
    pub fn stats_sequence(self) -> u32 {
        // SAFETY: a task's signal_struct.
        unsafe { load(self.signal(), offset!(signal_stats_sequence)) }
    }

    /// Whether it has been reaped; false where the kernel does not say.
    #[inline(always)]
    pub fn is_reaped(self) -> bool {
        if offset!(task_thread_pid) == ABSENT {
            return false;
        }
        // SAFETY: see `pid`.
        unsafe { load::<u64>(self.0, offset!(task_thread_pid)) == 0 }
    }

    /// Threads that have not been released.
    #[inline(always)]
    pub fn threads(self) -> u32 {
        // SAFETY: a task's signal_struct.
        unsafe { load(self.signal(), offset!(signal_nr_threads)) }
    }

    /// What wait4(2) reports (kernel/exit.c, wait_task_zombie): the group's code after exit_group or a fatal
    /// signal, else the leader's.
    #[inline(always)]
    pub fn exit_status(self) -> u32 {
        let signal = self.signal();
        // SAFETY: a task's signal_struct, and the group leader's task_struct.
        unsafe {
            if load::<u32>(signal, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
                load(signal, offset!(signal_group_exit_code))
            } else {
                load(self.leader().0, offset!(task_exit_code))
            }
        }
    }

    /// Peak resident set, pages: the noted high-water mark or the present size, whichever is more
    /// (include/linux/mm.h, get_mm_hiwater_rss). 0 when the address space is gone already, as it is at
    /// `sched_process_exit` before 6.16. The present size is the counters' shared part, off by some tens of pages.
    #[inline(always)]
    pub fn peak_rss(self) -> u64 {
        let mm = self.mm();
        if mm.is_null() {
            return 0;
        }
        let mut rss = 0i64;
        if offset!(mm_rss[0]) != ABSENT {
            // SAFETY: a non-null mm_struct.
            unsafe {
                rss += load::<i64>(mm, offset!(mm_rss[0]));
                rss += load::<i64>(mm, offset!(mm_rss[1]));
                rss += load::<i64>(mm, offset!(mm_rss[2]));
            }
        }
        // SAFETY: as above.
        let noted: i64 = unsafe { load(mm, offset!(mm_hiwater_rss)) };
        let peak = if noted > rss { noted } else { rss };
        if peak < 0 { 0 } else { peak as u64 }
    }
}

impl Task {
    /// Adds two usages; wraps as the kernel's own sums would.
    #[inline(always)]
    pub fn total_usage(self, dead_run_delay: u64) -> Usage {
        let ended = self.ended_usage(dead_run_delay);
        let own = self.usage();
        Usage {
            runtime: ended.runtime.wrapping_add(own.runtime),
            utime: ended.utime.wrapping_add(own.utime),
            stime: ended.stime.wrapping_add(own.stime),
            run_delay: ended.run_delay,
            nvcsw: ended.nvcsw.wrapping_add(own.nvcsw),
            nivcsw: ended.nivcsw.wrapping_add(own.nivcsw),
            min_flt: ended.min_flt.wrapping_add(own.min_flt),
            maj_flt: ended.maj_flt.wrapping_add(own.maj_flt),
            read_bytes: ended.read_bytes.wrapping_add(own.read_bytes),
            write_bytes: ended.write_bytes.wrapping_add(own.write_bytes),
        }
    }
}

/// Copies the base name of an open file to `name`; returns its length, 0 when there is none. All of `name` is written then, too.
#[inline(always)]
pub fn file_name(file: Kernel, name: &mut [u8]) -> u32 {
    let mut text: Kernel = core::ptr::null();
    if !file.is_null() {
        // SAFETY: a non-null struct file; a null dentry reads as zero, and the copy below then fails.
        text = unsafe {
            let dentry: Kernel = load(file, offset!(file_dentry));
            load::<Kernel>(dentry, offset!(dentry_name))
        };
    }
    // SAFETY: the helper checks the address.
    match unsafe { bpf_probe_read_kernel_str_bytes(text, name) } {
        Ok(copied) => copied.len() as u32,
        Err(_) => 0,
    }
}

/// The length of the base name of an open file, however long it is.
#[inline(always)]
pub fn file_name_len(file: Kernel) -> u32 {
    if file.is_null() {
        return 0;
    }
    // SAFETY: as in `file_name`.
    unsafe {
        let dentry: Kernel = load(file, offset!(file_dentry));
        load(dentry, offset!(dentry_name_len))
    }
}

/// [`Mark::dead_run_delay`] of a process that may have no mark yet.
#[inline(always)]
pub fn dead_run_delay(mark: Option<*mut Mark>) -> u64 {
    match mark {
        // SAFETY: a live map value.
        Some(mark) => unsafe { (*mark).dead_run_delay },
        None => 0,
    }
}
