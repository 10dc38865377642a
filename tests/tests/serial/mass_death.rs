//! Very many processes that end at once: the records of their ends come faster than a collection takes.

use std::time::{Duration, Instant};

use kevmon_tests::{checks, kevmon::Daemon, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(120);

/// Twenty thousand members, killed in a few seconds: no record is lost, and each end has its reason.
#[test]
fn twenty_thousand_ends_at_once() {
    const HERD: u64 = 20_000;
    let program = Program::new(WORKLOAD, "herd");
    let mut daemon = Daemon::start(&["--interval", "1s", "--process-name", &program.pattern()]);
    let herd = program.start(&["herd", &HERD.to_string()]);
    let plugin = program.plugin();
    daemon.wait_until("the herd", LIMIT, |tick| {
        tick.group(&plugin)
            .is_some_and(|group| group.int("process_count") == HERD + 1)
    });
    let begin = Instant::now();
    let ended = herd.finish();
    let took = begin.elapsed();
    assert_eq!(ended.status, 0);
    daemon.wait_until("their ends", LIMIT, |tick| {
        tick.group(&plugin).is_some_and(|group| group.int("exits") > HERD)
    });
    eprintln!("killed in {took:?}, counted after {:?}", begin.elapsed());
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_secs(2), LIMIT);
    let group = tick.expect_group(&plugin);
    assert_eq!(tick.records().lost, 0, "{}", tick.0["lost"]);
    assert_eq!(
        (
            group.int("exits"),
            group.signalled_with("SIGKILL"),
            group.exits_with(0)
        ),
        (HERD + 1, HERD, 1),
        "{}",
        group.0
    );
    assert_eq!(
        (
            group.int("starts"),
            group.int("worker_starts"),
            group.int("process_count")
        ),
        (1, HERD, 0),
        "{}",
        group.0
    );
    assert!(
        daemon.ticks().iter().all(|tick| tick.complete()),
        "some collection is incomplete"
    );
    checks::assert_records_add_up(daemon.ticks());
    daemon.terminate();
}
