//! Which plugins a process belongs to: every plugin's patterns, compiled into one automaton for each thing they are
//! tried on.

use regex::{RegexSet, RegexSetBuilder};

use super::{GroupId, Matching, Plugin};
use crate::process::Identity;

/// Bound on a combined automaton, bytes; each pattern alone has passed a smaller one.
const SIZE_LIMIT: usize = 256 << 20;

/// The patterns of some plugins, combined.
#[derive(Debug)]
struct Patterns {
    set: RegexSet,
    /// The group of each pattern, in ascending order.
    owners: Vec<GroupId>,
}

impl Patterns {
    fn of(plugins: &[(GroupId, &Plugin)], matching: Matching) -> Result<Self, regex::Error> {
        let (owners, patterns): (Vec<_>, Vec<_>) = plugins
            .iter()
            .filter(|(_, plugin)| plugin.matching == matching)
            .flat_map(|(group, plugin)| {
                let patterns = plugin.patterns.iter();
                patterns.map(move |pattern| (*group, pattern.as_str()))
            })
            .unzip();
        let set = RegexSetBuilder::new(patterns)
            .case_insensitive(true)
            .size_limit(SIZE_LIMIT)
            .build()?;
        Ok(Self { set, owners })
    }

    fn try_on(&self, text: &str, groups: &mut Vec<GroupId>) {
        groups.extend(
            self.set
                .matches(text)
                .into_iter()
                .map(|pattern| self.owners[pattern]),
        );
    }
}

/// All patterns of all plugins.
#[derive(Debug)]
pub struct Matcher {
    names: Patterns,
    exes: Patterns,
    cmdlines: Patterns,
}

impl Matcher {
    /// Combines the patterns of the groups' plugins.
    ///
    /// # Errors
    /// The patterns, valid each alone, are too large together.
    pub fn new(plugins: &[(GroupId, &Plugin)]) -> Result<Self, regex::Error> {
        Ok(Self {
            names: Patterns::of(plugins, Matching::Name)?,
            exes: Patterns::of(plugins, Matching::Exe)?,
            cmdlines: Patterns::of(plugins, Matching::Cmdline)?,
        })
    }

    /// The groups that the process belongs to, ascending, each once.
    pub fn groups(&self, identity: &Identity) -> Vec<GroupId> {
        let mut groups = Vec::new();
        if !self.names.owners.is_empty() {
            for name in identity.names() {
                self.names.try_on(name, &mut groups);
            }
        }
        if !self.exes.owners.is_empty() && !identity.exe.is_empty() {
            self.exes.try_on(&identity.exe, &mut groups);
        }
        if !self.cmdlines.owners.is_empty() && !identity.argv.is_empty() {
            self.cmdlines.try_on(&identity.argv.join(" "), &mut groups);
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// True when a `comm` alone makes a process a member of something.
    pub fn matches_comm(&self, comm: &str) -> bool {
        self.names.set.is_match(comm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tracker::tests::plugin;

    fn matcher<const N: usize>(plugins: [Plugin; N]) -> Matcher {
        let plugins = plugins.iter().enumerate();
        let plugins: Vec<_> = plugins.map(|(id, plugin)| (GroupId(id), plugin)).collect();
        Matcher::new(&plugins).unwrap()
    }

    #[test]
    fn case_insensitive_and_unanchored_unless_it_says_otherwise() {
        let matcher = matcher([plugin("MyApp"), plugin("^MyApp$"), plugin("server")]);
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
        let matcher = matcher([plugin("backup")]);
        let script = Identity {
            comm: "backup.sh".into(),
            exe: "bash".into(),
            filename: "/opt/backup.sh".into(),
            argv: vec!["/bin/bash".into(), "/opt/backup.sh".into()],
        };
        assert_eq!(matcher.groups(&script), vec![GroupId(0)]);
    }

    #[test]
    fn a_plugin_chooses_what_its_patterns_are_tried_on() {
        let by = |matching| Plugin {
            matching,
            ..plugin("backup")
        };
        let matcher = matcher([by(Matching::Name), by(Matching::Exe), by(Matching::Cmdline)]);
        for (exe, argv, comm, expected) in [
            ("backup", vec!["./backup"], "backup", vec![0, 1, 2]),
            ("bash", vec!["bash", "/opt/backup.sh"], "bash", vec![0, 2]),
            ("tar", vec!["tar", "cf", "/srv/backup.tar"], "tar", vec![2]),
            ("tar", vec!["tar"], "backup", vec![0]),
            ("backup", vec![], "x", vec![0, 1]),
            ("", vec![], "", vec![]),
        ] {
            let identity = Identity {
                comm: comm.into(),
                exe: exe.into(),
                filename: String::new(),
                argv: argv.into_iter().map(str::to_owned).collect(),
            };
            let groups: Vec<_> = matcher
                .groups(&identity)
                .into_iter()
                .map(|group| group.0)
                .collect();
            assert_eq!(groups, expected, "{identity:?}");
        }
    }
}
