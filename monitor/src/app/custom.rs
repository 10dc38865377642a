//! Collectors in a run: where they may not look, and how their values come into collections.

use std::path::{Path, PathBuf};

use super::watch::Watch;
use crate::{
    cli::Args,
    collector::Places,
    config::{self, Environment, Settings, SettingsFile, receiver::HeaderSource},
    export::Collection,
    metrics::{self, OWN},
    plugin::{
        Naming,
        collector::{Custom, CustomValue},
    },
};

pub(super) use crate::collector::Collectors;

/// Folders of kevmon's own on an installed host: state, settings, sockets, credentials.
const OWN_PLACES: [&str; 4] = [
    "/var/lib/kevmon",
    "/etc/kevmon",
    "/run/kevmon",
    "/run/credentials",
];

/// What is out of reach of collectors: kevmon's state at `state`, its settings and whatever secrets they name.
pub(super) fn places(proc: &Path, state: &Path, config: Option<&Path>, settings: &Settings) -> Places {
    let mut denied: Vec<PathBuf> = OWN_PLACES.iter().map(PathBuf::from).collect();
    denied.extend(files_of(state));
    denied.extend(config.map(Path::to_owned));
    denied.extend(credentials());
    for receiver in &settings.receivers {
        for connection in [&receiver.metrics, &receiver.logs, &receiver.traces] {
            denied.extend(connection.tls.iter().flat_map(|tls| tls.key.clone()));
            denied.extend(connection.headers.iter().filter_map(|(_, source)| match source {
                HeaderSource::File(path) => Some(path.clone()),
                HeaderSource::Text(_) => None,
            }));
        }
    }
    Places {
        proc: proc.to_owned(),
        denied: absolute(denied),
        account: settings.collector_user.clone(),
        is_taken,
    }
}

/// The same for a look at one plugin, which has no settings of its own: what an installed kevmon keeps, and one of this
/// user's, by the settings file that it would read.
pub(super) fn installed_places(
    proc: &Path,
    environment: &Environment,
    file: Option<&SettingsFile>,
) -> Places {
    let mut denied: Vec<PathBuf> = OWN_PLACES.iter().map(PathBuf::from).collect();
    let is_root = rustix::process::geteuid().is_root();
    let states = [is_root, true].map(|is_root| config::metadata_path(None, environment, is_root));
    denied.extend(states.into_iter().flatten().flat_map(|state| files_of(&state)));
    denied.extend(credentials());
    denied.extend(file.map(SettingsFile::secret_files).unwrap_or_default());
    Places {
        proc: proc.to_owned(),
        denied: absolute(denied),
        account: file.and_then(SettingsFile::collector_user).map(str::to_owned),
        is_taken,
    }
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The supervisor starts in another folder.
fn absolute(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    paths.into_iter().map(absolute).collect()
}

/// From now on these settings hold.
pub(super) fn settle(collectors: &mut Collectors, args: &Args, state: &Path, settings: &Settings) {
    collectors.set_places(places(&args.proc_root, state, args.config.as_deref(), settings));
}

/// The database and what lies beside it under its name: its log, its copies, the spool.
fn files_of(state: &Path) -> Vec<PathBuf> {
    let state = &std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    let (Some(folder), Some(name)) = (state.parent(), state.file_name()) else {
        return Vec::new();
    };
    let name = name.as_encoded_bytes();
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let beside = beside.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(name));
    beside
        .map(|entry| entry.path())
        .chain([state.to_owned()])
        .collect()
}

/// Whether kevmon exports a metric of this name itself.
pub(super) fn is_taken(name: &str) -> bool {
    let of_groups = || metrics::metrics(Naming::Both).map(|metric| metric.name);
    let of_processes = || metrics::process_metrics(Naming::Both).map(|metric| metric.name);
    name.starts_with("kevmon.")
        || of_groups()
            .chain(of_processes())
            .chain(OWN.iter().map(|own| own.name))
            .any(|own| own == name)
}

/// Starts the collectors that are due.
pub(super) fn start_due(collectors: &mut Collectors, watch: &Watch) {
    collectors.start_due(std::time::Instant::now(), |group| watch.members(group));
}

/// Puts what has been brought into a collection. Values have the times of the wall clock: where those of collections are
/// ahead of it, they follow, so that a series goes on.
pub(super) fn add(collectors: &mut Collectors, collection: &mut Collection) {
    collectors.settle();
    let offset = u64::try_from(collection.health.clock_offset.as_nanos()).unwrap_or(u64::MAX);
    let wall = collection.time.saturating_sub(offset);
    for service in &mut collection.services {
        if !service.plugin.collectors.is_empty() {
            service.extra.custom = collectors.take(&service.plugin.label());
        }
        // What was read before the clock was set back has the time of the collections then.
        let behind = |value: &&mut CustomValue| value.time <= wall && !matches!(value.value, Custom::Text(_));
        for value in service.extra.custom.iter_mut().filter(behind) {
            value.time = value.time.saturating_add(offset);
        }
    }
    collection.health.collectors = collectors.readings();
}
