//! What happened to members, held until somebody takes it: a bounded number for each user and each group.
//!
//! Whoever may start processes can have any number start and end under a service's name. So each user has a room of its own
//! in a group, and all users together have that of two: a user finds room as long as it has taken less than what is left. One that
//! floods takes the room of one, the next one half as much, the next one a quarter; so there is always some left.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    BootTime, Change, Group, GroupId, Notice, Plugin, Process, ProcessKey, ProcessTable, Role, State,
    Tracker, What,
};
use crate::{
    plugin::{RestartKind, SavedGroup, restarts::Replaced},
    process::UserMap,
};

/// Notices of one user's processes in a group whose every event is exported or shown, at once.
const HELD_FOR_EXPORT: u64 = 4096;
/// Notices of one user's processes in a group whose history alone is kept: as many as the store keeps.
const HELD_FOR_HISTORY: u64 = 1_000;
/// Time in which the whole room is given again, so that a storm that goes on does not fill the disk.
const REFILLED_IN: Duration = Duration::from_secs(5);
/// All users together have the room of so many.
const USERS: u64 = 2;
/// How far back an exec looks for its fork: many more than are born between the two.
const LOOKED_BACK: usize = 256;
/// So many parents are kept for whoever wants their names.
const PARENTS: usize = 32;
/// An exit is told with its final totals, if they come within this time; they take some 10 to 40 ms.
const TOTALS_WITHIN: Duration = Duration::from_millis(200);

/// The notices of all groups.
#[derive(Debug)]
pub(super) struct Notices {
    groups: BTreeMap<GroupId, Waiting>,
    /// Ended members whose totals are awaited, in the order of their ends as told.
    ending: VecDeque<(BootTime, ProcessKey)>,
    /// Who has started what the notices since the last look tell of.
    parents: Vec<ProcessKey>,
    dropped: u64,
}

/// The notices of a group.
#[derive(Debug)]
struct Waiting {
    /// Says how many there may be.
    plugin: Arc<Plugin>,
    notices: Vec<Notice>,
    /// Notices that still find room, as of `as_of`.
    room: u64,
    /// When `room` was brought up to date.
    as_of: BootTime,
    /// What each user's processes have taken; all unknown users count as one.
    users: UserMap<Taken>,
}

/// The share of a group's room that one user's processes have taken.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    /// Notices that wait to be taken.
    waiting: u64,
    /// Part of the room taken, less what has been given again since.
    room: u64,
}

impl Waiting {
    fn most(&self) -> u64 {
        if self.plugin.events {
            HELD_FOR_EXPORT
        } else {
            HELD_FOR_HISTORY
        }
    }

    /// Makes the room that has come until `time`.
    fn refill(&mut self, time: BootTime) {
        let after = time.since(self.as_of).min(REFILLED_IN);
        let share = after.as_nanos() * u128::from(self.most()) / REFILLED_IN.as_nanos();
        // Less than one is left to the next time.
        if let Ok(more @ 1..) = u64::try_from(share) {
            self.room = self.room.saturating_add(USERS * more).min(USERS * self.most());
            self.as_of = time;
            self.users.retain(|_, taken| {
                taken.room = taken.room.saturating_sub(more);
                taken.room > 0 || taken.waiting > 0
            });
        }
    }

    /// Whether one more notice of a process of `user` finds room.
    fn has_room_for(&self, user: Option<u32>) -> bool {
        let most = self.most();
        let left = (USERS * most).saturating_sub(self.notices.len() as u64);
        let taken = self.users.get(&user).copied().unwrap_or_default();
        taken.room.max(taken.waiting) < most.min(left).min(self.room)
    }

    fn add(&mut self, notice: Notice, user: Option<u32>) {
        let taken = self.users.entry(user).or_default();
        taken.room += 1;
        taken.waiting += 1;
        self.room = self.room.saturating_sub(1);
        self.notices.push(notice);
    }
}

