//! The records that cross from the kernel to userspace, through the ring and the iterators.

/// Bytes of `task_struct::comm`, the terminating NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Room for an executable's base name: `NAME_MAX` and a NUL.
pub const EXE_LEN: usize = 256;
/// How much of the path given to execve(2) is kept: its end, because a name stands at the end.
pub const FILENAME_LEN: usize = 256;
/// How much of the argument vector an [`ExecRecord`] holds; [`ArgumentsRecord`]s hold the rest.
pub const ARGV_LEN: usize = 512;
/// How much of the rest the first [`ArgumentsRecord`] of an exec holds.
pub const ARGUMENTS_LEN: usize = 4096;
/// How much of the rest each further [`ArgumentsRecord`] holds.
pub const ARGUMENTS_LONG_LEN: usize = 32768;
/// How many [`ArgumentsRecord`]s of [`ARGUMENTS_LONG_LEN`] an exec sends at most.
pub const ARGUMENTS_LONG_MOST: u32 = 4;
/// How many [`ArgumentsRecord`]s an exec sends at most.
pub const ARGUMENTS_MOST: u32 = 1 + ARGUMENTS_LONG_MOST;
/// How much of an argument vector is ever looked at, bytes, its NULs included. One argument has 128 KiB at most
/// (`MAX_ARG_STRLEN`, include/uapi/linux/binfmts.h), so `argv[0]` always fits.
pub const ARGV_BOUND: usize = ARGV_LEN + ARGUMENTS_LEN + ARGUMENTS_LONG_MOST as usize * ARGUMENTS_LONG_LEN;

/// One process: a thread-group id is reused, its pair with the leader's start time is not.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// `task_struct::start_boottime` of the group leader, ns of CLOCK_BOOTTIME.
    pub start_boottime: u64,
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// Always zero: hash maps compare every byte.
    pub pad: u32,
}

/// Usage sums of a task or of a process, as the kernel counts them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time, ns: `se.sum_exec_runtime`, `signal->sum_sched_runtime`.
    pub runtime: u64,
    /// User time, ns, tick-based unless the kernel has VIRT_CPU_ACCOUNTING.
    pub utime: u64,
    /// System time, ns, likewise.
    pub stime: u64,
    /// Time waited on a run queue, ns: `sched_info.run_delay`.
    pub run_delay: u64,
    /// Voluntary context switches.
    pub nvcsw: u64,
    /// Involuntary context switches.
    pub nivcsw: u64,
    /// Minor page faults.
    pub min_flt: u64,
    /// Major page faults.
    pub maj_flt: u64,
    /// Bytes fetched from storage: `ioac.read_bytes`.
    pub read_bytes: u64,
    /// Bytes sent to storage: `ioac.write_bytes`.
    pub write_bytes: u64,
}

/// The process that sent a terminating signal.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Thread-group id of the sender.
    pub tgid: u32,
    /// Number of the signal; 0 when no process sent one.
    pub signal: u32,
    /// `comm` of the sender, NUL-terminated.
    pub comm: [u8; COMM_LEN],
}

impl Sender {
    /// No process sent a signal.
    pub const NONE: Self = Self {
        tgid: 0,
        signal: 0,
        comm: [0; COMM_LEN],
    };
}

/// Process attributes as numbers: user, cgroup, pid namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Id of its cgroup in the unified hierarchy (`kernfs_node::id`, what bpf_get_current_cgroup_id tells); 0: not known.
    pub cgroup: u64,
    /// Effective user in the initial user namespace; [`UID_UNKNOWN`].
    pub euid: u32,
    /// Inode number of its pid namespace; 0: not known, as once it has been reaped.
    pub pid_namespace: u32,
}

/// No user has it: `(uid_t)-1` (setresuid(2)).
pub const UID_UNKNOWN: u32 = u32::MAX;

impl Facts {
    /// Every attribute unknown.
    pub const UNKNOWN: Self = Self {
        cgroup: 0,
        euid: UID_UNKNOWN,
        pid_namespace: 0,
    };
}

