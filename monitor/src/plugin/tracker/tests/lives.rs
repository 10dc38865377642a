//! Starts, restarts and ends.

use super::*;

#[test]
fn what_matches_nothing_is_judged_and_forgotten() {
    let mut tracker = tracker(&["^app$"]);
    let other = key(10, 100);
    assert_eq!(
        tracker
            .apply(exec(101, other, INIT, "other", 5))
            .map(|judgement| judgement.keep),
        Some(false)
    );
    tracker.apply(fork(102, key(11, 102), other));
    tracker.apply(exit(103, other, 5));
    tracker.apply(free(104, other, 5));
    assert_eq!(tracker.table_len(), 0);
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut tracker = tracker(&["^app$"]);
    for (start, amount) in [(100, 10), (200, 20)] {
        tracker.apply(exec(start, key(10, start), INIT, "app", 0));
        tracker.apply(exit(start + 50, key(10, start), amount));
        tracker.apply(free(start + 120, key(10, start), amount)); // after the pid was taken again
    }
    let reading = read(&mut tracker, 0, 400);
    assert_eq!(
        (reading.happened.starts, reading.happened.exits, written(&reading)),
        (2, 2, 30)
    );
}

#[test]
fn forked_workers_inherit_the_group_and_count_apart() {
    let mut tracker = tracker(&["^server$"]);
    let (root, worker) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    sample(&mut tracker, 160, worker, 5);
    sample(&mut tracker, 160, root, 50);
    let reading = read(&mut tracker, 0, 170);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.worker_starts,
            reading.process_count
        ),
        (1, 1, 2)
    );
    assert_eq!(written(&reading), 55);
    // A worker that executes something else leaves; the worker's own exit is no root's end.
    tracker.apply(exec(180, worker, root, "helper", 6));
    tracker.apply(exit(190, worker, 9));
    tracker.apply(free(195, worker, 9));
    let reading = read(&mut tracker, 0, 200);
    assert_eq!(
        (reading.happened.leaves, reading.happened.exits, written(&reading)),
        (1, 0, 56)
    );
}

#[test]
fn a_double_forking_daemon_starts_once_and_restarts_never() {
    let mut tracker = tracker(&["^daemon$"]);
    let (first, second, third) = (key(10, 100), key(11, 110), key(12, 120));
    tracker.apply(exec(100, first, INIT, "daemon", 0));
    tracker.apply(fork(110, second, first));
    tracker.apply(exit(115, first, 1));
    tracker.apply(fork(120, third, second));
    tracker.apply(exit(125, second, 1));
    let reading = read(&mut tracker, 0, 130);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.worker_starts,
            reading.happened.respawns
        ),
        (1, 2, 0)
    );
    // The heir is a root now: its end and a new start are a restart.
    tracker.apply(exit(500, third, 1));
    tracker.apply(exec(600, key(20, 599), INIT, "daemon", 0));
    assert_eq!(read(&mut tracker, 0, 700).happened.respawns, 1);
}

#[test]
fn restarts_are_counted_between_readings() {
    let mut tracker = tracker(&["^app$"]);
    for life in 0..86u64 {
        let process = key(100 + life as u32, life * 700);
        tracker.apply(exec(life * 700, process, INIT, "app", 0));
        tracker.apply(exit(life * 700 + 690, process, 1));
        tracker.apply(free(life * 700 + 695, process, 1));
    }
    let reading = read(&mut tracker, 0, 60_200);
    assert_eq!(
        (
            reading.happened.starts,
            reading.happened.exits,
            reading.happened.respawns
        ),
        (86, 86, 85)
    );
}

