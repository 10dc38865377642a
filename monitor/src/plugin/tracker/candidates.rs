//! Who belongs to a group by more than names: by facts, which may come late and change, and by descent.

use std::collections::BTreeMap;

use super::{
    Arrival, BootTime, Facts, GroupId, Identity, Matcher, NAMED_AT_START, Process, ProcessKey, Tracker,
};
use crate::plugin::matcher::Matched;

impl Tracker {
    /// The groups of a process with these names, by all that is known of it.
    pub(super) fn matched(&self, key: ProcessKey, identity: &Identity) -> Matched {
        let mut matched = self.matcher.matched(identity, self.facts.get(&key));
        if let Some(inherited) = self.descent.get(&key) {
            matched.groups.extend(inherited);
            matched.groups.sort_unstable();
            matched.groups.dedup();
        }
        matched
    }

    /// A process descends from `parent`: it belongs to whatever takes in the children of its members, for life.
    pub(super) fn descends(&mut self, key: ProcessKey, parent: ProcessKey) {
        let of_parent = self.memberships.get(&parent).map_or(&[][..], Vec::as_slice);
        let inherited = self.matcher.inherited(of_parent);
        if !inherited.is_empty() {
            let known = self.descent.entry(key).or_default();
            known.extend(inherited);
            known.sort_unstable();
            known.dedup();
        }
    }

    /// Forgets what is known of a process besides the table's entry: attributes, inherited membership, titles.
    pub(super) fn forget(&mut self, key: ProcessKey) {
        self.facts.remove(&key);
        self.descent.remove(&key);
        self.forget_titles(key);
    }

    /// Groups that are no more take nobody in, and members of those that have come are members by descent.
    pub(super) fn trace_descent(&mut self, gone: &[GroupId], matcher: &Matcher) {
        for of in self.descent.values_mut() {
            of.retain(|group| !gone.contains(group));
        }
        self.descent.retain(|_, of| !of.is_empty());
        let parents: Vec<(ProcessKey, ProcessKey)> = self
            .table
            .iter()
            .filter_map(|(key, process)| Some((key, process.parent()?)))
            .collect();
        // Deeper and deeper; each pass but the last finds somebody.
        loop {
            let mut found = false;
            for &(key, parent) in &parents {
                let Some(process) = self.table.get(parent) else {
                    continue;
                };
                let mut of_parent = matcher.matched(&process.identity, self.facts.get(&parent)).groups;
                of_parent.extend(self.descent.get(&parent).into_iter().flatten());
                let inherited = matcher.inherited(&of_parent);
                let known = self.descent.entry(key).or_default();
                let before = known.len();
                known.extend(inherited);
                known.sort_unstable();
                known.dedup();
                found |= known.len() > before;
            }
            if !found {
                self.descent.retain(|_, of| !of.is_empty());
                return;
            }
        }
    }

    /// Whether the facts of a process with these names matter to some plugin.
    pub fn asks_for_facts(&self, identity: &Identity) -> bool {
        self.matcher.asks_for_facts(identity)
    }

    /// Whether the facts of a process decide over its membership; else they are only shown.
    fn facts_decide(&self, key: ProcessKey, process: &Process) -> bool {
        self.matcher.any_asks_for_facts(self.groups_of(key))
            || self.matcher.selects_by_facts(&process.identity)
    }

    /// Whether the facts of this process are only shown.
    pub fn only_shows_facts(&self, key: ProcessKey) -> bool {
        let process = self.table.get(key);
        process.is_some_and(|process| !self.facts_decide(key, process))
    }

    /// The live processes whose facts matter at a collection of the groups in `due` (of all, where there are none): they may
    /// change without an event (setuid, another cgroup). Facts that decide over members matter at each collection, those
    /// that are only shown at their group's.
    pub fn with_facts(&self, due: &[GroupId]) -> Vec<ProcessKey> {
        if !self.facts_matter() {
            return Vec::new();
        }
        let is_now = |key: ProcessKey, process: &Process| {
            let is_due = |group: &GroupId| due.contains(group);
            due.is_empty() || self.groups_of(key).iter().any(is_due) || self.facts_decide(key, process)
        };
        self.table
            .iter()
            .filter(|(key, process)| self.matter(*key, process) && is_now(*key, process))
            .map(|(key, _)| key)
            .collect()
    }

    /// Whether any plugin asks for facts.
    pub fn facts_matter(&self) -> bool {
        self.matcher.facts_matter()
    }

    /// Whether the facts of this process matter, of one that is followed and lives.
    pub fn asks_of(&self, key: ProcessKey) -> bool {
        self.table
            .get(key)
            .is_some_and(|process| self.matter(key, process))
    }

    /// A member by descent goes by another name, and has an ancestor's facts until it is told others.
    fn matter(&self, key: ProcessKey, process: &Process) -> bool {
        process.is_live() && (self.has_facts(key) || self.matcher.asks_for_facts(&process.identity))
    }

    /// Whether some plugin asks for what is not known of a process with these names.
    pub fn is_undecided(&self, key: ProcessKey, identity: &Identity) -> bool {
        let nothing = Facts::default();
        let facts = self.facts.get(&key).unwrap_or(&nothing);
        self.matcher.is_undecided(identity, facts)
    }

