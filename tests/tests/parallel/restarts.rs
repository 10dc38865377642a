//! A service that crashes several times within one interval is counted each time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    push::plugin_file,
    truth::{self, Truth},
    wait,
    watch::Watch,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn every_crash_under_a_long_interval_is_a_restart() {
    let program = Program::new(WORKLOAD, "crash");
    let pattern = program.pattern();
    let mut daemon = Daemon::start(&["--interval", "10s", "--process-name", &pattern]);
    let life = ["--life-ms", "700"];
    let truth = supervise(
        &program,
        &[&["signal", "6"], &life[..]].concat(),
        Duration::from_secs(60),
    );
    let tick = daemon.tick_after(truth.last_reap, Duration::from_secs(1), Duration::from_secs(25));
    let group = tick.expect_group(&program.plugin());
    assert_eq!(group.signalled_with("SIGABRT"), truth.count, "{}", group.0);
    assert!(group.crash_loop(), "{}", group.0);
    assert!(truth.count >= 60, "the supervisor started {} only", truth.count);
    eprintln!("{} starts, {} restarts told", truth.count, group.int("restarts"));
    assert_eq!(group.int("starts"), truth.count, "{}", group.0);
    assert_eq!(group.int("restarts"), truth.count - 1, "{}", group.0);
    assert_eq!(
        (group.int("respawns"), group.int("unpaired_starts")),
        (truth.count - 1, 0),
        "{}",
        group.0
    );
    assert_eq!(group.downtime().count, truth.count - 1, "{}", group.0);
    // Each lived 0.7 s, and something for its start and its end.
    let (life, lived) = (Duration::from_millis(700), group.lifetime());
    let least = truth.count * u64::try_from(life.as_nanos()).expect("short");
    assert_eq!(lived.count, truth.count, "{}", group.0);
    assert!((least..least * 11 / 10).contains(&lived.sum), "{lived:?}");
    assert_eq!(group.int("worker_starts"), 0, "{}", group.0);
    checks::assert_equals_truth(group, &truth);
    checks::assert_sum_rule(daemon.ticks(), &program.plugin());
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

#[test]
fn a_start_without_an_end_before_is_no_restart() {
    let program = Program::new(WORKLOAD, "twin");
    let pattern = program.pattern();
    let mut daemon = Daemon::start(&["--interval", "200ms", "--process-name", &pattern]);
    let plugin = program.plugin();
    let (one, other) = (program.start(&["idle"]), program.start(&["idle"]));
    let limit = Duration::from_secs(10);
    let both = daemon.wait_until("both", limit, |tick| {
        tick.expect_group(&plugin).int("process_count") == 2
    });
    assert_eq!(both.expect_group(&plugin).int("starts"), 2);
    assert_eq!(both.expect_group(&plugin).int("restarts"), 0);
    // One end and two starts: one of the two replaces it.
    assert_eq!(one.finish().status, 0);
    let ended = daemon.wait_until("one end", limit, |tick| {
        tick.expect_group(&plugin).int("exits") == 1
    });
    assert_eq!(
        ended.expect_group(&plugin).int("restarts"),
        0,
        "the other one is no successor"
    );
    let (third, fourth) = (program.start(&["idle"]), program.start(&["idle"]));
    let three = daemon.wait_until("three", limit, |tick| {
        tick.expect_group(&plugin).int("process_count") == 3
    });
    assert_eq!(three.expect_group(&plugin).int("starts"), 4);
    assert_eq!(three.expect_group(&plugin).int("restarts"), 1);
    for running in [other, third, fourth] {
        assert_eq!(running.finish().status, 0);
    }
    let last = daemon.terminate();
    assert_eq!(last.expect_group(&plugin).int("exits"), 4);
    assert_eq!(last.expect_group(&plugin).int("process_count"), 0);
}

#[test]
fn downtime_is_from_the_end_to_the_next_start() {
    let program = Program::new(WORKLOAD, "down");
    let mut watch = Watch::start(program.name());
    let mut running = program.start(&["idle"]);
    watch.expect(1, &[("starts", 1), ("respawns", 0)]);
    let (mut shortest, mut longest) = (Vec::new(), Vec::new());
    for pause in [0, 80, 350, 1_200] {
        let before_end = wait::unix_now();
        running.signal(libc::SIGKILL);
        let reaped = running.reap().truth.last_reap;
        thread::sleep(Duration::from_millis(pause));
        let before_start = wait::unix_now();
        running = program.start(&["idle"]);
        shortest.push(before_start - reaped);
        longest.push(wait::unix_now() - before_end);
    }
    let tick = watch.until("the last start", |group| group.int("starts") == 5);
    let group = watch.group(&tick);
    for (metric, value) in [("respawns", 4), ("reexecs", 0), ("unpaired_starts", 0)] {
        assert_eq!(group.int(metric), value, "{metric}: {}", group.0);
    }
    let told = group.downtime();
    eprintln!("downtimes: {told:?}; at least {shortest:?}, at most {longest:?}");
    assert_eq!(told.count, 4, "{}", group.0);
    let bounds = shortest.iter().sum::<u64>()..=longest.iter().sum();
    assert!(bounds.contains(&told.sum), "{told:?} outside {bounds:?}");
    let bounds = shortest[3]..=longest[3];
    assert!(
        told.last.is_some_and(|last| bounds.contains(&last)),
        "{told:?} outside {bounds:?}"
    );
    let rows = watch.history();
    let restarts: Vec<_> = rows.iter().filter(|row| row["event"] == "restart").collect();
    assert_eq!(restarts.len(), 4, "{rows:?}");
    for (row, (least, most)) in restarts.iter().zip(shortest.iter().zip(&longest)) {
        let downtime = row["downtime_ns"].as_u64();
        assert!(
            downtime.is_some_and(|ns| (*least..=*most).contains(&ns)),
            "{least} to {most}: {row}"
        );
    }
    assert_eq!(restarts[3]["pid"], running.pid(), "{rows:?}");
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 5)]);
    watch.finish();
}

