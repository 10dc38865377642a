//! What makes a group the same one in another run of kevmon.

use uuid::Uuid;

use crate::{
    plugin::{Aggregate, Matching, Plugin, Selectors},
    store::GroupKey,
};

/// Namespace of the fingerprints of what a plugin matches.
const MATCHES: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_6d61_7463_6865);

/// A group is the same as long as its plugin, service and match are. What decides over its members' sums is part of
/// the match: other members' sums are another series. The words are stored: changing one begins every group anew.
pub(in crate::app) fn key(plugin: &Plugin) -> GroupKey {
    let matching = match plugin.matching {
        Matching::Name => "name",
        Matching::Exe => "exe",
        Matching::Cmdline => "cmdline",
    };
    let aggregate = match plugin.aggregate {
        Aggregate::All => "all",
        Aggregate::Roots => "roots",
    };
    // They match the same in whatever order they are written.
    let mut patterns: Vec<&str> = plugin.patterns.iter().map(regex::Regex::as_str).collect();
    patterns.sort_unstable();
    patterns.dedup();
    let mut matched = [&[matching, aggregate], &patterns[..]].concat().join("\0");
    matched.push_str(&selected(plugin));
    let service = &plugin.service;
    let name = plugin.label();
    GroupKey {
        plugin: name.clone(),
        key: format!(
            "{}/{}/{}/{}",
            name,
            service.namespace,
            service.original,
            Uuid::new_v5(&MATCHES, matched.as_bytes())
        ),
    }
}

/// The rest of a match, in a form that is stored: nothing where nothing is selected.
fn selected(plugin: &Plugin) -> String {
    let Selectors {
        exclude,
        users,
        cgroups,
        units,
        containers,
    } = &plugin.selectors;
    let mut selected = String::new();
    for (word, patterns) in [
        ("exclude", exclude),
        ("cgroup", cgroups),
        ("unit", units),
        ("container", containers),
    ] {
        let mut patterns: Vec<&str> = patterns.iter().map(regex::Regex::as_str).collect();
        patterns.sort_unstable();
        for pattern in patterns {
            selected.push_str(&format!("\0\0{word}\0{pattern}"));
        }
    }
    let mut users: Vec<&str> = users.iter().map(|user| user.written.as_str()).collect();
    users.sort_unstable();
    for user in users {
        selected.push_str(&format!("\0\0user\0{user}"));
    }
    if plugin.children {
        selected.push_str("\0\0children");
    }
    selected
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugin::tracker::tests::plugin;

    #[test]
    fn the_key_of_a_group_is_for_ever() {
        let patterns = |list: &[&str]| list.iter().flat_map(|one| plugin(one).patterns).collect();
        let shop = Plugin {
            name: "shop".into(),
            patterns: patterns(&["^shop-web$", "^shop-db$"]),
            ..plugin("^shop$")
        };
        let expected = "shop/test/^shop$/5de9d891-aaac-51c4-9d6e-635d0c138be8";
        assert_eq!(key(&shop).key, expected);
        let reordered = Plugin {
            patterns: patterns(&["^shop-db$", "^shop-web$", "^shop-db$"]),
            ..shop
        };
        assert_eq!(key(&reordered).key, expected);
    }

    #[test]
    fn a_group_is_another_one_when_its_match_is_and_only_then() {
        let base = plugin("^app$");
        let same = Plugin {
            interval: Duration::from_secs(1),
            description: "changed".into(),
            events: true,
            ..base.clone()
        };
        assert_eq!(key(&base), key(&same));
        let others = [
            Plugin {
                matching: Matching::Exe,
                ..base.clone()
            },
            Plugin {
                aggregate: Aggregate::Roots,
                ..base.clone()
            },
            Plugin {
                name: "other".into(),
                ..base.clone()
            },
            Plugin {
                patterns: plugin("^app").patterns,
                ..base.clone()
            },
            Plugin {
                instance: Some("a".into()),
                ..base.clone()
            },
            Plugin {
                children: true,
                ..base.clone()
            },
            Plugin {
                selectors: Selectors {
                    exclude: plugin("test").patterns,
                    ..Selectors::default()
                },
                ..base.clone()
            },
            Plugin {
                selectors: Selectors {
                    units: plugin("test").patterns,
                    ..Selectors::default()
                },
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(key(&base).key, key(&other).key, "{other:?}");
        }
    }
}