#[test]
fn a_root_that_executes_itself_again_restarts_and_a_wrapper_does_not() {
    let mut tracker = tracker(&["^app"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app-wrapper", 0));
    tracker.apply(exec(101, process, INIT, "app", 0));
    assert_eq!(
        read(&mut tracker, 0, 110).happened.reexecs,
        0,
        "a wrapper that gives way to what it wraps"
    );
    tracker.apply(exec(5_000, process, INIT, "app", 0));
    let reading = read(&mut tracker, 0, 5_100);
    assert_eq!((reading.happened.reexecs, reading.happened.starts), (1, 1));
}

#[test]
fn a_name_taken_right_after_the_fork_is_a_start_and_later_a_join() {
    let mut tracker = tracker(&["^named$"]);
    tracker.apply(rename(150, key(10, 100), INIT, "named", 2));
    tracker.apply(rename(9_000, key(11, 100), INIT, "named", 3));
    let reading = read(&mut tracker, 0, 9_100);
    assert_eq!(
        (reading.happened.starts, reading.happened.joins, written(&reading)),
        (1, 1, 5)
    );
    tracker.apply(rename(9_200, key(11, 100), INIT, "renamed", 8));
    let reading = read(&mut tracker, 0, 9_300);
    assert_eq!(
        (reading.happened.leaves, reading.process_count, written(&reading)),
        (1, 1, 10)
    );
}

#[test]
fn an_end_is_taken_once_and_a_free_without_an_exit_is_one() {
    let mut tracker = tracker(&["^app$"]);
    let (twice, unannounced) = (key(10, 100), key(11, 100));
    tracker.apply(exec(100, twice, INIT, "app", 0));
    tracker.apply(exec(100, unannounced, INIT, "app", 0));
    tracker.apply(exit(200, twice, 5));
    tracker.apply(exit(200, twice, 5)); // the other one of two last threads
    tracker.apply(free(210, twice, 6));
    tracker.apply(free(210, unannounced, 7));
    let reading = read(&mut tracker, 0, 300);
    assert_eq!((reading.happened.exits, written(&reading)), (2, 13));
}

#[test]
fn an_ended_process_whose_free_never_comes_keeps_its_last_values() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 0));
    tracker.apply(exit(200, process, 42));
    // A zombie that is not reaped is still there to be read, however long that takes.
    sample(&mut tracker, 60_000, process, 43);
    assert_eq!(read(&mut tracker, 0, 60_000).unsettled, 1);
    // Another group's turn says nothing of it.
    tracker.observe(&KeyMap::default(), &KeySet::default(), BootTime(70_000 * MS));
    assert_eq!(tracker.irregularities().unsettled, 0);
    tracker.observe(
        &KeyMap::default(),
        &KeySet::from_iter([process]),
        BootTime(70_000 * MS),
    );
    let reading = read(&mut tracker, 0, 70_000);
    assert_eq!((reading.unsettled, written(&reading)), (1, 43));
    assert_eq!(tracker.irregularities().unsettled, 1);
    assert_eq!(tracker.given_up(GroupId(0)), 1);
}

/// The loop stood still for a minute: the exit was told, and the totals wait behind it to be taken.
#[test]
fn nobody_is_given_up_whose_totals_may_wait_to_be_taken() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 0));
    tracker.apply(exit(200, process, 42));
    let wanted = KeySet::from_iter([process]);
    for applied in [200, 15_000] {
        tracker.observe(&KeyMap::default(), &wanted, BootTime(applied * MS));
        assert_eq!(read(&mut tracker, 0, 70_000).unsettled, 1, "it may come yet");
    }
    tracker.apply(free(210, process, 43));
    let reading = read(&mut tracker, 0, 70_100);
    assert_eq!((reading.unsettled, written(&reading)), (0, 43));
    assert_eq!(tracker.irregularities().unsettled, 0);
}

#[test]
fn a_name_that_is_not_utf8_is_counted() {
    let mut tracker = tracker(&["app"]);
    tracker.apply(exec(100, key(10, 100), INIT, "app\u{fffd}", 0));
    assert_eq!(tracker.irregularities().not_utf8, 1);
    assert_eq!(read(&mut tracker, 0, 200).process_count, 1);
}

#[test]
fn only_a_root_hands_its_role_over() {
    let mut tracker = tracker(&["^server$"]);
    let (root, worker, grandchild) = (key(10, 100), key(11, 150), key(12, 160));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    tracker.apply(fork(160, grandchild, worker));
    tracker.apply(exit(200, worker, 1));
    tracker.apply(exit(210, grandchild, 1));
    tracker.apply(exec(300, key(20, 299), INIT, "server", 0));
    assert_eq!(
        read(&mut tracker, 0, 400).happened.respawns,
        0,
        "the root has lived throughout"
    );
}

#[test]
fn ends_are_counted_by_reason_and_quick_failures_apart() {
    let mut tracker = tracker(&["^app$"]);
    // Start, end, wait status: (exit 0 after 10 ms, exit 7 after 10 ms and after 2 s, SIGSEGV with core, SIGKILL).
    let lives = [
        (100, 110, 0),
        (1_000, 1_010, 0x700),
        (2_000, 4_000, 0x700),
        (5_000, 5_999, 0x8b),
        (7_000, 8_000, 9),
    ];
    for (start, stop, status) in lives {
        tracker.apply(exec(start, key(10, start), INIT, "app", 0));
        end(&mut tracker, stop, key(10, start), status, 1);
    }
    let reading = read(&mut tracker, 0, 9_000);
    assert_eq!(
        reading.exits,
        [
            (Reason::Exit { code: 0 }, 1),
            (Reason::Exit { code: 7 }, 2),
            (
                Reason::Signal {
                    number: 9,
                    core_dumped: false
                },
                1
            ),
            (
                Reason::Signal {
                    number: 11,
                    core_dumped: true
                },
                1
            ),
        ]
    );
    assert_eq!(
        reading.happened.failed_starts, 2,
        "exit 7 after 10 ms, SIGSEGV after 999 ms; a second is long enough"
    );
    assert_eq!(reading.lifetime.count(), 5);
    assert_eq!(reading.lifetime.sum, (10 + 10 + 2_000 + 999 + 1_000) * MS);
    assert_eq!(reading.last_start, Some(Moment::Boot(BootTime(7_000 * MS))));
    assert_eq!(reading.last_exit, Some(Moment::Boot(BootTime(8_000 * MS))));
}

