//! The groups across restarts of kevmon.

use super::*;
use crate::plugin::SavedGroup;

/// A run's groups, as kept at `time`; Unix time is boot time plus a thousand seconds.
pub(super) fn keep(tracker: &mut Tracker, time: u64) -> Vec<SavedGroup> {
    let groups: Vec<GroupId> = tracker.plugins().map(|(group, _)| group).collect();
    for group in &groups {
        read(tracker, group.0, time);
    }
    let unix = |moment| match moment {
        Moment::Boot(time) => time.0 + 1_000_000 * MS,
        Moment::Unix(unix) => unix,
    };
    tracker
        .saved(&groups, &unix, &unix)
        .into_iter()
        .map(|(_, saved)| saved)
        .collect()
}

/// The next run, which begins at `time`.
pub(super) fn resume(patterns: &[&str], saved: &[SavedGroup], same_boot: bool, time: u64) -> Tracker {
    let mut tracker = tracker(patterns);
    for (index, saved) in saved.iter().enumerate() {
        tracker.restore(GroupId(index), saved, same_boot, BootTime(time * MS));
    }
    tracker
}

/// The first snapshot of a run.
fn find(tracker: &mut Tracker, present: &[(ProcessKey, &str)], time: u64) {
    for &(key, name) in present {
        tracker.discover(&seen(key, name), BootTime(time * MS), None);
    }
    let present: KeySet = present.iter().map(|&(key, _)| key).collect();
    tracker.end_missing(&present, BootTime(time * MS), BootTime(time * MS), true);
}

#[test]
fn counters_go_on_and_survivors_are_caught_up() {
    let mut first = tracker(&["^app$"]);
    let (lives, ends, past) = (key(10, 100), key(11, 110), key(9, 90));
    first.apply(exec(90, past, INIT, "app", 0));
    end(&mut first, 95, past, 0x700, 3);
    first.apply(exec(100, lives, INIT, "app", 0));
    first.apply(exec(110, ends, INIT, "app", 0));
    sample(&mut first, 200, lives, 40);
    sample(&mut first, 200, ends, 7);
    let saved = keep(&mut first, 200);

    let mut second = resume(&["^app$"], &saved, true, 1_000);
    find(&mut second, &[(lives, "app")], 1_001);
    let reading = read(&mut second, 0, 1_002);
    assert_eq!(
        written(&reading),
        50,
        "what was known stands before anything is read"
    );
    sample(&mut second, 1_010, lives, 90);
    let reading = read(&mut second, 0, 1_020);
    assert_eq!(written(&reading), 100, "3 + 7 left behind, 90 of the survivor");
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.happened.exits
        ),
        (3, 0, 2)
    );
    assert_eq!(
        reading.exits,
        [(Reason::Exit { code: 7 }, 1), (Reason::Unknown, 1)],
        "found at the restart: nobody knows why"
    );
    assert_eq!(reading.lifetime.count(), 1, "nor how long it lived");
    assert_eq!(reading.usage_start, Moment::Unix(1_000_000 * MS), "fixed once");
    assert_eq!(reading.last_exit, Some(Moment::Unix(1_000_095 * MS)));

    // The next start may replace the one that ended meanwhile, or one that came and went.
    second.apply(exec(1_100, key(12, 1_100), INIT, "app", 0));
    let reading = read(&mut second, 0, 1_200);
    assert_eq!(
        (reading.happened.respawns, reading.happened.unpaired_starts),
        (saved[0].happened.respawns, 1)
    );
    assert_eq!(reading.downtime, saved[0].downtime);

    // And the survivor's end is one like any other.
    end(&mut second, 1_300, lives, 0, 95);
    let reading = read(&mut second, 0, 1_400);
    assert_eq!((written(&reading), reading.lifetime.count()), (105, 2));
}

