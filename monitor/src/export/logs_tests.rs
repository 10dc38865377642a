//! Log records, attribute by attribute, and the split of long requests.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;
use crate::{
    plugin::{GroupId, Plugin, Predecessor, tracker::tests},
    process::{BootTime, ProcessKey, Sender, Tgid},
};

const S: u64 = 1_000_000_000;
const KEY: ProcessKey = ProcessKey {
    tgid: Tgid(7),
    start: BootTime(10 * S),
};

/// The machine started at 1970.
pub(in crate::export) fn clock() -> UnixClock {
    UnixClock::new(0, BootTime(0))
}

pub(in crate::export) fn plugin(name: &str, events: bool) -> Plugin {
    Plugin {
        events,
        ..tests::plugin(name)
    }
}

fn notice(group: usize, time: u64, what: What) -> Notice {
    Notice {
        group: GroupId(group),
        time: BootTime(time),
        key: KEY,
        parent: Some(ProcessKey {
            tgid: Tgid(1),
            start: BootTime(0),
        }),
        name: "job.sh".into(),
        exe: "bash".into(),
        user: None,
        programs: Vec::new(),
        incident: None,
        what,
    }
}

pub(in crate::export) fn start(group: usize, worker: bool) -> Notice {
    notice(group, 10 * S, What::Start { worker })
}

pub(in crate::export) fn sender(signal: u8) -> Sender {
    Sender {
        tgid: Tgid(123),
        comm: "bash".to_owned(),
        signal,
    }
}

fn ended(group: usize, ending: Ending, seen: bool) -> Notice {
    notice(
        group,
        13 * S + S / 4,
        What::Exit {
            ending,
            lifetime: seen.then(|| Duration::from_millis(3_250)),
            usage: Usage::UNKNOWN.with(Counter::Runtime, Some(25_000_000)),
            peak_rss: seen.then_some(3 << 19),
            settled: seen,
            worker: false,
        },
    )
}

pub(in crate::export) fn exit(group: usize, status: u32, sender: Option<Sender>) -> Notice {
    let ending = Ending {
        status: Some(status),
        oom_victim: false,
        sender,
    };
    ended(group, ending, true)
}

pub(in crate::export) fn unknown_exit() -> Notice {
    Notice {
        parent: None,
        ..ended(0, Ending::UNKNOWN, false)
    }
}

pub(in crate::export) fn respawn() -> Notice {
    let downtime = Some(Duration::from_millis(250));
    let previous = Some(Box::new(Predecessor {
        key: ProcessKey {
            tgid: Tgid(5),
            start: BootTime(2 * S),
        },
        name: "old\x1bjob.sh".into(),
        ending: Ending {
            status: Some(9),
            oom_victim: false,
            sender: Some(sender(9)),
        },
        ago: downtime,
    }));
    let what = What::Restart {
        kind: RestartKind::Respawn,
        downtime,
        previous,
    };
    notice(0, 10 * S, what)
}

pub(in crate::export) fn reexec() -> Notice {
    let what = What::Restart {
        kind: RestartKind::Reexec,
        downtime: None,
        previous: None,
    };
    notice(0, 10 * S, what)
}

fn host() -> HostIdentity {
    HostIdentity::new(Some("h".to_owned()), "n".to_owned())
}

/// A wall clock that was set forward by 1,000 s after kevmon's start.
fn wall() -> UnixClock {
    UnixClock::new(1_000 * S, BootTime(0))
}

fn event(notice: Notice) -> LogEvent {
    LogEvent {
        notice,
        boot: clock(),
        wall: wall(),
        observed: 20 * S,
    }
}

fn requests(events: &[LogEvent], plugins: &Plugins, longest: usize) -> Vec<EncodedRequest> {
    split(events, plugins, &host(), Run::Service, longest)
}

fn decoded(request: &EncodedRequest) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(request.body.clone()).expect("a request for logs")
}

/// Attributes as `name=value` lines.
fn attributes(record: &LogRecord) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => format!("{number:?}"),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let of = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        Some(format!("{}={}", attribute.key, shown(value)))
    };
    record.attributes.iter().filter_map(of).collect()
}

fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

const WHO: [&str; 6] = [
    "process.pid=7",
    "process.parent_pid=1",
    "process.executable.name=bash",
    "process.creation.time=1970-01-01T00:00:10.000Z",
    "kevmon.process.name=job.sh",
    "kevmon.process.role=root",
];
const ENDED: &str = "process.exit.time=1970-01-01T00:16:53.250000000Z";
const USED: [&str; 4] = [
    "kevmon.process.lifetime=3.25",
    "kevmon.process.cpu.time=0.025",
    "kevmon.process.memory.peak=1572864",
    "kevmon.process.settled=true",
];