/// First field of every ring record.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An [`ExecRecord`].
    Exec = 1,
    /// A [`ForkRecord`].
    Fork = 2,
    /// A [`RenameRecord`].
    Rename = 3,
    /// [`EndRecord`] from `sched_process_exit`: provisional totals.
    Exit = 4,
    /// [`EndRecord`] from `sched_process_free`: final totals.
    Free = 5,
    /// A [`CgroupRecord`].
    Cgroup = 6,
    /// An [`ArgumentsRecord`].
    Arguments = 7,
    /// [`EndRecord`] from `sched_switch`: final totals, told by the dying thread itself.
    Dead = 8,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Exec),
            2 => Some(Self::Fork),
            3 => Some(Self::Rename),
            4 => Some(Self::Exit),
            5 => Some(Self::Free),
            6 => Some(Self::Cgroup),
            7 => Some(Self::Arguments),
            8 => Some(Self::Dead),
            _ => None,
        }
    }
}

/// The beginning of every ring record.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Number of a [`Kind`].
    pub kind: u32,
    /// Meaning by kind; zero where none is given.
    pub flags: u32,
    /// Time of the event, ns of CLOCK_BOOTTIME.
    pub time: u64,
    /// The process it is about.
    pub key: Key,
}

/// [`Header::flags`] of an exec: the argument vector is longer than what was sent of it.
pub const EXEC_ARGV_CUT: u32 = 1;
/// [`Header::flags`] of an exec: the path is longer than [`FILENAME_LEN`], and only its end is there, or nothing.
pub const EXEC_FILENAME_CUT: u32 = 2;

/// A process runs a new program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExecRecord {
    /// All but the texts.
    pub head: ExecHead,
    /// Base name of the executed file (the interpreter's, for a script).
    pub exe: [u8; EXE_LEN],
    /// The path as given to execve(2) (the script's, for a script), or its end.
    pub filename: [u8; FILENAME_LEN],
    /// The argument vector, NUL-separated, or its beginning.
    pub argv: [u8; ARGV_LEN],
}

/// A part of an argument vector that does not fit its [`ExecRecord`]. The parts come before that record, in order; other
/// processes' records may stand between them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ArgumentsRecord<const LEN: usize> {
    /// All but the text.
    pub head: ArgumentsHead,
    /// Bytes of the argument vector.
    pub text: [u8; LEN],
}

/// What an [`ArgumentsRecord`] begins with.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ArgumentsHead {
    /// Kind and key of the process that executes.
    pub header: Header,
    /// Where the part begins, bytes from the beginning of the argument vector; [`ARGV_LEN`] for the first part.
    pub offset: u32,
    /// Bytes used of `text`; 0 where the read failed, and then no further part follows.
    pub len: u32,
}

/// What an [`ExecRecord`] begins with: all that must be read of it whole.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExecHead {
    /// Kind, time and key.
    pub header: Header,
    /// The mark's new sequence.
    pub sequence: u64,
    /// The parent's key.
    pub parent: Key,
    /// The process's usage before the exec.
    pub usage: Usage,
    /// User, cgroup and pid namespace after the exec.
    pub facts: Facts,
    /// `comm` after the exec, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Bytes used of `exe`, the NUL not counted.
    pub exe_len: u32,
    /// Bytes used of `filename`, the NUL not counted.
    pub filename_len: u32,
    /// Bytes used of `argv`, NULs included.
    pub argv_len: u32,
    /// Bytes of the argument vector that came before this record in [`ArgumentsRecord`]s.
    pub argv_before: u32,
}

/// A watched process made another one (not a thread).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ForkRecord {
    /// Kind; the key is the child's.
    pub header: Header,
    /// The child's sequence, which its mark has.
    pub sequence: u64,
    /// The process that forked, whose identity the child inherits.
    pub parent: Key,
    /// User, cgroup and pid namespace of the child.
    pub facts: Facts,
}

