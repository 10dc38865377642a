//! One plugin file: which schema it follows, a walk over all of its keys that finds every fault at
//! once, and the typed content of what it says.

mod plugins;
mod services;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use regex::Regex;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(crate) use self::services::ByService;
use super::{
    discover,
    finding::{Fault, Finding, Warning, quoted},
    native::Native,
    pattern::{self, push_new},
    schema::{Key, Role, Schema},
    template::Template,
    value::{self, EndpointText, Value},
    walk::{self, Content, Entry, line_of},
};
use crate::plugin::definition::{
    Aggregate, DEFAULT_FAILED_START, DEFAULT_RESTART_WINDOW, Matching, Naming, Rank,
};

/// Namespace of a service whose file names none.
const DEFAULT_NAMESPACE: &str = "default";

/// What a file says, checked; absent keys are absent, so that precedence can be applied to them.
#[derive(Debug)]
pub(crate) struct PluginFile {
    pub(crate) path: PathBuf,
    /// Whether its interval ranks above the generic environment.
    pub(crate) is_native: bool,
    /// From the file, else the folder's; empty only where the file has a fault.
    pub(crate) name: String,
    /// The key that gives it, and the line where the file does.
    pub(crate) name_key: String,
    pub(crate) name_line: Option<usize>,
    pub(crate) enabled: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) patterns: Vec<Regex>,
    pub(crate) agent_host: Option<String>,
    pub(crate) agent_port: Option<u16>,
    /// To be known where the plugin runs.
    pub(crate) warnings: Vec<Warning>,
    description: String,
    namespace: String,
    process_name: String,
    template: Template,
    /// What the service is called, and the line that says so.
    service_name: Option<(usize, Template)>,
    attributes: BTreeMap<String, String>,
    naming: Naming,
    aggregate: Aggregate,
    prefix: bool,
    restart_window: Duration,
    failed_start: Duration,
    events: bool,
    pub(crate) matching: Matching,
    /// What it exports to: names of the settings file and URLs, each with its line.
    pub(crate) endpoints: Vec<(usize, EndpointText)>,
    pub(crate) native: Native,
    /// What the environment says of single services of `process_names`, by their plugins' names.
    pub(crate) by_service: BTreeMap<String, ByService>,
    processes: bool,
    most_processes: usize,
    rank: Rank,
}

/// How many processes of a group have series of their own where the file does not say.
const DEFAULT_MOST_PROCESSES: usize = 20;

