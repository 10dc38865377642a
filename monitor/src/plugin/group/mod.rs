//! One plugin's group: its members, and totals that never fall.
//!
//! # The usage ledger
//!
//! The kernel counts usage by process, from its start to its end, and a process may change its groups while it lives (an exec,
//! a rename, another cgroup). The ledger says which part of a life is whose. All sums are [`Usage`]: ten counters, each
//! unknown or a number; a sum with an unknown part is unknown (ADR 4).
//!
//! Of a process (`process/table.rs`):
//!
//! - *totals*: the highest values read so far. They never fall, so a short reading takes nothing back.
//! - *attributed*: how much of the totals some group has counted, as of its last change of groups. Always a prefix of its life.
//!
//! Of a membership, and of the group:
//!
//! - *base*: the process's totals up to which its usage belongs to others. A member contributes `totals - base`.
//! - *left_behind*: the contributions of memberships that are over.
//! - *brought*: the part of the sums that members had used before they came. It is in the sums, and not in rates: `cpu_usage`
//!   and the like are made of `sums - brought`.
//! - *lived*: process time of memberships that are over, ns; the divisor of `cpu_usage`.
//!
//! The group's sums are `left_behind` + the contributions of its members (`members_now` in read.rs). With `aggregate =
//! "roots"` only roots contribute.
//!
//! # Transitions
//!
//! | event | base | what moves |
//! |---|---|---|
//! | joins, in no group at that time | *attributed* | it brings all that nobody has counted: `totals - base` goes to *brought* |
//! | joins, in another group at that time | its totals | nothing: what it used there stays there |
//! | joins, not read yet (found by a snapshot) | as above | contributes nothing until its first reading ([`Group::observed`]), which then adds to *brought* |
//! | found, key known from another boot | its totals at the first reading | nothing: its past belongs to nobody here |
//! | leaves alive ([`Group::leave`]) | | its contribution goes to *left_behind*; the group remembers it as *former*, so a return is no start |
//! | ends ([`Group::ended`]) | | nothing: it stays a member, *unsettled*, as its totals may still grow |
//! | settles ([`Group::settled`]) | | its contribution goes to *left_behind*, and it is forgotten |
//! | root ends or leaves, a worker lives | with `aggregate = "roots"`: the heir's totals | the oldest live child becomes root |
//!
//! An ended member settles when its free is read (or the totals of its dying thread, or what the kernel side kept of its end).
//! It is *given up*, with its last totals, when it is missing from a snapshot, or when it is not there to be read
//! `SETTLE_WITHIN` after its end. The group counts it (`given_up`), and the interval's `complete_totals` is 0.
//!
//! Lives that are known by their sums alone ([`Group::lost_lives`]) go to *left_behind* as a whole (those of workers
//! only with `aggregate = "all"`). How long they lasted is not known, so that interval has no `cpu_usage`.
//!
//! # Over a restart of kevmon
//!
//! base, totals and *attributed* of each member, and of each former one, are kept with every commit (`SavedMember`). In the same
//! boot a live member goes on with them: its totals are the kernel's own, so what it used while kevmon was away is caught up at
//! the first reading. A member that is gone, or was another boot's, is closed at its last known totals and given up.
//!
//! # Invariants
//!
//! - The group's sums never fall: totals do not, and a contribution leaves a member only for *left_behind*.
//! - No usage is counted twice in one group. Several groups count the same process only where it is a member of all of them,
//!   each from its own base.

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

/// Whether a member's parent is a member, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its parent is no live member; or its parent was one, has gone, and this member is the heir.
    Root,
    /// Its parent was a live member when it came.
    Worker,
}

/// How a process came to its present identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It executed a program, was forked, or took its name right after its fork.
    Appeared,
    /// It appeared, but the record was lost: what happened around it is not known.
    AppearedUnheard,
    /// It was there before: found by a snapshot, renamed later, or after a reload.
    Joined,
}

