//! A validated plugin: what one OTLP service watches and how it wants its numbers. Everything here
//! has passed configuration's checks, so the rest of kevmon never meets a bad pattern or interval.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use regex::Regex;

use super::service::ServiceName;

/// Interval of a plugin that names none (the original framework's standard frequency).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// How long after a root's end a new root still counts as its replacement.
pub const DEFAULT_RESTART_WINDOW: Duration = Duration::from_secs(300);

/// A process that ends this soon after its start, and not with exit code 0, is a failed start.
pub const DEFAULT_FAILED_START: Duration = Duration::from_secs(1);

/// What of a process a plugin's patterns are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// Each of its names: executable, `argv[0]`, script, `comm`.
    #[default]
    Name,
    /// The executable's base name alone.
    Exe,
    /// The argument vector, joined by spaces.
    Cmdline,
}

/// Which metric names a plugin exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// The names, instruments and units of the original Instana framework.
    #[default]
    Instana,
    /// OpenTelemetry's `process.*` semantic conventions.
    Otel,
    /// Both of the above.
    Both,
}

/// Which members a group's usage and gauges are taken over. Starts, ends and the like count for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregate {
    /// Every member.
    #[default]
    All,
    /// Only members whose parent is not a member (the original framework's view).
    Roots,
}

/// Which processes of a group get series of their own, when they are more than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rank {
    /// Those that used the most CPU time since the last collection.
    #[default]
    Cpu,
    /// Those with the largest resident set.
    Memory,
}

/// Series of single processes, beside the group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerProcess {
    /// Processes at most; the rest are counted as left out.
    pub most: usize,
    /// Which go first.
    pub rank: Rank,
}

/// A group's number: the position of its plugin among those of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// One service to watch.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Unique among the plugins of one run.
    pub name: String,
    /// Free text from the file; empty where it gave none.
    pub description: String,
    /// The service its metrics are reported as.
    pub service: ServiceName,
    /// Case-insensitive and unanchored unless they say otherwise; one match is enough. Never empty.
    pub patterns: Vec<Regex>,
    /// What the patterns are tried on.
    pub matching: Matching,
    /// Time between two collections.
    pub interval: Duration,
    /// Metric names to export.
    pub naming: Naming,
    /// Members that gauges are taken over.
    pub aggregate: Aggregate,
    /// Put `<service id>.` before every metric name.
    pub prefix: bool,
    /// See [`DEFAULT_RESTART_WINDOW`].
    pub restart_window: Duration,
    /// See [`DEFAULT_FAILED_START`]; zero: none is.
    pub failed_start: Duration,
    /// Export lifecycle events as log records.
    pub events: bool,
    /// Series of its single processes; `None`: the group's alone.
    pub per_process: Option<PerProcess>,
    /// Names of the receivers that it goes to; empty: the default one.
    pub receivers: Vec<String>,
    /// Extra resource attributes.
    pub attributes: BTreeMap<String, String>,
    /// The `service.instance.id` that the store keeps for it; `None` where none is kept.
    pub instance_id: Option<String>,
    /// The file it was read from; `None` for one made by `--process-name`.
    pub origin: Option<PathBuf>,
}
