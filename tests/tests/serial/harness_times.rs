//! The harness itself, without kevmon: workloads whose times matter.

use std::time::Duration;

use kevmon_tests::{truth, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn a_life_of_a_millisecond_is_one() {
    const CHILDREN: u32 = 50;
    let program = Program::new(WORKLOAD, "self");
    let begin = std::time::Instant::now();
    for _ in 0..CHILDREN {
        assert_eq!(
            truth::spawn(&program, &["burn", "--life-ms", "0.3"])
                .reap()
                .status,
            0
        );
    }
    let each = begin.elapsed() / CHILDREN;
    assert!(
        each < Duration::from_millis(8),
        "{each:?} each, fork and exec included"
    );
}

#[test]
fn a_pulse_works_and_rests_until_it_is_released() {
    let program = Program::new(WORKLOAD, "pulse");
    let running = program.start(&["pulse", "--busy-ms", "5", "--idle-ms", "15"]);
    std::thread::sleep(Duration::from_millis(400));
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let used = ended.truth.cpu_ns;
    assert!((40_000_000..300_000_000).contains(&used), "{:?}", ended.truth);
    assert!(ended.truth.voluntary >= 8, "{:?}", ended.truth);
}
