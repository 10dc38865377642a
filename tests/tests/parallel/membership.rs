//! Who belongs to a group, from which moment and under which name: fork, exec, rename, scripts, long
//! names, odd bytes, kernel threads.

use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

use kevmon_tests::{
    checks, executable, kevmon, scratch,
    watch::Watch,
    workload::{self, Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn children_without_exec_are_worker_starts() {
    let program = Program::new(WORKLOAD, "forks");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["forks", "3"]);
    let tick = watch.expect(
        4,
        &[("starts", 1), ("worker_starts", 3), ("joins", 0), ("exits", 0)],
    );
    let mut told: Vec<i32> = watch
        .group(&tick)
        .members()
        .iter()
        .map(|m| m.pid.try_into().unwrap())
        .collect();
    told.sort_unstable();
    let mut pids = workload::pids_of(program.path());
    pids.sort_unstable();
    assert_eq!(told, pids);
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (
            group.int("exits"),
            group.int("process_count"),
            group.int("restarts")
        ),
        (4, 0, 0),
        "{}",
        group.0
    );
    // The workers were reaped by their parent, so its rusage holds theirs.
    checks::assert_cpu(group, &ended.truth);
    watch.finish();
}

#[test]
fn what_ran_before_the_watch_is_neither_a_start_nor_lost() {
    let program = Program::new(WORKLOAD, "before");
    let running = program.start(&["forks", "2"]);
    let mut watch = Watch::start(program.name());
    watch.expect(3, &[("starts", 0), ("worker_starts", 0), ("exits", 0)]);
    let ended = running.finish();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (
            group.int("starts"),
            group.int("exits"),
            group.int("process_count")
        ),
        (0, 3, 0),
        "{}",
        group.0
    );
    checks::assert_cpu(group, &ended.truth);
    watch.finish();
}

#[test]
fn an_exec_to_another_program_leaves_and_takes_its_usage_with_it() {
    let program = Program::new(WORKLOAD, "leave");
    let other = Program::new(WORKLOAD, "elsewhere");
    let mut watch = Watch::start(program.name());
    let mut running = program.start(&["exec", other.path_text(), "burn", "--cpu-ms", "300"]);
    watch.expect(1, &[("starts", 1)]);
    running.tell("");
    let tick = watch.expect(0, &[("leaves", 1), ("exits", 0), ("joins", 0)]);
    let before = watch.group(&tick).int("cpu_time_ns");
    let ended = running.reap();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert!(ended.truth.cpu_ns >= 300_000_000, "{:?}", ended.truth);
    assert_eq!(
        group.int("cpu_time_ns"),
        before,
        "what it did elsewhere: {}",
        group.0
    );
    assert!(before < 100_000_000, "{}", group.0);
    assert_eq!((group.int("exits"), group.int("leaves")), (0, 1), "{}", group.0);
    watch.finish();
}

#[test]
fn an_exec_to_the_watched_program_is_a_start() {
    let program = Program::new(WORKLOAD, "arrive");
    let other = Program::new(WORKLOAD, "elsewhere");
    let mut watch = Watch::start(program.name());
    let mut running = other.start(&["exec", program.path_text(), "idle"]);
    watch.expect(0, &[("starts", 0)]);
    assert_eq!(running.ask(""), "ready");
    watch.expect(1, &[("starts", 1), ("joins", 0), ("worker_starts", 0)]);
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 1), ("leaves", 0)]);
    watch.finish();
}

#[test]
fn an_exec_of_itself_is_one_life() {
    let program = Program::new(WORKLOAD, "chain");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["exec-chain", "3"]);
    // Of its four execs the first makes it a member; the other three are restarts in place (docs/metrics.md, `restarts`).
    watch.until("the chain", |group| group.int("reexecs") == 3);
    watch.expect(
        1,
        &[
            ("starts", 1),
            ("exits", 0),
            ("leaves", 0),
            ("joins", 0),
            ("restarts", 3),
        ],
    );
    let ended = running.finish();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!((group.int("starts"), group.int("exits")), (1, 1), "{}", group.0);
    checks::assert_equals_truth(group, &ended.truth);
    watch.finish();
}

#[test]
fn a_rename_joins_and_leaves() {
    let program = Program::new(WORKLOAD, "rename");
    let name = format!("k{}", scratch::unique());
    assert!(name.len() <= 15, "{name} does not fit comm");
    let mut watch = Watch::start(&name);
    let mut running = program.start(&["rename"]);
    let begin = kevmon_tests::wait::unix_now();
    // A rename right after the fork would be a start.
    watch.settled(begin + 1_000_000_000);
    running.rename(name.as_bytes());
    watch.expect(1, &[("starts", 0), ("joins", 1), ("worker_starts", 0)]);
    running.rename(b"kvt-elsewhere");
    watch.expect(0, &[("leaves", 1), ("exits", 0)]);
    running.rename(name.as_bytes());
    watch.expect(1, &[("joins", 2), ("leaves", 1)]);
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 1), ("joins", 2), ("leaves", 1), ("starts", 0)]);
    watch.finish();
}

