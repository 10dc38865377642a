//! Long command lines and paths: whatever a pattern or an exclusion depends on is read in full, however the process is seen,
//! and what cannot be had is said to be unknown.

use std::{fs, os::unix::process::CommandExt, process::Command, time::Duration};

use kevmon_tests::{
    checks,
    columns::Columns,
    executable,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    scratch, truth,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
/// Lengths of what stands before the word that decides: beyond an exec's own record, beyond what was once read from
/// /proc, and close to what one argument may have.
const LENGTHS: [usize; 4] = [600, 5_000, 20_000, 100_000];

/// As long as a class path.
fn class_path(length: usize) -> String {
    "/opt/lib/x.jar:".repeat(length / 15 + 1)[..length].to_owned()
}

#[test]
fn a_word_behind_a_long_argument_decides() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "long");
    let mut columns = Columns::new();
    for length in LENGTHS {
        let word = format!("word-{unique}-{length}");
        let by = |pattern: &str| format!("match = \"cmdline\"\nprocess_name = '{pattern}'");
        columns.add(
            &format!("in-{length}"),
            &by(&format!("{word}-in")),
            1,
            Some(program.name()),
        );
        columns.add(&format!("end-{length}"), &by(&format!("{word}-in$")), 1, None);
        columns.add(
            &format!("out-{length}"),
            &format!(
                "{}\nexclude = '{word}-out'",
                by(&format!("base-{unique}-{length} "))
            ),
            1,
            None,
        );
    }
    let mut early = columns.early();
    let mut running = Vec::new();
    for length in LENGTHS {
        let (path, base) = (class_path(length), format!("base-{unique}-{length}"));
        for end in ["in", "out"] {
            let word = format!("word-{unique}-{length}-{end}");
            running.push(program.start(&["idle", &base, &path, &word]));
        }
    }
    columns.assert_agree(&mut early);
    for running in running {
        assert_eq!(running.finish().status, 0);
    }
    for length in LENGTHS {
        let plugin = format!("in-{length}");
        let tick = early.wait_until("its end", LIMIT, |tick| {
            tick.expect_group(&plugin).int("exits") == 1
        });
        assert_eq!(tick.expect_group(&plugin).int("starts"), 1, "{}", tick.0);
    }
    checks::assert_complete(early.ticks());
    early.terminate();
}

#[test]
fn a_restart_of_a_service_with_long_arguments_is_one() {
    let program = Program::new(WORKLOAD, "restarted");
    let word = format!("word-{}", scratch::unique());
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[service]\nprocess_name = '{word}$'\nmatch = \"cmdline\"\n[monitoring]\ninterval = \"200ms\"\n"
    );
    folder.write("service", &text);
    let path = class_path(600);
    let first = program.start(&["idle", &path, &word]);
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    daemon.wait_until("the first one", LIMIT, |tick| {
        tick.expect_group("service").int("process_count") == 1
    });
    assert_eq!(first.finish().status, 0);
    daemon.wait_until("its end", LIMIT, |tick| {
        tick.expect_group("service").int("exits") == 1
    });
    let second = program.start(&["idle", &path, &word]);
    let tick = daemon.wait_until("the second one", LIMIT, |tick| {
        tick.expect_group("service").int("process_count") == 1
    });
    let group = tick.expect_group("service");
    assert_eq!(
        (group.int("starts"), group.int("restarts")),
        (1, 1),
        "{}",
        group.0
    );
    assert_eq!(second.finish().status, 0);
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

