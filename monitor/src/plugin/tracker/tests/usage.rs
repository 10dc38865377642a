//! Whose usage counts where, and that totals never fall.

use super::*;

#[test]
fn a_process_that_lives_between_two_readings_is_counted_whole() {
    let mut tracker = tracker(&["^app$"]);
    assert_eq!(
        written(&read(&mut tracker, 0, 0)),
        0,
        "an empty group reports zero, not nothing"
    );
    let app = key(10, 100);
    assert_eq!(
        tracker.apply(exec(101, app, INIT, "app", 5)),
        Some(Judgement {
            key: app,
            sequence: 101 * MS,
            keep: true
        })
    );
    tracker.apply(exit(102, app, 70));
    let reading = read(&mut tracker, 0, 103);
    assert_eq!(
        (reading.process_count, reading.unsettled, written(&reading)),
        (0, 1, 70),
        "provisional"
    );
    tracker.apply(free(110, app, 90));
    let reading = read(&mut tracker, 0, 200);
    assert_eq!((reading.happened.starts, reading.happened.exits), (1, 1));
    assert_eq!(
        (reading.unsettled, written(&reading)),
        (0, 90),
        "the part before the exec is in it, and the end"
    );
    assert_eq!(tracker.table_len(), 0, "nothing is kept of a freed process");
}

#[test]
fn totals_never_fall_whatever_is_read() {
    let mut tracker = tracker(&["^app$"]);
    let app = key(10, 100);
    tracker.apply(exec(100, app, INIT, "app", 0));
    let mut last = 0;
    for (step, amount) in [10, 30, 20, 30, 5, 31].into_iter().enumerate() {
        sample(&mut tracker, 200 + step as u64, app, amount);
        let now = written(&read(&mut tracker, 0, 200 + step as u64));
        assert!(now >= last, "step {step}: {now} after {last}");
        last = now;
    }
    assert_eq!(last, 31);
    tracker.apply(exit(300, app, 25));
    tracker.apply(free(310, app, 31));
    assert_eq!(written(&read(&mut tracker, 0, 320)), 31);
}

#[test]
fn an_exec_takes_a_process_from_one_group_to_another_and_splits_its_use_there() {
    let mut tracker = tracker(&["^one$", "^two$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "one", 4));
    tracker.apply(exec(200, process, INIT, "two", 10));
    tracker.apply(exec(300, process, INIT, "one", 16));
    tracker.apply(exit(400, process, 30));
    tracker.apply(free(410, process, 30));
    let (one, two) = (read(&mut tracker, 0, 500), read(&mut tracker, 1, 500));
    assert_eq!(
        (written(&one), written(&two)),
        (10 + 14, 6),
        "30 in all, nothing twice"
    );
    assert_eq!(
        (
            one.happened.starts,
            one.happened.joins,
            one.happened.leaves,
            one.happened.exits
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (
            two.happened.starts,
            two.happened.joins,
            two.happened.leaves,
            two.happened.exits
        ),
        (1, 0, 1, 0)
    );
}

#[test]
fn what_is_used_outside_every_group_is_brought_along_once() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 3)); // brings 3
    tracker.apply(exec(200, process, INIT, "away", 10)); // has used 10
    tracker.apply(exec(250, process, INIT, "farther", 12));
    assert_eq!(
        written(&read(&mut tracker, 0, 260)),
        10,
        "what is used elsewhere is not ours"
    );
    tracker.apply(exec(300, process, INIT, "app", 20)); // comes back with the 10 that nobody counted
    let reading = read(&mut tracker, 0, 310);
    assert_eq!(
        (written(&reading), reading.happened.joins),
        (20, 1),
        "a return is no start"
    );
}

#[test]
fn two_plugins_may_each_count_the_same_process() {
    let mut tracker = tracker(&["app", "^app$"]);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 7));
    tracker.apply(exit(200, process, 9));
    tracker.apply(free(210, process, 9));
    assert_eq!(
        (
            written(&read(&mut tracker, 0, 300)),
            written(&read(&mut tracker, 1, 300))
        ),
        (9, 9)
    );
}

#[test]
fn cpu_usage_is_cpu_time_per_process_time_since_the_last_reading() {
    let mut tracker = tracker(&["^app$"]);
    let process = key(10, 0);
    tracker.discover(&seen(process, "app"), BootTime(1_000 * MS), None);
    sample(&mut tracker, 1_000, process, 700 * MS); // its life before is not this interval's
    assert_eq!(
        read(&mut tracker, 0, 1_000).cpu_usage,
        None,
        "a first reading has nothing to compare with"
    );
    sample(&mut tracker, 2_000, process, 1_200 * MS);
    assert_eq!(read(&mut tracker, 0, 2_000).cpu_usage, Some(0.5));
    tracker.apply(exec(2_000, key(11, 2_000), INIT, "app", 0)); // a second one, idle
    sample(&mut tracker, 3_000, process, 2_200 * MS);
    assert_eq!(
        read(&mut tracker, 0, 3_000).cpu_usage,
        Some(0.5),
        "mean of 1 and 0"
    );
}

