//! Whose title is looked at again, and how often.
//!
//! A program that writes over its arguments tells nobody. Only /proc shows it, so kevmon has to look, and it must not look at
//! every process of the host at every tick. What patterns begin with says where to look:
//!
//! - A pattern's *beginning* is the text that every match of the whole title begins with (`^nginx: worker` has one,
//!   `worker` and `^(.*)x` have none). A process is *related* to it when the beginning begins with one of the process's
//!   names as a word, or the name with the beginning's first word: a program writes its own name first. Related processes, and
//!   processes that a related one started, are looked at soon after their start and at each tick.
//! - A pattern without a beginning, and one whose beginning can only be a title's (`^shop: worker`: no executable is called
//!   so), may fit the title of any program. Processes that such a pattern does not match already are looked at once, an
//!   interval after they executed a program; what is forked by a process that nobody follows, of which no record tells, is
//!   found by its age (`app/watch/forks.rs`, ADR 23).
//! - A group that a process belongs to whatever its title is, asks for no look.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use regex::Regex;
use regex_syntax::hir::{Look, literal::Extractor};

use super::{GroupId, Matching, Plugin};
use crate::process::Identity;

/// A first word shorter than this relates nothing: too many programs begin with it.
const WORD: usize = 3;

/// How often a process's title (its command line as it has rewritten it) is read from /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Interest {
    /// Never: no plugin asks.
    #[default]
    None,
    /// Once, an interval after its start.
    Once,
    /// Soon after its start, and at each tick.
    Always,
}

/// A pattern that a title may fit.
#[derive(Debug)]
struct Pattern {
    group: GroupId,
    regex: Regex,
    matching: Matching,
    /// Whether its group has exclusions, which any title may fit.
    excludes: bool,
}

/// All patterns that titles may fit.
#[derive(Debug, Default)]
pub(super) struct Titles {
    patterns: Vec<Pattern>,
    /// Patterns by what they begin with, in lower case.
    beginnings: BTreeMap<String, Vec<usize>>,
    /// Patterns by the first words of what they begin with.
    words: HashMap<String, Vec<usize>>,
    /// Lengths of those words, bytes.
    lengths: BTreeSet<usize>,
    /// Patterns that may fit the title of any program.
    any: Vec<usize>,
    /// Patterns of groups with exclusions.
    excluding: Vec<usize>,
}

impl Titles {
    /// The patterns of the plugins that look at names or command lines.
    pub(super) fn of(plugins: &[(GroupId, &Plugin)]) -> Self {
        let mut titles = Self::default();
        for &(group, plugin) in plugins {
            if plugin.matching == Matching::Exe {
                continue;
            }
            for regex in &plugin.patterns {
                titles.add(group, plugin, regex);
            }
        }
        titles
    }

    fn add(&mut self, group: GroupId, plugin: &Plugin, regex: &Regex) {
        let index = self.patterns.len();
        let excludes = !plugin.selectors.exclude.is_empty();
        self.patterns.push(Pattern {
            group,
            regex: regex.clone(),
            matching: plugin.matching,
            excludes,
        });
        if excludes {
            self.excluding.push(index);
        }
        let beginnings = beginnings(regex.as_str());
        if beginnings.is_empty() || beginnings.iter().any(|beginning| only_a_title(beginning)) {
            self.any.push(index);
        }
        for beginning in beginnings {
            let word = first_word(&beginning);
            if word.len() >= WORD && !beginning.ends_with(word) {
                self.lengths.insert(word.len());
                self.words.entry(word.to_owned()).or_default().push(index);
            }
            self.beginnings.entry(beginning).or_default().push(index);
        }
    }

    /// Whether no plugin asks for titles.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern may fit the title of any program.
    pub(super) fn may_be_anybodys(&self) -> bool {
        !self.any.is_empty()
    }

    /// How often to look at a process with these names, which belongs to `groups`. `of_family`: a related process started
    /// it.
    pub(super) fn interest(&self, identity: &Identity, groups: &[GroupId], of_family: bool) -> Interest {
        if self.is_empty() || identity.exe.is_empty() && identity.argv.is_empty() {
            return Interest::None; // a kernel thread
        }
        let excluding = self.excluding.iter();
        if excluding
            .clone()
            .any(|&index| groups.contains(&self.patterns[index].group))
        {
            return Interest::Always;
        }
        let related = self.related(identity);
        if !of_family && related.is_empty() && self.any.is_empty() {
            return Interest::None; // all but always
        }
        let matters = |index: &usize| !self.patterns[*index].is_decided(identity);
        let all = 0..self.patterns.len();
        if related.iter().any(matters) || (of_family && all.into_iter().any(|index| matters(&index))) {
            Interest::Always
        } else if self.any.iter().any(matters) {
            Interest::Once
        } else {
            Interest::None
        }
    }

    /// Whether a pattern begins with one of the names, or its first word is the beginning of one.
    pub(super) fn is_related(&self, identity: &Identity) -> bool {
        !self.related(identity).is_empty()
    }

    /// Whether a `comm` that the kernel has cut may be the beginning of a title that a pattern fits.
    pub(super) fn may_begin_with(&self, comm: &str) -> bool {
        let comm = comm.to_lowercase();
        self.beginnings.range(comm.clone()..).next().is_some_and(|(beginning, _)| beginning.starts_with(&comm))
            // Of what is no longer than it, the longest comes last.
            || self
                .beginnings
                .range(..comm.clone())
                .rev()
                .take_while(|(beginning, _)| beginning.as_bytes().first() == comm.as_bytes().first())
                .any(|(beginning, _)| comm.starts_with(beginning.as_str()))
    }

