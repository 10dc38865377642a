//! kevmon's log: what it says at which level, and the file that it goes to.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kevmon_tests::{
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    receiver::Receiver,
    scratch::Scratch,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);

fn wait_for(file: &Path, text: &str) -> String {
    wait::until(&format!("{text:?} in {}", file.display()), LIMIT, || {
        let log = fs::read_to_string(file).unwrap_or_default();
        log.contains(text).then_some(log)
    })
}

fn logging_to(file: &Path, more: &[&str]) -> Daemon {
    logging_each("200ms", file, more)
}

fn logging_each(interval: &str, file: &Path, more: &[&str]) -> Daemon {
    let file = file.to_str().expect("UTF-8");
    Daemon::start(&[&["--interval", interval, "--log-file", file], more].concat())
}

#[test]
fn debug_says_which_pattern_decided_and_each_collection_and_export() {
    let (program, other) = (
        Program::new(WORKLOAD, "decided"),
        Program::new(WORKLOAD, "stranger"),
    );
    let receiver = Receiver::start();
    let (scratch, port) = (Scratch::new(), receiver.port());
    let file = scratch.path().join("log");
    let pattern = program.pattern();
    let found_running = program.start(&["idle"]);
    let args = [
        "--process-name",
        &pattern,
        "--log-level",
        "debug",
        "--agent-host",
        "127.0.0.1",
        "--agent-port",
        &port,
    ];
    let daemon = logging_to(&file, &args);
    let seen_starting = program.start(&["idle"]);
    for pid in [found_running.pid(), seen_starting.pid()] {
        let text = format!(
            "pid {pid} {:?} joins {}: pattern {pattern:?} on its name {:?}",
            program.name(),
            program.plugin(),
            program.name()
        );
        wait_for(&file, &text);
    }
    // Lines about strangers are bounded a second, so that one of several starts is shown.
    wait::until("a verdict on a stranger", LIMIT, || {
        other.start(&["idle"]).finish();
        let log = fs::read_to_string(&file).unwrap_or_default();
        let text = format!("{:?}: not followed: no plugin's pattern matches", other.name());
        log.contains(&text).then_some(())
    });
    wait_for(&file, &format!("processes: {} 2;", program.plugin()));
    wait_for(&file, "of metrics to default in ");
    seen_starting.finish();
    wait_for(&file, "EXIT");
    daemon.terminate();
    found_running.finish();
}

#[test]
fn libraries_say_only_what_they_are_asked_for() {
    let lines_of = |level: &str| {
        let receiver = Receiver::start();
        let (scratch, port) = (Scratch::new(), receiver.port());
        let file = scratch.path().join("log");
        let args = [
            "--process-name",
            "^kvt-none$",
            "--log-level",
            level,
            "--agent-host",
            "127.0.0.1",
            "--agent-port",
            &port,
        ];
        let daemon = logging_to(&file, &args);
        receiver.wait_for("two requests", LIMIT, |_| (receiver.requests() > 1).then_some(()));
        daemon.terminate();
        let log = fs::read_to_string(&file).expect("the log");
        // What h2 traces of each frame.
        (log.matches("frame=").count(), log.matches("collected in").count())
    };
    let (of_h2, own) = lines_of("trace");
    assert_eq!(of_h2, 0, "trace is kevmon's own");
    assert!(own > 0);
    let (of_h2, own) = lines_of("info,h2=trace");
    assert!(of_h2 > 0, "asked for");
    assert_eq!(own, 0);
}

#[test]
fn an_empty_plugin_is_named_once_and_again_when_it_becomes_empty() {
    let program = Program::new(WORKLOAD, "empty");
    let mut daemon = Daemon::start(&["--interval", "200ms", "--process-name", &program.pattern()]);
    let text = format!(
        "{}: No processes found matching '{}'",
        program.plugin(),
        program.pattern()
    );
    let said = |daemon: &Daemon| daemon.stderr().matches(&text).count();
    let ticks = |daemon: &mut Daemon| {
        daemon.tick_after(wait::unix_now(), Duration::from_millis(600), LIMIT);
    };
    ticks(&mut daemon);
    assert_eq!(said(&daemon), 1, "{}", daemon.stderr());
    let running = program.start(&["idle"]);
    daemon.wait_until("its process", LIMIT, |tick| {
        tick.expect_group(&program.plugin()).int("process_count") == 1
    });
    running.finish();
    daemon.wait_until("its end", LIMIT, |tick| {
        tick.expect_group(&program.plugin()).int("process_count") == 0
    });
    ticks(&mut daemon);
    assert_eq!(said(&daemon), 2, "{}", daemon.stderr());
    daemon.terminate();
}

