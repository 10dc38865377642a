//! The records that cross from the kernel to userspace, and the values of the shared maps.

/// Bytes of `task_struct::comm`, the terminating NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Room for an executable's base name: `NAME_MAX` and a NUL.
pub const EXE_LEN: usize = 256;
/// How much of the path given to execve(2) is kept.
pub const FILENAME_LEN: usize = 256;
/// How much of the argument vector is kept; longer ones are cut, and flagged.
pub const ARGV_LEN: usize = 512;

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

/// What the kernel side knows of a process it watches; in the map `MARKS`, written by programs alone.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Names the identity a verdict is about: the ns (CLOCK_BOOTTIME) of the exec, fork or rename that gave it;
    /// 0 for a process found by a snapshot.
    pub sequence: u64,
    /// `run_delay` of the threads that ended while marked, ns; `signal_struct` does not sum it.
    pub dead_run_delay: u64,
    /// When the present second of [`RENAMES_A_SECOND`] began, ns of CLOCK_BOOTTIME.
    pub renames_since: u64,
    /// Renames reported in it.
    pub renames: u64,
}

/// Renames reported of one process within a second at most: any program may rename itself in a loop, and must not
/// push everybody else's records out of the ring. What is beyond is counted as lost.
pub const RENAMES_A_SECOND: u64 = 64;

/// Userspace's answer to a mark; in the map `VERDICTS`. Holds only while the sequences agree.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// [`Mark::sequence`] of the identity judged.
    pub sequence: u64,
    /// 1: of interest; 0: send nothing more about this identity.
    pub keep: u64,
}

/// First field of every ring record.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`ExecRecord`].
    Exec = 1,
    /// [`ForkRecord`].
    Fork = 2,
    /// [`RenameRecord`].
    Rename = 3,
    /// [`EndRecord`] from `sched_process_exit`: provisional totals.
    Exit = 4,
    /// [`EndRecord`] from `sched_process_free`: final totals.
    Free = 5,
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
            _ => None,
        }
    }
}

/// Opens every ring record.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u32,
    /// Meaning by kind; zero where none is given.
    pub flags: u32,
    /// When it happened, ns of CLOCK_BOOTTIME.
    pub time: u64,
    /// The process it is about.
    pub key: Key,
}

/// [`Header::flags`] of an exec: the argument vector was longer than [`ARGV_LEN`].
pub const EXEC_ARGV_CUT: u32 = 1;

/// A process runs a new program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExecRecord {
    /// Kind and key.
    pub header: Header,
    /// The mark's new sequence.
    pub sequence: u64,
    /// The parent's key.
    pub parent: Key,
    /// The process's usage until now.
    pub usage: Usage,
    /// `comm` after the exec, NUL-terminated.
    pub comm: [u8; COMM_LEN],
    /// Bytes used of `exe`, the NUL not counted.
    pub exe_len: u32,
    /// Bytes used of `filename`, the NUL not counted.
    pub filename_len: u32,
    /// Bytes used of `argv`, NULs included.
    pub argv_len: u32,
    /// Zero.
    pub pad: u32,
    /// Base name of the executed file (the interpreter's, for a script).
    pub exe: [u8; EXE_LEN],
    /// The path as given to execve(2) (the script's, for a script).
    pub filename: [u8; FILENAME_LEN],
    /// The argument vector, NUL-separated.
    pub argv: [u8; ARGV_LEN],
}

/// A watched process made another one (not a thread).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ForkRecord {
    /// Kind; the key is the child's.
    pub header: Header,
    /// The child's mark.
    pub sequence: u64,
    /// The process that forked, whose identity the child inherits.
    pub parent: Key,
}

/// A thread-group leader got another `comm` without an exec.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RenameRecord {
    /// Kind and key; `flags` holds the number of threads.
    pub header: Header,
    /// The mark's new sequence.
    pub sequence: u64,
    /// The parent's key.
    pub parent: Key,
    /// The usage of the ended threads and of the leader; live siblings are not in it.
    pub usage: Usage,
    /// The new `comm`.
    pub comm: [u8; COMM_LEN],
}

/// A watched process ended (exit) or is being freed (free).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EndRecord {
    /// Kind and key.
    pub header: Header,
    /// The status wait4(2) reports (`0x700` = exit 7, 9 = SIGKILL, `0x80` = core dumped).
    pub status: u32,
    /// Zero.
    pub pad: u32,
    /// Usage of the whole process: provisional at exit, final at free.
    pub usage: Usage,
    /// Peak resident set size, pages; 0 where the kernel no longer knows it.
    pub peak_rss: u64,
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

/// One thread of a watched process, as the sampling iterator shows it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SampleRecord {
    /// The process.
    pub key: Key,
    /// The thread.
    pub tid: u32,
    /// `signal->nr_threads`.
    pub threads: u32,
    /// `signal->live`: threads that have not begun to exit; 0 = the process has ended.
    pub live: u32,
    /// The exit status as far as it is known; meaningful when `live` is 0.
    pub status: u32,
    /// Identifies the address space: equal values share it; 0 = none.
    pub mm: u64,
    /// Sums of the threads that have ended.
    pub ended: Usage,
    /// This thread's own usage; all zero when the sums above may hold it already.
    pub own: Usage,
}

/// Slots of the per-CPU counter map `FAILURES`, one for each way a program can lose something.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No ring space for an exec record.
    ExecReserve = 0,
    /// No ring space for a fork record.
    ForkReserve = 1,
    /// No ring space for a rename record.
    RenameReserve = 2,
    /// No ring space for an exit record.
    ExitReserve = 3,
    /// No ring space for a free record.
    FreeReserve = 4,
    /// `MARKS` was full (or its lock was not to be had).
    MarkInsert = 5,
    /// A process renamed itself more than [`RENAMES_A_SECOND`] times in a second.
    RenameLimit = 6,
}

impl Failure {
    /// Number of slots.
    pub const COUNT: u32 = 7;
    /// Every slot, with the name it is reported under.
    pub const ALL: [(Self, &'static str); Self::COUNT as usize] = [
        (Self::ExecReserve, "sched_process_exec"),
        (Self::ForkReserve, "sched_process_fork"),
        (Self::RenameReserve, "task_rename"),
        (Self::ExitReserve, "sched_process_exit"),
        (Self::FreeReserve, "sched_process_free"),
        (Self::MarkInsert, "marks"),
        (Self::RenameLimit, "rename_limit"),
    ];
}

const _: () = {
    assert!(size_of::<Key>() == 16);
    assert!(size_of::<Usage>() == 80);
    assert!(size_of::<Mark>() == 32);
    assert!(size_of::<Verdict>() == 16);
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<ExecRecord>() == 32 + 8 + 16 + 80 + 16 + 16 + EXE_LEN + FILENAME_LEN + ARGV_LEN);
    assert!(size_of::<ForkRecord>() == 32 + 8 + 16);
    assert!(size_of::<RenameRecord>() == 32 + 8 + 16 + 80 + 16);
    assert!(size_of::<EndRecord>() == 32 + 8 + 80 + 8);
    assert!(size_of::<SnapshotRecord>() == 16 + 16 + 8 + 8 + COMM_LEN + EXE_LEN);
    assert!(size_of::<SampleRecord>() == 16 + 16 + 8 + 80 + 80);
    assert!(align_of::<ExecRecord>() == 8 && align_of::<SampleRecord>() == 8);
};
