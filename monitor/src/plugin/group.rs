//! One plugin's group: its members, and totals that never fall.

use std::collections::{HashMap, HashSet};

use super::{
    Aggregate, Plugin,
    reading::{Happened, ProcessReading, Reading},
    restarts::RestartPairing,
};
use crate::process::{BootTime, Counter, Gauges, Host, ProcessKey, ProcessTable, State, Usage};

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
    /// Its usage from before `since` is not yet known to be part of the sums.
    unobserved: bool,
    /// It has executed once already while a member.
    executed: bool,
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
    pub plugin: Plugin,
    members: HashMap<ProcessKey, Membership>,
    /// Processes that left alive and may come back.
    former: HashSet<ProcessKey>,
    /// What members left behind when they ended or left.
    left_behind: Usage,
    /// The part of the sums that members had used before they came: no use of this group's time.
    brought: Usage,
    /// Process time of past memberships, ns.
    lived: u64,
    happened: Happened,
    /// Members that ended and whose final totals never came.
    given_up: u64,
    pairing: RestartPairing,
    peak_rss: Option<u64>,
    watch_start: BootTime,
    usage_start: Option<BootTime>,
    last: Option<Last>,
}

impl Group {
    /// An empty group, watched from `now` on.
    pub fn new(plugin: Plugin, now: BootTime) -> Self {
        Self {
            pairing: RestartPairing::new(plugin.restart_window),
            plugin,
            members: HashMap::new(),
            former: HashSet::new(),
            left_behind: Usage::ZERO,
            brought: Usage::ZERO,
            lived: 0,
            happened: Happened::default(),
            given_up: 0,
            peak_rss: None,
            watch_start: now,
            usage_start: None,
            last: None,
        }
    }

