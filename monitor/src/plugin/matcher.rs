//! Which plugins a process belongs to: every plugin's patterns, combined for each thing they are tried on, and what else
//! plugins ask of a process.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{
    GroupId, Matching, Plugin, Selectors,
    partial::{self, Answer},
    patterns::{BuildError, Patterns},
    titles::{Interest, Titles},
};
use crate::process::{COMM_BYTES, Facts, Identity};

/// What a group asks of a process besides its names.
#[derive(Debug)]
struct Asks {
    selectors: Selectors,
    matching: Matching,
}

/// All patterns of all plugins.
#[derive(Debug)]
pub struct Matcher {
    names: Patterns,
    exes: Patterns,
    cmdlines: Patterns,
    /// What groups ask for besides names; those that ask for nothing are absent.
    asks: BTreeMap<GroupId, Asks>,
    /// Groups that say something of their members' facts.
    tells: BTreeSet<GroupId>,
    /// Some group asks for facts, or tells them.
    facts_matter: bool,
    /// Groups that take in whatever descends from their members.
    children: BTreeSet<GroupId>,
    /// Groups that export arguments of their members.
    shows_arguments: BTreeSet<GroupId>,
    titles: Titles,
}

/// The groups that a process's names fit, or may fit.
#[derive(Debug, Default)]
struct Named {
    /// Groups that they fit; ascending, each once.
    groups: Vec<GroupId>,
    /// Groups that they may fit: it depends on a part of the arguments that is not known. Ascending, each once, and none of
    /// `groups`.
    open: Vec<GroupId>,
}

/// The groups of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Groups that the process is a member of; ascending, each once.
    pub groups: Vec<GroupId>,
    /// Its names fit a further group, and its process attributes do not, or are not known: it may become a member without
    /// another exec or rename.
    pub candidate: bool,
    /// Groups to which it may belong by a part of its arguments that is not known; all else that they ask for fits.
    /// Ascending, each once. Where there is one, it is a candidate.
    pub unknown: Vec<GroupId>,
}

impl Matcher {
    /// Combines the patterns of the groups' plugins.
    ///
    /// # Errors
    /// The patterns' literals are too large together.
    pub fn new(plugins: &[(GroupId, &Plugin)]) -> Result<Self, BuildError> {
        let of = |chosen: &dyn Fn(&Plugin) -> bool| {
            plugins
                .iter()
                .filter(|(_, plugin)| chosen(plugin))
                .map(|(id, _)| *id)
                .collect()
        };
        Ok(Self {
            names: Patterns::of(plugins, Matching::Name)?,
            exes: Patterns::of(plugins, Matching::Exe)?,
            cmdlines: Patterns::of(plugins, Matching::Cmdline)?,
            asks: plugins
                .iter()
                .filter(|(_, plugin)| !plugin.selectors.ask_for_nothing())
                .map(|(id, plugin)| {
                    let asks = Asks {
                        selectors: plugin.selectors.clone(),
                        matching: plugin.matching,
                    };
                    (*id, asks)
                })
                .collect(),
            tells: of(&shows_facts),
            facts_matter: plugins
                .iter()
                .any(|(_, plugin)| plugin.selectors.ask_for_facts() || shows_facts(plugin)),
            children: of(&|plugin| plugin.children),
            shows_arguments: of(&|plugin| !plugin.arguments.is_empty()),
            titles: Titles::of(plugins),
        })
    }

    /// The groups that the process belongs to by its names, and by its facts as far as they are known.
    pub fn matched(&self, identity: &Identity, facts: Option<&Facts>) -> Matched {
        let named = self.named(identity);
        let mut matched = Matched {
            groups: named.groups,
            candidate: false,
            unknown: named.open,
        };
        if !self.asks.is_empty() {
            self.apply_selectors(identity, facts, &mut matched);
        }
        matched.candidate |= !matched.unknown.is_empty();
        matched
    }

    fn apply_selectors(&self, identity: &Identity, facts: Option<&Facts>, matched: &mut Matched) {
        let (candidate, mut unknown) = (&mut matched.candidate, Vec::new());
        let mut passes = |group: &GroupId, named: Answer| {
            let Some(Asks { selectors, matching }) = self.asks.get(group) else {
                return named;
            };
            let excluded = excluded(&selectors.exclude, *matching, identity);
            if excluded == Answer::Yes {
                return Answer::No;
            }
            if selectors.ask_for_facts() && !facts.is_some_and(|facts| selectors.fit(facts)) {
                *candidate = true;
                return Answer::No;
            }
            if excluded == Answer::Open { excluded } else { named }
        };
        matched.groups.retain(|group| match passes(group, Answer::Yes) {
            Answer::Yes => true,
            Answer::Open => {
                unknown.push(*group);
                false
            }
            Answer::No => false,
        });
        matched
            .unknown
            .retain(|group| passes(group, Answer::Open) == Answer::Open);
        matched.unknown.extend(unknown);
        matched.unknown.sort_unstable();
    }

