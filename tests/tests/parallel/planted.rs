//! Files that somebody else has put where kevmon looks: settings, what they name, state, logs.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown, lchown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kevmon_tests::{
    kevmon::{self, Daemon, Output},
    scratch::Scratch,
    wait,
    watched::{Watched, run_for},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("root");
}

fn give(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).expect("root");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(config: &Path) -> Output {
    kevmon::run_once(&["--process-name", "^kvt-none$", "--config", text(config)])
}

/// Runs the command that the message ends with, as whoever reads it would.
fn mend(stderr: &str) {
    let line = stderr
        .lines()
        .find(|line| line.contains("; "))
        .expect("a message");
    let remedy = line.rsplit_once("; ").expect("a remedy").1;
    let command = remedy.split(", or ").next().expect("a command");
    let status = Command::new("sh").args(["-c", command]).status().expect("sh(1)");
    assert!(status.success(), "{command}");
}

/// A settings file in a folder of its own, in one of the ways in which others can change what it says.
fn settings(scratch: &Scratch, how: &str) -> PathBuf {
    let folder = scratch.path().join(how);
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("kevmon.toml");
    fs::write(&file, "schema = 1\n").expect("a file");
    match how {
        "fine" => {}
        "file-for-all" => set_mode(&file, 0o666),
        "file-for-a-group" => {
            chown(&file, None, Some(NOBODY)).expect("root");
            set_mode(&file, 0o664);
        }
        "file-of-nobody" => give(&file, NOBODY),
        "folder-for-all" => set_mode(&folder, 0o777),
        "folder-of-nobody" => give(&folder, NOBODY),
        "folder-above-for-all" => {
            set_mode(&folder, 0o777);
            fs::create_dir(folder.join("below")).expect("a folder");
            fs::rename(&file, folder.join("below/kevmon.toml")).expect("a move");
            return folder.join("below/kevmon.toml");
        }
        "link-of-nobody" | "link-of-root" | "link-in-a-sticky-folder" => {
            fs::rename(&file, folder.join("real")).expect("a move");
            symlink("real", &file).expect("a link");
            give(&file, if how == "link-of-nobody" { NOBODY } else { 0 });
            set_mode(
                &folder,
                if how == "link-in-a-sticky-folder" {
                    0o1777
                } else {
                    0o755
                },
            );
        }
        "file-in-a-sticky-folder" => set_mode(&folder, 0o1777),
        "mounted" => {
            // As a ConfigMap comes: kevmon.toml -> ..data/kevmon.toml, ..data -> ..1.
            fs::create_dir(folder.join("..1")).expect("a folder");
            fs::rename(&file, folder.join("..1/kevmon.toml")).expect("a move");
            symlink("..1", folder.join("..data")).expect("a link");
            symlink("..data/kevmon.toml", &file).expect("a link");
        }
        _ => panic!("{how}"),
    }
    file
}

#[test]
fn settings_that_others_can_write_are_refused_with_the_command_that_mends_them() {
    let scratch = Scratch::new();
    for how in ["fine", "file-in-a-sticky-folder", "link-of-root", "mounted"] {
        let file = settings(&scratch, how);
        run(&file).assert_code(1);
    }
    for (how, command) in [
        ("file-for-all", "chmod o-w"),
        ("file-for-a-group", "chmod g-w"),
        ("file-of-nobody", "chown root"),
        ("folder-for-all", "chmod o-w"),
        ("folder-of-nobody", "chown root"),
        ("folder-above-for-all", "chmod o-w"),
    ] {
        let file = settings(&scratch, how);
        let output = run(&file);
        output.assert_code(2);
        assert!(output.stderr.contains(command), "{how}: {}", output.stderr);
        mend(&output.stderr);
        run(&file).assert_code(1);
    }
    for how in ["link-of-nobody", "link-in-a-sticky-folder"] {
        let output = run(&settings(&scratch, how));
        output.assert_code(2);
        assert!(output.stderr.contains("this link "), "{how}: {}", output.stderr);
    }
}

#[test]
fn files_that_settings_name_are_refused_where_others_can_write_them() {
    let scratch = Scratch::new();
    let named = scratch.path().join("named");
    fs::write(&named, "s3cret\n").expect("a file");
    let at = named.display();
    let folder = scratch.path().to_owned();
    for (what, settings) in [
        (
            "a header",
            format!("[export]\nendpoint = 'http://127.0.0.1:9'\nheaders = {{ a = {{ file = '{at}' }} }}"),
        ),
        (
            "a CA",
            format!("[export]\nendpoint = 'https://127.0.0.1:9'\nca_file = '{at}'"),
        ),
        (
            "a key",
            format!(
                "[export]\nendpoint = 'https://127.0.0.1:9'\ncertificate_file = '{at}'\nkey_file = '{at}'"
            ),
        ),
        (
            "a credential",
            "[export]\nendpoint = 'http://127.0.0.1:9'\nheaders = { a = { credential = 'named' } }"
                .to_owned(),
        ),
    ] {
        let config = scratch.path().join("kevmon.toml");
        fs::write(&config, format!("schema = 1\n{settings}\n")).expect("a file");
        for (user, mode, command) in [(NOBODY, 0o600, "chown root"), (0, 0o666, "chmod o-w")] {
            give(&named, user);
            set_mode(&named, mode);
            let mut command_line = kevmon::command(&["--run-once", "--process-name", "^kvt-none$"]);
            command_line
                .args(["--config", text(&config)])
                .env("CREDENTIALS_DIRECTORY", &folder);
            let output = kevmon::finish(command_line);
            output.assert_code(2);
            let wanted = format!("{command} {at}");
            assert!(output.stderr.contains(&wanted), "{what}: {}", output.stderr);
            assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
        }
    }
}