#[test]
fn a_name_longer_than_comm_matches_in_full() {
    let program = Program::new(WORKLOAD, "a-service-name-much-longer-than-fifteen-bytes");
    let twin = Program::new(
        WORKLOAD,
        "a-service-name-much-longer-than-fifteen-bytes-and-other",
    );
    let mut watch = Watch::start(program.name());
    let (running, other) = (program.start(&["idle"]), twin.start(&["idle"]));
    let tick = watch.expect(1, &[("starts", 1)]);
    let members = watch.group(&tick).members();
    assert_eq!(
        (members[0].pid, members[0].name.as_str()),
        (running.pid(), program.name())
    );
    // The same from a snapshot.
    let output = kevmon::run_once(&["--output", "json", "--process-name", &program.pattern()]);
    let tick = output.assert_code(0).json();
    let found = tick.expect_group(&program.plugin()).members();
    assert_eq!((found[0].pid, &found[0].name), (members[0].pid, &members[0].name));
    // Each run relates the clock since boot to Unix time once, by reading one after the other.
    assert!(
        found[0].start_time.abs_diff(members[0].start_time) < 1_000_000,
        "{found:?}, {members:?}"
    );
    drop(other);
    drop(running);
    watch.expect(0, &[("starts", 1), ("exits", 1)]);
    watch.finish();
}

#[test]
fn matching_ignores_case_and_is_unanchored() {
    let program = Program::new(WORKLOAD, "MixedCase");
    let running = program.start(&["idle"]);
    let part = program.name().to_uppercase();
    let part = part.strip_prefix("KVT-").unwrap();
    let output = kevmon::run_once(&["--output", "json", "--process-name", part]);
    let tick = output.assert_code(0).json();
    let members = tick.groups().next().unwrap().members();
    assert_eq!(
        members.iter().map(|member| member.pid).collect::<Vec<_>>(),
        [running.pid()]
    );
}

#[test]
fn a_script_matches_by_its_own_name() {
    let script = Program::script("script", "#!/bin/sh\necho ready\nread line\n");
    let mut watch = Watch::start(script.name());
    let mut running = script.start(&[]);
    watch.expect(1, &[("starts", 1), ("worker_starts", 0)]);
    running.release();
    running.reap();
    watch.expect(0, &[("exits", 1)]);
    watch.finish();
}

#[test]
fn argv0_is_a_name() {
    let program = Program::new(WORKLOAD, "plain");
    let arg0 = format!("kvt-argv0-{}", scratch::unique());
    let mut watch = Watch::start(&arg0);
    let running = program.start_as(&arg0, &["idle"]);
    let tick = watch.expect(1, &[("starts", 1)]);
    assert_eq!(watch.group(&tick).members()[0].pid, running.pid());
    assert_eq!(running.finish().status, 0);
    watch.expect(0, &[("exits", 1)]);
    watch.finish();
}

#[test]
fn names_that_are_not_utf8_are_shown_and_harm_nothing() {
    let program = Program::new(WORKLOAD, "bytes");
    let stem = program.name().as_bytes();
    let name = [stem, b"-\xff\xfe"].concat();
    let path = program.directory().join(OsStr::from_bytes(&name));
    executable::copy(program.path(), &path);
    let pattern = format!("^{}-", program.name());
    let mut daemon = kevmon::Daemon::start(&["--interval", "200ms", "--process-name", &pattern]);
    let mut command = Command::new(&path);
    command
        .arg0(OsString::from(OsStr::from_bytes(b"kvt\xff\xfe")))
        .arg("rename");
    let mut running = Running::start(command);
    let limit = std::time::Duration::from_secs(10);
    let plugin = workload::adhoc_plugin(program.name());
    let live = |tick: &kevmon_tests::tick::Tick| tick.expect_group(&plugin).int("process_count") == 1;
    let tick = daemon.wait_until("the process", limit, live);
    let shown = tick.expect_group(&plugin).members()[0].name.clone();
    assert_eq!(shown, String::from_utf8_lossy(&name), "the shown name");
    running.rename(b"\xff\xfe\xfd kvt");
    let since = kevmon_tests::wait::unix_now();
    let tick = daemon.tick_after(since, std::time::Duration::ZERO, limit);
    assert!(live(&tick), "the executable's name still matches: {}", tick.0);
    let ended = running.finish();
    let tick = daemon.tick_after(
        ended.truth.last_reap,
        std::time::Duration::from_millis(500),
        limit,
    );
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (group.int("starts"), group.int("exits"), group.int("leaves")),
        (1, 1, 0),
        "{}",
        group.0
    );
    checks::assert_complete(daemon.ticks());
    let output = kevmon::run_once(&["--process-name", &pattern]);
    output.assert_code(1);
    daemon.terminate();
}

#[test]
fn kernel_threads_can_be_watched() {
    let output = kevmon::run_once(&["--output", "json", "--process-name", "^kthreadd$"]);
    let tick = output.assert_code(0).json();
    let group = tick.expect_group("kthreadd");
    assert_eq!(group.int("process_count"), 1, "{}", group.0);
    assert_eq!(group.members()[0].pid, 2, "{}", group.0);
    assert_eq!(
        group
            .get("memory_rss_total")
            .map_or(0, |rss| rss.as_u64().unwrap()),
        0,
        "{}",
        group.0
    );
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    // Every kernel thread and process of the machine at once.
    let output = kevmon::run_once(&["--output", "json", "--process-name", "."]);
    let tick = output.assert_code(0).json();
    assert!(
        tick.groups().next().unwrap().int("process_count") > 10,
        "{}",
        tick.0
    );
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}
