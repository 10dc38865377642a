//! How much kevmon logs, under its own names and those of the Python framework.

use std::{fmt, str::FromStr};

/// The least severity that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed; Python's `CRITICAL` too.
    Error,
    /// What will not do what was asked; Python's `WARNING`.
    Warn,
    /// What a person would want to know.
    #[default]
    Info,
    /// What explains a surprise.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name that `tracing` knows it by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no log level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a log level; write off, error, warn, info, debug or trace (or CRITICAL, WARNING), and TARGET=LEVEL for \
     libraries, after commas"
)]
pub struct UnknownLogLevel(String);

impl UnknownLogLevel {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "error" | "critical" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(UnknownLogLevel(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sets_of_names() {
        for (text, level) in [
            ("DEBUG", "debug"),
            ("INFO", "info"),
            ("Warning", "warn"),
            ("ERROR", "error"),
            ("CRITICAL", "error"),
            ("trace", "trace"),
            ("warn", "warn"),
            ("off", "off"),
        ] {
            assert_eq!(text.parse::<LogLevel>().expect(text).as_str(), level);
        }
        assert!(
            "verbose"
                .parse::<LogLevel>()
                .expect_err("unknown")
                .to_string()
                .contains("\"verbose\"")
        );
    }
}
