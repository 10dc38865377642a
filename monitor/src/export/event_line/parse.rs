//! Reads an event back from its JSON, for whoever is told events by another kevmon. What this version does not know is passed over.

use std::{sync::Arc, time::Duration};

use serde_json::Value as Json;

use super::{Happened, LiveEvent};
use crate::{
    plugin::{GroupId, Predecessor, RestartKind, What},
    process::{BootTime, Counter, Ending, Facts, ProcessKey, Sender, Tgid, Usage},
};

/// The event of a line of [`super::event_json`]; `None` for what is none. Its times are Unix nanoseconds, its group is 0, and its
/// cgroup is not known.
pub fn event_from_json(json: &Json) -> Option<LiveEvent> {
    let key = key(json, "pid", "start_time")?;
    let what = match text(json, "event")? {
        "start" => Happened::Life(What::Start {
            worker: is_worker(json),
        }),
        "exit" => Happened::Life(exit(json)),
        "restart" => Happened::Life(restart(json)?),
        "exec" => Happened::Exec {
            was: shared(json, "previous_name"),
            arguments: None,
        },
        "rename" => Happened::Rename {
            was: shared(json, "previous_name"),
        },
        _ => return None,
    };
    Some(LiveEvent {
        group: GroupId(0),
        time: BootTime(json["time"].as_u64()?),
        key,
        parent: json["parent_pid"].as_u64().and_then(|pid| {
            Some(ProcessKey {
                tgid: tgid(pid)?,
                start: BootTime(0),
            })
        }),
        parent_name: shared(json, "parent_name"),
        name: shared(json, "name")?,
        exe: shared(json, "exe").unwrap_or_default(),
        facts: Facts {
            uid: json["uid"].as_u64().and_then(|uid| u32::try_from(uid).ok()),
            user: shared(json, "user"),
            ..Facts::default()
        },
        depth: 0,
        what,
    })
}

fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json[key].as_str()
}

fn shared(json: &Json, key: &str) -> Option<Arc<str>> {
    text(json, key).map(Arc::from)
}

fn tgid(pid: u64) -> Option<Tgid> {
    u32::try_from(pid).ok().map(Tgid)
}

fn key(json: &Json, pid: &str, start: &str) -> Option<ProcessKey> {
    Some(ProcessKey {
        tgid: tgid(json[pid].as_u64()?)?,
        start: BootTime(json[start].as_u64().unwrap_or(0)),
    })
}

fn is_worker(json: &Json) -> bool {
    text(json, "role") == Some("worker")
}

fn exit(json: &Json) -> What {
    What::Exit {
        ending: ending(json),
        lifetime: json["lifetime_ns"].as_u64().map(Duration::from_nanos),
        usage: Usage::UNKNOWN.with(Counter::Runtime, json["cpu_time_ns"].as_u64()),
        peak_rss: json["peak_rss_bytes"].as_u64(),
        settled: json["settled"].as_bool().unwrap_or(true),
        worker: is_worker(json),
    }
}

fn restart(json: &Json) -> Option<What> {
    let kind = [RestartKind::Respawn, RestartKind::Reexec];
    let kind = kind
        .into_iter()
        .find(|kind| text(json, "kind") == Some(kind.name()))?;
    let previous = &json["previous"];
    let previous = key(previous, "pid", "start_time").map(|key| {
        Box::new(Predecessor {
            key,
            name: shared(previous, "name").unwrap_or_default(),
            ending: ending(previous),
            ago: previous["ended_ago_ns"].as_u64().map(Duration::from_nanos),
        })
    });
    Some(What::Restart {
        kind,
        downtime: json["downtime_ns"].as_u64().map(Duration::from_nanos),
        previous,
    })
}

