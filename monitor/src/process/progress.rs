//! How far a run has taken what the kernel side tells, in a form that the state keeps with what came of it.

use std::sync::Arc;

/// Everything before this has been taken, and is in the groups that are kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The ring, by the kernel's id of the map.
    pub ring: u32,
    /// Bytes from the ring's beginning.
    pub position: u64,
    /// Number of records before that position.
    pub received: u64,
    /// Losses that have been told, as the kernel side counts them.
    pub losses: Vec<u64>,
    /// Sums over lost lives that have been told, as the kernel side lays them out.
    pub lives: Arc<[u8]>,
    /// The groups that the run kept then, as one number.
    pub groups: u64,
    /// All that had been lost by then has been told by the intervals of all groups.
    pub is_told: bool,
    /// Single ends that the kernel side kept, and that this run has taken. Not for the next one.
    pub ends: u64,
}