#[test]
fn events_have_names_severities_bodies_and_attributes() {
    let cases: [(Notice, &str, bool, &str, Vec<&str>); 8] = [
        (
            start(0, false),
            "kevmon.process.start",
            false,
            "job.sh (pid 7) started",
            WHO.to_vec(),
        ),
        (
            exit(0, 0, None),
            "kevmon.process.exit",
            false,
            "job.sh (pid 7) ended after 3.250 s: exit 0",
            [
                &WHO[..],
                &[ENDED, "kevmon.exit.reason=exit", "process.exit.code=0"],
                &USED,
            ]
            .concat(),
        ),
        (
            exit(0, 0x0700, None),
            "kevmon.process.exit",
            true,
            "job.sh (pid 7) ended after 3.250 s: exit 7",
            [
                &WHO[..],
                &[ENDED, "kevmon.exit.reason=exit", "process.exit.code=7"],
                &USED,
            ]
            .concat(),
        ),
        (
            exit(0, 9, Some(sender(9))),
            "kevmon.process.exit",
            true,
            "job.sh (pid 7) ended after 3.250 s: SIGKILL by 123 (bash)",
            [
                &WHO[..],
                &[
                    ENDED,
                    "kevmon.exit.reason=signal",
                    "kevmon.exit.signal=SIGKILL",
                    "kevmon.exit.core_dumped=false",
                    "kevmon.exit.sender.pid=123",
                    "kevmon.exit.sender.name=bash",
                ],
                &USED,
            ]
            .concat(),
        ),
        (
            exit(0, 0x8b, Some(sender(15))),
            "kevmon.process.exit",
            true,
            "job.sh (pid 7) ended after 3.250 s: SIGSEGV (core dumped)",
            [
                &WHO[..],
                &[
                    ENDED,
                    "kevmon.exit.reason=signal",
                    "kevmon.exit.signal=SIGSEGV",
                    "kevmon.exit.core_dumped=true",
                ],
                &USED,
            ]
            .concat(),
        ),
        (
            unknown_exit(),
            "kevmon.process.exit",
            true,
            "job.sh (pid 7) ended: unknown",
            [
                &WHO[..1],
                &WHO[2..],
                &[
                    ENDED,
                    "kevmon.exit.reason=unknown",
                    "kevmon.process.cpu.time=0.025",
                    "kevmon.process.settled=false",
                ],
            ]
            .concat(),
        ),
        (
            respawn(),
            "kevmon.process.restart",
            true,
            "job.sh (pid 7) took the place of old\\u{1b}job.sh (pid 5) after 250 ms: SIGKILL by 123 (bash)",
            [
                &WHO[..],
                &[
                    "kevmon.restart.kind=respawn",
                    "kevmon.restart.downtime=0.25",
                    "kevmon.restart.previous.pid=5",
                    "kevmon.restart.previous.name=old\u{1b}job.sh",
                    "kevmon.restart.previous.creation.time=1970-01-01T00:00:02.000Z",
                    "kevmon.restart.previous.exit.reason=signal",
                    "kevmon.restart.previous.exit.signal=SIGKILL",
                    "kevmon.restart.previous.exit.core_dumped=false",
                    "kevmon.restart.previous.exit.sender.pid=123",
                    "kevmon.restart.previous.exit.sender.name=bash",
                    "kevmon.restart.previous.exit.ago=0.25",
                ],
            ]
            .concat(),
        ),
        (
            reexec(),
            "kevmon.process.restart",
            true,
            "job.sh (pid 7) executed again",
            [&WHO[..], &["kevmon.restart.kind=reexec"]].concat(),
        ),
    ];
    for (notice, event, warns, text, expected) in cases {
        let time = notice.time.0;
        let record = record(&self::event(notice));
        assert_eq!(record.event_name, event);
        let severity = if warns { (13, "WARN") } else { (9, "INFO") };
        assert_eq!(
            (record.severity_number, record.severity_text.as_str()),
            severity,
            "{text}"
        );
        assert_eq!(body(&record), text);
        assert_eq!(attributes(&record), expected, "{text}");
        assert_eq!(
            (record.time_unix_nano, record.observed_time_unix_nano),
            (1_000 * S + time, 20 * S)
        );
    }
}

#[test]
fn only_plugins_that_export_events_with_the_resource_of_their_metrics() {
    let (web, quiet, db) = (plugin("web", true), plugin("quiet", false), plugin("db", true));
    let plugins = tests::numbered([web.clone(), quiet, db.clone()]);
    let notices = vec![
        start(0, false),
        start(1, false),
        start(2, false),
        exit(2, 0, None),
    ];
    let events = log_events(notices, &plugins, (self::clock(), self::wall()), 20 * S);
    let (boot, wall) = (events[0].boot, events[0].wall);
    assert_eq!(
        (boot, wall, events[0].observed),
        (self::clock(), self::wall(), 20 * S)
    );
    let requests = requests(&events, &plugins, LONGEST_REQUEST);
    let only = &requests[0];
    assert_eq!(
        (requests.len(), only.items, only.signal, only.time),
        (1, 3, Signal::Logs, 20 * S)
    );
    let told: Vec<_> = decoded(only)
        .resource_logs
        .iter()
        .map(|logs| (logs.resource.clone(), logs.scope_logs[0].log_records.len()))
        .collect();
    let resource = |plugin| {
        Some(resource::of_plugin(
            plugin,
            &BTreeMap::new(),
            &host(),
            Run::Service,
        ))
    };
    assert_eq!(told, [(resource(&web), 1), (resource(&db), 2)]);
}

#[test]
fn a_request_stays_below_the_limit_and_nothing_is_left_out() {
    let plugins = tests::numbered([plugin("web", true), plugin("db", true)]);
    let events: Vec<LogEvent> = (0..2_000)
        .map(|n| event(exit(n / 1_000, 9, Some(sender(9)))))
        .collect();
    for longest in [2_000, 10_007, 65_536, LONGEST_REQUEST] {
        let requests = requests(&events, &plugins, longest);
        let mut records = 0;
        for (index, request) in requests.iter().enumerate() {
            let length = request.body.len();
            assert!(length < longest, "{length} bytes");
            // Well filled: splitting too early would cost requests.
            if index + 1 < requests.len() {
                assert!(length + 1_000 > longest, "{length} bytes");
            }
            let of = |logs: &ResourceLogs| logs.scope_logs[0].log_records.len();
            let logs = decoded(request).resource_logs;
            assert!(logs.iter().all(|logs| of(logs) > 0));
            let held = logs.iter().map(of).sum::<usize>();
            assert_eq!(held as u64, request.items);
            records += held;
        }
        assert_eq!(records, events.len(), "with {longest}");
    }
    assert!(requests(&[], &plugins, LONGEST_REQUEST).is_empty());
}
