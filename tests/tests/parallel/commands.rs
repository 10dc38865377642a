//! The commands of an operator: `kevmon status`, `reload`, `--stop` and `--restart`, and the socket that they speak to.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kevmon_tests::{
    cgroup::UnitCgroup,
    kevmon::{self, Daemon, Output},
    plugin_dir::PluginDir,
    process::Killed,
    scratch::Scratch,
    truth, wait,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// A command for the instance whose state is in this file.
fn command(args: &[&str], database: &Path) -> Output {
    let database = database.to_str().unwrap();
    kevmon::run(&[args, &["--metadata-db-path", database]].concat())
}

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.database().with_file_name("kevmon.sock")
}

fn status(daemon: &Daemon) -> Value {
    let output = command(&["status", "--json"], daemon.database());
    output.assert_code(0);
    serde_json::from_str(&output.stdout).unwrap()
}

/// What the socket answers to a line.
fn answer(socket: &Path, line: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply}"))
}

#[test]
fn status_says_what_runs() {
    let program = Program::new(WORKLOAD, "asked");
    let running = program.start(&["work"]);
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let mut daemon = Daemon::start(&[
        "--process-name",
        &program.pattern(),
        "--interval",
        "200ms",
        "--metadata-db-path",
        database.to_str().unwrap(),
    ]);
    let plugin = program.plugin();
    daemon.wait_until("the process", LIMIT, |tick| {
        tick.expect_group(&plugin).int("process_count") == 1
    });
    let status = wait::until("how the exports fare", LIMIT, || {
        let status = status(&daemon);
        status["exports"]
            .as_array()
            .is_some_and(|queues| !queues.is_empty())
            .then_some(status)
    });
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["source"], "ebpf");
    assert_eq!(status["stuck_threads"], json!([]));
    assert_eq!(status["state"], daemon.database().to_str().unwrap());
    let of = &status["plugins"][0];
    assert_eq!(of["metrics"]["process_count"], 1);
    assert_eq!(of["processes"][0]["pid"], running.pid());
    assert_eq!(status["exports"][0]["receiver"], "default");
    let text = command(&["status"], daemon.database());
    text.assert_code(0);
    for word in [
        format!("(pid {})", daemon.pid()),
        format!("plugin {plugin}: 1 process"),
        format!("{} {}", running.pid(), program.name()),
    ] {
        assert!(text.stdout.contains(&word), "{word}: {}", text.stdout);
    }
    assert_eq!(fs::metadata(socket(&daemon)).unwrap().mode() & 0o007, 0);
    let path = socket(&daemon);
    daemon.terminate();
    running.finish();
    assert!(database.exists() && !path.exists());
    let output = command(&["status"], &database);
    output.assert_code(3);
    assert!(output.stderr.contains("no kevmon runs"), "{}", output.stderr);
    command(&["--stop"], &database).assert_code(3);
}

/// One that was killed leaves its socket: it is no kevmon that runs, and the next one takes its place.
#[test]
fn a_socket_of_a_killed_kevmon_is_replaced() {
    let program = Program::new(WORKLOAD, "killed");
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let args = [
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().unwrap(),
    ];
    let daemon = Daemon::start(&args);
    let path = socket(&daemon);
    daemon.kill();
    assert!(path.exists());
    command(&["status"], &database).assert_code(3);
    let daemon = Daemon::start(&args);
    let reply = answer(&path, "{\"command\":\"status\"}\n");
    assert_eq!(reply["pid"], daemon.pid());
    daemon.terminate();
}

#[test]
fn requests_are_read_strictly_and_bounded() {
    let program = Program::new(WORKLOAD, "strict");
    let daemon = Daemon::start(&["--process-name", &program.pattern()]);
    let path = socket(&daemon);
    for line in [
        "{}\n".to_owned(),
        "status\n".to_owned(),
        "{\"command\":\"halt\"}\n".to_owned(),
        "{\"command\":\"status\",\"more\":1}\n".to_owned(),
        "x".repeat(100 << 10),
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // The longest is not read to its end.
        let _: std::io::Result<()> = stream.write_all(line.as_bytes());
        let mut reply = Vec::new();
        let _: std::io::Result<usize> = stream.read_to_end(&mut reply);
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(
            reply.is_empty() || reply.contains("\"error\""),
            "{line:.40}: {reply}"
        );
        assert!(line.len() > 4096 || !reply.is_empty(), "{line}");
    }
    assert_eq!(answer(&path, "{\"command\":\"status\"}\n")["pid"], daemon.pid());
    daemon.terminate();
}

/// A service's socket is in the folder that systemd made for it, whatever the state's is.
#[test]
fn the_socket_is_in_the_runtime_directory() {
    let program = Program::new(WORKLOAD, "runtime");
    let (runtime, state) = (Scratch::new(), Scratch::new());
    let (pattern, database) = (program.pattern(), state.path().join("metadata.db"));
    let args = [
        "--process-name",
        &pattern,
        "--metadata-db-path",
        database.to_str().unwrap(),
        "--instance",
        "web",
    ];
    let folder = runtime.path().to_str().unwrap();
    let daemon = Daemon::start_with(&args, &[("RUNTIME_DIRECTORY", folder)]);
    let reply = answer(&runtime.path().join("web.sock"), "{\"command\":\"status\"}\n");
    assert_eq!(reply["pid"], daemon.pid());
    daemon.terminate();
    assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0);
}

