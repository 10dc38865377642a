//! Processes that live or end in unusual ways: threads, a leader that goes first, daemons, vfork,
//! zombies, several groups at once.

use std::time::Duration;

use kevmon_tests::{checks, kevmon::Daemon, truth::Truth, watch::Watch, workload, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn eight_threads_that_one_exit_group_ends_are_one_process() {
    let program = Program::new(WORKLOAD, "threads");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["threads", "8", "--cpu-ms", "20"]);
    watch.expect(1, &[("starts", 1), ("worker_starts", 0), ("thread_count", 9)]);
    let tick = watch.until("the CPU time of live threads", |group| {
        group.int("cpu_time_ns") >= 160_000_000
    });
    let group = watch.group(&tick);
    assert_eq!(
        (
            group.int("max_threads_per_process"),
            group.int("min_threads_per_process")
        ),
        (9, 9),
        "{}",
        group.0
    );
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (group.int("starts"), group.int("worker_starts")),
        (1, 0),
        "{}",
        group.0
    );
    checks::assert_equals_truth(group, &ended.truth);
    watch.finish();
}

#[test]
fn a_leader_that_exits_first_does_not_end_its_process() {
    let program = Program::new(WORKLOAD, "leader");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["threads", "8", "--cpu-ms", "10", "--leader-exits-first"]);
    watch.expect(1, &[("starts", 1), ("exits", 0)]);
    let tick = watch.settled(kevmon_tests::wait::unix_now());
    let group = watch.group(&tick);
    assert_eq!(
        (group.int("process_count"), group.int("exits")),
        (1, 0),
        "the leader alone is gone: {}",
        group.0
    );
    let ended = running.finish();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (group.int("starts"), group.int("worker_starts")),
        (1, 0),
        "{}",
        group.0
    );
    checks::assert_equals_truth(group, &ended.truth);
    watch.finish();
}

#[test]
fn a_daemon_that_forks_twice_is_one_start_and_no_restart() {
    let program = Program::new(WORKLOAD, "daemon");
    let mut watch = Watch::start(program.name());
    let mut running = program.start(&["double-fork"]);
    assert_eq!(running.reap().status, 0);
    let tick = watch.until("the daemon alone", |group| group.int("exits") == 2);
    let group = watch.group(&tick);
    for (metric, value) in [
        ("process_count", 1),
        ("starts", 1),
        ("worker_starts", 2),
        ("restarts", 0),
    ] {
        assert_eq!(group.int(metric), value, "{metric}: {}", group.0);
    }
    let pids = workload::pids_of(program.path());
    assert_eq!(pids, [i32::try_from(group.members()[0].pid).unwrap()]);
    running.release();
    watch.expect(0, &[("exits", 3), ("restarts", 0)]);
    // Started again as a whole, it is a restart: one, whichever of its processes came and went.
    let mut again = program.start(&["double-fork"]);
    assert_eq!(again.reap().status, 0);
    let tick = watch.until("the second daemon alone", |group| group.int("exits") == 5);
    assert_eq!(watch.group(&tick).int("starts"), 2, "{}", tick.0);
    assert_eq!(watch.group(&tick).int("restarts"), 1, "{}", tick.0);
    again.release();
    watch.expect(0, &[("exits", 6)]);
    watch.finish();
}

#[test]
fn a_vfork_child_shares_its_parents_memory_which_counts_once() {
    const MEMORY: u64 = 64 << 20;
    let program = Program::new(WORKLOAD, "vfork");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["vfork-hold", &MEMORY.to_string()]);
    let tick = watch.expect(2, &[("starts", 1), ("worker_starts", 1)]);
    let group = watch.group(&tick);
    let rss = group.int("memory_rss_total");
    assert!(
        (MEMORY..MEMORY * 3 / 2).contains(&rss),
        "RSS of {rss}: {}",
        group.0
    );
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = watch.settled(ended.truth.last_reap);
    checks::assert_cpu(watch.group(&tick), &ended.truth);
    watch.expect(0, &[("exits", 2)]);
    watch.finish();
}

#[test]
fn a_zombie_is_not_live() {
    let program = Program::new(WORKLOAD, "zombie");
    let mut watch = Watch::start(program.name());
    let running = program.start(&["zombie"]);
    watch.expect(
        1,
        &[
            ("starts", 1),
            ("worker_starts", 1),
            ("exits", 1),
            ("thread_count", 1),
        ],
    );
    // A snapshot sees it too, and does not count it.
    let pattern = program.pattern();
    for source in ["ebpf", "proc"] {
        let args = ["--output", "json", "--source", source, "--process-name", &pattern];
        let tick = kevmon_tests::kevmon::run_once(&args).assert_code(0).json();
        assert_eq!(
            tick.expect_group(&program.plugin()).int("process_count"),
            1,
            "{source}: {}",
            tick.0
        );
    }
    let ended = running.finish();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    assert_eq!(
        (group.int("exits"), group.int("process_count")),
        (2, 0),
        "{}",
        group.0
    );
    watch.finish();
}

