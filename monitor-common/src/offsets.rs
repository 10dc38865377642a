//! Where the running kernel keeps the fields that the programs read.
//!
//! rustc emits no CO-RE relocations, so userspace looks the members up in /sys/kernel/btf/vmlinux and
//! puts them into the programs' instructions, in the place of placeholders. The list stands once: the macro makes the struct that
//! numbers the placeholders and the table that the resolver walks.

/// The kernel has no such field.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $need:ident [$($path:literal),+];)+) => {
        /// Byte offsets of kernel struct members; [`ABSENT`] where this kernel lacks one.
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u32,)+
            /// `sched_process_exit` passes `group_dead` as its second argument (6.16 and newer): 1, else 0.
            pub exit_has_group_dead: u32,
            /// `mark_victim` passes the victim's `task_struct` (6.10, and stable kernels that took it over): 1; its pid: 0.
            pub mark_victim_has_task: u32,
            /// `sched_switch` passes the state of the task that leaves as its fourth argument (5.18 and newer): 1, else 0.
            pub switch_has_state: u32,
            /// BTF id of the kernel function `bpf_rdonly_cast` (6.2 and newer); 0: there is none, or none is to be called.
            pub cast: u32,
            /// BTF id of `task_struct`.
            pub task_type: u32,
            /// BTF id of `linux_binprm`.
            pub bprm_type: u32,
            /// Mask of `task_struct::in_execve` in its byte; 0 when the field is absent.
            pub in_execve_mask: u32,
            /// Offset of `in_execve`'s byte in `task_struct`.
            pub in_execve_byte: u32,
            /// Offsets in `mm_struct` of the file, anonymous and shared-memory page counts, in that order.
            pub mm_rss: [u32; RSS_COUNTERS],
        }

        impl Offsets {
            /// Nothing resolved yet.
            pub const UNRESOLVED: Self = Self {
                $($field: ABSENT,)+
                exit_has_group_dead: 0,
                mark_victim_has_task: 0,
                switch_has_state: 0,
                cast: 0,
                task_type: 0,
                bprm_type: 0,
                in_execve_mask: 0,
                in_execve_byte: ABSENT,
                mm_rss: [ABSENT; RSS_COUNTERS],
            };

            /// Calls `resolve(paths, required)` for every plain member and stores what it returns. `paths` are
            /// alternatives (`"struct.member.member"`), the newest kernel's first.
            pub fn resolve_with<E>(
                &mut self,
                mut resolve: impl FnMut(&[&'static str], bool) -> Result<u32, E>,
            ) -> Result<(), E> {
                $(self.$field = resolve(&[$($path),+], offsets!(@$need))?;)+
                Ok(())
            }
        }
    };
    (@required) => { true };
    (@optional) => { false };
}

/// Words that make up [`Offsets`].
const WORDS: usize = size_of::<Offsets>() / size_of::<u32>();

