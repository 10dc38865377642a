//! Processes that rename themselves more often than is reported: every kevmon of the host has to look again.

use kevmon_tests::{watch::Watch, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn a_rename_loop_is_cut_short_said_and_ends_under_its_last_name() {
    let program = Program::new(WORKLOAD, "loop");
    let name = format!("kvt-{}", program.name().rsplit('-').next().unwrap());
    let mut watch = Watch::start(&name);
    let mut running = program.start(&["rename"]);
    // More than are reported within a second; only the last one makes it a member.
    for _ in 0..400 {
        running.rename(b"kvt-round");
    }
    running.rename(name.as_bytes());
    let tick = watch.until("the member", |group| group.int("process_count") == 1);
    assert_eq!(watch.group(&tick).members()[0].pid, running.pid());
    assert!(watch.stderr().contains("records were lost"), "{}", watch.stderr());
    assert_eq!(running.finish().status, 0);
    watch.until("its end", |group| group.int("exits") == 1);
    watch.finish_incomplete();
}