    /// Whether more of the arguments of a process with these names would say more: whether it belongs to a group, or what a
    /// group shows of it.
    pub fn needs_the_rest(&self, identity: &Identity) -> bool {
        if identity.cut.is_none() {
            return false;
        }
        let named = self.named(identity);
        let excluded = |group: &GroupId| match self.asks.get(group) {
            Some(asks) => excluded(&asks.selectors.exclude, asks.matching, identity),
            None => Answer::No,
        };
        let is_open = |group: &GroupId| excluded(group) != Answer::Yes;
        let may_be_excluded = |group: &GroupId| excluded(group) == Answer::Open;
        let shown = |group: &GroupId| self.shows_arguments.contains(group);
        named.open.iter().any(is_open)
            || named
                .groups
                .iter()
                .any(|group| may_be_excluded(group) || shown(group))
    }

    /// Whether any plugin looks at command lines.
    pub fn reads_command_lines(&self) -> bool {
        !self.cmdlines.is_empty()
    }

    /// Whether no plugin's patterns may fit a title.
    pub fn ignores_titles(&self) -> bool {
        self.titles.is_empty()
    }

    /// Whether some plugin's patterns may fit the title of any program.
    pub fn titles_may_be_anybodys(&self) -> bool {
        self.titles.may_be_anybodys()
    }

    /// How often to look at the title of a process with these names, which belongs to `groups`. `of_family`: a process that
    /// is looked at by its own name started it.
    pub fn interest_in_title(&self, identity: &Identity, groups: &[GroupId], of_family: bool) -> Interest {
        self.titles.interest(identity, groups, of_family)
    }

    /// Whether a process with these names is one of those whose titles are looked at again and again.
    pub fn may_write_titles(&self, identity: &Identity) -> bool {
        !self.titles.is_empty() && self.titles.is_related(identity)
    }

    /// Whether the facts of any process matter: asked for each event.
    pub fn facts_matter(&self) -> bool {
        self.facts_matter
    }

    /// Whether any of these groups asks for facts.
    pub fn any_asks_for_facts(&self, groups: &[GroupId]) -> bool {
        groups.iter().any(|group| {
            self.asks
                .get(group)
                .is_some_and(|asks| asks.selectors.ask_for_facts())
        })
    }

    /// Whether a group whose names fit asks for a fact that is not known.
    pub fn is_undecided(&self, identity: &Identity, facts: &Facts) -> bool {
        let lacks = |asks: &Asks| {
            let selectors = &asks.selectors;
            let of_cgroup = [&selectors.cgroups, &selectors.units, &selectors.containers];
            (!selectors.users.is_empty() && facts.uid.is_none())
                || (facts.cgroup.is_none() && of_cgroup.iter().any(|patterns| !patterns.is_empty()))
        };
        let named = self.named(identity);
        let mut named = named.groups.iter().chain(&named.open);
        named.any(|group| self.asks.get(group).is_some_and(lacks))
    }

    /// Whether the facts of a process with these names matter.
    pub fn asks_for_facts(&self, identity: &Identity) -> bool {
        self.facts_matter
            && self.any_named(identity, |group| {
                self.tells.contains(group) || self.any_asks_for_facts(&[*group])
            })
    }

    /// Whether facts decide over what a process with these names belongs to.
    pub fn selects_by_facts(&self, identity: &Identity) -> bool {
        !self.asks.is_empty() && self.any_named(identity, |group| self.any_asks_for_facts(&[*group]))
    }

    /// Whether one of the groups that a process with these names fits, or may fit, is such a group.
    fn any_named(&self, identity: &Identity, is: impl Fn(&GroupId) -> bool) -> bool {
        let named = self.named(identity);
        named.groups.iter().chain(&named.open).any(is)
    }

    /// The groups among `groups` whose plugins take in the children of members.
    pub fn inherited(&self, groups: &[GroupId]) -> Vec<GroupId> {
        if self.children.is_empty() {
            return Vec::new();
        }
        groups
            .iter()
            .copied()
            .filter(|group| self.children.contains(group))
            .collect()
    }