    /// A process becomes a member. `base` is what of its totals others have counted.
    pub fn join(
        &mut self,
        key: ProcessKey,
        base: Usage,
        arrival: Arrival,
        time: BootTime,
        table: &ProcessTable,
    ) {
        let Some(process) = table.get(key) else { return };
        let parent_is_member = process.parent.is_some_and(|parent| {
            self.members.contains_key(&parent) && table.get(parent).is_some_and(|p| p.is_live())
        });
        let role = if parent_is_member {
            Role::Worker
        } else {
            Role::Root
        };
        let returns = self.former.remove(&key);
        match (arrival, role) {
            (Arrival::Appeared, Role::Root) if !returns => {
                self.happened.starts += 1;
                if self.pairing.start(time).is_some() {
                    self.happened.respawns += 1;
                }
            }
            (Arrival::Appeared, Role::Worker) if !returns => self.happened.worker_starts += 1,
            _ => self.happened.joins += 1,
        }
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
                unobserved,
                executed: false,
            },
        );
    }

    /// A member executed a program and is a member still. A root that had done so before was restarted in place.
    pub fn executed(&mut self, key: ProcessKey) {
        if let Some(membership) = self.members.get_mut(&key)
            && std::mem::replace(&mut membership.executed, true)
            && membership.role == Role::Root
        {
            self.happened.reexecs += 1;
        }
    }

    /// A member goes on under another name; what it used stays.
    pub fn leave(&mut self, key: ProcessKey, time: BootTime, table: &ProcessTable) {
        let role = self.members.get(&key).map(|membership| membership.role);
        if self.close(key, time, table) {
            self.happened.leaves += 1;
            self.former.insert(key);
            if role == Some(Role::Root) {
                self.promote_a_child(key, time, table);
            }
        }
    }

    /// A member ended. It stays, no longer live, until its totals are final.
    pub fn ended(&mut self, key: ProcessKey, time: BootTime, table: &ProcessTable) {
        let Some(membership) = self.members.get(&key) else {
            return;
        };
        let (role, since) = (membership.role, membership.since);
        if self.counts(role) {
            self.lived += time.0.saturating_sub(since.0);
        }
        self.happened.exits += 1;
        self.peak_rss = self
            .peak_rss
            .max(table.get(key).and_then(|process| process.peak_rss));
        // Only a root has a role to hand over, and only one without an heir has ended for its group.
        if role == Role::Root
            && !self.promote_a_child(key, time, table)
            && self.pairing.end(time, since).is_some()
        {
            self.happened.respawns += 1;
        }
    }

    /// The totals of a process are what they are: final, or (`given_up`) the last that could be had.
    pub fn settled(&mut self, key: ProcessKey, given_up: bool, table: &ProcessTable) {
        self.former.remove(&key);
        if let Some(membership) = self.members.get(&key) {
            self.given_up += u64::from(given_up);
            self.left_behind = self.left_behind.plus(&self.contribution(key, membership, table));
            self.members.remove(&key);
        }
    }

    /// A reading of a member was taken.
    pub fn observed(&mut self, key: ProcessKey, table: &ProcessTable) {
        let Some(process) = table.get(key) else { return };
        let Some(membership) = self.members.get_mut(&key) else {
            return;
        };
        if membership.unobserved && process.is_observed() {
            membership.unobserved = false;
            let (role, base) = (membership.role, membership.base);
            if self.counts(role) {
                self.brought = plus_known(&self.brought, &process.totals().since(&base));
            }
        }
    }

    fn counts(&self, role: Role) -> bool {
        role == Role::Root || self.plugin.aggregate == Aggregate::All
    }

    fn contribution(&self, key: ProcessKey, membership: &Membership, table: &ProcessTable) -> Usage {
        match table.get(key) {
            // Of a process that was found and is not read yet, nothing has been taken into account so far.
            Some(process) if self.counts(membership.role) && process.is_observed() => {
                process.totals().since(&membership.base)
            }
            _ => Usage::ZERO,
        }
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
    fn promote_a_child(&mut self, parent: ProcessKey, time: BootTime, table: &ProcessTable) -> bool {
        let heir = self
            .members
            .iter()
            .filter(|(key, membership)| {
                membership.role == Role::Worker
                    && table
                        .get(**key)
                        .is_some_and(|child| child.is_live() && child.parent == Some(parent))
            })
            .map(|(&key, _)| key)
            .min_by_key(|key| (key.start, key.tgid));
        let Some(heir) = heir else { return false };
        let counted_before = self.counts(Role::Worker);
        if let Some(membership) = self.members.get_mut(&heir) {
            membership.role = Role::Root;
            if !counted_before && let Some(process) = table.get(heir) {
                membership.base = process.totals();
                membership.since = time;
            }
        }
        true
    }

    /// Fixes since when the usage sums count, the first time it is called: the oldest member's start, or the
    /// group's first watch.
    fn usage_start(&mut self) -> BootTime {
        let oldest = self.members.keys().map(|key| key.start).min();
        *self
            .usage_start
            .get_or_insert(oldest.unwrap_or(self.watch_start).min(self.watch_start))
    }

    /// The group as it is now. `gauges` holds what could be read of the live members.
    pub fn read(
        &mut self,
        now: BootTime,
        host: Host,
        gauges: &HashMap<ProcessKey, Gauges>,
        table: &ProcessTable,
    ) -> Reading {
        let usage_start = self.usage_start();
        let mut usage = self.left_behind;
        let mut lived = self.lived;
        let mut unsettled = self.given_up;
        let mut live = Vec::new();
        for (&key, membership) in &self.members {
            let Some(process) = table.get(key) else { continue };
            if !self.counts(membership.role) {
                continue;
            }
            usage = usage.plus(&self.contribution(key, membership, table));
            match process.state {
                State::Live => {
                    lived += now.0.saturating_sub(membership.since.0);
                    live.push(ProcessReading {
                        key,
                        name: process.identity.name().to_owned(),
                    });
                }
                State::Ended { .. } => unsettled += 1,
            }
        }
        live.sort_unstable_by_key(|process| process.key);
        // A process that vanished before its gauges were read has none, and makes no other's unknown.
        let read: Vec<&Gauges> = live
            .iter()
            .filter_map(|process| gauges.get(&process.key))
            .collect();
        let unread = read.is_empty() && !live.is_empty();
        let spaces = Spaces::of(&read);
        self.peak_rss = self
            .peak_rss
            .max(read.iter().filter_map(|gauges| gauges.peak_rss).max());

        let own = usage.since(&self.brought);
        let last = self.last.replace(Last {
            time: now,
            own,
            lived,
        });
        let threads: Option<Vec<u64>> = read.iter().map(|gauges| gauges.threads).collect();
        Reading {
            usage_start: usage_start.into(),
            watch_start: self.watch_start.into(),
            exits: Vec::new(),
            downtime: super::Durations::default(),
            lifetime: super::Durations::default(),
            last_start: None,
            last_exit: None,
            crash_loop: false,
            usage,
            happened: self.happened,
            process_count: live.len() as u64,
            cpu_usage: last.and_then(|last| last.cpu_usage(&own, lived)),
            cpu_utilization: last.and_then(|last| last.cpu_utilization(&own, now, host)),
            memory_usage: mean_share(spaces.rss, read.len(), host.memory),
            rss: spaces.rss.filter(|_| !unread),
            vms: spaces.vms.filter(|_| !unread),
            fds: read
                .iter()
                .map(|gauges| gauges.fds)
                .sum::<Option<u64>>()
                .filter(|_| !unread),
            threads: threads
                .as_ref()
                .map(|threads| threads.iter().sum())
                .filter(|_| !unread),
            max_threads: threads.as_ref().and_then(|threads| threads.iter().copied().max()),
            min_threads: threads.as_ref().and_then(|threads| threads.iter().copied().min()),
            avg_threads: threads
                .filter(|threads| !threads.is_empty())
                .map(|threads| threads.iter().sum::<u64>() as f64 / threads.len() as f64),
            peak_rss: self.peak_rss,
            uptime: live.iter().map(|process| now.since(process.key.start)).max(),
            processes: live,
            unsettled,
            sharing: spaces.sharing,
        }
    }
}

