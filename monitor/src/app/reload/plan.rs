//! What a new configuration means for the running plugins, and so what a reload resets. Pure.
//!
//! A plugin is the same by its name and instance, wherever its file lies. Then its group's key decides (`keeper::key`: name, instance,
//! service, and whatever decides who is a member and whose usage counts):
//!
//! | the new configuration has | the group | counters |
//! |---|---|---|
//! | the plugin, with the same key and nothing changed | goes on | go on |
//! | the plugin, with the same key and other settings | goes on with the changed plugin | go on |
//! | the plugin, with another key | ends after one last collection; another group begins | begin at 0, or where an earlier run left that key |
//! | no such plugin | ends after one last collection | end; what the store has of them stays |
//! | a new plugin | begins; a snapshot finds its members | begin at 0, or where an earlier run left that key |
//! | a faulty file, or one that cannot be read | goes on as it was | go on |
//!
//! Processes, marks, and restart pairing of groups that go on are not touched.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tracing::debug;

use crate::{
    app::keeper,
    plugin::{GroupId, Plugin, Plugins},
};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Groups to end, after one last collection.
    pub(super) gone: Vec<GroupId>,
    /// Groups that go on with another plugin.
    pub(super) changed: Vec<(GroupId, Plugin)>,
    /// Plugins that begin.
    pub(super) new: Vec<Plugin>,
    /// Groups that go on as they are, although nothing readable defines them any more.
    pub(super) kept: Vec<GroupId>,
}

impl Plan {
    /// In words, for the debug log.
    pub(super) fn say(&self, running: &Plugins, took: std::time::Duration) {
        let labels = |groups: &[GroupId]| -> Vec<String> {
            groups
                .iter()
                .filter_map(|group| running.get(group))
                .map(|plugin| plugin.label())
                .collect()
        };
        let changed: Vec<GroupId> = self.changed.iter().map(|(group, _)| *group).collect();
        debug!(
            "reload: read in {took:.1?}; ends {:?}; changes in place {:?}; begins {:?}; goes on because its file has faults \
             {:?}; {} running",
            labels(&self.gone),
            labels(&changed),
            self.new.iter().map(Plugin::label).collect::<Vec<_>>(),
            labels(&self.kept),
            running.len()
        );
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.changed.is_empty() && self.new.is_empty()
    }
}

/// Compares `running` with what was `loaded`. A plugin is the same by its name and instance, wherever its file lies; its
/// group goes on as long as what it matches does (what it is stored under). `is_unclear` tells of a file or folder that
/// it could not be read as it should: plugins from there go on as they were.
pub(super) fn plan(running: &Plugins, loaded: Vec<Plugin>, is_unclear: impl Fn(&Plugin) -> bool) -> Plan {
    let mut by_label: BTreeMap<String, (GroupId, &Arc<Plugin>)> = running
        .iter()
        .map(|(&group, plugin)| (plugin.label(), (group, plugin)))
        .collect();
    let mut plan = Plan::default();
    for mut plugin in loaded {
        let Some((group, before)) = by_label.remove(&plugin.label()) else {
            plan.new.push(plugin);
            continue;
        };
        // Another file of the same name, whose turn it is only because the first one has a fault.
        if before.origin != plugin.origin && is_unclear(before) {
            plan.kept.push(group);
            continue;
        }
        if keeper::key(before).key == keeper::key(&plugin).key {
            plugin.instance_id.clone_from(&before.instance_id);
            if !is_same(before, &plugin) {
                plan.changed.push((group, plugin));
            }
        } else {
            plan.gone.push(group);
            plan.new.push(plugin);
        }
    }
    for (group, plugin) in by_label.into_values() {
        if is_unclear(plugin) {
            plan.kept.push(group);
        } else {
            plan.gone.push(group);
        }
    }
    plan
}