#[test]
fn downtimes_and_the_crash_loop() {
    let mut tracker = tracker(&["^app$"]);
    for round in 0..4 {
        let start = 100 + round * 1_000;
        tracker.apply(exec(start, key(10, start), INIT, "app", 0));
        assert_eq!(
            read(&mut tracker, 0, start).crash_loop,
            round == 3,
            "three failures have been replaced: {round}"
        );
        end(&mut tracker, start + 700, key(10, start), 6, 0);
    }
    let reading = read(&mut tracker, 0, 4_000);
    assert_eq!((reading.happened.respawns, reading.happened.reexecs), (3, 0));
    assert_eq!(
        (
            reading.downtime.count(),
            reading.downtime.sum,
            reading.downtime.last
        ),
        (3, 900 * MS, Some(300 * MS))
    );
    assert!(!read(&mut tracker, 0, 20_000).crash_loop, "over");
}

#[test]
fn notices_tell_each_event_once_and_an_end_with_its_final_totals() {
    let mut tracker = tracker(&["^app$", "^other$"]);
    let (app, worker) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, app, INIT, "app", 0));
    tracker.apply(fork(150, worker, app));
    tracker.apply(exit(200, worker, 5));
    let told = |notices: Vec<Notice>| -> Vec<(u32, u64, String)> {
        notices
            .into_iter()
            .map(|notice| {
                let what = match notice.what {
                    What::Start { worker } => format!("start {worker}"),
                    What::Exit {
                        usage,
                        settled,
                        worker,
                        lifetime,
                        ..
                    } => format!(
                        "exit {worker} {settled} {} {:?}",
                        usage.get(Counter::WriteBytes).expect("known"),
                        lifetime.expect("seen")
                    ),
                    What::Restart { kind, downtime, .. } => format!("{} {downtime:?}", kind.name()),
                };
                (notice.key.tgid.0, notice.time.0 / MS, what)
            })
            .collect()
    };
    assert_eq!(
        told(tracker.take_notices(BootTime(201 * MS))),
        [(10, 100, "start false".into()), (11, 150, "start true".into())],
        "the end waits for its totals"
    );
    tracker.apply(free(220, worker, 9));
    assert_eq!(
        told(tracker.take_notices(BootTime(221 * MS))),
        [(11, 200, "exit true true 9 50ms".into())]
    );
    tracker.apply(exit(300, app, 7));
    assert!(tracker.take_notices(BootTime(499 * MS)).is_empty());
    assert_eq!(
        told(tracker.take_notices(BootTime(500 * MS))),
        [(10, 300, "exit false false 7 200ms".into())],
        "not longer than that"
    );
    tracker.apply(free(600, app, 8));
    let next = key(12, 700);
    tracker.apply(exec(700, next, INIT, "app", 0));
    tracker.apply(exec(800, next, INIT, "app", 0));
    tracker.apply(exec(900, next, INIT, "app", 0));
    assert_eq!(
        told(tracker.take_notices(BootTime(1_000 * MS))),
        [
            (12, 700, "start false".into()),
            (12, 700, "respawn Some(400ms)".into()),
            (12, 800, "reexec None".into()),
            (12, 900, "reexec None".into()),
        ],
        "the exit is not told again"
    );
}

#[test]
fn a_fork_and_its_exec_are_one_start_under_the_new_name() {
    let mut tracker = tracker(&["^(app|tool)$"]);
    let (app, child) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, app, INIT, "app", 0));
    tracker.apply(fork(150, child, app));
    tracker.apply(exec(151, child, app, "tool", 0));
    let names: Vec<String> = tracker
        .take_notices(BootTime(200 * MS))
        .into_iter()
        .map(|notice| notice.name.to_string())
        .collect();
    assert_eq!(names, ["app", "tool"]);
}

