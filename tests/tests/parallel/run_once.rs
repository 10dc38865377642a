//! `--run-once`: exit codes, texts, the JSON's shape and values, and that a single run beside a running
//! service disturbs neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use kevmon_tests::{
    checks,
    kevmon::{self, Daemon, METRICS},
    plugin_dir::PluginDir,
    receiver::Receiver,
    scratch,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// A pattern that matches nothing on this machine.
fn nobody() -> String {
    format!("^kvt-nobody-{}$", scratch::unique())
}

/// A port where nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port().to_string()
}

/// The tests of the default endpoint need it to be free.
fn assert_default_endpoint_free() {
    assert!(
        TcpStream::connect((Ipv4Addr::LOCALHOST, 4317)).is_err(),
        "missing prerequisite: something listens on port 4317 of this machine; stop it for the tests"
    );
}

#[test]
fn text_of_a_found_process() {
    assert_default_endpoint_free();
    let program = Program::new(WORKLOAD, "once");
    let running = program.start(&["idle"]);
    let output = kevmon::run_once(&["--process-name", &program.pattern()]);
    output.assert_code(0);
    assert!(output.stdout.contains('✓'), "no ✓:\n{}", output.stdout);
    assert!(!output.stdout.contains('✗'), "✗:\n{}", output.stdout);
    for text in [
        &program.plugin(),
        program.name(),
        &running.pid().to_string(),
        "  1 process  ",
        " CPU  ",
        " RSS  ",
        "no restarts",
        "ebpf",
    ] {
        assert!(output.stdout.contains(text), "no {text:?}:\n{}", output.stdout);
    }
    let about_export: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.contains("4317"))
        .collect();
    assert_eq!(
        about_export.len(),
        1,
        "lines about the export:\n{}",
        output.stdout
    );
}

#[test]
fn text_of_nothing_found() {
    let output = kevmon::run_once(&["--process-name", &nobody()]);
    output.assert_code(1);
    assert!(output.stdout.contains('✗'), "no ✗:\n{}", output.stdout);
    assert!(!output.stdout.contains('✓'), "✓:\n{}", output.stdout);
}

#[test]
fn one_found_of_two_is_found() {
    let program = Program::new(WORKLOAD, "once");
    let _running = program.start(&["idle"]);
    let output = kevmon::run_once(&["--process-name", &program.pattern(), "--process-name", &nobody()]);
    output.assert_code(0);
    assert!(
        output.stdout.contains('✓') && output.stdout.contains('✗'),
        "{}",
        output.stdout
    );
}

#[test]
fn json_is_one_object_with_every_metric_and_the_values_of_proc() {
    let program = Program::new(WORKLOAD, "once");
    let before = kevmon_tests::wait::unix_now();
    let running = program.start(&["mem", "33554432"]);
    let after = kevmon_tests::wait::unix_now();
    let begin = std::time::Instant::now();
    let output = kevmon::run_once(&["--output", "json", "--process-name", &program.pattern()]);
    assert!(
        begin.elapsed() < kevmon_tests::wait::patiently(Duration::from_secs(10)),
        "a single run took {:?}",
        begin.elapsed()
    );
    let tick = output.assert_code(0).json();
    assert_eq!(tick.source(), "ebpf");
    assert!(tick.complete(), "{}", tick.0);
    assert_eq!(
        tick.groups().count(),
        1,
        "with --process-name alone only the ad hoc plugin runs: {}",
        tick.0
    );
    let group = tick.expect_group(&program.plugin());
    let told = group.metrics();
    assert_eq!(
        METRICS
            .into_iter()
            .filter(|name| !told.contains_key(name))
            .collect::<Vec<_>>(),
        [""; 0],
        "absent"
    );

    let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", running.pid())).unwrap();
    let pages = |index| {
        proc("statm")
            .split(' ')
            .nth(index)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 4096
    };
    assert_eq!(group.int("memory_rss_total"), pages(1));
    assert_eq!(group.int("memory_vms_total"), pages(0));
    let fds = fs::read_dir(format!("/proc/{}/fd", running.pid()))
        .unwrap()
        .count();
    assert_eq!(group.int("open_file_descriptors"), u64::try_from(fds).unwrap());
    assert_eq!((group.int("process_count"), group.int("thread_count")), (1, 1));
    assert_eq!(
        (
            group.float("max_threads_per_process"),
            group.float("avg_threads_per_process")
        ),
        (1.0, 1.0)
    );
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kib = meminfo.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    let share = checks::float(pages(1)) / (checks::float(kib) * 1024.0);
    assert!(
        (group.float("memory_usage") / share - 1.0).abs() < 0.001,
        "memory_usage is a fraction: {}",
        group.0
    );
    assert!(group.float("cpu_usage") < 0.05, "an idle process: {}", group.0);
    let status = proc("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert_eq!(group.int("peak_rss_bytes"), peak.expect("a peak") * 1024);
    assert_eq!(
        (group.int("starts"), group.int("exits"), group.int("restarts")),
        (0, 0, 0),
        "{}",
        group.0
    );

    let members = group.members();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (members[0].pid, members[0].name.as_str()),
        (running.pid(), program.name())
    );
    // The kernel's start time counts from boot; what is added to it is read from a second clock.
    let slack = 20_000_000;
    assert!(
        (before - slack..after + slack).contains(&members[0].start_time),
        "{members:?}"
    );
    assert_eq!(
        group.0["service"]["id"],
        format!("kevmon_{}", program.plugin()).as_str()
    );
}

