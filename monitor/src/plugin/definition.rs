//! A validated plugin: what one OTLP service watches and how it wants its numbers. Everything here
//! has passed configuration's checks, so the rest of kevmon never meets a bad pattern or interval.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use regex::Regex;

use super::{
    collector::{CollectorSpec, Transform},
    service::ServiceName,
};
use crate::process::Identity;

/// Interval of a plugin that names none (the original framework's standard frequency).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Interval of a plugin in detailed mode that names none.
pub const DETAILED_INTERVAL: Duration = Duration::from_secs(15);

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
    /// Those that use the most CPU time: a mean over the last collections.
    #[default]
    Cpu,
    /// Those with the largest resident sets: a mean over the last collections.
    Memory,
}

/// Series of single processes, beside the group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerProcess {
    /// Processes at most; the rest are counted as left out.
    pub most: usize,
    /// What decides which processes get series.
    pub rank: Rank,
    /// Tell the path of each one's executable.
    pub paths: bool,
}

/// What the detailed mode measures beyond the standard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// Time between two samples.
    pub sample_interval: Duration,
    /// Read `smaps_rollup` at each collection.
    pub memory: bool,
}

impl Default for Detail {
    fn default() -> Self {
        Self {
            sample_interval: Duration::from_millis(100),
            memory: true,
        }
    }
}

/// A user that a process may run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As the file names it: a name, or a number.
    pub written: String,
    /// Its number; `None` while the host knows no user of this name, which matches nothing then.
    pub uid: Option<u32>,
}

/// What a process has to be besides its name. Of each list one has to fit; an empty list asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// Patterns, tried as the plugin's are: what matches one is no member.
    pub exclude: Vec<Regex>,
    /// Effective users.
    pub users: Vec<User>,
    /// Patterns for the path of its cgroup, such as `^/system\.slice/`.
    pub cgroups: Vec<Regex>,
    /// Patterns for the name of its systemd unit, such as `^nginx\.service$`.
    pub units: Vec<Regex>,
    /// Patterns for the id of its container: 64 hexadecimal digits.
    pub containers: Vec<Regex>,
}

/// Which of its metrics a plugin exports: patterns for their names, with `*` for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricFilter {
    /// Names to export; empty: all.
    pub include: Vec<String>,
    /// Names to leave out, of those that are included.
    pub exclude: Vec<String>,
}

impl MetricFilter {
    /// Whether the metric of this name passes.
    pub fn lets(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| is_like(name, pattern));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            match rest.find(before) {
                Some(at) => rest = &rest[at + before.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

/// A group's number. Never given twice in one run: a plugin whose match changes gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// The plugins of a run, by group.
pub type Plugins = BTreeMap<GroupId, Arc<Plugin>>;

/// One service to watch.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Unique among the plugins of one run, together with `instance`.
    pub name: String,
    /// Tells instances of one plugin apart; `None` where it has but one.
    pub instance: Option<String>,
    /// Free text from the file; empty where it gave none.
    pub description: String,
    /// The service its metrics are reported as.
    pub service: ServiceName,
    /// Case-insensitive and unanchored unless they say otherwise; one match is enough. Empty only where there are
    /// collectors: such a plugin watches no process.
    pub patterns: Vec<Regex>,
    /// What a process has to be besides its name.
    pub selectors: Selectors,
    /// Whatever descends from a member is one, too, under whatever name.
    pub children: bool,
    /// What the patterns are tried on.
    pub matching: Matching,
    /// Time between two collections.
    pub interval: Duration,
    /// The detailed mode; `None`: the standard one.
    pub detail: Option<Detail>,
    /// Metric names to export.
    pub naming: Naming,
    /// Members that usage and gauges are taken over.
    pub aggregate: Aggregate,
    /// Put `<service id>.` before every metric name.
    pub prefix: bool,
    /// How long after a root's end a new root replaces it; zero: no restarts are counted. Default:
    /// [`DEFAULT_RESTART_WINDOW`].
    pub restart_window: Duration,
    /// A process that ends so soon after its start, other than with exit code 0, is a failed start; zero: none is.
    /// Default: [`DEFAULT_FAILED_START`].
    pub failed_start: Duration,
    /// Export lifecycle events as log records.
    pub events: bool,
    /// Series of its single processes; `None`: the group's alone.
    pub per_process: Option<PerProcess>,
    /// Names of the receivers that it goes to; empty: the default one.
    pub receivers: Vec<String>,
    /// A group without processes for so long is not exported until one comes; `None`: it is.
    pub forget_after: Option<Duration>,
    /// Names of the metrics to export.
    pub metrics: MetricFilter,
    /// Arguments of command lines that may be exported, such as `--config`; empty: none.
    pub arguments: Vec<String>,
    /// Resource attributes in addition to kevmon's own.
    pub attributes: BTreeMap<String, String>,
    /// Extra attributes made from facts of the members: `{user}`, `{unit}`, `{container.id}`, `{k8s.pod.uid}`,
    /// `{pid_namespace}`.
    pub templates: BTreeMap<String, String>,
    /// Collectors, which bring values of their own.
    pub collectors: Vec<CollectorSpec>,
    /// Rates to make of collectors' counters.
    pub transforms: Vec<Transform>,
    /// Values of `{settings.NAME}` by name, which collectors get as `KEVMON_SETTING_NAME`.
    pub settings: BTreeMap<String, String>,
    /// The `service.instance.id` that the store keeps for it; `None` where none is kept.
    pub instance_id: Option<String>,
    /// The file it was read from; `None` for one made by `--process-name`.
    pub origin: Option<PathBuf>,
}

impl Plugin {
    /// The name under which a member is listed: the one to show where the patterns match it, or else the first of its
    /// names that they match. A member by descent, or by its command line, is listed under the one to show.
    pub fn name_of<'a>(&self, identity: &'a Identity) -> &'a str {
        let shown = identity.name();
        let matches = |name: &str| self.patterns.iter().any(|pattern| pattern.is_match(name));
        match self.matching {
            Matching::Name if !matches(shown) => identity.names().find(|name| matches(name)).unwrap_or(shown),
            Matching::Exe if !matches(shown) && matches(&identity.exe) => &identity.exe,
            _ => shown,
        }
    }