/// Gone before anybody could read /proc: the kernel side brings the arguments, and the totals are those of the lives.
#[test]
fn what_lives_for_a_moment_is_told_apart_by_the_end_of_its_arguments() {
    let program = Program::new(WORKLOAD, "brief");
    let unique = scratch::unique();
    let folder = PluginDir::new();
    for end in ["one", "other"] {
        let text = format!(
            "schema = 1\n[service]\nprocess_name = '{unique}-{end}$'\nmatch = \"cmdline\"\n[monitoring]\ninterval = \"200ms\"\n"
        );
        folder.write(end, &text);
    }
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let (mut one, mut other) = (truth::Truth::default(), truth::Truth::default());
    for length in LENGTHS {
        let path = class_path(length);
        one += truth::spawn(
            &program,
            &["burn", "--cpu-ms", "1", &path, &format!("{unique}-one")],
        )
        .reap()
        .truth;
        other += truth::spawn(
            &program,
            &["burn", "--cpu-ms", "1", &path, &format!("{unique}-other")],
        )
        .reap()
        .truth;
    }
    let since = one.last_reap.max(other.last_reap);
    let tick = daemon.tick_after(since, Duration::from_millis(500), LIMIT);
    for (plugin, truth) in [("one", &one), ("other", &other)] {
        let group = tick.expect_group(plugin);
        assert_eq!(group.int("starts"), LENGTHS.len() as u64, "{}", group.0);
        checks::assert_equals_truth(group, truth);
    }
    checks::assert_complete(daemon.ticks());
    daemon.terminate();
}

/// A plugin that comes while kevmon runs has its arguments read in full from then on.
#[test]
fn a_plugin_that_comes_later_gets_long_arguments_too() {
    let program = Program::new(WORKLOAD, "reloaded");
    let word = format!("word-{}", scratch::unique());
    let folder = PluginDir::new();
    folder.write(
        "other",
        "schema = 1\n[service]\nprocess_name = '^kvt-none$'\n[monitoring]\ninterval = \"200ms\"\n",
    );
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let before = program.start(&["idle", &class_path(20_000), &word]);
    let text = format!(
        "schema = 1\n[service]\nprocess_name = '{word}$'\nmatch = \"cmdline\"\n[monitoring]\ninterval = \"200ms\"\n"
    );
    folder.write("service", &text);
    daemon.hang_up();
    daemon.wait_until("the one that ran before", LIMIT, |tick| {
        tick.group("service")
            .is_some_and(|group| group.int("process_count") == 1)
    });
    let ended = truth::spawn(&program, &["exit", "0", &class_path(20_000), &word]).reap();
    // The two plugins are not collected at the same time.
    let settled = ended.truth.last_reap + 500_000_000;
    let tick = daemon.wait_until("the service", LIMIT, |tick| {
        tick.time() >= settled && tick.group("service").is_some()
    });
    let group = tick.expect_group("service");
    assert_eq!((group.int("starts"), group.int("exits")), (1, 1), "{}", group.0);
    assert_eq!(before.finish().status, 0);
    daemon.terminate();
}

#[test]
fn a_path_of_any_length_gives_its_last_name() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "deep");
    let script_name = format!("kvt-deep-{unique}.sh");
    let mut columns = Columns::new();
    let by = |pattern: &str| format!("process_name = '^{pattern}$'");
    columns.add(
        "script",
        &by(&script_name.replace('.', "\\.")),
        3,
        Some(&script_name),
    );
    columns.add("binary", &by(program.name()), 3, Some(program.name()));
    // No piece of a folder's name is anybody's.
    columns.add("folder", &format!("process_name = 'folder-{unique}'"), 0, None);
    let mut early = columns.early();
    let mut running = Vec::new();
    for length in [300, 1_000, 3_500] {
        let mut folder = program.directory().to_owned();
        while folder.as_os_str().len() < length {
            folder.push(format!("folder-{unique}-{}", "x".repeat(60)));
        }
        fs::create_dir_all(&folder).expect("the scratch directory");
        let binary = folder.join(program.name());
        fs::hard_link(program.path(), &binary).expect("a link on the same disk");
        let script = folder.join(&script_name);
        write_script(&script, "#!/bin/sh\necho ready\nread line\n");
        let mut command = Command::new(&binary);
        command.arg("idle");
        running.push(Running::start(command));
        running.push(Running::start(Command::new(&script)));
    }
    columns.assert_agree(&mut early);
    running.into_iter().for_each(|running| {
        running.finish();
    });
    checks::assert_complete(early.ticks());
    early.terminate();
}