/// [`Header::flags`] of a rename: the record of the identity before was lost, so `comm` is not all that is new.
pub const RENAME_UNHEARD: u32 = 1 << 31;

/// A thread-group leader got another `comm` without an exec.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RenameRecord {
    /// Kind and key; `flags` holds the number of threads, and [`RENAME_UNHEARD`].
    pub header: Header,
    /// The mark's new sequence.
    pub sequence: u64,
    /// The parent's key.
    pub parent: Key,
    /// The usage of the ended threads and of the leader; live siblings are not in it.
    pub usage: Usage,
    /// User, cgroup and pid namespace.
    pub facts: Facts,
    /// The new `comm`.
    pub comm: [u8; COMM_LEN],
}

/// [`Header::flags`] of an end: the OOM killer had picked the process.
pub const END_OOM: u32 = 1;

/// A watched process ended (exit) or is being freed (free).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EndRecord {
    /// Kind and key; `flags` of `END_*`.
    pub header: Header,
    /// The status wait4(2) reports (`0x700` = exit 7, 9 = SIGKILL, `0x80` = core dumped).
    pub status: u32,
    /// Always zero.
    pub pad: u32,
    /// Who sent the last terminating signal.
    pub sender: Sender,
    /// When its last thread began to exit, ns of CLOCK_BOOTTIME; 0 when that was not seen.
    pub ended: u64,
    /// Usage of the whole process: provisional at exit, final at free.
    pub usage: Usage,
    /// User, cgroup and pid namespace at the end.
    pub facts: Facts,
    /// Peak resident set size when its last thread began to exit, pages; 0 where the kernel no longer knew it.
    pub peak_rss: u64,
}

/// How much of a cgroup's path is kept; what is longer is cut (`TRACE_CGROUP_PATH_LEN`, kernel/cgroup/cgroup-internal.h,
/// has the kernel's tracepoints keep as much).
pub const CGROUP_PATH_LEN: usize = 1024;

/// A cgroup was made in the unified hierarchy.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CgroupRecord {
    /// All but the text.
    pub head: CgroupHead,
    /// Its path from the hierarchy's root.
    pub path: [u8; CGROUP_PATH_LEN],
}

/// What a [`CgroupRecord`] begins with.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CgroupHead {
    /// Kind; the key is all zero.
    pub header: Header,
    /// Id of the cgroup, as in [`Facts::cgroup`].
    pub id: u64,
    /// Bytes used of `path`, the NUL not counted.
    pub path_len: u32,
    /// Always zero.
    pub pad: u32,
}

/// One process as the snapshot iterator shows it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SnapshotRecord {
    /// The process.
    pub key: Key,
    /// Its parent.
    pub parent: Key,
    /// Its mark's sequence, if `flags` says that it has one.
    pub sequence: u64,
    /// When its last thread began to exit, ns of CLOCK_BOOTTIME, if it has a mark; 0 until then.
    pub ended: u64,
    /// Peak resident set size at that time, pages; 0 where the kernel no longer knew it.
    pub peak_rss: u64,
    /// Who sent the last terminating signal.
    pub sender: Sender,
    /// User, cgroup and pid namespace.
    pub facts: Facts,
    /// The exit status as far as it is known; meaningful when `ended` is not 0.
    pub status: u32,
    /// Always zero.
    pub pad: u32,
    /// Of `SNAPSHOT_*`.
    pub flags: u32,
    /// Bytes used of `exe`; 0 for a kernel thread.
    pub exe_len: u32,
    /// The leader's `comm`.
    pub comm: [u8; COMM_LEN],
    /// Base name of the executable (`mm->exe_file`).
    pub exe: [u8; EXE_LEN],
}

