//! One event as one line, for the terminal and for programs. The JSON is documented in docs/events.md and stable: keys
//! are added, never changed.

use serde_json::{Value as Json, json};

use super::{
    collection::UnixClock,
    json::{known, previous_json, reason_keys},
    logs::role,
    words::{self, span},
};
use crate::{
    plugin::{Notice, Plugin, What},
    process::{Counter, Usage},
    shown::printable,
};

/// The time of day that a clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60: clocks may show a leap second.
    pub second: u32,
}

/// Names what the columns of [`event_text`] hold.
pub const HEADING: &str = "TIME         EVENT       PID    PPID NAME             WHAT";

/// For people: when, by `wall`, what, who, and how it went. `local` turns Unix seconds into local time; `plugin` is shown where
/// there are several.
pub fn event_text(
    notice: &Notice,
    plugin: Option<&Plugin>,
    wall: UnixClock,
    local: impl Fn(u64) -> Wall,
) -> String {
    let unix = wall.unix(notice.time);
    let Wall { hour, minute, second } = local(unix / 1_000_000_000);
    let millis = unix / 1_000_000 % 1_000;
    let parent = notice
        .parent
        .map_or_else(|| "-".to_owned(), |parent| parent.tgid.to_string());
    let line = format!(
        "{hour:02}:{minute:02}:{second:02}.{millis:03} {:<7} {:>7} {parent:>7} {:<16} {}",
        kind(&notice.what).to_uppercase(),
        notice.key.tgid.0,
        printable(&notice.name),
        details(notice),
    );
    let line = line.trim_end();
    match plugin {
        Some(plugin) => format!("{line} [{}]", printable(&plugin.name)),
        None => line.to_owned(),
    }
}

/// `start`, `exit` or `restart`.
fn kind(what: &What) -> &'static str {
    match what {
        What::Start { .. } => "start",
        What::Exit { .. } => "exit",
        What::Restart { .. } => "restart",
    }
}

fn details(notice: &Notice) -> String {
    match &notice.what {
        // The interpreter, where the name is a script's.
        What::Start { .. } if notice.exe != notice.name => printable(&notice.exe).into_owned(),
        What::Start { .. } => String::new(),
        What::Exit {
            ending,
            lifetime,
            usage,
            peak_rss,
            settled,
            ..
        } => {
            let mut parts = vec![words::ending(ending)];
            parts.extend(lifetime.map(|lifetime| format!("lived {}", span(lifetime))));
            let at_least = if *settled { "" } else { "≥" };
            parts.extend(cpu_time(usage).map(|cpu| {
                let length = std::time::Duration::from_nanos(cpu);
                format!("cpu {at_least}{}", span(length))
            }));
            parts.extend(peak_rss.map(|bytes| format!("peak {:.1} MiB", bytes as f64 / f64::from(1 << 20))));
            parts.join(", ")
        }
        What::Restart {
            kind,
            downtime,
            previous,
        } => words::restart(*kind, previous.as_deref().map(words::previous), *downtime),
    }
}

fn cpu_time(usage: &Usage) -> Option<u64> {
    usage.get(Counter::Runtime)
}

/// For programs: one object, without the newline. What is not known is absent.
/// `wall` tells when it happened, and `boot` when its process started, the same in each line.
pub fn event_json(notice: &Notice, plugin: &Plugin, boot: UnixClock, wall: UnixClock) -> String {
    let mut object = known([
        ("time", Some(json!(wall.unix(notice.time)))),
        ("event", Some(json!(kind(&notice.what)))),
        ("plugin", Some(json!(plugin.name))),
        ("pid", Some(json!(notice.key.tgid.0))),
        ("start_time", Some(json!(boot.unix(notice.key.start)))),
        ("parent_pid", notice.parent.map(|parent| json!(parent.tgid.0))),
        ("name", Some(json!(*notice.name))),
        ("exe", (!notice.exe.is_empty()).then(|| json!(*notice.exe))),
        ("role", Some(json!(role(&notice.what)))),
    ]);
    match &notice.what {
        What::Start { .. } => {}
        What::Exit {
            ending,
            lifetime,
            usage,
            peak_rss,
            settled,
            ..
        } => {
            object.extend(reason_keys(ending.reason()));
            let sender = ending
                .killer()
                .map(|sender| json!({ "pid": sender.tgid.0, "name": sender.comm }));
            object.extend(known([
                ("sender", sender),
                ("lifetime_ns", lifetime.map(nanos)),
                ("cpu_time_ns", cpu_time(usage).map(Json::from)),
                ("peak_rss_bytes", peak_rss.map(Json::from)),
                ("settled", Some(json!(settled))),
            ]));
        }
        What::Restart {
            kind,
            downtime,
            previous,
        } => object.extend(known([
            ("kind", Some(json!(kind.name()))),
            ("downtime_ns", downtime.map(nanos)),
            (
                "previous",
                previous.as_deref().map(|previous| {
                    previous_json(words::previous(previous), Some(boot.unix(previous.key.start)))
                }),
            ),
        ])),
    }
    Json::Object(object).to_string()
}

