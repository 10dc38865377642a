//! From all sources to the plugins that run: names kept unique, the selection applied, precedence
//! settled for each plugin.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use super::{
    Disabled, Faulty, Loaded, Overrides, PluginSources, adhoc, destinations, discover, duration,
    environment::{Environment, prefix_of},
    finding::{Fault, Finding, Warning, nearest, quoted, split},
    pattern,
    plugin_file::{self, Parsed, PluginFile},
    programs,
    settings_file::SettingsFile,
};
use crate::{
    plugin::definition::{DEFAULT_INTERVAL, DETAILED_INTERVAL, Plugin},
    users,
};

/// The prefix of `COLLECTION_INTERVAL`, which is every plugin's.
const COLLECTION: &str = "COLLECTION_";

/// Whether a plugin of this name would be refused for the variables that it would have.
pub(crate) fn is_reserved(name: &str) -> bool {
    prefix_of(name) == COLLECTION
}

/// Reads, checks and merges everything that defines plugins. Never fails as a whole: what is wrong
/// is in [`Loaded::faults`], and the plugins it does not concern are in [`Loaded::plugins`]. `settings` knows the names
/// of endpoints.
pub fn load(
    sources: &PluginSources,
    environment: &Environment,
    overrides: &Overrides,
    settings: Option<&SettingsFile>,
) -> Loaded {
    let mut loaded = Loaded::default();
    let generic = generic_interval(environment, overrides, &mut loaded.faults);
    let mut taken = BTreeSet::new();
    if sources.process_names.is_empty() || !sources.plugins.is_empty() {
        let files = read_files(sources, environment, settings, &mut loaded);
        taken.extend(files.iter().flat_map(PluginFile::names));
        let chosen = select(sources, files, &mut loaded);
        let (receivers, names) = destinations::settle(&chosen, environment, overrides, settings);
        loaded.receivers = receivers;
        for (mut file, receivers) in chosen.into_iter().zip(names) {
            loaded.warnings.extend(cut_filters(&file, environment));
            let faults = file.take_of_services(environment, overrides.interval.is_none());
            if !faults.is_empty() {
                loaded.faults.extend(faults);
                continue;
            }
            let plugins =
                settle_file(&file, environment, overrides, generic).and_then(|(patterns, interval)| {
                    file.into_plugins(&patterns, interval, &receivers, &overrides.settings)
                });
            match plugins {
                Ok(plugins) => loaded.plugins.extend(plugins),
                Err(faults) => loaded.faults.extend(faults),
            }
        }
    } else if !sources.directories.is_empty() {
        let message = "has no effect: --process-name without --plugin runs the ad hoc plugins alone";
        let warning = Finding::in_flag(Some("--plugins-dir"), message);
        loaded
            .warnings
            .push(warning.remedy("name the others with --plugin"));
    }
    let default = match overrides.detail {
        Some(Some(_)) => DETAILED_INTERVAL,
        _ => DEFAULT_INTERVAL,
    };
    let interval = overrides.interval.or(generic).unwrap_or(default);
    let (plugins, faults, warnings) = adhoc::plugins(&sources.process_names, interval, &mut taken);
    loaded.plugins.extend(plugins);
    for plugin in &mut loaded.plugins {
        plugin.detail = overrides.detail.unwrap_or(plugin.detail);
    }
    loaded.faults.extend(faults);
    loaded.warnings.extend(warnings);
    find_users(&mut loaded);
    programs::refuse_writable(&mut loaded);
    warn_of_colliding_names(&mut loaded);
    if loaded.plugins.is_empty() && loaded.faults.is_empty() {
        loaded.idle = Some(nothing_to_run(sources, &loaded.disabled));
    }
    loaded
}