impl Notices {
    pub(super) fn new<'a>(plugins: impl Iterator<Item = (GroupId, &'a Arc<Plugin>)>) -> Self {
        let mut notices = Self {
            groups: BTreeMap::new(),
            ending: VecDeque::new(),
            parents: Vec::new(),
            dropped: 0,
        };
        plugins.for_each(|(group, plugin)| notices.plan(group, plugin));
        notices
    }

    /// A group is there, or its plugin has changed.
    pub(super) fn plan(&mut self, group: GroupId, plugin: &Arc<Plugin>) {
        let known = self.groups.remove(&group);
        let mut waiting = Waiting {
            plugin: Arc::clone(plugin),
            room: 0,
            as_of: BootTime(0),
            users: UserMap::default(),
            notices: Vec::new(),
        };
        if let Some(known) = known {
            (waiting.notices, waiting.users) = (known.notices, known.users);
        }
        waiting.room = (USERS * waiting.most()).saturating_sub(waiting.notices.len() as u64);
        self.groups.insert(group, waiting);
    }

    /// A group is no more.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.groups.remove(&group);
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

    /// Whether an end waits no longer for its totals.
    pub(super) fn is_due(&self, now: BootTime, table: &ProcessTable) -> bool {
        let is_due = |&(time, key): &(BootTime, ProcessKey)| {
            now.since(time) >= TOTALS_WITHIN && table.get(key).is_some_and(|process| !process.exit_told)
        };
        self.ending.front().is_some_and(is_due)
    }

    /// Notices for which there was no room since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Tells what a change of a group amounts to.
    pub(super) fn note(
        &mut self,
        table: &ProcessTable,
        group: GroupId,
        key: ProcessKey,
        time: BootTime,
        changes: impl IntoIterator<Item = Change>,
    ) {
        for change in changes {
            match change {
                Change::Start(role) => self.push(table, group, key, time, || What::Start {
                    worker: role == Role::Worker,
                }),
                Change::Respawn(replaced) => self.push_respawn(table, group, *replaced),
                Change::Reexec => self.push(table, group, key, time, || What::Restart {
                    kind: RestartKind::Reexec,
                    downtime: None,
                    previous: None,
                }),
            }
        }
    }

    /// A fork and its exec are one start: while it waits here, it is told under the name that the exec gave.
    pub(super) fn named_by_exec(&mut self, table: &ProcessTable, group: GroupId, key: ProcessKey) {
        let Some(process) = table.get(key) else { return };
        let Some(Waiting { plugin, notices, .. }) = self.groups.get_mut(&group) else {
            return;
        };
        let start = notices
            .iter_mut()
            .rev()
            .take(LOOKED_BACK)
            .find(|notice| notice.key == key && matches!(notice.what, What::Start { .. }));
        if let Some(start) = start {
            start.name = Arc::from(plugin.name_of(&process.identity));
            start.exe = Arc::from(process.identity.exe.as_str());
        }
    }

    /// Tells the end of a member of `members_of`, once.
    pub(super) fn note_exit(
        &mut self,
        table: &mut ProcessTable,
        groups: &BTreeMap<GroupId, Group>,
        members_of: &[GroupId],
        key: ProcessKey,
        settled: bool,
    ) {
        let Some(process) = table.get_mut(key) else {
            return;
        };
        let at = match process.state {
            State::Ended { at, .. } if !std::mem::replace(&mut process.exit_told, true) => at,
            _ => return,
        };
        for &group in members_of {
            let Some(process) = table.get(key) else { continue };
            let State::Ended { ending, .. } = &process.state else {
                continue;
            };
            self.push(table, group, key, at, || What::Exit {
                ending: ending.clone(),
                lifetime: ending.status.map(|_| at.since(key.start)),
                usage: process.totals(),
                peak_rss: process.peak_rss,
                settled,
                worker: groups.get(&group).and_then(|group| group.role(key)) == Some(Role::Worker),
            });
        }
    }

    /// Tells ends that an earlier run counted and did not tell, with the totals that it kept.
    pub(super) fn tell_untold(&mut self, group: GroupId, saved: &SavedGroup) {
        for exit in &saved.untold_exits {
            let Some(member) = saved.members.iter().find(|member| member.key == exit.key) else {
                continue; // kept with it, always
            };
            self.hold(group, exit.time, member.user, || {
                Some(Notice {
                    group,
                    time: exit.time,
                    key: exit.key,
                    parent: None,
                    name: Arc::clone(&member.name),
                    exe: Arc::clone(&member.exe),
                    user: member.user,
                    programs: Vec::new(),
                    incident: None,
                    what: What::Exit {
                        ending: exit.ending.clone(),
                        lifetime: exit.ending.status.map(|_| exit.time.since(exit.key.start)),
                        usage: member.totals,
                        peak_rss: None,
                        settled: false,
                        worker: !member.root,
                    },
                })
            });
        }
    }

    fn push(
        &mut self,
        table: &ProcessTable,
        group: GroupId,
        key: ProcessKey,
        time: BootTime,
        what: impl FnOnce() -> What,
    ) {
        let Some(waiting) = self.groups.get(&group) else {
            return;
        };
        let plugin = Arc::clone(&waiting.plugin);
        let user = table.get(key).and_then(|process| process.uid);
        self.hold(group, time, user, || {
            let process = table.get(key)?;
            let what = what();
            let programs = match what {
                What::Exit { .. } => process.programs.clone(),
                What::Start { .. } | What::Restart { .. } => Vec::new(),
            };
            Some(Notice {
                group,
                time,
                key,
                parent: process.parent(),
                name: Arc::from(plugin.name_of(&process.identity)),
                exe: Arc::from(process.identity.exe.as_str()),
                user,
                programs,
                incident: None,
                what,
            })
        });
    }

    /// A restart is told of the new process, which may be gone already where the end of the old one comes late.
    fn push_respawn(&mut self, table: &ProcessTable, group: GroupId, replaced: Replaced) {
        let Replaced {
            successor,
            predecessor,
            downtime,
        } = replaced;
        self.hold(group, successor.time, successor.identity.user, || {
            Some(Notice {
                group,
                time: successor.time,
                key: successor.key,
                parent: table.get(successor.key).and_then(Process::parent),
                name: Arc::clone(&successor.identity.name),
                exe: Arc::clone(&successor.identity.exe),
                user: successor.identity.user,
                programs: Vec::new(),
                incident: None,
                what: What::Restart {
                    kind: RestartKind::Respawn,
                    downtime,
                    previous: Some(Box::new(predecessor)),
                },
            })
        });
    }

    fn hold(
        &mut self,
        group: GroupId,
        time: BootTime,
        user: Option<u32>,
        notice: impl FnOnce() -> Option<Notice>,
    ) {
        let Some(waiting) = self.groups.get_mut(&group) else {
            return;
        };
        waiting.refill(time);
        if !waiting.has_room_for(user) {
            self.dropped += 1;
        } else if let Some(notice) = notice() {
            let starts = !matches!(notice.what, What::Exit { .. });
            let parent = notice
                .parent
                .filter(|parent| starts && !self.parents.contains(parent));
            if self.parents.len() < PARENTS {
                self.parents.extend(parent);
            }
            waiting.add(notice, user);
        }
    }
}

