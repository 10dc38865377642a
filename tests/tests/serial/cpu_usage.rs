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

/// The parts that wait4 gives, of children that nobody asked the kernel about while they lived.
///
/// Read once, at their ends, the inputs are the kernel's own, and so the parts: but for the microsecond that rusage cuts of each.
/// Read every 0.2 s, a part that ran ahead of its share is not taken back: by no more than a tick or two (4 ms at 250 Hz), as the
/// share that a reading gives is off by no more than a tick.
#[test]
fn user_and_system_time_are_those_of_wait4() {
    for (interval, tolerance_ns) in [("60s", 2e3), ("200ms", 8e6)] {
        let program = Program::new(WORKLOAD, "split");
        let daemon = Daemon::start(&["--interval", interval, "--process-name", &program.pattern()]);
        let mut truth = kevmon_tests::truth::Truth::default();
        let shares = [[30, 90], [90, 30], [60, 60], [200, 20], [1, 200], [3, 4]];
        for [user, system] in shares {
            let mut child = program.start(&["work"]);
            for _ in 0..3 {
                child.ask(&format!("user {user}"));
                child.ask(&format!("system {system}"));
            }
            truth += child.finish().truth;
        }
        std::thread::sleep(Duration::from_millis(500));
        let last = daemon.terminate();
        let group = last.expect_group(&program.plugin());
        assert_eq!(group.0["unsettled"], 0, "{}", group.0);
        let (user, system) = (truth.user_ns as f64, (truth.cpu_ns - truth.user_ns) as f64);
        for (metric, expected) in [("cpu_user_time_total", user), ("cpu_system_time_total", system)] {
            let error = 1e9 * group.float(metric) - expected;
            eprintln!("{interval}: {metric} is {error:+.0} ns off {expected}");
            assert!(
                error.abs() <= tolerance_ns * shares.len() as f64,
                "{metric} is {error:+.0} ns off {expected} at {interval}: {}",
                group.0
            );
        }
    }
}
