//! Why a process is no member although it nearly is.

use regex::Regex;

use super::live::Live;
use crate::plugin::{Matching, Plugin};

/// Shorter words are near to too many others.
const SHORTEST: usize = 3;

/// A plugin's patterns with what is near to each.
pub(super) struct NearMisses<'a> {
    plugin: &'a Plugin,
    patterns: Vec<Near<'a>>,
}

struct Near<'a> {
    pattern: &'a Regex,
    /// Without `(?-i)`, where it has that.
    any_case: Option<Regex>,
    /// Without its anchors, as written and as a pattern, where it has some.
    inner: &'a str,
    unanchored: Option<Regex>,
    /// The plain text that it is, in lower case.
    word: Option<String>,
}

impl<'a> NearMisses<'a> {
    pub(super) fn of(plugin: &'a Plugin) -> Self {
        let near = |pattern: &'a Regex| {
            let written = pattern.as_str();
            let inner = written.trim_start_matches('^').trim_end_matches('$');
            let cased = written.contains("(?-i").then(|| written.replace("(?-i)", ""));
            Near {
                pattern,
                any_case: cased.and_then(|pattern| any_case(&pattern)),
                inner,
                unanchored: any_case(inner).filter(|_| inner != written),
                word: literal(inner).map(|word| word.to_lowercase()),
            }
        };
        Self {
            plugin,
            patterns: plugin.patterns.iter().map(near).collect(),
        }
    }

    /// The reason, in words with the remedy; `None` for a process that has nothing to do with the plugin.
    pub(super) fn reason(&self, process: &Live) -> Option<String> {
        if process.matched(self.plugin).is_some() {
            return process.refusal(self.plugin).map(|refusal| {
                format!(
                    "its name matches, but {} {}; mend service.{}",
                    refusal.key, refusal.is, refusal.key
                )
            });
        }
        self.patterns.iter().find_map(|near| {
            elsewhere(self.plugin, near.pattern, process)
                .or_else(|| near.cut(process))
                .or_else(|| {
                    let names = process.texts(Matching::Name);
                    names.iter().find_map(|name| near.like(name))
                })
        })
    }
}

/// The pattern fits what the plugin does not look at.
fn elsewhere(plugin: &Plugin, pattern: &Regex, process: &Live) -> Option<String> {
    let fits = |matching| {
        process
            .texts(matching)
            .into_iter()
            .find(|text| pattern.is_match(text))
    };
    match plugin.matching {
        Matching::Name => None,
        Matching::Exe | Matching::Cmdline => fits(Matching::Name).map(|name| {
            let key = if plugin.matching == Matching::Exe {
                "exe"
            } else {
                "cmdline"
            };
            format!("{name} matches, but match = \"{key}\" does not look at it; take match = \"name\"")
        }),
    }
}

impl Near<'_> {
    /// A name that is nearly the pattern's.
    fn like(&self, name: &str) -> Option<String> {
        let inner = self.inner;
        let fits = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
        if fits(&self.any_case) {
            return Some(format!(
                "{name} differs in case alone, which (?-i) asks for; remove (?-i)"
            ));
        }
        if fits(&self.unanchored) {
            return Some(format!(
                "{name} matches without the anchors; write {inner} to take it in"
            ));
        }
        let word = self.word.as_ref()?;
        let name_low = name.to_lowercase();
        if word.len() < SHORTEST || name.len() < SHORTEST {
            return None;
        }
        if strsim::damerau_levenshtein(word, &name_low) == 1 {
            return Some(format!(
                "{name} differs from {inner} in one letter; write {name} if that is meant"
            ));
        }
        if name_low.len() > SHORTEST && word.contains(&name_low) {
            return Some(format!(
                "{name} is only a part of {inner}; write {name} if that is meant"
            ));
        }
        None
    }

    /// The name is longer than what the kernel keeps of it, and nothing tells the rest.
    fn cut(&self, process: &Live) -> Option<String> {
        const COMM_BYTES: usize = 15;
        let comm = &process.identity.comm;
        let word = self.word.as_ref()?;
        let is_cut = process.identity.exe.is_empty()
            && comm.len() == COMM_BYTES
            && word.len() > COMM_BYTES
            && word.starts_with(&comm.to_lowercase());
        is_cut.then(|| {
            format!("the kernel cut its name to {comm}, and the executable cannot be read; run this as root to see it whole")
        })
    }
}

