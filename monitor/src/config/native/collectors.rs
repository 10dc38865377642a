//! `[[collector]]` and `[[collector.metric]]`: what each kind needs and takes, and the specification that comes out.

mod faults;

use std::{collections::BTreeMap, path::Path, time::Duration};

use regex::Regex;

use super::At;
use crate::{
    config::{finding::quoted, runners, value::Value, walk::Entry},
    plugin::collector::{
        CollectorSpec, DEFAULT_MEMORY, DEFAULT_OUTPUT, DEFAULT_TIMEOUT, FilePath, Format, MetricKind,
        MetricSpec, PROCESS_FILES, Place, Source, Stream, ValueType,
    },
};

/// One collector's keys.
#[derive(Debug, Default)]
pub(crate) struct CollectorKeys {
    pub(crate) name: String,
    kind: Option<String>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    /// With the line.
    stream: Option<At<bool>>,
    silence: Option<At<Duration>>,
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
    allow_network: bool,
    allow_unconfined: bool,
    metrics: Vec<At<MetricKeys>>,
    /// Every key that stands there, right or wrong, and its line.
    given: Vec<(String, usize)>,
}

#[derive(Debug, Default)]
struct MetricKeys {
    name: String,
    /// One stands there, right or wrong.
    has_name: bool,
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

impl CollectorKeys {
    pub(super) fn metric(&mut self, line: usize) {
        self.metrics.push((line, MetricKeys::default()));
    }

    pub(super) fn seen(&mut self, entry: &Entry<'_>) {
        if entry.table.contains(".metric.") {
            let Some((_, metric)) = self.metrics.last_mut() else {
                return;
            };
            metric.has_name |= entry.name == "name";
            if matches!(entry.name, "from" | "key" | "regex" | "pointer") {
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
            ("stream", Value::Flag(stream)) => self.stream = Some((entry.line, stream)),
            ("silence", Value::Duration(silence)) => self.silence = Some((entry.line, silence)),
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
            ("allow_network", Value::Flag(allow)) => self.allow_network = allow,
            ("allow_unconfined", Value::Flag(allow)) => self.allow_unconfined = allow,
            _ => {}
        }
    }

    fn is_stream(&self) -> bool {
        self.stream.is_some_and(|(_, stream)| stream)
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
                if let Some(program) = argv.first_mut() {
                    if let Some(beside) = program.strip_prefix("./") {
                        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                        *program = folder.join(beside).to_str()?.to_owned();
                    } else if runners::is_runner(program) {
                        *program = runners::find(program).to_str()?.to_owned();
                    }
                }
                let stream = self.is_stream().then_some(Stream {
                    silence: self.silence.map(|(_, silence)| silence),
                });
                Source::Command {
                    stream,
                    argv,
                    format: self.format(),
                    user: self.user.clone(),
                    output,
                    memory: self.memory.unwrap_or(DEFAULT_MEMORY),
                    allow_network: self.allow_network,
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
