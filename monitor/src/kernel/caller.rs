//! Has the kernel side call a reader that sleeps.
//!
//! A record alone wakes nobody: a reader on a timer takes many at once. One that sees nothing for a while asks for a call with
//! the next record, and sleeps without a timer. The record that calls puts the usual limit back, so that a burst calls once
//! (`wake_up` in monitor-ebpf/src/maps.rs). The reader looks once more after it has asked: what came in between has not called.

use std::os::fd::AsFd as _;

use aya::maps::{Array, Map, MapData};
use kevmon_common::READER_CALL_AT;
use tracing::warn;

use super::object::{self, LoadError, READER};

/// The limit of waiting bytes that any record reaches.
const ANY: u64 = 1;

/// Asks the kernel side, by the map `READER`, to wake the reader with the next record.
pub struct Caller {
    reader: Array<MapData, u64>,
    /// The kernel refused, and is not asked again.
    is_refused: bool,
}

impl Caller {
    /// Takes the map `READER`, by a descriptor of its own.
    ///
    /// # Errors
    /// No descriptor is left, or the kernel refuses.
    pub fn of(reader: &Map) -> Result<Self, LoadError> {
        let data = object::data(reader).ok_or(LoadError::Foreign(READER))?;
        let descriptor = data.fd().as_fd().try_clone_to_owned().map_err(LoadError::Ring)?;
        Ok(Self {
            reader: Map::from_map_data(MapData::from_fd(descriptor)?)?.try_into()?,
            is_refused: false,
        })
    }

    /// Asks for a call with the next record. False where the kernel refuses, which is said once.
    pub fn call_with_next(&mut self) -> bool {
        if self.is_refused {
            return false;
        }
        match self.reader.set(READER_CALL_AT, ANY, 0) {
            Ok(()) => true,
            Err(error) => {
                self.is_refused = true;
                warn!("the kernel side is not asked to call: {error}; its records are looked for by a timer");
                false
            }
        }
    }
}
