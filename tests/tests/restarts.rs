//! A service that crashes several times within one interval is counted each time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    truth::{self, Truth},
    workload::Program,
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
    assert!(truth.count >= 60, "the supervisor started {} only", truth.count);
    eprintln!("{} starts, {} restarts told", truth.count, group.int("restarts"));
    assert_eq!(group.int("starts"), truth.count, "{}", group.0);
    assert_eq!(group.int("restarts"), truth.count - 1, "{}", group.0);
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
