//! Values of this moment: of a process, and of the host they are set against.

/// What /proc tells about a live process at this moment; `None` where it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Resident set, bytes.
    pub rss: Option<u64>,
    /// Virtual size, bytes.
    pub vms: Option<u64>,
    /// Open file descriptors.
    pub fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Peak of the resident set, bytes.
    pub peak_rss: Option<u64>,
    /// Equal values share an address space, whose sizes then count once.
    pub address_space: Option<u64>,
}

/// What the host has, for shares of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Physical memory, bytes.
    pub memory: Option<u64>,
    /// CPUs available.
    pub cpus: u64,
}
