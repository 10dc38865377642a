//! What a commit writes, and what it leaves when it fails.

use std::sync::Arc;

use rusqlite::Connection;

use super::{BOOT, NOW, Random, Scratch, assert_groups, count, filled, key, open, ready};
use crate::{
    plugin::{SavedGroup, collector::CollectorRun},
    process::{BootTime, Progress, Tgid},
    store::{
        Commit, GroupKey, HistoryRow, Store, StoreError, group_set, history,
        history::{Event, KEPT, OUTAGES_KEPT},
    },
};

fn commit(groups: &[(Arc<GroupKey>, SavedGroup)]) -> Commit {
    Commit {
        time: NOW,
        groups: groups.to_vec(),
        ..Commit::default()
    }
}

fn start(group: &Arc<GroupKey>, pid: u32) -> HistoryRow {
    HistoryRow {
        group: Arc::clone(group),
        time: NOW + u64::from(pid),
        pid: Tgid(pid),
        start_time: Some(NOW),
        name: "nginx".to_owned(),
        user: None,
        event: Event::Start { worker: false },
        details: crate::store::Details::default(),
    }
}

/// Changes some of everything, as a collection does.
fn mutate(random: &mut Random, group: &mut SavedGroup, next_tgid: &mut u32) {
    let new = random.group(0);
    if random.flag() {
        group.happened = new.happened;
        group.left_behind = new.left_behind;
    }
    if random.flag() {
        group.exits = new.exits[..random.below(new.exits.len())].to_vec();
    }
    if random.flag() {
        group.downtime = new.downtime;
    }
    if random.flag() {
        (group.last_start, group.peak_rss, group.lifetime) = (new.last_start, new.peak_rss, new.lifetime);
    }
    group.members.retain(|_| random.below(4) > 0);
    for member in &mut group.members {
        if random.flag() {
            member.totals = random.usage();
        }
        if random.below(8) == 0 {
            member.ended = !member.ended;
            member.key.start = BootTime(random.number());
        }
    }
    for _ in 0..random.below(6) {
        group.members.push(random.member(*next_tgid));
        *next_tgid += 1;
    }
    group.members.sort_unstable_by_key(|member| member.key);
}

#[test]
fn what_was_committed_last_comes_back() {
    let mut random = Random(11);
    let scratch = Scratch::new();
    let mut groups: Vec<_> = ["a", "b", "c"]
        .map(|plugin| (key(plugin), random.group(4)))
        .to_vec();
    let mut next_tgid = 100;
    for round in 0..60 {
        let mut store = open(&scratch.store());
        for _ in 0..3 {
            // Not every group is due each time.
            let due: Vec<_> = groups
                .iter_mut()
                .filter(|_| random.flag() || round == 0)
                .collect();
            let mut given = Vec::new();
            for (key, group) in due {
                mutate(&mut random, group, &mut next_tgid);
                given.push((Arc::clone(key), group.clone()));
            }
            store.commit(commit(&given)).unwrap();
            assert_groups(&store, &groups);
        }
        drop(store);
        assert_groups(&open(&scratch.store()), &groups);
    }
    assert_eq!(
        count(&scratch.store(), "SELECT count(*) FROM member"),
        groups
            .iter()
            .map(|(_, group)| group.members.len() as i64)
            .sum::<i64>(),
        "no member of former times is left"
    );
}

#[test]
fn only_what_changed_is_written() {
    let scratch = Scratch::new();
    let mut groups = filled(&scratch.store());
    let mut store = open(&scratch.store());
    // The outage of this start, and which run it is.
    store.commit(commit(&groups)).unwrap();
    let rows_of = |store: &mut Store, groups: &[(Arc<GroupKey>, SavedGroup)]| {
        let before = store.connection.total_changes();
        store.commit(commit(groups)).unwrap();
        store.connection.total_changes() - before
    };
    assert_eq!(rows_of(&mut store, &groups), 1, "the time alone");
    groups[0].1.members[3].totals = Random(5).usage();
    assert_eq!(rows_of(&mut store, &groups), 2, "and one member");
    groups[1].1.happened.starts ^= 1;
    groups[1].1.lifetime.counts[2] ^= 1;
    groups[2].1.members.pop();
    assert_eq!(
        rows_of(&mut store, &groups),
        4,
        "and an accumulator, a bucket, a member that left"
    );
}

