//! What is wrong with `[[collector]]` and `[[collector.metric]]`: keys that are missing, that a kind does not take, or that
//! do not go together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    super::{At, SettingKeys},
    CollectorKeys, MetricKeys, file_path,
};
use crate::{
    config::{
        endpoint,
        finding::{Fault, Finding, nearest, quoted},
        runners,
    },
    plugin::collector::Format,
};

/// What each kind of collector takes beside name, kind, interval, timeout and metric; the first is required.
const TAKES: [(&str, &[&str]); 4] = [
    ("file", &["path", "user", "allow_unconfined"]),
    (
        "command",
        &[
            "command",
            "format",
            "stream",
            "silence",
            "user",
            "environment",
            "max_output",
            "max_memory",
            "allow_network",
            "allow_unconfined",
        ],
    ),
    ("http", &["url", "format", "hosts", "max_output"]),
    ("builtin", &["builtin"]),
];
const COMMON: [&str; 4] = ["name", "kind", "interval", "timeout"];

/// The faults of one collector, as they are found.
struct Faults<'a> {
    path: &'a Path,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, line: usize, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let finding = Finding::in_file(self.path, Some(line), message);
        self.found
            .push(finding.key(format!("collector.{key}")).remedy(remedy));
    }

    /// Of an error that is "what is wrong; what to do".
    fn add_error(&mut self, line: usize, key: &str, error: &str) {
        let (message, remedy) = error.split_once("; ").unwrap_or((error, "correct it"));
        self.add(line, key, message, remedy);
    }
}

impl CollectorKeys {
    /// What is missing or does not go together.
    pub(in crate::config::native) fn faults(
        &self,
        path: &Path,
        line: usize,
        settings: &BTreeMap<String, At<SettingKeys>>,
    ) -> Vec<Fault> {
        let mut faults = Faults {
            path,
            found: Vec::new(),
        };
        for (name, remedy) in [
            ("name", "write name = \"…\"; failures are counted under it"),
            (
                "kind",
                "write kind = \"file\", \"command\", \"http\" or \"builtin\"",
            ),
        ] {
            if !self.is_given(name) {
                faults.add(line, name, "is missing", remedy);
            }
        }
        let known = TAKES.iter().find(|(kind, _)| Some(*kind) == self.kind.as_deref());
        if let Some((kind, takes)) = known {
            self.add_strangers(&mut faults, line, kind, takes);
            self.add_places(&mut faults);
            self.add_names(&mut faults, line);
            self.add_settings(&mut faults, line, takes[0], settings);
            self.add_format(&mut faults, line, kind, takes);
            self.add_stream(&mut faults, line, kind);
            self.add_metrics(&mut faults);
        }
        faults.found
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// Keys that the kind needs, and those that it does not take.
    fn add_strangers(&self, faults: &mut Faults<'_>, line: usize, kind: &str, takes: &[&str]) {
        if !self.is_given(takes[0]) {
            let remedy = format!("a collector of kind \"{kind}\" needs it");
            faults.add(line, takes[0], "is missing", remedy);
        }
        for (name, line) in &self.given {
            if !takes.contains(&name.as_str()) && !COMMON.contains(&name.as_str()) {
                let message = format!("has no meaning for kind = \"{kind}\"");
                let remedy = format!("remove it; kind = \"{kind}\" takes: {}", takes.join(", "));
                faults.add(*line, name, message, remedy);
            }
        }
    }

    /// Where the values are to come from.
    fn add_places(&self, faults: &mut Faults<'_>) {
        if let Some((line, text)) = &self.path
            && let Err(error) = file_path(text)
        {
            faults.add_error(*line, "path", &error);
        }
        if let Some((line, command)) = &self.command {
            let program = command.first().map_or("", String::as_str);
            if !(program.starts_with('/') || program.starts_with("./") || runners::is_runner(program)) {
                let message = format!(
                    "the program {} is neither absolute nor beside the plugin file",
                    quoted(program)
                );
                let remedy =
                    "write a path that begins with / or ./ ; a shell is not started unless you name one";
                faults.add(*line, "command", message, remedy);
            }
        }
        if let Some((line, url)) = &self.url
            && let Err(error) = check_url(url, &self.hosts)
        {
            faults.add_error(*line, "url", &error);
        }
    }

    /// Names that no variable of an environment can have (environ(7)), and an attribute that is kevmon's.
    fn add_names(&self, faults: &mut Faults<'_>, line: usize) {
        for name in self.environment.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("{} is no name of a variable", quoted(name));
                faults.add(line, "environment", message, "write NAME = \"value\"");
            }
        }
        let of_members = self.path.as_ref().is_some_and(|(_, path)| path.contains("{pid}"));
        for (line, metric) in self.metrics.iter().filter(|_| of_members) {
            if metric.attributes.contains_key("process.pid") {
                let remedy = "take it out: kevmon sets it to each member's";
                faults.add(*line, "metric.attributes", "holds process.pid", remedy);
            }
        }
    }

    /// Settings that are named and not declared.
    fn add_settings(
        &self,
        faults: &mut Faults<'_>,
        line: usize,
        key: &str,
        settings: &BTreeMap<String, At<SettingKeys>>,
    ) {
        let mut texts: Vec<At<&str>> = Vec::new();
        texts.extend(self.path.iter().map(|(line, text)| (*line, text.as_str())));
        if let Some((line, command)) = &self.command {
            texts.extend(command.iter().map(|text| (*line, text.as_str())));
        }
        texts.extend(self.url.iter().map(|(line, text)| (*line, text.as_str())));
        texts.extend(self.environment.values().map(|text| (line, text.as_str())));
        for (line, text) in texts {
            for name in placeholders(text).filter(|name| !settings.contains_key(*name)) {
                let message = format!("there is no setting {}", quoted(name));
                let remedy = match nearest(name, settings.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {{settings.{near}}}?"),
                    None => format!("declare it: [settings.{name}]"),
                };
                faults.add(line, key, message, remedy);
            }
        }
    }

    fn add_format(&self, faults: &mut Faults<'_>, line: usize, kind: &str, takes: &[&str]) {
        let allowed: &[&str] = match kind {
            "http" => &["json", "prometheus"],
            "command" => &["text", "scalyr", "panoptes", "prometheus", "json"],
            _ => &["text"],
        };
        if let Some((line, given)) = &self.format
            && !allowed.contains(&given.as_str())
            && takes.contains(&"format")
        {
            let message = format!("{} is not for kind = \"{kind}\"", quoted(given));
            faults.add(
                *line,
                "format",
                message,
                format!("write one of {}", allowed.join(", ")),
            );
        }
        let names_nothing = matches!(self.format(), Format::Text | Format::Json) && kind != "builtin";
        if self.metrics.is_empty() && names_nothing {
            let remedy = "text and JSON name no values of themselves: write one for each value";
            faults.add(line, "metric", "has no [[collector.metric]]", remedy);
        }
    }

    /// Keys that a program which stays does not go with, and those that only it has.
    fn add_stream(&self, faults: &mut Faults<'_>, line: usize, kind: &str) {
        if kind != "command" {
            return; // that it has no meaning there is said
        }
        if !self.is_stream() {
            if let Some((line, _)) = self.silence {
                let remedy =
                    "write stream = true, or remove it; a run that takes too long is ended by timeout";
                faults.add(line, "silence", "has no meaning without stream = true", remedy);
            }
            return;
        }
        for (key, remedy) in [
            (
                "interval",
                "remove it: the program runs all the time, and finds the plugin's interval in KEVMON_INTERVAL",
            ),
            (
                "timeout",
                "remove it: the program runs all the time; silence says how long no value may come",
            ),
        ] {
            if let Some((_, line)) = self.given.iter().find(|(given, _)| given == key) {
                faults.add(*line, key, "stands beside stream = true", remedy);
            }
        }
        if !matches!(self.format(), Format::Scalyr | Format::Panoptes) {
            let line = self.format.as_ref().map_or(line, |(line, _)| *line);
            let message = "is not read line by line, as stream = true asks for";
            faults.add(
                line,
                "format",
                message,
                "write scalyr or panoptes, or remove stream",
            );
        }
    }

    fn add_metrics(&self, faults: &mut Faults<'_>) {
        let mut names = BTreeSet::new();
        for (line, metric) in &self.metrics {
            metric.add_faults(faults, *line, self.format());
            if !metric.name.is_empty() && !names.insert(&metric.name) {
                let message = format!("{} is the name of another metric already", quoted(&metric.name));
                faults.add(*line, "metric.name", message, "give one of them another name");
            }
        }
    }
}