#[test]
fn cpu_usage_of_what_lived_between_two_readings() {
    let mut tracker = tracker(&["^app$"]);
    read(&mut tracker, 0, 0);
    let process = key(10, 100);
    tracker.apply(exec(100, process, INIT, "app", 0));
    tracker.apply(exit(300, process, 100 * MS));
    tracker.apply(free(310, process, 100 * MS));
    assert_eq!(
        read(&mut tracker, 0, 1_000).cpu_usage,
        Some(0.5),
        "100 ms of the 200 that it lived"
    );
    assert_eq!(
        read(&mut tracker, 0, 2_000).cpu_usage,
        None,
        "nobody lived: not zero"
    );
}

#[test]
fn gauges_sum_what_could_be_read() {
    let mut tracker = tracker(&["^app$"]);
    let members = [key(10, 1), key(11, 2), key(12, 3), key(13, 4)];
    for member in members {
        tracker.apply(exec(5, member, INIT, "app", 0));
    }
    let gauge = |rss, threads, space| Gauges {
        rss: Some(rss),
        vms: Some(rss * 2),
        fds: Some(3),
        threads: Some(threads),
        peak_rss: Some(rss + 1),
        address_space: Some(space),
    };
    // The third shares the second's address space (a vfork child); the fourth has vanished.
    let gauges = KeyMap::from_iter([
        (members[0], gauge(100, 1, 7)),
        (members[1], gauge(50, 4, 8)),
        (members[2], gauge(50, 1, 8)),
    ]);
    let reading = tracker
        .read(GroupId(0), BootTime(10 * MS), HOST, &gauges)
        .unwrap();
    assert_eq!(
        (reading.rss, reading.vms, reading.sharing),
        (Some(150), Some(300), 1)
    );
    assert_eq!((reading.fds, reading.threads), (Some(9), Some(6)));
    assert_eq!(
        (reading.max_threads, reading.min_threads, reading.avg_threads),
        (Some(4), Some(1), Some(2.0))
    );
    assert_eq!(reading.peak_rss, Some(101));
    // One that could not be read makes the sum unknown, not smaller; a peak once seen stays.
    let gauges = KeyMap::from_iter([
        (
            members[0],
            Gauges {
                rss: None,
                ..gauge(1, 1, 7)
            },
        ),
        (members[1], gauge(1, 1, 8)),
    ]);
    let reading = tracker
        .read(GroupId(0), BootTime(11 * MS), HOST, &gauges)
        .unwrap();
    assert_eq!(
        (reading.rss, reading.vms, reading.peak_rss),
        (None, Some(4), Some(101))
    );
}

#[test]
fn only_roots_count_where_the_plugin_says_so() {
    let mut roots_only = plugin("^server$");
    roots_only.aggregate = Aggregate::Roots;
    let mut tracker = Tracker::new(vec![roots_only], BootTime(0)).unwrap();
    let (root, worker) = (key(10, 100), key(11, 150));
    tracker.apply(exec(100, root, INIT, "server", 0));
    tracker.apply(fork(150, worker, root));
    sample(&mut tracker, 160, root, 10);
    sample(&mut tracker, 160, worker, 500);
    let reading = tracker
        .read(GroupId(0), BootTime(170 * MS), HOST, &KeyMap::default())
        .unwrap();
    assert_eq!((reading.process_count, written(&reading)), (1, 10));
    assert_eq!(reading.happened.worker_starts, 1, "events are counted for all");
    // The worker becomes a root: it counts from there on.
    tracker.apply(exit(200, root, 11));
    sample(&mut tracker, 210, worker, 503);
    let reading = tracker
        .read(GroupId(0), BootTime(220 * MS), HOST, &KeyMap::default())
        .unwrap();
    assert_eq!((reading.process_count, written(&reading)), (1, 11 + 3));
}

#[test]
fn a_process_that_was_found_and_never_read_makes_nothing_unknown() {
    let mut tracker = tracker(&["^app$"]);
    let (read_once, vanished) = (key(10, 1), key(11, 2));
    for process in [read_once, vanished] {
        tracker.discover(&seen(process, "app"), BootTime(100 * MS), None);
    }
    sample(&mut tracker, 110, read_once, 40);
    assert_eq!(written(&read(&mut tracker, 0, 120)), 40, "while it is there");
    tracker.end_missing(
        &KeySet::from_iter([read_once]),
        BootTime(200 * MS),
        BootTime(210 * MS),
        true,
    );
    let reading = read(&mut tracker, 0, 220);
    assert_eq!(
        (written(&reading), reading.unsettled),
        (40, 1),
        "and when it has gone, which is counted"
    );
}
