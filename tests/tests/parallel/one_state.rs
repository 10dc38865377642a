//! One kevmon a state: who is refused, who is not, and daemons of different plugins on one path.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks, history,
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    receiver::Receiver,
    scratch::Scratch,
    truth, wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);
/// A second one says so at once.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The flags of a daemon that watches `program` and keeps its state in `database`.
fn flags(program: &Program, database: &Path) -> Vec<String> {
    [
        "--interval",
        "200ms",
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([database.to_str().unwrap().to_owned()])
    .collect()
}

fn start(flags: &[String], more: &[&str]) -> Daemon {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Daemon::start(&[&flags[..], more].concat())
}

fn run(flags: &[String], more: &[&str]) -> kevmon::Output {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    kevmon::run(&[more, &flags[..]].concat())
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    let program = Program::new(WORKLOAD, "second");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let flags = flags(&program, &database);
    let mut first = start(&flags, &[]);
    let folder = scratch.path().join("folder");
    symlink(scratch.path(), &folder).unwrap();
    for stopped in [false, true] {
        if stopped {
            first.stall();
        }
        for path in [&database, &folder.join("metadata.db")] {
            let mut flags = flags.clone();
            *flags.last_mut().unwrap() = path.to_str().unwrap().to_owned();
            let began = Instant::now();
            let refused = run(&flags, &[]);
            refused.assert_code(4);
            assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
            for text in [
                format!("pid {},", first.pid()),
                "--no-store".to_owned(),
                format!("--process-name {}", program.pattern()),
            ] {
                assert!(
                    refused.stderr.contains(&text),
                    "no {text:?} in {}",
                    refused.stderr
                );
            }
            assert_eq!(
                refused.stderr.contains("stopped by a signal"),
                stopped,
                "{}",
                refused.stderr
            );
            assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
            // For cron.
            let silent = run(&flags, &["--if-not-running"]);
            silent.assert_code(0);
            assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
        }
    }
    first.resume();
    first.next_tick(LIMIT);
    // The lock ends with the process, whatever its file says.
    let pid = first.pid();
    let mut ticks = first.kill();
    let mut next = start(&flags, &["--if-not-running"]);
    assert!(
        !next.stderr().contains(&format!("pid {pid}")),
        "{}",
        next.stderr()
    );
    next.next_tick(LIMIT);
    ticks.extend(next.ticks().iter().cloned());
    checks::assert_sum_rule(&ticks, &program.plugin());
    next.terminate();
}

#[test]
fn a_link_in_the_place_of_the_state_is_refused_and_starts_no_second_one() {
    let program = Program::new(WORKLOAD, "dangling");
    let scratch = Scratch::new();
    let (database, link) = (scratch.path().join("real.db"), scratch.path().join("link.db"));
    symlink("real.db", &link).unwrap();
    let first = start(&flags(&program, &link), &[]);
    let stderr = first.stderr();
    assert!(
        stderr.contains("it is a link") && stderr.contains("running without a store"),
        "{stderr}"
    );
    // Whether another one runs cannot be told by such a state.
    let refused = run(&flags(&program, &link), &["--if-not-running"]);
    refused.assert_code(4);
    assert!(refused.stderr.contains("it is a link"), "{}", refused.stderr);
    first.terminate();
    assert!(!database.exists());
}

/// What is started beside a daemon, or after one.
#[test]
fn who_may_run_beside_whom() {
    let program = Program::new(WORKLOAD, "matrix");
    let _running = program.start(&["idle"]);
    let scratch = Scratch::new();
    let (same, other) = (scratch.path().join("same.db"), scratch.path().join("other.db"));
    let pattern = program.pattern();
    let only = ["--process-name", pattern.as_str()].map(str::to_owned);
    let no_state = [&only[..], &["--no-store".to_owned()]].concat();
    let once = ["--run-once", "--window", "200ms"];
    let keep = [&once[..], &["--keep"]].concat();
    for holder in ["alive", "stopped", "killed"] {
        let first = start(&flags(&program, &same), &[]);
        let mut first = Some(first);
        match holder {
            "stopped" => first.as_ref().unwrap().stall(),
            "killed" => drop(first.take().unwrap().kill()),
            _ => {}
        }
        let taken = if holder == "killed" { 0 } else { 4 };
        let cases: [(&str, &[&str], Vec<String>, i32); 6] = [
            ("a look", &once, only.to_vec(), 0),
            ("a look that would keep", &once, flags(&program, &same), 0),
            ("a run that keeps", &keep, flags(&program, &same), taken),
            ("a run that keeps, elsewhere", &keep, flags(&program, &other), 0),
            ("a look without a state", &once, no_state.clone(), 0),
            (
                "a quiet run that keeps",
                &[&keep[..], &["--if-not-running"]].concat(),
                flags(&program, &same),
                0,
            ),
        ];
        for (what, more, flags, expected) in cases {
            let mut flags = flags;
            flags.retain(|flag| flag != "--interval" && flag != "200ms");
            let output = run(&flags, more);
            assert_eq!(output.code, Some(expected), "{what}, holder {holder}: {output:?}");
            let silent = what.starts_with("a quiet") && holder != "killed";
            assert_eq!(
                output.stdout.is_empty(),
                silent || expected == 4,
                "{what}, {holder}: {output:?}"
            );
        }
        for flags in [flags(&program, &other), no_state.clone()] {
            let daemon = start(&flags, &[]);
            assert_eq!(
                daemon.ticks()[0]
                    .expect_group(&program.plugin())
                    .int("process_count"),
                1
            );
            daemon.terminate();
        }
        if let Some(first) = first {
            first.resume();
            first.terminate();
        }
    }
}

#[test]
fn without_a_store_each_run_is_a_service_of_its_own() {
    let program = Program::new(WORKLOAD, "unstored");
    let _running = program.start(&["idle"]);
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let receiver = Receiver::start();
    let port = receiver.port();
    let to = ["--agent-host", "127.0.0.1", "--agent-port", &port];
    let first = start(&flags(&program, &database), &to);
    let pattern = program.pattern();
    let alone = [
        &["--interval", "200ms", "--process-name", &pattern, "--no-store"][..],
        &to,
    ]
    .concat();
    let unstored = [(); 2].map(|()| Daemon::start_unstored(&alone));
    let services = |name: &str| -> BTreeSet<String> {
        let points = receiver.points();
        let of = points.iter().filter(|point| point.metric == name);
        of.map(|point| point.resource["service.instance.id"].clone())
            .collect()
    };
    for metric in ["starts", "kevmon.complete"] {
        wait::until(metric, LIMIT, || (services(metric).len() == 3).then_some(()));
    }
    for daemon in unstored {
        assert!(!daemon.database().exists(), "it keeps something");
        daemon.terminate();
    }
    first.terminate();
    // The one with a store has its id again, one without has another one each time.
    let before = services("starts");
    start(&flags(&program, &database), &to).terminate();
    assert_eq!(services("starts"), before);
    Daemon::start_unstored(&alone).terminate();
    assert_eq!(services("starts").len(), 4);
}

/// A plugin file, and the program that it watches.
fn plugin(folder: &PluginDir, name: &str) -> Program {
    let program = Program::new(WORKLOAD, name);
    let text = format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt\"\nprocess_name = '{}'\n\
         [monitoring]\ninterval = \"100ms\"\n",
        program.pattern()
    );
    folder.write(name, &text);
    program
}

