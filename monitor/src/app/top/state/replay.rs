//! A recording in the place of what is live.

use super::{Events, State, rates::Baseline};
use crate::app::top::frame::Frame;

impl State {
    /// Shows the last of these frames, with the others as what was before. `fault`: what of the recording could not be read.
    pub(in crate::app::top) fn replay(&mut self, frames: Vec<Frame>, fault: Option<String>) {
        self.replay = Some(fault);
        (self.baseline, self.events) = (Baseline::default(), Events::default());
        self.histories.clear();
        // A group that an earlier frame lacks stays selected all the same.
        let selected = self.selected.take();
        for frame in frames {
            self.take(frame);
        }
        self.selected = selected;
        self.arrange();
    }
}
