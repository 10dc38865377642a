//! The history: from notices to what people read.

use std::{sync::Arc, time::Duration};

use super::{BOOT, NOW, Scratch, filled, key, open, ready, refused};
use crate::{
    plugin::{GroupId, Notice, RestartKind, What},
    process::{BootTime, Ending, ProcessKey, Sender, Tgid, Usage},
    store::{Commit, HistoryRow, Store, StoreError, history, history::Event, render_json, render_text},
};

const SECOND: u64 = 1_000_000_000;

fn notice(seconds: u64, what: What) -> Notice {
    Notice {
        group: GroupId(0),
        time: BootTime(seconds * SECOND),
        key: ProcessKey {
            tgid: Tgid(4_321),
            start: BootTime(90 * SECOND),
        },
        parent: None,
        name: "nginx\u{1b}[2J".into(),
        exe: "nginx".into(),
        what,
    }
}

fn exit(status: Option<u32>, sender: Option<Sender>, lifetime: Option<u64>) -> What {
    What::Exit {
        ending: Ending {
            status,
            oom_victim: status == Some(9) && sender.is_none(),
            sender,
        },
        lifetime: lifetime.map(Duration::from_nanos),
        usage: Usage::ZERO,
        peak_rss: None,
        settled: true,
        worker: false,
    }
}

fn rows() -> Vec<HistoryRow> {
    let sender = |signal| {
        Some(Sender {
            tgid: Tgid(77),
            comm: "kill".to_owned(),
            signal,
        })
    };
    let restart = |kind, downtime| What::Restart { kind, downtime };
    let web = key("web");
    [
        What::Start { worker: false },
        What::Start { worker: true },
        exit(Some(0x0700), None, Some(1_500_000_000)),
        exit(Some(0x8b), None, None),
        exit(Some(15), sender(15), Some(2)),
        exit(Some(9), sender(15), Some(2)),
        exit(Some(9), None, Some(u64::MAX)),
        exit(None, None, None),
        restart(RestartKind::Respawn, Some(Duration::from_millis(250))),
        restart(RestartKind::Respawn, None),
        restart(RestartKind::Reexec, None),
    ]
    .into_iter()
    .enumerate()
    .map(|(second, what)| {
        let notice = notice(100 + second as u64, what);
        HistoryRow::of(&notice, &web, |time| NOW + time.0)
    })
    .collect()
}

#[test]
fn a_notice_becomes_a_row() {
    let rows = rows();
    let Event::Exit {
        reason,
        sender,
        lifetime,
        worker,
    } = &rows[4].event
    else {
        panic!("{:?}", rows[4]);
    };
    assert_eq!(reason.name(), "signal");
    assert_eq!(
        sender.as_ref().map(|(pid, comm)| (pid.0, comm.as_str())),
        Some((77, "kill"))
    );
    assert_eq!((*lifetime, *worker), (Some(2), false));
    assert!(
        matches!(&rows[5].event, Event::Exit { sender: None, .. }),
        "another signal's sender is no killer"
    );
    assert_eq!(
        (rows[0].time, rows[0].start_time),
        (NOW + 100 * SECOND, NOW + 90 * SECOND)
    );
    assert_eq!(rows[0].pid, Tgid(4_321));
}

#[test]
fn it_is_read_while_the_daemon_writes() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    assert_eq!(history(&scratch.store(), None).unwrap().rows, []);
    let rows = rows();
    let other = HistoryRow {
        group: key("db"),
        ..rows[0].clone()
    };
    for (position, row) in rows.iter().chain([&other]).enumerate() {
        store
            .commit(Commit {
                time: NOW + position as u64,
                history: vec![row.clone()],
                ..Commit::default()
            })
            .unwrap();
        assert_eq!(history(&scratch.store(), None).unwrap().rows.len(), position + 1);
    }
    assert_eq!(history(&scratch.store(), Some("web")).unwrap().rows, rows);
    assert_eq!(history(&scratch.store(), Some("db")).unwrap().rows, [other]);
    assert_eq!(history(&scratch.store(), Some("no such")).unwrap().rows, []);
}

