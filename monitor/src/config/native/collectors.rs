//! `[[collector]]` and `[[collector.metric]]`: what each kind needs and takes, and the specification that comes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use regex::Regex;

use super::{At, SettingKeys};
use crate::{
    config::{
        endpoint,
        finding::{Fault, Finding, nearest, quoted},
        value::Value,
        walk::Entry,
    },
    plugin::collector::{
        CollectorSpec, DEFAULT_MEMORY, DEFAULT_OUTPUT, DEFAULT_TIMEOUT, FilePath, Format, MetricKind,
        MetricSpec, PROCESS_FILES, Place, Source, ValueType,
    },
};

/// One collector's keys.
#[derive(Debug, Default)]
pub(crate) struct CollectorKeys {
    pub(crate) name: String,
    kind: Option<String>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    path: Option<At<String>>,
    command: Option<At<Vec<String>>>,
    url: Option<At<String>>,
    builtin: Option<String>,
    format: Option<At<String>>,
    user: Option<String>,
    environment: BTreeMap<String, String>,
    hosts: Vec<String>,
    output: Option<u64>,
    memory: Option<u64>,
    allow_unconfined: bool,
    metrics: Vec<At<MetricKeys>>,
    /// Every key that stands there, right or wrong, and its line.
    given: Vec<(String, usize)>,
}

#[derive(Debug, Default)]
struct MetricKeys {
    name: String,
    unit: String,
    description: String,
    kind: Option<MetricKind>,
    value: Option<ValueType>,
    from: Option<String>,
    key: Option<String>,
    regex: Option<Regex>,
    pointer: Option<String>,
    attributes: BTreeMap<String, String>,
    /// The keys that say where the value is.
    places: Vec<(String, usize)>,
}

/// What each kind of collector takes beside name, kind, interval, timeout and metric; the first is required.
const TAKES: [(&str, &[&str]); 4] = [
    ("file", &["path", "user", "allow_unconfined"]),
    (
        "command",
        &[
            "command",
            "format",
            "user",
            "environment",
            "max_output",
            "max_memory",
            "allow_unconfined",
        ],
    ),
    ("http", &["url", "format", "hosts", "max_output"]),
    ("builtin", &["builtin"]),
];
const COMMON: [&str; 4] = ["name", "kind", "interval", "timeout"];

impl CollectorKeys {
    pub(super) fn metric(&mut self, line: usize) {
        self.metrics.push((line, MetricKeys::default()));
    }

    pub(super) fn seen(&mut self, entry: &Entry<'_>) {
        if entry.table.contains(".metric.") {
            if let Some((_, metric)) = self.metrics.last_mut()
                && matches!(entry.name, "from" | "key" | "regex" | "pointer")
            {
                metric.places.push((entry.name.to_owned(), entry.line));
            }
        } else {
            self.given.push((entry.name.to_owned(), entry.line));
        }
    }

    pub(super) fn set(&mut self, entry: &Entry<'_>, of_metric: bool, value: Value) {
        if of_metric {
            if let Some((_, metric)) = self.metrics.last_mut() {
                metric.set(entry.name, value);
            }
            return;
        }
        match (entry.name, value) {
            ("name", Value::Text(name)) => self.name = name,
            ("kind", Value::Text(kind)) => self.kind = Some(kind),
            ("interval", Value::Duration(interval)) => self.interval = Some(interval),
            ("timeout", Value::Duration(timeout)) => self.timeout = Some(timeout),
            ("path", Value::Text(path)) => self.path = Some((entry.line, path)),
            ("command", Value::Texts(command)) => self.command = Some((entry.line, command)),
            ("url", Value::Text(url)) => self.url = Some((entry.line, url)),
            ("builtin", Value::Text(builtin)) => self.builtin = Some(builtin),
            ("format", Value::Text(format)) => self.format = Some((entry.line, format)),
            ("user", Value::Text(user)) => self.user = Some(user),
            ("environment", Value::Map(environment)) => self.environment = environment,
            ("hosts", Value::Texts(hosts)) => self.hosts = hosts,
            ("max_output", Value::Bytes(bytes)) => self.output = Some(bytes),
            ("max_memory", Value::Bytes(bytes)) => self.memory = Some(bytes),
            ("allow_unconfined", Value::Flag(allow)) => self.allow_unconfined = allow,
            _ => {}
        }
    }

