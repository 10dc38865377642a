//! What configuration has to tell a person: one fault or warning, with the place it was found at, so
//! that every message has the same shape whoever makes it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::shown::printable;

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file or folder; the line counts from 1, absent where the whole file is meant.
    File {
        /// As it was found: the search folder joined with the rest.
        path: PathBuf,
        /// 1-based.
        line: Option<usize>,
    },
    /// In an environment variable (its name is the finding's key).
    Environment,
    /// On the command line (the flag is the finding's key).
    CommandLine,
}

/// One fault or warning. Its `Display` is one line: `place: key: message; remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// The dotted key, the variable or the flag.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Only who keeps the file needs to know: nothing that kevmon does is other than it reads.
    pub harmless: bool,
}

/// A finding that keeps what it is about from being used.
pub type Fault = Finding;

/// A finding that changes nothing but should be known.
pub type Warning = Finding;

impl Finding {
    /// Something about the file `path` (at `line`, from 1).
    pub fn in_file(path: &Path, line: Option<usize>, message: impl Into<String>) -> Self {
        Self::at(
            Place::File {
                path: path.to_owned(),
                line,
            },
            None,
            message.into(),
        )
    }

    /// Something about the environment variable `name`.
    pub fn in_variable(name: &str, message: impl Into<String>) -> Self {
        Self::at(Place::Environment, Some(name), message.into())
    }

    /// Something about `flag`; `None` for the command line as a whole.
    pub fn in_flag(flag: Option<&str>, message: impl Into<String>) -> Self {
        Self::at(Place::CommandLine, flag, message.into())
    }

    fn at(place: Place, key: Option<&str>, message: String) -> Self {
        Self {
            place,
            key: key.map(str::to_owned),
            message,
            remedy: None,
            harmless: false,
        }
    }

    /// Names the key it is about.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Marks it as of interest to who keeps the file alone.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// The file it is about, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::Environment | Place::CommandLine => None,
        }
    }

    /// The flag or variable that it is about, where it is about one.
    pub fn usage(&self) -> Option<&str> {
        match &self.place {
            Place::File { .. } => None,
            Place::Environment | Place::CommandLine => self.key.as_deref(),
        }
    }

    /// The line it is about, counted from 1.
    pub fn line(&self) -> Option<usize> {
        match self.place {
            Place::File { line, .. } => line,
            Place::Environment | Place::CommandLine => None,
        }
    }

    /// Whether whoever started kevmon made it (a flag, the environment) rather than a plugin file's
    /// author. A daemon runs on without a faulty file, and never with faulty usage.
    pub fn is_usage(&self) -> bool {
        !matches!(self.place, Place::File { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { path, line } => {
                write!(f, "{}", printable(&path.to_string_lossy()))?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
            }
            Place::Environment => f.write_str("environment")?,
            Place::CommandLine => f.write_str("command line")?,
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", printable(key))?;
        }
        write!(f, ": {}", printable(&self.message))?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {}", printable(remedy))?;
        }
        Ok(())
    }
}

/// Puts `error`, "what is wrong; what to do", into `finding`.
pub(crate) fn split(mut finding: Finding, error: &str) -> Finding {
    match error.split_once("; ") {
        Some((message, remedy)) => {
            finding.message = message.to_owned();
            finding.remedy(remedy)
        }
        None => {
            finding.message = error.to_owned();
            finding
        }
    }
}

/// `text` in quotes, cut to a length that a log line can bear.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
    }
}

/// The one of `known` that `name` was most likely meant to be, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    // A word may differ in a third of its letters; more is a different word.
    let most = (name.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        // The distance of two words takes the product of their lengths in memory, and is no less than the difference.
        .filter(|candidate| candidate.chars().count().abs_diff(name.chars().count()) <= most)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let file = Finding::in_file(Path::new("p/x\n/plugin.toml"), Some(7), "unknown key")
            .key("monitoring.\u{1b}[1m")
            .remedy("did you mean \"interval\"?");
        assert_eq!(
            file.to_string(),
            "p/x\\n/plugin.toml:7: monitoring.\\u{1b}[1m: unknown key; did you mean \"interval\"?"
        );
        assert_eq!(
            Finding::in_variable("USE_TLS", "no").to_string(),
            "environment: USE_TLS: no"
        );
        assert_eq!(Finding::in_flag(None, "no").to_string(), "command line: no");
        assert!(!file.is_usage() && Finding::in_flag(Some("--plugin"), "no").is_usage());
    }

    #[test]
    fn what_is_found_does_nothing_to_a_terminal() {
        let all: String = crate::shown::tests::all().collect();
        let finding = Finding::in_file(Path::new(&all), Some(7), all.clone());
        let line = finding.key(all.clone()).remedy(all).to_string();
        assert!(!line.chars().any(crate::shown::is_unsafe), "{line}");
    }

    #[test]
    fn near_names() {
        for (given, known, want) in [
            ("intervall", ["interval", "enabled"], Some("interval")),
            ("Interval", ["interval", "enabled"], Some("interval")),
            ("enbaled", ["interval", "enabled"], Some("enabled")),
            ("colour", ["interval", "enabled"], None),
            ("", ["interval", "enabled"], None),
            (&"x".repeat(1 << 20), ["interval", "enabled"], None),
        ] {
            assert_eq!(nearest(given, known), want, "{given}");
        }
    }
}