    /// The groups that the names of a process fit, or may fit.
    fn named(&self, identity: &Identity) -> Named {
        let (mut groups, mut open) = (Vec::new(), Vec::new());
        if !self.names.is_empty() {
            for name in identity.names() {
                self.names.try_on(name, &mut groups);
            }
            if identity.names_are_open() {
                open.extend(self.names.groups());
            }
        }
        if !self.exes.is_empty() && !identity.exe.is_empty() {
            self.exes.try_on(&identity.exe, &mut groups);
        }
        if !self.cmdlines.is_empty() {
            if identity.cut.is_some() {
                self.cmdlines
                    .try_on_beginning(&identity.cmdline(), &mut groups, &mut open);
            } else if !identity.argv.is_empty() {
                self.cmdlines.try_on(&identity.cmdline(), &mut groups);
            }
        }
        groups.sort_unstable();
        groups.dedup();
        if !open.is_empty() {
            open.sort_unstable();
            open.dedup();
            open.retain(|group| groups.binary_search(group).is_err());
        }
        Named { groups, open }
    }

    /// True when a `comm` alone makes a process a member of something, or is what the kernel left of a title that may.
    pub fn matches_comm(&self, comm: &str) -> bool {
        self.names.is_match(comm) || (comm.len() >= COMM_BYTES && self.titles.may_begin_with(comm))
    }

    /// The groups for which [`Self::matches_comm`] is true; where a title may be meant, all that look at titles.
    pub fn groups_by_comm(&self, comm: &str) -> BTreeSet<GroupId> {
        let mut groups = Vec::new();
        self.names.try_on(comm, &mut groups);
        if comm.len() >= COMM_BYTES && self.titles.may_begin_with(comm) {
            groups.extend(self.names.groups().chain(self.cmdlines.groups()));
        }
        groups.into_iter().collect()
    }

    /// The groups of which some `comm` alone may make a process a member.
    pub fn groups_by_names(&self) -> BTreeSet<GroupId> {
        self.names.groups().chain(self.cmdlines.groups()).collect()
    }
}

/// Whether what the plugin exports holds facts of its members: in attributes of the service, or of single processes.
fn shows_facts(plugin: &Plugin) -> bool {
    !plugin.templates.is_empty() || plugin.per_process.is_some()
}

fn excluded(patterns: &[Regex], matching: Matching, identity: &Identity) -> Answer {
    let tried = |text: &str| patterns.iter().any(|pattern| pattern.is_match(text));
    match matching {
        _ if patterns.is_empty() => Answer::No,
        Matching::Name if identity.names().any(tried) => Answer::Yes,
        Matching::Name if identity.names_are_open() => Answer::Open,
        Matching::Name => Answer::No,
        Matching::Exe => Answer::of(tried(&identity.exe)),
        Matching::Cmdline if identity.cut.is_some() => {
            let known = identity.cmdline();
            let answers = patterns.iter().map(|pattern| partial::answer(pattern, &known));
            answers.max().unwrap_or(Answer::No)
        }
        Matching::Cmdline => Answer::of(tried(&identity.cmdline())),
    }
}

impl Selectors {
    /// No process is left out by them.
    fn ask_for_nothing(&self) -> bool {
        self.exclude.is_empty() && !self.ask_for_facts()
    }

    fn ask_for_facts(&self) -> bool {
        !(self.users.is_empty()
            && self.cgroups.is_empty()
            && self.units.is_empty()
            && self.containers.is_empty())
    }