/// The files' contents, each name once. Files with faults are left out, their faults kept.
fn read_files(
    sources: &PluginSources,
    environment: &Environment,
    settings: Option<&SettingsFile>,
    loaded: &mut Loaded,
) -> Vec<PluginFile> {
    let found = discover::search(&sources.directories, &sources.search_path);
    loaded.faults.extend(found.faults);
    loaded.warnings.extend(found.warnings);
    let mut names = Names::default();
    let mut files = Vec::new();
    for (path, text) in found.files {
        let Parsed { mut file, mut faults } = match text {
            Ok(text) => plugin_file::parse(&path, &text),
            Err(fault) => plugin_file::refused(&path, fault),
        };
        if faults.is_empty() {
            faults = file.take_services(environment);
        }
        faults.extend(destinations::unknown(&file, settings));
        faults.sort_by_key(Finding::line);
        let first = match names.claim(&file) {
            Claim::Own => true,
            Claim::Taken(warning) => {
                loaded.warnings.push(warning);
                false
            }
            Claim::Fault(fault) => {
                faults.push(fault);
                false
            }
        };
        if !first && faults.is_empty() {
            continue;
        }
        if faults.is_empty() {
            files.push(file);
        } else {
            let names = if file.name.is_empty() {
                Vec::new()
            } else {
                file.names()
            };
            loaded.faulty.push(Faulty {
                path: file.path,
                names,
            });
        }
        loaded.faults.extend(faults);
    }
    files
}

/// The names that files have claimed, faulty files too.
#[derive(Default)]
struct Names {
    by_name: BTreeMap<String, PathBuf>,
    /// Names and files by what their variables begin with.
    by_prefix: BTreeMap<String, (String, PathBuf)>,
}

/// What became of a file's names.
enum Claim {
    Own,
    /// An earlier file has them: this one is left out.
    Taken(Warning),
    Fault(Fault),
}

impl Names {
    fn claim(&mut self, file: &PluginFile) -> Claim {
        let PluginFile { name, path, .. } = file;
        if name.is_empty() {
            return Claim::Own; // it has a fault of its own
        }
        let finding = |message: String| {
            let finding = Finding::in_file(path, file.name_line, message).key(&file.name_key);
            finding.remedy("give one of them another name")
        };
        for name in [name.clone()].into_iter().chain(file.names()) {
            if let Some(first) = self.by_name.get(&name) {
                let first = first.display();
                let message = format!(
                    "left out: {} is already the name of {first}, which comes first",
                    quoted(&name)
                );
                return Claim::Taken(finding(message));
            }
        }
        for name in [name.clone()].into_iter().chain(file.names()) {
            let prefix = prefix_of(&name);
            if let Some((other, first)) = self.by_prefix.get(&prefix) {
                let (name, other) = (quoted(&name), quoted(other));
                let both = format!("{name} and {other} of {}", first.display());
                return Claim::Fault(finding(format!(
                    "{both} share the environment variables {prefix}*"
                )));
            }
        }
        let prefix = prefix_of(name);
        if prefix == COLLECTION {
            let name = quoted(name);
            return Claim::Fault(finding(format!(
                "{name} and all other plugins share the environment variable COLLECTION_INTERVAL"
            )));
        }
        for name in [name.clone()].into_iter().chain(file.names()) {
            let prefix = prefix_of(&name);
            self.by_prefix.insert(prefix, (name.clone(), path.clone()));
            self.by_name.insert(name, path.clone());
        }
        Claim::Own
    }
}