    /// A plugin that asks for nothing but `patterns`; everything else has its default.
    pub fn new(name: impl Into<String>, service: ServiceName, patterns: Vec<Regex>) -> Self {
        Self {
            name: name.into(),
            instance: None,
            description: String::new(),
            service,
            patterns,
            selectors: Selectors::default(),
            children: false,
            matching: Matching::default(),
            interval: DEFAULT_INTERVAL,
            detail: None,
            naming: Naming::default(),
            aggregate: Aggregate::default(),
            prefix: false,
            restart_window: DEFAULT_RESTART_WINDOW,
            failed_start: DEFAULT_FAILED_START,
            events: false,
            per_process: None,
            receivers: Vec::new(),
            forget_after: None,
            metrics: MetricFilter::default(),
            arguments: Vec::new(),
            attributes: BTreeMap::new(),
            templates: BTreeMap::new(),
            collectors: Vec::new(),
            transforms: Vec::new(),
            settings: BTreeMap::new(),
            instance_id: None,
            origin: None,
        }
    }

    /// The value of `service.name` that this plugin exports.
    pub fn service_name(&self) -> String {
        self.service.sent(self.naming)
    }

    /// Its name, with its instance where it has one: `redis(cache)`.
    pub fn label(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}({instance})", self.name),
            None => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_metrics_pass() {
        let filter = |include: &[&str], exclude: &[&str]| MetricFilter {
            include: include.iter().map(|&name| name.to_owned()).collect(),
            exclude: exclude.iter().map(|&name| name.to_owned()).collect(),
        };
        for (include, exclude, name, passes) in [
            (&[][..], &[][..], "cpu_usage", true),
            (&["cpu_*"], &[], "cpu_usage", true),
            (&["cpu_*"], &[], "memory_usage", false),
            (&["*_usage"], &["cpu_*"], "cpu_usage", false),
            (&["*_usage"], &["cpu_*"], "memory_usage", true),
            (&["*a*b*c"], &[], "xaxbxc", true),
            (&["*a*b*c"], &[], "xaxc", false),
            (&["ab*ba"], &[], "aba", false),
            (&["ab"], &[], "abc", false),
            (&["*"], &["abc"], "abc", false),
            (&["a**c"], &[], "abc", true),
        ] {
            assert_eq!(
                filter(include, exclude).lets(name),
                passes,
                "{include:?} {exclude:?} {name}"
            );
        }
    }
}
