//! Process-name patterns: how a regular expression from a file, a variable or a flag is compiled.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::Look;

use crate::plugin::Matching;

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

/// Bytes that the kernel keeps of a name in `comm` (`TASK_COMM_LEN`, without its NUL).
const COMM_BYTES: usize = 15;

/// True when every match is a whole name of exactly 15 bytes, which looks like a `comm` that the kernel has cut: a
/// plugin written for a tool that sees no more of a name.
pub(crate) fn fits_cut_names_only(pattern: &str) -> bool {
    // As it is written, and not in any case: some letters have a longer form in another one (`k` in the Kelvin sign).
    let Ok(hir) = regex_syntax::Parser::new().parse(pattern) else {
        return false; // a fault of its own
    };
    let properties = hir.properties();
    properties.minimum_len() == Some(COMM_BYTES)
        && properties.maximum_len() == Some(COMM_BYTES)
        && properties.look_set_prefix().contains(Look::Start)
        && properties.look_set_suffix().contains(Look::End)
}

/// Says that `pattern` [`fits_cut_names_only`], and what to do about it. `None` where that tells nothing: a command
/// line is no name.
pub(crate) fn cut_name(pattern: &str, matching: Matching) -> Option<(String, &'static str)> {
    let pattern = super::finding::quoted(pattern);
    match matching {
        Matching::Name => Some((
            format!(
                "{pattern} matches names of exactly {COMM_BYTES} bytes alone, the length to which the kernel cuts \
                 names in comm"
            ),
            "write the full name, which matches too; if 15 bytes are the full name, all is well",
        )),
        Matching::Exe => Some((
            format!(
                "{pattern} matches names of exactly {COMM_BYTES} bytes alone, and match = \"exe\" looks at whole names: \
                 a name that the kernel cut to that length matches nothing"
            ),
            "write the executable's full name; if 15 bytes are the full name, all is well",
        )),
        Matching::Cmdline => None,
    }
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
    fn patterns_for_a_cut_name() {
        for (pattern, cut) in [
            ("^systemd-resolve$", true),
            ("^kworker-backend$", true),
            (r"\Asystemd-resolve\z", true),
            ("^(systemd-resolve|gnome-keyring-d)$", true),
            ("^systemd-resolve$|^gnome-keyring-d$", true),
            ("^systemd-.{7}$", false), // a dot may take four bytes
            ("^systemd-[a-z]{7}$", true),
            ("systemd-resolve", false),
            ("^systemd-resolve", false),
            ("systemd-resolve$", false),
            ("^systemd-resolved$", false),
            ("^systemd-resolv$", false),
            ("^systemd-resolved?$", false),
            ("^(systemd-resolve|nginx)$", false),
            ("^systemd-resolve$|nginx", false),
            ("(", false),
            ("", false),
        ] {
            assert_eq!(fits_cut_names_only(pattern), cut, "{pattern}");
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
