//! Processes that keep a processor busy: their share is right only where they have one to themselves.

use std::time::Duration;

use kevmon_tests::{
    kevmon::{self, Daemon},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn cpu_usage_is_the_mean_share_of_one_cpu() {
    let program = Program::new(WORKLOAD, "spin");
    let plugin = program.plugin();
    let spinning = kevmon_tests::truth::spawn(&program, &["burn", "--cpu-ms", "60000"]);
    let mut daemon = Daemon::start(&["--interval", "1s", "--process-name", &program.pattern()]);
    let limit = Duration::from_secs(5);
    let first = daemon.ticks()[0].clone();
    assert!(
        first.expect_group(&plugin).get("cpu_usage").is_none(),
        "a first tick has none: {}",
        first.0
    );
    let one = daemon.next_tick(limit).expect_group(&plugin).float("cpu_usage");
    assert!(
        (0.7..1.05).contains(&one),
        "one process that spins uses {one} of a CPU"
    );
    let idle = program.start(&["idle"]);
    let joined = kevmon_tests::wait::unix_now();
    let tick = daemon.tick_after(joined, Duration::from_millis(1100), limit);
    let mean = tick.expect_group(&plugin).float("cpu_usage");
    assert!(
        (0.3..0.6).contains(&mean),
        "with an idle one beside it the mean is {mean}"
    );
    drop(spinning);
    assert_eq!(idle.finish().status, 0);
    daemon.terminate();
}

#[test]
fn cpu_usage_is_measured_over_the_window() {
    let program = Program::new(WORKLOAD, "spin");
    let spinning = kevmon_tests::truth::spawn(&program, &["burn", "--cpu-ms", "60000"]);
    let output = kevmon::run_once(&["--output", "json", "--process-name", &program.pattern()]);
    let tick = output.assert_code(0).json();
    let usage = tick.expect_group(&program.plugin()).float("cpu_usage");
    assert!(
        (0.5..1.1).contains(&usage),
        "a process that spins uses one CPU, not {usage}"
    );
    drop(spinning);
}
