//! A process that executes its executable again: the same program, or an interpreter with another script.

use std::{fs, process::Command, time::Duration};

use kevmon_tests::{
    daemon::Daemon,
    plugin_dir::PluginDir,
    scratch::{self, Scratch},
    tick::Tick,
    watch::Watch,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

const LIMIT: Duration = Duration::from_secs(20);

/// How many run the first script, and how many the second one.
fn counts(tick: &Tick) -> [u64; 2] {
    ["first", "second"].map(|plugin| tick.expect_group(plugin).int("process_count"))
}

/// Under kevmon's eyes, while kevmon was away over a restart, and by the scans of /proc.
#[test]
fn a_shell_that_executes_another_script_moves_however_it_is_seen() {
    let (unique, scratch) = (scratch::unique(), Scratch::new());
    let folder = PluginDir::new();
    let script = |name: &str| scratch.path().join(format!("kvt-{name}-{unique}.sh"));
    for name in ["first", "second"] {
        let text = format!(
            "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nprocess_name = '^kvt-{name}-{unique}.sh$'\n\
             [monitoring]\ninterval = \"200ms\"\n"
        );
        folder.write(name, &text);
    }
    let second = script("second");
    let first = format!("echo ready; read line; exec bash {}", second.display());
    fs::write(script("first"), first).expect("the scratch directory");
    fs::write(&second, "echo ok; read line").expect("the scratch directory");

    let plugins = ["--plugins-dir", folder.path()];
    let database = scratch.path().join("metadata.db");
    let stored = [
        &plugins[..],
        &["--metadata-db-path", database.to_str().expect("a UTF-8 path")],
    ]
    .concat();
    let mut early = Daemon::start(&plugins);
    let mut command = Command::new("bash");
    command.arg(script("first"));
    let mut running = Running::start(command);
    let mut away = Daemon::start(&stored);
    let mut proc = Daemon::start(&[&plugins[..], &["--source", "proc"]].concat());
    for daemon in [&mut early, &mut away, &mut proc] {
        daemon.wait_until("the first script", LIMIT, |tick| counts(tick) == [1, 0]);
    }
    away.terminate();
    assert_eq!(running.ask("go on"), "ok");
    let mut back = Daemon::start(&stored);
    for (way, daemon) in [("early", &mut early), ("back", &mut back), ("proc", &mut proc)] {
        let tick = daemon.wait_until(way, LIMIT, |tick| counts(tick) == [0, 1]);
        let (first, second) = (tick.expect_group("first"), tick.expect_group("second"));
        assert_eq!(
            (first.int("leaves"), first.int("exits")),
            (1, 0),
            "{way}: {}",
            first.0
        );
        assert_eq!(
            second.int("starts") + second.int("joins"),
            1,
            "{way}: {}",
            second.0
        );
    }
    running.finish();
}

/// Within the first second as later; what is executed in place by a wrapper is another program.
#[test]
fn a_program_that_executes_itself_n_times_restarts_in_place_n_times() {
    for times in [1, 2, 5, 20_u64] {
        let program = Program::new(WORKLOAD, "again");
        let mut watch = Watch::start(program.name());
        let running = program.start(&["exec-chain", &times.to_string()]);
        let expected = [
            ("starts", 1),
            ("reexecs", times),
            ("restarts", times),
            ("respawns", 0),
        ];
        // A tick may come in the middle of them.
        watch.until("the executions", |group| group.int("reexecs") == times);
        watch.expect(1, &expected);
        running.finish();
        watch.expect(0, &expected);
        watch.finish();
    }
}

/// `exec "$0" "$@"`, the usual way of a script to begin again in another environment.
#[test]
fn a_script_that_executes_itself_restarts_in_place_and_its_wrapper_does_not() {
    for times in [1, 2, 5_u64] {
        let text =
            "#!/bin/bash\nif [ \"$1\" -gt 0 ]; then exec \"$0\" $(($1 - 1)); fi\necho ready\nread line\n";
        let script = Program::script("again.sh", text);
        let mut watch = Watch::start(script.name());
        let mut command = Command::new("bash");
        command.args(["-c", "exec \"$0\" \"$1\"", script.path_text(), &times.to_string()]);
        let running = Running::start(command);
        let expected = [("starts", 1), ("reexecs", times), ("restarts", times)];
        // A tick may come in the middle of them.
        watch.until("the executions", |group| group.int("reexecs") == times);
        watch.expect(1, &expected);
        running.finish();
        watch.expect(0, &expected);
        watch.finish();
    }
}
