//! What kevmon's own schema has beyond the published ones: several services and instances of one plugin, selectors,
//! settings, collectors and transforms.

mod collectors;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use regex::Regex;

use super::{
    finding::{Fault, Finding, quoted},
    resource_filter::ResourceFilter,
    scalar::Scalar,
    template::Template,
    value::Value,
    walk::Entry,
};
use crate::plugin::{
    collector::Transform,
    definition::{DEFAULT_INTERVAL, DETAILED_INTERVAL, Detail, MetricFilter, Selectors, User},
};
pub(crate) use collectors::CollectorKeys;
pub(crate) use settings::SettingKeys;

/// A value and the line that it stands at.
pub(crate) type At<T> = (usize, T);

/// Interval of a plugin in minimal mode that names none.
const MINIMAL_INTERVAL: Duration = Duration::from_secs(300);

/// `mode`, and what goes with it.
#[derive(Debug, Default, Clone)]
pub(crate) struct ModeKeys {
    /// As written.
    mode: Option<At<String>>,
    sample_interval: Option<At<Duration>>,
    memory_detail: Option<At<bool>>,
}

impl ModeKeys {
    fn set(&mut self, line: usize, name: &str, value: &Value) -> bool {
        match (name, value) {
            ("mode", Value::Text(mode)) => self.mode = Some((line, mode.clone())),
            ("sample_interval", Value::Duration(interval)) => self.sample_interval = Some((line, *interval)),
            ("memory_detail", Value::Flag(memory)) => self.memory_detail = Some((line, *memory)),
            _ => return false,
        }
        true
    }

    /// The interval that a mode stands for, where none is given.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let (_, mode) = self.mode.as_ref()?;
        Some(match mode.as_str() {
            "detailed" => DETAILED_INTERVAL,
            "minimal" => MINIMAL_INTERVAL,
            _ => DEFAULT_INTERVAL,
        })
    }

    fn is_detailed(&self) -> bool {
        self.mode.as_ref().is_some_and(|(_, mode)| mode == "detailed")
    }

    /// These, and where nothing is given those of `plugin`.
    pub(crate) fn over(&self, plugin: &Self) -> Self {
        Self {
            mode: self.mode.clone().or_else(|| plugin.mode.clone()),
            sample_interval: self.sample_interval.or(plugin.sample_interval),
            memory_detail: self.memory_detail.or(plugin.memory_detail),
        }
    }

    /// What the detailed mode measures; `None` in any other.
    pub(crate) fn detail(&self) -> Option<Detail> {
        let standard = Detail::default();
        self.is_detailed().then(|| Detail {
            sample_interval: self
                .sample_interval
                .map_or(standard.sample_interval, |(_, interval)| interval),
            memory: self.memory_detail.map_or(standard.memory, |(_, memory)| memory),
        })
    }

    /// Keys that say something about the detailed mode where there is none.
    fn without_effect(&self) -> Vec<(usize, &'static str)> {
        if self.is_detailed() {
            return Vec::new();
        }
        let sample = self.sample_interval.map(|(line, _)| (line, "sample_interval"));
        let memory = self.memory_detail.map(|(line, _)| (line, "memory_detail"));
        sample.into_iter().chain(memory).collect()
    }
}

/// Instances of one plugin.
const MOST_INSTANCES: usize = 1000;

/// The keys of kevmon's own; absent ones are absent.
#[derive(Debug, Default)]
pub(crate) struct Native {
    /// Each a service of its own.
    pub(crate) process_names: Option<At<Vec<String>>>,
    pub(crate) selectors: Selected,
    pub(crate) children: bool,
    pub(crate) mode: ModeKeys,
    pub(crate) forget_after: Option<Duration>,
    pub(crate) resource_filter: Option<ResourceFilter>,
    pub(crate) metrics: MetricFilter,
    pub(crate) arguments: Vec<String>,
    /// `processes.executable_path`
    pub(crate) paths: bool,
    pub(crate) settings: BTreeMap<String, At<SettingKeys>>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) collectors: Vec<At<CollectorKeys>>,
    pub(crate) transforms: Vec<Transform>,
    disabled: Option<At<bool>>,
    enabled: Option<At<bool>>,
    metrics_line: usize,
}