#[test]
fn a_daemon_for_each_plugin_on_one_path_in_whatever_order_they_start() {
    let folder = PluginDir::new();
    let names = ["red", "green", "blue"];
    let programs = names.map(|name| plugin(&folder, name));
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let start = |name: &str| {
        let database = database.to_str().unwrap();
        Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--plugin",
            name,
            "--metadata-db-path",
            database,
        ])
    };
    let mut ticks: [Vec<_>; 3] = Default::default();
    let _steady = programs.each_ref().map(|program| program.start(&["idle"]));
    for (round, order) in [[0, 1, 2], [2, 0, 1], [1, 2, 0]].into_iter().enumerate() {
        let mut daemons: Vec<(usize, Daemon)> = order.map(|index| (index, start(names[index]))).into();
        for (index, daemon) in &mut daemons {
            truth::spawn(&programs[*index], &["exit", "3"]).reap();
            let expected = u64::try_from(round + 1).unwrap();
            let tick = daemon.wait_until("the end", LIMIT, |tick| {
                let group = tick.group(names[*index]);
                group.is_some_and(|group| group.exits_with(3) == expected)
            });
            // One that lives on is not told as ended and found again.
            let group = tick.expect_group(names[*index]);
            assert_eq!(
                (
                    group.ends_of("unknown"),
                    group.int("process_count"),
                    group.int("joins")
                ),
                (0, 1, 1),
                "round {round}: {}",
                group.0
            );
            // Each has its lock.
            let again = [
                "--plugins-dir",
                folder.path(),
                "--plugin",
                names[*index],
                "--metadata-db-path",
            ];
            let again = kevmon::run(&[&again[..], &[database.to_str().unwrap()]].concat());
            again.assert_code(4);
            assert!(
                again.stderr.contains(&format!("pid {},", daemon.pid())),
                "{}",
                again.stderr
            );
        }
        for (index, daemon) in daemons {
            // One by a signal that nobody can take, the others in order.
            if index == round {
                ticks[index].extend(daemon.kill());
            } else {
                ticks[index].extend(daemon.ticks().iter().cloned());
                ticks[index].push(daemon.terminate());
            }
        }
    }
    for (name, ticks) in names.iter().zip(&ticks) {
        checks::assert_sum_rule(ticks, name);
        // One command tells of all.
        let rows = history::rows(&database, Some(name));
        let exits = rows
            .iter()
            .filter(|row| row["event"] == "exit" && row["code"] == 3)
            .count();
        assert_eq!(exits, 3, "{name}: {rows:?}");
    }
}

