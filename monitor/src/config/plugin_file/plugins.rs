//! From a plugin file to the plugins that it defines: one, or one for each of its names or instances.

use std::{collections::BTreeMap, path::Path, time::Duration};

use regex::Regex;

use super::PluginFile;
use crate::{
    config::{
        finding::{Fault, Finding, quoted, split},
        native::{self, Instance},
        pattern,
        resource_filter::HostResource,
        template::{Names, Template},
        value::check_service_name,
    },
    plugin::{
        definition::{DEFAULT_INTERVAL, PerProcess, Plugin},
        service::{ServiceName, without_anchors},
    },
};

impl PluginFile {
    /// The names of the plugins that the file defines.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.native.process_names {
            Some((_, names)) => names
                .iter()
                .map(|name| format!("{}-{}", self.name, native::suffix(name)))
                .collect(),
            None => vec![self.name.clone()],
        }
    }

    /// The plugins that the file defines: one, or one for each of its names or instances. `patterns` stand for the file's own
    /// name, `interval` gives that of an instance, by its own and by what its mode stands for.
    ///
    /// # Errors
    /// Settings that are missing or do not fit.
    pub(crate) fn into_plugins(
        self,
        patterns: &[Regex],
        interval: impl Fn(Option<Duration>, Duration) -> Duration,
        receivers: &[String],
        given: &[(String, String)],
    ) -> Result<Vec<Plugin>, Vec<Fault>> {
        let one = |name: String, process: &str, patterns: Vec<Regex>, instance: Option<&Instance>| {
            let settings = instance.map(|instance| &instance.settings);
            let settings = self.native.settled(&self.path, settings, given)?;
            Ok(self.plugin(name, process, patterns, instance, settings, receivers))
        };
        let mut plugins: Vec<Result<Plugin, Vec<Fault>>> = Vec::new();
        if let Some((_, names)) = &self.native.process_names {
            for (name, process) in self.names().into_iter().zip(names) {
                let given = self.by_service.get(&name).and_then(|own| own.pattern.clone());
                let pattern = given.or_else(|| pattern::compile(process).ok());
                plugins.push(one(name, process, pattern.into_iter().collect(), None));
            }
        } else if self.native.instances.is_empty() {
            plugins.push(one(
                self.name.clone(),
                &self.process_name,
                patterns.to_vec(),
                None,
            ));
        }
        for instance in self.native.instances.iter().filter(|instance| instance.enabled) {
            let own = instance.patterns.clone();
            let process = own
                .as_ref()
                .and_then(|own| own.first())
                .map(|first| first.as_str().to_owned());
            let process = process.unwrap_or_else(|| self.process_name.clone());
            let patterns = own.unwrap_or_else(|| patterns.to_vec());
            plugins.push(one(self.name.clone(), &process, patterns, Some(instance)));
        }
        let mut all = Vec::new();
        for plugin in plugins {
            let mut plugin = plugin?;
            let own = self
                .native
                .instances
                .iter()
                .find(|instance| Some(&instance.id) == plugin.instance.as_ref());
            let of_service = self.by_service.get(&plugin.name).and_then(|own| own.interval);
            let mode = match own {
                Some(instance) => instance.mode.over(&self.native.mode),
                None => self.native.mode.clone(),
            };
            let default = mode.interval().unwrap_or(DEFAULT_INTERVAL);
            plugin.interval =
                of_service.unwrap_or_else(|| interval(own.and_then(|instance| instance.interval), default));
            plugin.detail = mode.detail();
            all.push(plugin);
        }
        let faults = self.faults_of_service_names(&all);
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }

    /// What `plugin` is called, with the line and the key that say so.
    fn name_given<'a>(
        &'a self,
        instance: Option<&'a Instance>,
    ) -> Option<(usize, &'static str, &'a Template)> {
        let of_instance = instance.and_then(|instance| instance.service_name.as_ref());
        let of_instance = of_instance.map(|(line, name)| (*line, "instance.name", name));
        of_instance.or_else(|| {
            let (line, name) = self.service_name.as_ref()?;
            Some((*line, "service.name", name))
        })
    }

    /// Names that placeholders have made unfit, and services of `process_names` that would have one name: no receiver could
    /// tell their numbers apart by it. Instances may have one name, which says that they are one service.
    fn faults_of_service_names(&self, plugins: &[Plugin]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut seen: BTreeMap<&str, &Plugin> = BTreeMap::new();
        for plugin in plugins {
            let instances = self.native.instances.iter();
            let instance = instances
                .into_iter()
                .find(|instance| Some(&instance.id) == plugin.instance.as_ref());
            let (Some(name), Some((line, key, _))) = (&plugin.service.given, self.name_given(instance))
            else {
                continue;
            };
            let fault = |message: String| Finding::in_file(&self.path, Some(line), message).key(key);
            if let Err(error) = check_service_name(name) {
                faults.push(split(fault(String::new()), &error));
            } else if let Some(other) = seen.get(name.as_str())
                && self.native.process_names.is_some()
            {
                let message = format!(
                    "the services of {} and {} would both be called {}",
                    other.label(),
                    plugin.label(),
                    quoted(name)
                );
                let remedy = "write {process_name} or {plugin_name} into the name";
                faults.push(fault(message).remedy(remedy));
                break;
            }
            seen.insert(name, plugin);
        }
        faults
    }

    fn plugin(
        &self,
        name: String,
        process: &str,
        patterns: Vec<Regex>,
        instance: Option<&Instance>,
        settings: BTreeMap<String, String>,
        receivers: &[String],
    ) -> Plugin {
        let names = Names {
            namespace: &self.namespace,
            process: if process.is_empty() { &name } else { process },
            plugin: &name,
        };
        let plain = without_anchors(names.process);
        let spelled = Names {
            process: if plain.trim().is_empty() { &name } else { &plain },
            ..names
        };
        let given = self.name_given(instance);
        let service = ServiceName {
            plain: self.template.expand(spelled),
            given: given.map(|(_, _, name)| name.expand(spelled)),
            ..ServiceName::new(self.namespace.clone(), self.template.expand(names))
        };
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let native = &self.native;
        let mut attributes = self.attributes.clone();
        attributes.extend(instance.iter().flat_map(|instance| instance.attributes.clone()));
        let (templates, attributes) = attributes.into_iter().partition(|(_, text)| text.contains('{'));
        Plugin {
            instance: instance.map(|instance| instance.id.clone()),
            description: self.description.clone(),
            selectors: match instance {
                Some(instance) => instance.selectors.over(&native.selectors),
                None => native.selectors.over(&native.selectors),
            },
            children: native.children,
            forget_after: native.forget_after,
            metrics: native.metrics.clone(),
            arguments: native.arguments.clone(),
            templates,
            collectors: native
                .collectors
                .iter()
                .filter_map(|(_, collector)| collector.spec(folder, &settings))
                .collect(),
            transforms: native.transforms.clone(),
            settings,
            naming: self.naming,
            aggregate: self.aggregate,
            prefix: self.prefix,
            restart_window: self.restart_window,
            failed_start: self.failed_start,
            events: self.events,
            matching: self.matching,
            per_process: self.processes.then_some(PerProcess {
                most: self.most_processes,
                rank: self.rank,
                paths: native.paths,
            }),
            receivers: receivers.to_vec(),
            attributes,
            origin: Some(self.path.clone()),
            ..Plugin::new(name, service, patterns)
        }
    }

    /// Whether the file wants to run on this host.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let resource = HostResource {
            host,
            attributes: &self.attributes,
        };
        let filter = self.native.resource_filter.as_ref();
        filter.is_none_or(|filter| filter.fits(resource))
    }
}
