//! Configuration: `plugin.toml` files, environment and command line become validated plugins and
//! settings, and every mistake in them becomes a finding that says where it is and what to do. It
//! prints nothing and holds nothing: what it returns is passed down.

pub mod duration;
pub mod endpoint;
pub mod environment;
pub mod finding;
pub mod log_level;
pub mod receiver;
pub mod schema;
pub mod settings;
pub mod state;
pub mod template;

mod adhoc;
mod discover;
mod load;
mod pattern;
mod plugin_file;
mod suggest;
mod value;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeSet, path::Path, path::PathBuf, time::Duration};

use crate::plugin::definition::Plugin;

pub use self::{
    environment::Environment,
    finding::{Fault, Finding, Warning},
    load::load,
    log_level::LogLevel,
    settings::{Settings, settle},
    state::metadata_path,
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
    /// Patterns of ad hoc plugins. With these and no `plugins`, no file is read.
    pub process_names: Vec<String>,
}

impl Default for PluginSources {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            search_path: ["plugins", "/etc/kevmon/plugins", "/usr/share/kevmon/plugins"]
                .map(PathBuf::from)
                .to_vec(),
            plugins: Vec::new(),
            process_names: Vec::new(),
        }
    }
}

/// What the command line sets, above every other source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Time between two collections, of every plugin; within [`duration::INTERVAL_BOUNDS`].
    pub interval: Option<Duration>,
    /// Host to export to, as given.
    pub agent_host: Option<String>,
    /// Port to export to; not 0.
    pub agent_port: Option<u16>,
    /// How much is logged.
    pub log_level: Option<LogLevel>,
}

/// A plugin whose file switches it off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// What [`load`] gives.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The plugins to run: those of files in search order, then the ad hoc ones. Only empty when
    /// `faults` is not.
    pub plugins: Vec<Plugin>,
    /// Plugins that their files switch off (`enabled = false`).
    pub disabled: Vec<Disabled>,
    /// Everything that keeps a plugin, or kevmon, from running as asked.
    pub faults: Vec<Fault>,
    /// What should be known and changes nothing.
    pub warnings: Vec<Warning>,
    /// Host and port that the running plugins' files name (`default_agent_*`), where they agree.
    pub legacy_endpoint: Option<(String, u16)>,
}

impl Loaded {
    /// The files and folders that have a fault, each once.
    pub fn faulty_files(&self) -> BTreeSet<&Path> {
        self.faults.iter().filter_map(Finding::path).collect()
    }
}
