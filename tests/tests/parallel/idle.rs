//! A daemon without plugins waits: it says so once, starts what appears within two seconds, and goes on from its state.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks,
    kevmon::{self, Daemon},
    scratch::Scratch,
    truth, wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
/// From the moment in which a plugin file is there until its first collection.
const EFFECT: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(15);

fn plugin(name: &str, pattern: &str, more: &str) -> String {
    format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"Kvt\"\nprocess_name = '{pattern}'\n\
         [monitoring]\ninterval = \"100ms\"\n{more}"
    )
}

/// Where a daemon looks for plugins, and how it is told so.
enum Place {
    /// `--plugins-dir`.
    Named(PathBuf),
    /// `KEVMON_PLUGIN_PATH`, whose folders need not exist.
    Path(PathBuf),
    /// `plugins` in the folder in which kevmon starts.
    Here,
}

/// A kind of folder without a plugin that could run.
struct Case {
    name: &'static str,
    prepare: fn(&Path) -> Place,
    /// The folder in which a plugin is put in the end.
    appears_in: fn(&Path) -> PathBuf,
}

const CASES: [Case; 7] = [
    Case {
        name: "an empty folder",
        prepare: |root| {
            fs::create_dir(root.join("empty")).unwrap();
            Place::Named(root.join("empty"))
        },
        appears_in: |root| root.join("empty"),
    },
    Case {
        name: "a folder that does not exist yet, nor those above it",
        prepare: |root| Place::Path(root.join("a/b/c/plugins")),
        appears_in: |root| root.join("a/b/c/plugins"),
    },
    Case {
        name: "a link that leads nowhere yet",
        prepare: |root| {
            symlink(root.join("volume/plugins"), root.join("link")).unwrap();
            Place::Path(root.join("link"))
        },
        appears_in: |root| root.join("volume/plugins"),
    },
    Case {
        name: "the folder beside it",
        prepare: |_| Place::Here,
        appears_in: |_| PathBuf::new(),
    },
    Case {
        name: "a disabled plugin",
        prepare: |root| {
            let folder = root.join("off/off");
            fs::create_dir_all(&folder).unwrap();
            fs::write(
                folder.join("plugin.toml"),
                plugin("off", "^kvt-off$", "enabled = false\n"),
            )
            .unwrap();
            Place::Named(root.join("off"))
        },
        appears_in: |root| root.join("off"),
    },
    Case {
        name: "a plugin for another host",
        prepare: |root| {
            let folder = root.join("else/there");
            fs::create_dir_all(&folder).unwrap();
            let filter = "resource_filter = 'resource_id = \"kvt-no-such-host\"'\n";
            fs::write(folder.join("plugin.toml"), plugin("there", "^kvt-off$", filter)).unwrap();
            Place::Named(root.join("else"))
        },
        appears_in: |root| root.join("else"),
    },
    Case {
        name: "a folder with files that are no plugins",
        prepare: |root| {
            fs::create_dir(root.join("other")).unwrap();
            fs::write(root.join("other/README"), "nothing").unwrap();
            Place::Named(root.join("other"))
        },
        appears_in: |root| root.join("other"),
    },
];

/// Longer than kevmon waits with its first look for changes after its start.
const SETTLED: Duration = Duration::from_secs(2);

#[test]
fn a_daemon_without_plugins_waits_and_starts_what_appears() {
    let started = CASES.map(|case| {
        let scratch = Scratch::new();
        let root = scratch.path();
        let folder = (case.appears_in)(root);
        let (daemon, folder) = match (case.prepare)(root) {
            Place::Named(named) => (Daemon::start(&["--plugins-dir", named.to_str().unwrap()]), folder),
            Place::Path(path) => {
                let path = path.to_str().unwrap();
                (Daemon::start_with(&[], &[("KEVMON_PLUGIN_PATH", path)]), folder)
            }
            Place::Here => {
                let daemon = Daemon::start(&[]);
                let here = fs::read_link(format!("/proc/{}/cwd", daemon.pid())).unwrap();
                (daemon, here.join("plugins"))
            }
        };
        (case.name, scratch, daemon, folder)
    });
    std::thread::sleep(SETTLED);
    for (name, _scratch, daemon, folder) in started {
        starts_what_appears(name, daemon, &folder);
    }
}