/// A failing commit leaves no transaction open and loses nothing; the next one writes all that is unwritten.
#[test]
fn a_failed_commit_is_made_up_for() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let (web, other) = (&groups[0], (key("late"), Random(9).group(3)));
    let mut store = open(&scratch.store());
    let mut web = web.clone();
    web.1.happened.starts = 77;

    let locker = Connection::open(scratch.store()).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    for pid in 1..=2 {
        let failing = Commit {
            history: vec![start(&other.0, pid)],
            ..commit(&[web.clone(), other.clone()])
        };
        let error = store.commit(failing).unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("kevmon.db"), "{error}");
        assert!(store.connection.is_autocommit());
    }
    locker.execute_batch("ROLLBACK").unwrap();
    // The groups themselves are not due at the next one.
    store.commit(commit(&[])).unwrap();
    drop(store);

    let mut expected = groups;
    expected[0] = web;
    expected.push(other);
    assert_groups(&open(&scratch.store()), &expected);
    let history = history(&scratch.store(), None).unwrap();
    assert_eq!(
        history.rows.iter().map(|row| row.pid.0).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(history.outages.len(), 1, "told once");
}

#[test]
fn a_database_that_may_not_grow() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let mut store = open(&scratch.store());
    let pages: i64 = store
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let limit = |store: &Store, pages: i64| {
        store
            .connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .unwrap();
    };
    limit(&store, pages);
    let big = (key("big"), Random(4).group(5_000));
    let error = store.commit(commit(std::slice::from_ref(&big))).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(store.connection.is_autocommit());
    assert_groups(&store, &groups);
    limit(&store, 1_000_000);
    store.commit(commit(&[])).unwrap();
    drop(store);
    let mut expected = groups;
    expected.push(big);
    assert_groups(&open(&scratch.store()), &expected);
}

#[test]
fn the_newest_rows_are_kept() {
    let scratch = Scratch::new();
    let (busy, quiet) = (key("busy"), key("quiet"));
    let mut store = open(&scratch.store());
    let kept = KEPT as u32;
    // In one commit, over several, and while none succeeds.
    let locker = Connection::open(scratch.store()).unwrap();
    let mut pid = 0;
    for (rows, locked) in [
        (kept + 500, false),
        (700, false),
        (300, false),
        (kept + 10, true),
        (1, false),
    ] {
        if locked {
            locker.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        let new = (0..rows)
            .map(|_| {
                pid += 1;
                start(&busy, pid)
            })
            .chain([start(&quiet, 1)])
            .collect();
        let committed = store.commit(Commit {
            history: new,
            ..commit(&[])
        });
        assert_eq!(committed.is_err(), locked);
        if locked {
            assert_eq!(
                store.unwritten.history[&busy.key].len(),
                KEPT,
                "memory is bounded too"
            );
            locker.execute_batch("ROLLBACK").unwrap();
        }
        let busy = history(&scratch.store(), Some("busy")).unwrap();
        assert_eq!(busy.rows.len(), KEPT);
        if !locked {
            let pids: Vec<u32> = busy.rows.iter().map(|row| row.pid.0).collect();
            assert_eq!(pids, (pid - kept + 1..=pid).collect::<Vec<_>>());
        }
    }
    assert_eq!(history(&scratch.store(), Some("quiet")).unwrap().rows.len(), 5);
}

#[test]
fn outages_are_bounded() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let rows = OUTAGES_KEPT;
    Connection::open(scratch.store())
        .unwrap()
        .execute_batch(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO outage (from_time, to_time, same_boot) SELECT i, i, 1 FROM n"
        ))
        .unwrap();
    let mut store = ready(Store::open(&scratch.store(), BOOT, NOW + 5));
    store.commit(commit(&[])).unwrap();
    let outages = history(&scratch.store(), None).unwrap().outages;
    assert_eq!(outages.len(), rows);
    assert_eq!((outages[0].from, outages[rows - 1].to), (2, NOW + 5));
}

#[test]
fn durability_is_a_choice() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    let synchronous = |store: &Store| -> i64 {
        store
            .connection
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .unwrap()
    };
    for (is_durable, level) in [(false, 1), (true, 2), (true, 2), (false, 1)] {
        let commit = Commit {
            is_durable,
            ..commit(&[])
        };
        store.commit(commit).unwrap();
        assert_eq!(synchronous(&store), level, "NORMAL is 1, FULL is 2");
    }
}

