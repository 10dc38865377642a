//! A group's roots: where they start, restart and end.

use std::sync::Arc;

use super::{Arrival, Change, Group, Role, RootLife, later};
use crate::{
    plugin::{
        Plugin, Programs, SavedMember,
        restarts::{Replaced, RootEnd, RootIdentity, RootStart, Started},
    },
    process::{BootTime, Ending, Facts, Identity, KeyMap, Likeness, ProcessKey, ProcessTable, Program},
};

impl RootLife {
    /// The life of a process that becomes a root of a group of `plugin` now.
    pub(super) fn of(plugin: &Plugin, key: ProcessKey, table: &ProcessTable, facts: &KeyMap<Facts>) -> Self {
        Self::from(Arc::new(identity(plugin, key, table, facts)))
    }

    /// The life of a root as an earlier run kept it.
    pub(super) fn remembered(member: &SavedMember) -> Self {
        let Programs { first, last } = member.programs();
        let of = |program: &Program| {
            let remembered = RootIdentity::remembered(&member.name, &member.exe, program);
            Arc::new(remembered.run_by(member.user))
        };
        let root = Self::from(of(&last));
        if first == last {
            return root;
        }
        Self {
            first: of(&first),
            ..root
        }
    }

    /// The programs of a root, as the store keeps them.
    pub(super) fn programs(&self) -> Programs {
        Programs {
            first: self.first.program.clone(),
            last: self.last.program.clone(),
        }
    }

    /// Takes what a new look at the process found. A part that cannot be seen any more stays as it was.
    fn found(&mut self, found: RootIdentity) {
        let found = Arc::new(found.or_as_before(&self.last));
        let goes_on = found.program.likeness(&self.last.program) != Likeness::Different;
        if goes_on && self.first.program == self.last.program {
            self.first = Arc::clone(&found);
        }
        self.last = found;
    }
}

impl From<Arc<RootIdentity>> for RootLife {
    fn from(identity: Arc<RootIdentity>) -> Self {
        Self {
            first: Arc::clone(&identity),
            last: identity,
            replaces_nothing: false,
        }
    }
}

/// What is known of a process now, listed as `plugin` lists it.
fn identity(plugin: &Plugin, key: ProcessKey, table: &ProcessTable, facts: &KeyMap<Facts>) -> RootIdentity {
    let unknown = Identity::default();
    let process = table.get(key);
    let names = process.map_or(&unknown, |process| &process.identity);
    let root = RootIdentity::of(names, plugin.name_of(names), facts.get(&key));
    root.run_by(process.and_then(|process| process.uid))
}

impl Group {
    /// A member started; `root` is what it is where it is a root.
    pub(super) fn started(
        &mut self,
        key: ProcessKey,
        root: Option<&mut RootLife>,
        arrival: Arrival,
        time: BootTime,
    ) -> Vec<Change> {
        self.last_start = Some(later(self.last_start, time));
        let Some(root) = root else {
            self.happened.worker_starts += 1;
            return vec![Change::Start(Role::Worker)];
        };
        let mut changes = vec![Change::Start(Role::Root)];
        self.happened.starts += 1;
        if arrival == Arrival::AppearedUnheard {
            self.pairing.blur(time);
        }
        let start = RootStart {
            key,
            time,
            identity: Arc::clone(&root.first),
        };
        match self.pairing.start(start) {
            Started::First => root.replaces_nothing = true,
            Started::Replaces(replaced) => changes.push(self.respawned(replaced)),
            Started::Unknown => self.happened.unpaired_starts += 1,
        }
        changes
    }

    fn respawned(&mut self, replaced: Box<Replaced>) -> Change {
        self.happened.respawns += 1;
        if let Some(downtime) = replaced.downtime {
            self.downtime.add(downtime);
        }
        if let Some(successor) = self.members.get_mut(&replaced.successor.key)
            && let Some(root) = &mut successor.root
        {
            root.replaces_nothing = false;
        }
        Change::Respawn(replaced)
    }

    /// A member executed a program and is a member still. A root that executes the program that it runs restarts in place, each
    /// time. A root that executes another program was a wrapper until now. (docs/adr/0029)
    pub fn executed(
        &mut self,
        key: ProcessKey,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> Option<Change> {
        let membership = self.members.get_mut(&key)?;
        membership.executed = true;
        let started = membership.started;
        let root = membership.root.as_mut()?;
        let now = Arc::new(identity(&self.plugin, key, table, facts));
        let before = std::mem::replace(&mut root.last, now);
        if executes_itself(&before.program, &root.last.program) {
            self.happened.reexecs += 1;
            return Some(Change::Reexec);
        }
        let start = RootStart {
            key,
            time: started.filter(|_| root.replaces_nothing)?,
            identity: Arc::clone(&root.last),
        };
        let replaced = self.pairing.unwrapped(&start)?;
        Some(self.respawned(Box::new(replaced)))
    }

    /// A member that is one still was looked at again: by a snapshot, after an earlier run or a loss, or by a scan.
    pub fn looked_at(&mut self, key: ProcessKey, table: &ProcessTable, facts: &KeyMap<Facts>) {
        let root = self.members.get_mut(&key).and_then(|member| member.root.as_mut());
        if let Some(root) = root {
            root.found(identity(&self.plugin, key, table, facts));
        }
    }

    /// A root ended without an heir.
    pub(super) fn root_ended(
        &mut self,
        key: ProcessKey,
        since: BootTime,
        time: BootTime,
        ending: &Ending,
        table: &ProcessTable,
        facts: &KeyMap<Facts>,
    ) -> Option<Change> {
        let root = self.members.get(&key)?.root.as_ref()?;
        // One that ended before this run took it back was a root of the earlier run's.
        let since = if since > time { key.start } else { since };
        // Names may have come to light since its last exec.
        let known = table.get(key).map(|process| &process.identity);
        let is_called = |known: &Identity| root.last.is_called(self.plugin.name_of(known), &known.exe);
        let last = if known.is_none_or(is_called) {
            Arc::clone(&root.last)
        } else {
            Arc::new(identity(&self.plugin, key, table, facts).or_as_before(&root.last))
        };
        let replaced = self.pairing.end(RootEnd {
            key,
            time,
            since,
            ending: ending.clone(),
            first: Arc::clone(&root.first),
            last,
            before_outage: false,
        })?;
        Some(self.respawned(Box::new(replaced)))
    }
}

/// Whether a process that ran `before` and executes `now` runs the same program again, or an upgrade of it.
fn executes_itself(before: &Program, now: &Program) -> bool {
    match before.likeness(now) {
        Likeness::Same => true,
        Likeness::Unclear => before.is_known() && now.is_known(),
        Likeness::Different => false,
    }
}
