//! A storm of process lifecycles, as fast as the machine makes them: none is lost, and the totals stay
//! what the kernel says.

use std::time::Duration;

use kevmon_tests::{checks, kevmon::Daemon, truth, wait, workload::Program};

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
    let truth = truth::from_storm(&running.ask("go"), wait::unix_now());

    let tick = daemon.tick_after(truth.last_reap, Duration::from_secs(1), Duration::from_secs(20));
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
    assert_eq!(group.exits_with(0), LIFECYCLES, "{}", group.0);
    assert_eq!(group.lifetime().count, LIFECYCLES, "{}", group.0);
    // At most two lived at a time, and those that started first replaced nobody.
    assert!(
        (LIFECYCLES - 2..LIFECYCLES).contains(&group.int("respawns")),
        "{}",
        group.0
    );
    assert_eq!(group.downtime().count, group.int("respawns"), "{}", group.0);
    assert_eq!(group.int("unpaired_starts"), 0, "{}", group.0);
    checks::assert_usage_of_storm(&tick, group, &truth);
    checks::assert_records_add_up(daemon.ticks());
    assert_eq!(tick.records().lost, 0, "{}", tick.0);
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
