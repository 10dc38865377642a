//! A storm of process lifecycles, as fast as the machine makes them: none is lost, and the totals stay
//! what the kernel says.

#![expect(
    clippy::expect_used,
    reason = "a failed assumption in a test is a failed test"
)]

use std::time::Duration;

use kevmon_tests::{checks, kevmon::Daemon, tick::Tick, truth::Truth, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIFECYCLES: u64 = 10_000;

#[test]
fn ten_thousand_lifecycles_are_all_counted() {
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let plugin = leaf.plugin();
    let mut daemon = Daemon::start(&["--interval", "1s", "--process-name", &leaf.pattern()]);
    let mut running = storm.start(&[
        "storm",
        &LIFECYCLES.to_string(),
        "2",
        leaf.path_text(),
        "exit",
        "0",
    ]);
    let answer = running.ask("go");
    let end = wait::unix_now();
    let numbers: Vec<u64> = answer
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [count, cpu_ns, voluntary, involuntary, read_bytes, write_bytes] = numbers[..] else {
        panic!("{answer}")
    };
    let truth = Truth {
        count,
        cpu_ns,
        voluntary,
        involuntary,
        read_bytes,
        write_bytes,
        last_reap: end,
        ..Truth::default()
    };

    let tick = daemon.tick_after(end, Duration::from_secs(1), Duration::from_secs(20));
    let group = tick.expect_group(&plugin);
    eprintln!("truth {truth:?}\n told {}", group.0["metrics"]);
    assert_eq!(group.int("starts"), LIFECYCLES, "{}", group.0);
    assert_eq!(group.int("worker_starts"), 0, "{}", group.0);
    assert_eq!(
        (group.int("exits"), group.int("process_count")),
        (LIFECYCLES, 0),
        "{}",
        group.0
    );
    checks::assert_cpu(group, &truth);
    // Upwards: the storm reaps as fast as it can, also children whose last switch is still to come and is
    // missing in their rusage. Downwards: an end whose totals have not settled lacks its last switches.
    let unsettled = tick.unsettled();
    assert!(
        unsettled <= LIFECYCLES / 100,
        "{unsettled} ends without settled totals: {}",
        tick.0
    );
    for (metric, expected) in [
        ("voluntary_ctx_switches", truth.voluntary),
        ("nonvoluntary_ctx_switches", truth.involuntary),
    ] {
        let bounds = expected - unsettled * 2..=expected + LIFECYCLES / 100;
        assert!(
            bounds.contains(&group.int(metric)),
            "{metric} outside {bounds:?}: {}",
            tick.0
        );
    }
    checks::assert_sum_rule(daemon.ticks(), &plugin);
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

#[test]
fn a_storm_of_others_costs_the_group_nothing() {
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let watched = Program::new(WORKLOAD, "calm");
    let plugin = watched.plugin();
    let calm = watched.start(&["idle"]);
    let mut daemon = Daemon::start(&["--interval", "1s", "--process-name", &watched.pattern()]);
    let mut running = storm.start(&["storm", "3000", "2", leaf.path_text(), "exit", "0"]);
    running.ask("go");
    let tick = daemon.tick_after(wait::unix_now(), Duration::ZERO, Duration::from_secs(20));
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (
            group.int("process_count"),
            group.int("starts"),
            group.int("exits")
        ),
        (1, 0, 0),
        "{}",
        group.0
    );
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
    assert_eq!(calm.finish().status, 0);
}

#[test]
fn a_ring_that_overflows_is_said_and_repaired() {
    // More lives than the ring of 4 MiB holds, while nobody reads it.
    const LIVES: u64 = 6_000;
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let plugin = leaf.plugin();
    let mut daemon = Daemon::start(&["--interval", "500ms", "--process-name", &leaf.pattern()]);
    let before = leaf.start(&["idle"]);
    let limit = Duration::from_secs(20);
    daemon.wait_until("the first", limit, |tick| {
        tick.expect_group(&plugin).int("process_count") == 1
    });

    signal(&daemon, libc::SIGSTOP);
    let mut running = storm.start(&["storm", &LIVES.to_string(), "2", leaf.path_text(), "exit", "0"]);
    running.ask("go");
    // The one's start and the other's end fall into the gap.
    let during = leaf.start(&["idle"]);
    assert_eq!(before.finish().status, 0);
    signal(&daemon, libc::SIGCONT);

    let gap = daemon.wait_until("a tick that says it", limit, |tick| !tick.complete());
    let group = gap.expect_group(&plugin);
    assert_eq!(group.int("process_count"), 1, "found again: {}", group.0);
    assert_eq!(group.members()[0].pid, during.pid(), "{}", group.0);
    assert!(
        group.int("starts") > 0 && group.int("starts") < LIVES + 1,
        "{}",
        group.0
    );
    let after = daemon.wait_until("a complete tick", limit, Tick::complete);
    assert_eq!(after.expect_group(&plugin).int("process_count"), 1);
    assert!(
        daemon.stderr().contains("records were lost"),
        "{}",
        daemon.stderr()
    );
    checks::assert_sum_rule(daemon.ticks(), &plugin);

    // And everything is counted again.
    let starts = after.expect_group(&plugin).int("starts");
    assert_eq!(during.finish().status, 0);
    assert_eq!(leaf.start(&["idle"]).finish().status, 0);
    daemon.wait_until("the next start and both ends", limit, |tick| {
        let group = tick.expect_group(&plugin);
        (group.int("starts"), group.int("process_count")) == (starts + 1, 0) && tick.complete()
    });
    daemon.terminate();
}

fn signal(daemon: &Daemon, signal: i32) {
    let pid = i32::try_from(daemon.pid()).expect("a pid");
    // SAFETY: signals a process that this test started and has not reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
