//! Lifecycle events as OTLP log records (opentelemetry-proto 1.x, logs/v1). Every name is in docs/events.md.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
};
use prost::Message;

use super::{
    calendar::iso8601,
    collection::UnixClock,
    otlp::LONGEST_REQUEST,
    resource::{self, HostIdentity, Run},
    transport::connection::{EncodedRequest, Signal},
    words::{self, span},
};
use crate::{
    export::collection::ServiceReading,
    plugin::collector::{Custom, CustomValue},
};
use crate::{
    metrics::{Attribute, Attributes, exit_attributes},
    plugin::{Notice, Plugins, Predecessor, RestartKind, What},
    process::{Counter, Ending, Reason, Usage, signal_name},
    shown::printable,
};

/// Bytes that a message takes in the one around it beside its own: a tag, and a length of at most four bytes
/// (protobuf's varints hold 7 bits a byte) below [`LONGEST_REQUEST`].
const FRAME: usize = 5;

/// An event on its way to a receiver, with what is needed to tell it as it would have been told at once.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// What happened.
    pub notice: Notice,
    /// For the start of its process: see [`Collection::boot`].
    pub boot: UnixClock,
    /// For when it happened: see [`Collection::wall`].
    pub wall: UnixClock,
    /// When kevmon took it up, Unix ns.
    pub observed: u64,
}

/// Those of `notices` whose plugins export events, taken up at `observed`, Unix ns.
pub fn log_events(
    notices: Vec<Notice>,
    plugins: &Plugins,
    (boot, wall): (UnixClock, UnixClock),
    observed: u64,
) -> Vec<LogEvent> {
    let exported = |notice: &Notice| plugins.get(&notice.group).is_some_and(|plugin| plugin.events);
    notices
        .into_iter()
        .filter(exported)
        .map(|notice| LogEvent {
            notice,
            boot,
            wall,
            observed,
        })
        .collect()
}

/// The texts that the collectors of a service brought, as log records `kevmon.value`; `None` where there are none.
pub fn log_values(
    service: &ServiceReading,
    observed: u64,
    host: &HostIdentity,
    run: Run,
) -> Option<EncodedRequest> {
    let texts = service
        .extra
        .custom
        .iter()
        .filter_map(|value| match &value.value {
            Custom::Text(text) if service.plugin.metrics.lets(&value.name) => Some((value, text)),
            _ => None,
        });
    let records: Vec<LogRecord> = texts
        .map(|(value, text)| value_record(value, text, observed))
        .collect();
    if records.is_empty() {
        return None;
    }
    let mut filled = Filled {
        events: records.len() as u64,
        time: observed,
        ..Filled::default()
    };
    let resource = resource::of_plugin(&service.plugin, &service.extra.attributes, host, run);
    let mut of_plugin = scoped(resource);
    if let Some(scope) = of_plugin.scope_logs.last_mut() {
        scope.log_records = records;
    }
    filled.request.resource_logs.push(of_plugin);
    Some(filled.encode())
}

fn value_record(value: &CustomValue, text: &str, observed: u64) -> LogRecord {
    let mut attributes: Attributes = vec![("kevmon.value.name", value.name.as_str().into())];
    attributes.push(("kevmon.value", text.into()));
    let mut attributes = resource::attributes(attributes);
    attributes.extend(
        value
            .attributes
            .iter()
            .map(|(key, text)| resource::text(key, text.clone())),
    );
    LogRecord {
        time_unix_nano: value.time,
        observed_time_unix_nano: observed,
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(format!("{} {text}", value.name))),
        }),
        attributes,
        event_name: "kevmon.value".to_owned(),
        ..LogRecord::default()
    }
}

/// `events`, which stand group by group, as requests of less than 4 MiB each: the items of one are the events that follow
/// those of the request before it.
pub fn log_requests(
    events: &[LogEvent],
    plugins: &Plugins,
    host: &HostIdentity,
    run: Run,
) -> Vec<EncodedRequest> {
    split(events, plugins, host, run, LONGEST_REQUEST)
}

