//! When the loop has to come by for records, and when the kernel side calls it instead.

use std::time::{Duration, Instant};

use super::{Drained, Source, Watch, reconcile::LAST_WORD};

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

    /// Has the kernel side call with the next record. `None`: it will, and nothing waits. Else what was found meanwhile, and the
    /// caller goes on by a timer.
    pub fn sleep(&mut self) -> Option<Drained> {
        let position = match &mut self.source {
            Source::Ebpf(kernel) => kernel.call_with_next(),
            Source::Proc(_) => None,
        };
        // What came before the call was asked for has not called.
        let drained = self.drain();
        let is_empty = match (&self.source, position) {
            (Source::Ebpf(kernel), Some(position)) => kernel.ends_at(position),
            _ => false,
        };
        (!is_empty).then_some(drained)
    }
}