/// Compared by what `Debug` tells, which is all of it: patterns have no equality of their own, and a field that is added
/// cannot be forgotten here.
fn is_same(one: &Plugin, other: &Plugin) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// Whether `origin` is one of `faulty`, or lies below.
pub(super) fn lies_in<'a>(origin: &Path, mut faulty: impl Iterator<Item = &'a Path>) -> bool {
    faulty.any(|faulty| origin.starts_with(faulty))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugin::tracker::tests::plugin;

    fn running(plugins: &[Plugin]) -> Plugins {
        let numbered = plugins.iter().cloned().enumerate();
        numbered
            .map(|(index, plugin)| (GroupId(index), Arc::new(plugin)))
            .collect()
    }

    fn named(name: &str, pattern: &str) -> Plugin {
        Plugin {
            name: name.to_owned(),
            origin: Some(format!("/etc/kevmon/plugins/{name}/plugin.toml").into()),
            ..plugin(pattern)
        }
    }

    fn told(plan: &Plan) -> (Vec<usize>, Vec<usize>, Vec<String>, Vec<usize>) {
        let ids = |groups: &[GroupId]| groups.iter().map(|group| group.0).collect();
        (
            ids(&plan.gone),
            plan.changed.iter().map(|(group, _)| group.0).collect(),
            plan.new.iter().map(Plugin::label).collect(),
            ids(&plan.kept),
        )
    }

    #[test]
    fn only_what_differs_is_touched() {
        let (a, b, c) = (named("a", "^a$"), named("b", "^b$"), named("c", "^c$"));
        let before = running(&[a.clone(), b.clone(), c.clone()]);
        let none: (Vec<usize>, Vec<usize>, Vec<String>, Vec<usize>) = Default::default();
        let again = plan(&before, vec![c.clone(), a.clone(), b.clone()], |_| false);
        assert_eq!(told(&again), none, "in whatever order");
        assert!(again.is_empty());

        let slower = Plugin {
            interval: Duration::from_secs(5),
            ..b.clone()
        };
        let other_match = named("c", "^d$");
        let changed = plan(
            &before,
            vec![a.clone(), slower, other_match, named("e", "^e$")],
            |_| false,
        );
        let expected = (vec![2], vec![1], vec!["c".to_owned(), "e".to_owned()], vec![]);
        assert_eq!(told(&changed), expected);
    }

    #[test]
    fn a_file_that_moved_resets_nothing_and_keeps_its_id() {
        let before = Plugin {
            instance_id: Some("kept".to_owned()),
            ..named("a", "^a$")
        };
        let moved = Plugin {
            origin: Some("/elsewhere/plugin.toml".into()),
            ..named("a", "^a$")
        };
        let plan = plan(&running(&[before]), vec![moved], |_| false);
        assert_eq!(told(&plan), (vec![], vec![0], vec![], vec![]));
        assert_eq!(plan.changed[0].1.instance_id.as_deref(), Some("kept"));
    }

    #[test]
    fn what_cannot_be_read_goes_on_and_what_is_deleted_ends() {
        let before = running(&[named("a", "^a$"), named("b", "^b$")]);
        let faulty = [Path::new("/etc/kevmon/plugins/a/plugin.toml")];
        let is_unclear = |plugin: &Plugin| {
            let origin = plugin.origin.as_deref();
            origin.is_some_and(|origin| lies_in(origin, faulty.into_iter()))
        };
        assert_eq!(
            told(&plan(&before, vec![], is_unclear)),
            (vec![1], vec![], vec![], vec![0])
        );
        let folder = [Path::new("/etc/kevmon/plugins")];
        assert!(lies_in(
            Path::new("/etc/kevmon/plugins/a/plugin.toml"),
            folder.into_iter()
        ));
        assert!(!lies_in(
            Path::new("/etc/kevmon/plugins2/plugin.toml"),
            folder.into_iter()
        ));
    }

    #[test]
    fn instances_of_one_plugin_are_told_apart() {
        let instance = |id: &str| Plugin {
            instance: Some(id.to_owned()),
            ..named("a", "^a$")
        };
        let before = running(&[instance("x"), instance("y")]);
        let plan = plan(&before, vec![instance("y"), instance("z")], |_| false);
        assert_eq!(told(&plan), (vec![0], vec![], vec!["a(z)".to_owned()], vec![]));
    }
}