impl Tracker {
    /// What happened since the last call, by group and in the order of its telling. An exit is told once its totals
    /// are final, or were awaited for 200 ms. Of each user's processes in a group 4,096 are told at once, or 1,000 where its
    /// events are not exported, and as many again in five seconds; of all users together twice as many. The rest are counted.
    pub fn take_notices(&mut self, now: BootTime) -> Vec<Notice> {
        while let Some(&(time, key)) = self.notices.ending.front() {
            if self.table.get(key).is_some() {
                if now.since(time) < TOTALS_WITHIN {
                    break;
                }
                self.note_exit(key, false);
                // What is kept of it says that it is not told.
                for group in self.memberships.get(&key).into_iter().flatten() {
                    if let Some(group) = self.groups.get_mut(group) {
                        group.changed = true;
                    }
                }
            }
            self.notices.ending.pop_front();
        }
        let waiting = self.notices.groups.values_mut();
        let taken = waiting.flat_map(|waiting| {
            waiting.users.values_mut().for_each(|taken| taken.waiting = 0);
            waiting.notices.drain(..)
        });
        taken.collect()
    }

    /// Who has started processes that notices tell of, since the last call: the first 32 of them. Many do not live for long.
    pub fn take_parents(&mut self) -> Vec<ProcessKey> {
        std::mem::take(&mut self.notices.parents)
    }

    /// Tells the end of a member, once.
    pub(super) fn note_exit(&mut self, key: ProcessKey, settled: bool) {
        let members_of = self.memberships.get(&key).map_or(&[][..], Vec::as_slice);
        self.notices
            .note_exit(&mut self.table, &self.groups, members_of, key, settled);
    }
}