#[test]
fn a_restart_in_place_has_no_downtime() {
    let program = Program::new(WORKLOAD, "inplace");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["exec-chain", "3"]);
    let tick = watch.until("the chain", |group| group.int("reexecs") == 3);
    let group = watch.group(&tick);
    assert_eq!(
        (
            group.int("restarts"),
            group.int("respawns"),
            group.downtime().count
        ),
        (3, 0, 0),
        "{}",
        group.0
    );
    let rows = watch.history();
    let restarts: Vec<_> = rows.iter().filter(|row| row["event"] == "restart").collect();
    assert_eq!(restarts.len(), 3, "{rows:?}");
    for row in restarts {
        assert!(
            row["pid"] == running.pid() && row["downtime_ns"].is_null(),
            "{row}"
        );
    }
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 1), ("starts", 1)]);
    watch.finish();
}

#[test]
fn a_crash_loop_is_told_while_it_lasts() {
    const WINDOW: Duration = Duration::from_secs(3);
    let program = Program::new(WORKLOAD, "loop");
    let folder = PluginDir::new();
    folder.write(
        "loop",
        &plugin_file("loop", &program.pattern(), "restart_window = \"3s\""),
    );
    let mut watch = Watch::plugin(&folder, "loop");
    // Three that end well and are replaced are no crash loop.
    for _ in 0..4 {
        assert_eq!(
            truth::spawn(&program, &["exit", "0", "--life-ms", "20"])
                .reap()
                .status,
            0
        );
    }
    let tick = watch.until("four good ends", |group| group.int("exits") == 4);
    assert!(!watch.group(&tick).crash_loop(), "{}", tick.0);
    // So are two crashes; the second one's successor lives.
    for _ in 0..2 {
        assert_eq!(truth::spawn(&program, &["exit", "1"]).reap().status, 0x100);
    }
    let mut running = program.start(&["idle"]);
    let tick = watch.until("the successor", |group| group.int("starts") == 7);
    assert!(!watch.group(&tick).crash_loop(), "{}", tick.0);
    // The third one.
    let third = Instant::now();
    running.signal(libc::SIGKILL);
    running.reap();
    let running = program.start(&["idle"]);
    let tick = watch.until("its successor", |group| group.int("starts") == 8);
    assert!(watch.group(&tick).crash_loop(), "{}", tick.0);
    watch.until("its end", |group| !group.crash_loop());
    // The first crash leaves the window some ms before the third one does; ticks are 0.3 s apart.
    let lasted = third.elapsed();
    assert!(
        (WINDOW - Duration::from_secs(1)..WINDOW + Duration::from_secs(2)).contains(&lasted),
        "it was told for {lasted:?}"
    );
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 8)]);
    watch.finish();
}