/// A process in a group.
#[derive(Debug, Clone)]
struct Membership {
    role: Role,
    /// The process's totals up to which its usage belongs to others.
    base: Usage,
    /// When it came, or became an heir whose usage was not counted before.
    since: BootTime,
    /// When it started as a member, where it did so under kevmon's eyes.
    started: Option<BootTime>,
    /// It was found and has not been read yet: it contributes nothing until then.
    unobserved: bool,
    /// It has executed something while a member. Only the store asks.
    executed: bool,
    /// What a root runs; `None` for a worker.
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

/// What a root runs, from its start to its end.
#[derive(Debug, Clone)]
struct RootLife {
    /// The program it ran when it became a root.
    first: Arc<RootIdentity>,
    /// The program it runs since its last exec.
    last: Arc<RootIdentity>,
    /// It started, and as its first program replaced nothing: a wrapper may still turn out to be a restart.
    replaces_nothing: bool,
}

/// What a change of a group amounts to, as its lifecycle events tell it.
#[derive(Debug, Clone)]
pub enum Change {
    /// A member started.
    Start(Role),
    /// A root took an ended one's place.
    Respawn(Box<Replaced>),
    /// A root executed its program again.
    Reexec,
}

/// The sums at the last collection, from which rates are made.
#[derive(Debug, Clone, Copy)]
struct Last {
    time: BootTime,
    own: Usage,
    lived: u64,
}

/// A plugin's processes, and what is counted of them.
#[derive(Debug)]
pub struct Group {
    /// The plugin whose processes these are.
    pub plugin: Arc<Plugin>,
    members: KeyMap<Membership>,
    /// Processes that left alive and may come back.
    former: KeySet,
    /// Contributions of memberships that are over.
    left_behind: Usage,
    /// The part of the sums that members had used before they came; rates leave it out.
    brought: Usage,
    /// Process time of past memberships, ns.
    lived: u64,
    /// Lives were counted since the last collection of which only the sums are known.
    lives_lost: bool,
    /// Something happened since it was last saved.
    pub(super) changed: bool,
    /// While what happened between two runs is found by comparing them: since when nobody watched.
    compared_since: Option<BootTime>,
    /// Processes found running bring their whole lives, whatever other groups have counted of them: for a group that shows a
    /// single run by itself.
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
    /// When this run of kevmon began to watch the group.
    watched_since: BootTime,
    usage_start: Option<Moment>,
    last: Option<Last>,
    singles: single::Singles,
    /// What the detailed mode keeps; `None` in the standard mode.
    detailed: Option<Box<detail::Detailed>>,
    /// Attributes made from members' process attributes, as exported last.
    pub(super) templated: BTreeMap<String, String>,
}

impl Group {
    /// Gives back the memory of members that are gone.
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

    /// Takes a changed plugin. The change must not concern who is a member, or whose usage counts.
    pub fn replan(&mut self, plugin: Arc<Plugin>) {
        self.pairing.set_window(plugin.restart_window);
        self.plugin = plugin;
    }

    /// A process becomes a member. `base` is the part of its totals that others have counted. Returns what the change amounts
    /// to: a start, and a respawn where it took an ended root's place; nothing where it joined.
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

    /// Number of members, including ended ones whose totals have not settled.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The members, including ended ones whose totals have not settled.
    pub fn member_keys(&self) -> impl Iterator<Item = ProcessKey> {
        self.members.keys().copied()
    }

    /// A member goes on under another name and is none any more. What it used stays in the sums.
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

    /// A member ended. It stays, no longer live, until its totals are final. `lossy`: records were lost, so an end of unknown
    /// reason may be one of several, and the pairing is blurred. Not lossy: a scan compares everybody, so the end is one.
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

    /// A process's totals are final, or (`given_up`) the last that could be read: its membership is over. Does nothing more for a
    /// process that is no member.
    pub fn settled(&mut self, key: ProcessKey, given_up: bool, table: &ProcessTable) {
        self.former.remove(&key);
        if let Some(membership) = self.members.get(&key) {
            self.changed = true;
            self.given_up += u64::from(given_up);
            self.left_behind = self.left_behind.plus(&self.contribution(key, membership, table));
            self.members.remove(&key);
        }
    }

    /// Adds lives of which only the sums are known: their records were lost.
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

    /// A member has been read. The first reading of one that was found decides what it brings.
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

    /// A member's role; `None` for a process that is no member.
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