#[test]
fn notices_that_nobody_takes_are_bounded() {
    let exported = Plugin {
        events: true,
        ..plugin("^app$")
    };
    let mut tracker = Tracker::new(vec![exported, plugin("^other$")], BootTime(0)).unwrap();
    for start in 1..=3_000 {
        for name in ["app", "other"] {
            let process = key(if name == "app" { 10 } else { 20 }, start);
            tracker.apply(exec(start, process, INIT, name, 0));
            end(&mut tracker, start, process, 0, 0);
        }
    }
    let notices = tracker.take_notices(BootTime(4_000 * MS));
    let of = |group| {
        notices
            .iter()
            .filter(|notice| notice.group == GroupId(group))
            .count()
    };
    assert_eq!((of(0), of(1)), (4096, 1_000));
    // A start, an exit and (but for the first) a restart each.
    let all = 3_000 * 3 - 1;
    assert_eq!(tracker.irregularities().notices_dropped, all - 4096 + all - 1_000);
}

/// A scan meets processes in the order of their pids, and pids begin anew.
#[test]
fn the_last_start_is_the_latest_and_not_the_one_that_was_told_last() {
    for times in [[5_000, 5_900], [5_900, 5_000]] {
        let mut tracker = tracker(&["^app$"]);
        for (tgid, start) in (10..).zip(times) {
            let since = Some(BootTime(4_000 * MS));
            tracker.discover(&seen(key(tgid, start), "app"), BootTime(6_000 * MS), since);
        }
        for (tgid, start) in (10..).zip(times) {
            tracker.apply(exit(start + 1_000, key(tgid, start), 1));
        }
        let reading = read(&mut tracker, 0, 7_000);
        assert_eq!(reading.happened.starts, 2);
        assert_eq!(reading.last_start, Some(Moment::Boot(BootTime(5_900 * MS))));
        assert_eq!(reading.last_exit, Some(Moment::Boot(BootTime(6_900 * MS))));
    }
}

/// A storm that goes on has no more room than a burst of the same number, and as many again in five seconds.
#[test]
fn events_of_a_storm_are_bounded_by_the_time_they_take() {
    let mut tracker = tracker(&["^app$"]);
    let mut told = Vec::new();
    for (round, at) in [1_000, 2_000, 3_500, 60_000].into_iter().enumerate() {
        for number in 0..2_000 {
            let key = key(u32::try_from(10_000 * (round + 1) + number).unwrap(), at);
            tracker.apply(exec(at, key, INIT, "app", 0));
        }
        told.push(tracker.take_notices(BootTime(at * MS)).len());
    }
    assert_eq!(told, [1_000, 200, 300, 1_000]);
}

/// Any user can start processes under a service's name: their events leave room for the service's own.
#[test]
fn a_strangers_flood_leaves_room_for_the_services_events() {
    const SERVICE: u32 = 33;
    const STRANGER: u32 = 65_534;
    let mut tracker = tracker(&["^app$"]);
    for tgid in 10_000..30_000 {
        let stranger = key(tgid, 1_000);
        tracker.apply_of(exec(1_000, stranger, INIT, "app", 0), Some(STRANGER));
        end(&mut tracker, 1_001, stranger, 0, 0);
    }
    for tgid in 10..110 {
        tracker.apply_of(exec(1_002, key(tgid, 1_002), INIT, "app", 0), Some(SERVICE));
    }
    let notices = tracker.take_notices(BootTime(2_000 * MS));
    let starts = notices
        .iter()
        .filter(|notice| notice.key.tgid.0 < 10_000 && matches!(notice.what, What::Start { .. }));
    assert_eq!(starts.count(), 100, "of the service's");
    assert!(notices.len() <= 2_000, "{} in all", notices.len());
    // The sums hold everybody.
    let reading = read(&mut tracker, 0, 2_000);
    assert_eq!(
        (reading.happened.starts, reading.happened.exits),
        (20_100, 20_000)
    );
}

/// The service's end is paired with its restart although strangers' ends and starts come between the two by the thousand.
#[test]
fn a_strangers_flood_does_not_push_out_the_ends_of_a_service() {
    let mut tracker = tracker(&["^(app|tool)$"]);
    let service = key(10, 1_000);
    tracker.apply_of(exec(1_000, service, INIT, "app", 0), Some(33));
    end(&mut tracker, 4_000, service, 1, 0);
    for tgid in 10_000..20_000 {
        let stranger = key(tgid, 5_000);
        tracker.apply_of(exec(5_000, stranger, INIT, "tool", 0), Some(65_534));
    }
    for tgid in 10_000..20_000 {
        end(&mut tracker, 6_500, key(tgid, 5_000), 0, 0);
    }
    tracker.apply_of(exec(7_000, key(11, 7_000), INIT, "app", 0), Some(33));
    let reading = read(&mut tracker, 0, 8_000);
    assert_eq!(reading.happened.respawns, 1);
}
