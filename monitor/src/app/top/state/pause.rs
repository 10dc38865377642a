//! A pause: the screen stands still, and what comes during it is held.

use super::{Effect, GroupRow, State};
use crate::app::top::frame::Frame;

impl State {
    /// Begins a pause, or ends it with what came during it.
    pub(super) fn pause_or_go_on(&mut self) -> Effect {
        self.is_paused = !self.is_paused;
        if self.is_paused {
            return Effect::None;
        }
        if let Some(held) = self.held.take() {
            self.take(held);
        }
        Effect::Ask
    }

    /// The latest frame is held, with the events of all.
    pub(super) fn hold(&mut self, mut frame: Frame) {
        if let Some(mut before) = self.held.take() {
            before.events.append(&mut frame.events);
            frame.events = before.events;
            frame.events_missed += before.events_missed;
        }
        self.held = Some(frame);
    }

    /// Processes are to be shown that come only after the pause.
    pub(in crate::app::top) fn lacks_processes(&self) -> bool {
        let is_wanted = |group: &GroupRow| self.filter.is_set() || self.is_expanded(&group.label);
        let mut wanted = self.groups.iter().filter(|group| is_wanted(group));
        self.is_paused && wanted.any(|group| group.members.is_empty() && group.processes > 0)
    }
}
