//! What the kernel side kept of records that found no room.

use super::*;

fn lost_end(key: ProcessKey, unheard: Option<&str>, times: (u64, u64, u64), amount: u64) -> LostEnd {
    let (identified, ended, freed) = times;
    LostEnd {
        key,
        unheard: unheard.map(named),
        identified: BootTime(identified * MS),
        renamed: false,
        settled: true,
        ended: Some(BootTime(ended * MS)),
        freed: BootTime(freed * MS),
        ending: ending(0x700),
        usage: used(amount),
        peak_rss: Some(amount),
        facts: crate::process::FactIds::default(),
    }
}

fn lost_lives(name: Option<&str>, count: u64, amount: u64, forked: bool) -> LostLives {
    LostLives {
        identity: name.map(named),
        forked,
        ending: ending(0),
        count,
        usage: used(amount),
        peak_rss: Some(amount),
    }
}

#[test]
fn the_lost_end_of_a_known_process_is_as_good_as_its_record() {
    let mut tracker = tracker(&["^app$"]);
    let (one, next) = (key(10, 100), key(11, 700));
    tracker.apply(exec(100, one, INIT, "app", 0));
    // Its successor is told before its end is.
    tracker.apply(exec(700, next, INIT, "app", 0));
    tracker.recover(
        vec![lost_end(one, None, (100, 600, 620), 42)],
        &[],
        BootTime(700 * MS),
    );
    let reading = read(&mut tracker, 0, 1_000);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.respawns,
            reading.happened.unpaired_starts
        ),
        (2, 1, 0)
    );
    assert_eq!(reading.exits, [(Reason::Exit { code: 7 }, 1)]);
    assert_eq!(
        reading.downtime.last,
        Some(100 * MS),
        "from the real end to the start"
    );
    assert_eq!(reading.lifetime.last, Some(500 * MS));
    assert_eq!((written(&reading), reading.unsettled), (42, 0));
}

#[test]
fn a_lost_free_settles_an_end_that_was_told() {
    let mut tracker = tracker(&["^app$"]);
    let app = key(10, 100);
    tracker.apply(exec(100, app, INIT, "app", 0));
    tracker.apply(exit(200, app, 5));
    tracker.recover(
        vec![lost_end(app, None, (100, 200, 230), 9)],
        &[],
        BootTime(700 * MS),
    );
    let reading = read(&mut tracker, 0, 300);
    assert_eq!(
        (reading.happened.exits, written(&reading), reading.unsettled),
        (1, 9, 0)
    );
    assert_eq!(
        reading.exits,
        [(Reason::Exit { code: 0 }, 1)],
        "the first telling counts"
    );
}

#[test]
fn a_known_process_that_ended_under_a_name_nobody_told_moved_first() {
    let mut tracker = tracker(&["^old$", "^new$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "old", 0));
    sample(&mut tracker, 200, process, 10);
    tracker.recover(
        vec![lost_end(process, Some("new"), (250, 300, 320), 35)],
        &[],
        BootTime(700 * MS),
    );
    let (old, new) = (read(&mut tracker, 0, 400), read(&mut tracker, 1, 400));
    assert_eq!(
        (old.happened.leaves, old.happened.exits, written(&old)),
        (1, 0, 10)
    );
    assert_eq!(
        (new.happened.starts, new.happened.exits, written(&new)),
        (1, 1, 25)
    );
    assert_eq!(new.happened.unpaired_starts, 1);
}

#[test]
fn whole_lives_count_where_their_name_belongs_and_nowhere_else() {
    let mut tracker = tracker(&["^app$", "app"]);
    tracker.apply(exec(50, key(9, 50), INIT, "app", 0));
    end(&mut tracker, 60, key(9, 50), 0, 1);
    tracker.recover(
        Vec::new(),
        &[
            lost_lives(Some("app"), 100, 5_000, false),
            lost_lives(Some("apple"), 10, 300, false),
            lost_lives(Some("app"), 2, 8, true),
            lost_lives(Some("other"), 4, 70, false),
            lost_lives(None, 3, 70, false),
        ],
        BootTime(150 * MS),
    );
    let (exact, all) = (read(&mut tracker, 0, 100), read(&mut tracker, 1, 100));
    assert_eq!(
        (
            exact.happened.starts,
            exact.happened.worker_starts,
            exact.happened.exits
        ),
        (101, 2, 103)
    );
    assert_eq!((written(&exact), written(&all)), (5_009, 5_309));
    assert_eq!(all.happened.starts, 111);
    assert_eq!(
        (
            exact.happened.unpaired_starts,
            exact.happened.respawns,
            exact.downtime.count()
        ),
        (100, 0, 0),
        "nothing is guessed"
    );
    assert_eq!(exact.lifetime.count(), 1, "how long they lived is not known");
    assert_eq!(tracker.irregularities().unattributed, 7);

    // The next start may replace one of the lost ones.
    tracker.apply(exec(200, key(11, 200), INIT, "app", 0));
    assert_eq!(read(&mut tracker, 0, 300).happened.unpaired_starts, 101);
}

#[test]
fn what_a_snapshot_finds_unheard_started_under_our_eyes() {
    let mut tracker = tracker(&["^app$"]);
    let app = key(10, 100);
    let unheard = Seen {
        sequence: Some(150 * MS),
        untold: true,
        ..seen(app, "app")
    };
    let waiting = Seen {
        told: true,
        sequence: Some(160 * MS),
        ..seen(key(11, 155), "app")
    };
    assert!(
        tracker.discover(&waiting, BootTime(300 * MS), None).is_none(),
        "its record will come"
    );
    assert_eq!(
        tracker.discover(&unheard, BootTime(300 * MS), None),
        Some(Judgement {
            key: app,
            sequence: 150 * MS,
            keep: true
        })
    );
    let reading = read(&mut tracker, 0, 400);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.happened.unpaired_starts
        ),
        (1, 0, 1)
    );
    assert_eq!(reading.last_start, Some(Moment::Boot(BootTime(150 * MS))));
}