/// A plugin that appears in `folder` runs in time, and so does the next one after it has gone.
fn starts_what_appears(name: &str, mut daemon: Daemon, folder: &Path) {
    let program = Program::new(WORKLOAD, "appears");
    let running = program.start(&["idle"]);
    let first = &daemon.ticks()[0];
    assert_eq!(first.groups().count(), 0, "{name}: {}", first.0);
    assert!(first.complete(), "{name}: {}", first.0);

    let file = folder.join("late/plugin.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, plugin("late", &program.pattern(), "")).unwrap();
    let appeared = Instant::now();
    let tick = daemon.wait_until(name, LIMIT, |tick| tick.group("late").is_some());
    let took = appeared.elapsed();
    assert!(took <= EFFECT, "{name}: it took {took:?}");
    let group = tick.expect_group("late");
    let counts = ["process_count", "joins"].map(|metric| group.int(metric));
    assert_eq!(counts, [1, 1], "{name}: {}", group.0);

    // And back: the daemon goes on without it, and takes the next one.
    fs::remove_file(&file).unwrap();
    wait::until("the second wait", LIMIT, || {
        (daemon.stderr().matches("no plugin runs").count() == 2).then_some(())
    });
    fs::write(&file, plugin("next", &program.pattern(), "")).unwrap();
    daemon.wait_until("another plugin", EFFECT, |tick| tick.group("next").is_some());
    assert_eq!(running.finish().status, 0);
    let log = daemon.stderr();
    let told = log.matches("no plugin runs").count();
    assert_eq!(told, 2, "{name}: said once each time:\n{log}");
    assert!(!log.contains("ERROR command line"), "{name}:\n{log}");
    let last = daemon.terminate();
    assert_eq!(last.expect_group("next").int("exits"), 1, "{name}: {}", last.0);
}

#[test]
fn a_folder_that_comes_to_a_running_daemon_is_seen_in_time() {
    // Two folders: what is watched in one of them tells nothing of the other.
    let (scratch, apart) = (Scratch::new(), Scratch::new());
    let folder = apart.path().join("a/b/plugins");
    let program = Program::new(WORKLOAD, "comes");
    let here = scratch.path().join("here/steady");
    fs::create_dir_all(&here).unwrap();
    fs::write(here.join("plugin.toml"), plugin("steady", &program.pattern(), "")).unwrap();
    let path = format!("{}:{}", scratch.path().join("here").display(), folder.display());
    let mut daemon = Daemon::start_with(&[], &[("KEVMON_PLUGIN_PATH", &path)]);
    std::thread::sleep(SETTLED);
    // What appears beside it is of no interest.
    fs::create_dir(apart.path().join("other")).unwrap();
    fs::create_dir_all(folder.join("late")).unwrap();
    fs::write(
        folder.join("late/plugin.toml"),
        plugin("late", &program.pattern(), ""),
    )
    .unwrap();
    daemon.wait_until("the plugin", EFFECT, |tick| tick.group("late").is_some());
    assert!(!daemon.stderr().contains("no plugin runs"), "{}", daemon.stderr());
    daemon.terminate();
}

#[test]
fn the_folders_that_are_watched_are_named() {
    let scratch = Scratch::new();
    let (there, missing) = (scratch.path().join("there"), scratch.path().join("missing"));
    fs::create_dir(&there).unwrap();
    let path = format!("{}:{}", there.display(), missing.display());
    let daemon = Daemon::start_with(&[], &[("KEVMON_PLUGIN_PATH", &path)]);
    let log = daemon.stderr();
    let line = log.lines().find(|line| line.contains("no plugin runs")).unwrap();
    for text in [
        format!("{},", there.display()),
        format!("{} (does not exist yet)", missing.display()),
        "/etc/kevmon/plugins".to_owned(),
    ] {
        assert!(format!("{line},").contains(&text), "{text} is not in {line}");
    }
    daemon.terminate();
}

#[test]
fn a_single_run_without_plugins_is_an_error_and_so_is_what_was_asked_for_by_name() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("plugins");
    fs::create_dir_all(folder.join("off")).unwrap();
    let named = folder.to_str().unwrap();
    let output = kevmon::run_once(&["--plugins-dir", named]);
    output.assert_code(2);
    assert!(output.stderr.contains(named), "{}", output.stderr);
    fs::write(
        folder.join("off/plugin.toml"),
        plugin("off", "^kvt-off$", "enabled = false\n"),
    )
    .unwrap();
    let output = kevmon::run_once(&["--plugins-dir", named]);
    output.assert_code(2);
    assert!(output.stderr.contains("off/plugin.toml"), "{}", output.stderr);
    for args in [
        &["--plugins-dir", named, "--plugin", "off"][..],
        &["--plugins-dir", named, "--plugin", "none"],
        &["--plugins-dir", "/no/such/folder"],
    ] {
        kevmon::run(args).assert_code(2);
    }
    // A daemon that could run nothing but what has faults ends with all of them: somebody has to mend them.
    fs::write(folder.join("off/plugin.toml"), "[plugin\n").unwrap();
    let output = kevmon::run(&["--plugins-dir", named]);
    output.assert_code(2);
    assert!(output.stderr.contains("off/plugin.toml:1"), "{}", output.stderr);
}