impl Offsets {
    /// The members one after the other, as [`placed`] numbers them.
    pub const fn words(&self) -> &[u32; WORDS] {
        // SAFETY: repr(C), and nothing but `u32`s: of that size, without padding.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// What the programs have in the place of an offset until the loader puts the offset there: an immediate operand that says
/// which word of [`Offsets`] it is. `byte` is where the word is in the structure.
pub const fn placeholder(byte: usize) -> i32 {
    PLACEHOLDER | (byte / size_of::<u32>()) as i32
}

/// The word of [`Offsets`] that an immediate operand names; `None` when it is any other number.
pub const fn placed(immediate: i32) -> Option<usize> {
    let word = (immediate ^ PLACEHOLDER) as u32 as usize;
    if word < WORDS { Some(word) } else { None }
}

/// "kev", and a byte for the number of the word. No other immediate of the programs begins like this.
const PLACEHOLDER: i32 = 0x6b65_7600;

const _: () = assert!(WORDS <= 256);

/// Page counters that make up the resident set: file, anonymous, shared memory.
pub const RSS_COUNTERS: usize = 3;

offsets! {
    /// Thread id.
    task_pid = required ["task_struct.pid"];
    /// Thread-group id.
    task_tgid = required ["task_struct.tgid"];
    /// `PF_*` flags.
    task_flags = required ["task_struct.flags"];
    /// Name, 16 bytes.
    task_comm = required ["task_struct.comm"];
    /// The thread group's leader.
    task_group_leader = required ["task_struct.group_leader"];
    /// The parent that forked it, or its new parent.
    task_real_parent = required ["task_struct.real_parent"];
    /// Start, ns of CLOCK_BOOTTIME (`real_start_time` before 5.5).
    task_start_boottime = required ["task_struct.start_boottime"];
    /// Wait status of the thread.
    task_exit_code = required ["task_struct.exit_code"];
    /// What the thread group shares.
    task_signal = required ["task_struct.signal"];
    /// Open files.
    task_files = optional ["task_struct.files"];
    /// Address space.
    task_mm = required ["task_struct.mm"];
    /// CPU time, ns.
    task_runtime = required ["task_struct.se.sum_exec_runtime"];
    /// User time, ns.
    task_utime = required ["task_struct.utime"];
    /// System time, ns.
    task_stime = required ["task_struct.stime"];
    /// Run-queue wait, ns (needs CONFIG_SCHED_INFO).
    task_run_delay = optional ["task_struct.sched_info.run_delay"];
    /// Voluntary context switches.
    task_nvcsw = required ["task_struct.nvcsw"];
    /// Involuntary context switches.
    task_nivcsw = required ["task_struct.nivcsw"];
    /// Minor faults.
    task_min_flt = required ["task_struct.min_flt"];
    /// Major faults.
    task_maj_flt = required ["task_struct.maj_flt"];
    /// Bytes read (needs CONFIG_TASK_IO_ACCOUNTING).
    task_read_bytes = optional ["task_struct.ioac.read_bytes"];
    /// Bytes written.
    task_write_bytes = optional ["task_struct.ioac.write_bytes"];
    /// Threads that have not begun to exit.
    signal_live = required ["signal_struct.live.counter"];
    /// Threads not yet released.
    signal_nr_threads = required ["signal_struct.nr_threads"];
    /// `SIGNAL_*` flags.
    signal_flags = required ["signal_struct.flags"];
    /// Status of a group exit.
    signal_group_exit_code = required ["signal_struct.group_exit_code"];
    /// Sum of the ended threads' CPU time, ns.
    signal_runtime = required ["signal_struct.sum_sched_runtime"];
    /// Sum of the ended threads' user time, ns.
    signal_utime = required ["signal_struct.utime"];
    /// Sum of the ended threads' system time, ns.
    signal_stime = required ["signal_struct.stime"];
    /// Sum of the ended threads' voluntary context switches.
    signal_nvcsw = required ["signal_struct.nvcsw"];
    /// Sum of the ended threads' involuntary context switches.
    signal_nivcsw = required ["signal_struct.nivcsw"];
    /// Sum of the ended threads' minor faults.
    signal_min_flt = required ["signal_struct.min_flt"];
    /// Sum of the ended threads' major faults.
    signal_maj_flt = required ["signal_struct.maj_flt"];
    /// Blocks of 512 bytes that the ended threads read. (`ioac` would be wrong: it holds the reaped children's bytes too.)
    signal_inblock = required ["signal_struct.inblock"];
    /// Blocks of 512 bytes that the ended threads wrote.
    signal_oublock = required ["signal_struct.oublock"];
    /// Counts the changes of the ended threads' sums (a seqcount).
    signal_stats_sequence = optional [
        "signal_struct.stats_lock.seqcount.seqcount.sequence",
        "signal_struct.stats_lock.seqcount.sequence"
    ];
    /// Highest resident set noted so far, pages.
    mm_hiwater_rss = required ["mm_struct.hiwater_rss"];
    /// Virtual size, pages.
    mm_total_vm = optional ["mm_struct.total_vm"];
    /// First byte of the argument vector.
    mm_arg_start = required ["mm_struct.arg_start"];
    /// First byte behind the argument vector.
    mm_arg_end = required ["mm_struct.arg_end"];
    /// The executable's file.
    mm_exe_file = required ["mm_struct.exe_file"];
    /// Table of the open files.
    files_fdt = optional ["files_struct.fdt"];
    /// Bits in the map of open descriptors: a multiple of 64.
    fdt_max_fds = optional ["fdtable.max_fds"];
    /// The map of open descriptors, a bit for each.
    fdt_open_fds = optional ["fdtable.open_fds"];
    /// The executed file's path as given.
    bprm_filename = required ["linux_binprm.filename"];
    /// The executed file (the interpreter, for a script).
    bprm_file = required ["linux_binprm.file"];
    /// Directory entry of an open file.
    file_dentry = required ["file.f_path.dentry"];
    /// Pointer to the entry's name.
    dentry_name = required ["dentry.d_name.name"];
    /// Length of that name.
    dentry_name_len = required ["dentry.d_name.len"];
    /// Where a signal comes from (`SI_USER`, …).
    siginfo_code = optional ["kernel_siginfo.si_code"];
    /// The credentials that others see, as /proc does.
    task_real_cred = optional ["task_struct.real_cred"];
    /// Effective user.
    cred_euid = optional ["cred.euid.val"];
    /// The task's cgroups (needs CONFIG_CGROUPS).
    task_cgroups = optional ["task_struct.cgroups"];
    /// The cgroup of the unified hierarchy.
    css_set_dfl_cgrp = optional ["css_set.dfl_cgrp"];
    /// A cgroup's node in its file system.
    cgroup_kn = optional ["cgroup.kn"];
    /// The hierarchy that it is in.
    cgroup_root = optional ["cgroup.root"];
    /// That hierarchy's number; the unified one has 0.
    cgroup_root_hierarchy_id = optional ["cgroup_root.hierarchy_id"];
    /// The node's id, which is its inode number too where those have 64 bits.
    kernfs_node_id = optional ["kernfs_node.id"];
    /// The task's `struct pid`; null once it has been reaped.
    task_thread_pid = optional ["task_struct.thread_pid"];
    /// How deep its pid namespace is; the initial one has 0.
    pid_level = optional ["pid.level"];
    /// A process's number in each pid namespace: an array of `upid`.
    pid_numbers = optional ["pid.numbers"];
    /// The namespace that such a number belongs to.
    upid_ns = optional ["upid.ns"];
    /// A pid namespace's inode number.
    pid_namespace_inum = optional ["pid_namespace.ns.inum"];
    /// What the task is doing: runs, sleeps, is dead (`state` before 5.14).
    task_state = required ["task_struct.__state", "task_struct.state"];
    /// When it came to its CPU last, ns of the run queue's clock (needs CONFIG_SCHED_INFO).
    task_last_arrival = optional ["task_struct.sched_info.last_arrival"];
    /// What programs keep with it; null where there is nothing (needs CONFIG_BPF_SYSCALL; 5.11 and newer).
    task_bpf_storage = optional ["task_struct.bpf_storage"];
    /// How often the task was moved to another CPU.
    task_migrations = optional ["task_struct.se.nr_migrations"];
    /// The fair class's run queue of its group, on its CPU (needs CONFIG_FAIR_GROUP_SCHED).
    task_cfs_rq = optional ["task_struct.se.cfs_rq"];
    /// The CPU's run queue that a fair class's run queue belongs to.
    cfs_rq_rq = optional ["cfs_rq.rq"];
    /// The clock of a CPU's run queue, ns, brought up to date by each switch.
    rq_clock = optional ["rq.clock"];
    /// First argument block of the iterator context.
    iter_seq = required ["bpf_iter_meta.seq"];
}