/// A unit is ended by its manager, which would start it again otherwise.
#[test]
fn a_unit_is_stopped_and_restarted_by_systemctl() {
    let program = Program::new(WORKLOAD, "unit");
    let scratch = Scratch::new();
    let unit = format!("{}.service", program.name());
    let cgroup = UnitCgroup::new(&unit);
    // As systemd starts a service's main process.
    let starts = "echo 0 >\"$0\"; export INVOCATION_ID=0123 SYSTEMD_EXEC_PID=$$; exec \"$@\"";
    let database = scratch.path().join("metadata.db");
    let mut command = Command::new("sh");
    command.args(["-c", starts]).arg(cgroup.processes());
    command
        .arg(kevmon::binary())
        .args(["--process-name", &program.pattern()]);
    command
        .arg("--metadata-db-path")
        .arg(&database)
        .args(["--keep-watching", "0"]);
    let daemon = Killed(command.stderr(Stdio::null()).spawn().unwrap());
    let asks = ["--metadata-db-path", database.to_str().unwrap()];
    wait::until("kevmon to answer", LIMIT, || {
        let output = kevmon::run(&[&["status", "--json"], &asks[..]].concat());
        output.stdout.contains(&unit).then_some(())
    });
    let said = scratch.path().join("said");
    let systemctl = scratch.path().join("systemctl");
    fs::write(
        &systemctl,
        format!("#!/bin/sh\necho \"$@\" >> {}\n", said.display()),
    )
    .unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    for flag in ["--stop", "--restart"] {
        let mut command = kevmon::command(&[&[flag], &asks[..]].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", scratch.path().display()));
        kevmon::finish(command).assert_code(0);
    }
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(said, format!("stop -- {unit}\nrestart -- {unit}\n"));
    drop(daemon);
}

/// More clients than there are places, none of which says or reads anything.
#[test]
fn slow_clients_hold_nothing_up() {
    let program = Program::new(WORKLOAD, "slow");
    let mut daemon = Daemon::start(&["--process-name", &program.pattern(), "--interval", "200ms"]);
    let path = socket(&daemon);
    let silent: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let asked = Instant::now();
    assert_eq!(answer(&path, "{\"command\":\"status\"}\n")["pid"], daemon.pid());
    let took = asked.elapsed();
    assert!(took < wait::patiently(Duration::from_secs(1)), "{took:?}");
    daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
    drop(silent);
    daemon.terminate();
}

/// Whoever may connect reads; only root and kevmon's own user command.
#[test]
fn others_read_and_command_nothing() {
    const NOBODY: libc::uid_t = 65_534;
    let program = Program::new(WORKLOAD, "others");
    let scratch = Scratch::new();
    let mut daemon = Daemon::start(&[
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        scratch.path().join("state/metadata.db").to_str().unwrap(),
        "--interval",
        "200ms",
    ]);
    let path = socket(&daemon);
    let connects = path.clone();
    // The thread alone becomes another user: the call itself knows nothing of other threads (setresuid(2)).
    let as_nobody = move |line: &'static str| {
        let path = connects.clone();
        let asks = move || {
            // SAFETY: plain integers.
            let become_nobody = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(become_nobody, 0);
            match UnixStream::connect(&path) {
                Ok(_) => Ok(answer(&path, line)),
                Err(error) => Err(error.kind()),
            }
        };
        std::thread::spawn(asks).join().unwrap()
    };
    let refused = as_nobody("{\"command\":\"status\"}\n");
    assert_eq!(refused, Err(std::io::ErrorKind::PermissionDenied));
    // As if nobody were of the group.
    for folder in [scratch.path(), path.parent().unwrap()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let read = as_nobody("{\"command\":\"status\"}\n").unwrap();
    assert_eq!(read["pid"], daemon.pid());
    for line in [
        "{\"command\":\"stop\"}\n",
        "{\"command\":\"restart\"}\n",
        "{\"command\":\"reload\"}\n",
    ] {
        let reply = as_nobody(line).unwrap();
        assert!(
            reply["error"].as_str().unwrap().contains("65534"),
            "{line}: {reply}"
        );
    }
    daemon.tick_after(wait::unix_now(), Duration::from_millis(500), LIMIT);
    daemon.terminate();
}

#[test]
fn a_reload_says_what_came_of_it() {
    let folder = PluginDir::new();
    let plugin = |name: &str| {
        format!(
            "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt\"\nprocess_name = '^none$'\n"
        )
    };
    folder.write("one", &plugin("one"));
    let daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    folder.write("two", &plugin("two"));
    let output = command(&["reload"], daemon.database());
    output.assert_code(0);
    assert!(output.stdout.contains("2 plugins run"), "{}", output.stdout);
    folder.write("two", "schema = 1\n[plugin]\nnmae = \"two\"\n");
    let output = command(&["reload"], daemon.database());
    output.assert_code(2);
    assert!(output.stderr.contains("nmae"), "{}", output.stderr);
    daemon.terminate();
}

/// The same process goes on as another kevmon, with its arguments, and what happened meanwhile is counted.
#[test]
fn a_restart_goes_on_in_the_same_process_and_a_stop_ends_it() {
    let program = Program::new(WORKLOAD, "restarted");
    let mut daemon = Daemon::start(&[
        "--process-name",
        &program.pattern(),
        "--interval",
        "200ms",
        "--keep-watching",
        "60s",
    ]);
    let plugin = program.plugin();
    truth::spawn(&program, &["exit", "0"]).reap();
    daemon.wait_until("the first life", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == 1
    });
    let before = status(&daemon);
    command(&["--restart"], daemon.database()).assert_code(0);
    let after = status(&daemon);
    assert_eq!(before["pid"], after["pid"]);
    assert_ne!(before["run"], after["run"]);
    assert!(
        daemon.stderr().contains("the kernel side went on"),
        "{}",
        daemon.stderr()
    );
    truth::spawn(&program, &["exit", "0"]).reap();
    daemon.wait_until("the second life", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == 2
    });
    let database = daemon.database().to_owned();
    command(&["--stop"], &database).assert_code(0);
    command(&["status"], &database).assert_code(3);
}