impl MetricKeys {
    fn add_faults(&self, faults: &mut Faults<'_>, line: usize, format: Format) {
        if self.name.is_empty() && !self.has_name {
            faults.add(line, "metric.name", "is missing", "name the metric");
        }
        let (wanted, remedy): (&[&str], &str) = match format {
            Format::Text => (
                &["key", "regex"],
                "write key = \"Threads\" or regex = '…([0-9]+)'",
            ),
            Format::Json => (&["pointer"], "write pointer = \"/queue/depth\" (RFC 6901)"),
            _ => (&["from"], "the format names its values itself"),
        };
        let (fitting, strange): (Vec<_>, Vec<_>) = self
            .places
            .iter()
            .partition(|(name, _)| wanted.contains(&name.as_str()));
        for (name, line) in strange {
            let message = "has no meaning for the collector's format";
            faults.add(*line, &format!("metric.{name}"), message, remedy);
        }
        if matches!(format, Format::Text | Format::Json) && fitting.is_empty() {
            faults.add(line, &format!("metric.{}", wanted[0]), "is missing", remedy);
        }
        if let [(first, _), (name, line), ..] = &fitting[..] {
            let message = format!("stands beside {first}");
            faults.add(*line, &format!("metric.{name}"), message, "keep one of the two");
        }
        if let Some(pointer) = &self.pointer
            && !pointer.is_empty()
            && !pointer.starts_with('/')
        {
            let message = format!("{} is no JSON pointer", quoted(pointer));
            faults.add(line, "metric.pointer", message, "begin it with /");
        }
    }
}

/// Only http, and only hosts that are loopback or named.
fn check_url(url: &str, hosts: &[String]) -> Result<(), String> {
    if url.starts_with("https://") {
        return Err("https is not supported here; use a command, or a local http endpoint".to_owned());
    }
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| "has no scheme; write http://host:port/path".to_owned())?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("holds user info (…@…), which is never sent; remove it".to_owned());
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    endpoint::host(host)?;
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| !port.ends_with(']') && !port.contains('{'));
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(format!(
            "the port of {authority} is none; write one from 1 to 65535"
        ));
    }
    let loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if loopback || hosts.iter().any(|allowed| allowed == host) {
        Ok(())
    } else {
        Err(format!(
            "the host {} is neither this one nor named; write hosts = [{}] if it is meant",
            quoted(host),
            quoted(host)
        ))
    }
}

/// The names of `{settings.NAME}` in `text`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("{settings.")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
}