/// The end whose reason and sender these keys tell, as wait4(2) would put it.
fn ending(json: &Json) -> Ending {
    const SIGKILL: u32 = 9;
    const CORE_DUMPED: u32 = 0x80;
    let number = |key: &str, most: u64| {
        let number = json[key].as_u64().filter(|&number| number <= most)?;
        u32::try_from(number).ok()
    };
    let status = match text(json, "reason") {
        Some("exit") => number("code", 255).map(|code| code << 8),
        Some("signal") => number("signal", 126).map(|signal| {
            let dumped = json["core_dumped"].as_bool() == Some(true);
            signal | if dumped { CORE_DUMPED } else { 0 }
        }),
        Some("oom") => Some(SIGKILL),
        _ => None,
    };
    let sender = &json["sender"];
    let sender = sender["pid"].as_u64().and_then(tgid).map(|tgid| Sender {
        tgid,
        comm: text(sender, "name").unwrap_or_default().to_owned(),
        signal: u8::try_from(status.unwrap_or(0) & 0x7f).unwrap_or(0),
    });
    Ending {
        status,
        oom_victim: text(json, "reason") == Some("oom"),
        sender,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::{UnixClock, event_json},
        plugin::tracker::tests::plugin,
    };

    fn event(what: Happened) -> LiveEvent {
        LiveEvent {
            group: GroupId(0),
            time: BootTime(5_000),
            key: ProcessKey {
                tgid: Tgid(815),
                start: BootTime(4_000),
            },
            parent: Some(ProcessKey {
                tgid: Tgid(1),
                start: BootTime(0),
            }),
            parent_name: Some("init".into()),
            name: "web".into(),
            exe: "python3".into(),
            facts: Facts {
                uid: Some(33),
                user: Some("www".into()),
                ..Facts::default()
            },
            depth: 0,
            what,
        }
    }

    fn ending(status: Option<u32>, oom_victim: bool, sender: Option<u8>) -> Ending {
        Ending {
            status,
            oom_victim,
            sender: sender.map(|signal| Sender {
                tgid: Tgid(12),
                comm: "bash".to_owned(),
                signal,
            }),
        }
    }

    #[test]
    fn an_event_comes_back_as_it_was_told() {
        let exit = |ending| {
            Happened::Life(What::Exit {
                ending,
                lifetime: Some(Duration::from_millis(7)),
                usage: Usage::UNKNOWN.with(Counter::Runtime, Some(9)),
                peak_rss: Some(4096),
                settled: false,
                worker: true,
            })
        };
        let previous = Predecessor {
            key: ProcessKey {
                tgid: Tgid(7),
                start: BootTime(2),
            },
            name: "web".into(),
            ending: ending(Some(0x0700), false, None),
            ago: Some(Duration::from_millis(250)),
        };
        let clock = UnixClock::new(0, BootTime(0));
        for what in [
            Happened::Life(What::Start { worker: true }),
            exit(ending(Some(0x0700), false, None)),
            exit(ending(Some(0x8b), false, None)),
            exit(ending(Some(9), false, Some(9))),
            exit(ending(Some(9), true, None)),
            exit(ending(None, false, None)),
            Happened::Life(What::Restart {
                kind: RestartKind::Respawn,
                downtime: Some(Duration::from_millis(250)),
                previous: Some(Box::new(previous)),
            }),
            Happened::Life(What::Restart {
                kind: RestartKind::Reexec,
                downtime: None,
                previous: None,
            }),
            Happened::Exec {
                was: Some("sh".into()),
                arguments: None,
            },
            Happened::Rename { was: None },
        ] {
            let told = event(what);
            let json = event_json(&told, &plugin("web"), clock, clock);
            let json: Json = serde_json::from_str(&json).unwrap();
            let read = event_from_json(&json);
            assert_eq!(read.as_ref(), Some(&told), "{json}");
        }
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        for text in [
            "null",
            "7",
            "{}",
            r#"{"event":"start"}"#,
            r#"{"event":"start","pid":99999999999,"time":1,"name":"x"}"#,
            r#"{"event":"born","pid":1,"time":1,"name":"x"}"#,
            r#"{"event":"restart","pid":1,"time":1,"name":"x","kind":"other"}"#,
        ] {
            let json: Json = serde_json::from_str(text).unwrap();
            assert_eq!(event_from_json(&json), None, "{text}");
        }
        let odd = r#"{"event":"exit","pid":1,"time":1,"name":"x","reason":"signal","signal":4000}"#;
        let odd: Json = serde_json::from_str(odd).unwrap();
        let reason = event_from_json(&odd).and_then(|event| event.reason());
        assert_eq!(reason, Some(crate::process::Reason::Unknown));
    }
}
