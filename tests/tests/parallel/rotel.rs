//! The export with a receiver that shares nothing with kevmon: `rotel` decodes what was pushed
//! and prints names, units, temporality, start times and resources.

use std::time::Duration;

use kevmon_tests::{
    kevmon, kevmon::Daemon, plugin_dir::PluginDir, push::plugin_file, rotel::Rotel, truth, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const CUMULATIVE: &str = "-> AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE";
const COUNTER: &[&str] = &["-> DataType: Sum", "-> IsMonotonic: true", CUMULATIVE];
const UP_DOWN: &[&str] = &["-> DataType: Sum", "-> IsMonotonic: false", CUMULATIVE];
const GAUGE: &[&str] = &["-> DataType: Gauge"];

/// The number that a printed point shows behind `label`.
fn number(block: &str, label: &str) -> u64 {
    let line = block
        .lines()
        .find_map(|line| line.trim().strip_prefix(label)?.strip_prefix(": "));
    line.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no {label} in {block}"))
}

#[test]
fn rotel_prints_what_kevmon_pushed() {
    let program = Program::new(WORKLOAD, "rotel");
    let folder = PluginDir::new();
    let file = format!(
        "[plugin]\nname = \"rotel\"\n[service]\nnamespace = \"Strategy₿\"\nprocess_name = \"{}\"\n\
         [monitoring]\ninterval = 1\n[otel_config]\nservice_name_template = \"Strategy₿.M8MulPrc\"\n",
        program.pattern()
    );
    folder.write("rotel", &file);
    let running = program.start(&["idle"]);
    let rotel = Rotel::start();
    let port = rotel.port();
    let args = [
        "--plugins-dir",
        folder.path(),
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ];
    let mut daemon = Daemon::start(&args);
    daemon.next_tick(LIMIT);
    let service = "-> service.name: Str(Strategy M8mulprc)";
    for (metric, unit, shape) in [
        ("cpu_usage", "%", GAUGE),
        ("memory_usage", "%", GAUGE),
        ("process_count", "processes", UP_DOWN),
        ("disk_read_bytes", "bytes", COUNTER),
        ("disk_write_bytes", "bytes", COUNTER),
        ("open_file_descriptors", "descriptors", UP_DOWN),
        ("thread_count", "threads", UP_DOWN),
        ("voluntary_ctx_switches", "switches", COUNTER),
        ("cpu_user_time_total", "seconds", COUNTER),
        ("memory_rss_total", "bytes", GAUGE),
    ] {
        let block = rotel.wait_for_metric(service, metric, LIMIT);
        let unit = format!("-> Unit: {unit}");
        for expected in [&[unit.as_str()], shape].concat() {
            assert!(
                block.lines().any(|line| line.trim() == expected),
                "{metric}: no {expected:?} in {block}"
            );
        }
        let (start, time) = (number(&block, "StartTimestamp"), number(&block, "Timestamp"));
        assert!(start <= time, "{metric}: start {start}, time {time}");
        if shape != GAUGE {
            assert!(start > 0, "{metric}: a sum without a start time");
        }
        daemon.wait_until("the tick of that push", LIMIT, |tick| tick.time() >= time);
        assert!(
            daemon.ticks().iter().any(|tick| tick.time() == time),
            "{metric}: no tick at {time}"
        );
    }
    let printed = rotel.printed();
    for attribute in [
        "-> service.namespace: Str(Strategy₿)",
        "-> kevmon.service.id: Str(strategy_m8mulprc)",
        "-> kevmon.service.original_name: Str(Strategy₿.M8MulPrc)",
        "-> service.instance.id: Str(",
        "-> host.name: Str(",
    ] {
        assert!(
            printed.contains(attribute),
            "no {attribute:?} in what rotel printed:\n{printed}"
        );
    }
    daemon.terminate();
    assert_eq!(running.finish().status, 0);
}

#[test]
fn a_single_run_pushes_too() {
    let program = Program::new(WORKLOAD, "rotel1");
    let _running = program.start(&["idle"]);
    let rotel = Rotel::start();
    let (pattern, port) = (program.pattern(), rotel.port());
    let args = [
        "--process-name",
        &pattern,
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ];
    kevmon::run_once(&args).assert_code(0);
    let id = format!("-> kevmon.service.id: Str(kevmon_{})", program.plugin());
    let block = rotel.wait_for_metric(&id, "process_count", LIMIT);
    assert_eq!(number(&block, "Value"), 1, "{block}");
    assert!(
        rotel.printed().matches("-> Name: process_count").count() == 1,
        "pushed once"
    );
    let time = number(&block, "Timestamp");
    assert!(
        time.abs_diff(kevmon_tests::wait::unix_now()) < 30_000_000_000,
        "time {time}"
    );
    let start = number(&block, "StartTimestamp");
    assert!(start > 0 && start <= time, "start {start}, time {time}");
    assert!(block.contains("-> Unit: processes"), "{block}");
    let resources = rotel.printed();
    assert!(
        resources
            .lines()
            .any(|line| line.contains("service.name: Str(Kevmon ")),
        "{resources}"
    );
}

#[test]
fn rotel_prints_the_events_that_kevmon_pushed() {
    let program = Program::new(WORKLOAD, "rotellog");
    let folder = PluginDir::new();
    let on = "[events]\nenabled = true";
    folder.write("rotellog", &plugin_file("rotellog", &program.pattern(), on));
    let rotel = Rotel::start();
    let port = rotel.port();
    let args = [
        "--plugins-dir",
        folder.path(),
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ];
    let daemon = Daemon::start(&args);
    let child = truth::spawn(&program, &["exit", "7"]);
    let pid = child.pid();
    child.reap();
    // Metrics have the reason too, but no pid.
    rotel.wait_for("-> kevmon.process.lifetime", LIMIT);
    let printed = rotel.printed();
    for text in [
        "kvt_company_rotellog".to_owned(),
        format!("-> process.pid: Int({pid})"),
        "-> process.exit.code: Int(7)".to_owned(),
        "-> kevmon.exit.reason: Str(exit)".to_owned(),
        format!("-> process.executable.name: Str({})", program.name()),
    ] {
        assert!(
            printed.contains(&text),
            "no {text:?} in what rotel printed:\n{printed}"
        );
    }
    daemon.terminate();
}