#[test]
fn a_rename_after_an_exec_that_nobody_told_takes_all_its_names() {
    let mut tracker = tracker(&["^old$", "^new$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "old", 0));
    let renamed = |found: Option<&str>| Event::Rename {
        key: process,
        time: BootTime(300 * MS),
        sequence: 300 * MS,
        parent: INIT,
        comm: "painted".into(),
        threads: Some(1),
        unheard: true,
        found: found.map(named),
        usage: used(8),
    };
    assert_eq!(
        tracker.apply(renamed(None)),
        None,
        "gone: the kernel side will tell its names"
    );
    assert!(
        tracker
            .apply(renamed(Some("new")))
            .is_some_and(|judgement| judgement.keep)
    );
    let (old, new) = (read(&mut tracker, 0, 400), read(&mut tracker, 1, 400));
    assert_eq!((old.happened.leaves, old.process_count), (1, 0));
    assert_eq!((new.happened.starts, new.happened.unpaired_starts), (1, 1));
}

#[test]
fn another_script_under_the_same_interpreter_is_another_program() {
    let script = |path: &str| Identity {
        comm: "sh".into(),
        exe: "dash".into(),
        filename: String::new(),
        argv: vec!["sh".into(), path.into()],
        cut: None,
    };
    let mut tracker = tracker(&["^one.sh$", "^two.sh$"]);
    let process = key(10, 100);
    tracker.apply(Event::Exec {
        key: process,
        time: BootTime(100 * MS),
        sequence: 100 * MS,
        parent: INIT,
        identity: Identity {
            filename: "/opt/one.sh".into(),
            ..script("/opt/one.sh")
        },
        usage: used(0),
    });
    let unheard = Seen {
        sequence: Some(200 * MS),
        untold: true,
        identity: script("/opt/two.sh"),
        ..seen(process, "")
    };
    assert!(tracker.is_news(&unheard));
    tracker.discover(&unheard, BootTime(300 * MS), None);
    let (one, two) = (read(&mut tracker, 0, 400), read(&mut tracker, 1, 400));
    assert_eq!((one.happened.leaves, one.process_count), (1, 0));
    assert_eq!((two.happened.starts, two.process_count), (1, 1));
}

#[test]
fn a_late_rename_that_was_lost_is_a_join() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    let unheard = Seen {
        sequence: Some(5_000 * MS),
        untold: true,
        renamed: true,
        ..seen(process, "app")
    };
    tracker.discover(&unheard, BootTime(6_000 * MS), None);
    let reading = read(&mut tracker, 0, 6_100);
    assert_eq!((reading.happened.joins, reading.happened.starts), (1, 0));
}

#[test]
fn what_was_found_missing_is_not_counted_again_when_its_end_comes_late() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 6));
    tracker.end_missing(&KeySet::default(), BootTime(200 * MS), BootTime(210 * MS), true);
    let late = lost_end(process, Some("app"), (150, 180, 900), 50);
    tracker.recover(vec![late], &[], BootTime(950 * MS));
    let reading = read(&mut tracker, 0, 1_000);
    assert_eq!(
        (reading.happened.starts, reading.happened.exits, written(&reading)),
        (1, 1, 6)
    );
}

#[test]
fn a_life_whose_free_never_came_counts_with_what_its_exit_told() {
    let mut tracker = tracker(&["^app$"]);
    let life = LostEnd {
        settled: false,
        ..lost_end(key(10, 100), Some("app"), (110, 150, 150), 9)
    };
    tracker.recover(vec![life], &[], BootTime(20_000 * MS));
    let reading = read(&mut tracker, 0, 20_100);
    assert_eq!((reading.happened.starts, reading.happened.exits), (1, 1));
    assert_eq!((written(&reading), reading.unsettled), (9, 1));
}

#[test]
fn too_many_processes_are_counted_and_left_out() {
    let mut tracker = tracker(&["^app$"]);
    for start in 0..TRACKED_AT_MOST as u64 + 5 {
        tracker.apply(exec(start, key(10, start), INIT, "app", 0));
    }
    assert_eq!(tracker.table_len(), TRACKED_AT_MOST);
    assert_eq!(tracker.irregularities().untracked, 5);
}

/// A name that some process had for a moment costs those plugins alone that it fits; one that nobody knows, those that look at names.
#[test]
fn a_lost_name_costs_the_plugins_that_it_fits() {
    let by_exe = Plugin {
        matching: Matching::Exe,
        ..plugin("^web$")
    };
    let plugins = vec![plugin("^web$"), plugin("^job"), by_exe];
    let mut tracker = Tracker::new(plugins, BootTime(0)).unwrap();
    let unknown = |tracker: &Tracker| [0, 1, 2].map(|group| tracker.unknown_verdicts(GroupId(group)));
    tracker.lose_name("junk");
    assert_eq!(unknown(&tracker), [0, 0, 0]);
    tracker.lose_name("web");
    tracker.lose_name("job-1");
    tracker.lose_name("job-2");
    assert_eq!(unknown(&tracker), [1, 2, 0]);
    assert_eq!(tracker.irregularities().verdicts_unknown, 3, "each name once");
    tracker.lose_names(5);
    assert_eq!(unknown(&tracker), [6, 7, 0]);
}
