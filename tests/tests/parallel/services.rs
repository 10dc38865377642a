//! How services come to be and what they do to their names: `sh -c exec`, preforking servers, setproctitle.

use std::process::Command;

use kevmon_tests::{
    checks, scratch,
    watch::Watch,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn a_shell_that_becomes_the_program_is_one_start() {
    let program = Program::new(WORKLOAD, "shexec");
    let mut watch = Watch::start(program.name());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("exec {} idle", program.path_text())]);
    let running = Running::start(shell);
    let tick = watch.expect(
        1,
        &[("starts", 1), ("worker_starts", 0), ("joins", 0), ("restarts", 0)],
    );
    assert_eq!(watch.group(&tick).members()[0].pid, running.pid());
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    // What the shell used came with the process: nobody else had counted it.
    checks::assert_equals_truth(watch.group(&tick), &ended.truth);
    watch.finish();
}

#[test]
fn a_preforking_servers_workers_come_and_go() {
    let program = Program::new(WORKLOAD, "prefork");
    let mut watch = Watch::start(program.name());
    let mut master = program.start(&["prefork", "3"]);
    let tick = watch.expect(4, &[("starts", 1), ("worker_starts", 3), ("exits", 0)]);
    for killed in 1..=2 {
        let members = watch.group(&tick).members();
        let victim = members
            .iter()
            .filter(|member| member.pid != master.pid())
            .nth(killed)
            .unwrap();
        let pid = victim.pid.try_into().unwrap();
        // SAFETY: a worker of our own master, which is the only one that reaps it.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        master.line();
    }
    let tick = watch.until("both ends and both replacements", |group| {
        (
            group.int("exits"),
            group.int("worker_starts"),
            group.int("process_count"),
        ) == (2, 5, 4)
    });
    let group = watch.group(&tick);
    assert_eq!(group.signalled_with("SIGKILL"), 2, "{}", group.0);
    // A worker is no root: its replacement is no restart of the service.
    assert_eq!(
        (group.int("starts"), group.int("restarts"), group.downtime().count),
        (1, 0, 0),
        "{}",
        group.0
    );
    let ended = master.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!((group.int("exits"), group.exits_with(0)), (6, 4), "{}", group.0);
    checks::assert_cpu(group, &ended.truth);
    watch.finish();
}

#[test]
fn a_new_title_neither_ends_a_membership_nor_begins_it_twice() {
    let program = Program::new(WORKLOAD, "title");
    let mut watch = Watch::start(program.name());
    let mut running = program.start(&["title"]);
    watch.expect(1, &[("starts", 1)]);
    for title in ["kvt: master process", "kvt: worker process 1 of 16", "k"] {
        assert_eq!(running.ask(title), "ok");
    }
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (
            group.int("starts"),
            group.int("joins"),
            group.int("leaves"),
            group.int("restarts")
        ),
        (1, 0, 0, 0),
        "{}",
        group.0
    );
    checks::assert_equals_truth(group, &ended.truth);
    watch.finish();
}

#[test]
fn a_title_that_matches_is_a_join() {
    let program = Program::new(WORKLOAD, "titled");
    let title = format!("k{}", scratch::unique());
    let mut watch = Watch::start(&title);
    let mut running = program.start(&["title"]);
    // A rename right after the fork would be a start.
    watch.settled(kevmon_tests::wait::unix_now() + 1_000_000_000);
    assert_eq!(running.ask(&title), "ok");
    watch.expect(1, &[("joins", 1), ("starts", 0)]);
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    // It came from no group and brought its whole life.
    checks::assert_equals_truth(watch.group(&tick), &ended.truth);
    watch.finish();
}