fn any_case(pattern: &str) -> Option<Regex> {
    let built = regex::RegexBuilder::new(pattern).case_insensitive(true).build();
    built.ok().filter(|_| !pattern.is_empty())
}

/// The plain text that a pattern is, where it is one.
pub(super) fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(letters.next().filter(|c| !c.is_alphanumeric())?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            letter => text.push(letter),
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near_miss(plugin: &Plugin, process: &Live) -> Option<String> {
        NearMisses::of(plugin).reason(process)
    }
    use crate::{
        plugin::{Matching, definition::User, tracker::tests::plugin},
        process::Identity,
    };

    fn process(exe: &str, comm: &str, argv: &[&str]) -> Live {
        Live {
            identity: Identity {
                exe: exe.into(),
                comm: comm.into(),
                argv: argv.iter().map(|&argument| argument.into()).collect(),
                ..Identity::default()
            },
            ..Live::default()
        }
    }

    #[test]
    fn what_nearly_matches_and_why() {
        let long = "a-name-longer-than-fifteen";
        for (pattern, process, part) in [
            (
                "^nginx$",
                process("nginx-debug", "nginx-debug", &[]),
                Some("anchors"),
            ),
            ("ngimx", process("nginx", "nginx", &[]), Some("one letter")),
            ("nginx-debug", process("nginx", "nginx", &[]), Some("part of")),
            ("(?-i)Nginx", process("nginx", "nginx", &[]), Some("case")),
            (long, process("", &long[..15], &[]), Some("cut")),
            ("nginx", process("nginx", "nginx", &[]), None),
            ("nginx", process("bash", "bash", &["bash"]), None),
            ("n.*x", process("bash", "bash", &[]), None),
            ("sh", process("ssh", "ssh", &[]), None),
        ] {
            let reason = near_miss(&plugin(pattern), &process);
            match part {
                Some(part) => assert!(
                    reason.as_ref().is_some_and(|r| r.contains(part)),
                    "{pattern}: {reason:?}"
                ),
                None => assert_eq!(reason, None, "{pattern}"),
            }
        }
    }

    #[test]
    fn selectors_and_match_are_named() {
        let nginx = Live {
            facts: crate::process::Facts {
                uid: Some(33),
                cgroup: Some("/system.slice/web.service".into()),
                ..crate::process::Facts::default()
            },
            ..process("nginx", "nginx", &["nginx"])
        };
        let asking = |change: &dyn Fn(&mut Plugin)| {
            let mut plugin = plugin("nginx");
            change(&mut plugin);
            near_miss(&plugin, &nginx).unwrap_or_default()
        };
        let any = |text: &str| vec![any_case(text).unwrap()];
        assert!(asking(&|p| p.selectors.exclude = any("^nginx$")).contains("service.exclude"));
        assert!(asking(&|p| p.selectors.units = any("^nginx")).contains("web.service"));
        assert!(asking(&|p| p.selectors.cgroups = any("^/user")).contains("service.cgroup"));
        assert!(asking(&|p| p.selectors.containers = any("ab")).contains("it has none"));
        let user = |uid| {
            vec![User {
                written: "x".into(),
                uid,
            }]
        };
        assert!(asking(&|p| p.selectors.users = user(None)).contains("service.user"));
        assert_eq!(asking(&|p| p.selectors.users = user(Some(33))), "");
        let script = process("bash", "job", &["bash", "/opt/job"]);
        let exe = Plugin {
            matching: Matching::Exe,
            ..plugin("job")
        };
        assert!(near_miss(&exe, &script).unwrap().contains("match = \"exe\""));
    }
}
