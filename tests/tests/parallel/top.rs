//! `kevmon top`: in a terminal of its own, attached to a daemon and alone.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use kevmon_tests::{
    kevmon::{self, Daemon},
    nobody::Nobody,
    pty::Pty,
    scratch::Scratch,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// Works for a third of the time.
const PULSE: [&str; 5] = ["pulse", "--busy-ms", "10", "--idle-ms", "20"];
const LIMIT: Duration = Duration::from_secs(30);
const SIZE: (u16, u16) = (120, 30);
/// What leaves the alternate screen, and what shows the cursor.
const LEFT: [&str; 2] = ["\x1b[?1049l", "\x1b[?25h"];

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.database().with_file_name("kevmon.sock")
}

fn request(socket: &Path, line: &Value) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply}"))
}

/// A daemon that watches `program`.
fn daemon(program: &Program, interval: &str, database: &Path) -> Daemon {
    let database = database.to_str().unwrap();
    Daemon::start(&[
        "--process-name",
        &program.pattern(),
        "--interval",
        interval,
        "--metadata-db-path",
        database,
    ])
}

/// kevmon top attached to that daemon.
fn attached(database: &Path, more: &[&str]) -> Pty {
    let args = ["top", "--metadata-db-path", database.to_str().unwrap()];
    Pty::start(kevmon::command(&[&args, more].concat()), SIZE)
}

fn alone(program: &Program, more: &[&str]) -> Pty {
    let pattern = program.pattern();
    let args = ["top", "--process-name", &pattern];
    Pty::start(kevmon::command(&[&args, more].concat()), SIZE)
}

/// The terminal is as it was found: modes, screen and cursor.
fn assert_given_back(pty: &Pty) {
    let (now, before) = pty.modes();
    assert_eq!(now, before, "the terminal's modes");
    let written = pty.written();
    let entered = written.rfind("\x1b[?1049h").expect("the other screen");
    for sequence in LEFT {
        assert!(
            written.rfind(sequence) > Some(entered),
            "{sequence:?} after the screen was taken"
        );
    }
}