#[test]
fn a_plugin_that_appears_late_goes_on_from_the_state() {
    for late_start in [false, true] {
        let scratch = Scratch::new();
        let folder = scratch.path().join("plugins");
        let database = scratch.path().join("metadata.db");
        let file = folder.join("late/plugin.toml");
        let program = Program::new(WORKLOAD, "kept");
        let text = plugin("late", &program.pattern(), "");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
        let args = [
            "--plugins-dir",
            folder.to_str().unwrap(),
            "--metadata-db-path",
            database.to_str().unwrap(),
        ];
        let mut daemon = Daemon::start(&args);
        for _ in 0..3 {
            truth::spawn(&program, &["burn", "--cpu-ms", "5"]).reap();
        }
        let mut running = program.start(&["work"]);
        assert_eq!(running.ask("user 100"), "ok");
        daemon.wait_until("four starts", LIMIT, |tick| {
            tick.group("late")
                .is_some_and(|group| group.int("starts") == 4 && group.int("exits") == 3)
        });
        let mut ticks = daemon.kill();

        // The volume is not mounted yet.
        fs::rename(&folder, scratch.path().join("later")).unwrap();
        fs::create_dir(&folder).unwrap();
        let mut daemon = Daemon::start(&args);
        assert_eq!(daemon.ticks()[0].groups().count(), 0);
        let other = late_start.then(|| program.start(&["idle"]));
        assert_eq!(running.ask("user 100"), "ok");
        fs::rename(scratch.path().join("later/late"), folder.join("late")).unwrap();
        let tick = daemon.wait_until("the plugin", LIMIT, |tick| tick.group("late").is_some());
        assert!(!tick.complete(), "what ended meanwhile was not seen: {}", tick.0);
        let group = tick.expect_group("late");
        let others = u64::from(late_start);
        let counts = ["starts", "exits", "joins", "process_count"];
        assert_eq!(
            counts.map(|metric| group.int(metric)),
            [4, 3, others, 1 + others],
            "{}",
            group.0
        );
        // Its end is seen, so it is followed; with the whole of its usage.
        let ended = running.finish();
        assert_eq!(ended.status, 0);
        let tick = daemon.wait_until("its end", LIMIT, |tick| {
            tick.group("late").is_some_and(|group| group.exits_with(0) == 4)
        });
        assert!(
            tick.expect_group("late").float("cpu_user_time_total") > 0.18,
            "{}",
            tick.0
        );
        drop(other);
        ticks.extend(daemon.ticks().iter().cloned());
        checks::assert_sum_rule(&ticks, "late");
        daemon.terminate();
    }
}