impl Last {
    /// CPU time over process time since then.
    fn cpu_usage(&self, own: &Usage, lived: u64) -> Option<f64> {
        let lived = lived.checked_sub(self.lived).filter(|&lived| lived > 0)?;
        Some(own.since(&self.own).get(Counter::Runtime)? as f64 / lived as f64)
    }

    fn cpu_utilization(&self, own: &Usage, now: BootTime, host: Host) -> Option<(f64, f64)> {
        let available = now.since(self.time).as_nanos() as f64 * host.cpus as f64;
        let used = own.since(&self.own);
        (available > 0.0)
            .then(|| {
                Some((
                    used.get(Counter::User)? as f64 / available,
                    used.get(Counter::System)? as f64 / available,
                ))
            })
            .flatten()
    }
}

/// Sums over address spaces: members that share one (a vfork child before its exec) count it once.
struct Spaces {
    rss: Option<u64>,
    vms: Option<u64>,
    sharing: u64,
}

impl Spaces {
    fn of(members: &[&Gauges]) -> Self {
        let mut seen = HashSet::new();
        let mut sums = Self {
            rss: Some(0),
            vms: Some(0),
            sharing: 0,
        };
        for gauges in members {
            if gauges.address_space.is_some_and(|space| !seen.insert(space)) {
                sums.sharing += 1;
                continue;
            }
            sums.rss = add(sums.rss, gauges.rss);
            sums.vms = add(sums.vms, gauges.vms);
        }
        sums
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.saturating_add(b?))
}

fn mean_share(sum: Option<u64>, count: usize, whole: Option<u64>) -> Option<f64> {
    (count > 0)
        .then(|| Some(sum? as f64 / count as f64 / whole.filter(|&whole| whole > 0)? as f64))
        .flatten()
}

/// Like [`Usage::plus`], except that what is unknown adds nothing: used for a part to be subtracted from sums that
/// are themselves unknown then.
fn plus_known(sum: &Usage, part: &Usage) -> Usage {
    sum.plus(&part.at_least(&Usage::ZERO))
}
