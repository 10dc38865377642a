//! The history: from notices to what people read.

use std::{os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use rusqlite::Connection;

use super::{BOOT, NOW, Scratch, filled, key, open, ready, refused};
use crate::{
    plugin::{GroupId, Notice, Predecessor, RestartKind, What},
    process::{BootTime, Ending, ProcessKey, Reason, Sender, Tgid, Usage},
    store::{
        Commit, Details, HistoryRow, Parent, Store, StoreError, history,
        history::{Event, KEPT},
    },
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
        parent: Some(ProcessKey {
            tgid: Tgid(1),
            start: BootTime(0),
        }),
        name: "nginx\u{1b}[2J".into(),
        exe: "nginx".into(),
        user: Some(33),
        programs: vec!["sh".into(), "nginx".into()],
        incident: None,
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
        peak_rss: Some(7 << 20),
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
    let restart = |kind, downtime| What::Restart {
        kind,
        downtime,
        previous: None,
    };
    let after = |status, ago| What::Restart {
        kind: RestartKind::Respawn,
        downtime: None,
        previous: Some(Box::new(Predecessor {
            key: ProcessKey {
                tgid: Tgid(815),
                start: BootTime(80 * SECOND),
            },
            name: "old".into(),
            ending: Ending {
                status,
                oom_victim: false,
                sender: sender(9),
            },
            ago,
        })),
    };
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
        after(Some(0x0700), Some(Duration::from_millis(1))),
        after(Some(9), Some(Duration::ZERO)),
        after(None, None),
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
        (NOW + 100 * SECOND, Some(NOW + 90 * SECOND))
    );
    assert_eq!(rows[0].pid, Tgid(4_321));
    let parent = Parent {
        pid: Tgid(1),
        name: None,
    };
    assert_eq!(
        rows[0].details,
        Details {
            parent: Some(parent),
            exe: Some("nginx".to_owned()),
            ..Details::default()
        }
    );
    assert_eq!(
        rows[2].details,
        Details {
            exe: Some("nginx".to_owned()),
            programs: vec!["sh".to_owned(), "nginx".to_owned()],
            cpu: Some(0),
            peak_rss: Some(7 << 20),
            settled: Some(true),
            ..Details::default()
        }
    );
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
    let none = history(&scratch.store(), Some("no such")).unwrap();
    assert_eq!(none.rows, []);
    assert!(none.plugins.iter().eq(["db", "web"]), "{:?}", none.plugins);
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
    assert_eq!(history(&empty.store(), None).unwrap().rows, []);
}

#[test]
fn members_that_are_closed_have_rows() {
    let mut group = super::Random(3).group(3);
    for (member, (root, ended, former)) in
        group
            .members
            .iter_mut()
            .zip([(true, false, false), (true, true, false), (false, false, true)])
    {
        (member.root, member.ended, member.former) = (root, ended, former);
        member.name = "nginx".into();
    }
    let web = key("web");
    let rows = HistoryRow::of_closed(&web, &group, NOW);
    let expected = HistoryRow {
        group: Arc::clone(&web),
        time: NOW,
        pid: group.members[0].key.tgid,
        start_time: None,
        name: "nginx".to_owned(),
        user: group.members[0].user,
        event: Event::Exit {
            worker: false,
            reason: Reason::Unknown,
            sender: None,
            lifetime: None,
        },
        details: Details::default(),
    };
    assert_eq!(rows, [expected], "what had ended or left has been told");
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    store
        .commit(Commit {
            time: NOW,
            history: rows.clone(),
            ..Commit::default()
        })
        .unwrap();
    assert_eq!(history(&scratch.store(), None).unwrap().rows, rows);
}

#[test]
fn what_belongs_to_another_user_is_said_to() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    std::fs::set_permissions(scratch.store(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let path = scratch.store();
    let reader = std::thread::spawn(move || {
        const NOBODY: libc::c_long = 65_534;
        // SAFETY: takes integers alone; the bare call, other than the C library's, is about this thread, which ends
        // soon. For who is not root it fails, and is not needed.
        unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        history(&path, None).unwrap_err()
    });
    let error = reader.join().unwrap();
    assert!(matches!(error, StoreError::NotReadable { .. }), "{error}");
    assert_eq!(
        format!("{:#}", anyhow::Error::from(error)),
        format!(
            "store {}: it belongs to another user (Permission denied (os error 13)); run this as root",
            scratch.store().display()
        )
    );
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
    assert_eq!(rows.len(), 14);
}

/// Rows `pids` of a service's user, and as many of another one as `flood` says, in one commit.
fn of_two_users(store: &mut Store, pids: std::ops::Range<u32>, flood: u32) -> Result<(), StoreError> {
    const SERVICE: u32 = 33;
    const STRANGER: u32 = 65_534;
    let row = |pid: u32, user: u32| HistoryRow {
        pid: Tgid(pid),
        user: Some(user),
        ..rows()[0].clone()
    };
    let strangers = (0..flood).map(|pid| row(1_000_000 + pid, STRANGER));
    store.commit(Commit {
        time: NOW,
        history: pids.map(|pid| row(pid, SERVICE)).chain(strangers).collect(),
        ..Commit::default()
    })
}

#[test]
fn a_flood_of_one_user_costs_no_other_one_its_rows() {
    let scratch = Scratch::new();
    let path = scratch.store();
    let mut store = open(&path);
    let services = || -> Vec<u32> {
        let rows = history(&path, None).unwrap().rows;
        assert!(rows.len() <= KEPT);
        let pids = rows.iter().map(|row| row.pid.0);
        pids.filter(|pid| *pid < 1_000_000).collect()
    };
    // In one commit, in one that fails before it succeeds, and in many.
    of_two_users(&mut store, 0..3, 3 * KEPT as u32).unwrap();
    assert_eq!(services(), [0, 1, 2]);
    let locker = Connection::open(&path).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    of_two_users(&mut store, 3..5, 10).unwrap_err();
    of_two_users(&mut store, 5..6, 3 * KEPT as u32).unwrap_err();
    locker.execute_batch("ROLLBACK").unwrap();
    of_two_users(&mut store, 6..6, 1).unwrap();
    assert_eq!(services(), [0, 1, 2, 3, 4, 5]);
    drop(store);
    let mut store = ready(Store::open(&path, BOOT, NOW));
    for pid in 6..16 {
        of_two_users(&mut store, pid..pid + 1, 400).unwrap();
    }
    assert_eq!(services(), (0..16).collect::<Vec<_>>());
    // Up to half of the rows it takes room back, and no more; of its own the oldest go.
    of_two_users(&mut store, 16..2_000, 0).unwrap();
    assert_eq!(services(), (1_500..2_000).collect::<Vec<_>>());
    // Alone, each has all of them.
    let alone = Scratch::new();
    let mut store = open(&alone.store());
    of_two_users(&mut store, 0..2_000, 0).unwrap();
    assert_eq!(history(&alone.store(), None).unwrap().rows.len(), KEPT);
}