    /// Whether a process with these facts fits; what is not known fits nothing.
    fn fit(&self, facts: &Facts) -> bool {
        let any = |patterns: &[Regex], text: Option<&str>| {
            patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|one| one.is_match(text)))
        };
        let user = self.users.is_empty()
            || facts
                .uid
                .is_some_and(|uid| self.users.iter().any(|user| user.uid == Some(uid)));
        user && any(&self.cgroups, facts.cgroup.as_deref())
            && any(&self.units, facts.unit())
            && any(&self.containers, facts.container())
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
                .matched(&identity, None)
                .groups
                .into_iter()
                .map(|group| group.0)
                .collect();
            assert_eq!(groups, expected, "{name}");
        }
    }

    /// The combined search against each pattern by itself, on names made of the patterns' own pieces.
    #[test]
    fn combined_they_match_what_each_matches() {
        let patterns = [
            "web",
            "^web$",
            "WEB-1",
            "^(a|b)c$",
            "s+k",
            "sa",
            "^.$",
            "\u{17f}ervice",
            "kelvin",
            "[0-9]{3}",
            "[ab&&Ab]",
            "a?b",
            "gr\u{fc}n",
            "x$",
        ];
        let matcher = matcher(patterns.map(plugin));
        let pieces = [
            "web",
            "WEB",
            "-1",
            "a",
            "bc",
            "S",
            "K",
            "\u{17f}",
            "\u{212a}",
            "elvin",
            "ervice",
            "123",
            "gr\u{dc}N",
            "x",
            "",
        ];
        let mut matches = 0;
        for one in pieces {
            for two in pieces {
                for three in pieces {
                    let name = format!("{one}{two}{three}");
                    let identity = Identity {
                        exe: name.clone(),
                        ..Identity::default()
                    };
                    let single = patterns
                        .map(|pattern| plugin(pattern).patterns[0].is_match(&name) && !name.is_empty());
                    let groups: Vec<usize> = (0..patterns.len()).filter(|index| single[*index]).collect();
                    let found: Vec<usize> = matcher
                        .matched(&identity, None)
                        .groups
                        .iter()
                        .map(|group| group.0)
                        .collect();
                    assert_eq!(found, groups, "{name:?}");
                    matches += groups.len();
                }
            }
        }
        assert!(matches > 1_000, "{matches}");
    }

    #[test]
    #[ignore = "prints figures for docs/performance.md"]
    fn ten_thousand_patterns_against_one_exec() {
        use std::time::Instant;
        let plugins: Vec<Plugin> = (0..10_000)
            .map(|number| plugin(&format!("service-{number:05}")))
            .collect();
        let numbered: Vec<_> = plugins
            .iter()
            .enumerate()
            .map(|(id, plugin)| (GroupId(id), plugin))
            .collect();
        let began = Instant::now();
        let matcher = Matcher::new(&numbered).unwrap();
        println!("10,000 patterns combined in {:.1?}", began.elapsed());
        let names = [
            "service-04711",
            "x-service-00001-y",
            "nginx",
            "a-rather-long-name-of-no-service-at-all",
        ];
        let (mut combined, mut single, mut found) = (0, 0, 0);
        for round in 0..40 {
            let identity = Identity {
                exe: names[round % names.len()].to_owned(),
                ..Identity::default()
            };
            let began = Instant::now();
            found += matcher.matched(&identity, None).groups.len();
            combined += began.elapsed().as_nanos();
            let began = Instant::now();
            let one_by_one = plugins
                .iter()
                .filter(|plugin| plugin.patterns[0].is_match(&identity.exe));
            found += one_by_one.count();
            single += began.elapsed().as_nanos();
        }
        let micros = |nanos: u128| nanos as f64 / 40.0 / 1e3;
        println!(
            "an exec: {:.2} µs; one pattern after the other: {:.1} µs; ratio {:.5}",
            micros(combined),
            micros(single),
            combined as f64 / single as f64
        );
        assert_eq!(found, 40);
        assert!(micros(combined) < 1_000.0);
    }

    #[test]
    fn any_name_will_do_and_counts_once() {
        let matcher = matcher([plugin("backup")]);
        let script = Identity {
            comm: "backup.sh".into(),
            exe: "bash".into(),
            filename: "/opt/backup.sh".into(),
            argv: vec!["/bin/bash".into(), "/opt/backup.sh".into()],
            cut: None,
        };
        assert_eq!(matcher.matched(&script, None).groups, vec![GroupId(0)]);
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
                cut: None,
            };
            let groups: Vec<_> = matcher
                .matched(&identity, None)
                .groups
                .into_iter()
                .map(|group| group.0)
                .collect();
            assert_eq!(groups, expected, "{identity:?}");
        }
    }

    #[test]
    fn a_member_is_listed_under_the_name_that_matched() {
        let script = ("bash", vec!["/bin/bash", "/opt/backup.sh"], "backup.sh");
        let titled = ("app", vec!["web-1"], "app");
        let renamed = ("app", vec!["app"], "worker");
        for (matching, pattern, (exe, argv, comm), listed) in [
            (Matching::Name, "backup", script.clone(), "backup.sh"),
            (Matching::Name, "^bash$", script.clone(), "bash"),
            (Matching::Exe, "^bash$", script.clone(), "bash"),
            (Matching::Cmdline, "^/bin/bash ", script.clone(), "backup.sh"),
            (Matching::Name, "app|web", titled.clone(), "app"),
            (Matching::Name, "^web", titled.clone(), "web-1"),
            (Matching::Name, "^worker$", renamed.clone(), "worker"),
            // By descent.
            (Matching::Name, "other", script, "backup.sh"),
        ] {
            let identity = Identity {
                comm: comm.into(),
                exe: exe.into(),
                filename: String::new(),
                argv: argv.into_iter().map(str::to_owned).collect(),
                cut: None,
            };
            let plugin = Plugin {
                matching,
                ..plugin(pattern)
            };
            assert_eq!(plugin.name_of(&identity), listed, "{pattern} {identity:?}");
        }
    }
}