#[test]
fn keys_without_effect_of_published_files_are_for_debug_and_the_check() {
    let folder = PluginDir::new();
    let file = "[plugin]\nname = \"kvt-old\"\n[service]\nnamespace = \"n\"\nprocess_name = \"^kvt-none$\"\n\
                [dependencies]\npython_version = \"3.6\"\n";
    folder.write("old", file);
    for (level, says) in [("info", false), ("debug", true)] {
        let daemon = Daemon::start(&["--plugins-dir", folder.path(), "--log-level", level]);
        let said = daemon.stderr().contains("python_version");
        assert_eq!(said, says, "{level}: {}", daemon.stderr());
        daemon.terminate();
    }
    let path = format!("{}/old/plugin.toml", folder.path());
    let checked = kevmon::run(&["plugin", "check", &path]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("python_version"), "{said}");
}

#[test]
fn a_log_file_follows_logrotate_and_its_folders_are_made() {
    let scratch = Scratch::new();
    let folder: PathBuf = scratch.path().join("new/folder");
    let file = folder.join("kevmon.log");
    let daemon = logging_to(&file, &["--process-name", "^kvt-none$", "--log-level", "debug"]);
    wait_for(&file, "collected in");
    // Renamed, without a signal.
    fs::rename(&file, folder.join("kevmon.log.1")).expect("renamed");
    wait_for(&file, "collected in");
    // `create`, with SIGHUP.
    fs::rename(&file, folder.join("kevmon.log.1")).expect("renamed");
    fs::write(&file, "").expect("created");
    daemon.hang_up();
    wait_for(&file, "SIGHUP");
    // `copytruncate`.
    fs::File::options()
        .write(true)
        .open(&file)
        .expect("the log")
        .set_len(0)
        .expect("truncated");
    let log = wait_for(&file, "collected in");
    assert!(!log.contains('\0') && log.starts_with("20"), "{log:?}");
    fs::remove_dir_all(&folder).expect("removed");
    wait_for(&file, "collected in");
    daemon.terminate();
}

#[test]
fn a_log_file_rotates_by_size_and_three_old_ones_stay() {
    let scratch = Scratch::new();
    let file = scratch.path().join("kevmon.log");
    let more = [
        "--process-name",
        "^kvt-none$",
        "--log-level",
        "debug",
        "--log-rotate=4KiB",
    ];
    let daemon = logging_each("20ms", &file, &more);
    let numbered = |number| PathBuf::from(format!("{}.{number}", file.display()));
    wait::until("three old files", LIMIT * 2, || {
        numbered(3).exists().then_some(())
    });
    wait::until("another turn", LIMIT * 2, || {
        let log = fs::read_to_string(numbered(3)).unwrap_or_default();
        (!log.contains("source ebpf") && !log.is_empty()).then_some(())
    });
    daemon.terminate();
    assert!(!numbered(4).exists());
    for path in [numbered(1), numbered(2), numbered(3), file] {
        let log = fs::read_to_string(&path).expect("it was kept");
        assert!(
            log.len() <= 4096 && log.ends_with('\n'),
            "{}: {}",
            path.display(),
            log.len()
        );
    }
}

#[test]
fn a_log_file_that_cannot_be_written_ends_kevmon_at_once() {
    let scratch = Scratch::new();
    let fifo = scratch.path().join("fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .expect("mkfifo(1)");
    assert!(made.success());
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink("/nonexistent", &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(65_534), None).expect("root");
    for (path, words) in [
        (fifo.as_path(), "nobody reads this FIFO"),
        (scratch.path(), "it is a folder"),
        (link.as_path(), "it is a link"),
    ] {
        let path = path.to_str().expect("UTF-8");
        let output = kevmon::run(&["--run-once", "--process-name", "^kvt-none$", "--log-file", path]);
        output.assert_code(2);
        assert!(output.stderr.contains(words), "{path}: {}", output.stderr);
    }
}
