//! A pid that is given again within one interval: two processes, never one.

use std::{collections::BTreeSet, time::Duration};

use kevmon_tests::{
    checks, history,
    kevmon::Daemon,
    same_pid,
    scratch::Scratch,
    tick::Tick,
    truth::{self, Truth},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);

/// Different work each time, so that a value that went to the wrong one is seen.
fn work(index: u32) -> Vec<String> {
    ["--cpu-ms", "--sleeps"]
        .into_iter()
        .zip([index % 3 + 1, index % 7])
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_string()])
        .collect()
}

fn burn(pid: Option<u32>, program: &Program, index: u32) -> (u32, Truth) {
    let work = work(index);
    let args: Vec<&str> = std::iter::once("burn")
        .chain(work.iter().map(String::as_str))
        .collect();
    let child = match pid {
        Some(pid) => same_pid::spawn(pid, program, &args),
        None => truth::spawn(program, &args),
    };
    let pid = child.pid();
    let ended = child.reap();
    assert_eq!(ended.status, 0);
    (pid, ended.truth)
}

#[test]
fn many_processes_of_one_pid_within_one_interval() {
    // The history of one interval keeps the newest 128 rows.
    const LIVES: u32 = 40;
    let program = Program::new(WORKLOAD, "reuse");
    // No tick falls between them.
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let args = [
        "--interval",
        "1h",
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().unwrap(),
    ];
    let daemon = Daemon::start(&args);
    let (pid, mut sum) = burn(None, &program, 0);
    for index in 1..LIVES {
        sum += burn(Some(pid), &program, index).1;
    }
    let last = daemon.terminate();
    let group = last.expect_group(&program.plugin());
    assert_eq!(
        (group.int("starts"), group.int("respawns")),
        (u64::from(LIVES), u64::from(LIVES) - 1),
        "{}",
        group.0
    );
    checks::assert_equals_truth(group, &sum);
    assert!(last.complete(), "{}", last.0);

    let rows = history::rows(&database, None);
    for event in ["start", "exit"] {
        let of_event: Vec<_> = rows.iter().filter(|row| row["event"] == event).collect();
        assert_eq!(of_event.len(), LIVES as usize, "{event}s");
        let times: BTreeSet<u64> = of_event.iter().map(|row| row["time"].as_u64().unwrap()).collect();
        assert_eq!(times.len(), of_event.len(), "{event}s of one process told twice");
        assert!(of_event.iter().all(|row| row["pid"] == pid), "{rows:?}");
    }
}

#[test]
fn one_pid_in_one_group_and_then_in_another() {
    let (one, other) = (Program::new(WORKLOAD, "one"), Program::new(WORKLOAD, "other"));
    let args = [
        "--interval",
        "1h",
        "--process-name",
        &one.pattern(),
        "--process-name",
        &other.pattern(),
    ];
    let daemon = Daemon::start(&args);
    let (pid, mut of_one) = burn(None, &one, 1);
    let mut of_other = Truth::default();
    for index in 2..22 {
        of_other += burn(Some(pid), &other, index).1;
        of_one += burn(Some(pid), &one, index).1;
    }
    let last = daemon.terminate();
    for (program, truth) in [(&one, &of_one), (&other, &of_other)] {
        let group = last.expect_group(&program.plugin());
        assert_eq!(group.int("starts"), truth.count, "{}", group.0);
        assert_eq!(group.int("joins") + group.int("leaves"), 0, "{}", group.0);
        checks::assert_equals_truth(group, truth);
    }
}

#[test]
fn a_pid_of_a_member_that_a_stranger_gets_is_no_member() {
    let (member, stranger) = (
        Program::new(WORKLOAD, "member"),
        Program::new(WORKLOAD, "stranger"),
    );
    let mut daemon = Daemon::start(&["--interval", "1s", "--process-name", &member.pattern()]);
    let (pid, truth) = burn(None, &member, 1);
    let living = same_pid::spawn(pid, &stranger, &["burn", "--cpu-ms", "300", "--life-ms", "2500"]);
    let tick = daemon.tick_after(truth.last_reap, Duration::from_millis(500), LIMIT);
    let group = tick.expect_group(&member.plugin());
    assert_eq!((group.int("starts"), group.int("leaves")), (1, 0), "{}", group.0);
    checks::assert_equals_truth(group, &truth);
    assert!(group.members().is_empty(), "{}", group.0);
    assert_eq!(living.reap().status, 0);
    let last = daemon.terminate();
    checks::assert_equals_truth(last.expect_group(&member.plugin()), &truth);
}

#[test]
fn one_pid_again_while_nobody_reads() {
    let program = Program::new(WORKLOAD, "unread");
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let pattern = program.pattern();
    let args = [
        "--interval",
        "500ms",
        "--ring-bytes",
        "65536",
        "--process-name",
        &pattern,
    ];
    let mut daemon = Daemon::start(&args);
    let mut running = storm.start(&["storm", "300", "2", leaf.path_text(), "exit", "0"]);
    daemon.stall();
    // Fills the ring.
    running.ask("go");
    let (pid, mut sum) = burn(None, &program, 1);
    sum += burn(Some(pid), &program, 2).1;
    daemon.resume();
    daemon.wait_until("a tick that says it", LIMIT, |tick| !tick.complete());
    let tick = daemon.wait_until("a complete tick", LIMIT, Tick::complete);
    let group = tick.expect_group(&program.plugin());
    assert_eq!(group.int("starts"), 2, "{}", group.0);
    checks::assert_equals_truth(group, &sum);
    daemon.terminate();
}

#[test]
fn a_members_pid_goes_to_another_one_while_kevmon_is_away() {
    let program = Program::new(WORKLOAD, "away");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let args = [
        "--interval",
        "200ms",
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().unwrap(),
    ];
    let mut daemon = Daemon::start(&args);
    let first = program.start(&["idle"]);
    let pid = first.pid();
    let count = |tick: &Tick, metric: &str| tick.expect_group(&program.plugin()).int(metric);
    daemon.wait_until("it", LIMIT, |tick| count(tick, "process_count") == 1);
    let mut ticks = daemon.kill();
    assert_eq!(first.finish().status, 0);
    let second = same_pid::spawn(pid, &program, &["burn", "--cpu-ms", "50", "--life-ms", "4000"]);
    let mut daemon = Daemon::start(&args);
    let tick = daemon.ticks()[0].clone();
    let group = tick.expect_group(&program.plugin());
    assert_eq!(
        (
            group.ends_of("unknown"),
            group.int("joins"),
            group.int("process_count")
        ),
        (1, 1, 1),
        "{}",
        group.0
    );
    assert_eq!(second.reap().status, 0);
    let last = daemon.wait_until("its end", LIMIT, |tick| count(tick, "exits") == 2);
    assert_eq!(
        last.expect_group(&program.plugin()).exits_with(0),
        1,
        "{}",
        last.0
    );
    ticks.extend(daemon.ticks().iter().cloned());
    checks::assert_sum_rule(&ticks, &program.plugin());
    daemon.terminate();
}