    fn format(&self) -> Format {
        match (
            self.format.as_ref().map(|(_, format)| format.as_str()),
            self.kind.as_deref(),
        ) {
            (Some("scalyr"), _) => Format::Scalyr,
            (Some("panoptes"), _) => Format::Panoptes,
            (Some("prometheus"), _) => Format::Prometheus,
            (Some("json"), _) | (None, Some("http")) => Format::Json,
            (Some("text"), _) | (None, Some("file")) => Format::Text,
            _ => Format::Scalyr,
        }
    }

    /// What is missing or does not go together.
    pub(super) fn faults(
        &self,
        path: &Path,
        line: usize,
        settings: &BTreeMap<String, At<SettingKeys>>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |line: usize, key: &str, message: String, remedy: String| {
            let key = format!("collector.{key}");
            faults.push(
                Finding::in_file(path, Some(line), message)
                    .key(key)
                    .remedy(remedy),
            );
        };
        let is_given = |name: &str| self.given.iter().any(|(given, _)| given == name);
        if !is_given("name") {
            let remedy = "write name = \"…\"; failures are counted under it".to_owned();
            fault(line, "name", "is missing".to_owned(), remedy);
        }
        if !is_given("kind") {
            let remedy = "write kind = \"file\", \"command\", \"http\" or \"builtin\"".to_owned();
            fault(line, "kind", "is missing".to_owned(), remedy);
        }
        let Some((kind, takes)) = TAKES.iter().find(|(kind, _)| Some(*kind) == self.kind.as_deref()) else {
            return faults;
        };
        if !is_given(takes[0]) {
            let remedy = format!("a collector of kind \"{kind}\" needs it");
            fault(line, takes[0], "is missing".to_owned(), remedy);
        }
        for (name, line) in &self.given {
            if !takes.contains(&name.as_str()) && !COMMON.contains(&name.as_str()) {
                let message = format!("has no meaning for kind = \"{kind}\"");
                let remedy = format!("remove it; kind = \"{kind}\" takes: {}", takes.join(", "));
                fault(*line, name, message, remedy);
            }
        }
        let mut texts: Vec<At<&str>> = Vec::new();
        if let Some((line, text)) = &self.path {
            texts.push((*line, text));
            if let Err(error) = file_path(text) {
                let (message, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
                fault(*line, "path", message.to_owned(), remedy.to_owned());
            }
        }
        if let Some((line, command)) = &self.command {
            texts.extend(command.iter().map(|text| (*line, text.as_str())));
            let program = command.first().map_or("", String::as_str);
            if !(program.starts_with('/') || program.starts_with("./")) {
                let message = format!(
                    "the program {} is neither absolute nor beside the plugin file",
                    quoted(program)
                );
                let remedy =
                    "write a path that begins with / or ./ ; a shell is not started unless you name one";
                fault(*line, "command", message, remedy.to_owned());
            }
        }
        if let Some((line, url)) = &self.url {
            texts.push((*line, url));
            if let Err(error) = check_url(url, &self.hosts) {
                let (message, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
                fault(*line, "url", message.to_owned(), remedy.to_owned());
            }
        }
        texts.extend(self.environment.values().map(|text| (line, text.as_str())));
        for (line, text) in texts {
            for name in placeholders(text) {
                if !settings.contains_key(name) {
                    let message = format!("there is no setting {}", quoted(name));
                    let remedy = match nearest(name, settings.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean {{settings.{near}}}?"),
                        None => format!("declare it: [settings.{name}]"),
                    };
                    fault(line, takes[0], message, remedy);
                }
            }
        }
        let format = self.format();
        let allowed: &[&str] = match *kind {
            "http" => &["json", "prometheus"],
            "command" => &["text", "scalyr", "panoptes", "prometheus", "json"],
            _ => &["text"],
        };
        if let Some((line, given)) = &self.format
            && !allowed.contains(&given.as_str())
            && takes.contains(&"format")
        {
            let message = format!("{} is not for kind = \"{kind}\"", quoted(given));
            fault(
                *line,
                "format",
                message,
                format!("write one of {}", allowed.join(", ")),
            );
        }
        if self.metrics.is_empty() && matches!(format, Format::Text | Format::Json) && *kind != "builtin" {
            let message = "has no [[collector.metric]]".to_owned();
            let remedy = "text and JSON name no values of themselves: write one for each value".to_owned();
            fault(line, "metric", message, remedy);
        }
        let mut names = BTreeSet::new();
        for (line, metric) in &self.metrics {
            faults.extend(metric.faults(path, *line, format));
            if !metric.name.is_empty() && !names.insert(&metric.name) {
                let message = format!("{} is the name of another metric already", quoted(&metric.name));
                let fault = Finding::in_file(path, Some(*line), message).key("collector.metric.name");
                faults.push(fault.remedy("give one of them another name"));
            }
        }
        faults
    }

    /// The collector, with the settings put in; `folder` is the plugin file's. Only for keys without faults.
    pub(crate) fn spec(&self, folder: &Path, settings: &BTreeMap<String, String>) -> Option<CollectorSpec> {
        let fill = |text: &str| filled(text, settings);
        let output = self.output.unwrap_or(DEFAULT_OUTPUT);
        let source = match self.kind.as_deref()? {
            "file" => Source::File {
                path: file_path(&fill(&self.path.as_ref()?.1)).ok()?,
                user: self.user.clone(),
                allow_unconfined: self.allow_unconfined,
            },
            "command" => {
                let mut argv: Vec<String> = self.command.as_ref()?.1.iter().map(|text| fill(text)).collect();
                if let Some(program) = argv.first_mut()
                    && let Some(beside) = program.strip_prefix("./")
                {
                    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                    *program = folder.join(beside).to_str()?.to_owned();
                }
                Source::Command {
                    argv,
                    format: self.format(),
                    user: self.user.clone(),
                    output,
                    memory: self.memory.unwrap_or(DEFAULT_MEMORY),
                    allow_unconfined: self.allow_unconfined,
                    environment: self
                        .environment
                        .iter()
                        .map(|(name, text)| (name.clone(), fill(text)))
                        .collect(),
                }
            }
            "http" => Source::Http {
                url: fill(&self.url.as_ref()?.1),
                hosts: self.hosts.clone(),
                format: self.format(),
                output,
            },
            _ => Source::BuiltIn(self.builtin.clone()?),
        };
        Some(CollectorSpec {
            name: self.name.clone(),
            interval: self.interval,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            source,
            metrics: self
                .metrics
                .iter()
                .filter_map(|(_, metric)| metric.spec())
                .collect(),
        })
    }
}

impl MetricKeys {
    fn set(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("name", Value::Text(name)) => self.name = name,
            ("unit", Value::Text(unit)) => self.unit = unit,
            ("description", Value::Text(text)) => self.description = text,
            ("type", Value::Text(word)) => {
                self.kind = Some(if word == "counter" {
                    MetricKind::Counter
                } else {
                    MetricKind::Gauge
                });
            }
            ("value", Value::Text(word)) => {
                self.value = Some(if word == "int" {
                    ValueType::Int
                } else {
                    ValueType::Float
                });
            }
            ("from", Value::Text(from)) => self.from = Some(from),
            ("key", Value::Text(key)) => self.key = Some(key),
            ("regex", Value::Regex(regex)) => self.regex = Some(regex),
            ("pointer", Value::Text(pointer)) => self.pointer = Some(pointer),
            ("attributes", Value::Map(attributes)) => self.attributes = attributes,
            _ => {}
        }
    }

    fn faults(&self, path: &Path, line: usize, format: Format) -> Vec<Fault> {
        let fault = |line: usize, key: &str, message: String, remedy: &str| {
            let key = format!("collector.metric.{key}");
            Finding::in_file(path, Some(line), message)
                .key(key)
                .remedy(remedy)
        };
        let mut faults = Vec::new();
        if self.name.is_empty() {
            faults.push(fault(line, "name", "is missing".to_owned(), "name the metric"));
        }
        let (wanted, remedy): (&[&str], &str) = match format {
            Format::Text => (
                &["key", "regex"],
                "write key = \"Threads\" or regex = '…([0-9]+)'",
            ),
            Format::Json => (&["pointer"], "write pointer = \"/queue/depth\" (RFC 6901)"),
            _ => (&["from"], "the format names its values itself"),
        };
        for (name, line) in &self.places {
            if !wanted.contains(&name.as_str()) {
                let message = "has no meaning for the collector's format".to_owned();
                faults.push(fault(*line, name, message, remedy));
            }
        }
        let fitting = self
            .places
            .iter()
            .filter(|(name, _)| wanted.contains(&name.as_str()));
        let fitting: Vec<_> = fitting.collect();
        if matches!(format, Format::Text | Format::Json) && fitting.is_empty() {
            faults.push(fault(line, wanted[0], "is missing".to_owned(), remedy));
        }
        if let [_, (name, line), ..] = &fitting[..] {
            let message = format!("stands beside {}", fitting[0].0);
            faults.push(fault(*line, name, message, "keep one of the two"));
        }
        if let Some(pointer) = &self.pointer
            && !pointer.is_empty()
            && !pointer.starts_with('/')
        {
            let message = format!("{} is no JSON pointer", quoted(pointer));
            faults.push(fault(line, "pointer", message, "begin it with /"));
        }
        faults
    }

    fn spec(&self) -> Option<MetricSpec> {
        let place = match (&self.key, &self.regex, &self.pointer) {
            (Some(key), _, _) => Place::Key(key.clone()),
            (_, Some(regex), _) => Place::Regex(regex.clone()),
            (_, _, Some(pointer)) => Place::Pointer(pointer.clone()),
            _ => Place::Name(self.from.clone().unwrap_or_else(|| self.name.clone())),
        };
        (!self.name.is_empty()).then(|| MetricSpec {
            name: self.name.clone(),
            unit: self.unit.clone(),
            description: self.description.clone(),
            kind: self.kind,
            value: self.value,
            place,
            attributes: self.attributes.clone(),
        })
    }
}

/// What a path of a `file` collector may be.
///
/// # Errors
/// "What is wrong; what to do".
fn file_path(path: &str) -> Result<FilePath, String> {
    const OF_PROCESS: &str = "/proc/{pid}/";
    let allowed = || PROCESS_FILES.join(", ");
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err("holds . or ..; write the path as it is".to_owned());
    }
    if let Some(file) = path.strip_prefix(OF_PROCESS) {
        return if PROCESS_FILES.contains(&file) {
            Ok(FilePath::OfProcess(file.to_owned()))
        } else {
            Err(format!(
                "{} is not among the files of a process that may be read; these may: {}",
                quoted(file),
                allowed()
            ))
        };
    }
    if path.contains("{pid}") {
        return Err("{pid} stands in another place than /proc/{pid}/FILE; write it there".to_owned());
    }
    if !path.starts_with('/') {
        return Err(format!("{} is not absolute; begin it with /", quoted(path)));
    }
    let of_some_process = path
        .strip_prefix("/proc/")
        .and_then(|rest| rest.split('/').next());
    if of_some_process.is_some_and(|part| {
        matches!(part, "self" | "thread-self") || part.chars().all(|c| c.is_ascii_digit())
    }) {
        return Err("names one process by its number; write /proc/{pid}/FILE, of each member".to_owned());
    }
    Ok(FilePath::Fixed(path.into()))
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

/// With each `{settings.NAME}` replaced; what is put in is not looked at again.
fn filled(text: &str, settings: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{settings.") {
        filled.push_str(before);
        match after.split_once('}') {
            Some((name, behind)) => {
                filled.push_str(settings.get(name).map_or("", String::as_str));
                rest = behind;
            }
            None => {
                filled.push_str("{settings.");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}
