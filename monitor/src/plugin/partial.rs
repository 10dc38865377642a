//! What a pattern says of a text of which only the beginning is known: yes, no, or that it depends on the rest.

use regex::Regex;
use regex_automata::{
    Anchored, MatchKind,
    hybrid::{
        LazyStateID,
        dfa::{Cache, DFA},
    },
    util::{start, syntax},
};

/// The answer of a pattern, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// The pattern does not match, whatever follows.
    No,
    /// Whether the pattern matches depends on what is not known.
    Open,
    /// The pattern matches, whatever follows.
    Yes,
}

impl Answer {
    /// The answer for a text that is known as a whole.
    pub(super) fn of(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

/// What comes after the known part, as far as a pattern can tell one such byte from another at its end: a letter, a blank,
/// the ends of a line. (A word or line boundary is all that a match may depend on behind itself.)
const NEXT: [u8; 4] = [b'x', b' ', b'\n', b'\r'];

/// The answer for texts that begin with `known`. The text goes through the pattern's automaton byte by byte: a match that
/// was found stays one, and a dead state is never left.
pub(super) fn answer(pattern: &Regex, known: &str) -> Answer {
    walk(pattern.as_str(), known).unwrap_or(Answer::Open)
}

/// `None` where the automaton cannot tell: it is too large, or the pattern has word boundaries and the text letters that are
/// not ASCII.
fn walk(pattern: &str, known: &str) -> Option<Answer> {
    // As patterns are compiled (config/pattern.rs).
    let dfa = DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::All)
                .unicode_word_boundary(true)
                .skip_cache_capacity_check(true),
        )
        .syntax(syntax::Config::new().case_insensitive(true))
        .build(pattern)
        .ok()?;
    let mut cache = dfa.create_cache();
    let mut state = dfa
        .start_state(&mut cache, &start::Config::new().anchored(Anchored::No))
        .ok()?;
    for &byte in known.as_bytes() {
        state = dfa.next_state(&mut cache, state, byte).ok()?;
        if state.is_match() {
            return Some(Answer::Yes);
        }
        if state.is_dead() {
            return Some(Answer::No);
        }
        if state.is_quit() {
            return None;
        }
    }
    // A match is told one byte late.
    Some(if matches_at_the_end(&dfa, &cache, state)? {
        Answer::Yes
    } else {
        Answer::Open
    })
}

/// Whether there is a match at the end of the known part, whatever stands behind it.
fn matches_at_the_end(dfa: &DFA, cache: &Cache, state: LazyStateID) -> Option<bool> {
    for byte in NEXT {
        let mut tried = cache.clone(); // where `state` stays what it is
        if !dfa.next_state(&mut tried, state, byte).ok()?.is_match() {
            return Some(false);
        }
    }
    Some(dfa.next_eoi_state(&mut cache.clone(), state).ok()?.is_match())
}

#[cfg(test)]
mod tests {
    use regex::RegexBuilder;

    use super::*;

    #[test]
    fn a_beginning_decides_or_leaves_it_open() {
        use Answer::{No, Open, Yes};
        for (pattern, known, expected) in [
            ("app", "an app", Yes),
            ("APP", "an app", Yes),
            ("app", "a p", Open),
            ("app", "", Open),
            ("^app", "app", Yes),
            ("^app", "ap", Open),
            ("^app", "a p", No),
            ("^app", "", Open),
            ("app$", "app", Open),
            ("app$", "app and", Open),
            ("^app$", "app", Open),
            ("^app$", "apps", No),
            (r"\bapp\b", "an app", Open),
            (r"\bapp\b", "an app ", Yes),
            (r"\bapp\b", "gr\u{fc}n app", Open),
            ("(?m)app$", "app", Open),
            ("(?m)app$", "app\nx", Yes),
            ("^java .*Main", "java -cp a:b:c", Open),
            ("^java .*Main", "java -cp a Main -x", Yes),
            ("^java .*Main", "/usr/bin/java -cp", No),
            ("^java .*Main$", "java Main", Open),
            ("^(a|b)c", "bd", No),
            ("^(a|b)c", "b", Open),
            ("^.{3}x", "abcd", No),
            ("^.{3}x", "abcx", Yes),
            ("a*", "", Yes),
            ("gr\u{dc}n", "gr\u{fc}n", Yes),
        ] {
            let compiled = RegexBuilder::new(pattern).case_insensitive(true).build().unwrap();
            assert_eq!(answer(&compiled, known), expected, "{pattern} {known:?}");
        }
    }

    /// Whatever follows: each answer against texts that begin with what is known.
    #[test]
    fn no_answer_is_wrong_whatever_follows() {
        let patterns = [
            "ab", "^ab", "b$", "^a.b$", "a+b", r"\bb", r"b\b", "(ab|ba)$", "^[^b]+$", "(?m)^b", "", "^$",
        ];
        let pieces = ["", "a", "b", " ", "ab", "\n", "ba b"];
        let mut decided = 0;
        for pattern in patterns {
            let compiled = RegexBuilder::new(pattern).case_insensitive(true).build().unwrap();
            for known in pieces
                .iter()
                .flat_map(|one| pieces.map(|two| format!("{one}{two}")))
            {
                let told = answer(&compiled, &known);
                let texts = pieces
                    .iter()
                    .flat_map(|one| pieces.map(|two| format!("{known}{one}{two}")));
                for text in texts {
                    let matches = compiled.is_match(&text);
                    assert!(
                        told == Answer::Open || told == Answer::of(matches),
                        "{pattern}: {told:?} of {known:?}, and {matches} of {text:?}"
                    );
                }
                decided += usize::from(told != Answer::Open);
            }
        }
        assert!(decided > 200, "{decided}");
    }
}
