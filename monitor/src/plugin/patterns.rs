//! Many patterns at once: one search finds the literals that they cannot do without, and only what came near is tried.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use aho_corasick::AhoCorasick;
pub use aho_corasick::BuildError;
use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

use super::{
    GroupId, Matching, Plugin,
    partial::{self, Answer},
};

/// The patterns of some plugins, combined: one search for the literals that they cannot do without says which are worth
/// a try. Ten thousand patterns cost little more than the few that come near (docs/performance.md has figures).
#[derive(Debug)]
pub(super) struct Patterns {
    /// All of them, with their groups.
    all: Vec<(GroupId, Regex)>,
    /// Finds literals, in any case; `None` without any.
    literals: Option<AhoCorasick>,
    /// The patterns that need each literal.
    needed_by: Vec<Vec<usize>>,
    /// Patterns that need none.
    others: Vec<usize>,
}

impl Patterns {
    /// The patterns of the plugins that match by `matching`.
    ///
    /// # Errors
    /// The literals are too large together.
    pub(super) fn of(plugins: &[(GroupId, &Plugin)], matching: Matching) -> Result<Self, BuildError> {
        let all: Vec<(GroupId, Regex)> = plugins
            .iter()
            .filter(|(_, plugin)| plugin.matching == matching)
            .flat_map(|(group, plugin)| plugin.patterns.iter().map(|pattern| (*group, pattern.clone())))
            .collect();
        let mut by_literal: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut others = Vec::new();
        for (index, (_, pattern)) in all.iter().enumerate() {
            match literal(pattern.as_str()) {
                Some(literal) => by_literal.entry(literal).or_default().push(index),
                None => others.push(index),
            }
        }
        let literals = (!by_literal.is_empty())
            .then(|| {
                AhoCorasick::builder()
                    .ascii_case_insensitive(true)
                    .build(by_literal.keys())
            })
            .transpose()?;
        Ok(Self {
            all,
            literals,
            needed_by: by_literal.into_values().collect(),
            others,
        })
    }

    /// Whether there is no pattern.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds the group of each pattern that matches; one may come more than once.
    pub(super) fn try_on(&self, text: &str, groups: &mut Vec<GroupId>) {
        self.each_match(text, |group| {
            groups.push(group);
            true
        });
    }

    /// Adds the group of each pattern that matches a text of which only the beginning is known, whatever follows. `open`
    /// gets the groups of the patterns that depend on the rest.
    pub(super) fn try_on_beginning(&self, known: &str, groups: &mut Vec<GroupId>, open: &mut Vec<GroupId>) {
        for (group, pattern) in &self.all {
            match partial::answer(pattern, known) {
                Answer::Yes => groups.push(*group),
                Answer::Open => open.push(*group),
                Answer::No => {}
            }
        }
    }

    /// The groups of all patterns; one may come more than once.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.all.iter().map(|(group, _)| *group)
    }

    /// Whether some pattern matches `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let mut found = false;
        self.each_match(text, |_| {
            found = true;
            false
        });
        found
    }

    /// Hands over the group of each pattern that matches, until `more` says that it is enough.
    fn each_match(&self, text: &str, mut more: impl FnMut(GroupId) -> bool) {
        let folded = folded(text);
        let near = self
            .literals
            .iter()
            .flat_map(|literals| literals.find_overlapping_iter(&*folded));
        // A literal may occur more than once.
        let mut seen = BTreeSet::new();
        let near = near
            .map(|found| found.pattern().as_usize())
            .filter(move |found| seen.insert(*found));
        let near = near.flat_map(|found| &self.needed_by[found]);
        for &index in near.chain(&self.others) {
            let (group, pattern) = &self.all[index];
            if pattern.is_match(text) && !more(*group) {
                return;
            }
        }
    }
}

/// A text in which whatever equals an ASCII letter but for case is such a letter. Beside those of ASCII itself these are
/// U+017F and U+212A alone (Unicode, CaseFolding.txt).
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other,
        })
        .collect()
}

/// The longest piece of ASCII, in lower case, that every match of `pattern` holds; `None` where there is no such piece.
fn literal(pattern: &str) -> Option<String> {
    // Letters are folded before classes are intersected or subtracted, and not the other way round.
    if ["&&", "--", "~~"]
        .iter()
        .any(|operation| pattern.contains(operation))
    {
        return None;
    }
    // Without regard to case the letters of a literal are letters, not classes of two.
    let hir = regex_syntax::ParserBuilder::new().build().parse(pattern).ok()?;
    needed(&hir)
}

fn needed(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            // A piece between characters that may be others in another case.
            let pieces = text.split(|c: char| !c.is_ascii());
            let longest = pieces.max_by_key(|piece| piece.len())?;
            (!longest.is_empty()).then(|| longest.to_ascii_lowercase())
        }
        HirKind::Capture(capture) => needed(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needed(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(needed).max_by_key(String::len),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_cannot_do_without() {
        for (pattern, expected) in [
            ("MyApp", Some("myapp")),
            ("^nginx$", Some("nginx")),
            ("^(web|db)$", None),
            ("^web(-[0-9]+)?$", Some("web")),
            ("a(bcd)+e", Some("bcd")),
            ("a(bcd)*e", Some("e")),
            ("x{2}y?", Some("x")),
            ("^gr\u{fc}n-dienst$", Some("n-dienst")),
            ("[a-z]+", None),
            ("", None),
            ("a.c", Some("c")),
        ] {
            assert_eq!(literal(pattern).as_deref(), expected, "{pattern}");
        }
    }
}