fn split(
    events: &[LogEvent],
    plugins: &Plugins,
    host: &HostIdentity,
    run: Run,
    longest: usize,
) -> Vec<EncodedRequest> {
    let mut requests = Vec::new();
    let mut filled = Filled::default();
    let mut length = 0;
    for of_group in events.chunk_by(|one, next| one.notice.group == next.notice.group) {
        let plugin = of_group
            .first()
            .and_then(|event| plugins.get(&event.notice.group));
        let Some(plugin) = plugin else { continue };
        let empty = scoped(resource::of_plugin(plugin, &BTreeMap::new(), host, run));
        let around = empty.encoded_len() + 3 * FRAME;
        let mut open = false;
        for event in of_group {
            let record = record(event);
            let own = record.encoded_len() + FRAME;
            if length + own + if open { 0 } else { around } >= longest && length > 0 {
                requests.push(std::mem::take(&mut filled).encode());
                (length, open) = (0, false);
            }
            if !open {
                filled.request.resource_logs.push(empty.clone());
                length += around;
                open = true;
            }
            filled.events += 1;
            filled.time = filled.time.max(event.observed);
            if let Some(scope) = filled
                .request
                .resource_logs
                .last_mut()
                .and_then(|of_plugin| of_plugin.scope_logs.last_mut())
            {
                scope.log_records.push(record);
                length += own;
            }
        }
    }
    if filled.events > 0 {
        requests.push(filled.encode());
    }
    requests
}

/// A request in the making.
#[derive(Debug, Default)]
struct Filled {
    request: ExportLogsServiceRequest,
    /// Records in it.
    events: u64,
    /// When kevmon took up the latest of them, Unix ns.
    time: u64,
}

impl Filled {
    fn encode(self) -> EncodedRequest {
        EncodedRequest {
            signal: Signal::Logs,
            items: self.events,
            time: self.time,
            body: self.request.encode_to_vec().into(),
        }
    }
}

fn scoped(resource: opentelemetry_proto::tonic::resource::v1::Resource) -> ResourceLogs {
    ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: "kevmon".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            log_records: Vec::new(),
            schema_url: resource::SCHEMA_URL.to_owned(),
        }],
        schema_url: resource::SCHEMA_URL.to_owned(),
    }
}

fn record(event: &LogEvent) -> LogRecord {
    let LogEvent {
        notice,
        boot,
        wall,
        observed,
    } = event;
    let Notice { key, name, what, .. } = notice;
    let who = format!("{} (pid {})", printable(name), key.tgid);
    let mut attributes: Attributes = vec![("process.pid", key.tgid.0.into())];
    let parent = notice.parent.map(|parent| parent.tgid.0.into());
    attributes.extend(parent.map(|parent| ("process.parent_pid", parent)));
    if !notice.exe.is_empty() {
        attributes.push(("process.executable.name", notice.exe.as_ref().into()));
    }
    attributes.push(("process.creation.time", boot.creation_time(*key).into()));
    attributes.push(("kevmon.process.name", name.as_ref().into()));
    attributes.push(("kevmon.process.role", role(what).into()));
    let (event_name, warns, body) = match what {
        What::Start { .. } => ("kevmon.process.start", false, format!("{who} started")),
        What::Exit {
            ending,
            lifetime,
            usage,
            peak_rss,
            settled,
            ..
        } => {
            attributes.push(("process.exit.time", iso8601(wall.unix(notice.time)).into()));
            attributes.extend(exit(ending, *lifetime, usage, *peak_rss, *settled));
            let incident = notice.incident.as_deref();
            attributes.extend(incident.map(|id| ("kevmon.incident.id", id.into())));
            let after = lifetime.map_or_else(String::new, |lifetime| format!(" after {}", span(lifetime)));
            let body = format!("{who} ended{after}: {}", words::ending(ending));
            ("kevmon.process.exit", !ending.reason().is_success(), body)
        }
        What::Restart {
            kind,
            downtime,
            previous,
        } => {
            attributes.push(("kevmon.restart.kind", kind.name().into()));
            attributes.extend(downtime.map(|downtime| ("kevmon.restart.downtime", seconds(downtime))));
            if let Some(previous) = previous {
                attributes.extend(previous_attributes(previous, *boot));
            }
            (
                "kevmon.process.restart",
                true,
                restart(&who, *kind, previous.as_deref()),
            )
        }
    };
    let severity = if warns {
        SeverityNumber::Warn
    } else {
        SeverityNumber::Info
    };
    LogRecord {
        time_unix_nano: wall.unix(notice.time),
        observed_time_unix_nano: *observed,
        severity_number: severity.into(),
        severity_text: if warns { "WARN" } else { "INFO" }.to_owned(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(body)),
        }),
        attributes: resource::attributes(attributes),
        event_name: event_name.to_owned(),
        ..LogRecord::default()
    }
}

