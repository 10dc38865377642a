//! How often the loop takes the records that wait.
//!
//! What happens to processes of interest is taken ten times a second. What happens to others may wait longer, and where nothing
//! happens at all, the kernel side is asked to call with the next record, and there is no timer. Nothing else waits for it: a
//! collection takes the records first, and the kernel side calls in any case once a quarter of the ring is waiting.

use std::time::Duration;

use crate::{
    app::watch::{Drained, Watch, reconcile::LAST_WORD},
    plugin::NAMED_AT_START,
};

/// While something happens to processes of interest, and after the kernel side has called.
pub(super) const BUSY: Duration = Duration::from_millis(100);
/// At least this often while threads are measured.
const MEASURING: Duration = Duration::from_millis(400);
/// At least this often while something happens to others. A title that a program writes within a second of its start is the name
/// that it started with ([`NAMED_AT_START`]): the start has to be taken, and looked at, before.
const FOREIGN: Duration = Duration::from_millis(700);
const _: () = assert!(FOREIGN.as_millis() + BUSY.as_millis() * 2 < NAMED_AT_START.as_millis());

/// The pause before the next drain.
pub(super) struct Pace {
    pause: Duration,
    /// Where the ring ended when the kernel side was asked to call, a pause ago.
    asked: Option<u64>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            pause: BUSY,
            asked: None,
        }
    }

    /// The pause after a drain; `None`: the kernel side calls.
    pub(super) fn after(&mut self, drained: Drained, watch: &mut Watch) -> Option<Duration> {
        let is_missing = watch.call_missing();
        watch.note_paced();
        if !drained.all {
            return Some(Duration::ZERO);
        }
        if is_missing {
            self.pause = LAST_WORD;
            return Some(LAST_WORD);
        }
        let longest = if watch.measures_threads() {
            MEASURING
        } else {
            FOREIGN
        };
        let asked = self.asked.take();
        if drained.taken == 0 && self.pause >= longest && longest == FOREIGN {
            if asked.is_some_and(|position| watch.is_quiet_since(position)) {
                self.asked = asked; // the call is still to come
                return None;
            }
            // One more pause with a timer: a program may be running that read the limit before it was written, and what it tells
            // stands in the ring by then.
            self.asked = watch.ask_for_call();
            return Some(longest);
        }
        self.pause = if drained.of_interest > 0 {
            BUSY
        } else {
            (self.pause * 2).clamp(BUSY, longest)
        };
        Some(self.pause)
    }
}