#[test]
fn memory_and_descriptors_are_those_of_the_live_members() {
    const MEMORY: u64 = 48 << 20;
    let program = Program::new(WORKLOAD, "gauges");
    let mut watch = Watch::start(program.name());
    let memory = program.start(&["mem", &MEMORY.to_string()]);
    let files = program.start(&["fds", "100"]);
    let tick = watch.expect(2, &[("starts", 2)]);
    let group = watch.group(&tick);
    let (rss, fds) = (group.int("memory_rss_total"), group.int("open_file_descriptors"));
    assert!((MEMORY..MEMORY + (16 << 20)).contains(&rss), "RSS of {rss}");
    assert!(
        (106..=112).contains(&fds),
        "{fds} descriptors: 100, and the standard ones of two"
    );
    assert!(group.int("peak_rss_bytes") >= MEMORY, "{}", group.0);
    assert_eq!(memory.finish().status, 0);
    let tick = watch.expect(1, &[("exits", 1)]);
    let group = watch.group(&tick);
    assert!(group.int("memory_rss_total") < MEMORY / 2, "{}", group.0);
    assert!(
        group.int("peak_rss_bytes") >= MEMORY,
        "the peak stays: {}",
        group.0
    );
    assert_eq!(files.finish().status, 0);
    watch.expect(0, &[("exits", 2)]);
    watch.finish();
}

#[test]
fn a_process_of_two_plugins_counts_in_both() {
    let program = Program::new(WORKLOAD, "both");
    let (exact, loose) = (program.pattern(), program.name().to_owned());
    let args = [
        "--interval",
        "300ms",
        "--process-name",
        &exact,
        "--process-name",
        &loose,
    ];
    let mut daemon = Daemon::start(&args);
    let mut truth = Truth::default();
    for _ in 0..5 {
        truth += kevmon_tests::truth::spawn(&program, &["burn", "--cpu-ms", "10"])
            .reap()
            .truth;
    }
    let tick = daemon.tick_after(
        truth.last_reap,
        Duration::from_millis(500),
        Duration::from_secs(5),
    );
    // Both patterns sanitise to one name; the second plugin is told apart by a suffix.
    let groups: Vec<_> = tick.groups().collect();
    assert_eq!(groups.len(), 2, "{}", tick.0);
    assert_ne!(groups[0].0["plugin"], groups[1].0["plugin"]);
    for group in groups {
        assert_eq!(group.int("starts"), 5, "{}", group.0);
        checks::assert_equals_truth(group, &truth);
    }
    daemon.terminate();
}

#[test]
fn bytes_of_reaped_children_count_where_they_were_written_and_once() {
    // The kernel adds a reaped child's io to its parent's signal->ioac (kernel/exit.c, wait_task_zombie),
    // and /proc/<pid>/io shows the sum.
    const BYTES: u64 = 1 << 20;
    let parent = Program::new(WORKLOAD, "reaper");
    let child = Program::new(WORKLOAD, "writer");
    let file = parent.directory().join("out");
    let file = file.to_str().unwrap();
    let work = ["burn", "--write-bytes", &BYTES.to_string(), "--file", file];
    let mut watch = Watch::start(parent.name());
    let mut running = parent.start(&[&["storm", "5", "1", child.path_text()], &work[..]].concat());
    running.ask("go");
    let tick = watch.settled(kevmon_tests::wait::unix_now());
    let group = watch.group(&tick);
    assert!(
        group.int("disk_write_bytes") < BYTES,
        "the children are no members: {}",
        group.0
    );
    drop(running);
    watch.finish();

    let mut watch = Watch::start(parent.name());
    let mut running = parent.start(&[&["storm", "5", "1", parent.path_text()], &work[..]].concat());
    running.ask("go");
    let ended = running.finish();
    let tick = watch.settled(ended.truth.last_reap);
    let group = watch.group(&tick);
    // wait4's rusage of the parent holds its children's too.
    assert_eq!(
        group.int("disk_write_bytes"),
        ended.truth.write_bytes,
        "{}",
        group.0
    );
    assert_eq!(
        (
            group.int("starts"),
            group.int("worker_starts"),
            group.int("exits")
        ),
        (1, 5, 6),
        "{}",
        group.0
    );
    watch.finish();
}
