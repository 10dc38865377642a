//! Everything that a run's configuration is read from, kept so that it can be read again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cli::Args,
    config::{self, Environment, Fault, Loaded, Overrides, PluginSources, Settings, Survey},
};

/// The flags and the environment, which stay; the files are read anew each time.
#[derive(Clone)]
pub(super) struct Sources {
    args: Arc<Args>,
    overrides: Arc<Overrides>,
    environment: Environment,
}

/// What was read.
pub(super) struct Configuration {
    pub(super) loaded: Loaded,
    pub(super) settled: Result<Settings, Vec<Fault>>,
    /// How long the reading took.
    pub(super) took: Duration,
}

impl Configuration {
    /// Everything that is wrong with it.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        let of_settings = self.settled.as_ref().err().into_iter().flatten();
        self.loaded.faults.iter().chain(of_settings)
    }
}

/// `sources` with this host's name, and with the folders of `KEVMON_PLUGIN_PATH` beside those that are searched by default.
pub(super) fn on_this_host(mut sources: PluginSources, environment: &Environment) -> PluginSources {
    sources.host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let more = environment.get("KEVMON_PLUGIN_PATH").unwrap_or_default();
    let more = more.split(':').filter(|path| !path.is_empty());
    sources.search_path.extend(more.map(PathBuf::from));
    sources
}

impl Sources {
    pub(super) fn new(args: Args) -> Self {
        Self {
            overrides: Arc::new(args.overrides()),
            args: Arc::new(args),
            environment: Environment::of_this_process(),
        }
    }

    pub(super) fn args(&self) -> &Args {
        &self.args
    }

    /// Beside what [`Sources::read`] takes of it.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Where plugins come from.
    pub(super) fn plugins(&self) -> PluginSources {
        on_this_host(self.args.plugin_sources(), &self.environment)
    }

    /// The folders that plugin files are looked for in, as they were named. Some may not exist yet.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let PluginSources {
            directories,
            search_path,
            ..
        } = self.plugins();
        if directories.is_empty() {
            search_path
        } else {
            directories
        }
    }

    /// Reads the files; slow where their disk is.
    pub(super) fn read(&self) -> Configuration {
        let began = Instant::now();
        let file = config::read_settings(self.args.config.as_deref());
        let in_file = file.iter().flat_map(config::SettingsFile::variables);
        let secrets = self.overrides.variables().chain(in_file);
        let environment = self
            .environment
            .clone()
            .with_secrets(secrets, |name| std::env::var_os(name));
        let loaded = config::load(&self.plugins(), &environment, &self.overrides, file.as_ref());
        let settled = config::settle(&config::SettingSources {
            environment: &environment,
            overrides: &self.overrides,
            file: file.as_ref(),
            plugins: &loaded.receivers,
            check: &config::check_file,
        });
        Configuration {
            loaded,
            settled,
            took: began.elapsed(),
        }
    }

    /// The settings file, whether it exists or not.
    pub(super) fn settings_file(&self) -> PathBuf {
        config::settings_path(self.args.config.as_deref()).to_owned()
    }

    /// What the files look like from outside.
    pub(super) fn survey(&self) -> Survey {
        let settings: &Path = config::settings_path(self.args.config.as_deref());
        Survey::of(&self.plugins(), settings)
    }
}
