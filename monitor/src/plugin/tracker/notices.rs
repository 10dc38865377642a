//! What happened to members, held until somebody takes it: a bounded number for each group, the newest.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    BootTime, Change, GroupId, Identity, Notice, Plugin, ProcessKey, ProcessTable, Role, State, Tracker, What,
};

/// Notices held for a group whose every event is exported or shown.
const HELD_FOR_EXPORT: usize = 4096;
/// … and for one whose recent history alone is kept.
const HELD_FOR_HISTORY: usize = 128;
/// An exit is told with its final totals, if they come within this time; they take some 10 to 40 ms.
const TOTALS_WITHIN: Duration = Duration::from_millis(200);

/// The notices of all groups.
#[derive(Debug)]
pub(super) struct Notices {
    /// By group: how many may wait, and what waits.
    groups: Vec<(usize, VecDeque<Notice>)>,
    /// Ended members whose totals are awaited, in the order of their ends as told.
    ending: VecDeque<(BootTime, ProcessKey)>,
    dropped: u64,
}

impl Notices {
    pub(super) fn new(plugins: &[Plugin]) -> Self {
        let held = |plugin: &Plugin| {
            if plugin.events {
                HELD_FOR_EXPORT
            } else {
                HELD_FOR_HISTORY
            }
        };
        Self {
            groups: plugins
                .iter()
                .map(|plugin| (held(plugin), VecDeque::new()))
                .collect(),
            ending: VecDeque::new(),
            dropped: 0,
        }
    }

    pub(super) fn expect_totals(&mut self, key: ProcessKey, time: BootTime, table: &ProcessTable) {
        // Bounded by the table: what has settled is forgotten.
        while self
            .ending
            .front()
            .is_some_and(|&(_, key)| table.get(key).is_none())
        {
            self.ending.pop_front();
        }
        self.ending.push_back((time, key));
    }

    /// Notices of exported groups that nobody took in time. (The history is meant to hold the newest only.)
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn push(&mut self, notice: Notice) {
        let (held, waiting) = &mut self.groups[notice.group.0];
        if waiting.len() == *held {
            waiting.pop_front();
            self.dropped += u64::from(*held == HELD_FOR_EXPORT);
        }
        waiting.push_back(notice);
    }
}

impl Tracker {
    /// What happened since the last call, by group and in the order of its telling. An exit is told once its totals
    /// are final, or were awaited for 200 ms.
    pub fn take_notices(&mut self, now: BootTime) -> Vec<Notice> {
        while let Some(&(time, key)) = self.notices.ending.front() {
            if self.table.get(key).is_some() {
                if now.since(time) < TOTALS_WITHIN {
                    break;
                }
                self.note_exit(key, false);
            }
            self.notices.ending.pop_front();
        }
        let waiting = self.notices.groups.iter_mut();
        waiting.flat_map(|(_, waiting)| waiting.drain(..)).collect()
    }

    pub(super) fn note(
        &mut self,
        group: GroupId,
        key: ProcessKey,
        time: BootTime,
        changes: impl IntoIterator<Item = Change>,
    ) {
        for change in changes {
            let what = match change {
                Change::Start(role) => What::Start {
                    worker: role == Role::Worker,
                },
                Change::Restart(kind, replaced) => What::Restart {
                    kind,
                    downtime: replaced.downtime,
                },
            };
            self.push(group, key, time, what);
        }
    }

    /// Tells the end of a member, once.
    pub(super) fn note_exit(&mut self, key: ProcessKey, settled: bool) {
        let Some(process) = self.table.get_mut(key) else {
            return;
        };
        let State::Ended { at, ending } = &process.state else {
            return;
        };
        if std::mem::replace(&mut process.exit_told, true) {
            return;
        }
        let (at, ending) = (*at, ending.clone());
        let (usage, peak_rss) = (process.totals(), process.peak_rss);
        let lifetime = ending.status.map(|_| at.since(key.start));
        for group in self.memberships.get(&key).cloned().unwrap_or_default() {
            let what = What::Exit {
                ending: ending.clone(),
                lifetime,
                usage,
                peak_rss,
                settled,
                worker: self.groups[group.0].role(key) == Some(Role::Worker),
            };
            self.push(group, key, at, what);
        }
    }

    fn push(&mut self, group: GroupId, key: ProcessKey, time: BootTime, what: What) {
        let Some(process) = self.table.get(key) else {
            return;
        };
        let Identity { exe, .. } = &process.identity;
        self.notices.push(Notice {
            group,
            time,
            key,
            parent: process.parent,
            name: Arc::from(process.identity.name()),
            exe: Arc::from(exe.as_str()),
            what,
        });
    }
}