/// What a process has to be, as far as it is given.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selected {
    exclude: Option<Vec<Regex>>,
    users: Option<Vec<User>>,
    cgroups: Option<Vec<Regex>>,
    units: Option<Vec<Regex>>,
    containers: Option<Vec<Regex>>,
}

/// One `[[instance]]`.
#[derive(Debug, Default)]
pub(crate) struct Instance {
    pub(crate) line: usize,
    /// One stands there, right or wrong.
    has_id: bool,
    pub(crate) id: String,
    /// What its service is called, and the line that says so.
    pub(crate) service_name: Option<At<Template>>,
    pub(crate) patterns: Option<Vec<Regex>>,
    pub(crate) enabled: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) mode: ModeKeys,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) selectors: Selected,
    pub(crate) settings: BTreeMap<String, At<Scalar>>,
}

impl Selected {
    fn set(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("exclude", Value::Patterns(patterns)) => self.exclude = Some(patterns),
            ("cgroup", Value::Patterns(patterns)) => self.cgroups = Some(patterns),
            ("unit", Value::Patterns(patterns)) => self.units = Some(patterns),
            ("container", Value::Patterns(patterns)) => self.containers = Some(patterns),
            ("user", Value::Users(users)) => self.users = Some(users),
            _ => {}
        }
    }

    /// These, and where nothing is given those of `plugin`.
    pub(crate) fn over(&self, plugin: &Self) -> Selectors {
        let patterns = |own: &Option<Vec<Regex>>, other: &Option<Vec<Regex>>| {
            own.clone().or_else(|| other.clone()).unwrap_or_default()
        };
        Selectors {
            exclude: patterns(&self.exclude, &plugin.exclude),
            users: self
                .users
                .clone()
                .or_else(|| plugin.users.clone())
                .unwrap_or_default(),
            cgroups: patterns(&self.cgroups, &plugin.cgroups),
            units: patterns(&self.units, &plugin.units),
            containers: patterns(&self.containers, &plugin.containers),
        }
    }
}

impl Native {
    /// One of several tables begins.
    pub(crate) fn table(&mut self, table: &str, line: usize) {
        let parts: Vec<&str> = table.split('.').collect();
        match parts[..] {
            ["instance", _] => self.instances.push(Instance {
                line,
                enabled: true,
                ..Instance::default()
            }),
            ["settings", name] => {
                self.settings
                    .insert(name.to_owned(), (line, SettingKeys::default()));
            }
            ["collector", _] => self.collectors.push((line, CollectorKeys::default())),
            ["collector", _, "metric", _] => {
                if let Some((_, collector)) = self.collectors.last_mut() {
                    collector.metric(line);
                }
            }
            _ => {}
        }
    }

    /// A key, right or wrong.
    pub(crate) fn seen(&mut self, entry: &Entry<'_>) {
        let of_collector = entry.table.split('.').next() == Some("collector");
        if let Some((_, collector)) = self.collectors.last_mut().filter(|_| of_collector) {
            collector.seen(entry);
        }
        let of_instance = entry.table.split('.').next() == Some("instance");
        if let Some(instance) = self.instances.last_mut().filter(|_| of_instance) {
            instance.has_id |= entry.name == "id";
        }
    }

    pub(crate) fn enabled(&mut self, line: usize, enabled: bool) {
        self.enabled = Some((line, enabled));
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.is_some_and(|(_, disabled)| disabled)
    }

