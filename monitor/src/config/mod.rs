//! Configuration: `plugin.toml` files, environment and command line become validated plugins and
//! settings, and every mistake in them becomes a finding that says where it is and what to do. It
//! prints nothing and holds nothing: what it returns is passed down.

pub mod duration;
pub mod endpoint;
pub mod environment;
pub mod finding;
pub mod header;
pub mod log_filter;
pub mod log_level;
pub mod receiver;
pub mod recorder;
pub mod schema;
pub mod settings;
pub mod settings_example;
pub mod settings_file;
pub mod state;
pub mod template;

pub mod accounting;
mod adhoc;
mod destinations;
mod discover;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod given;
mod json_schema;
mod kind;
mod load;
mod native;
mod pattern;
mod plugin_file;
mod programs;
mod resource_attributes;
mod resource_filter;
mod runners;
mod scalar;
mod settings_keys;
pub mod size;
mod suggest;
mod survey;
mod trust;
mod value;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeSet, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use self::{
    endpoint::Url,
    given::Given,
    header::{HeaderFlag, SecretPlace},
    receiver::{Compression, JsonTarget, Protocol},
};
use crate::plugin::definition::{Detail, Plugin};

pub(crate) use self::discover::{open as open_file, read as read_text};
pub(crate) use self::load::is_reserved;
pub(crate) use self::plugin_file::parse as parse_plugin_file;
pub(crate) use self::value::listen_address;
pub use self::{
    environment::Environment,
    finding::{Fault, Finding, Warning},
    json_schema::json_schema,
    load::load,
    log_filter::LogFilter,
    log_level::LogLevel,
    settings::{SettingSources, Settings, check_file, settle},
    settings_file::{SettingsFile, read_settings, settings_path},
    state::metadata_path,
    survey::Survey,
};

/// Where plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSources {
    /// Folders that were asked for, searched in this order; each has to exist.
    pub directories: Vec<PathBuf>,
    /// Folders searched when none was asked for; those that do not exist are passed over.
    pub search_path: Vec<PathBuf>,
    /// Names of the plugins to run; empty: all.
    pub plugins: Vec<String>,
    /// Those run even where their files switch them off: somebody tries one out.
    pub also_disabled: bool,
    /// This host's name, for `monitoring.resource_filter`.
    pub host: String,
    /// Patterns of ad hoc plugins. With these and no `plugins`, no file is read.
    pub process_names: Vec<String>,
}

impl Default for PluginSources {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            search_path: [
                "plugins",
                "/etc/kevmon/plugins",
                "/etc/kevmon/plugins.d",
                "/usr/share/kevmon/plugins",
            ]
            .map(PathBuf::from)
            .to_vec(),
            plugins: Vec::new(),
            also_disabled: false,
            host: String::new(),
            process_names: Vec::new(),
        }
    }
}

impl PluginSources {
    /// As flags name them: folders, plugins and patterns of names.
    pub fn named(directories: &[PathBuf], plugins: &[String], process_names: &[String]) -> Self {
        Self {
            directories: directories.to_vec(),
            plugins: plugins.to_vec(),
            process_names: process_names.to_vec(),
            ..Self::default()
        }
    }
}

/// What the command line sets, above every other source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Time between two collections, of every plugin; within [`duration::INTERVAL_BOUNDS`].
    pub interval: Option<Duration>,
    /// The detailed mode, or (`Some(None)`) none, for every plugin.
    pub detail: Option<Option<Detail>>,
    /// Settings of plugins, by name (`--set`).
    pub settings: Vec<(String, String)>,
    /// How long the kernel side watches without kevmon, within [`duration::KEEP_WATCHING_BOUNDS`].
    pub keep_watching: Option<Duration>,
    /// URL to export to, without user info ([`endpoint::withhold_user_info`]).
    pub endpoint: Option<String>,
    /// Host to export to, likewise.
    pub agent_host: Option<String>,
    /// Port to export to; not 0.
    pub agent_port: Option<u16>,
    /// The transport.
    pub protocol: Option<Protocol>,
    /// The compression.
    pub compression: Option<Compression>,
    /// Certificates that vouch for the receiver.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// Further headers.
    pub headers: Vec<HeaderFlag>,
    /// Where OTLP/JSON lines go.
    pub otlp_json: Option<JsonTarget>,
    /// Address of the Prometheus text endpoint.
    pub prometheus: Option<SocketAddr>,
    /// How much is logged.
    pub log_level: Option<LogFilter>,
}

impl Overrides {
    /// The variables that `--header` takes secrets from, for [`Environment::with_secrets`].
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().filter_map(|header| match header {
            HeaderFlag::Named(_, SecretPlace::Variable(name)) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// An agent that legacy plugin files name (`default_agent_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The first file that names it.
    pub(crate) path: PathBuf,
}

/// A receiver that plugin files name and nothing else knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PluginReceiver {
    Agent(Agent),
    Url(Given<Url>),
}

/// What the running plugins' files say of receivers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginReceivers {
    /// The agent that legacy files name, where they agree: the default receiver, unless something outranks them.
    pub(crate) agreed: Option<Agent>,
    /// Each by the name that [`Plugin::receivers`] has for it.
    pub(crate) own: Vec<(String, PluginReceiver)>,
}

/// A plugin whose file switches it off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Why, where it is not switched off: its `resource_filter` does not fit this host.
    pub reason: Option<String>,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// The file.
    pub path: PathBuf,
    /// The plugins that it would define, as far as it can be read.
    pub names: Vec<String>,
}

/// What [`load`] gives.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The plugins to run: those of files in search order, then the ad hoc ones. Empty only when there are `faults`, or
    /// `idle` says why.
    pub plugins: Vec<Plugin>,
    /// Plugins that their files switch off (`enabled = false`).
    pub disabled: Vec<Disabled>,
    /// Everything that keeps a plugin, or kevmon, from running as asked.
    pub faults: Vec<Fault>,
    /// Files that have some of those faults.
    pub faulty: Vec<Faulty>,
    /// What should be known and changes nothing.
    pub warnings: Vec<Warning>,
    /// The receivers that the running plugins' files name.
    pub receivers: PluginReceivers,
    /// Why no plugin runs although nothing is wrong: no file was found, or all plugins are switched off. A daemon waits;
    /// for everything else it is an error.
    pub idle: Option<Fault>,
}

impl Loaded {
    /// The files and folders that have a fault, each once.
    pub fn faulty_files(&self) -> BTreeSet<&Path> {
        self.faults.iter().filter_map(Finding::path).collect()
    }
}
