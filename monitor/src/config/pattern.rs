//! Process-name patterns: how a regular expression from a file, a variable or a flag is compiled.

use regex::{Regex, RegexBuilder};

/// What a compiled pattern may weigh, in bytes; a pattern of a few words needs some kilobytes, and
/// nested repetitions (`(a{1000}){1000}`) would take gigabytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Why a pattern cannot be used, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// It would match every process.
    #[error("the pattern is empty and would match every process")]
    Empty,
    /// The `regex` crate refuses it, in its own words.
    #[error("{pattern} is not a valid regular expression: {reason}")]
    Invalid {
        /// In quotes.
        pattern: String,
        /// The crate's message.
        reason: String,
    },
}

/// Compiles `pattern`: case-insensitive, unanchored, bounded in size.
///
/// # Errors
/// When it is empty, no regular expression, or too large.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.trim().is_empty() {
        return Err(PatternError::Empty);
    }
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("it compiles to more than {limit} bytes; repeat less")
                }
                // A syntax error is a drawing of several lines; the last one says what is wrong.
                other => {
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    last.strip_prefix("error: ").unwrap_or(last).to_owned()
                }
            };
            PatternError::Invalid {
                pattern: super::finding::quoted(pattern),
                reason,
            }
        })
}

/// Adds `pattern` unless the same is there already; case makes no difference where it has no meaning
/// of its own (`\d` is not `\D`).
pub(crate) fn push_new(patterns: &mut Vec<Regex>, pattern: Regex) {
    let same = |held: &Regex| {
        held.as_str() == pattern.as_str()
            || (caseless(held.as_str())
                && caseless(pattern.as_str())
                && held.as_str().to_lowercase() == pattern.as_str().to_lowercase())
    };
    if !patterns.iter().any(same) {
        patterns.push(pattern);
    }
}

fn caseless(pattern: &str) -> bool {
    !pattern.contains(['\\', '[']) && !pattern.contains("(?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_matching() {
        for (pattern, name, matches) in [
            ("MyApp", "myapp", true),
            ("MyApp", "MYAPP", true),
            ("MyApp", "MyAppServer", true),
            ("^MyApp$", "MyAppServer", false),
            ("^MyApp$", "myapp", true),
        ] {
            assert_eq!(
                compile(pattern).expect(pattern).is_match(name),
                matches,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn refusals_are_one_line() {
        for (pattern, message) in [
            ("", "the pattern is empty"),
            ("  ", "the pattern is empty"),
            (
                "(web",
                "\"(web\" is not a valid regular expression: unclosed group",
            ),
            ("[a", "unclosed character class"),
            ("*", "repetition operator missing expression"),
            ("(a{1000}){1000}", "it compiles to more than 1048576 bytes"),
        ] {
            let error = compile(pattern).expect_err(pattern).to_string();
            assert!(
                error.contains(message) && !error.contains('\n'),
                "{pattern}: {error}"
            );
        }
    }

    #[test]
    fn the_same_pattern_is_kept_once() {
        let mut patterns = Vec::new();
        for pattern in ["M8RefSvr", "m8refsvr", r"\d+", r"\D+", r"\d+", "[A-z]", "[a-z]"] {
            push_new(&mut patterns, compile(pattern).expect(pattern));
        }
        let kept: Vec<&str> = patterns.iter().map(Regex::as_str).collect();
        assert_eq!(kept, ["M8RefSvr", r"\d+", r"\D+", "[A-z]", "[a-z]"]);
    }
}
