//! A disk that takes its time: the state is written late, and nothing else is.

use std::time::Duration;

use kevmon_tests::{answered::Calls, daemon::Daemon, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(60);

/// Each commit takes one and a half intervals: ticks come in time all the same, and a storm meanwhile is counted.
#[test]
fn a_slow_disk_delays_no_tick() {
    const LIVES: u64 = 3_000;
    const TICKS: usize = 8;
    const SECOND: u64 = 1_000_000_000;
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let (plugin, pattern) = (leaf.plugin(), leaf.pattern());
    let calls = Calls::default();
    let args = ["--interval", "1s", "--process-name", &pattern];
    let mut daemon = Daemon::start_answered(&args, &calls);
    daemon.next_tick(LIMIT);
    calls.set_disk(Duration::from_millis(1_500));
    let mut running = storm.start(&["storm", &LIVES.to_string(), "2", leaf.path_text(), "exit", "0"]);
    running.ask("go");
    let late: Vec<_> = (0..TICKS).map(|_| daemon.next_tick(LIMIT)).collect();
    calls.set_disk(Duration::ZERO);
    let last = daemon.wait_until("every life", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") >= LIVES
    });
    // A line is printed once its collection is in the store; its time is when it was made.
    let times: Vec<u64> = late.iter().map(|tick| tick.time()).collect();
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(
            apart.abs_diff(SECOND) < SECOND / 4,
            "ticks {apart} ns apart: {times:?}"
        );
    }
    let group = last.expect_group(&plugin);
    assert_eq!(
        (group.int("starts"), group.int("exits"), last.records().lost),
        (LIVES, LIVES, 0),
        "{}",
        group.0
    );
    assert!(
        last.0["soft_failures"].get("tick_skipped").is_none(),
        "{}",
        last.0["soft_failures"]
    );
    running.finish();
    // What waits is written first: at the end the disk has five seconds.
    daemon.tick_after(wait::unix_now(), Duration::from_secs(2), LIMIT);
    daemon.terminate();
}
