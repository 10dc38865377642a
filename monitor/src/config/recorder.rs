//! `[recorder]`: what the flight recorder writes, and how much it holds.

use std::{ops::RangeInclusive, time::Duration};

/// Time between two steps of groups in standard mode.
pub const STEP_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// What the ring may hold at least and at most.
pub const BYTES_BOUNDS: RangeInclusive<u64> = (1 << 20)..=(4 << 30);

/// How far the ring may reach back: twice an incident at least.
pub const AGE_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(300)..=Duration::from_hours(7 * 24);

/// The recorder's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorder {
    /// Groups in detailed mode are recorded, at their sample interval.
    pub enabled: bool,
    /// Groups in standard mode are recorded as well, at `step`.
    pub standard: bool,
    /// Time between two steps of groups in standard mode.
    pub step: Duration,
    /// Bytes of the ring.
    pub bytes: u64,
    /// Age of its oldest step.
    pub age: Duration,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            enabled: true,
            standard: false,
            step: Duration::from_secs(1),
            bytes: 64 << 20,
            age: Duration::from_hours(1),
        }
    }
}