impl PluginFile {
    fn new(path: &Path, is_native: bool) -> Self {
        Self {
            path: path.to_owned(),
            is_native,
            name: String::new(),
            name_key: String::new(),
            name_line: None,
            enabled: true,
            interval: None,
            patterns: Vec::new(),
            agent_host: None,
            agent_port: None,
            warnings: Vec::new(),
            description: String::new(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            process_name: String::new(),
            template: Template::default(),
            service_name: None,
            attributes: BTreeMap::new(),
            naming: Naming::default(),
            aggregate: Aggregate::default(),
            prefix: false,
            restart_window: DEFAULT_RESTART_WINDOW,
            failed_start: DEFAULT_FAILED_START,
            events: false,
            matching: Matching::default(),
            endpoints: Vec::new(),
            native: Native::default(),
            by_service: BTreeMap::new(),
            processes: false,
            most_processes: DEFAULT_MOST_PROCESSES,
            rank: Rank::default(),
        }
    }

    fn set(&mut self, entry: &Entry<'_>, value: Value) {
        match (entry.key.role, value) {
            (Role::Name, Value::Text(text)) => {
                self.name = text;
                self.name_line = Some(entry.line);
            }
            (Role::Description, Value::Text(text)) => self.description = text,
            (Role::Namespace, Value::Text(text)) => self.namespace = text,
            (Role::ProcessName, Value::Patterns(patterns)) => {
                self.process_name = patterns
                    .first()
                    .map_or_else(String::new, |p| p.as_str().to_owned());
                // The name itself goes first, whichever of the two keys is read first.
                let others = std::mem::replace(&mut self.patterns, patterns);
                others
                    .into_iter()
                    .for_each(|pattern| push_new(&mut self.patterns, pattern));
            }
            (Role::Patterns, Value::Patterns(patterns)) => {
                patterns
                    .into_iter()
                    .for_each(|pattern| push_new(&mut self.patterns, pattern));
            }
            (Role::Attributes, Value::Attributes(attributes)) => self.attributes = attributes,
            (Role::Interval, Value::Duration(interval)) => self.interval = Some(interval),
            (Role::Enabled, Value::Flag(enabled)) => {
                self.enabled = enabled;
                self.native.enabled(entry.line, enabled);
            }
            (Role::Own, value) => self.native.set(entry, value),
            (Role::Naming, Value::Text(text)) => {
                self.naming = match text.as_str() {
                    "otel" => Naming::Otel,
                    "both" => Naming::Both,
                    _ => Naming::Instana,
                };
            }
            (Role::Aggregate, Value::Text(text)) => {
                self.aggregate = if text == "roots" {
                    Aggregate::Roots
                } else {
                    Aggregate::All
                };
            }
            (Role::Prefix, Value::Flag(prefix)) => self.prefix = prefix,
            (Role::RestartWindow, Value::Duration(window)) => self.restart_window = window,
            (Role::FailedStart, Value::Duration(within)) => self.failed_start = within,
            (Role::Events, Value::Flag(events)) => self.events = events,
            (Role::Matching, Value::Text(text)) => {
                self.matching = match text.as_str() {
                    "exe" => Matching::Exe,
                    "cmdline" => Matching::Cmdline,
                    _ => Matching::Name,
                };
            }
            (Role::Template, Value::Template(template)) => self.template = template,
            (Role::ServiceName, Value::Template(name)) => self.service_name = Some((entry.line, name)),
            (Role::AgentHost, Value::Text(host)) => self.agent_host = Some(host),
            (Role::AgentPort, Value::Port(port)) => self.agent_port = Some(port),
            (_, value) => self.set_export(entry, value),
        }
    }

    /// Keys of `[export]` and `[processes]`.
    fn set_export(&mut self, entry: &Entry<'_>, value: Value) {
        match (entry.key.role, value) {
            (Role::Endpoints, Value::Endpoints(endpoints)) => {
                let endpoints = endpoints.into_iter();
                self.endpoints = endpoints.map(|(at, text)| (entry.line_at(at), text)).collect();
            }
            (Role::PerProcess, Value::Flag(processes)) => self.processes = processes,
            (Role::MostProcesses, Value::Count(most)) => {
                self.most_processes = usize::try_from(most).unwrap_or(DEFAULT_MOST_PROCESSES);
            }
            (Role::Rank, Value::Text(text)) => {
                self.rank = if text == "memory" { Rank::Memory } else { Rank::Cpu };
            }
            _ => {}
        }
    }
}

/// What reading one file gave.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Usable when `faults` is empty; its name, where it has one, in any case.
    pub(crate) file: PluginFile,
    pub(crate) faults: Vec<Fault>,
}

/// Reads the plugin file `text`, which was found at `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Parsed {
    let root = match walk::parse(path, text) {
        Ok(root) => root,
        Err(fault) => return refused(path, fault),
    };
    let schema = match schema_of(path, text, root.get_ref()) {
        Ok(schema) => schema,
        Err(fault) => return refused(path, fault),
    };
    let mut reading = Reading {
        file: PluginFile::new(path, schema == Schema::Native),
        named: false,
        process_named: false,
        names_given: false,
        no_effect: Vec::new(),
        cut: Vec::new(),
    };
    let faults = walk::walk(path, text, schema, root.get_ref(), &mut reading);
    reading.finish(schema, faults)
}

/// A file that could not be read as far as its keys.
pub(crate) fn refused(path: &Path, fault: Fault) -> Parsed {
    Parsed {
        file: PluginFile::new(path, false),
        faults: vec![fault],
    }
}

fn schema_of(path: &Path, text: &str, root: &DeTable<'_>) -> Result<Schema, Fault> {
    let find = |name: &str| {
        root.iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(key, value)| (line_of(text, key.span().start), value))
    };
    match (find("metadata"), find("plugin"), find("schema")) {
        (Some((line, _)), Some((other, _)), _) => {
            let message = format!("[metadata] and [plugin] (line {other}) are of two different schemas");
            let remedy = "keep [metadata] with the repository's keys, or [plugin] with the guide's";
            Err(Finding::in_file(path, Some(line), message)
                .key("metadata")
                .remedy(remedy))
        }
        (Some((line, _)), None, Some(_)) => {
            let message = "[metadata] is not part of kevmon's own schema, which schema = 1 announces";
            let remedy = "remove schema, or replace [metadata] with [plugin] and [service]";
            Err(Finding::in_file(path, Some(line), message)
                .key("metadata")
                .remedy(remedy))
        }
        (Some(_), None, None) => Ok(Schema::Repository),
        (None, _, None) => Ok(Schema::Guide),
        (None, _, Some((_, version))) => {
            let at = version.span().start;
            walk::check_version(path, text, Schema::Native, at, version).map(|()| Schema::Native)
        }
    }
}