/// The files that are enabled and, where `--plugin` names some, named.
fn select(sources: &PluginSources, files: Vec<PluginFile>, loaded: &mut Loaded) -> Vec<PluginFile> {
    let asked: BTreeSet<&str> = sources.plugins.iter().map(String::as_str).collect();
    for name in &asked {
        let fault = |message: String| Finding::in_flag(Some("--plugin"), message);
        match files.iter().find(|file| file.name == *name) {
            Some(file) if (file.enabled || sources.also_disabled) && file.is_for(&sources.host) => {}
            Some(file) if file.enabled || sources.also_disabled => {
                let message = format!(
                    "{} is not for this host: monitoring.resource_filter of {} does not fit {}",
                    quoted(name),
                    file.path.display(),
                    quoted(&sources.host)
                );
                loaded
                    .faults
                    .push(fault(message).remedy("change the filter there"));
            }
            Some(file) => {
                let message = format!("{} is switched off in {}", quoted(name), file.path.display());
                loaded
                    .faults
                    .push(fault(message).remedy("set monitoring.enabled = true there"));
            }
            None => {
                let known = || files.iter().map(|file| file.name.as_str());
                let list = known().collect::<Vec<_>>().join(", ");
                let remedy = match (nearest(name, known()), list.as_str()) {
                    (_, "") => "no plugin file without faults was found".to_owned(),
                    (Some(near), list) => format!("did you mean {near}? known: {list}"),
                    (None, list) => format!("known: {list}"),
                };
                loaded
                    .faults
                    .push(fault(format!("there is no plugin {}", quoted(name))).remedy(remedy));
            }
        }
    }
    let mut chosen = Vec::new();
    for mut file in files {
        let elsewhere = !file.is_for(&sources.host);
        let is_tried_out = sources.also_disabled && asked.contains(file.name.as_str());
        if elsewhere || !(file.enabled || is_tried_out) {
            loaded.disabled.push(Disabled {
                name: file.name,
                path: file.path,
                reason: elsewhere.then(|| "monitoring.resource_filter does not fit this host".to_owned()),
            });
        } else if asked.is_empty() || asked.contains(file.name.as_str()) {
            loaded.warnings.append(&mut file.warnings);
            chosen.push(file);
        }
    }
    chosen
}

/// What holds where an instance says this, or nothing.
type Interval = Box<dyn Fn(Option<Duration>, Duration) -> Duration>;

/// The patterns that hold for `file`, and the interval, by that of an instance.
fn settle_file(
    file: &PluginFile,
    environment: &Environment,
    overrides: &Overrides,
    generic: Option<Duration>,
) -> Result<(Vec<regex::Regex>, Interval), Vec<Fault>> {
    let prefix = prefix_of(&file.name);
    let mut faults = Vec::new();
    let mut patterns = file.patterns.clone();
    let variable = format!("{prefix}PROCESS_FILTER");
    // For a list of names it is a list, which has been taken.
    if let Some(text) = environment.get(&variable)
        && file.native.process_names.is_none()
    {
        match pattern::compile(text) {
            Ok(pattern) => patterns = vec![pattern],
            Err(error) => {
                let remedy = "write a name, or a regular expression such as ^nginx$";
                faults.push(Finding::in_variable(&variable, error.to_string()).remedy(remedy));
            }
        }
    }
    let own = match overrides.interval {
        Some(interval) => Some(interval),
        None => interval_variable(&format!("{prefix}INTERVAL"), environment, &mut faults),
    };
    let (native, legacy) = if file.is_native {
        (file.interval, None)
    } else {
        (None, file.interval)
    };
    let interval: Interval = Box::new(move |of_instance, default| {
        let in_file = of_instance.or(native);
        own.or(in_file).or(generic).or(legacy).unwrap_or(default)
    });
    if faults.is_empty() {
        Ok((patterns, interval))
    } else {
        Err(faults)
    }
}

/// Each `<PLUGIN>_PROCESS_FILTER` that fits a cut `comm` alone.
fn cut_filters(file: &PluginFile, environment: &Environment) -> Vec<Warning> {
    let names = [file.name.clone()].into_iter().chain(file.names());
    let variables: BTreeSet<String> = names
        .map(|name| format!("{}PROCESS_FILTER", prefix_of(&name)))
        .collect();
    let cut = |variable: &String| {
        let text = environment
            .get(variable)
            .filter(|text| pattern::fits_cut_names_only(text))?;
        let (message, remedy) = pattern::cut_name(text, file.matching)?;
        Some(Finding::in_variable(variable, message).remedy(remedy))
    };
    variables.iter().filter_map(cut).collect()
}

