//! What one tick hands to the outputs.

use crate::{
    metrics::{HealthReading, Since},
    plugin::{Plugin, Reading},
    process::{BootTime, Moment},
};

/// Turns CLOCK_BOOTTIME into Unix time. Fixed once, so that a start told once is told the same ever after,
/// whatever happens to the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixClock {
    offset: i128,
}

impl UnixClock {
    /// From both clocks read at the same moment, ns.
    pub fn new(unix: u64, boot: BootTime) -> Self {
        Self {
            offset: i128::from(unix) - i128::from(boot.0),
        }
    }

    /// Unix time, ns; 0 for what lies before 1970.
    pub fn unix(&self, time: impl Into<Moment>) -> u64 {
        match time.into() {
            Moment::Boot(time) => u64::try_from(i128::from(time.0) + self.offset).unwrap_or(0),
            Moment::Unix(nanos) => nanos,
        }
    }
}

/// One plugin's part.
#[derive(Debug, Clone)]
pub struct ServiceReading {
    /// Whose.
    pub plugin: Plugin,
    /// What was read.
    pub reading: Reading,
}

impl ServiceReading {
    /// When the sums of this kind began.
    pub fn start(&self, since: Since) -> Moment {
        match since {
            Since::Usage => self.reading.usage_start,
            Since::Watch => self.reading.watch_start,
        }
    }
}

/// One collection.
#[derive(Debug, Clone)]
pub struct Collection {
    /// When, Unix ns.
    pub time: u64,
    /// For the start times.
    pub clock: UnixClock,
    /// The plugins due.
    pub services: Vec<ServiceReading>,
    /// kevmon itself.
    pub health: HealthReading,
    /// CPU time that the collection took, ns of the process's own clock.
    pub tick_cpu: u64,
    /// The last one before the end.
    pub is_final: bool,
    /// Members that have ended without their final totals: the sum over the services.
    pub unsettled: u64,
}
