//! The keys of plugin files, in one table: type, default, bounds and effect. Reading, the "did you
//! mean" suggestions and `docs/plugins.md` all follow it, so they cannot disagree. The settings file has its own table
//! ([`super::settings_keys`]), read in the same way.

use std::ops::RangeInclusive;

pub use super::kind::Kind;
use super::{
    duration::{COLLECTOR_TIMEOUT_BOUNDS, FORGET_BOUNDS, INTERVAL_BOUNDS, SAMPLE_BOUNDS, WINDOW_BOUNDS},
    finding::quoted,
    scalar::ScalarType,
    settings_keys::SETTINGS_KEYS,
    value::check_endpoint_name,
};

/// Which of its layouts a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// kevmon's own: `schema = 1`, the guide's tables and kevmon's keys.
    Native,
    /// The one that the Instana framework's guide publishes: `[plugin]`.
    Guide,
    /// The one that the framework's repository uses: `[metadata]`.
    Repository,
    /// The daemon's settings: `kevmon.toml`.
    Settings,
}

/// What a key's value is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Announces the native schema.
    Version,
    /// The plugin's name.
    Name,
    /// The plugin's description.
    Description,
    /// `service.namespace`.
    Namespace,
    /// The process name: a pattern, and a part of the service's name.
    ProcessName,
    /// More patterns.
    Patterns,
    /// What of a process the patterns are tried on.
    Matching,
    /// Resource attributes.
    Attributes,
    /// Time between collections.
    Interval,
    /// Whether it runs at all.
    Enabled,
    /// Metric names.
    Naming,
    /// Members to aggregate.
    Aggregate,
    /// Service id before metric names.
    Prefix,
    /// Pairing of ends with starts.
    RestartWindow,
    /// Ends so soon after their start are failed starts.
    FailedStart,
    /// Lifecycle events as log records.
    Events,
    /// Where a plugin exports to.
    Endpoints,
    /// Series of single processes.
    PerProcess,
    /// How many of them.
    MostProcesses,
    /// Which go first.
    Rank,
    /// The service's name, as the user says.
    ServiceName,
    /// What the service's name is made from where nobody says.
    Template,
    /// Where to export to.
    AgentHost,
    /// Where to export to.
    AgentPort,
    /// A receiver's URL.
    Endpoint,
    /// Its transport.
    Protocol,
    /// How requests to it are compressed.
    Compression,
    /// How long a request to it may take.
    Timeout,
    /// What it is sent.
    Signals,
    /// How large a request to it may be.
    MaxRequest,
    /// Further headers.
    Headers,
    /// Certificates that vouch for it.
    Ca,
    /// The client's certificate.
    Certificate,
    /// The client's key.
    PrivateKey,
    /// Whether sums are cumulative.
    Temporality,
    /// Size of the spool.
    SpoolBytes,
    /// Age of the spool.
    SpoolAge,
    /// How long the kernel side watches without kevmon.
    KeepWatching,
    /// When dying threads tell totals.
    ExactEnds,
    /// Whether the flight recorder runs.
    Recorder,
    /// Whether it records groups in standard mode.
    RecorderStandard,
    /// How often.
    RecorderStep,
    /// How much it holds.
    RecorderBytes,
    /// How far it reaches back.
    RecorderAge,
    /// Whether there is telemetry of kevmon's own.
    Telemetry,
    /// How often.
    TelemetryInterval,
    /// Where OTLP/JSON lines go.
    OtlpJson,
    /// Whether there is a Prometheus endpoint.
    Prometheus,
    /// Where it listens.
    PrometheusListen,
    /// Whether its page shows when sums began.
    PrometheusCreated,
    /// The token that its readers have to send.
    PrometheusToken,
    /// The certificate that it shows.
    PrometheusCertificate,
    /// That certificate's key.
    PrometheusKey,
    /// Certificates that vouch for its readers.
    PrometheusClientCa,
    /// Further host names that it goes by.
    PrometheusHosts,
    /// Attributes of all resources.
    Resource,
    /// The account that collectors run as.
    CollectorUser,
    /// One of the keys of kevmon's own schema that [`super::native`] takes, by table and name.
    Own,
    /// Not for what watches: for the reader of the file (an author, a version), or for `kevmon plugin unit`.
    Remark,
    /// Meant something to the Python framework; kevmon says once that it does nothing here.
    NoEffect,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its table; empty at the top level.
    pub table: &'static str,
    /// Its name inside the table.
    pub name: &'static str,
    /// What its value has to look like.
    pub kind: Kind,
    /// What its value is used for.
    pub role: Role,
    /// What holds when it is absent, as the documentation puts it.
    pub default: &'static str,
    schemas: &'static [Schema],
}

