//! `kevmon why` and `kevmon history` for people: what real processes did, told from the state of the daemon that watched them.

use std::{path::Path, process::Command, time::Duration};

use kevmon_tests::{
    checks,
    kevmon::{self, Daemon, Output},
    scratch::Scratch,
    truth::{self, Spawned},
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(10);

fn run(command: &str, database: &Path, args: &[&str]) -> Output {
    let path = database.to_str().expect("a UTF-8 path");
    kevmon::run(&[&[command], args, &["--metadata-db-path", path]].concat())
}

/// What `kevmon why` tells, once it has all of `words`.
fn told(database: &Path, asked: &str, words: &[&str]) -> String {
    wait::until(&format!("{words:?}"), LIMIT, || {
        let output = run("why", database, &[asked]);
        let has_all = output.code == Some(0) && words.iter().all(|word| output.stdout.contains(word));
        if !has_all {
            eprintln!("not yet: {output:?}");
        }
        has_all.then(|| output.stdout.clone())
    })
}

fn watching(program: &Program) -> Daemon {
    Daemon::start(&["--interval", "200ms", "--process-name", &program.pattern()])
}

#[test]
fn a_process_that_was_killed_and_replaced() {
    let (program, killer) = (Program::new(WORKLOAD, "shop"), Program::new(WORKLOAD, "killer"));
    let daemon = watching(&program);
    let database = daemon.database().to_owned();
    let mut first = program.start(&["exec-chain", "1"]);
    let pid = first.pid().to_string();
    let assassin = truth::spawn(&killer, &["kill", &pid, "9"]);
    let assassins_pid = assassin.pid();
    assassin.reap();
    first.reap();
    let second = program.start(&["idle"]);
    let seconds_pid = second.pid();
    let own = std::process::id();
    let story = told(
        &database,
        &pid,
        &[
            &format!(
                "{} (pid {pid}), plugin {}, user root",
                program.name(),
                program.plugin()
            ),
            &format!(", by {own} (parallel"),
            &format!("SIGKILL by {assassins_pid} ({})", &killer.name()[..15]),
            "CPU ",
            "peak RSS ",
            &format!("replaced  by {seconds_pid} ({})", program.name()),
            " later",
        ],
    );
    assert!(
        story.contains("executed its program again once, in place"),
        "{story}"
    );
    // By name it is the latest one, which runs, with the others below it.
    let story = told(
        &database,
        &program.name().to_uppercase(),
        &["it runs", "before it"],
    );
    assert!(
        story.contains(&format!("it took the place of {pid} ({})", program.name())),
        "{story}"
    );
    assert!(
        story.starts_with(&format!("{} (pid {seconds_pid})", program.name())),
        "{story}"
    );
    let rows = run("why", &database, &[&pid, "--json"]);
    let rows = rows.assert_code(0);
    assert!(rows.stdout.lines().count() >= 3, "{}", rows.stdout);
    second.finish();
    daemon.terminate();
}

#[test]
fn what_it_executed_and_who_started_it() {
    let (first, second) = (Program::new(WORKLOAD, "step"), Program::new(WORKLOAD, "step"));
    let pattern = format!("^({}|{})$", first.name(), second.name());
    let daemon = Daemon::start(&["--interval", "200ms", "--process-name", &pattern]);
    let database = daemon.database().to_owned();
    // A shell starts it and ends first.
    let line = format!(
        "{} exec {} exit 7 & echo $!",
        first.path_text(),
        second.path_text()
    );
    let shell = Command::new("sh").args(["-c", &line]).output().expect("sh(1)");
    let pid = String::from_utf8_lossy(&shell.stdout)
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    let pid = pid.trim_start_matches("ready").trim().to_owned();
    let ran = format!("{}, then {}", first.name(), second.name());
    let story = told(
        &database,
        &pid,
        &[&ran, "exit 7", "by none that the history knows of"],
    );
    assert!(story.contains(", by "), "{story}");
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

#[test]
fn an_end_that_nobody_saw_is_said_with_the_outage() {
    let program = Program::new(WORKLOAD, "away");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let pattern = program.pattern();
    let path = database.to_str().unwrap();
    let args = [
        "--interval",
        "200ms",
        "--process-name",
        &pattern,
        "--metadata-db-path",
        path,
    ];
    let mut daemon = Daemon::start(&args);
    let running = program.start(&["idle"]);
    let pid = running.pid().to_string();
    daemon.wait_until("it", LIMIT, |tick| {
        tick.expect_group(&program.plugin()).int("process_count") == 1
    });
    daemon.terminate();
    running.finish();
    let daemon = Daemon::start(&args);
    told(&database, &pid, &["how is not known: kevmon was away for "]);
    let history = run("history", &database, &["--since", "1h"]);
    history.assert_code(0);
    let outage = history
        .stdout
        .lines()
        .find(|line| line.contains("OUTAGE"))
        .unwrap();
    assert!(
        outage.contains("away for ") && outage.contains(", until "),
        "{outage}"
    );
    daemon.terminate();
}

#[test]
fn times_are_local_with_the_zone_named() {
    let program = Program::new(WORKLOAD, "zone");
    let daemon = watching(&program);
    let database = daemon.database().to_str().unwrap().to_owned();
    truth::spawn(&program, &["exit", "0"]).reap();
    let table = |zone: &str| {
        let mut command = kevmon::command(&["history", "--metadata-db-path", &database]);
        command.env("TZ", zone);
        kevmon::finish(command).assert_code(0).stdout.clone()
    };
    wait::until("its end", LIMIT, || table("UTC").contains("EXIT").then_some(()));
    for (zone, heading) in [("UTC", "TIME (UTC)"), ("XYZ-5:30", "TIME (XYZ)")] {
        assert!(table(zone).starts_with(heading), "{}", table(zone));
    }
    let hours = |text: String| {
        let line = text.lines().nth(1).unwrap().to_owned();
        let (hour, minute) = (line[11..13].to_owned(), line[14..16].to_owned());
        hour.parse::<u32>().unwrap() * 60 + minute.parse::<u32>().unwrap()
    };
    let first = kevmon::run(&["history", "--json", "--metadata-db-path", &database]);
    let first: serde_json::Value = serde_json::from_str(first.stdout.lines().next().unwrap()).unwrap();
    let minutes = first["time"].as_u64().unwrap() / 60_000_000_000 % (24 * 60);
    assert_eq!(u64::from(hours(table("UTC"))), minutes, "{first}");
    let ahead = (24 * 60 + hours(table("XYZ-5:30")) - hours(table("UTC"))) % (24 * 60);
    assert_eq!(ahead, 5 * 60 + 30);
    daemon.terminate();
}

#[test]
fn bad_input_has_a_line_and_a_status() {
    let program = Program::new(WORKLOAD, "known");
    let daemon = watching(&program);
    let database = daemon.database().to_owned();
    let child = truth::spawn(&program, &["exit", "0"]);
    let pid = child.pid().to_string();
    child.reap();
    told(&database, &pid, &["ended"]);
    let stranger = Spawned::start(Command::new("sleep").arg("60"));
    let alive = stranger.pid().to_string();
    for (command, args, code, words) in [
        (
            "why",
            &["kvt-never-was"][..],
            1,
            &["knows no process of this name", program.name()][..],
        ),
        (
            "why",
            &["4194304000"],
            1,
            &["knows no process with this pid", "kevmon history"],
        ),
        (
            "why",
            &[&alive],
            1,
            &["sleep, fits no plugin", "--process-name sleep"],
        ),
        (
            "why",
            &[&pid, "--plugin", "none"],
            2,
            &["knows no plugin of that name"],
        ),
        ("why", &[], 2, &["PID|NAME"]),
        ("history", &["--since", "soon"], 2, &["--since", "write 2h, 90m"]),
        (
            "history",
            &["--plugin", "none"],
            2,
            &["knows no plugin of that name"],
        ),
    ] {
        let output = run(command, &database, args);
        output.assert_code(code);
        for word in words {
            assert!(
                output.stderr.contains(word),
                "{command} {args:?}: {word}: {}",
                output.stderr
            );
        }
        assert_eq!(output.stdout, "", "{command} {args:?}");
    }
    stranger.signal(libc::SIGKILL);
    let scratch = Scratch::new();
    for command in [&["why", "x"][..], &["history"]] {
        let path = scratch.path().join("none.db");
        let output = run(command[0], &path, &command[1..]);
        output.assert_code(4);
        assert!(
            output.stderr.contains("there is no such file"),
            "{}",
            output.stderr
        );
    }
    // A reader that goes away is no failure.
    let line = format!(
        "{} history --metadata-db-path {} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}",
        kevmon::binary().display(),
        database.display()
    );
    let piped = Command::new("bash")
        .args(["-c", &line])
        .output()
        .expect("bash(1)");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "0\n", "{piped:?}");
    daemon.terminate();
}