/// `root` or `worker`; only a root restarts.
pub(super) fn role(what: &What) -> &'static str {
    match what {
        What::Start { worker: true } | What::Exit { worker: true, .. } => "worker",
        What::Start { .. } | What::Exit { .. } | What::Restart { .. } => "root",
    }
}

fn exit(
    ending: &Ending,
    lifetime: Option<Duration>,
    usage: &Usage,
    peak_rss: Option<u64>,
    settled: bool,
) -> Attributes {
    let mut attributes = exit_attributes(ending.reason());
    if let Some(sender) = ending.killer() {
        attributes.push(("kevmon.exit.sender.pid", sender.tgid.0.into()));
        attributes.push(("kevmon.exit.sender.name", sender.comm.as_str().into()));
    }
    attributes.extend(lifetime.map(|lifetime| ("kevmon.process.lifetime", seconds(lifetime))));
    let cpu = usage.get(Counter::Runtime).map(Duration::from_nanos);
    attributes.extend(cpu.map(|cpu| ("kevmon.process.cpu.time", seconds(cpu))));
    let peak = peak_rss.map(|bytes| Attribute::Integer(i64::try_from(bytes).unwrap_or(i64::MAX)));
    attributes.extend(peak.map(|peak| ("kevmon.process.memory.peak", peak)));
    attributes.push(("kevmon.process.settled", settled.into()));
    attributes
}

/// A restart in a sentence.
fn restart(who: &str, kind: RestartKind, previous: Option<&Predecessor>) -> String {
    match (kind, previous) {
        (RestartKind::Reexec, _) => format!("{who} executed again"),
        (RestartKind::Respawn, None) => format!("{who} took the place of a process that ended"),
        (RestartKind::Respawn, Some(previous)) => {
            let after = previous
                .ago
                .map_or_else(String::new, |ago| format!(" after {}", span(ago)));
            format!(
                "{who} took the place of {} (pid {}){after}: {}",
                printable(&previous.name),
                previous.key.tgid,
                words::ending(&previous.ending)
            )
        }
    }
}

/// The root whose place another one took: `kevmon.restart.previous.*`.
fn previous_attributes(previous: &Predecessor, boot: UnixClock) -> Attributes {
    let start = boot.creation_time(previous.key);
    let mut attributes: Attributes = vec![
        ("kevmon.restart.previous.pid", previous.key.tgid.0.into()),
        ("kevmon.restart.previous.name", previous.name.as_ref().into()),
        ("kevmon.restart.previous.creation.time", start.into()),
    ];
    let reason = previous.ending.reason();
    attributes.push(("kevmon.restart.previous.exit.reason", reason.name().into()));
    match reason {
        Reason::Exit { code } => {
            attributes.push(("kevmon.restart.previous.exit.code", u32::from(code).into()));
        }
        Reason::Signal { number, core_dumped } => {
            attributes.push(("kevmon.restart.previous.exit.signal", signal_name(number).into()));
            attributes.push(("kevmon.restart.previous.exit.core_dumped", core_dumped.into()));
        }
        Reason::Oom | Reason::Unknown => {}
    }
    if let Some(sender) = previous.ending.killer() {
        let (pid, name) = (sender.tgid.0, sender.comm.as_str());
        attributes.push(("kevmon.restart.previous.exit.sender.pid", pid.into()));
        attributes.push(("kevmon.restart.previous.exit.sender.name", name.into()));
    }
    attributes.extend(
        previous
            .ago
            .map(|ago| ("kevmon.restart.previous.exit.ago", seconds(ago))),
    );
    attributes
}

fn seconds(length: Duration) -> Attribute {
    Attribute::Float(length.as_secs_f64())
}

#[cfg(test)]
#[path = "logs_tests.rs"]
pub(super) mod tests;