    pub(crate) fn set(&mut self, entry: &Entry<'_>, value: Value) {
        let parts: Vec<&str> = entry.table.split('.').collect();
        match parts[..] {
            ["service"] => match (entry.name, value) {
                ("process_names", Value::Texts(names)) => self.process_names = Some((entry.line, names)),
                ("children", Value::Flag(children)) => self.children = children,
                (name, value) => self.selectors.set(name, value),
            },
            ["monitoring"] => match (entry.name, value) {
                ("disabled", Value::Flag(disabled)) => self.disabled = Some((entry.line, disabled)),
                (name, value) if self.mode.set(entry.line, name, &value) => {}
                ("forget_after", Value::Duration(time)) => self.forget_after = Some(time),
                ("resource_filter", Value::Filter(filter)) => self.resource_filter = Some(filter),
                _ => {}
            },
            ["metrics"] => {
                self.metrics_line = self.metrics_line.max(entry.line);
                match (entry.name, value) {
                    ("include", Value::Texts(names)) => self.metrics.include = names,
                    ("exclude", Value::Texts(names)) => self.metrics.exclude = names,
                    _ => {}
                }
            }
            ["processes"] => match (entry.name, value) {
                ("arguments", Value::Texts(arguments)) => self.arguments = arguments,
                ("executable_path", Value::Flag(paths)) => self.paths = paths,
                _ => {}
            },
            ["instance", _] => {
                if let Some(instance) = self.instances.last_mut() {
                    instance.set(entry, value);
                }
            }
            ["settings", name] => {
                if let Some((_, setting)) = self.settings.get_mut(name) {
                    setting.set(entry, value);
                }
            }
            ["collector", ..] => {
                if let Some((_, collector)) = self.collectors.last_mut() {
                    collector.set(entry, parts.len() > 2, value);
                }
            }
            ["transforms"] => {
                if let Value::Rate { result, counters } = value {
                    self.transforms.push(Transform {
                        group: entry.name.to_owned(),
                        result,
                        counters,
                    });
                }
            }
            _ => {}
        }
    }

    /// What only the whole file shows: conflicts, and what is missing. `process_named`: the file has one process name.
    pub(crate) fn faults(&self, path: &Path, process_named: bool) -> Vec<Fault> {
        let mut faults = self.faults_of_names(path, process_named);
        faults.extend(self.contradictions(path));
        faults.extend(self.faults_of_instances(path));
        for (name, (_, setting)) in &self.settings {
            faults.extend(setting.faults(path, name));
        }
        let mut names = BTreeSet::new();
        for (line, collector) in &self.collectors {
            faults.extend(collector.faults(path, *line, &self.settings));
            if !collector.name.is_empty() && !names.insert(&collector.name) {
                let message = format!(
                    "{} is the name of another collector already",
                    quoted(&collector.name)
                );
                let remedy = "give one of them another name";
                faults.push(fault(path, *line, "collector.name", message, remedy));
            }
        }
        faults
    }

    fn faults_of_names(&self, path: &Path, process_named: bool) -> Vec<Fault> {
        let Some((line, names)) = &self.process_names else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        let mut add = |message: String, remedy: &str| {
            faults.push(fault(path, *line, "service.process_names", message, remedy));
        };
        if process_named {
            let message = "stands beside service.process_name".to_owned();
            add(
                message,
                "keep one of the two: a list here makes a service of each name",
            );
        }
        if !self.instances.is_empty() {
            let message = "stands beside [[instance]]".to_owned();
            add(message, "write an [[instance]] with a process_name for each");
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if let Err(error) = super::pattern::compile(name) {
                let remedy = "write names, or regular expressions such as \"^nginx$\"";
                add(error.to_string(), remedy);
            } else if suffix(name).is_empty() {
                let message = format!("{} has no letter or digit to name a service after", quoted(name));
                add(message, "write a name with letters");
            } else if !seen.insert(suffix(name)) {
                let message = format!(
                    "{} makes the same service as another one of the list",
                    quoted(name)
                );
                add(message, "remove one of them");
            }
        }
        if names.is_empty() {
            add("the list is empty".to_owned(), "name at least one process");
        }
        faults
    }

