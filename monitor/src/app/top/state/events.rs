//! The events that came, for the pane, and the last end of each group.

use std::collections::{BTreeMap, VecDeque};

use super::history::Lives;
use crate::{
    app::top::frame::EventFrame,
    export::{Happened, LiveEvent, ending, event_from_json},
    plugin::What,
    process::Reason,
};

/// Events that are kept for the pane.
const KEPT: usize = 1_000;

/// One event of a group.
#[derive(Debug, Clone)]
pub(in crate::app::top) struct ShownEvent {
    /// The group's label.
    pub(in crate::app::top) group: String,
    /// Its times are Unix ns.
    pub(in crate::app::top) event: LiveEvent,
}

/// How a process of a group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app::top) struct LastEnd {
    /// Unix ns.
    pub(in crate::app::top) time: u64,
    /// The reason, and who sent the signal; `None`: it was before anybody told.
    pub(in crate::app::top) how: Option<String>,
    /// It exited with code 0.
    pub(in crate::app::top) is_success: bool,
    pub(in crate::app::top) pid: Option<u32>,
}

#[derive(Debug, Default)]
pub(in crate::app::top) struct Events {
    told: VecDeque<ShownEvent>,
    /// By label.
    ends: BTreeMap<String, LastEnd>,
    /// Events that were told to nobody, because too many came at once.
    pub(in crate::app::top) missed: u64,
    /// Events that this version cannot read.
    pub(in crate::app::top) unread: u64,
}

impl Events {
    /// Takes an event. Returns its group, its Unix second and what it is for the ribbon; `None` for what it cannot read.
    pub(super) fn take(&mut self, frame: EventFrame) -> Option<(String, u64, Lives)> {
        let Some(event) = event_from_json(&frame.event) else {
            self.unread += 1;
            return None;
        };
        let lives = lives(&event);
        let second = event.time.0 / 1_000_000_000;
        if let Happened::Life(What::Exit { ending: how, .. }) = &event.what {
            let end = LastEnd {
                time: event.time.0,
                how: Some(ending(how)),
                is_success: how.reason().is_success(),
                pid: Some(event.key.tgid.0),
            };
            // Ends are told when their totals are known, which is not always in their order.
            let known = self.ends.get(&frame.group);
            if known.is_none_or(|known| known.time <= end.time) {
                self.ends.insert(frame.group.clone(), end);
            }
        }
        if self.told.len() == KEPT {
            self.told.pop_front();
        }
        let group = frame.group.clone();
        self.told.push_back(ShownEvent {
            group: frame.group,
            event,
        });
        Some((group, second, lives))
    }

    /// The last end of a group; `time` is what the group itself says of it, Unix ns.
    pub(super) fn last_end(&self, group: &str, time: Option<u64>) -> Option<LastEnd> {
        let of_time = |time| LastEnd {
            time,
            how: None,
            is_success: true,
            pid: None,
        };
        match (self.ends.get(group), time) {
            // A later end is counted before it is told; the two may be a clock's step apart.
            (Some(end), Some(time)) if time > end.time + 1_000_000_000 => Some(of_time(time)),
            (Some(end), _) => Some(end.clone()),
            (None, time) => time.map(of_time),
        }
    }

    /// The events of these groups, latest first.
    pub(in crate::app::top) fn latest<'a>(
        &'a self,
        shows: impl Fn(&ShownEvent) -> bool + 'a,
    ) -> impl Iterator<Item = &'a ShownEvent> {
        self.told.iter().rev().filter(move |told| shows(told))
    }
}

fn lives(event: &LiveEvent) -> Lives {
    let mut lives = Lives::default();
    match &event.what {
        Happened::Life(What::Start { .. }) => lives.starts = 1,
        Happened::Life(What::Exit { .. }) => {
            lives.ends = 1;
            let is_failure = |reason: Reason| !reason.is_success() && reason != Reason::Unknown;
            lives.failures = u32::from(event.reason().is_some_and(is_failure));
        }
        Happened::Life(What::Restart { .. }) => lives.restarts = 1,
        Happened::Exec { .. } | Happened::Rename { .. } => {}
    }
    lives
}