#[test]
fn plugins_that_one_daemon_ran_go_on_in_daemons_of_their_own() {
    let folder = PluginDir::new();
    let names = ["left", "right"];
    let programs = names.map(|name| plugin(&folder, name));
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let path = database.to_str().unwrap();
    let all = ["--plugins-dir", folder.path(), "--metadata-db-path", path];
    let mut together = Daemon::start(&all);
    let _steady = programs.each_ref().map(|program| program.start(&["idle"]));
    for (program, name) in programs.iter().zip(names) {
        truth::spawn(program, &["exit", "3"]).reap();
        together.wait_until("the end", LIMIT, |tick| {
            tick.group(name)
                .is_some_and(|group| group.exits_with(3) == 1 && group.int("starts") == 2)
        });
    }
    let mut ticks = together.ticks().to_vec();
    ticks.push(together.terminate());
    let mut apart = names.map(|name| Daemon::start(&[&all[..], &["--plugin", name]].concat()));
    for (daemon, name) in apart.iter_mut().zip(names) {
        let first = daemon.ticks()[0].clone();
        let group = first.expect_group(name);
        assert_eq!(
            (
                group.int("starts"),
                group.exits_with(3),
                group.ends_of("unknown"),
                group.int("process_count")
            ),
            (2, 1, 0, 1),
            "{name}: {}",
            group.0
        );
        let of_it: Vec<_> = ticks
            .iter()
            .filter(|tick| tick.group(name).is_some())
            .cloned()
            .collect();
        checks::assert_sum_rule(&[&of_it[..], std::slice::from_ref(&first)].concat(), name);
    }
    // Whoever would run one of them once more is refused, with its name.
    let refused = kevmon::run(&all);
    refused.assert_code(4);
    assert!(
        refused.stderr.contains("watches plugin left already")
            || refused.stderr.contains("watches plugin right already"),
        "{}",
        refused.stderr
    );
    let rows = history::rows(&database, None);
    let exits = rows.iter().filter(|row| row["event"] == "exit").count();
    assert_eq!(exits, 2, "each once, although both databases have it: {rows:?}");
    // Twice more together and apart: each time they go on from wherever they were last.
    let mut all_ticks = ticks;
    for round in 2..=3_u64 {
        for ((program, name), daemon) in programs.iter().zip(names).zip(&mut apart) {
            truth::spawn(program, &["exit", "3"]).reap();
            daemon.wait_until("the end", LIMIT, |tick| {
                tick.expect_group(name).exits_with(3) == 2 * round - 2
            });
        }
        for daemon in apart {
            all_ticks.extend(daemon.ticks().iter().cloned());
            all_ticks.push(daemon.terminate());
        }
        let mut together = Daemon::start(&all);
        for (program, name) in programs.iter().zip(names) {
            truth::spawn(program, &["exit", "3"]).reap();
            together.wait_until("the end", LIMIT, |tick| {
                tick.group(name)
                    .is_some_and(|group| group.exits_with(3) == 2 * round - 1)
            });
        }
        all_ticks.extend(together.ticks().iter().cloned());
        all_ticks.push(together.terminate());
        apart = names.map(|name| Daemon::start(&[&all[..], &["--plugin", name]].concat()));
    }
    for (daemon, name) in apart.into_iter().zip(names) {
        all_ticks.extend(daemon.ticks().iter().cloned());
        let last = daemon.terminate();
        let group = last.expect_group(name);
        assert_eq!(
            (group.exits_with(3), group.ends_of("unknown")),
            (5, 0),
            "{}",
            group.0
        );
        all_ticks.push(last);
        checks::assert_sum_rule(&all_ticks, name);
    }
}

