//! A setting together with what gave it: which source outranks which, and where a message about it points.

use std::path::PathBuf;

use super::finding::Finding;

/// What can give a setting, from the lowest to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Nothing: it is built in.
    Default,
    /// A legacy plugin file's `default_agent_*`.
    Legacy,
    /// The Python framework's variables.
    Instana,
    /// OpenTelemetry's variables.
    Environment,
    /// kevmon's own files.
    File,
    /// The command line.
    Flag,
}

/// What gave a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody.
    Default,
    /// A legacy plugin file.
    Legacy(PathBuf),
    /// A variable.
    Variable(String),
    /// A key of a native file.
    File { path: PathBuf, line: usize, key: String },
    /// A flag.
    Flag(&'static str),
}

impl Origin {
    pub(crate) fn variable(name: &str) -> Self {
        Self::Variable(name.to_owned())
    }

    /// Something to say about the setting.
    pub(crate) fn finding(&self, message: impl Into<String>) -> Finding {
        match self {
            Self::Default => Finding::in_flag(None, message),
            Self::Legacy(path) => Finding::in_file(path, None, message).key("otel_config.default_agent_host"),
            Self::Variable(name) => Finding::in_variable(name, message),
            Self::File { path, line, key } => Finding::in_file(path, Some(*line), message).key(key),
            Self::Flag(flag) => Finding::in_flag(Some(flag), message),
        }
    }

    /// As [`Self::finding`], of "what is wrong; what to do".
    pub(crate) fn fault(&self, error: &str) -> Finding {
        super::finding::split(self.finding(""), error)
    }

    /// The setting's name in a message about another one.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Legacy(_) => "plugin.toml".to_owned(),
            Self::Variable(name) => name.clone(),
            Self::File { path, key, .. } => format!("{key} in {}", path.display()),
            Self::Flag(flag) => (*flag).to_owned(),
        }
    }

    pub(crate) fn rank(&self) -> Rank {
        match self {
            Self::Default => Rank::Default,
            Self::Legacy(_) => Rank::Legacy,
            Self::Variable(name) if name.starts_with("INSTANA_") => Rank::Instana,
            Self::Variable(_) => Rank::Environment,
            Self::File { .. } => Rank::File,
            Self::Flag(_) => Rank::Flag,
        }
    }
}

/// A setting and what gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Given<T> {
    pub(crate) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(crate) fn by_flag(value: T, flag: &'static str) -> Self {
        Self::new(value, Origin::Flag(flag))
    }
}