    fn related(&self, identity: &Identity) -> Vec<usize> {
        let mut related = Vec::new();
        if self.beginnings.is_empty() {
            return related;
        }
        let mut seen: [&str; 3] = [""; 3];
        for (at, name) in identity.without_title().enumerate() {
            if !seen.contains(&name) {
                self.relate(&lower(name), &mut related);
            }
            seen[at.min(2)] = name;
        }
        related
    }

    fn relate(&self, name: &str, related: &mut Vec<usize>) {
        let begins = self
            .beginnings
            .range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let begins = begins.take_while(|(beginning, _)| beginning.starts_with(name));
        for (_, patterns) in begins.filter(|(beginning, _)| ends_a_name(&beginning[name.len()..])) {
            related.extend(patterns);
        }
        for &length in self.lengths.range(..=name.len()) {
            let word = name.get(..length).and_then(|word| self.words.get(word));
            related.extend(word.into_iter().flatten());
        }
    }
}

/// In lower case; most names are already.
fn lower(name: &str) -> Cow<'_, str> {
    if name
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

impl Pattern {
    /// Whether a process with these names belongs to the group whatever its arguments are.
    fn is_decided(&self, identity: &Identity) -> bool {
        self.matching == Matching::Name
            && !self.excludes
            && identity
                .without_title()
                .any(|name| !name.is_empty() && self.regex.is_match(name))
    }
}

/// What every title that a pattern fits begins with, in lower case: one of these. Empty: that is not known.
fn beginnings(pattern: &str) -> Vec<String> {
    let Ok(hir) = regex_syntax::ParserBuilder::new().build().parse(pattern) else {
        return Vec::new();
    };
    if !hir.properties().look_set_prefix().contains(Look::Start) {
        return Vec::new();
    }
    let sequence = Extractor::new().extract(&hir);
    let Some(literals) = sequence.literals() else {
        return Vec::new();
    };
    let texts: Option<BTreeSet<String>> = literals
        .iter()
        .map(|literal| {
            let text = std::str::from_utf8(literal.as_bytes()).ok()?;
            (!text.is_empty()).then(|| text.to_lowercase())
        })
        .collect();
    texts.unwrap_or_default().into_iter().collect()
}

/// Its first word, without a folder and without what ends a program's name in a title.
fn first_word(beginning: &str) -> &str {
    let word = beginning
        .split(|c: char| c.is_whitespace() || c == ':')
        .next()
        .unwrap_or("");
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether a name that stands before this is over: `nginx` is in `nginx: worker`, and not in `nginx-proxy`.
fn ends_a_name(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether no program's name and no path begins so.
fn only_a_title(beginning: &str) -> bool {
    let word = beginning.split(|c: char| c.is_whitespace() || c == ':').next();
    word.is_some_and(|word| word.len() < beginning.len() && !word.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tracker::tests::plugin;

    #[test]
    fn what_titles_begin_with() {
        for (pattern, expected) in [
            ("^nginx: worker", &["nginx: worker"][..]),
            ("^NGINX: w", &["nginx: w"]),
            ("^(nginx|httpd): worker$", &["httpd: worker", "nginx: worker"]),
            ("^nginx: .*x", &["nginx: "]),
            ("nginx: worker", &[]),
            ("worker$", &[]),
            ("^.*worker", &[]),
            ("^(a|.)b", &[]),
            ("^$", &[]),
            ("(", &[]),
        ] {
            assert_eq!(beginnings(pattern), expected, "{pattern}");
        }
    }

    fn interest(pattern: &str, exe: &str, argv0: &str) -> Interest {
        let plugin = plugin(pattern);
        let titles = Titles::of(&[(GroupId(0), &plugin)]);
        let identity = Identity {
            exe: exe.into(),
            argv: vec![argv0.into()],
            ..Identity::default()
        };
        titles.interest(&identity, &[], false)
    }

    #[test]
    fn who_is_looked_at() {
        use Interest::{Always, None, Once};
        for (pattern, exe, expected) in [
            ("^nginx: worker", "nginx", Always),
            ("^nginx: worker", "NGINX", Always),
            ("^php-fpm: pool", "php-fpm8.2", Always),
            ("^sshd: ", "sshd-session", Always),
            ("^nginx$", "nginx", None),
            ("^nginx$", "bash", None),
            ("^nginx-proxy$", "nginx", None),
            ("^nginx$", "nginx-debug", None),
            ("^nginx .*x", "nginx", Always),
            ("^nginx: worker", "bash", Once),
            ("nginx", "nginx", None),
            ("nginx", "bash", Once),
            ("worker", "nginx", Once),
            ("^(.*)worker$", "nginx", Once),
            ("^s: worker", "sleep", Once),
            ("^/usr/sbin/nginx -g", "nginx", Always),
        ] {
            assert_eq!(interest(pattern, exe, exe), expected, "{pattern} {exe}");
        }
    }

    #[test]
    fn a_comm_may_be_a_beginning() {
        let plugin = plugin("^kvt-shop: worker");
        let titles = Titles::of(&[(GroupId(0), &plugin)]);
        for (comm, may) in [
            ("kvt-shop: worke", true),
            ("kvt-shop: maste", false),
            ("KVT-shop: worke", true),
            ("other", false),
            ("kvt-shop: worker 1", true),
        ] {
            assert_eq!(titles.may_begin_with(comm), may, "{comm}");
        }
    }
}