fn write_script(path: &std::path::Path, text: &str) {
    let written = path.with_extension("new");
    executable::write(&written, text);
    // A script that runs is replaced, not written over.
    fs::rename(&written, path).expect("the scratch directory");
}

#[test]
fn a_long_first_argument_is_a_name() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "first");
    let mut columns = Columns::new();
    for length in LENGTHS {
        columns.add(
            &format!("first-{length}"),
            &format!("process_name = '^kvt-first-{unique}-{length}$'"),
            1,
            None,
        );
    }
    let mut early = columns.early();
    let start = |length: usize, rest: &[&str]| {
        let first = format!(
            "/{}/kvt-first-{unique}-{length}",
            class_path(length).replace('/', "-")
        );
        program.start_as(&first, rest)
    };
    let running: Vec<Running> = LENGTHS.iter().map(|&length| start(length, &["idle"])).collect();
    columns.assert_agree(&mut early);
    for running in running {
        assert_eq!(running.finish().status, 0);
    }
    // Also of one that is gone before anybody looks.
    let mut brief = Command::new(program.path());
    brief
        .arg0(format!("/{}/kvt-first-{unique}-600", "x".repeat(600)))
        .args(["exit", "0"]);
    let ended = truth::Spawned::start(&mut brief).reap();
    let tick = early.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    assert_eq!(tick.expect_group("first-600").int("starts"), 2, "{}", tick.0);
    checks::assert_complete(early.ticks());
    early.terminate();
}

/// An interpreter's script is a name, also behind options that no exec record holds.
#[test]
fn a_script_behind_long_options_is_a_name() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "options");
    let name = format!("kvt-options-{unique}");
    let script = program.directory().join(&name);
    fs::write(&script, "$| = 1; print \"ready\\n\"; <STDIN>;").expect("the scratch directory");
    let mut columns = Columns::new();
    columns.add(
        "script",
        &format!("process_name = '^{name}$'"),
        LENGTHS.len() as u64,
        Some(&name),
    );
    let mut early = columns.early();
    let running: Vec<Running> = LENGTHS
        .iter()
        .map(|&length| {
            let mut command = Command::new("/usr/bin/perl");
            command.arg(format!("-I{}", "x".repeat(length))).arg(&script);
            Running::start(command)
        })
        .collect();
    columns.assert_agree(&mut early);
    running.into_iter().for_each(|running| {
        running.finish();
    });
    checks::assert_complete(early.ticks());
    early.terminate();
}

/// A daemon that writes NULs over its arguments has no command line any more, whoever came first.
#[test]
fn a_command_line_that_is_wiped_fits_no_pattern() {
    let unique = scratch::unique();
    let program = Program::new(WORKLOAD, "wiped");
    let mut columns = Columns::new();
    columns.add(
        "word",
        &format!("match = \"cmdline\"\nprocess_name = 'word-{unique}'"),
        1,
        Some(program.name()),
    );
    columns.add(
        "called",
        &format!("process_name = '^called-{unique}$'"),
        1,
        Some(&format!("called-{unique}")),
    );
    columns.add(
        "program",
        &format!("process_name = '^{}$'", program.name()),
        2,
        None,
    );
    let mut early = columns.early();
    let start = || {
        let (called, word) = (format!("called-{unique}"), format!("word-{unique}"));
        program.start_as(&called, &["title", "--argv-only", &word])
    };
    let (stays, mut wiped) = (start(), start());
    for plugin in ["word", "called"] {
        early.wait_until("both", LIMIT, |tick| {
            tick.expect_group(plugin).int("process_count") == 2
        });
    }
    assert_eq!(wiped.ask(""), "ok");
    columns.assert_agree(&mut early);
    for running in [stays, wiped] {
        assert_eq!(running.finish().status, 0);
    }
    checks::assert_complete(early.ticks());
    early.terminate();
}
