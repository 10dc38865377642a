//! `[accounting] exact_ends`: dying threads tell their processes' totals, whoever reaps them, and when.
#![expect(
    clippy::expect_used,
    reason = "a failed assumption in a test is a failed test"
)]

use std::time::Duration;

use kevmon_tests::{
    kevmon::Daemon,
    scratch::Scratch,
    tick::{Group, Tick},
    truth::{self, Truth},
    wait,
    workload::{self, Program},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(60);

/// A kevmon with these settings that watches `program`.
fn daemon(program: &Program, exact_ends: &str) -> (Daemon, Scratch) {
    let scratch = Scratch::new();
    let settings = scratch.path().join("kevmon.toml");
    let text = format!("schema = 1\n[accounting]\nexact_ends = \"{exact_ends}\"\n");
    std::fs::write(&settings, text).expect("a settings file");
    let pattern = program.pattern();
    let settings = settings.to_str().expect("UTF-8");
    let daemon = Daemon::start(&[
        "--config",
        settings,
        "--interval",
        "200ms",
        "--process-name",
        &pattern,
    ]);
    (daemon, scratch)
}

/// Has `count` orphans of `program` made, and waits until all have ended for kevmon, too.
fn orphans(daemon: &mut Daemon, program: &Program, count: u64, reaper: &str) -> (Truth, Tick) {
    let maker = Program::new(WORKLOAD, "maker");
    let number = count.to_string();
    let path = program.path_text();
    let mut running = maker.start(&[
        "orphans", &number, reaper, path, "burn", "--cpu-ms", "1", "--sleeps", "2",
    ]);
    let truth = truth::from_storm(&running.ask("go"), wait::unix_now());
    let plugin = program.plugin();
    let tick = daemon.wait_until("all orphans", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == count
    });
    running.finish();
    (truth, tick)
}

fn unsettled(group: Group<'_>) -> u64 {
    group.0["unsettled"].as_u64().expect("a number")
}

#[test]
fn orphans_that_process_1_reaps_have_their_totals_at_once() {
    const ORPHANS: u64 = 2_000;
    let program = Program::new(WORKLOAD, "orphan");
    let (mut daemon, _settings) = daemon(&program, "always");
    orphans(&mut daemon, &program, ORPHANS, "init");
    let plugin = program.plugin();
    // Whether or not a free comes: what died has told its totals.
    // (Unless it is being reaped at that very moment: then the free is waited for.)
    let tick = daemon.wait_until("all totals", Duration::from_secs(5), |tick| {
        unsettled(tick.expect_group(&plugin)) == 0
    });
    let group = tick.expect_group(&plugin);
    assert!(group.int("cpu_time_ns") >= ORPHANS * 1_000_000, "{}", group.0);
    // Each leaves its CPU for the last time at least; a sleep that is over before it begins is none.
    let switches = group.int("voluntary_ctx_switches") + group.int("nonvoluntary_ctx_switches");
    assert!(switches >= ORPHANS * 2, "{}", group.0);
    daemon.terminate();
}

#[test]
fn what_dying_threads_tell_is_what_wait4_tells() {
    let program = Program::new(WORKLOAD, "orphan-known");
    let (mut daemon, _settings) = daemon(&program, "always");
    let (truth, _) = orphans(&mut daemon, &program, 200, "subreaper");
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_millis(300), LIMIT);
    let group = tick.expect_group(&program.plugin());
    assert_eq!(unsettled(group), 0, "{}", group.0);
    let cpu = group.int("cpu_time_ns");
    // The reaper may be faster than the last switch: 10 µs of each.
    assert!(
        cpu + 2_000 * truth.count >= truth.cpu_ns
            && cpu <= truth.cpu_ns + truth.cpu_ns / 1000 + 50_000 * truth.count,
        "{cpu} of {}: {}",
        truth.cpu_ns,
        group.0
    );
    for (metric, known) in [
        ("voluntary_ctx_switches", truth.voluntary),
        ("nonvoluntary_ctx_switches", truth.involuntary),
    ] {
        let told = group.int(metric);
        assert!(told.abs_diff(known) <= truth.count, "{metric}: {told} of {known}");
    }
    daemon.terminate();
}

#[test]
fn a_process_of_many_threads_tells_its_totals_once() {
    let program = Program::new(WORKLOAD, "threads-exact");
    let (mut daemon, _settings) = daemon(&program, "always");
    let running = program.start(&["threads", "8", "--cpu-ms", "20"]);
    let ended = running.finish();
    let leader = program.start(&["threads", "8", "--cpu-ms", "20", "--leader-exits-first"]);
    let second = leader.finish();
    let plugin = program.plugin();
    let tick = daemon.wait_until("both ends", LIMIT, |tick| {
        let group = tick.expect_group(&plugin);
        group.int("exits") == 2 && unsettled(group) == 0
    });
    let group = tick.expect_group(&plugin);
    let known = ended.truth.cpu_ns + second.truth.cpu_ns;
    assert!(
        group.int("cpu_time_ns").abs_diff(known) < known / 100,
        "{known}: {}",
        group.0
    );
    assert_eq!((group.int("starts"), group.int("exits")), (2, 2), "{}", group.0);
    assert_eq!(workload::pids_of(program.path()), [] as [i32; 0]);
    daemon.terminate();
}

#[test]
fn without_them_it_is_said_that_totals_are_missing_or_they_come_by_the_free() {
    let program = Program::new(WORKLOAD, "orphan-never");
    let (mut daemon, _settings) = daemon(&program, "never");
    let (_, tick) = orphans(&mut daemon, &program, 50, "init");
    let group = tick.expect_group(&program.plugin());
    assert!(group.int("exits") == 50, "{}", group.0);
    assert!(!daemon.stderr().contains("exact ends"), "{}", daemon.stderr());
    daemon.terminate();
}