impl Key {
    /// The dotted path: `monitoring.interval`.
    pub fn path(&self) -> String {
        path(self.table, self.name)
    }
}

/// The dotted path of `name` in `table` (empty: the top level).
pub(crate) fn path(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

pub(crate) const fn key(
    schemas: &'static [Schema],
    table: &'static str,
    name: &'static str,
    kind: Kind,
    role: Role,
    default: &'static str,
) -> Key {
    Key {
        table,
        name,
        kind,
        role,
        default,
        schemas,
    }
}

const OWN: &[Schema] = &[Schema::Native];
const GUIDE: &[Schema] = &[Schema::Native, Schema::Guide];
const REPO: &[Schema] = &[Schema::Repository];
const ALL: &[Schema] = &[Schema::Native, Schema::Guide, Schema::Repository];

const INTERVAL: Kind = Kind::Length(&INTERVAL_BOUNDS);
const WINDOW: Kind = Kind::Length(&WINDOW_BOUNDS);
const NAMINGS: Kind = Kind::Choice(&["instana", "otel", "both"]);
const AGGREGATES: Kind = Kind::Choice(&["all", "roots"]);
const MATCHINGS: Kind = Kind::Choice(&["name", "exe", "cmdline"]);
const RANKS: Kind = Kind::Choice(&["cpu", "memory"]);
const PROCESSES: Kind = Kind::Count(&MOST_PROCESSES_BOUNDS);
const MODES: Kind = Kind::Choice(&["standard", "detailed", "minimal"]);
const SAMPLES: Kind = Kind::Length(&SAMPLE_BOUNDS);
const FORGET: Kind = Kind::Length(&FORGET_BOUNDS);
const SCALARS: Kind = Kind::Choice(ScalarType::WORDS);
const KINDS: Kind = Kind::Choice(&["file", "command", "http", "builtin"]);
const FORMATS: Kind = Kind::Choice(&["text", "scalyr", "panoptes", "prometheus", "json"]);
const BUILT_INS: Kind = Kind::Choice(&["host_pressure"]);
const METRIC_KINDS: Kind = Kind::Choice(&["gauge", "counter"]);
const VALUES: Kind = Kind::Choice(&["int", "float"]);
const TIMEOUT: Kind = Kind::Length(&COLLECTOR_TIMEOUT_BOUNDS);
const TEMPLATE: &str = "`\"{service_namespace}.{process_name}\"`";

/// How many processes of a group may have series of their own.
pub(crate) const MOST_PROCESSES_BOUNDS: RangeInclusive<u64> = 1..=1000;

/// Every key of every schema of plugin files, one a line.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key(OWN, "", "schema", Kind::Version, Role::Version, "required"),
    key(GUIDE, "plugin", "name", Kind::Name, Role::Name, "the folder's name"),
    key(GUIDE, "plugin", "description", Kind::FreeText, Role::Description, "`\"\"`"),
    key(GUIDE, "plugin", "version", Kind::Anything, Role::Remark, "none"),
    key(GUIDE, "service", "namespace", Kind::Text, Role::Namespace, "`\"default\"`"),
    key(OWN, "service", "name", Kind::ServiceName, Role::ServiceName, "made of the template"),
    key(OWN, "service", "process_name", Kind::PatternOrPatterns, Role::ProcessName, "required"),
    key(&[Schema::Guide], "service", "process_name", Kind::Pattern, Role::ProcessName, "required"),
    key(OWN, "service", "match", MATCHINGS, Role::Matching, "`\"name\"`"),
    key(OWN, "service", "process_names", Kind::List, Role::Own, "none"),
    key(OWN, "service", "exclude", Kind::PatternOrPatterns, Role::Own, "none"),
    key(OWN, "service", "user", Kind::Users, Role::Own, "any"),
    key(OWN, "service", "cgroup", Kind::PatternOrPatterns, Role::Own, "any"),
    key(OWN, "service", "unit", Kind::PatternOrPatterns, Role::Own, "any"),
    key(OWN, "service", "container", Kind::PatternOrPatterns, Role::Own, "any"),
    key(OWN, "service", "children", Kind::Flag, Role::Own, "`false`"),
    key(OWN, "service", "attributes", Kind::Attributes, Role::Attributes, "`{}`"),
    key(GUIDE, "monitoring", "interval", INTERVAL, Role::Interval, "`60`"),
    key(GUIDE, "monitoring", "enabled", Kind::Flag, Role::Enabled, "`true`"),
    key(OWN, "monitoring", "disabled", Kind::Flag, Role::Own, "`false`"),
    key(OWN, "monitoring", "mode", MODES, Role::Own, "`\"standard\"`"),
    key(OWN, "monitoring", "sample_interval", SAMPLES, Role::Own, "`\"100ms\"`"),
    key(OWN, "monitoring", "memory_detail", Kind::Flag, Role::Own, "`true`"),
    key(OWN, "monitoring", "forget_after", FORGET, Role::Own, "never"),
    key(OWN, "monitoring", "resource_filter", Kind::ResourceFilter, Role::Own, "every host"),
    key(OWN, "monitoring", "naming", NAMINGS, Role::Naming, "`\"instana\"`"),
    key(OWN, "monitoring", "aggregate", AGGREGATES, Role::Aggregate, "`\"all\"`"),
    key(OWN, "monitoring", "prefix", Kind::Flag, Role::Prefix, "`false`"),
    key(OWN, "monitoring", "restart_window", WINDOW, Role::RestartWindow, "`\"5m\"`"),
    key(OWN, "monitoring", "failed_start", WINDOW, Role::FailedStart, "`\"1s\"`"),
    key(OWN, "events", "enabled", Kind::Flag, Role::Events, "`false`"),
    key(OWN, "export", "endpoints", Kind::Endpoints, Role::Endpoints, "`\"default\"`"),
    key(OWN, "processes", "enabled", Kind::Flag, Role::PerProcess, "`false`"),
    key(OWN, "processes", "max", PROCESSES, Role::MostProcesses, "`20`"),
    key(OWN, "processes", "by", RANKS, Role::Rank, "`\"cpu\"`"),
    key(OWN, "processes", "arguments", Kind::List, Role::Own, "`[]`"),
    key(OWN, "processes", "executable_path", Kind::Flag, Role::Own, "`false`"),
    key(OWN, "metrics", "include", Kind::Globs, Role::Own, "`[\"*\"]`"),
    key(OWN, "metrics", "exclude", Kind::Globs, Role::Own, "`[]`"),
    key(OWN, INSTANCE, "id", Kind::Name, Role::Own, "required"),
    key(OWN, INSTANCE, "name", Kind::ServiceName, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "process_name", Kind::PatternOrPatterns, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "enabled", Kind::Flag, Role::Own, "`true`"),
    key(OWN, INSTANCE, "interval", INTERVAL, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "mode", MODES, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "sample_interval", SAMPLES, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "attributes", Kind::Attributes, Role::Own, "`{}`"),
    key(OWN, INSTANCE, "exclude", Kind::PatternOrPatterns, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "user", Kind::Users, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "cgroup", Kind::PatternOrPatterns, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "unit", Kind::PatternOrPatterns, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "container", Kind::PatternOrPatterns, Role::Own, "the plugin's"),
    key(OWN, INSTANCE, "settings", Kind::Scalars, Role::Own, "`{}`"),
    key(OWN, SETTINGS, "type", SCALARS, Role::Own, "`\"string\"`"),
    key(OWN, SETTINGS, "description", Kind::FreeText, Role::Own, "`\"\"`"),
    key(OWN, SETTINGS, "default", Kind::Scalar, Role::Own, "none"),
    key(OWN, SETTINGS, "value", Kind::Scalar, Role::Own, "the default"),
    key(OWN, SETTINGS, "required", Kind::Flag, Role::Own, "`false`"),
    key(OWN, SETTINGS, "min", Kind::Scalar, Role::Own, "none"),
    key(OWN, SETTINGS, "max", Kind::Scalar, Role::Own, "none"),
    key(OWN, COLLECTOR, "name", Kind::Name, Role::Own, "required"),
    key(OWN, COLLECTOR, "kind", KINDS, Role::Own, "required"),
    key(OWN, COLLECTOR, "interval", INTERVAL, Role::Own, "the plugin's"),
    key(OWN, COLLECTOR, "timeout", TIMEOUT, Role::Own, "`\"10s\"`"),
    key(OWN, COLLECTOR, "stream", Kind::Flag, Role::Own, "`false`"),
    key(OWN, COLLECTOR, "silence", INTERVAL, Role::Own, "three of the plugin's intervals"),
    key(OWN, COLLECTOR, "path", Kind::Text, Role::Own, "required for `file`"),
    key(OWN, COLLECTOR, "command", Kind::List, Role::Own, "required for `command`"),
    key(OWN, COLLECTOR, "url", Kind::Text, Role::Own, "required for `http`"),
    key(OWN, COLLECTOR, "builtin", BUILT_INS, Role::Own, "required for `builtin`"),
    key(OWN, COLLECTOR, "format", FORMATS, Role::Own, "by kind"),
    key(OWN, COLLECTOR, "user", Kind::Text, Role::Own, "the service's"),
    key(OWN, COLLECTOR, "environment", Kind::Texts, Role::Own, "`{}`"),
    key(OWN, COLLECTOR, "hosts", Kind::List, Role::Own, "loopback"),
    key(OWN, COLLECTOR, "max_output", Kind::Bytes(&OUTPUT_BOUNDS), Role::Own, "`\"1MiB\"`"),
    key(OWN, COLLECTOR, "max_memory", Kind::Bytes(&MEMORY_BOUNDS), Role::Own, "`\"512MiB\"`"),
    key(OWN, COLLECTOR, "allow_network", Kind::Flag, Role::Own, "`false`"),
    key(OWN, COLLECTOR, "allow_unconfined", Kind::Flag, Role::Own, "`false`"),
    key(OWN, METRIC, "name", Kind::MetricName, Role::Own, "required"),
    key(OWN, METRIC, "unit", Kind::FreeText, Role::Own, "`\"\"`"),
    key(OWN, METRIC, "description", Kind::FreeText, Role::Own, "`\"\"`"),
    key(OWN, METRIC, "type", METRIC_KINDS, Role::Own, "as the format says, else `\"gauge\"`"),
    key(OWN, METRIC, "value", VALUES, Role::Own, "as it is written"),
    key(OWN, METRIC, "from", Kind::Text, Role::Own, "its own name"),
    key(OWN, METRIC, "key", Kind::Text, Role::Own, "none"),
    key(OWN, METRIC, "regex", Kind::ValueRegex, Role::Own, "none"),
    key(OWN, METRIC, "pointer", Kind::FreeText, Role::Own, "none"),
    key(OWN, METRIC, "attributes", Kind::Texts, Role::Own, "`{}`"),
    key(OWN, "transforms", ANY, Kind::Transform, Role::Own, "none"),
    key(GUIDE, "dependencies", "python_version", Kind::Anything, Role::NoEffect, "none"),
    key(GUIDE, "dependencies", "packages", Kind::Anything, Role::NoEffect, "none"),
    key(GUIDE, "systemd", "service_name", Kind::Anything, Role::Remark, "none"),
    key(GUIDE, "systemd", "description", Kind::Anything, Role::Remark, "none"),
    key(ALL, "otel_config", "service_name_template", Kind::Template, Role::Template, TEMPLATE),
    key(GUIDE, "otel_config", "metrics_prefix", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "metadata", "service_namespace", Kind::Text, Role::Namespace, "`\"default\"`"),
    key(REPO, "metadata", "process_name", Kind::Pattern, Role::ProcessName, "required"),
    key(REPO, "metadata", "plugin_name", Kind::Name, Role::Name, "the folder's name"),
    key(REPO, "metadata", "description", Kind::FreeText, Role::Description, "`\"\"`"),
    key(REPO, "metadata", "author", Kind::Anything, Role::Remark, "none"),
    key(REPO, "monitoring", "default_interval", INTERVAL, Role::Interval, "`60`"),
    key(REPO, "monitoring", "process_patterns", Kind::Patterns, Role::Patterns, "`[]`"),
    key(REPO, "monitoring", "metric_types", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "monitoring", "supports_discovery", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "monitoring", "log_process_details", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "installation", "systemd_service_name", Kind::Anything, Role::Remark, "none"),
    key(REPO, "installation", "service_description", Kind::Anything, Role::Remark, "none"),
    key(REPO, "installation", "default_base_dir", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "installation", "requires_root", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "installation", "creates_logs_directory", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "dependencies", "python_min_version", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "dependencies", "additional_packages", Kind::Anything, Role::NoEffect, "none"),
    key(REPO, "otel_config", "default_agent_host", Kind::Host, Role::AgentHost, "`\"localhost\"`"),
    key(REPO, "otel_config", "default_agent_port", Kind::Port, Role::AgentPort, "`4317`"),
];

