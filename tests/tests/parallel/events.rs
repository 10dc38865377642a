//! Lifecycle events: live in the terminal, and as log records at an OTLP receiver.

use std::time::Duration;

use kevmon_tests::{
    checks::float,
    live::Live,
    logs::Log,
    plugin_dir::PluginDir,
    push::{LIMIT, plugin_file, points_of, push_to},
    receiver::Receiver,
    truth, wait,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

fn number(event: &Value, key: &str) -> u64 {
    event[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is no integer in {event}"))
}

#[test]
fn a_life_is_shown_as_it_happens() {
    let (program, probe) = (Program::new(WORKLOAD, "shown"), Program::new(WORKLOAD, "probe"));
    let killer = Program::new(WORKLOAD, "killer");
    let mut live = Live::start(&[&program.pattern()], &probe);
    let begin = wait::unix_now();
    let child = truth::spawn(&program, &["burn", "--cpu-ms", "30", "--life-ms", "400"]);
    let pid = child.pid();
    let start = live.event("start", pid);
    assert_eq!(start["name"], program.name(), "{start}");
    assert_eq!(start["parent_pid"], std::process::id(), "{start}");
    assert!(
        (begin..wait::unix_now()).contains(&number(&start, "time")),
        "{start}"
    );
    let truth = child.reap().truth;
    let exit = live.event("exit", pid);
    assert_eq!(
        (&exit["reason"], &exit["code"]),
        (&json!("exit"), &json!(0)),
        "{exit}"
    );
    let lifetime = number(&exit, "lifetime_ns");
    assert!(
        (400_000_000..truth.last_reap - begin).contains(&lifetime),
        "{exit}"
    );
    let error = float(number(&exit, "cpu_time_ns")) / float(truth.cpu_ns) - 1.0;
    assert!(
        error.abs() < 0.01,
        "CPU {:+.2} % off {truth:?}: {exit}",
        error * 100.0
    );
    let peak = number(&exit, "peak_rss_bytes");
    assert!(
        (200 << 10..=truth.max_rss_bytes).contains(&peak),
        "{truth:?}: {exit}"
    );
    assert!(
        (begin..=truth.last_reap).contains(&number(&exit, "time")),
        "an exit's time is the end's: {exit}"
    );

    let mut again = program.start(&["idle"]);
    let pid = again.pid();
    live.event("start", pid);
    let restart = live.event("restart", pid);
    assert_eq!(restart["name"], program.name(), "{restart}");
    let previous = &restart["previous"];
    assert_eq!(previous["pid"], start["pid"], "{restart}");
    assert_eq!(previous["start_time"], start["start_time"], "{restart}");
    assert_eq!(previous["name"], program.name(), "{restart}");
    assert_eq!(
        (&previous["reason"], &previous["code"]),
        (&json!("exit"), &json!(0))
    );
    assert_eq!(previous["ended_ago_ns"], restart["downtime_ns"], "{restart}");
    let assassin = truth::spawn(&killer, &["kill", &pid.to_string(), "9"]);
    let assassins_pid = assassin.pid();
    assassin.reap();
    assert_eq!(again.reap().status, libc::SIGKILL);
    let exit = live.event("exit", pid);
    assert_eq!(exit["reason"], "signal", "{exit}");
    assert_eq!(exit["signal"].as_u64().unwrap_or(9), 9, "{exit}");
    assert_eq!(exit["core_dumped"], false, "{exit}");
    assert_eq!(exit["sender"]["pid"], assassins_pid, "{exit}");
    assert_eq!(exit["sender"]["name"], killer.name()[..15], "{exit}");
    // The killer was not asked for.
    let shown = [program.name(), probe.name()];
    let others: Vec<_> = live
        .seen()
        .iter()
        .filter(|event| !shown.contains(&event["name"].as_str().unwrap_or_default()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    live.stop(libc::SIGTERM);
}

#[test]
fn without_a_name_it_shows_everybody() {
    let (one, other) = (Program::new(WORKLOAD, "one"), Program::new(WORKLOAD, "other"));
    let mut live = Live::start(&[], &Program::new(WORKLOAD, "probe"));
    for (program, code) in [(&one, 3), (&other, 4)] {
        let child = truth::spawn(program, &["exit", &code.to_string()]);
        let pid = child.pid();
        child.reap();
        assert_eq!(live.event("start", pid)["name"], program.name());
        let exit = live.event("exit", pid);
        assert_eq!(
            (&exit["reason"], &exit["code"]),
            (&json!("exit"), &json!(code)),
            "{exit}"
        );
    }
    live.stop(libc::SIGINT);
}

#[test]
fn it_ends_when_nobody_reads_it() {
    let probe = Program::new(WORKLOAD, "probe");
    let live = Live::start(&[&probe.pattern()], &probe);
    live.close(&probe);
}

/// The log record of this event and pid, once it has come.
fn log(receiver: &Receiver, event: &str, pid: u32) -> Log {
    let name = format!("kevmon.process.{event}");
    wait::until(&format!("{name} of {pid}"), LIMIT, || {
        let logs = receiver.logs();
        let mut found = logs
            .iter()
            .filter(|log| log.event_name == name && log.attributes["process.pid"] == pid);
        let log = found.next().cloned();
        assert!(found.next().is_none(), "{name} of {pid} twice: {logs:?}");
        log
    })
}

#[test]
fn a_receiver_gets_logs() {
    const INFO: i32 = 9;
    const WARN: i32 = 13;
    let (program, killer) = (Program::new(WORKLOAD, "logged"), Program::new(WORKLOAD, "killer"));
    let folder = PluginDir::new();
    let on = "[events]\nenabled = true";
    folder.write("logged", &plugin_file("logged", &program.pattern(), on));
    let receiver = Receiver::start();
    let daemon = push_to(&receiver, &folder);
    let begin = wait::unix_now();
    let mut first = program.start(&["idle"]);
    let assassin = truth::spawn(&killer, &["kill", &first.pid().to_string(), "9"]);
    let assassins_pid = assassin.pid();
    assassin.reap();
    let reaped = first.reap().truth.last_reap;
    let second = truth::spawn(&program, &["exit", "0", "--life-ms", "20"]);
    let seconds_pid = second.pid();
    second.reap();

    let start = log(&receiver, "start", first.pid());
    assert_eq!(
        start.attributes["process.executable.name"],
        program.name(),
        "{start:?}"
    );
    assert_eq!(
        start.attributes["process.parent_pid"],
        std::process::id(),
        "{start:?}"
    );
    assert_eq!(start.severity, INFO, "{start:?}");
    assert!(
        (begin..=reaped).contains(&start.time) && start.observed_time >= start.time,
        "{start:?}"
    );
    assert_eq!(
        start.resource["kevmon.service.id"], "kvt_company_logged",
        "{start:?}"
    );
    let exit = log(&receiver, "exit", first.pid());
    for (key, value) in [
        ("kevmon.exit.reason", json!("signal")),
        ("kevmon.exit.signal", json!("SIGKILL")),
        ("kevmon.exit.sender.pid", json!(assassins_pid)),
        ("kevmon.exit.sender.name", json!(killer.name()[..15])),
    ] {
        assert_eq!(exit.attributes.get(key), Some(&value), "{key}: {exit:?}");
    }
    assert!(!exit.attributes.contains_key("process.exit.code"), "{exit:?}");
    assert_eq!(exit.severity, WARN, "{exit:?}");
    let seconds = |log: &Log, key: &str| log.attributes[key].as_f64().unwrap();
    let lived = seconds(&exit, "kevmon.process.lifetime");
    let whole = float(reaped - begin) / 1e9;
    assert!(lived > 0.0 && lived < whole, "{lived} of {whole} s: {exit:?}");
    assert!((begin..=reaped).contains(&exit.time), "{exit:?}");

    let restart = log(&receiver, "restart", seconds_pid);
    assert_eq!(
        restart.attributes["kevmon.restart.kind"], "respawn",
        "{restart:?}"
    );
    let downtime = seconds(&restart, "kevmon.restart.downtime");
    assert!(downtime > 0.0 && downtime < 2.0, "{restart:?}");
    for (key, value) in [
        ("pid", json!(first.pid())),
        ("name", json!(program.name())),
        ("creation.time", start.attributes["process.creation.time"].clone()),
        ("exit.reason", json!("signal")),
        ("exit.signal", json!("SIGKILL")),
        ("exit.core_dumped", json!(false)),
        ("exit.sender.pid", json!(assassins_pid)),
        ("exit.sender.name", json!(killer.name()[..15])),
        ("exit.ago", json!(downtime)),
    ] {
        let key = format!("kevmon.restart.previous.{key}");
        assert_eq!(restart.attributes.get(&key), Some(&value), "{key}: {restart:?}");
    }
    let exit = log(&receiver, "exit", seconds_pid);
    assert_eq!(exit.attributes["kevmon.exit.reason"], "exit", "{exit:?}");
    assert_eq!(exit.attributes["process.exit.code"], 0, "{exit:?}");
    assert_eq!(exit.severity, INFO, "{exit:?}");
    assert!(seconds(&exit, "kevmon.process.lifetime") >= 0.02, "{exit:?}");
    // Neither arguments nor anybody else.
    for log in receiver.logs() {
        assert_eq!(
            log.attributes["process.executable.name"],
            program.name(),
            "{log:?}"
        );
        assert!(!log.attributes.contains_key("process.command_line"), "{log:?}");
        assert!(log.body.as_str().is_some_and(|body| !body.is_empty()), "{log:?}");
    }
    daemon.terminate();
}

#[test]
fn nothing_is_logged_unless_asked_for() {
    let program = Program::new(WORKLOAD, "unasked");
    let folder = PluginDir::new();
    folder.write("unasked", &plugin_file("unasked", &program.pattern(), ""));
    let receiver = Receiver::start();
    let mut daemon = push_to(&receiver, &folder);
    truth::spawn(&program, &["exit", "0"]).reap();
    daemon.wait_until("its end", LIMIT, |tick| {
        tick.expect_group("unasked").int("exits") == 1
    });
    points_of(&receiver, "kvt_company_unasked", 5);
    daemon.terminate();
    assert!(receiver.logs().is_empty(), "{:?}", receiver.logs());
}

#[test]
fn a_receiver_without_logs_is_named_once_and_gets_metrics() {
    let program = Program::new(WORKLOAD, "nologs");
    let folder = PluginDir::new();
    let on = "[events]\nenabled = true";
    folder.write("nologs", &plugin_file("nologs", &program.pattern(), on));
    let receiver = Receiver::start_without_logs();
    let mut daemon = push_to(&receiver, &folder);
    for round in 1..=4 {
        let reaped = truth::spawn(&program, &["exit", "0"]).reap().truth.last_reap;
        daemon.tick_after(reaped, Duration::from_millis(400), LIMIT);
        points_of(&receiver, "kvt_company_nologs", 2 * round);
    }
    let told = daemon.stderr();
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("takes no logs"))
        .collect();
    assert_eq!(lines.len(), 1, "named once: {told}");
    assert!(
        lines[0].contains(&receiver.port()),
        "the receiver is named: {told}"
    );
    assert_eq!(receiver.refused_logs(), 1, "asked again after a refusal");
    let last = daemon.terminate();
    assert_eq!(last.expect_group("nologs").int("exits"), 4, "{}", last.0);
}
