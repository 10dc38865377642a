use std::sync::Arc;

use super::*;
use crate::{
    plugin::RestartKind,
    process::{Reason, Tgid},
    store::{Details, GroupKey, Parent},
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_795_231_679 * SECOND;

fn exit(reason: Reason, sender: Option<u32>, lifetime: Option<u64>, worker: bool) -> Event {
    Event::Exit {
        worker,
        reason,
        sender: sender.map(|pid| (Tgid(pid), "ba\u{1b}sh".to_owned())),
        lifetime,
    }
}

/// A start by a process whose name is known, and one end with everything.
fn details(event: &Event) -> Details {
    match event {
        Event::Start { worker } => Details {
            parent: Some(Parent {
                pid: Tgid(1),
                name: (!worker).then(|| "systemd".to_owned()),
            }),
            exe: Some("nginx".to_owned()),
            ..Details::default()
        },
        Event::Exit {
            reason: Reason::Oom, ..
        } => Details {
            exe: Some("nginx".to_owned()),
            programs: vec!["sh".to_owned(), "nginx".to_owned()],
            cpu: Some(1_220_000_000),
            peak_rss: Some(88 << 20),
            settled: Some(false),
            ..Details::default()
        },
        _ => Details::default(),
    }
}

/// Three hours ahead of UTC; from the fifth second on the clocks are set to winter time.
fn date(unix: u64) -> Local {
    let ahead = if unix >= NOW + 5 * SECOND { 2 } else { 3 };
    let text = crate::export::iso8601_millis(unix + ahead * 3_600 * SECOND);
    Local {
        text: text.trim_end_matches('Z').replace('T', " "),
        zone: format!("+0{ahead}"),
    }
}

fn utc(unix: u64) -> Local {
    let text = crate::export::iso8601_millis(unix);
    Local {
        text: text.trim_end_matches('Z').replace('T', " "),
        zone: "UTC".to_owned(),
    }
}

fn told(history: &History, date: &dyn Fn(u64) -> Local, width: Option<usize>) -> String {
    let look = crate::export::Look {
        colours: false,
        width,
    };
    page(history, date).paint(look).as_str().to_owned()
}

fn signal(number: u8, core_dumped: bool) -> Reason {
    Reason::Signal { number, core_dumped }
}

/// One event a second, and an outage between the third and the fourth.
fn all() -> History {
    let restart = |kind, downtime| Event::Restart {
        kind,
        downtime,
        previous: None,
    };
    let previous = PreviousRow {
        pid: Tgid(815),
        start_time: Some(NOW - 60 * SECOND),
        name: "old\u{1b}nginx".to_owned(),
        reason: signal(9, false),
        sender: Some((Tgid(1), "systemd".to_owned())),
        ago: Some(250_000_000),
    };
    let events = [
        Event::Start { worker: false },
        Event::Start { worker: true },
        exit(Reason::Exit { code: 7 }, None, Some(3_250_000_000), false),
        exit(signal(11, true), None, None, true),
        exit(signal(9, false), Some(123), Some(340_000), false),
        exit(Reason::Oom, None, Some(312 * SECOND), false),
        exit(Reason::Unknown, None, None, false),
        restart(RestartKind::Respawn, Some(250_000_000)),
        restart(RestartKind::Reexec, None),
        Event::Restart {
            kind: RestartKind::Respawn,
            downtime: previous.ago,
            previous: Some(Box::new(previous)),
        },
    ];
    let group = Arc::new(GroupKey {
        plugin: "web".to_owned(),
        key: "web/x".to_owned(),
    });
    let row = |(second, event)| HistoryRow {
        group: Arc::clone(&group),
        time: NOW + second * SECOND,
        pid: Tgid(4_321),
        start_time: (second != 6).then_some(NOW - SECOND),
        name: "nginx\u{1b}[2J".to_owned(),
        user: Some(33),
        details: details(&event),
        event,
    };
    History {
        rows: (0..).zip(events).map(row).collect(),
        outages: vec![Outage {
            from: NOW + 2 * SECOND + 1,
            to: NOW + 100 * SECOND,
            same_boot: false,
        }],
        plugins: ["web".to_owned()].into(),
    }
}

#[test]
fn a_table_for_people() {
    insta::assert_snapshot!("table", told(&all(), &utc, None));
    insta::assert_snapshot!("table_80", told(&all(), &utc, Some(80)));
    insta::assert_snapshot!("table_of_two_zones", told(&all(), &date, Some(200)));
    assert_eq!(told(&History::default(), &utc, None), "");
}

#[test]
fn what_is_older_is_left_out() {
    let mut history = all();
    keep_since(&mut history, NOW + 5 * SECOND);
    let seconds: Vec<u64> = history.rows.iter().map(|row| (row.time - NOW) / SECOND).collect();
    assert_eq!(seconds, [5, 6, 7, 8, 9]);
    assert_eq!(history.outages.len(), 1, "it went on");
    keep_since(&mut history, NOW + 101 * SECOND);
    assert_eq!(
        history,
        History {
            plugins: history.plugins.clone(),
            ..History::default()
        }
    );
    let hours = Some(Duration::from_secs(7_200));
    for (since, oldest, text) in [
        (None, None, "nothing has happened yet"),
        (hours, None, "nothing has happened yet"),
        (
            hours,
            Some(NOW),
            "nothing has happened in the last 2h 00m; the history goes back to 2026-11-21 03:27:59.000 UTC",
        ),
    ] {
        assert_eq!(nothing(since, oldest, &utc), text);
    }
}

#[test]
fn how_long_kevmon_was_away() {
    let outage = |from, to, same_boot| Outage { from, to, same_boot };
    for (outage, text) in [
        (
            outage(NOW, NOW + 2_310_000_000, true),
            "away for 2.310 s, until 2026-11-21 03:28:01.310 UTC",
        ),
        (
            outage(NOW, NOW + 7_200 * SECOND, false),
            "away for 2h 00m, until 2026-11-21 05:27:59.000 UTC, the host booted in between",
        ),
        (
            outage(NOW, NOW - SECOND, true),
            "away until 2026-11-21 03:27:58.000 UTC; for how long is not known, as the clock was set back",
        ),
    ] {
        assert_eq!(away(&outage, &utc), text);
    }
}

#[test]
fn lines_for_programs() {
    let told = json(&all());
    let told: Vec<&str> = told.lines().collect();
    let beginning = |second: u64, event: &str, role: &str| {
        format!(
            r#"{{"time":{},"event":"{event}","plugin":"web","pid":4321,"start_time":1795231678000000000,"name":"nginx\u001b[2J","role":"{role}""#,
            NOW + second * SECOND
        )
    };
    for (line, beginning, rest) in [
        (
            0,
            beginning(0, "start", "root"),
            r#","uid":33,"parent_pid":1,"parent_name":"systemd","exe":"nginx""#,
        ),
        (
            1,
            beginning(1, "start", "worker"),
            r#","uid":33,"parent_pid":1,"exe":"nginx""#,
        ),
        (
            2,
            beginning(2, "exit", "root"),
            r#","reason":"exit","code":7,"lifetime_ns":3250000000,"uid":33"#,
        ),
        (
            4,
            beginning(3, "exit", "worker"),
            r#","reason":"signal","signal":11,"signal_name":"SIGSEGV","core_dumped":true,"uid":33"#,
        ),
        (
            5,
            beginning(4, "exit", "root"),
            r#","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":123,"name":"ba\u001bsh"},"lifetime_ns":340000,"uid":33"#,
        ),
        (
            6,
            beginning(5, "exit", "root"),
            r#","reason":"oom","lifetime_ns":312000000000,"uid":33,"exe":"nginx","programs":["sh","nginx"],"cpu_time_ns":1220000000,"peak_rss_bytes":92274688,"settled":false"#,
        ),
        (
            8,
            beginning(7, "restart", "root"),
            r#","kind":"respawn","downtime_ns":250000000,"uid":33"#,
        ),
        (9, beginning(8, "restart", "root"), r#","kind":"reexec","uid":33"#),
        (
            10,
            beginning(9, "restart", "root"),
            r#","kind":"respawn","downtime_ns":250000000,"previous":{"pid":815,"start_time":1795231619000000000,"name":"old\u001bnginx","reason":"signal","signal":9,"signal_name":"SIGKILL","core_dumped":false,"sender":{"pid":1,"name":"systemd"},"ended_ago_ns":250000000},"uid":33"#,
        ),
    ] {
        assert_eq!(told[line], format!("{beginning}{rest}}}"));
    }
    assert_eq!(
        told[3],
        r#"{"time":1795231681000000001,"event":"outage","until":1795231779000000000,"same_boot":false}"#
    );
    assert_eq!(
        told[7],
        r#"{"time":1795231685000000000,"event":"exit","plugin":"web","pid":4321,"name":"nginx\u001b[2J","role":"root","reason":"unknown","uid":33}"#,
        "when it started is not known"
    );
}

#[test]
fn a_plugin_that_the_store_does_not_know() {
    let path = Path::new("/x/y.db");
    let mut history = all();
    assert_eq!(unknown_plugin("web", &history, path), None);
    history.plugins.insert("db".to_owned());
    assert_eq!(
        unknown_plugin("nope", &history, path).as_deref(),
        Some("--plugin nope: store /x/y.db knows no plugin of that name; it knows db, web")
    );
    let none = unknown_plugin("nope", &History::default(), path).unwrap_or_default();
    assert!(none.ends_with("; it knows none yet"), "{none}");
}
