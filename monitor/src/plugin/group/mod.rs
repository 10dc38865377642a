//! One plugin's group: its members, and totals that never fall.

mod detail;
mod live;
mod outlive;
mod places;
mod read;
mod roots;
mod single;
mod step;

pub use single::told as told_arguments;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Aggregate, Durations, Plugin,
    reading::Happened,
    restarts::{Replaced, RestartPairing, RootIdentity},
};
use crate::process::{
    BootTime, Ending, Facts, KeyMap, KeySet, LostLives, Moment, Process, ProcessKey, ProcessTable, Reason,
    Usage,
};

/// A member whose parent is no member, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its parent is not a member.
    Root,
    /// Its parent is.
    Worker,
}

/// How a process came to its present identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It executed a program, was forked, or took its name right after its fork.
    Appeared,
    /// The same, but the record was lost: what happened around it is not known.
    AppearedUnheard,
    /// It was there before: found by a snapshot, renamed later, or after a reload.
    Joined,
}

/// A process in a group.
#[derive(Debug, Clone)]
struct Membership {
    role: Role,
    /// Its totals when it came: what lies before belongs to others.
    base: Usage,
    /// When it came, or took its role.
    since: BootTime,
    /// When it started as a member, where it did so under kevmon's eyes.
    started: Option<BootTime>,
    /// Its usage from before `since` is not yet known to be part of the sums.
    unobserved: bool,
    /// It has executed something while a member. Only the state on disk asks.
    executed: bool,
    /// Of a root: what it is.
    root: Option<RootLife>,
}

impl Membership {
    /// What the process has used as a member, by these totals. Of one that was found and is not read yet, nothing has been taken into
    /// account so far.
    fn used(&self, process: &Process, totals: &Usage) -> Usage {
        if process.is_observed() {
            totals.since(&self.base)
        } else {
            Usage::ZERO
        }
    }
}

/// What a root is, from its start to its end.
#[derive(Debug, Clone)]
struct RootLife {
    /// What it was when it became a root.
    first: Arc<RootIdentity>,
    /// What it is since its last exec.
    last: Arc<RootIdentity>,
    /// It started, and replaced nothing as what it was then.
    replaces_nothing: bool,
}

/// What a change of a group amounts to, for those who are told of every one.
#[derive(Debug, Clone)]
pub enum Change {
    /// A member started.
    Start(Role),
    /// A root took an ended one's place.
    Respawn(Box<Replaced>),
    /// A root executed its program again.
    Reexec,
}

/// The state at the last collection, for rates.
#[derive(Debug, Clone, Copy)]
struct Last {
    time: BootTime,
    own: Usage,
    lived: u64,
}

/// A plugin's processes.
#[derive(Debug)]
pub struct Group {
    /// What it is about.
    pub plugin: Arc<Plugin>,
    members: KeyMap<Membership>,
    /// Processes that left alive and may come back.
    former: KeySet,
    /// What members left behind when they ended or left.
    left_behind: Usage,
    /// The part of the sums that members had used before they came: no use of this group's time.
    brought: Usage,
    /// Process time of past memberships, ns.
    lived: u64,
    /// Lives were counted since the last collection of which only the sums are known.
    lives_lost: bool,
    /// Something happened since it was last saved.
    pub(super) changed: bool,
    /// While what happened between two runs is found by comparing them: since when nobody watched.
    compared_since: Option<BootTime>,
    /// What is found running brings its whole life, whatever other groups have counted of it.
    pub(super) counts_whole_lives: bool,
    happened: Happened,
    exits: BTreeMap<Reason, u64>,
    /// Members that ended and whose final totals never came.
    given_up: u64,
    pairing: RestartPairing,
    downtime: Durations,
    lifetime: Durations,
    last_start: Option<Moment>,
    last_exit: Option<Moment>,
    peak_rss: Option<u64>,
    watch_start: Moment,
    /// When this run began to watch it.
    watched_since: BootTime,
    usage_start: Option<Moment>,
    last: Option<Last>,
    singles: single::Singles,
    /// What the detailed mode keeps; `None` in any other.
    detailed: Option<Box<detail::Detailed>>,
    /// Attributes made from members' facts, as they were told last.
    pub(super) templated: BTreeMap<String, String>,
}

impl Group {
    /// Gives back the room of members that are gone.
    pub fn shrink(&mut self) {
        self.members.shrink_to_fit();
        self.former.shrink_to_fit();
    }