/// The last run of each collector, of whichever commit; what is too old to decide anything goes.
#[test]
fn last_runs_of_collectors_are_kept() {
    const HOUR: u64 = 3600 * 1_000_000_000;
    let scratch = Scratch::new();
    let run = |collector: &str, time: u64| CollectorRun {
        plugin: "shop(a)".to_owned(),
        collector: collector.to_owned(),
        fingerprint: "f".to_owned(),
        time,
    };
    let commit = |store: &mut Store, time: u64, runs: Vec<CollectorRun>| {
        let commit = Commit {
            time,
            runs,
            ..Commit::default()
        };
        store.commit(commit).unwrap();
    };
    let mut store = open(&scratch.store());
    assert_eq!(store.collector_runs(), []);
    commit(&mut store, NOW, vec![run("one", NOW), run("two", NOW)]);
    commit(&mut store, NOW + HOUR, vec![run("one", NOW + HOUR)]);
    commit(&mut store, NOW + HOUR, Vec::new());
    drop(store);
    let mut store = open(&scratch.store());
    assert_eq!(store.collector_runs(), [run("one", NOW + HOUR), run("two", NOW)]);
    commit(&mut store, NOW + 25 * HOUR, vec![run("three", NOW + 25 * HOUR)]);
    assert_eq!(
        store.collector_runs(),
        [run("one", NOW + HOUR), run("three", NOW + 25 * HOUR)]
    );
}

/// The wall clock is stepped by an hour between two runs.
#[test]
fn the_moment_of_a_boot_is_that_of_its_first_run() {
    const HOUR: u64 = 3_600_000_000_000;
    let scratch = Scratch::new();
    let run = |boot: &str, measured: u64| {
        let mut store = ready(Store::open(&scratch.store(), boot, NOW));
        let told = store.boot_time(measured);
        assert_eq!(store.boot_time(measured + 1), told, "within a run");
        store.commit(commit(&[])).unwrap();
        told
    };
    assert_eq!(run(BOOT, NOW), NOW);
    assert_eq!(run(BOOT, NOW + HOUR), NOW);
    assert_eq!(run(BOOT, NOW - HOUR), NOW);
    assert_eq!(run("another boot", NOW + HOUR), NOW + HOUR);
    assert_eq!(run("another boot", NOW), NOW + HOUR);
    assert_eq!(run(BOOT, NOW + 1), NOW + 1, "nobody knows that boot any more");
}

/// A run that begins when the clock has been set knows all the same when the last one looked.
#[test]
fn the_last_commit_is_kept_on_the_boots_own_clock() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    assert_eq!(store.left_at(), None, "the first run");
    let commit = |boot_began| Commit {
        time: NOW,
        boot_began,
        ..Commit::default()
    };
    store.commit(commit(Some(NOW - 700))).unwrap();
    drop(store);
    let mut store = super::ready(Store::open(&scratch.store(), BOOT, NOW - 1_000_000));
    assert_eq!(store.left_at(), Some(700));
    store.attached(NOW - 1_000_000, BootTime(900));
    assert_eq!(store.outage().unwrap().to, NOW + 200, "however the clock was set");
    store.commit(commit(None)).unwrap();
    drop(store);
    assert_eq!(open(&scratch.store()).left_at(), None, "not known");
    let other = super::ready(Store::open(&scratch.store(), "another boot", NOW));
    assert_eq!(other.left_at(), None);
}

/// A position in the kernel side's ring is as good as the groups that were committed with it.
#[test]
fn how_far_records_are_in_the_groups_comes_back_with_them() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let keys = || groups.iter().map(|(key, _)| key.key.as_str());
    let progress = |position, lives: &[u8]| Progress {
        ring: 7,
        position,
        received: position / 8,
        losses: vec![1, u64::MAX, 3],
        lives: lives.into(),
        groups: group_set(keys()),
        is_told: position > 64,
        ends: 0,
    };
    let with = |progress: Option<Progress>| Commit {
        progress,
        ..commit(&groups)
    };
    let mut store = open(&scratch.store());
    assert_eq!(store.progress(keys()), None);
    for (position, lives) in [(64, &b"one"[..]), (128, b"one"), (u64::MAX, b"two")] {
        store.commit(with(Some(progress(position, lives)))).unwrap();
        drop(store);
        store = open(&scratch.store());
        assert_eq!(store.progress(keys()), Some(progress(position, lives)));
        let and_a_new_one = keys().chain(["new"]);
        assert_eq!(store.progress(and_a_new_one), None, "its past is in no group");
        let but_one = keys().skip(1);
        assert_eq!(store.progress(but_one), None, "another set than was watched");
    }
    // A run without a ring has gone on with the groups.
    store.commit(with(None)).unwrap();
    drop(store);
    assert_eq!(open(&scratch.store()).progress(keys()), None);
}