#[test]
fn a_plugin_that_another_daemon_runs_is_left_out_of_a_reload() {
    let (mine, theirs) = (PluginDir::new(), PluginDir::new());
    let _program = plugin(&theirs, "shared");
    plugin(&mine, "own");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let start = |folder: &PluginDir| {
        Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--metadata-db-path",
            database.to_str().unwrap(),
        ])
    };
    let other = start(&theirs);
    let mut daemon = start(&mine);
    let _same_name = plugin(&mine, "shared");
    let said = format!("plugin shared is left out: another kevmon (pid {},", other.pid());
    wait::until("the refusal", LIMIT, || {
        daemon.stderr().contains(&said).then_some(())
    });
    daemon.next_tick(LIMIT);
    assert!(daemon.ticks().iter().all(|tick| tick.group("shared").is_none()));
    other.terminate();
    daemon.hang_up();
    daemon.wait_until("the plugin, now that the other one has ended", LIMIT, |tick| {
        tick.group("shared").is_some()
    });
    daemon.terminate();
}

#[test]
fn two_idle_daemons_of_different_folders_and_not_of_the_same() {
    let (one, two) = (PluginDir::new(), PluginDir::new());
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let path = database.to_str().unwrap();
    let args =
        |folder: &PluginDir| ["--plugins-dir", folder.path(), "--metadata-db-path", path].map(str::to_owned);
    let first = start(&args(&one), &[]);
    let second = start(&args(&two), &[]);
    run(&args(&one), &[]).assert_code(4);
    run(&args(&two), &[]).assert_code(4);
    second.terminate();
    first.terminate();
}

#[test]
fn a_daemon_that_ends_is_waited_for() {
    let program = Program::new(WORKLOAD, "upgrade");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let flags = flags(&program, &database);
    // Its last export takes its time: nobody answers there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let first = start(&flags, &["--agent-host", "127.0.0.1", "--agent-port", &port]);
    let mut next = kevmon::command(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    next.args(["--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let ending = std::thread::spawn(move || first.terminate());
    std::thread::sleep(Duration::from_millis(150));
    let mut next = next.spawn().unwrap();
    assert!(ending.join().unwrap().last());
    wait::until("the next one to hold the lock", LIMIT, || {
        let text = fs::read_to_string(format!("{}.lock", database.display())).unwrap();
        text.starts_with(&format!("{}\n", next.id())).then_some(())
    });
    assert_eq!(next.try_wait().unwrap(), None);
    next.kill().unwrap();
    next.wait().unwrap();
}
