//! When the loop has to come by for records, and when the kernel side calls it instead.

use std::time::{Duration, Instant};

use super::{Source, Watch, reconcile::LAST_WORD};

impl Watch {
    /// Threads that end are told through a ring that calls at a quarter alone.
    pub fn measures_threads(&self) -> bool {
        self.detail.is_on()
    }

    /// When a title is to be looked at next, for which a drain has to come by.
    pub fn next_look(&self) -> Option<Instant> {
        self.looks.next()
    }

    /// How soon a drain has to come by because of what others have taken since the last call of [`Watch::note_paced`]: a
    /// collection, say, or somebody who looks. `busy`: for records that they took.
    pub fn wants_drain(&self, busy: Duration) -> Option<Duration> {
        if self.compared.is_some() {
            return Some(LAST_WORD);
        }
        self.has_taken.then_some(busy)
    }

    /// Whoever decides when the next drain comes knows of all that was taken so far.
    pub fn note_paced(&mut self) {
        self.has_taken = false;
    }

    /// Has the kernel side call with the next record. Returns the position in the ring from which on records call; `None`: there
    /// is no kernel side, or it does not call.
    pub fn ask_for_call(&mut self) -> Option<u64> {
        match &mut self.source {
            Source::Ebpf(kernel) => kernel.call_with_next(),
            Source::Proc(_) => None,
        }
    }

    /// Whether nothing has come since the call was asked for at this position, so that the next record will call.
    pub fn is_quiet_since(&self, position: u64) -> bool {
        match &self.source {
            Source::Ebpf(kernel) => kernel.ends_at(position),
            Source::Proc(_) => false,
        }
    }
}