fn generic_interval(
    environment: &Environment,
    overrides: &Overrides,
    faults: &mut Vec<Fault>,
) -> Option<Duration> {
    match overrides.interval {
        Some(_) => None,
        None => interval_variable("COLLECTION_INTERVAL", environment, faults),
    }
}

fn interval_variable(name: &str, environment: &Environment, faults: &mut Vec<Fault>) -> Option<Duration> {
    match duration::parse_interval(environment.get(name)?) {
        Ok(interval) => Some(interval),
        Err(error) => {
            faults.push(split(Finding::in_variable(name, ""), &error.to_string()));
            None
        }
    }
}

/// Gives the users that selectors name their numbers.
fn find_users(loaded: &mut Loaded) {
    for plugin in &mut loaded.plugins {
        for user in plugin
            .selectors
            .users
            .iter_mut()
            .filter(|user| user.uid.is_none())
        {
            user.uid = users::by_name(&user.written).map(|known| known.uid);
            if user.uid.is_some() {
                continue;
            }
            let message = format!(
                "this host knows no user {}: it matches nothing",
                quoted(&user.written)
            );
            let warning = match &plugin.origin {
                Some(path) => Finding::in_file(path, None, message).key("service.user"),
                None => Finding::in_flag(None, message),
            };
            loaded
                .warnings
                .push(warning.remedy("correct the name, or write the user's number"));
        }
    }
}

/// Services of one name in one namespace, which only their instance ids tell apart. A display name has its namespace in it;
/// a name that a file gives has not.
fn warn_of_colliding_names(loaded: &mut Loaded) {
    let mut named: BTreeMap<String, Vec<&Plugin>> = BTreeMap::new();
    for plugin in &loaded.plugins {
        let service = &plugin.service;
        let same = named.entry(plugin.service_name()).or_default();
        let shares = |other: &&&Plugin| {
            let made = service.given.is_none() && other.service.given.is_none();
            // Instances share a service's name by design: their ids tell them apart.
            other.name != plugin.name && (made || other.service.namespace == service.namespace)
        };
        if let Some(other) = same.iter().find(shares) {
            let whose =
                |plugin: &Plugin| format!("{} ({})", plugin.label(), quoted(&plugin.service.original));
            let message = format!(
                "the services of {} and {} are both shown as {}; they are kept apart by their instance ids",
                whose(other),
                whose(plugin),
                quoted(&plugin.service_name())
            );
            let warning = match &plugin.origin {
                Some(path) => Finding::in_file(path, None, message),
                None => Finding::in_flag(Some("--process-name"), message),
            };
            let remedy = if service.given.is_some() {
                "give one of them another service.name"
            } else {
                "give one of them another service_name_template or process name"
            };
            loaded.warnings.push(warning.remedy(remedy));
        }
        same.push(plugin);
    }
}

fn nothing_to_run(sources: &PluginSources, disabled: &[Disabled]) -> Fault {
    let searched = if sources.directories.is_empty() {
        &sources.search_path
    } else {
        &sources.directories
    };
    let searched: Vec<String> = searched.iter().map(|path| path.display().to_string()).collect();
    let (message, remedy) = if disabled.is_empty() {
        (
            format!("no NAME/plugin.toml was found in {}", searched.join(", ")),
            "name a folder with --plugins-dir, or a process with --process-name",
        )
    } else {
        let shown = |plugin: &Disabled| format!("{} ({})", plugin.name, plugin.path.display());
        let names: Vec<String> = disabled.iter().map(shown).collect();
        (
            format!("every plugin is switched off: {}", names.join(", ")),
            "set monitoring.enabled = true in one of them",
        )
    };
    Finding::in_flag(None, message).remedy(remedy)
}
