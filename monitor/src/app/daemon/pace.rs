//! How often the loop takes the records that wait.
//!
//! What happens to processes of interest is taken ten times a second. What happens to others may wait longer, and where nothing
//! happens at all, the kernel side is asked to call with the next record, and there is no timer. Nothing else waits for it: a
//! collection takes the records first, and the kernel side calls in any case once a quarter of the ring is waiting.

use std::time::Duration;

use crate::app::watch::{Drained, Watch, reconcile::LAST_WORD};

/// While something happens to processes of interest, and after the kernel side has called.
pub(super) const BUSY: Duration = Duration::from_millis(100);
/// At least this often while something waits for its time: a title that is to be looked at, threads that end.
const WATCHFUL: Duration = Duration::from_millis(400);
/// At least this often while something happens to others.
const FOREIGN: Duration = Duration::from_secs(1);

/// The pause before the next drain.
pub(super) struct Pace {
    pause: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { pause: BUSY }
    }

    /// The pause after a drain; `None`: the kernel side calls.
    pub(super) fn after(&mut self, drained: Drained, watch: &mut Watch) -> Option<Duration> {
        let is_missing = watch.call_missing();
        if !drained.all {
            return Some(Duration::ZERO);
        }
        if is_missing {
            self.pause = LAST_WORD;
            return Some(LAST_WORD);
        }
        let longest = if watch.has_looks() { WATCHFUL } else { FOREIGN };
        let was_longest = self.pause >= longest;
        self.pause = if drained.of_interest > 0 {
            BUSY
        } else {
            (self.pause * 2).clamp(BUSY, longest)
        };
        let sleeps = drained.taken == 0 && was_longest && longest == FOREIGN && watch.call_with_next();
        (!sleeps).then_some(self.pause)
    }
}