#[test]
fn as_text_and_as_json() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    store
        .commit(Commit {
            time: NOW + 102 * SECOND,
            history: rows(),
            ..Commit::default()
        })
        .unwrap();
    drop(store);
    let mut store = ready(Store::open(&scratch.store(), "another boot", NOW + 200 * SECOND));
    store.commit(Commit::default()).unwrap();
    let history = history(&scratch.store(), None).unwrap();

    let mut text = Vec::new();
    render_text(&history, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let what = [
        "start    4321  nginx\\u{1b}[2J\n",
        "start    4321  nginx\\u{1b}[2J  worker\n",
        "exit code 7, lived 1.500 s\n",
        "outage         kevmon          away until 2026-11-21T03:29:39.000Z, the host booted in between\n",
        "SIGSEGV, core dumped\n",
        "SIGTERM, sent by kill (pid 77), lived 0 µs\n",
        "SIGKILL, lived 0 µs\n",
        "killed by the OOM killer, lived 213503 d 23 h\n",
        "found missing, reason unknown\n",
        "respawn, down for 250 ms\n",
        "respawn\n",
        "reexec\n",
    ];
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), what.len() + 1, "{text}");
    for (line, expected) in lines[1..].iter().zip(what) {
        assert!(
            line.ends_with(expected),
            "{line:?} does not end with {expected:?}"
        );
    }
    assert!(
        lines[1].starts_with("2026-11-21T03:27:59.000Z  web     start"),
        "{text}"
    );

    let mut json = Vec::new();
    render_json(&history, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    let lines: Vec<&str> = json.lines().collect();
    assert_eq!(
        lines[5],
        r#"{"time":1795231683000000000,"plugin":"web","event":"exit","pid":4321,"start_time":1795231669000000000,"name":"nginx\u001b[2J","worker":false,"reason":"signal","signal":15,"signal_name":"SIGTERM","core_dumped":false,"sender_pid":77,"sender_comm":"kill","lifetime_ns":2}"#
    );
    assert_eq!(
        lines[3],
        r#"{"time":1795231681000000000,"event":"outage","until":1795231779000000000,"same_boot":false}"#
    );
    assert!(
        lines[8].ends_with(r#""worker":false,"reason":"unknown"}"#),
        "{}",
        lines[8]
    );
}

#[test]
fn where_there_is_nothing_to_read() {
    let scratch = Scratch::new();
    let error = history(&scratch.store(), None).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!scratch.store().exists());

    super::fixtures::ORIGINALS[5].create(&scratch.store());
    let before = scratch.files();
    let error = history(&scratch.store(), None).unwrap_err();
    assert!(matches!(error, StoreError::Older { .. }), "{error}");
    assert_eq!(scratch.files(), before);

    std::fs::write(
        scratch.store(),
        "no database, but long enough to be looked at: ".repeat(20),
    )
    .unwrap();
    let before = scratch.files();
    let error = history(&scratch.store(), None).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(scratch.files(), before, "reading moves nothing");

    let empty = Scratch::new();
    filled(&empty.store());
    let mut text = Vec::new();
    render_text(&history(&empty.store(), None).unwrap(), &mut text).unwrap();
    assert_eq!(text, b"nothing has happened yet\n");
}

/// Reading takes no lock that would keep a daemon from starting, and leaves none.
#[test]
fn reading_keeps_no_daemon_out() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let reader = crate::store::open::read_only(&scratch.store()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM history")
        .unwrap();
    let mut store = ready(Store::open(&scratch.store(), BOOT, NOW));
    store
        .commit(Commit {
            time: NOW,
            history: rows(),
            ..Commit::default()
        })
        .unwrap();
    refused(&scratch.store());
    let rows = Arc::new(history(&scratch.store(), None).unwrap().rows);
    assert_eq!(rows.len(), 11);
}
