//! What kevmon does when its state cannot be had: it says so, keeps what is there, and monitors.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kevmon_tests::{
    checks, history,
    kevmon::{self, Daemon},
    mount::ReadOnly,
    scratch::Scratch,
    truth::{self, Truth},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(10);

/// A program, and a daemon that watches it and keeps its state in `database`.
fn watch(program: &Program, database: &Path) -> Daemon {
    Daemon::start(&[
        "--interval",
        "200ms",
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().unwrap(),
    ])
}

/// Lets the program work five times, and asserts that the daemon counts exactly that, beside `before` lives.
fn assert_monitors(daemon: &mut Daemon, program: &Program, before: u64) {
    let mut sum = Truth::default();
    for index in 0..5 {
        let work = ["burn", "--cpu-ms", "3", "--sleeps", &index.to_string()];
        sum += truth::spawn(program, &work).reap().truth;
    }
    let tick = daemon.tick_after(sum.last_reap, Duration::from_millis(500), LIMIT);
    let group = tick.expect_group(&program.plugin());
    assert_eq!(group.int("starts"), before + 5, "{}", group.0);
    if before == 0 {
        checks::assert_equals_truth(group, &sum);
    }
    // The first interval after an outage is not.
    checks::assert_complete(&daemon.ticks()[1..]);
}

/// The one line of standard error that says something about the database, at warn or error. What waits for a receiver
/// that nobody started is in the spool beside it, and another matter.
fn complaint(daemon: &Daemon, database: &Path) -> String {
    let told = daemon.stderr();
    assert!(!told.contains("panicked"), "{told}");
    let name = database.to_str().unwrap();
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.contains(name) && !line.contains("metadata.db.spool"))
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert_eq!(lines.len(), 1, "complaints about {name}:\n{told}");
    lines[0].to_owned()
}

/// What lies beside the database, by name.
fn beside(database: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(database.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let garbage: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let program = Program::new(WORKLOAD, "garbage");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    fs::write(&database, &garbage).unwrap();
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 0);
    let aside: Vec<PathBuf> = beside(&database)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("metadata.db.corrupt-"))
        .collect();
    let [aside] = &aside[..] else {
        panic!("moved aside: {:?}", beside(&database))
    };
    assert_eq!(fs::read(aside).unwrap(), garbage, "nothing of it is lost");
    let told = complaint(&daemon, &database);
    assert!(told.contains(aside.to_str().unwrap()), "{told}");
    daemon.terminate();
    // The fresh one is used, and found to be sound.
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 5);
    assert!(!daemon.stderr().contains("corrupt"), "{}", daemon.stderr());
    daemon.terminate();
}

#[test]
fn a_truncated_database_is_moved_aside() {
    let program = Program::new(WORKLOAD, "cut");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 0);
    daemon.terminate();
    let length = fs::metadata(&database).unwrap().len();
    assert!(length > 8192, "{length} bytes");
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    file.set_len(length / 2 + 100).unwrap();
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 0);
    complaint(&daemon, &database);
    daemon.terminate();
}

#[test]
fn a_directory_that_cannot_be_written_to() {
    let program = Program::new(WORKLOAD, "readonly");
    let scratch = Scratch::new();
    let directory = scratch.path().join("state");
    fs::create_dir(&directory).unwrap();
    let database = directory.join("metadata.db");
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 0);
    daemon.terminate();
    let before = fs::read(&database).unwrap();
    {
        let _view = ReadOnly::over(&directory);
        let mut daemon = watch(&program, &database);
        let told = complaint(&daemon, &database);
        assert!(told.to_lowercase().contains("read-only"), "{told}");
        // It begins anew, in memory.
        assert_monitors(&mut daemon, &program, 0);
        daemon.terminate();
    }
    assert_eq!(fs::read(&database).unwrap(), before, "kept as it was");
    let mut daemon = watch(&program, &database);
    assert_monitors(&mut daemon, &program, 5);
    daemon.terminate();
}

#[test]
fn a_directory_that_cannot_be_made() {
    let program = Program::new(WORKLOAD, "nowhere");
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let database = file.join("metadata.db");
    let mut daemon = watch(&program, &database);
    complaint(&daemon, &database);
    assert_monitors(&mut daemon, &program, 0);
    daemon.terminate();
}

#[test]
fn a_single_run_leaves_the_daemons_state_alone() {
    let program = Program::new(WORKLOAD, "beside");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let mut daemon = watch(&program, &database);
    let running = program.start(&["idle"]);
    let output = kevmon::run_once(&[
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().unwrap(),
    ]);
    output.assert_code(0);
    assert_eq!(running.finish().status, 0);
    assert_monitors(&mut daemon, &program, 1);
    let said = daemon.stderr();
    let warned: Vec<&str> = checks::complaints(&said)
        .filter(|line| line.contains("WARN"))
        .collect();
    assert!(warned.is_empty(), "{said}");
    daemon.terminate();
}

#[test]
fn history_is_told_while_the_daemon_runs_and_after() {
    let program = Program::new(WORKLOAD, "told");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let mut daemon = watch(&program, &database);
    let plugin = program.plugin();
    assert_monitors(&mut daemon, &program, 0);
    let count = |event: &str| {
        let rows = history::rows(&database, Some(&plugin));
        rows.iter().filter(|row| row["event"] == event).count()
    };
    assert_eq!(["start", "exit", "restart"].map(count), [5, 5, 4]);
    let ended = truth::spawn(&program, &["exit", "7"]).reap();
    daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    assert_eq!(["start", "exit", "restart"].map(count), [6, 6, 5]);
    daemon.terminate();
    let rows = history::rows(&database, None);
    assert_eq!(rows.len(), 17, "{rows:?}");
    let times: Vec<u64> = rows.iter().map(|row| row["time"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "oldest first: {times:?}");
    let path = database.to_str().unwrap();
    let unknown = kevmon::run(&[
        "history",
        "--plugin",
        "no-such-plugin",
        "--metadata-db-path",
        path,
    ]);
    unknown.assert_code(2);
    assert!(
        unknown.stderr.contains(&plugin),
        "it names the known ones: {}",
        unknown.stderr
    );

    // For people.
    let output = kevmon::run(&["history", "--plugin", &plugin, "--metadata-db-path", path]);
    output.assert_code(0);
    assert!(output.stdout.contains("exit 7"), "{}", output.stdout);
    assert!(output.stdout.lines().count() >= 17, "{}", output.stdout);
}

#[test]
fn history_of_no_state_says_so() {
    let scratch = Scratch::new();
    let path = scratch.path().join("none.db");
    let path = path.to_str().unwrap();
    let output = kevmon::run(&["history", "--json", "--metadata-db-path", path]);
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains(path), "{}", output.stderr);
    assert!(!Path::new(path).exists(), "it was made by a look");
}
