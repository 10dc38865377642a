//! What is logged: one level for kevmon, and levels for single targets, which are modules of kevmon or of its libraries.

use std::{fmt, str::FromStr};

use super::log_level::{LogLevel, UnknownLogLevel};

/// What libraries may say without being asked.
const LIBRARIES: LogLevel = LogLevel::Warn;

/// Libraries that warn of each frame or header of a peer's that they do not like. A peer must not fill the log; what comes of it
/// kevmon says itself.
const ABOUT_PEERS: [&str; 4] = ["h2", "hyper", "rustls", "tonic"];

/// The least severity that is logged, of kevmon and of single targets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// kevmon's own.
    level: LogLevel,
    /// Of modules, and what is below them: `kevmon::kernel`, `hyper`, `rustls`.
    targets: Vec<(String, LogLevel)>,
}

impl From<LogLevel> for LogFilter {
    fn from(level: LogLevel) -> Self {
        Self {
            level,
            targets: Vec::new(),
        }
    }
}

impl LogFilter {
    /// The same in the words of `tracing`. Libraries stay at warnings, and at less where kevmon does.
    pub fn directives(&self) -> String {
        let libraries = match self.level {
            LogLevel::Off | LogLevel::Error => self.level,
            _ => LIBRARIES,
        };
        let mut text = format!("{libraries},kevmon={}", self.level);
        if libraries == LIBRARIES {
            for library in ABOUT_PEERS {
                text.push_str(&format!(",{library}=error"));
            }
        }
        for (target, level) in &self.targets {
            text.push_str(&format!(",{target}={level}"));
        }
        text
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.targets
            .iter()
            .try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

impl FromStr for LogFilter {
    type Err = UnknownLogLevel;

    /// Reads `debug`, `debug,hyper=info` or `kevmon::kernel=trace`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut level = None;
        let mut targets = Vec::new();
        for part in text.split(',') {
            match part.split_once('=') {
                None if level.is_none() => level = Some(part.parse()?),
                None => return Err(UnknownLogLevel::of(text)),
                Some((target, level)) => {
                    let target = target.trim();
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                    if target.is_empty() || !target.chars().all(plain) {
                        return Err(UnknownLogLevel::of(part));
                    }
                    targets.push((target.to_owned(), level.parse()?));
                }
            }
        }
        Ok(Self {
            level: level.unwrap_or_default(),
            targets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_asked_for() {
        for (text, directives) in [
            ("info", "warn,kevmon=info{quiet}"),
            ("DEBUG", "warn,kevmon=debug{quiet}"),
            ("trace", "warn,kevmon=trace{quiet}"),
            ("CRITICAL", "error,kevmon=error"),
            ("off", "off,kevmon=off"),
            ("debug,hyper=trace", "warn,kevmon=debug{quiet},hyper=trace"),
            (" warning , h2 = info ", "warn,kevmon=warn{quiet},h2=info"),
            (
                "kevmon::kernel=trace",
                "warn,kevmon=info{quiet},kevmon::kernel=trace",
            ),
            ("rustls=debug,debug", "warn,kevmon=debug{quiet},rustls=debug"),
        ] {
            let filter: LogFilter = text.parse().expect(text);
            let quiet = ",h2=error,hyper=error,rustls=error,tonic=error";
            assert_eq!(
                filter.directives(),
                directives.replace("{quiet}", quiet),
                "{text}"
            );
            assert_eq!(filter.to_string().parse::<LogFilter>().expect(text), filter);
        }
        for text in [
            "",
            "verbose",
            "debug,info",
            "hyper=",
            "=debug",
            "hyper=loud",
            "a b=info",
            "debug,",
            "x[y]=info",
        ] {
            let error = text.parse::<LogFilter>().expect_err(text).to_string();
            assert!(error.contains("TARGET=LEVEL"), "{text}: {error}");
        }
    }
}