/// An end is counted at once, and its event waits for the final totals: a kill in between leaves it to the next run.
#[test]
fn an_exit_that_was_counted_and_not_told_is_told_by_the_next_run() {
    let exits = |notices: Vec<Notice>| -> Vec<(ProcessKey, BootTime, Reason, u64, bool)> {
        let of = |notice: Notice| match notice.what {
            What::Exit {
                ending,
                usage,
                settled,
                ..
            } => Some((
                notice.key,
                notice.time,
                ending.reason(),
                usage.get(Counter::WriteBytes).unwrap_or(0),
                settled,
            )),
            _ => None,
        };
        notices.into_iter().filter_map(of).collect()
    };
    let mut first = tracker(&["^app$"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    first.apply(exit(200, app, 3));
    assert_eq!(exits(first.take_notices(BootTime(250 * MS))), [], "it waits");
    let early = keep(&mut first, 260);
    first.apply(free(270, app, 4));
    assert_eq!(exits(first.take_notices(BootTime(280 * MS))).len(), 1);
    let late = keep(&mut first, 290);
    assert_eq!((early[0].untold_exits.len(), late[0].untold_exits.len()), (1, 0));

    let told = (app, BootTime(200 * MS), Reason::Exit { code: 0 }, 3, false);
    for (saved, same_boot, expected) in [
        (&early, true, vec![told]),
        (&late, true, vec![]),
        // Its times are of another boot's clock.
        (&early, false, vec![]),
    ] {
        let mut second = resume(&["^app$"], saved, same_boot, 1_000);
        find(&mut second, &[], 1_001);
        assert_eq!(exits(second.take_notices(BootTime(1_300 * MS))), expected);
        let reading = read(&mut second, 0, 1_400);
        assert_eq!(
            (reading.happened.exits, reading.exits.len()),
            (1, 1),
            "counted once"
        );
    }
}

#[test]
fn an_end_before_an_outage_is_replaced_after_it_without_a_downtime() {
    let mut first = tracker(&["^(app|other)$"]);
    let (app, other) = (key(10, 100), key(11, 100));
    first.apply(exec(100, app, INIT, "app", 0));
    first.apply(exec(100, other, INIT, "other", 0));
    end(&mut first, 200, app, 0x700, 3);
    let saved = keep(&mut first, 300);
    assert_eq!(saved[0].unpaired_ends.len(), 1);

    for same_boot in [true, false] {
        let mut second = resume(&["^(app|other)$"], &saved, same_boot, 1_000);
        // The other one ended meanwhile, for an unknown reason.
        find(&mut second, &[], 1_001);
        second.apply(exec(1_100, key(12, 1_100), INIT, "app", 0));
        second.apply(exec(1_200, key(13, 1_200), INIT, "other", 0));
        let reading = read(&mut second, 0, 1_300);
        let (restarts, unknown) = if same_boot { (1, 1) } else { (0, 2) };
        assert_eq!(
            (
                reading.happened.respawns,
                reading.happened.unpaired_starts,
                reading.downtime.count()
            ),
            (restarts, unknown, 0),
            "{same_boot}"
        );
        let notices = second.take_notices(BootTime(2_000 * MS));
        let previous = notices.into_iter().find_map(|notice| match notice.what {
            What::Restart {
                downtime: None,
                previous,
                ..
            } => previous,
            _ => None,
        });
        assert_eq!(
            previous.map(|previous| (previous.key, previous.ending.reason(), previous.ago)),
            same_boot.then_some((app, Reason::Exit { code: 7 }, Some(Duration::from_millis(900))))
        );
    }

    // Its successor came meanwhile.
    let mut second = resume(&["^(app|other)$"], &saved, true, 1_000);
    find(&mut second, &[(other, "other"), (key(12, 500), "app")], 1_001);
    second.apply(exec(1_100, key(13, 1_100), INIT, "app", 0));
    let happened = read(&mut second, 0, 1_300).happened;
    assert_eq!((happened.respawns, happened.unpaired_starts), (0, 1));
}

#[test]
fn after_another_boot_members_are_closed_at_their_last_values() {
    let mut first = tracker(&["^app$"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    sample(&mut first, 200, app, 40);
    let saved = keep(&mut first, 200);

    // The same key by chance: another process, whose usage is its own.
    let mut second = resume(&["^app$"], &saved, false, 50);
    find(&mut second, &[(app, "app")], 60);
    sample(&mut second, 70, app, 6);
    let reading = read(&mut second, 0, 80);
    assert_eq!(
        written(&reading),
        40,
        "what it had used before it was read is not this group's"
    );
    sample(&mut second, 75, app, 10);
    let reading = read(&mut second, 0, 80);
    assert_eq!(written(&reading), 44);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.happened.exits
        ),
        (1, 1, 1)
    );
    assert_eq!(reading.exits, [(Reason::Unknown, 1)]);
}

#[test]
fn an_end_that_was_not_settled_stays_as_it_was_known() {
    let mut first = tracker(&["^app$"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    first.apply(exit(150, app, 12));
    let saved = keep(&mut first, 200);
    for same_boot in [true, false] {
        let mut second = resume(&["^app$"], &saved, same_boot, 1_000);
        find(&mut second, &[], 1_001);
        let reading = read(&mut second, 0, 1_002);
        assert_eq!((written(&reading), reading.unsettled), (12, 1));
        assert_eq!(reading.exits, [(Reason::Exit { code: 0 }, 1)]);
    }
}

#[test]
fn what_a_process_used_elsewhere_is_not_brought_twice() {
    let mut first = tracker(&["^app$"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    first.apply(exec(200, app, INIT, "elsewhere", 30));
    let saved = keep(&mut first, 300);
    assert!(saved[0].members[0].former);

    let mut second = resume(&["^app$"], &saved, true, 1_000);
    find(&mut second, &[(app, "elsewhere")], 1_001);
    second.apply(exec(1_100, app, INIT, "app", 80));
    let reading = read(&mut second, 0, 1_200);
    assert_eq!(written(&reading), 80, "30 of it had been counted");
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.joins,
            reading.happened.leaves
        ),
        (1, 1, 1),
        "it came back"
    );
}

#[test]
fn of_two_accounts_of_one_process_the_later_one_holds() {
    // One group was kept at 300, the other one, which is collected less often, at 200 only.
    let mut first = tracker(&["^app$", "app"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    sample(&mut first, 200, app, 1_000);
    let early = keep(&mut first, 200);
    sample(&mut first, 300, app, 3_000);
    let late = keep(&mut first, 300);
    let mut second = resume(
        &["^app$", "app"],
        &[late[0].clone(), early[1].clone()],
        true,
        1_000,
    );
    find(&mut second, &[(app, "app")], 1_001);
    let before = first.table.get(app).map(Process::totals);
    assert_eq!(second.table.get(app).map(Process::totals), before);
}

#[test]
fn a_group_to_which_something_happened_is_kept_though_another_one_is_due() {
    let mut tracker = tracker(&["^old$", "^new$"]);
    let app = key(10, 100);
    tracker.apply(exec(100, app, INIT, "old", 0));
    keep(&mut tracker, 200);
    let due = [GroupId(1)];
    let kept = |tracker: &mut Tracker| -> Vec<usize> {
        let saved = tracker.saved(&due, &|_| 0, &|_| 0);
        saved.into_iter().map(|(group, _)| group.0).collect()
    };
    assert_eq!(kept(&mut tracker), [1]);
    tracker.apply(exec(300, app, INIT, "new", 5));
    assert_eq!(kept(&mut tracker), [0, 1], "though only one of them is due");
    assert_eq!(kept(&mut tracker), [1]);
    let short = key(11, 400);
    tracker.apply(exec(400, short, INIT, "old", 0));
    assert_eq!(kept(&mut tracker), [0, 1], "a start");
    tracker.apply(exit(500, short, 5));
    assert_eq!(kept(&mut tracker), [0, 1], "an end");
    tracker.apply(free(510, short, 6));
    assert_eq!(kept(&mut tracker), [0, 1], "its final totals");
    assert_eq!(kept(&mut tracker), [1]);
}

#[test]
fn a_survivor_that_changed_its_name_meanwhile_has_left() {
    let mut first = tracker(&["^app$", "^new$"]);
    let app = key(10, 100);
    first.apply(exec(100, app, INIT, "app", 0));
    sample(&mut first, 200, app, 30);
    let saved = keep(&mut first, 300);
    let mut second = resume(&["^app$", "^new$"], &saved, true, 1_000);
    find(&mut second, &[(app, "new")], 1_001);
    sample(&mut second, 1_010, app, 50);
    let (old, new) = (read(&mut second, 0, 1_020), read(&mut second, 1, 1_020));
    assert_eq!((old.happened.leaves, written(&old)), (1, 30));
    assert_eq!(
        (new.happened.joins, written(&new)),
        (1, 20),
        "not what was counted"
    );
}

/// What the names of an end that is found at a restart are.
fn told(tracker: &mut Tracker) -> Vec<(String, String)> {
    tracker
        .take_notices(BootTime(100_000 * MS))
        .into_iter()
        .filter(|notice| matches!(notice.what, crate::plugin::What::Exit { .. }))
        .map(|notice| (notice.name.to_string(), notice.exe.to_string()))
        .collect()
}

#[test]
fn an_end_found_at_a_restart_is_told_by_name() {
    let identities = [
        ("an-application-of-some-length", "", "an-application-"),
        ("bash", "/opt/application.sh", "application.sh"),
        ("", "", "application/0:1"),
    ];
    for (exe, filename, comm) in identities {
        let identity = Identity {
            comm: comm.to_owned(),
            exe: exe.to_owned(),
            filename: filename.to_owned(),
            argv: Vec::new(),
            cut: None,
        };
        let mut first = tracker(&["application"]);
        let app = key(10, 100);
        let name = identity.name().to_owned();
        first.discover(
            &Seen {
                identity,
                ..seen(app, "")
            },
            BootTime(100 * MS),
            None,
        );
        let saved = keep(&mut first, 200);
        let mut second = resume(&["application"], &saved, true, 1_000);
        // What was never seen again is kept by its names all the same.
        let again = keep(&mut second, 1_000);
        assert_eq!(again[0].members, saved[0].members);
        let mut third = resume(&["application"], &again, true, 1_000);
        find(&mut third, &[], 1_001);
        assert_eq!(told(&mut third), [(name, exe.to_owned())]);
    }
}

#[test]
fn whom_a_snapshot_shows_is_known_by_all_that_it_shows() {
    let cmdline = || {
        let plugin = Plugin {
            matching: Matching::Cmdline,
            ..plugin("--serve")
        };
        Tracker::new(vec![plugin], BootTime(0)).unwrap()
    };
    let app = key(10, 100);
    let with = |comm: &str, argument: &str| Seen {
        identity: Identity {
            comm: comm.to_owned(),
            exe: "app".to_owned(),
            filename: String::new(),
            argv: vec!["app".to_owned(), argument.to_owned()],
            cut: None,
        },
        ..seen(app, "")
    };
    let mut first = cmdline();
    first.discover(&with("app", "--serve"), BootTime(100 * MS), None);
    let saved = keep(&mut first, 200);
    // A thread name changed meanwhile or not: the arguments decide, not what was kept.
    for (comm, argument, leaves) in [
        ("app", "--serve", 0),
        ("other", "--serve", 0),
        ("app", "--stop", 1),
    ] {
        let mut second = cmdline();
        second.restore(GroupId(0), &saved[0], true, BootTime(1_000 * MS));
        let seen = with(comm, argument);
        assert!(second.is_news(&seen), "its arguments are asked for");
        second.discover(&seen, BootTime(1_001 * MS), None);
        assert!(!second.is_news(&seen), "once");
        assert_eq!(second.table.get(app).unwrap().identity, seen.identity);
        let reading = read(&mut second, 0, 1_002);
        assert_eq!(reading.happened.leaves, leaves, "{comm} {argument}");
    }
}

#[test]
fn what_was_given_back_is_kept_at_the_first_commit() {
    let mut first = tracker(&["^app$"]);
    first.apply(exec(100, key(10, 100), INIT, "app", 0));
    let saved = keep(&mut first, 200);
    let mut second = resume(&["^app$"], &saved, false, 50);
    let kept = second.saved(&[], &|_| 0, &|_| 0);
    assert_eq!(kept.len(), 1, "though not due");
    assert!(kept[0].1.members.is_empty(), "closed, for good");
}

/// Groups that a process has left remember it as long as the kernel holds it: also over a restart, and however often it came
/// and went.
#[test]
fn a_former_member_is_forgotten_by_every_group_at_its_end() {
    let names = ["^a$", "^b$", "^c$"];
    let mut first = tracker(&names);
    let app = key(10, 100);
    for (time, name) in [(100, "a"), (200, "b"), (300, "a"), (400, "b"), (500, "c")] {
        first.apply(exec(time, app, INIT, name, 0));
    }
    let formers = |saved: &[SavedGroup]| {
        let of = |group: &SavedGroup| group.members.iter().filter(|member| member.former).count();
        saved.iter().map(of).collect::<Vec<_>>()
    };
    let saved = keep(&mut first, 600);
    assert_eq!(formers(&saved), [1, 1, 0]);
    let mut second = resume(&names, &saved, true, 1_000);
    find(&mut second, &[(app, "c")], 1_001);
    for (time, tracker) in [(700, &mut first), (1_100, &mut second)] {
        tracker.apply(exit(time, app, 1));
        tracker.apply(free(time + 5, app, 2));
        let saved = keep(tracker, time + 10);
        assert_eq!(formers(&saved), [0, 0, 0]);
        assert!(saved.iter().all(|group| group.members.is_empty()));
    }
}

/// The kernel side went on while kevmon was away: records of that time are applied to restored groups as if nobody had left.
#[test]
fn records_of_an_outage_count_as_if_kevmon_had_been_there() {
    let mut first = tracker(&["^app$"]);
    let (parent, root) = (key(10, 100), key(20, 110));
    first.apply(exec(100, parent, INIT, "app", 0));
    first.apply(exec(110, root, INIT, "app", 0));
    let saved = keep(&mut first, 200);

    let outage = |tracker: &mut Tracker| {
        let child = key(11, 300);
        tracker.apply(fork(300, child, parent));
        end(tracker, 320, child, 0, 4);
        // Its name changes, and it is gone before anybody could ask for the others.
        tracker.apply(rename(330, root, INIT, "worker", 5));
        end(tracker, 400, root, 0x100, 9);
        tracker.apply(exec(450, key(21, 440), INIT, "app", 0));
        find(tracker, &[(parent, "app"), (key(21, 440), "app")], 1_001);
        tracker.end_comparison();
        read(tracker, 0, 1_002)
    };
    let mut second = tracker(&["^app$"]);
    second.go_on_unseen();
    second.restore(GroupId(0), &saved[0], true, BootTime(1_000 * MS));
    let reading = outage(&mut second);
    let happened = reading.happened;
    assert_eq!(
        (happened.worker_starts, happened.exits, happened.leaves),
        (1, 2, 0)
    );
    assert_eq!(
        (happened.respawns, happened.unpaired_starts),
        (saved[0].happened.respawns + 1, saved[0].happened.unpaired_starts),
        "the start replaces the end that records tell"
    );
    assert_eq!(reading.downtime.count(), 1, "and how long it took is known");
    assert_eq!(written(&reading), 13, "with what the child used");

    // Where nobody watched, a fork of a process that is known by its names alone says nothing.
    let mut second = resume(&["^app$"], &saved, true, 1_000);
    let reading = outage(&mut second);
    assert_eq!(reading.happened.worker_starts, 0);
}