/// Bytes that a collector may be given of output, and of memory.
const OUTPUT_BOUNDS: RangeInclusive<u64> = 1024..=64 << 20;
const MEMORY_BOUNDS: RangeInclusive<u64> = 16 << 20..=16 << 30;

/// A key of any name.
pub(crate) const ANY: &str = "NAME";
/// Each `[[instance]]`.
pub(crate) const INSTANCE: &str = "instance";
/// Each `[settings.NAME]`.
pub(crate) const SETTINGS: &str = "settings.NAME";
/// Each `[[collector]]`.
pub(crate) const COLLECTOR: &str = "collector";
/// Each `[[collector.metric]]`.
pub(crate) const METRIC: &str = "collector.metric";

/// Tables of which there may be several.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    /// `[table.NAME]`, with what stands for it in the keys, and what a name has to be.
    Named(&'static str, fn(&str) -> Result<(), String>),
    /// `[[table]]`.
    List(&'static str),
}

/// The table of one more receiver, whatever its name.
pub(crate) const ENDPOINTS: &str = "endpoints.NAME";

/// Holds a setting's name to letters, digits and `_`, beginning with a letter: it becomes a part of a variable's name.
fn check_setting_name(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if begins && plain && name.len() <= 64 {
        Ok(())
    } else {
        Err(format!(
            "{} is no name of a setting; use a letter, then letters, digits and '_', 64 at most",
            quoted(name)
        ))
    }
}

impl Schema {
    /// Its keys.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        let all = KEYS.iter().chain(SETTINGS_KEYS);
        all.filter(move |key| key.schemas.contains(&self))
    }

    /// Its key `name` in `table`.
    pub fn key(self, table: &str, name: &str) -> Option<&'static Key> {
        let named = |name: &str| self.keys().find(|key| key.table == table && key.name == name);
        named(name).filter(|key| key.name != ANY).or_else(|| named(ANY))
    }

    /// The key that serves `role`.
    pub fn key_of(self, role: Role) -> Option<&'static Key> {
        self.keys().find(|key| key.role == role)
    }

    /// What `table` is where there may be several of it.
    pub(crate) fn family(self, table: &str) -> Option<Family> {
        match (self, table) {
            (Self::Settings, "endpoints") => Some(Family::Named(ENDPOINTS, check_endpoint_name)),
            (Self::Native, "settings") => Some(Family::Named(SETTINGS, check_setting_name)),
            (Self::Native, "instance") => Some(Family::List(INSTANCE)),
            (Self::Native, "collector") => Some(Family::List(COLLECTOR)),
            (Self::Native, "collector.metric") => Some(Family::List(METRIC)),
            _ => None,
        }
    }

    /// Whether `[table]` is one of its tables.
    pub fn has_table(self, table: &str) -> bool {
        !table.is_empty() && self.keys().any(|key| key.table == table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_with_its_type_and_default() {
        let docs = include_str!("../../../docs/plugins.md");
        for key in KEYS {
            let path = key.path();
            if key.role == Role::NoEffect {
                assert!(
                    docs.contains(&format!("`{path}`")),
                    "docs/plugins.md misses {path}"
                );
            } else {
                let row = format!("| `{path}` | {} | {} |", key.kind.describe(), key.default);
                assert!(docs.contains(&row), "docs/plugins.md misses the row {row:?}");
            }
        }
    }

    #[test]
    fn defaults_are_the_ones_that_hold() {
        use crate::plugin::definition::{
            DEFAULT_FAILED_START, DEFAULT_INTERVAL, DEFAULT_RESTART_WINDOW, Matching,
        };
        assert_eq!(DEFAULT_INTERVAL.as_secs(), 60, "the table above says 60");
        assert_eq!(
            DEFAULT_RESTART_WINDOW.as_secs(),
            5 * 60,
            "the table above says 5m"
        );
        assert_eq!(DEFAULT_FAILED_START.as_secs(), 1, "the table above says 1s");
        assert_eq!(Matching::default(), Matching::Name, "the table above says name");
    }

    #[test]
    fn a_role_has_one_key_in_a_schema() {
        for schema in [
            Schema::Native,
            Schema::Guide,
            Schema::Repository,
            Schema::Settings,
        ] {
            for key in schema
                .keys()
                .filter(|key| !matches!(key.role, Role::NoEffect | Role::Remark | Role::Own))
            {
                let same: Vec<_> = schema
                    .keys()
                    .filter(|other| {
                        other.role == key.role && (other.table == ENDPOINTS) == (key.table == ENDPOINTS)
                    })
                    .collect();
                assert_eq!(same.len(), 1, "{schema:?} {:?}", key.role);
            }
        }
    }
}