    fn contradictions(&self, path: &Path) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let (Some((line, true)), Some((_, true))) = (self.disabled, self.enabled) {
            let message = "contradicts monitoring.enabled = true".to_owned();
            faults.push(fault(
                path,
                line,
                "monitoring.disabled",
                message,
                "keep one of the two",
            ));
        }
        let of_instances = self.instances.iter().map(|instance| ("instance", &instance.mode));
        if !of_instances.clone().any(|(_, mode)| mode.is_detailed()) {
            let all = std::iter::once(("monitoring", &self.mode)).chain(of_instances);
            for (table, (line, name)) in
                all.flat_map(|(table, mode)| mode.without_effect().into_iter().map(move |key| (table, key)))
            {
                if table == "instance" && self.mode.is_detailed() {
                    continue;
                }
                let message = "belongs to the detailed mode, which is off".to_owned();
                let remedy = "write mode = \"detailed\" in the same table, or remove it";
                faults.push(fault(path, line, &format!("{table}.{name}"), message, remedy));
            }
        }
        for name in self
            .metrics
            .include
            .iter()
            .filter(|name| self.metrics.exclude.contains(name))
        {
            let message = format!("{} is both included and excluded", quoted(name));
            let remedy = "take it out of one of the lists";
            faults.push(fault(path, self.metrics_line, "metrics", message, remedy));
        }
        faults
    }

    fn faults_of_instances(&self, path: &Path) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut ids = BTreeSet::new();
        if let Some(first_beyond) = self.instances.get(MOST_INSTANCES) {
            let message = format!("has {} entries", self.instances.len());
            let remedy = format!("keep it to {MOST_INSTANCES}");
            faults.push(fault(path, first_beyond.line, "instance", message, &remedy));
        }
        for instance in &self.instances {
            if instance.id.is_empty() && instance.has_id {
                continue; // it is no name, which has been said
            }
            if instance.id.is_empty() {
                let remedy = "write id = \"…\", which tells the instances of the plugin apart";
                let message = "is missing".to_owned();
                faults.push(fault(path, instance.line, "instance.id", message, remedy));
            } else if !ids.insert(&instance.id) {
                let message = format!("{} is the id of another instance already", quoted(&instance.id));
                let remedy = "give one of them another id";
                faults.push(fault(path, instance.line, "instance.id", message, remedy));
            }
            for (name, (line, _)) in &instance.settings {
                if !self.settings.contains_key(name) {
                    let known = self.settings.keys().map(String::as_str);
                    let remedy = match super::finding::nearest(name, known) {
                        Some(near) => format!("did you mean {near}?"),
                        None => format!("declare it: [settings.{name}]"),
                    };
                    let message = format!("there is no setting {}", quoted(name));
                    faults.push(fault(path, *line, "instance.settings", message, &remedy));
                }
            }
        }
        faults
    }
}

fn fault(path: &Path, line: usize, key: &str, message: String, remedy: &str) -> Fault {
    Finding::in_file(path, Some(line), message)
        .key(key)
        .remedy(remedy)
}

impl Instance {
    fn set(&mut self, entry: &Entry<'_>, value: Value) {
        match (entry.name, value) {
            ("id", Value::Text(id)) => self.id = id,
            ("name", Value::Template(name)) => self.service_name = Some((entry.line, name)),
            ("process_name", Value::Patterns(patterns)) => self.patterns = Some(patterns),
            ("enabled", Value::Flag(enabled)) => self.enabled = enabled,
            ("interval", Value::Duration(interval)) => self.interval = Some(interval),
            (name, value) if self.mode.set(entry.line, name, &value) => {}
            ("attributes", Value::Attributes(attributes)) => self.attributes = attributes,
            ("settings", Value::Scalars(settings)) => {
                let settings = settings.into_iter();
                self.settings = settings
                    .map(|(name, value)| (name, (entry.line, value)))
                    .collect();
            }
            (name, value) => self.selectors.set(name, value),
        }
    }
}

/// What stands behind the plugin's name for one of several names: `MyAppWeb` → `myappweb`.
pub(crate) fn suffix(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept = lower.chars().map(|c| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
            c
        } else {
            '-'
        }
    });
    let mut suffix = String::new();
    for c in kept {
        if c != '-' || !suffix.ends_with('-') {
            suffix.push(c);
        }
    }
    suffix.trim_matches(['-', '.', '_']).to_owned()
}
