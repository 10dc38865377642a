//! What a step holds of a group.

/// One of the values. The order is that of the bits in a file: new ones come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    /// CPU time of present and past members, ns; a sum.
    Cpu,
    /// Time runnable but waiting for a CPU, ns; a sum.
    RunDelay,
    /// Voluntary context switches; a sum.
    Voluntary,
    /// Involuntary context switches; a sum.
    Involuntary,
    /// Resident sets, bytes; memory that members share in one address space counts once.
    Rss,
    /// Threads.
    Threads,
    /// Open file descriptors.
    Fds,
    /// Live members.
    Processes,
    /// Starts of roots; a sum, as all that follow.
    Starts,
    /// Starts of other members.
    WorkerStarts,
    /// Roots that took the place of another one, or executed again.
    Restarts,
    /// Ends with exit code 0.
    Succeeded,
    /// Ends with another exit code.
    Failed,
    /// Ends by a signal.
    Signalled,
    /// Ends by the OOM killer.
    OomKilled,
    /// Ends for an unknown reason.
    Vanished,
}

impl Field {
    /// All of them, in order.
    pub const ALL: [Self; FIELDS] = [
        Self::Cpu,
        Self::RunDelay,
        Self::Voluntary,
        Self::Involuntary,
        Self::Rss,
        Self::Threads,
        Self::Fds,
        Self::Processes,
        Self::Starts,
        Self::WorkerStarts,
        Self::Restarts,
        Self::Succeeded,
        Self::Failed,
        Self::Signalled,
        Self::OomKilled,
        Self::Vanished,
    ];
}

/// Number of fields.
pub const FIELDS: usize = 16;

/// A value for each [`Field`]; `None`: it could not be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values(pub [Option<u64>; FIELDS]);

impl Values {
    /// The value of `field`, where it is known.
    pub fn get(&self, field: Field) -> Option<u64> {
        self.0[field as usize]
    }

    /// The same with another value for `field`.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<Option<u64>>) -> Self {
        self.0[field as usize] = value.into();
        self
    }
}