    /// An empty group, watched from `now` on.
    pub fn new(plugin: Arc<Plugin>, now: BootTime) -> Self {
        Self {
            pairing: RestartPairing::new(plugin.restart_window),
            plugin,
            members: KeyMap::default(),
            former: KeySet::default(),
            left_behind: Usage::ZERO,
            brought: Usage::ZERO,
            lived: 0,
            lives_lost: false,
            changed: false,
            compared_since: None,
            counts_whole_lives: false,
            happened: Happened::default(),
            exits: BTreeMap::new(),
            given_up: 0,
            downtime: Durations::default(),
            lifetime: Durations::default(),
            last_start: None,
            last_exit: None,
            peak_rss: None,
            watch_start: now.into(),
            watched_since: now,
            usage_start: None,
            last: None,
            singles: single::Singles::default(),
            detailed: None,
            templated: BTreeMap::new(),
        }
    }

    /// Its plugin has changed in what does not decide over its members or their sums.
    pub fn replan(&mut self, plugin: Arc<Plugin>) {
        self.pairing.set_window(plugin.restart_window);
        self.plugin = plugin;
    }

    /// A process becomes a member. `base` is what of its totals others have counted.
    pub fn join(
        &mut self,
        key: ProcessKey,
        base: Usage,
        arrival: Arrival,
        time: BootTime,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> Vec<Change> {
        let Some(process) = table.get(key) else {
            return Vec::new();
        };
        let parent_is_member = process.parent().is_some_and(|parent| {
            self.members.contains_key(&parent) && table.get(parent).is_some_and(|p| p.is_live())
        });
        let role = if parent_is_member {
            Role::Worker
        } else {
            Role::Root
        };
        let returns = self.former.remove(&key);
        self.changed = true;
        let started = arrival != Arrival::Joined && !returns;
        let mut root = (role == Role::Root).then(|| RootLife::of(&self.plugin, key, table, facts));
        let changes = if started {
            self.started(key, root.as_mut(), arrival, time)
        } else {
            self.happened.joins += 1;
            if let Some(root) = &root {
                self.pairing.found(key, &root.first);
            }
            Vec::new()
        };
        let observed = process.is_observed();
        // Of what began under our eyes nothing was used before it came, even if it is yet to be read.
        let unobserved = !observed && arrival == Arrival::Joined;
        if observed && self.counts(role) {
            self.brought = plus_known(&self.brought, &process.totals().since(&base));
        }
        self.members.insert(
            key,
            Membership {
                role,
                base,
                since: time,
                started: started.then_some(time),
                unobserved,
                executed: false,
                root,
            },
        );
        changes
    }

    /// Members that ended and whose final totals never came, since the first watch.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Whether a member has ended whose totals are those of its exit record: short by its way out, until it is freed.
    pub fn awaits_totals(&self, table: &ProcessTable) -> bool {
        let mut members = self.members.keys().filter_map(|&key| table.get(key));
        members.any(|process| !process.is_live() && !process.read_after_end)
    }

    /// How many those are.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Its members, ended ones that are not settled yet among them.
    pub fn member_keys(&self) -> impl Iterator<Item = ProcessKey> {
        self.members.keys().copied()
    }

    /// A member goes on under another name; what it used stays.
    pub fn leave(&mut self, key: ProcessKey, time: BootTime, table: &ProcessTable, facts: &KeyMap<Facts>) {
        self.changed = true;
        let role = self.role(key);
        if self.close(key, time, table) {
            self.happened.leaves += 1;
            self.former.insert(key);
            if role == Some(Role::Root) {
                self.promote_a_child(key, time, table, facts);
            }
        }
    }

    /// A member ended. It stays, no longer live, until its totals are final. `lossy`: an end of unknown reason is
    /// one of possibly several whose records were lost; else a scan would have shown every start and end.
    pub fn ended(
        &mut self,
        key: ProcessKey,
        time: BootTime,
        ending: &Ending,
        lossy: bool,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> Option<Change> {
        let membership = self.members.get(&key)?;
        let (role, since, started) = (membership.role, membership.since, membership.started);
        if self.counts(role) {
            self.lived += time.0.saturating_sub(since.0);
        }
        let reason = ending.reason();
        self.changed = true;
        self.happened.exits += 1;
        *self.exits.entry(reason).or_default() += 1;
        if reason != Reason::Unknown {
            self.last_exit = Some(later(self.last_exit, time));
            self.lifetime.add(time.since(key.start));
            let failed = started.is_some_and(|started| time.since(started) < self.plugin.failed_start);
            if failed && !reason.is_success() {
                self.happened.failed_starts += 1;
            }
        }
        self.peak_rss = self
            .peak_rss
            .max(table.get(key).and_then(|process| process.peak_rss));
        // Only a root has a role to hand over, and only one without an heir has ended for its group.
        if role == Role::Worker || self.promote_a_child(key, time, table, facts) {
            return None;
        }
        if reason == Reason::Unknown && lossy {
            // Of one that an earlier run of kevmon saw last, the outage is known already.
            match table.get(key) {
                Some(process) if process.unconfirmed => self.pairing.blur_outage(time),
                _ => self.pairing.blur(time),
            }
            return None;
        }
        self.root_ended(key, since, time, ending, table, facts)
    }

    /// The totals of a process are what they are: final, or (`given_up`) the last that could be had.
    pub fn settled(&mut self, key: ProcessKey, given_up: bool, table: &ProcessTable) {
        self.former.remove(&key);
        if let Some(membership) = self.members.get(&key) {
            self.changed = true;
            self.given_up += u64::from(given_up);
            self.left_behind = self.left_behind.plus(&self.contribution(key, membership, table));
            self.members.remove(&key);
        }
    }

    /// Whole lives of which nothing but their sums is known.
    pub fn lost_lives(&mut self, lives: &LostLives, now: BootTime) {
        if lives.forked {
            self.happened.worker_starts += lives.count;
        } else {
            self.happened.starts += lives.count;
            self.happened.unpaired_starts += lives.count;
            self.pairing.blur(now);
        }
        self.happened.exits += lives.count;
        *self.exits.entry(lives.ending.reason()).or_default() += lives.count;
        if !lives.forked || self.plugin.aggregate == Aggregate::All {
            self.left_behind = self.left_behind.plus(&lives.usage.split());
        }
        self.peak_rss = self.peak_rss.max(lives.peak_rss);
        self.lives_lost = true;
        self.changed = true;
    }

    /// A reading of a member was taken.
    pub fn observed(&mut self, key: ProcessKey, table: &ProcessTable) {
        let Some(process) = table.get(key) else { return };
        let Some(membership) = self.members.get_mut(&key) else {
            return;
        };
        if membership.unobserved && process.is_observed() {
            membership.unobserved = false;
            if process.past_is_others {
                membership.base = process.totals();
            }
            let (role, base) = (membership.role, membership.base);
            if self.counts(role) {
                self.brought = plus_known(&self.brought, &process.totals().since(&base));
            }
        }
    }

    /// A member's role.
    pub fn role(&self, key: ProcessKey) -> Option<Role> {
        self.members.get(&key).map(|membership| membership.role)
    }

    fn counts(&self, role: Role) -> bool {
        role == Role::Root || self.plugin.aggregate == Aggregate::All
    }

    fn contribution(&self, key: ProcessKey, membership: &Membership, table: &ProcessTable) -> Usage {
        match table.get(key) {
            Some(process) if self.counts(membership.role) => membership.used(process, &process.totals()),
            _ => Usage::ZERO,
        }
    }

    /// The members that count, with their processes.
    fn counted<'a>(
        &'a self,
        table: &'a ProcessTable,
    ) -> impl Iterator<Item = (ProcessKey, &'a Membership, &'a Process)> {
        let members = self.members.iter();
        let counted = members.filter(|(_, membership)| self.counts(membership.role));
        counted.filter_map(|(&key, membership)| Some((key, membership, table.get(key)?)))
    }

    /// Ends a live membership; returns whether there was one.
    fn close(&mut self, key: ProcessKey, time: BootTime, table: &ProcessTable) -> bool {
        let Some(membership) = self.members.get(&key) else {
            return false;
        };
        self.left_behind = self.left_behind.plus(&self.contribution(key, membership, table));
        if self.counts(membership.role) {
            self.lived += time.0.saturating_sub(membership.since.0);
        }
        self.peak_rss = self
            .peak_rss
            .max(table.get(key).and_then(|process| process.peak_rss));
        self.members.remove(&key);
        true
    }

    /// The oldest live child of a member that goes becomes a root (a daemon's second fork).
    fn promote_a_child(
        &mut self,
        parent: ProcessKey,
        time: BootTime,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> bool {
        let heir = table
            .children(parent)
            .filter(|&child| {
                self.role(child) == Some(Role::Worker) && table.get(child).is_some_and(Process::is_live)
            })
            .min_by_key(|key| (key.start, key.tgid));
        let Some(heir) = heir else { return false };
        let counted_before = self.counts(Role::Worker);
        if let Some(membership) = self.members.get_mut(&heir) {
            membership.role = Role::Root;
            membership.root = Some(RootLife::of(&self.plugin, heir, table, facts));
            if !counted_before && let Some(process) = table.get(heir) {
                membership.base = process.totals();
                membership.since = time;
            }
        }
        true
    }
}

/// The later one: what happened is not told in its order. What an earlier run kept is over.
fn later(known: Option<Moment>, new: BootTime) -> Moment {
    match known {
        Some(Moment::Boot(known)) => known.max(new).into(),
        Some(Moment::Unix(_)) | None => new.into(),
    }
}

/// Like [`Usage::plus`], except that what is unknown adds nothing: used for a part to be subtracted from sums that
/// are themselves unknown then.
fn plus_known(sum: &Usage, part: &Usage) -> Usage {
    sum.plus(&part.at_least(&Usage::ZERO))
}
