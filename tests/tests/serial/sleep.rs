//! A kevmon to which nothing happens has no timer for records: the kernel side calls it with the next one.

use std::time::{Duration, Instant};

use kevmon_tests::{kevmon::Daemon, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// Long enough for the pauses to grow to the longest, and for the sleep behind it. Without a call, the loop looks when it asks its
/// threads whether they move, every five seconds: what begins in the middle between two of these looks waits for the second one.
const QUIET: Duration = Duration::from_millis(6_500);
/// A call takes effect at once.
const SEEN: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 2;

/// Whether the ring is held for the state, or given back as it is read: the thread of the ring must not take the record that
/// the loop is called for.
fn is_called(args: &[&str]) {
    let program = Program::new(WORKLOAD, "sleep");
    let pattern = program.pattern();
    let all = [
        &[
            "--interval",
            "10m",
            "--log-level",
            "debug",
            "--process-name",
            &pattern,
        ],
        args,
    ]
    .concat();
    let daemon = Daemon::start(&all);
    wait::until("the programs", Duration::from_secs(20), || {
        daemon.stderr().contains("source ebpf").then_some(())
    });
    for round in 0..ROUNDS {
        std::thread::sleep(QUIET);
        let began = Instant::now();
        let member = program.start(&["idle"]);
        let joins = format!("pid {}", member.pid());
        wait::until("the start to be seen", Duration::from_secs(20), || {
            daemon.stderr().contains(&joins).then_some(())
        });
        let took = began.elapsed();
        assert!(took < wait::patiently(SEEN), "{args:?}, round {round}: {took:?}");
        member.finish();
    }
    daemon.kill();
}

#[test]
fn the_next_record_wakes_a_loop_that_sleeps() {
    is_called(&[]);
}

#[test]
fn so_it_does_where_nothing_outlives_kevmon() {
    is_called(&["--keep-watching", "0"]);
}
