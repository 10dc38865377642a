//! A storm of process lifecycles, as fast as the machine makes them: none is lost, and the totals stay
//! what the kernel says.

use std::time::Duration;

use kevmon_tests::{checks, kevmon::Daemon, truth::Truth, wait, workload::Program};

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