fn nanos(length: std::time::Duration) -> Json {
    json!(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{super::logs::tests::*, *};
    use crate::process::BootTime;

    /// Three hours ahead of UTC.
    fn wall(unix: u64) -> Wall {
        let part = |seconds: u64| u32::try_from(seconds).expect("small");
        Wall {
            hour: part((unix / 3600 + 3) % 24),
            minute: part(unix / 60 % 60),
            second: part(unix % 60),
        }
    }

    #[test]
    fn lines_for_people() {
        for (notice, line) in [
            (
                start(0, false),
                "03:00:10.000 START         7       1 job.sh           bash",
            ),
            (
                Notice {
                    name: "bash".into(),
                    ..start(0, true)
                },
                "03:00:10.000 START         7       1 bash",
            ),
            (
                exit(0, 0x8b, None),
                "03:00:13.250 EXIT          7       1 job.sh           SIGSEGV (core dumped), lived 3.250 s, \
                 cpu 25 ms, peak 1.5 MiB",
            ),
            (
                exit(0, 9, Some(sender(9))),
                "03:00:13.250 EXIT          7       1 job.sh           SIGKILL by 123 (bash), lived 3.250 s, \
                 cpu 25 ms, peak 1.5 MiB",
            ),
            (
                unknown_exit(),
                "03:00:13.250 EXIT          7       - job.sh           unknown, cpu ≥25 ms",
            ),
            (
                respawn(),
                "03:00:10.000 RESTART       7       1 job.sh           respawn of 5 (old\\u{1b}job.sh): SIGKILL by 123 \
                 (bash), down 250 ms",
            ),
            (
                reexec(),
                "03:00:10.000 RESTART       7       1 job.sh           reexec",
            ),
        ] {
            assert_eq!(event_text(&notice, None, clock(), wall), line);
        }
        let plugin = plugin("web", false);
        let told = event_text(&start(0, false), Some(&plugin), clock(), wall);
        assert!(told.ends_with(" bash [web]"), "{told}");
    }

    #[test]
    fn names_do_nothing_to_a_terminal() {
        let all: String = crate::shown::tests::all().collect();
        let mut plugin = plugin("web", false);
        plugin.name = all.clone();
        let mut killer = sender(9);
        killer.comm = all.clone();
        for notice in [start(0, false), exit(0, 9, Some(killer)), respawn(), reexec()] {
            let notice = Notice {
                name: all.as_str().into(),
                exe: all.as_str().into(),
                ..notice
            };
            let line = event_text(&notice, Some(&plugin), clock(), wall);
            let bad: Vec<char> = line.chars().filter(|c| crate::shown::is_unsafe(*c)).collect();
            assert!(bad.is_empty(), "{bad:?}");
            assert!(line.contains("\\u{202e}"));
        }
    }

    #[test]
    fn the_heading_stands_above_its_columns() {
        let line = event_text(&exit(0, 0, None), None, clock(), wall);
        for (word, below) in [
            ("TIME", "03:00"),
            ("EVENT", "EXIT"),
            ("NAME", "job.sh"),
            ("WHAT", "exit 0"),
        ] {
            assert_eq!(HEADING.find(word), line.find(below), "{word}");
        }
    }

    #[test]
    fn objects_for_programs() {
        let plugin = plugin("web", false);
        let told = |notice| event_json(&notice, &plugin, clock(), clock());
        let beginning = |event: &str, time: &str, parent: &str| {
            format!(
                r#"{{"time":{time},"event":"{event}","plugin":"web","pid":7,"start_time":10000000000,{parent}"name":"job.sh","exe":"bash","role":"root""#
            )
        };
        let parent = r#""parent_pid":1,"#;
        for (notice, rest) in [
            (start(0, false), beginning("start", "10000000000", parent)),
            (
                exit(0, 0x0700, None),
                beginning("exit", "13250000000", parent)
                    + r#","reason":"exit","code":7,"lifetime_ns":3250000000,"cpu_time_ns":25000000,"peak_rss_bytes":1572864,"settled":true"#,
            ),
            (
                exit(0, 9, Some(sender(9))),
                beginning("exit", "13250000000", parent)
                    + r#","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"bash"},"lifetime_ns":3250000000,"cpu_time_ns":25000000,"peak_rss_bytes":1572864,"settled":true"#,
            ),
            (
                unknown_exit(),
                beginning("exit", "13250000000", "")
                    + r#","reason":"unknown","cpu_time_ns":25000000,"settled":false"#,
            ),
            (
                respawn(),
                beginning("restart", "10000000000", parent)
                    + r#","kind":"respawn","downtime_ns":250000000,"previous":{"pid":5,"start_time":2000000000,"name":"old\u001bjob.sh","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"bash"},"ended_ago_ns":250000000}"#,
            ),
            (
                reexec(),
                beginning("restart", "10000000000", parent) + r#","kind":"reexec""#,
            ),
        ] {
            assert_eq!(told(notice), rest + "}");
        }
        let stepped = UnixClock::new(1_000_000_000, BootTime(0));
        let told = event_json(&start(0, false), &plugin, clock(), stepped);
        assert!(
            told.starts_with(r#"{"time":11000000000,"#) && told.contains(r#""start_time":10000000000,"#),
            "{told}"
        );
    }
}
