//! What the programs count, each CPU for itself.

/// Ways a program can lose something.
#[repr(usize)]
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
    /// `LOST_NAMES` was full: a process had a name for a moment that no record tells, and that userspace cannot try on
    /// its patterns. No record is missing: each process's last name is told.
    RenameLimit = 6,
    /// `LOST_ENDS` was full: the end of a process that userspace knows is unattributed.
    LostEnds = 7,
    /// `LOST_LIVES` was full: a life that userspace never heard of is unattributed.
    LostLives = 8,
    /// `VICTIMS` was full: an end by the OOM killer will look like any other SIGKILL.
    Victims = 9,
    /// No ring space for the record of a new cgroup.
    CgroupReserve = 10,
    /// No ring space for a part of an argument vector.
    ArgumentsReserve = 11,
    /// `HELD` was full: a process's last name is not told.
    Held = 12,
    /// No ring space for the totals that a dying thread told: the free tells them.
    DeadReserve = 13,
}

impl Failure {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// Each, with the name it is reported under.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::ExecReserve, "sched_process_exec"),
        (Self::ForkReserve, "sched_process_fork"),
        (Self::RenameReserve, "task_rename"),
        (Self::ExitReserve, "sched_process_exit"),
        (Self::FreeReserve, "sched_process_free"),
        (Self::MarkInsert, "marks"),
        (Self::RenameLimit, "rename_limit"),
        (Self::LostEnds, "lost_ends"),
        (Self::LostLives, "lost_lives"),
        (Self::Victims, "oom_victims"),
        (Self::CgroupReserve, "cgroup_mkdir"),
        (Self::ArgumentsReserve, "exec_arguments"),
        (Self::Held, "held_renames"),
        (Self::DeadReserve, "task_dead"),
    ];

    /// A record did not reach the ring: with those that userspace received, these make up [`Counters::sent`].
    pub const fn is_reserve(self) -> bool {
        matches!(
            self,
            Self::ExecReserve
                | Self::ForkReserve
                | Self::RenameReserve
                | Self::ExitReserve
                | Self::FreeReserve
                | Self::CgroupReserve
                | Self::ArgumentsReserve
                | Self::DeadReserve
        )
    }
}

/// The one value of the per-CPU map `COUNTERS`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// By [`Failure`].
    pub failures: [u64; Failure::COUNT],
    /// Records that a program tried to put into the ring.
    pub sent: u64,
    /// Lives put into `LOST_ENDS` or `LOST_LIVES`.
    pub kept: u64,
    /// Renames put into `HELD` instead of the ring.
    pub held: u64,
}

const _: () = assert!(size_of::<Counters>() == (Failure::COUNT + 3) * 8);