#[test]
fn an_endpoint_that_was_asked_for_must_answer() {
    let program = Program::new(WORKLOAD, "once");
    let _running = program.start(&["idle"]);
    let pattern = program.pattern();
    let port = closed_port();
    let output = kevmon::run_once(&[
        "--process-name",
        &pattern,
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ]);
    output.assert_code(3);
    assert!(
        output.stdout.contains('✓'),
        "the values are shown all the same:\n{}",
        output.stdout
    );
    assert!(
        format!("{}{}", output.stdout, output.stderr).contains(&port),
        "which endpoint: {output:?}"
    );

    let mut command = kevmon::command(&["--run-once", "--process-name", &pattern]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"));
    kevmon::finish(command).assert_code(3);

    let receiver = Receiver::start();
    let port = receiver.port();
    let output = kevmon::run_once(&[
        "--process-name",
        &pattern,
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ]);
    output.assert_code(0);
    assert!(receiver.requests() > 0, "nothing was pushed");
}

#[test]
fn the_proc_source_finds_too_and_never_says_complete() {
    let program = Program::new(WORKLOAD, "once");
    let running = program.start(&["fds", "20"]);
    let output = kevmon::run_once(&[
        "--source",
        "proc",
        "--output",
        "json",
        "--process-name",
        &program.pattern(),
    ]);
    let tick = output.assert_code(0).json();
    assert_eq!(tick.source(), "proc");
    assert!(!tick.complete(), "{}", tick.0);
    let group = tick.expect_group(&program.plugin());
    assert_eq!(group.members()[0].pid, running.pid());
    assert_eq!(group.members()[0].name, program.name());
    assert!(
        group.int("memory_rss_total") > 0 && group.int("open_file_descriptors") >= 20,
        "{}",
        group.0
    );
}

#[test]
fn the_shipped_plugin_watches_kevmon_itself() {
    let plugins = PluginDir::shipped();
    let args = [
        "--plugins-dir",
        plugins.to_str().unwrap(),
        "--plugin",
        "kevmon",
        "--output",
        "json",
    ];
    let output = kevmon::run_once(&args);
    let tick = output.assert_code(0).json();
    assert_eq!(tick.source(), "ebpf");
    let group = tick.expect_group("kevmon");
    for metric in [
        "cpu_time_ns",
        "memory_rss_total",
        "thread_count",
        "open_file_descriptors",
        "process_count",
    ] {
        assert!(group.int(metric) > 0, "{metric}: {}", group.0);
    }
}

#[test]
fn beside_a_running_service_disturbs_neither() {
    let program = Program::new(WORKLOAD, "beside");
    let pattern = program.pattern();
    let plugin = program.plugin();
    let receiver = Receiver::start();
    let port = receiver.port();
    let endpoint = [
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
        "--process-name",
        &pattern,
    ];
    let mut daemon = Daemon::start(&[&["--interval", "300ms"], &endpoint[..]].concat());
    let running = program.start(&["forks", "2"]);
    let limit = Duration::from_secs(5);
    daemon.wait_until("three", limit, |tick| {
        tick.expect_group(&plugin).int("process_count") == 3
    });
    for _ in 0..3 {
        let tick = kevmon::run_once(&[&["--output", "json"], &endpoint[..]].concat())
            .assert_code(0)
            .json();
        assert!(tick.complete(), "{}", tick.0);
        assert_eq!(tick.expect_group(&plugin).int("process_count"), 3);
    }
    // At the receiver: the single runs have series of their own and do not cut into the service's.
    let mut services = BTreeMap::new();
    for point in receiver.points().iter().filter(|point| point.metric == "starts") {
        let starts: &mut BTreeSet<u64> = services
            .entry(point.resource["service.instance.id"].clone())
            .or_default();
        starts.insert(point.start_time);
    }
    let mut lives: Vec<usize> = services.values().map(BTreeSet::len).collect();
    lives.sort_unstable();
    assert_eq!(lives, [1, 3], "start times by instance: {services:?}");
    let ended = running.finish();
    let end = ended.truth.last_reap;
    let tick = daemon.tick_after(end, Duration::from_millis(200), limit);
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (
            group.int("starts"),
            group.int("worker_starts"),
            group.int("exits")
        ),
        (1, 2, 3),
        "{}",
        group.0
    );
    checks::assert_sum_rule(daemon.ticks(), &plugin);
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

#[test]
fn descriptors_are_counted_however_large_their_table_is() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is ours, and as the call wants it.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!((read, raised), (0, 0));
    // Tables of 64, 256 and 4,096 bits are counted by the kernel side, larger ones by /proc.
    for count in ["5", "70", "4000", "4100"] {
        let program = Program::new(WORKLOAD, "fds");
        let running = program.start(&["fds", count]);
        let tick = kevmon::run_once(&["--output", "json", "--process-name", &program.pattern()])
            .assert_code(0)
            .json();
        let listed = fs::read_dir(format!("/proc/{}/fd", running.pid()))
            .unwrap()
            .count();
        let told = tick.expect_group(&program.plugin()).int("open_file_descriptors");
        assert_eq!(told, u64::try_from(listed).unwrap(), "of {count} files");
    }
}
