//! Which plugins a process belongs to: every plugin's patterns, compiled into one automaton.

use regex::{RegexSet, RegexSetBuilder};

use super::{GroupId, Plugin};
use crate::process::Identity;

/// Bound on the combined automaton, bytes; each pattern alone has passed a smaller one.
const SIZE_LIMIT: usize = 256 << 20;

/// All patterns of all plugins.
#[derive(Debug)]
pub struct Matcher {
    patterns: RegexSet,
    /// The group of each pattern, in ascending order.
    owners: Vec<GroupId>,
}

impl Matcher {
    /// Combines the plugins' patterns; a plugin's position is its group's id.
    ///
    /// # Errors
    /// The patterns, valid each alone, are too large together.
    pub fn new(plugins: &[Plugin]) -> Result<Self, regex::Error> {
        let (owners, patterns): (Vec<_>, Vec<_>) = plugins
            .iter()
            .enumerate()
            .flat_map(|(index, plugin)| {
                plugin
                    .patterns
                    .iter()
                    .map(move |pattern| (GroupId(index), pattern.as_str()))
            })
            .unzip();
        let patterns = RegexSetBuilder::new(patterns)
            .case_insensitive(true)
            .size_limit(SIZE_LIMIT)
            .build()?;
        Ok(Self { patterns, owners })
    }

    /// The groups that any of the process's names belongs to, ascending, each once.
    pub fn groups(&self, identity: &Identity) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = identity
            .names()
            .flat_map(|name| {
                self.patterns
                    .matches(name)
                    .into_iter()
                    .map(|pattern| self.owners[pattern])
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tracker::tests::plugin;

    #[test]
    fn case_insensitive_and_unanchored_unless_it_says_otherwise() {
        let matcher = Matcher::new(&[plugin("MyApp"), plugin("^MyApp$"), plugin("server")]).unwrap();
        for (name, expected) in [
            ("myapp", vec![0, 1]),
            ("MYAPP", vec![0, 1]),
            ("MyAppServer", vec![0, 2]),
            ("a-very-long-name-of-MyApp", vec![0]),
            ("other", vec![]),
        ] {
            let identity = Identity {
                exe: name.to_owned(),
                ..Identity::default()
            };
            let groups: Vec<_> = matcher
                .groups(&identity)
                .into_iter()
                .map(|group| group.0)
                .collect();
            assert_eq!(groups, expected, "{name}");
        }
    }

    #[test]
    fn any_name_will_do_and_counts_once() {
        let matcher = Matcher::new(&[plugin("backup")]).unwrap();
        let script = Identity {
            comm: "backup.sh".into(),
            exe: "bash".into(),
            filename: "/opt/backup.sh".into(),
            argv: vec!["/bin/bash".into(), "/opt/backup.sh".into()],
        };
        assert_eq!(matcher.groups(&script), vec![GroupId(0)]);
    }
}
