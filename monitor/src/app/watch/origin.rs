//! Where a run gets its data from: a daemon, as its flags say, or a command that watches by itself.

use std::path::PathBuf;

use crate::{
    cli::{self, Args, DEFAULT_RING_BYTES},
    config::accounting::ExactEnds,
    kernel::Pinning,
};

/// Where a run gets its data from.
pub(in crate::app) struct Origin {
    pub(in crate::app) choice: cli::Source,
    /// What asks for eBPF and nothing else, for the message that it is refused.
    pub(in crate::app) asked_by: &'static str,
    pub(in crate::app) ring_bytes: u32,
    /// Where proc is mounted.
    pub(in crate::app) root: PathBuf,
    /// What outlives this run; `None`: nothing.
    pub(in crate::app) pinning: Option<Pinning>,
    /// When dying threads tell their processes' totals.
    pub(in crate::app) exact_ends: ExactEnds,
}

impl From<&Args> for Origin {
    fn from(args: &Args) -> Self {
        Self {
            choice: args.source,
            asked_by: "--source ebpf",
            ring_bytes: args.ring_bytes,
            root: args.proc_root.clone(),
            pinning: None,
            exact_ends: ExactEnds::default(),
        }
    }
}

impl Origin {
    /// Of a command that watches by itself: nothing outlives it, and totals come as they come.
    pub(in crate::app) fn of_command(choice: cli::Source) -> Self {
        Self {
            choice,
            asked_by: "--source ebpf",
            ring_bytes: DEFAULT_RING_BYTES,
            root: PathBuf::from("/proc"),
            pinning: None,
            exact_ends: ExactEnds::Never,
        }
    }
}