#[test]
fn values_are_those_of_the_daemons_json() {
    let program = Program::new(WORKLOAD, "topped");
    let _running = [program.start(&PULSE), program.start(&PULSE)];
    let scratch = Scratch::new();
    let mut daemon = daemon(&program, "500ms", &scratch.path().join("metadata.db"));
    let plugin = program.plugin();
    daemon.wait_until("both", LIMIT, |tick| {
        tick.expect_group(&plugin).int("process_count") == 2
    });
    let before = daemon.next_tick(LIMIT);
    let frame = request(&socket(&daemon), &json!({ "command": "top", "all": true }));
    let now = u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos(),
    )
    .unwrap();
    let after = daemon.tick_after(now, Duration::ZERO, LIMIT);
    let (before, after) = (before.expect_group(&plugin), after.expect_group(&plugin));
    let group = &frame["groups"][0];
    assert_eq!(group["label"], plugin.as_str());
    assert_eq!(frame["groups"].as_array().unwrap().len(), 1);
    for (value, metric) in [
        (&group["process_count"], "process_count"),
        (&group["has"]["open_file_descriptors"], "open_file_descriptors"),
        (&group["has"]["threads"], "thread_count"),
        (&group["starts"], "starts"),
        (&group["restarts"], "restarts"),
        (&group["exits"], "exits"),
    ] {
        assert_eq!(value.as_u64(), Some(after.int(metric)), "{metric}");
    }
    let rss = group["has"]["rss_bytes"].as_u64().unwrap();
    let (one, other) = (before.int("memory_rss_total"), after.int("memory_rss_total"));
    let (least, most) = (one.min(other), one.max(other));
    assert!(
        (least.saturating_sub(1 << 20)..=most + (1 << 20)).contains(&rss),
        "{least} {rss} {most}"
    );
    // Sums of whole lives: between those of the collections around them.
    let sum = |key: &str| -> u64 {
        let processes = group["processes"].as_array().unwrap();
        processes
            .iter()
            .map(|process| process["used"][key].as_u64().unwrap())
            .sum()
    };
    for metric in ["cpu_time_ns", "run_queue_wait_ns"] {
        let (least, most) = (before.int(metric), after.int(metric));
        assert!(
            (least..=most).contains(&sum(metric)),
            "{metric}: {least} {} {most}",
            sum(metric)
        );
    }
    let pids = |of: &Value| -> Vec<u64> {
        of.as_array()
            .unwrap()
            .iter()
            .map(|process| process["pid"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(pids(&group["processes"]).len(), 2);
    assert_eq!(
        request(&socket(&daemon), &json!({ "command": "top" }))["groups"][0].get("processes"),
        None
    );
    daemon.terminate();
}

#[test]
fn a_look_takes_no_events_and_a_second_one_within_half_a_second_is_the_same() {
    let program = Program::new(WORKLOAD, "looked");
    let scratch = Scratch::new();
    let mut daemon = daemon(&program, "300ms", &scratch.path().join("metadata.db"));
    let plugin = program.plugin();
    drop(program.start(&PULSE));
    daemon.wait_until("the end", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == 1
    });
    let ask = |since: u64| request(&socket(&daemon), &json!({ "command": "top", "since": since }));
    let kinds = |frame: &Value| -> Vec<String> {
        let events = frame["events"].as_array().unwrap();
        events
            .iter()
            .map(|event| event["event"]["event"].as_str().unwrap().to_owned())
            .collect()
    };
    let (first, second) = (ask(0), ask(0));
    assert_eq!(kinds(&first), ["start", "exit"]);
    assert_eq!(
        kinds(&second),
        ["start", "exit"],
        "whoever asks from the beginning"
    );
    assert_eq!(first["time"], second["time"], "one look for both");
    assert_eq!(kinds(&ask(1)), ["exit"]);
    assert_eq!(kinds(&ask(2)), [] as [&str; 0]);
    assert_eq!(ask(2)["events_missed"], 0);
    daemon.terminate();
}

#[test]
fn bad_requests_are_refused_and_the_daemon_goes_on() {
    let program = Program::new(WORKLOAD, "asked");
    let scratch = Scratch::new();
    let mut daemon = daemon(&program, "200ms", &scratch.path().join("metadata.db"));
    for bad in [
        json!({ "command": "top", "since": -1 }),
        json!({ "command": "top", "groups": "all" }),
        json!({ "command": "top", "groups": [1.5] }),
        json!({ "command": "top", "more": 1 }),
    ] {
        let reply = request(&socket(&daemon), &bad);
        assert!(
            reply["error"].as_str().unwrap().contains("cannot be read"),
            "{reply}"
        );
    }
    let unknown = request(
        &socket(&daemon),
        &json!({ "command": "top", "groups": [u64::MAX], "since": u64::MAX }),
    );
    assert_eq!(unknown["events"], json!([]));
    daemon.next_tick(LIMIT);
    daemon.terminate();
}

#[test]
fn an_attached_top_shows_processes_and_goes_on_with_the_next_daemon() {
    let program = Program::new(WORKLOAD, "shown");
    let running = program.start(&PULSE);
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let first = daemon(&program, "300ms", &database);
    let mut top = attached(&database, &["--interval", "250ms"]);
    let line = top.line("CPU", LIMIT, |line| line.starts_with(">▸") && line.contains("0."));
    assert!(line.contains(" 1 "), "one process: {line}");
    top.press("\r");
    top.shows(&format!(" {} ", running.pid()), LIMIT);
    top.press("/nothing-is-called-this\r");
    top.shows("nothing matches the filter", LIMIT);
    top.press("\x1b");
    top.shows(&format!(" {} ", running.pid()), LIMIT);
    first.terminate();
    top.shows("kevmon has ended", LIMIT);
    top.shows(&format!(" {} ", running.pid()), LIMIT);
    let second = daemon(&program, "300ms", &database);
    top.line("no complaint", LIMIT, |line| {
        line.starts_with(">▸") || line.starts_with(">▾")
    });
    let deadline = Instant::now() + LIMIT;
    while top.screen().iter().any(|line| line.contains("kevmon has ended")) {
        assert!(
            Instant::now() < deadline,
            "it goes on:\n{}",
            top.screen().join("\n")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    top.press("q");
    assert_eq!(top.ended(LIMIT).code(), Some(0));
    assert_given_back(&top);
    second.terminate();
}

#[test]
fn signals_and_keys_give_the_terminal_back() {
    let program = Program::new(WORKLOAD, "signalled");
    let _running = program.start(&PULSE);
    for signal in [
        Some(libc::SIGTERM),
        Some(libc::SIGINT),
        Some(libc::SIGHUP),
        Some(libc::SIGQUIT),
        None,
    ] {
        let mut top = alone(&program, &["--mouse"]);
        top.shows("CSW/s", LIMIT);
        let (now, before) = top.modes();
        assert_ne!(now, before, "raw mode");
        match signal {
            Some(signal) => top.send(signal),
            None => top.press("\x03"),
        }
        assert_eq!(top.ended(LIMIT).code(), Some(0), "{signal:?}");
        assert_given_back(&top);
    }
}

/// A child of the shell that runs in this terminal.
fn child_of(shell: &Pty) -> libc::pid_t {
    let path = format!("/proc/{0}/task/{0}/children", shell.pid());
    let children = fs::read_to_string(path).unwrap();
    children.trim().parse().expect("one child")
}

#[test]
fn a_stop_gives_the_terminal_to_the_shell_and_top_takes_it_again_when_it_goes_on() {
    let program = Program::new(WORKLOAD, "stopped");
    let _running = program.start(&PULSE);
    let top = kevmon::command(&["top", "--process-name", &program.pattern()]);
    let mut shell = Command::new("bash");
    shell
        .args([
            "-mc",
            "\"$0\" \"$@\"; echo stop 1; read; fg; echo stop 2; read; fg; echo ended with $?",
        ])
        .arg(top.get_program())
        .args(top.get_args());
    let mut shell = Pty::start(shell, SIZE);
    shell.shows("CSW/s", LIMIT);
    let pid = child_of(&shell);
    for (stop, said) in [("Ctrl-Z", "stop 1"), ("SIGTSTP", "stop 2")] {
        let (now, before) = shell.modes();
        assert_ne!(now, before, "{stop}: raw mode");
        if stop == "Ctrl-Z" {
            shell.press("\x1a");
        } else {
            // SAFETY: kill(2) takes plain integers; the shell has not reaped it.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGTSTP) }, 0);
        }
        shell.shows(said, LIMIT);
        assert_given_back(&shell);
        shell.press("\n");
        shell.shows("CSW/s", LIMIT);
        shell.line("the keys", LIMIT, |line| line.starts_with("q quit"));
    }
    shell.press("q");
    shell.shows("ended with 0", LIMIT);
    assert_eq!(shell.ended(LIMIT).code(), Some(0));
    assert_given_back(&shell);
}

#[test]
fn without_a_shell_that_could_continue_it_nothing_is_stopped_and_the_screen_is_drawn_again() {
    let program = Program::new(WORKLOAD, "continued");
    let _running = program.start(&PULSE);
    let mut top = alone(&program, &[]);
    top.shows("CSW/s", LIMIT);
    let taken = |top: &Pty| top.written().matches("\x1b[?1049h").count();
    assert_eq!(taken(&top), 1);
    let again = |top: &Pty, signal: &str, times: usize| {
        let deadline = Instant::now() + LIMIT;
        while taken(top) < times {
            assert!(Instant::now() < deadline, "{signal}: {}", top.screen().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
        top.shows("CSW/s", LIMIT);
    };
    top.send(libc::SIGTSTP);
    again(&top, "SIGTSTP", 2);
    top.send(libc::SIGSTOP);
    top.send(libc::SIGCONT);
    again(&top, "SIGCONT", 3);
    top.press("q");
    assert_eq!(top.ended(LIMIT).code(), Some(0));
    assert_given_back(&top);
}

#[test]
fn the_end_of_a_killed_child_is_shown_as_it_happens() {
    let program = Program::new(WORKLOAD, "killed");
    let mut top = alone(
        &program,
        &["--interval", "250ms", "--source", "ebpf", "--color", "never"],
    );
    top.shows("CSW/s", LIMIT);
    let running = program.start(&PULSE);
    let pid = running.pid();
    top.line("the start", LIMIT, |line| {
        line.contains("START") && line.contains(&pid.to_string())
    });
    running.signal(libc::SIGKILL);
    drop(running);
    let line = top.line("the end", LIMIT, |line| {
        line.contains("EXIT") && line.contains(&pid.to_string())
    });
    assert!(line.contains("SIGKILL by "), "{line}");
    top.line("the last end", LIMIT, |line| {
        line.starts_with("last end ") && line.contains("SIGKILL by ")
    });
    let is_coloured = ["\x1b[31m", "\x1b[38;5;1m", "\x1b[32m", "\x1b[38;5;2m"];
    let written = top.written();
    assert!(!is_coloured.iter().any(|colour| written.contains(colour)));
    top.press("q");
    assert_eq!(top.ended(LIMIT).code(), Some(0));
    assert_given_back(&top);
}

#[test]
fn both_sources_show_cpu() {
    let program = Program::new(WORKLOAD, "sourced");
    let _running = program.start(&PULSE);
    for source in ["ebpf", "proc"] {
        let mut top = alone(&program, &["--interval", "250ms", "--source", source]);
        top.shows(&format!("source {source}"), LIMIT);
        top.line("CPU in use", LIMIT, |line| {
            line.starts_with(">▸") && line.contains("0.")
        });
        top.press("q");
        assert_eq!(top.ended(LIMIT).code(), Some(0));
    }
}

#[test]
fn what_keeps_it_from_working_is_said_with_the_remedy() {
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let path = database.to_str().unwrap();
    let piped = kevmon::run(&["top", "--metadata-db-path", path]);
    piped.assert_code(2);
    assert!(
        piped.stderr.contains("standard output is none"),
        "{}",
        piped.stderr
    );
    let said = |mut top: Pty, code: i32, texts: &[&str]| {
        assert_eq!(top.ended(LIMIT).code(), Some(code), "{}", top.written());
        let written = top.written();
        for text in texts {
            assert!(written.contains(text), "{text:?}: {written}");
        }
        assert!(!written.contains("\x1b[?1049h"), "before the screen is taken");
    };
    said(
        attached(&database, &[]),
        3,
        &["no kevmon runs", "--process-name REGEX"],
    );
    let mut dumb = kevmon::command(&["top", "--process-name", "x"]);
    dumb.env("TERM", "dumb");
    said(start_as_it_is(dumb), 2, &["set TERM"]);
    let mut faulty = kevmon::command(&["top", "--process-name", "("]);
    faulty.current_dir(scratch.path());
    said(Pty::start(faulty, SIZE), 2, &["--process-name"]);
    let unknown = kevmon::command(&["top", "--plugin", "kvt-no-such-plugin"]);
    said(Pty::start(unknown, SIZE), 2, &["kvt-no-such-plugin"]);
    // An older one knows status and no more.
    let listener = UnixListener::bind(scratch.path().join("kevmon.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            let reply = if line.contains("status") {
                json!({ "version": "0.0.9", "pid": 1, "run": 1 })
            } else {
                json!({ "error": "the request cannot be read: unknown variant `top`, expected one of `status`", "remedy": "x" })
            };
            writeln!(stream, "{reply}").unwrap();
        }
    });
    said(
        attached(&database, &[]),
        4,
        &["version 0.0.9", "does not know kevmon top", "kevmon --restart"],
    );
}

/// With the terminal's name as the command has it.
fn start_as_it_is(command: Command) -> Pty {
    let mut with_env = Command::new("env");
    with_env
        .arg("TERM=dumb")
        .arg(command.get_program())
        .args(command.get_args());
    Pty::start(with_env, SIZE)
}

#[test]
fn a_user_who_may_not_connect_is_told_of_the_group() {
    let program = Program::new(WORKLOAD, "refused");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let daemon = daemon(&program, "1s", &database);
    fs::set_permissions(
        scratch.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let nobody = Nobody::new();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(nobody.kevmon())
        .args(["top", "--metadata-db-path", database.to_str().unwrap()]);
    let mut top = Pty::start(command, SIZE);
    assert_eq!(top.ended(LIMIT).code(), Some(4), "{}", top.written());
    assert!(top.written().contains("the group kevmon"), "{}", top.written());
    daemon.terminate();
}
