//! Where plugins export to, as their files say it: names of the settings file, URLs, and the legacy files' agents.

use std::path::Path;

use super::{
    Agent, Overrides, PluginReceiver, PluginReceivers,
    endpoint::{DEFAULT_HOST, DEFAULT_PORT, authority},
    environment::Environment,
    finding::{Fault, Finding, nearest, quoted},
    given::{Given, Origin},
    plugin_file::PluginFile,
    receiver::DEFAULT_RECEIVER,
    settings::{is_addressed, named_port},
    settings_file::SettingsFile,
    value::EndpointText,
};

/// The key that names them.
const KEY: &str = "export.endpoints";

/// The names in `file` that no endpoint has.
pub(crate) fn unknown(file: &PluginFile, settings: Option<&SettingsFile>) -> Vec<Fault> {
    let known = match settings {
        None => Vec::new(),
        Some(settings) => match settings.endpoint_names() {
            Some(names) => names,
            None => return Vec::new(), // it could not be read, which is a fault of its own
        },
    };
    let names = file.endpoints.iter().filter_map(|(line, text)| match text {
        EndpointText::Name(name) => Some((*line, name.as_str())),
        EndpointText::Url(..) => None,
    });
    let unknown = names.filter(|(_, name)| *name != DEFAULT_RECEIVER && !known.contains(name));
    unknown
        .map(|(line, name)| unknown_name(&file.path, line, name, &known))
        .collect()
}

fn unknown_name(path: &Path, line: usize, name: &str, known: &[&str]) -> Fault {
    let all = || known.iter().copied().chain([DEFAULT_RECEIVER]);
    let list = all().collect::<Vec<_>>().join(", ");
    let remedy = match nearest(name, all()) {
        Some(near) => format!("did you mean \"{near}\"? known: {list}"),
        None => format!("write a URL with its scheme, or one of the names of kevmon.toml: {list}"),
    };
    Finding::in_file(path, Some(line), format!("there is no endpoint {}", quoted(name)))
        .key(KEY)
        .remedy(remedy)
}

/// The receivers that `files` name, and for each of the files the names of its own.
pub(crate) fn settle(
    files: &[PluginFile],
    environment: &Environment,
    overrides: &Overrides,
    settings: Option<&SettingsFile>,
) -> (PluginReceivers, Vec<Vec<String>>) {
    let mut receivers = PluginReceivers::default();
    let agents: Vec<Option<Agent>> = if is_addressed(environment, overrides, settings) {
        vec![None; files.len()]
    } else {
        let port = named_port(environment, overrides);
        files.iter().map(|file| agent(file, port)).collect()
    };
    let same = |one: &Agent, other: &Agent| (&one.host, one.port) == (&other.host, other.port);
    let mut named = agents.iter().flatten();
    let first = named.next();
    let agree = first.is_some_and(|first| named.all(|agent| same(first, agent)));
    receivers.agreed = first.filter(|_| agree).cloned();
    let names = files
        .iter()
        .zip(agents)
        .map(|(file, agent)| match agent {
            Some(agent) if !agree => {
                let name = authority(&agent.host, agent.port);
                receivers.add(&name, || PluginReceiver::Agent(agent));
                vec![name]
            }
            _ => file_receivers(file, &mut receivers),
        })
        .collect();
    (receivers, names)
}

fn agent(file: &PluginFile, port: Option<u16>) -> Option<Agent> {
    if file.agent_host.is_none() && file.agent_port.is_none() {
        return None;
    }
    Some(Agent {
        host: file.agent_host.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        port: port.or(file.agent_port).unwrap_or(DEFAULT_PORT),
        path: file.path.clone(),
    })
}

fn file_receivers(file: &PluginFile, receivers: &mut PluginReceivers) -> Vec<String> {
    let named = file.endpoints.iter().map(|(line, text)| match text {
        EndpointText::Name(name) => name.clone(),
        EndpointText::Url(text, url) => {
            receivers.add(text, || {
                let origin = Origin::File {
                    path: file.path.clone(),
                    line: *line,
                    key: KEY.to_owned(),
                };
                PluginReceiver::Url(Given::new(url.clone(), origin))
            });
            text.clone()
        }
    });
    named.collect()
}

impl PluginReceivers {
    fn add(&mut self, name: &str, receiver: impl FnOnce() -> PluginReceiver) {
        if !self.own.iter().any(|(known, _)| known == name) {
            self.own.push((name.to_owned(), receiver()));
        }
    }
}

/// How many names in the plugin file `text` are unknown to `settings`.
#[cfg(test)]
pub(crate) fn unknown_count(settings: &SettingsFile, text: &str) -> usize {
    let parsed = super::plugin_file::parse(Path::new("x/plugin.toml"), text);
    assert!(parsed.faults.is_empty(), "{:?}", parsed.faults);
    unknown(&parsed.file, Some(settings)).len()
}