#[test]
fn failed_starts_are_those_that_end_badly_and_soon() {
    let program = Program::new(WORKLOAD, "failed");
    let folder = PluginDir::new();
    folder.write(
        "failed",
        &plugin_file("failed", &program.pattern(), "failed_start = \"500ms\""),
    );
    let mut watch = Watch::plugin(&folder, "failed");
    let mut count = 0;
    for (args, failed) in [
        (&["exit", "1", "--life-ms", "20"][..], true),
        (&["signal", "6", "--life-ms", "20"], true),
        (&["exit", "0", "--life-ms", "20"], false),
        (&["exit", "1", "--life-ms", "700"], false),
        (&["signal", "9", "--life-ms", "700"], false),
    ] {
        let last_reap = truth::spawn(&program, args).reap().truth.last_reap;
        count += u64::from(failed);
        let tick = watch.settled(last_reap);
        assert_eq!(
            watch.group(&tick).int("failed_starts"),
            count,
            "{args:?}: {}",
            tick.0
        );
    }
    watch.finish();
}

#[test]
fn two_roots_have_downtimes_of_their_own() {
    let program = Program::new(WORKLOAD, "pair");
    let mut watch = Watch::start(program.name());
    let (mut one, mut other) = (program.start(&["idle"]), program.start(&["idle"]));
    watch.expect(2, &[("starts", 2), ("respawns", 0)]);
    let end = |running: &mut Running, pause: u64| {
        running.signal(libc::SIGTERM);
        let reaped = running.reap().truth.last_reap;
        thread::sleep(Duration::from_millis(pause));
        let least = wait::unix_now() - reaped;
        (program.start(&["idle"]), least)
    };
    let (first, pause_of_one) = end(&mut one, 300);
    let tick = watch.until("the first restart", |group| group.int("respawns") == 1);
    let told = watch.group(&tick).downtime();
    assert!(
        told.count == 1 && told.sum >= pause_of_one,
        "{told:?}, not {pause_of_one}"
    );
    let (second, pause_of_other) = end(&mut other, 50);
    let tick = watch.until("the second restart", |group| group.int("respawns") == 2);
    let told = watch.group(&tick).downtime();
    assert!(
        told.count == 2
            && told
                .last
                .is_some_and(|last| (pause_of_other..pause_of_one).contains(&last)),
        "{told:?}, not {pause_of_other}"
    );
    assert_eq!(watch.group(&tick).int("unpaired_starts"), 0, "{}", tick.0);
    for running in [first, second] {
        assert_eq!(running.finish().status, 0);
    }
    watch.expect(0, &[("starts", 4), ("exits", 4)]);
    watch.finish();
}

/// Starts the program again each time it has ended, for so long.
fn supervise(program: &Program, args: &[&str], duration: Duration) -> Truth {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let supervisor = scope.spawn(|| {
            let mut sum = Truth::default();
            while !over.load(Ordering::Relaxed) {
                let ended = truth::spawn(program, args).reap();
                assert_eq!(ended.status, libc::SIGABRT, "the service did not crash");
                sum += ended.truth;
            }
            sum
        });
        let end = Instant::now() + duration;
        while Instant::now() < end && !supervisor.is_finished() {
            thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        supervisor
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
