//! Why a process ended: the exit code, the signal with its sender and its core, the OOM killer, and always
//! the totals that wait4 tells.

use std::process::Command;

use kevmon_tests::{
    cgroup::MemoryCgroup,
    checks,
    history::row,
    tick::Tick,
    truth::{self, Ended, Spawned},
    watch::Watch,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Waits for the one end that the watch has seen, compares its totals with wait4's, stops the watch and
/// returns its only entry of `exits_by_reason` and its row of the history.
fn told(mut watch: Watch, pid: u32, ended: &Ended) -> (Value, Value) {
    let tick: Tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(group.int("starts"), 1, "{}", group.0);
    checks::assert_equals_truth(group, &ended.truth);
    assert_eq!(group.lifetime().count, 1, "{}", group.0);
    let reasons = group.0["exits_by_reason"].as_array().unwrap().clone();
    let [reason] = &reasons[..] else {
        panic!("one end, {} reasons: {}", reasons.len(), group.0)
    };
    assert_eq!(reason["count"], 1, "{}", group.0);
    let rows = watch.history();
    let of_end = row(&rows, "exit", pid).clone();
    assert_eq!(of_end["reason"], reason["reason"], "history and tick: {of_end}");
    assert!(
        of_end["lifetime_ns"].as_u64().is_some_and(|ns| ns > 0),
        "{of_end}"
    );
    watch.finish();
    (reason.clone(), of_end)
}

/// The same for a program that ends by itself.
fn told_of(stem: &str, args: &[&str]) -> (Ended, Value, Value) {
    let program = Program::new(WORKLOAD, stem);
    let watch = Watch::start(program.name());
    let mut command = Command::new(program.path());
    // A directory of its own, for the core that it may leave.
    command.args(args).current_dir(program.directory()).env_clear();
    let child = Spawned::start(&mut command);
    let pid = child.pid();
    let ended = child.reap();
    let (reason, row) = told(watch, pid, &ended);
    (ended, reason, row)
}

fn assert_no_sender(row: &Value) {
    assert!(row["sender"].is_null(), "a sender where there was none: {row}");
}

#[test]
fn exit_7() {
    let (ended, reason, row) = told_of("seven", &["exit", "7"]);
    assert_eq!(ended.status, 0x700);
    assert_eq!(reason, json!({"reason": "exit", "code": 7, "count": 1}));
    assert_eq!(row["code"], 7);
    assert_no_sender(&row);
}

#[test]
fn a_fault_with_a_core_dump() {
    let (ended, reason, row) = told_of("fault", &["segfault"]);
    assert_eq!(
        ended.status,
        libc::SIGSEGV | 0x80,
        "missing prerequisite: a core dump (core_pattern in core(5) must be a path, or a program that exists; sudo sets the limit to 0, which root without CAP_SYS_RESOURCE cannot raise: rlimit_core in sudoers(5))"
    );
    let expected = json!(
        {"reason": "signal", "signal": 11, "signal_name": "SIGSEGV", "core_dumped": true, "count": 1});
    assert_eq!(reason, expected);
    assert_eq!(row["signal"].as_u64().unwrap_or(11), 11, "{row}");
    assert_no_sender(&row);
}

#[test]
fn a_timers_signal_has_no_sender() {
    let (ended, reason, row) = told_of("alarm", &["alarm", "--life-ms", "50"]);
    assert_eq!(ended.status, libc::SIGALRM);
    let expected = json!(
        {"reason": "signal", "signal": 14, "signal_name": "SIGALRM", "core_dumped": false, "count": 1});
    assert_eq!(reason, expected);
    assert_no_sender(&row);
}

#[test]
fn a_process_that_kills_is_named() {
    let program = Program::new(WORKLOAD, "victim");
    // A comm of exactly 15 bytes, told in full.
    let killer = Program::new(WORKLOAD, "assassin");
    let watch = Watch::start(program.name());
    let mut running = program.start(&["idle"]);
    let pid = running.pid();
    let assassin = truth::spawn(&killer, &["kill", &pid.to_string(), "9"]);
    let assassins_pid = assassin.pid();
    assert_eq!(assassin.reap().status, 0);
    let ended = running.reap();
    assert_eq!(ended.status, libc::SIGKILL);
    let (reason, row) = told(watch, pid, &ended);
    let expected = json!(
        {"reason": "signal", "signal": 9, "signal_name": "SIGKILL", "core_dumped": false, "count": 1});
    assert_eq!(reason, expected);
    assert_eq!(row["sender"]["pid"], assassins_pid, "{row}");
    assert_eq!(row["sender"]["name"], killer.name()[..15], "{row}");
}

#[test]
fn a_handled_signal_is_not_the_reason() {
    let program = Program::new(WORKLOAD, "handles");
    let killer = Program::new(WORKLOAD, "asks");
    let watch = Watch::start(program.name());
    let mut running = program.start(&["on-term", "0"]);
    let pid = running.pid();
    assert_eq!(
        truth::spawn(&killer, &["kill", &pid.to_string(), "15"])
            .reap()
            .status,
        0
    );
    let ended = running.reap();
    assert_eq!(ended.status, 0);
    let (reason, row) = told(watch, pid, &ended);
    assert_eq!(reason, json!({"reason": "exit", "code": 0, "count": 1}));
    assert_eq!(
        (&row["reason"], &row["code"]),
        (&json!("exit"), &json!(0)),
        "{row}"
    );
}

#[test]
fn the_oom_killer() {
    let program = Program::new(WORKLOAD, "eater");
    let watch = Watch::start(program.name());
    let cgroup = MemoryCgroup::new(32 << 20);
    let mut running = program.start(&["eat"]);
    let pid = running.pid();
    cgroup.take(pid);
    running.tell("");
    let ended = running.reap();
    assert_eq!((ended.status, cgroup.oom_kills()), (libc::SIGKILL, 1));
    let (reason, row) = told(watch, pid, &ended);
    assert_eq!(reason, json!({"reason": "oom", "count": 1}));
    assert_no_sender(&row);
}

#[test]
fn exit_group_from_a_thread() {
    let program = Program::new(WORKLOAD, "thread");
    let watch = Watch::start(program.name());
    let running = program.start(&["thread-exits", "5"]);
    let pid = running.pid();
    let ended = running.finish();
    assert_eq!(ended.status, 0x500);
    let (reason, _) = told(watch, pid, &ended);
    assert_eq!(reason, json!({"reason": "exit", "code": 5, "count": 1}));
}

#[test]
fn a_leader_that_exits_first_with_another_code() {
    for args in [
        &["leader-first", "3", "4"][..],
        &["leader-first", "3", "4", "--group"],
    ] {
        let program = Program::new(WORKLOAD, "first");
        let mut watch = Watch::start(program.name());
        let running = program.start(args);
        let pid = running.pid();
        watch.expect(1, &[("starts", 1), ("exits", 0)]);
        let ended = running.finish();
        let (reason, _) = told(watch, pid, &ended);
        // Which of the two codes stands depends on the kernel: wait4's does.
        let code = ended.status >> 8;
        assert_eq!(
            reason,
            json!({"reason": "exit", "code": code, "count": 1}),
            "{args:?}"
        );
    }
}

#[test]
fn every_reason_has_its_own_count() {
    let program = Program::new(WORKLOAD, "mixed");
    let mut watch = Watch::start(program.name());
    let mut sum = truth::Truth::default();
    for args in [
        &["exit", "0"][..],
        &["exit", "1"],
        &["exit", "1"],
        &["signal", "6"],
        &["signal", "9"],
        &["signal", "9"],
        &["exit", "255"],
    ] {
        sum += truth::spawn(&program, args).reap().truth;
    }
    let tick = watch.settled(sum.last_reap);
    let group = watch.group(&tick);
    let counts = [0, 1, 255].map(|code| group.exits_with(code));
    assert_eq!(counts, [1, 2, 1], "{}", group.0);
    let counts = ["SIGABRT", "SIGKILL"].map(|name| group.signalled_with(name));
    assert_eq!(counts, [1, 2], "{}", group.0);
    assert_eq!(group.int("exits"), 7, "{}", group.0);
    checks::assert_equals_truth(group, &sum);
    // raise(3) is a signal that a process sent: to itself.
    let rows = watch.history();
    let aborted: Vec<&Value> = rows
        .iter()
        .filter(|row| row["event"] == "exit" && row["reason"] == "signal")
        .collect();
    assert_eq!(aborted.len(), 3, "{rows:?}");
    for row in aborted {
        assert_eq!(row["sender"]["pid"], row["pid"], "{row}");
    }
    watch.finish();
}
