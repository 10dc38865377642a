//! Which ended process a start replaces, where a group has several roots or several programs.

use std::{thread, time::Duration};

use kevmon_tests::{
    history::{row, rows},
    kevmon::Daemon,
    plugin_dir::PluginDir,
    push::plugin_file,
    scratch::Scratch,
    tick::Tick,
    wait,
    watch::Watch,
    workload::{Program, Running},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(10);

/// A script that lives until its input is closed.
const SCRIPT: &str = "#!/bin/sh\necho ready\nread line\n";

/// Watches one group of several programs.
fn watch(programs: &[&Program]) -> (PluginDir, Watch) {
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    let folder = PluginDir::new();
    let pattern = format!("^({})$", names.join("|"));
    folder.write("pairs", &plugin_file("pairs", &pattern, ""));
    let watch = Watch::plugin(&folder, "pairs");
    (folder, watch)
}

/// A root's end and the start that replaces it, `pause` later. Bounds of its downtime, ns: the least and the most.
fn restart(program: &Program, running: &mut Running, signal: i32, pause: u64) -> (u64, u64) {
    let before_end = wait::unix_now();
    running.signal(signal);
    let reaped = running.reap().truth.last_reap;
    thread::sleep(Duration::from_millis(pause));
    let before_start = wait::unix_now();
    *running = program.start(&["idle"]);
    (before_start - reaped, wait::unix_now() - before_end)
}

fn assert_downtime(watch: &Watch, tick: &Tick, bounds: &[(u64, u64)]) {
    let told = watch.group(tick).downtime();
    let (least, most) = bounds
        .iter()
        .fold((0, 0), |sum, bounds| (sum.0 + bounds.0, sum.1 + bounds.1));
    eprintln!("downtimes {told:?}, between {least} and {most} in all");
    assert_eq!(told.count, bounds.len() as u64, "{}", tick.0);
    assert!(
        (least..=most).contains(&told.sum),
        "{told:?} outside {least} to {most}"
    );
}

#[test]
fn a_worker_that_ended_for_good_is_not_replaced_by_a_web_server() {
    let (web, worker) = (Program::new(WORKLOAD, "web"), Program::new(WORKLOAD, "worker"));
    let (_folder, mut watch) = watch(&[&web, &worker]);
    let (mut web_1, mut worker_1) = (web.start(&["idle"]), worker.start(&["idle"]));
    watch.expect(2, &[("starts", 2), ("respawns", 0)]);
    worker_1.signal(libc::SIGTERM);
    worker_1.reap();
    thread::sleep(Duration::from_secs(4));
    let old = web_1.pid();
    let bounds = restart(&web, &mut web_1, libc::SIGKILL, 300);
    let tick = watch.until("web's restart", |group| group.int("respawns") == 1);
    assert_downtime(&watch, &tick, &[bounds]);
    assert!(watch.group(&tick).downtime().sum < 2_000_000_000, "{}", tick.0);
    let rows = watch.history();
    let restart = row(&rows, "restart", web_1.pid());
    let previous = &restart["previous"];
    assert_eq!(previous["pid"], old, "{restart}");
    assert_eq!(previous["name"], web.name(), "{restart}");
    assert_eq!(previous["signal_name"], "SIGKILL", "{restart}");
    assert_eq!(previous["sender"]["pid"], std::process::id(), "{restart}");
    assert_eq!(previous["ended_ago_ns"], restart["downtime_ns"], "{restart}");
    assert_eq!(web_1.finish().status, 0);
    watch.finish();
}

#[test]
fn failures_of_several_programs_are_no_crash_loop() {
    let programs = [
        Program::new(WORKLOAD, "one"),
        Program::new(WORKLOAD, "two"),
        Program::new(WORKLOAD, "three"),
    ];
    let (_folder, mut watch) = watch(&[&programs[0], &programs[1], &programs[2]]);
    let mut running: Vec<Running> = programs.iter().map(|program| program.start(&["idle"])).collect();
    watch.expect(3, &[("starts", 3)]);
    for round in 0..2 {
        for (program, running) in programs.iter().zip(&mut running) {
            restart(program, running, libc::SIGKILL, 20);
        }
        let told = (round + 1) * 3;
        let tick = watch.until("their restarts", |group| group.int("respawns") == told);
        assert!(!watch.group(&tick).crash_loop(), "{told} restarts: {}", tick.0);
    }
    restart(&programs[1], &mut running[1], libc::SIGKILL, 20);
    let tick = watch.until("the third of one program", |group| group.int("respawns") == 7);
    assert!(watch.group(&tick).crash_loop(), "{}", tick.0);
    for running in running {
        assert_eq!(running.finish().status, 0);
    }
    watch.finish();
}

#[test]
fn a_scale_down_does_not_shift_the_restarts_that_follow_it() {
    let program = Program::new(WORKLOAD, "scaled");
    let (_folder, mut watch) = watch(&[&program]);
    let mut running: Vec<Running> = (0..4).map(|_| program.start(&["idle"])).collect();
    watch.expect(4, &[("starts", 4)]);
    for mut stopped in running.split_off(2) {
        stopped.signal(libc::SIGTERM);
        stopped.reap();
    }
    watch.expect(2, &[("exits", 2), ("respawns", 0)]);
    thread::sleep(Duration::from_secs(2));
    let mut bounds = Vec::new();
    for round in 0..5 {
        let crashing = &mut running[round % 2];
        let old = crashing.pid();
        bounds.push(restart(&program, crashing, libc::SIGABRT, 500));
        let new = crashing.pid();
        let count = bounds.len() as u64;
        let tick = watch.until("the next restart", |group| group.int("respawns") == count);
        assert_downtime(&watch, &tick, &bounds);
        let rows = watch.history();
        assert_eq!(row(&rows, "restart", new)["previous"]["pid"], old, "{rows:?}");
    }
    for running in running {
        assert_eq!(running.finish().status, 0);
    }
    watch.finish();
}

#[test]
fn scripts_of_one_interpreter_are_programs_of_their_own() {
    let (one, other) = (Program::script("one", SCRIPT), Program::script("other", SCRIPT));
    let third_script = Program::script("new", SCRIPT);
    let (_folder, mut watch) = watch(&[&one, &other, &third_script]);
    let (first, second) = (one.start(&[]), other.start(&[]));
    watch.expect(2, &[("starts", 2)]);
    let old = first.pid();
    first.finish();
    watch.expect(1, &[("exits", 1)]);
    second.finish();
    watch.expect(0, &[("exits", 2)]);
    // A new script replaces neither, however long they have been gone.
    let new = third_script.start(&[]);
    let tick = watch.until("a new script", |group| group.int("starts") == 3);
    assert_eq!(watch.group(&tick).int("respawns"), 0, "{}", tick.0);
    new.finish();
    watch.expect(0, &[("exits", 3)]);
    let third = one.start(&[]);
    let tick = watch.until("one restart", |group| group.int("respawns") == 1);
    let rows = watch.history();
    let restart = row(&rows, "restart", third.pid());
    assert_eq!(restart["previous"]["pid"], old, "{restart}; {}", tick.0);
    assert_eq!(restart["previous"]["name"], one.name(), "{restart}");
    third.finish();
    watch.finish();
}

#[test]
fn a_rolling_hand_over_names_the_new_process() {
    let program = Program::new(WORKLOAD, "rolling");
    let (_folder, mut watch) = watch(&[&program]);
    let old = program.start(&["idle"]);
    watch.expect(1, &[("starts", 1)]);
    // Only what has been up for a second has a successor that starts before its end.
    thread::sleep(Duration::from_millis(1_200));
    let new = program.start(&["idle"]);
    let (old_pid, new_pid) = (old.pid(), new.pid());
    assert_eq!(old.finish().status, 0);
    let tick = watch.until("the hand-over", |group| group.int("respawns") == 1);
    let told = watch.group(&tick).downtime();
    assert_eq!((told.count, told.sum), (1, 0), "{}", tick.0);
    let rows = watch.history();
    let restart = row(&rows, "restart", new_pid);
    assert_eq!(restart["previous"]["pid"], old_pid, "{restart}");
    assert_eq!(restart["previous"]["code"], 0, "{restart}");
    assert_eq!(restart["time"], row(&rows, "start", new_pid)["time"], "{rows:?}");
    assert_eq!(new.finish().status, 0);
    watch.finish();
}

#[test]
fn an_end_that_kevmon_saw_before_its_own_restart_has_a_successor() {
    let program = Program::new(WORKLOAD, "kept");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let start = || {
        Daemon::start(&[
            "--interval",
            "200ms",
            "--process-name",
            &program.pattern(),
            "--metadata-db-path",
            database.to_str().expect("a UTF-8 path"),
        ])
    };
    let plugin = program.plugin();
    let mut daemon = start();
    let mut old = program.start(&["idle"]);
    daemon.wait_until("its start", LIMIT, |tick| {
        tick.expect_group(&plugin).int("starts") == 1
    });
    old.signal(libc::SIGTERM);
    let ended = old.reap().truth.last_reap;
    daemon.wait_until("its end", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == 1
    });
    daemon.terminate();
    let mut daemon = start();
    let least = wait::unix_now() - ended;
    let new = program.start(&["idle"]);
    let tick = daemon.wait_until("its successor", LIMIT, |tick| {
        tick.expect_group(&plugin).int("starts") == 2
    });
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (
            group.int("respawns"),
            group.int("unpaired_starts"),
            group.downtime().count
        ),
        (1, 0, 0),
        "{}",
        group.0
    );
    let rows = rows(&database, None);
    let restart = row(&rows, "restart", new.pid());
    assert_eq!(restart["downtime_ns"], Value::Null, "{restart}");
    assert_eq!(restart["previous"]["pid"], old.pid(), "{restart}");
    assert_eq!(restart["previous"]["signal_name"], "SIGTERM", "{restart}");
    let ago = restart["previous"]["ended_ago_ns"].as_u64();
    assert!(ago.is_some_and(|ago| ago >= least), "{least}: {restart}");
    assert_eq!(new.finish().status, 0);
    daemon.terminate();
}