    /// Whether some are known of this process.
    pub fn has_facts(&self, key: ProcessKey) -> bool {
        self.facts.contains_key(&key)
    }

    /// Takes the facts of a process, before the event or snapshot that tells its names. What they leave open stays as it
    /// was.
    pub fn learn(&mut self, key: ProcessKey, facts: Facts) {
        let facts = self.with_known(key, facts);
        self.facts.insert(key, facts);
    }

    /// Takes those of a process that `parent` has made, whose facts it has but for these.
    pub fn learn_of_child(&mut self, key: ProcessKey, parent: ProcessKey, facts: Facts) {
        let facts = self.with_known(parent, facts);
        self.facts.insert(key, facts);
    }

    fn with_known(&self, key: ProcessKey, facts: Facts) -> Facts {
        match self.facts.get(&key) {
            Some(known) => facts.or(known),
            None => facts,
        }
    }

    /// Takes the process attributes of a live process that is followed, and moves it to the groups that it belongs to by them.
    /// What they leave open stays as it was.
    pub fn judge_facts(&mut self, key: ProcessKey, facts: Facts, now: BootTime) {
        let Some(process) = self.table.get(key).filter(|process| process.is_live()) else {
            return;
        };
        let facts = self.with_known(key, facts);
        if self.facts.get(&key) == Some(&facts) {
            return;
        }
        let identity = process.identity.clone();
        self.facts.insert(key, facts);
        let Matched { groups, unknown, .. } = self.matched(key, &identity);
        self.note_unknown(key, &unknown);
        let before = self.memberships.get(&key).map_or(&[][..], Vec::as_slice);
        if before != groups {
            // A worker takes its user right after its fork.
            let young = now.since(key.start) <= NAMED_AT_START;
            let arrival = if young { Arrival::Appeared } else { Arrival::Joined };
            self.move_to(key, groups, arrival, now);
        }
    }

    /// Takes the process attributes of a process at its end. One that was a member by its attributes stays one, whatever they
    /// became in its last moment; another may become one by these.
    pub fn judge_last_facts(&mut self, key: ProcessKey, facts: Facts, end: BootTime) {
        let groups = self.memberships.get(&key).map_or(&[][..], Vec::as_slice);
        if !self.matcher.any_asks_for_facts(groups) {
            self.judge_facts(key, facts, end);
        }
    }

    /// The attributes that a group's plugin makes from facts: those that all of its live members agree on. Of a group
    /// without members, what was told last.
    pub fn templated(&mut self, group: GroupId) -> BTreeMap<String, String> {
        let Some(of) = self.groups.get_mut(&group) else {
            return BTreeMap::new();
        };
        if of.plugin.templates.is_empty() {
            return BTreeMap::new();
        }
        let nothing = Facts::default();
        let members = self.memberships.iter().filter(|(key, groups)| {
            groups.contains(&group) && self.table.get(**key).is_some_and(Process::is_live)
        });
        let members: Vec<&Facts> = members
            .map(|(key, _)| self.facts.get(key).unwrap_or(&nothing))
            .collect();
        if !members.is_empty() {
            of.templated = agreed(&of.plugin.templates, &members);
        }
        of.templated.clone()
    }

    /// A member that came while no other one lived may have ended by the next collection: its facts are told last.
    pub(super) fn note_first_facts(&mut self, group: GroupId, key: ProcessKey) {
        let (Some(of), Some(facts)) = (self.groups.get_mut(&group), self.facts.get(&key)) else {
            return;
        };
        if of.plugin.templates.is_empty() {
            return;
        }
        let table = &self.table;
        let lives = |member: ProcessKey| table.get(member).is_some_and(Process::is_live);
        if !of.member_keys().any(|member| member != key && lives(member)) {
            of.templated = agreed(&of.plugin.templates, &[facts]);
        }
    }
}

/// The attributes that all members' facts make the same.
fn agreed(templates: &BTreeMap<String, String>, members: &[&Facts]) -> BTreeMap<String, String> {
    let told = templates.iter().filter_map(|(name, template)| {
        let mut texts = members.iter().map(|facts| filled(template, facts));
        let first = texts.next().flatten()?;
        texts
            .all(|text| text.as_ref() == Some(&first))
            .then(|| (name.clone(), first))
    });
    told.collect()
}

/// A template with a process's facts put in; `None` where one of them is not known.
fn filled(template: &str, facts: &Facts) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        filled.push_str(before);
        match name {
            "user" => match (&facts.user, facts.uid) {
                (Some(user), _) => filled.push_str(user),
                (None, uid) => filled.push_str(&uid?.to_string()),
            },
            "unit" => filled.push_str(facts.unit()?),
            "container.id" => filled.push_str(facts.container()?),
            "k8s.pod.uid" => filled.push_str(&facts.pod()?),
            _ => filled.push_str(&facts.pid_namespace?.to_string()),
        }
        rest = behind;
    }
    filled.push_str(rest);
    Some(filled)
}
