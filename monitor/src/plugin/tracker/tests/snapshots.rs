//! What snapshots and scans show.

use super::*;

#[test]
fn what_a_snapshot_finds_is_no_start_and_what_it_misses_no_crash() {
    let mut tracker = Tracker::new(vec![plugin("^app$")], BootTime(90 * MS)).unwrap();
    let (old, gone) = (key(10, 1), key(11, 2));
    for process in [old, gone] {
        let judgement = tracker.discover(&seen(process, "app"), BootTime(100 * MS), None);
        assert_eq!(
            judgement,
            Some(Judgement {
                key: process,
                sequence: 0,
                keep: true
            })
        );
        let marked = Seen {
            sequence: Some(0),
            ..seen(process, "app")
        };
        assert_eq!(tracker.discover(&marked, BootTime(101 * MS), None), None, "once");
        let unmarked = tracker.discover(&seen(process, "app"), BootTime(101 * MS), None);
        assert_eq!(
            unmarked, judgement,
            "again when the kernel side could not mark it"
        );
    }
    assert_eq!(
        tracker.discover(&seen(key(12, 3), "other"), BootTime(100 * MS), None),
        None
    );
    sample(&mut tracker, 110, old, 1_000);
    let reading = read(&mut tracker, 0, 120);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.process_count
        ),
        (0, 2, 2)
    );
    assert_eq!(
        reading.usage_start,
        Moment::Boot(BootTime(MS)),
        "the oldest member's start"
    );

    let present = KeySet::from_iter([old]);
    assert_eq!(
        tracker.end_missing(&present, BootTime(200 * MS), BootTime(210 * MS), true),
        1
    );
    let reading = read(&mut tracker, 0, 220);
    assert_eq!((reading.happened.exits, reading.process_count), (1, 1));
    assert_eq!(tracker.irregularities().missing, 1);
}

#[test]
fn a_process_that_appeared_during_the_snapshot_is_not_missing() {
    let mut tracker = tracker(&["^app$"]);
    tracker.apply(exec(205, key(10, 204), INIT, "app", 0));
    assert_eq!(
        tracker.end_missing(&KeySet::default(), BootTime(200 * MS), BootTime(210 * MS), true),
        0
    );
}

#[test]
fn a_source_without_events_counts_what_began_since_its_last_scan_as_started() {
    let mut tracker = tracker(&["^app$"]);
    tracker.discover(&seen(key(10, 50), "app"), BootTime(100 * MS), None);
    tracker.discover(
        &seen(key(11, 150), "app"),
        BootTime(200 * MS),
        Some(BootTime(100 * MS)),
    );
    let reading = read(&mut tracker, 0, 210);
    assert_eq!((reading.happened.joins, reading.happened.starts), (1, 1));
}

#[test]
fn what_a_snapshot_shows_ended_keeps_its_names_and_ends() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 5));
    let zombie = Seen {
        identity: Identity {
            comm: "app".into(),
            ..Identity::default()
        },
        ended: true,
        ..seen(process, "")
    };
    assert_eq!(tracker.discover(&zombie, BootTime(200 * MS), None), None);
    let seen_end = |time| SeenEnd {
        time: BootTime(time * MS),
        ending: ending(0x700),
        peak_rss: Some(3),
    };
    // Its exit is under way: the record comes.
    let leaving = Seen {
        sequence: Some(100 * MS),
        ..zombie.clone()
    };
    tracker.end_seen(vec![leaving.clone()], BootTime(200 * MS));
    assert_eq!(read(&mut tracker, 0, 205).happened.exits, 0);
    let gone = Seen {
        end: Some(seen_end(190)),
        ..leaving
    };
    let untold = Seen {
        untold: true,
        ..gone.clone()
    };
    tracker.end_seen(vec![untold], BootTime(200 * MS));
    assert_eq!(
        read(&mut tracker, 0, 206).happened.exits,
        0,
        "its names come with its end"
    );
    tracker.end_seen(vec![gone], BootTime(200 * MS));
    let reading = read(&mut tracker, 0, 210);
    assert_eq!(
        reading.exits,
        [(Reason::Exit { code: 7 }, 1)],
        "the record was lost, not the end"
    );
    assert_eq!(reading.last_exit, Some(Moment::Boot(BootTime(190 * MS))));
    assert_eq!(
        (reading.happened.exits, reading.happened.leaves, reading.unsettled),
        (1, 0, 1)
    );
    sample(&mut tracker, 220, process, 8);
    tracker.apply(free(300, process, 9));
    assert_eq!(written(&read(&mut tracker, 0, 310)), 9, "its totals still come");
}

#[test]
fn what_had_ended_before_the_watch_began_ended_for_an_unknown_reason() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 5));
    let zombie = Seen {
        ended: true,
        ..seen(process, "")
    };
    tracker.end_seen(vec![zombie], BootTime(200 * MS));
    assert_eq!(read(&mut tracker, 0, 210).exits, [(Reason::Unknown, 1)]);
}

/// The record of its exec was lost, kevmon was away, or there are no records: neither the executable nor `comm` tells.
#[test]
fn a_script_behind_the_same_interpreter_is_another_one() {
    let script = |name: &str| Identity {
        comm: "bash".to_owned(),
        exe: "bash".to_owned(),
        argv: vec!["bash".to_owned(), format!("/opt/{name}")],
        ..Identity::default()
    };
    let shell = key(10, 100);
    let found = |name: &str| Seen {
        identity: script(name),
        ..seen(shell, "")
    };
    let untold = Seen {
        sequence: Some(5_000 * MS),
        untold: true,
        ..found("y.sh")
    };
    let scanned = Some(BootTime(4_000 * MS));
    for (way, seen, new_since, starts) in [
        ("a record was lost", untold, None, 1),
        ("a scan", found("y.sh"), scanned, 0),
        ("a restart", found("y.sh"), None, 0),
    ] {
        let mut tracker = tracker(&["^x.sh$", "^y.sh$"]);
        tracker.discover(&found("x.sh"), BootTime(1_000 * MS), None);
        if way == "a restart" {
            read(&mut tracker, 0, 2_000);
            let saved = tracker.saved(&[GroupId(0)], &|_| 1, &|_| 1).remove(0).1;
            tracker = super::tracker(&["^x.sh$", "^y.sh$"]);
            tracker.restore(GroupId(0), &saved, true, BootTime(4_000 * MS));
        }
        assert!(tracker.is_news(&seen), "{way}: its arguments are asked for");
        tracker.discover(&seen, BootTime(6_000 * MS), new_since);
        let (x, y) = (read(&mut tracker, 0, 7_000), read(&mut tracker, 1, 7_000));
        assert_eq!((x.process_count, x.happened.leaves), (0, 1), "{way}");
        assert_eq!(
            (y.process_count, y.happened.starts, y.happened.joins),
            (1, starts, 1 - starts),
            "{way}"
        );
    }
}