/// [`SnapshotRecord::flags`]: the process carries a mark.
pub const SNAPSHOT_MARKED: u32 = 1;
/// [`SnapshotRecord::flags`]: no thread of it is alive any more.
pub const SNAPSHOT_ENDED: u32 = 2;
/// [`SnapshotRecord::flags`]: the record of its present identity found no room ([`crate::MARK_TOLD`] is not set), and
/// userspace has not judged it either.
pub const SNAPSHOT_UNTOLD: u32 = 4;
/// [`SnapshotRecord::flags`]: the record of its present identity was sent, by an exec, fork or rename.
pub const SNAPSHOT_TOLD: u32 = 8;
/// [`SnapshotRecord::flags`]: a rename gave the present identity ([`crate::MARK_RENAMED`]).
pub const SNAPSHOT_RENAMED: u32 = 16;
/// [`SnapshotRecord::flags`]: the OOM killer picked it.
pub const SNAPSHOT_OOM: u32 = 32;

/// [`SampleRecord::fds`]: not told by this thread. Its process is exiting, or has more than [`FDS_COUNTED`].
pub const FDS_UNKNOWN: u32 = u32::MAX;
/// The largest table of descriptors that is counted; /proc counts larger ones.
pub const FDS_COUNTED: u32 = 4096;

/// One thread of a watched process, as the sampling iterator shows it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SampleRecord {
    /// The process.
    pub key: Key,
    /// The thread.
    pub tid: u32,
    /// `signal->nr_threads`: threads that have not been released.
    pub threads: u32,
    /// `signal->live`: threads that have not begun to exit; 0 = the process has ended.
    pub live: u32,
    /// The exit status as far as it is known; meaningful when `live` is 0.
    pub status: u32,
    /// Identifies the address space: equal values share it; 0 = none.
    pub mm: u64,
    /// Highest resident set noted in the address space so far, pages; 0 without one.
    pub hiwater_rss: u64,
    /// Virtual size of the address space, pages; 0 without one, and where the kernel does not tell.
    pub total_vm: u64,
    /// Open file descriptors, or [`FDS_UNKNOWN`].
    pub fds: u32,
    /// 1: it runs, or is ready to.
    pub runnable: u32,
    /// User, cgroup and pid namespace, in the leader's record; [`Facts::UNKNOWN`] in any other thread's.
    pub facts: Facts,
    /// Sums of the threads that have ended.
    pub ended: Usage,
    /// This thread's own usage; all zero when the sums above may hold it already.
    pub own: Usage,
}

const _: () = {
    assert!(size_of::<Key>() == 16);
    assert!(size_of::<Usage>() == 80);
    assert!(size_of::<Sender>() == 24);
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Facts>() == 16);
    assert!(size_of::<ExecHead>() == 32 + 8 + 16 + 80 + 16 + 16 + 16);
    assert!(size_of::<ExecRecord>() == size_of::<ExecHead>() + EXE_LEN + FILENAME_LEN + ARGV_LEN);
    assert!(size_of::<ArgumentsHead>() == 32 + 8);
    assert!(size_of::<ArgumentsRecord<8>>() == size_of::<ArgumentsHead>() + 8);
    assert!(size_of::<ForkRecord>() == 32 + 8 + 16 + 16);
    assert!(size_of::<RenameRecord>() == 32 + 8 + 16 + 80 + 16 + 16);
    assert!(size_of::<EndRecord>() == 32 + 8 + 24 + 8 + 80 + 16 + 8);
    assert!(size_of::<CgroupHead>() == 32 + 8 + 8);
    assert!(size_of::<CgroupRecord>() == size_of::<CgroupHead>() + CGROUP_PATH_LEN);
    assert!(size_of::<SnapshotRecord>() == 16 + 16 + 8 + 16 + 24 + 16 + 8 + 8 + COMM_LEN + EXE_LEN);
    assert!(size_of::<SampleRecord>() == 16 + 16 + 8 + 16 + 8 + 16 + 80 + 80);
    assert!(align_of::<ExecRecord>() == 8 && align_of::<SampleRecord>() == 8);
};