#[test]
fn a_reload_of_a_refused_file_keeps_the_old_settings_and_says_so() {
    let watched = Watched::new(WORKLOAD, "planted-reload", 1, "200ms", "");
    let (before, after) = (
        watched.settings().path().join("before"),
        watched.settings().path().join("after"),
    );
    let settings = |to: &Path| format!("[otlp_json]\npath = '{}'\n", to.display());
    let file = PathBuf::from(watched.write_settings(&settings(&before)));
    let mut daemon = watched.start(&["--config", text(&file)]);
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let grows = |daemon: &mut Daemon, path: &Path| {
        let was = length(path);
        run_for(daemon, Duration::from_secs(2));
        length(path) > was
    };
    wait::until("the first line", LIMIT, || (length(&before) > 0).then_some(()));
    set_mode(&file, 0o666);
    watched.write_settings(&settings(&after));
    daemon.hang_up();
    let wanted = format!("chmod o-w {}", file.display());
    wait::until("a refusal", LIMIT, || {
        daemon.stderr().contains(&wanted).then_some(())
    });
    assert!(grows(&mut daemon, &before), "it goes on as before");
    assert!(!after.exists());
    daemon.terminate();
}

/// kevmon as root, with its state, log and OTLP/JSON where nobody has put links to a file of root's.
#[test]
fn links_of_others_lead_root_nowhere() {
    let scratch = Scratch::new();
    let (shared, victim) = (scratch.path().join("shared"), scratch.path().join("victim"));
    fs::create_dir(&shared).expect("a folder");
    set_mode(&shared, 0o1777);
    fs::write(&victim, "precious\n").expect("a file");
    for name in ["state", "state.lock", "state.spool", "log", "json"] {
        symlink(&victim, shared.join(name)).expect("a link");
        give(&shared.join(name), NOBODY);
    }
    let state = shared.join("state");
    let mut daemon = Daemon::start(&[
        "--process-name",
        "^kvt-none$",
        "--interval",
        "200ms",
        "--metadata-db-path",
        text(&state),
        "--otlp-json",
        text(&shared.join("json")),
    ]);
    run_for(&mut daemon, Duration::from_secs(2));
    let stderr = daemon.stderr();
    assert!(stderr.contains("running without a store"), "{stderr}");
    assert!(stderr.contains("rm ") && stderr.contains("/json"), "{stderr}");
    daemon.terminate();
    let path = shared.join("log");
    let output = kevmon::run_once(&["--process-name", "^kvt-none$", "--log-file", text(&path)]);
    output.assert_code(2);
    assert!(output.stderr.contains("it is a link"), "{}", output.stderr);
    assert_eq!(fs::read_to_string(&victim).expect("still there"), "precious\n");
    let corrupt = fs::read_dir(scratch.path()).expect("the folder").flatten();
    assert_eq!(corrupt.count(), 2, "nothing was made or moved");
}

/// Files may not grow beyond 1 MiB: kevmon goes on, says so once, and counts what is lost.
#[test]
fn the_limit_of_a_files_size_is_a_full_disk() {
    const LARGEST: usize = 1 << 20;
    let watched = Watched::new(WORKLOAD, "planted-fsize", 1, "200ms", "");
    let (log, json) = (
        watched.settings().path().join("log"),
        watched.settings().path().join("json"),
    );
    // Behind these, a few lines fit, and then short ones where long ones do not.
    for (file, room) in [(&json, 20_000), (&log, 3_000)] {
        let long = vec![b'x'; LARGEST - room];
        fs::write(file, [long, vec![b'\n']].concat()).expect("a file");
    }
    let database = text(watched.database()).to_owned();
    let args = [
        &watched.plugin_args()[..],
        &[
            "--metadata-db-path",
            &database,
            "--otlp-json",
            text(&json),
            "--log-file",
            text(&log),
            "--log-level",
            "trace",
        ],
    ]
    .concat();
    let mut daemon = Daemon::start_prepared(&args, |command| {
        let limit = libc::rlimit {
            rlim_cur: LARGEST as u64,
            rlim_max: LARGEST as u64,
        };
        // SAFETY: setrlimit(2) and signal(2) are async-signal-safe. The Rust runtime does not touch SIGXFSZ.
        unsafe {
            command.pre_exec(move || {
                libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
                match libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    });
    run_for(&mut daemon, Duration::from_secs(12));
    let stderr = daemon.stderr();
    let said = stderr
        .matches("log lines are lost until it can be written")
        .count();
    assert_eq!(said, 1, "{stderr}");
    let log = fs::read_to_string(&log).expect("a log");
    let json_said = log.matches("/json: ").count();
    assert!(json_said <= 1, "{log}");
    for part in [&stderr, &log] {
        assert!(part.matches("written again").count() <= 1, "{part}");
    }
    daemon.terminate();
}