/// A file while it is walked over.
struct Reading {
    file: PluginFile,
    /// Whether the file has a name and a process name, right or wrong.
    named: bool,
    process_named: bool,
    /// Whether it has a list of process names, right or wrong.
    names_given: bool,
    no_effect: Vec<(usize, String)>,
    /// Patterns that fit a cut `comm` alone: line, key, pattern.
    cut: Vec<(usize, String, String)>,
}

impl Content for Reading {
    fn table(&mut self, table: &str, line: usize) {
        self.file.native.table(table, line);
    }

    fn seen(&mut self, entry: &Entry<'_>, value: &Spanned<DeValue<'_>>) {
        match entry.key.role {
            Role::Name => self.named = true,
            Role::ProcessName | Role::Patterns => {
                self.process_named |= entry.key.role == Role::ProcessName;
                self.look_for_cut_names(entry, value);
            }
            Role::Own => {
                self.names_given |= entry.path == "service.process_names";
                self.file.native.seen(entry);
                if matches!(entry.path, "service.process_names" | "instance.process_name") {
                    self.look_for_cut_names(entry, value);
                }
            }
            Role::NoEffect => self.no_effect.push((entry.line, entry.path.to_owned())),
            _ => {}
        }
    }

    fn set(&mut self, entry: &Entry<'_>, value: Value) {
        self.file.set(entry, value);
    }
}

impl Reading {
    fn look_for_cut_names(&mut self, entry: &Entry<'_>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Array(list) => {
                for value in list.iter() {
                    self.look_for_cut_names(entry, value);
                }
            }
            DeValue::String(pattern) if pattern::fits_cut_names_only(pattern) => {
                let line = entry.line_at(value.span().start);
                self.cut.push((line, entry.path.to_owned(), pattern.to_string()));
            }
            _ => {}
        }
    }

    fn finish(mut self, schema: Schema, mut faults: Vec<Fault>) -> Parsed {
        self.file.name_key = schema.key_of(Role::Name).map_or_else(String::new, Key::path);
        if !self.named {
            faults.extend(self.file.name_after_folder());
        }
        let path = self.file.path.clone();
        faults.extend(self.file.native.faults(&path, self.process_named));
        self.file.enabled &= !self.file.native.is_disabled();
        let instances = &self.file.native.instances;
        let by_instance =
            !instances.is_empty() && instances.iter().all(|instance| instance.patterns.is_some());
        let watches_none = !self.file.native.collectors.is_empty();
        if !self.process_named && !self.names_given && !by_instance && !watches_none {
            let key = schema
                .key_of(Role::ProcessName)
                .map_or_else(String::new, Key::path);
            let remedy = "name the process to watch, or give a regular expression such as \"^nginx$\"";
            faults.push(
                Finding::in_file(&path, None, "is missing")
                    .key(key)
                    .remedy(remedy),
            );
        }
        faults.sort_by_key(Finding::line);
        // Which warning it is depends on `match`, which may stand below the pattern.
        self.cut.sort();
        for (line, key, text) in &self.cut {
            if let Some((message, remedy)) = pattern::cut_name(text, self.file.matching) {
                let warning = Finding::in_file(&path, Some(*line), message).key(key);
                self.file.warnings.push(warning.remedy(remedy));
            }
        }
        self.no_effect.sort();
        if let Some((line, _)) = self.no_effect.first() {
            let keys: Vec<&str> = self.no_effect.iter().map(|(_, key)| key.as_str()).collect();
            let message = format!("accepted, without effect in kevmon: {}", keys.join(", "));
            self.file
                .warnings
                .push(Finding::in_file(&path, Some(*line), message).harmless());
        }
        Parsed {
            file: self.file,
            faults,
        }
    }
}

impl PluginFile {
    fn name_after_folder(&mut self) -> Option<Fault> {
        if let Some(name) = discover::drop_in_name(&self.path).filter(|name| value::check_name(name).is_ok())
        {
            name.clone_into(&mut self.name);
            return None;
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        // "plugins/.." and "." have no name of their own.
        let named = match folder.file_name() {
            Some(_) => folder.to_owned(),
            None if folder.as_os_str().is_empty() => Path::new(".").canonicalize().unwrap_or_default(),
            None => folder.canonicalize().unwrap_or_default(),
        };
        let name = named
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let key = self.name_key.clone();
        if value::check_name(&name).is_ok() {
            self.name = name;
            None
        } else {
            let message = format!(
                "is missing, and the folder's name, {}, is no plugin name",
                quoted(&name)
            );
            let remedy = format!("write {key}, with letters A-Z a-z, digits, '.', '_' and '-' only");
            Some(
                Finding::in_file(&self.path, None, message)
                    .key(key)
                    .remedy(remedy),
            )
        }
    }
}
