//! Collectors that mean no good, or no harm: what they can reach, how they end, what is counted; and that what is well comes
//! through.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::{Duration, Instant},
};

use kevmon_tests::{
    executable,
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    receiver::Receiver,
    scratch::Scratch,
    tick::Tick,
    wait,
    workload::Program,
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// A plugin with one command collector, a shell script beside its file.
struct Script {
    folder: PluginDir,
}

impl Script {
    fn new(keys: &str, script: &str) -> Self {
        let folder = PluginDir::new();
        let text = format!(
            "schema = 1\n[monitoring]\ninterval = \"300ms\"\n[[collector]]\nname = \"c\"\nkind = \"command\"\ncommand = \
             [\"./run.sh\"]\n{keys}\n"
        );
        let file = folder.write("hostile", &text);
        let script_file = file.with_file_name("run.sh");
        executable::write(&script_file, &format!("#!/bin/sh\n{script}\n"));
        // The scratch directory is this user's own; whoever runs the script has to get there.
        for part in script_file.ancestors().skip(1).take(2) {
            fs::set_permissions(part, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(&[&["--plugins-dir", self.folder.path()], args].concat())
    }

    /// Runs until a value of this name has come, and returns it.
    fn value(&self, name: &str) -> String {
        let mut daemon = self.start(&[]);
        let tick = daemon.wait_until(name, LIMIT, |tick| found(tick, "hostile", name).is_some());
        let value = found(&tick, "hostile", name).unwrap();
        daemon.terminate();
        value
    }

    /// Runs until this kind of failure is told, and returns the log.
    fn failure(&self, kind: &str) -> String {
        let daemon = self.start(&[]);
        let told = format!("hostile: c: {kind}: ");
        let log = wait::until(&told, LIMIT, || {
            let log = daemon.stderr();
            log.contains(&told).then_some(log)
        });
        daemon.terminate();
        log
    }
}

/// What a tick has of a custom value, as text.
fn found(tick: &Tick, plugin: &str, name: &str) -> Option<String> {
    let custom = tick.group(plugin)?.0.get("custom")?.as_array()?.clone();
    let value = custom.iter().find(|value| value["name"] == name)?;
    Some(match &value["value"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Processes whose command line holds `mark`.
fn marked(mark: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
    .collect()
}

#[test]
fn a_program_has_no_privileges_and_a_clean_environment() {
    let script = Script::new(
        "environment = { GIVEN = \"yes\" }",
        "grep -E 'CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|^Uid' /proc/self/status | while read key a rest; do
            echo \"$(echo $key | tr -d :).x \\\"$a\\\"\"; done
         echo \"groups.x \\\"$(id -G)\\\"\"
         echo \"vars.x \\\"$(env | grep -vE '^(PWD|SHLVL|_)=' | cut -d= -f1 | sort | tr '\\n' ' ')\\\"\"
         echo \"fds.x \\\"$(ls /proc/self/fd | tr '\\n' ' ')\\\"\"",
    );
    let mut daemon = Daemon::start_with(
        &["--plugins-dir", script.folder.path()],
        &[("SECRET", "s3cret"), ("INSTANA_AGENT_HOST", "localhost")],
    );
    let tick = daemon.wait_until("its values", LIMIT, |tick| {
        found(tick, "hostile", "fds.x").is_some()
    });
    let value = |name: &str| found(&tick, "hostile", name).unwrap();
    for set in ["CapEff.x", "CapPrm.x", "CapBnd.x", "CapAmb.x"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("NoNewPrivs.x"), "1");
    let uid: u32 = value("Uid.x").parse().unwrap();
    assert!((60_706..=61_183).contains(&uid), "{uid}");
    assert_eq!(value("groups.x"), value("Uid.x"));
    assert_eq!(value("vars.x").trim(), "GIVEN KEVMON_INTERVAL LANG PATH");
    // ls opens the directory itself.
    assert_eq!(value("fds.x").trim(), "0 1 2 3");
    daemon.terminate();
}

#[test]
fn what_it_leaves_behind_dies_with_it() {
    let mark = format!("kvt-left-{}", std::process::id());
    let script = Script::new(
        "timeout = \"500ms\"",
        &format!(
            "trap '' TERM HUP INT
             for i in 1 2 3; do setsid sh -c \"trap '' TERM; sleep 300; : {mark}\" & done
             (setsid sh -c \"sleep 300; : {mark}\" &) &
             sleep 300; : {mark}"
        ),
    );
    let log = script.failure("timeout");
    assert!(log.contains("took longer than 500ms"), "{log}");
    wait::until("the end of everything", LIMIT, || {
        marked(&mark).is_empty().then_some(())
    });
    // One that ends by itself leaves nothing either.
    let script = Script::new(
        "",
        &format!("(setsid sh -c \"sleep 300; : {mark}\" &) >/dev/null 2>&1; echo done.x 1"),
    );
    assert_eq!(script.value("done.x"), "1");
    wait::until("the end of the daemon", LIMIT, || {
        marked(&mark).is_empty().then_some(())
    });
}

#[test]
fn output_and_memory_are_bounded() {
    let log = Script::new("timeout = \"10s\"", "exec head -c 1000000000 /dev/zero").failure("output_limit");
    assert!(log.contains("more than max_output"), "{log}");
    let log = Script::new(
        "max_memory = \"64MiB\"",
        "exec python3 -c \"x = bytearray(10 << 30); print('got.x 1')\"",
    )
    .failure("exit_status");
    assert!(log.contains("MemoryError"), "{log}");
}

#[test]
fn neither_secrets_nor_kevmons_state_can_be_read() {
    let secret = Scratch::new();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root_only = secret.path().join("root-only");
    fs::write(&root_only, "s3cret").unwrap();
    fs::set_permissions(&root_only, fs::Permissions::from_mode(0o600)).unwrap();
    let state = Scratch::new();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let database = state.path().join("metadata.db");
    // Also as root, by name: without capabilities root still owns these files.
    for user in ["", "user = \"root\""] {
        let script = Script::new(
            user,
            &format!(
                "probe() {{ if cat \"$2\" >/dev/null 2>&1; then echo \"$1 1\"; else echo \"$1 0\"; fi; }}
                 probe root.only {}
                 probe shadow /etc/shadow
                 probe state {}
                 probe spool {}.spool
                 probe environ /proc/{}/environ
                 probe passwd /etc/passwd
                 if echo x 2>/dev/null >/tmp/kvt-written; then echo writes 1; else echo writes 0; fi",
                root_only.display(),
                database.display(),
                database.display(),
                std::process::id(),
            ),
        );
        let mut daemon = script.start(&["--metadata-db-path", database.to_str().unwrap()]);
        let tick = daemon.wait_until("its values", LIMIT, |tick| {
            found(tick, "hostile", "writes").is_some()
        });
        let value = |name: &str| found(&tick, "hostile", name).unwrap();
        // For the sake of the comparison: these are there, and open to others.
        fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
        let expected = [
            ("root.only", if user.is_empty() { "0" } else { "1" }),
            ("shadow", "0"),
            ("state", "0"),
            ("spool", "0"),
            ("environ", "0"),
            ("passwd", "1"),
            ("writes", "0"),
        ];
        for (name, expected) in expected {
            assert_eq!(value(name), expected, "{name} with {user:?}");
        }
        daemon.terminate();
    }
}

#[test]
fn never_two_at_once_and_failures_are_counted() {
    let script = Script::new(
        "interval = \"100ms\"\ntimeout = \"5s\"",
        "sleep 1; echo slow.x 1; exit 3",
    );
    let receiver = Receiver::start();
    let mut daemon = script.start(&["--endpoint", &format!("http://127.0.0.1:{}", receiver.port())]);
    wait::until("both kinds of failure", LIMIT, || {
        let log = daemon.stderr();
        (log.contains("hostile: c: still_running: ")
            && log.contains("hostile: c: exit_status: it ended with exit code 3"))
        .then_some(())
    });
    daemon.next_tick(LIMIT);
    let log = daemon.stderr();
    assert_eq!(log.matches("still_running").count(), 1, "told once: {log}");
    daemon.terminate();
}

/// What runs every five minutes does not run at each start; what it has become does.
#[test]
fn last_runs_are_kept_over_restarts() {
    let state = Scratch::new();
    let database = state.path().join("metadata.db");
    let database = database.to_str().unwrap();
    let script = Script::new("interval = \"300s\"", "echo ran.x 1");
    let runs = |what: &str| {
        let mut daemon = script.start(&["--metadata-db-path", database]);
        // A run that begins at once brings its value within the first collections.
        while daemon.ticks().len() < 8 {
            daemon.next_tick(LIMIT);
        }
        let found = daemon
            .ticks()
            .iter()
            .filter(|tick| found(tick, "hostile", "ran.x").is_some());
        let count = found.count();
        eprintln!("{what}: {count} runs");
        daemon.terminate();
        count
    };
    assert_eq!(runs("the first start"), 1);
    assert_eq!(runs("the second start"), 0);
    let file = PathBuf::from(script.folder.path()).join("hostile/plugin.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("300s", "1s")).unwrap();
    assert!(runs("a shorter interval") >= 1);
    fs::write(&file, text.replace("\"./run.sh\"", "\"./run.sh\", \"changed\"")).unwrap();
    assert_eq!(runs("another command"), 1);
    assert_eq!(runs("the same again"), 0);
}

#[test]
fn a_flood_of_log_is_cut_off() {
    let script = Script::new(
        "interval = \"50ms\"",
        "head -c 1900 /dev/zero | tr '\\0' x | fold -w 100 >&2; echo v.x 1",
    );
    let began = Instant::now();
    let mut daemon = script.start(&[]);
    let burst = wait::until("the end of the burst", LIMIT, || {
        let log = daemon.stderr();
        let end = log.find("bytes of its log are left out")?;
        Some(log[..end].to_owned())
    });
    daemon.next_tick(LIMIT);
    // Room for 2,000 bytes more comes with each second, which a busy host takes some of.
    let most = 130_000 + 2_000 * usize::try_from(began.elapsed().as_secs()).expect("a few seconds");
    let written = burst.matches("stderr: x").count() * 100;
    assert!((90_000..most).contains(&written), "{written} bytes");
    daemon.terminate();
}

fn files(path: &str, keys: &str) -> PluginDir {
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[monitoring]\ninterval = \"300ms\"\n[[collector]]\nname = \"c\"\nkind = \"file\"\npath = '{path}'\n\
         {keys}\n[[collector.metric]]\nname = \"value\"\nregex = '(.+)'\n"
    );
    folder.write("reader", &text);
    folder
}

#[test]
fn files_that_are_refused() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| scratch.path().join(name);
    let plain = at("plain");
    fs::write(&plain, "7\n").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&plain, at("link")).unwrap();
    symlink(scratch.path(), at("folder")).unwrap();
    fs::write(at("long"), vec![b'x'; 70_000]).unwrap();
    fs::set_permissions(at("long"), fs::Permissions::from_mode(0o644)).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(at("fifo"))
        .status();
    assert!(fifo.unwrap().success());
    let cases: [(PathBuf, &str); 7] = [
        (PathBuf::from("/etc/shadow"), "ermission denied"),
        (at("fifo"), "is not a regular file"),
        (at("link"), "a symbolic link is on the way"),
        (at("folder/plain"), "a symbolic link is on the way"),
        (at("long"), "is longer than 64 KiB"),
        (scratch.path().to_owned(), "is not a regular file"),
        (PathBuf::from("/dev/zero"), "is not a regular file"),
    ];
    for (path, reason) in cases {
        let folder = files(path.to_str().unwrap(), "");
        let daemon = Daemon::start(&["--plugins-dir", folder.path()]);
        let log = wait::until(reason, LIMIT, || {
            let log = daemon.stderr();
            log.contains("reader: c: refused: ").then_some(log)
        });
        assert!(log.contains(reason), "{}: {log}", path.display());
        daemon.terminate();
    }
    let folder = files(plain.to_str().unwrap(), "");
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let tick = daemon.wait_until("the value", LIMIT, |tick| {
        found(tick, "reader", "value").is_some()
    });
    assert_eq!(found(&tick, "reader", "value").unwrap(), "7");
    daemon.terminate();

    let folder = files("/proc/{pid}/environ", "");
    let output = kevmon::run_once(&["--plugins-dir", folder.path()]);
    output.assert_code(2);
    assert!(
        output
            .stderr
            .contains("is not among the files of a process that may be read"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_file_of_each_member() {
    let program = Program::new(WORKLOAD, "member");
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[service]\nprocess_name = '{}'\n[monitoring]\ninterval = \"300ms\"\n[[collector]]\nname = \"status\"\n\
         kind = \"file\"\npath = \"/proc/{{pid}}/status\"\n[[collector.metric]]\nname = \"my.threads\"\nkey = \"Threads\"\n",
        program.pattern()
    );
    folder.write("members", &text);
    let running = [program.start(&["work"]), program.start(&["work"])];
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let tick = daemon.wait_until("two values", LIMIT, |tick| {
        let custom = tick
            .group("members")
            .and_then(|group| group.0.get("custom").cloned());
        custom.is_some_and(|custom| custom.as_array().unwrap().len() == 2)
    });
    let custom = tick.expect_group("members").0["custom"].as_array().unwrap();
    let mut pids: Vec<String> = custom
        .iter()
        .map(|value| {
            assert_eq!(
                (&value["name"], &value["value"]),
                (&"my.threads".into(), &1.into())
            );
            value["attributes"]["process.pid"].as_str().unwrap().to_owned()
        })
        .collect();
    pids.sort();
    let mut expected: Vec<String> = running.iter().map(|running| running.pid().to_string()).collect();
    expected.sort();
    assert_eq!(pids, expected);
    daemon.terminate();
}

/// What the reader says of it is longer than a pipe holds.
#[test]
fn a_file_of_the_greatest_length_is_read() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = scratch.path().join("long");
    fs::write(&path, format!("7{}", "\n".repeat(65_000))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let folder = files(path.to_str().unwrap(), "timeout = \"3s\"");
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let tick = daemon.wait_until("its value", LIMIT, |tick| {
        found(tick, "reader", "value").is_some()
    });
    assert_eq!(found(&tick, "reader", "value").unwrap(), "7");
    daemon.terminate();
}

/// As it is shipped: switched off, and asked for by name.
#[test]
fn the_shipped_coin_works_within_its_bounds() {
    let folder = PluginDir::new();
    let shipped = PluginDir::shipped().join("random_coin");
    let text = fs::read_to_string(shipped.join("plugin.toml")).unwrap();
    assert!(text.contains("\nenabled = false\n"), "{text}");
    let file = folder.write("random_coin", &text);
    executable::copy(
        shipped.join("random_coin.sh"),
        file.with_file_name("random_coin.sh"),
    );
    for part in file.ancestors().skip(1).take(2) {
        fs::set_permissions(part, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = kevmon::run_once(&["--plugins-dir", folder.path()]);
    output.assert_code(2); // nobody has asked for it by name
    let run = |settings: &[&str]| {
        let args = [
            "plugin",
            "run",
            "random_coin",
            "--plugins-dir",
            folder.path(),
            "--interval",
            "500ms",
            "--count",
            "3",
        ];
        kevmon::run(&[&args[..], settings].concat())
    };
    let output = run(&[]);
    output.assert_code(0);
    let lines = output
        .stdout
        .lines()
        .filter_map(|line| line.split_once(" uniform "));
    let uniform: Vec<f64> = lines.map(|(_, value)| value.parse().unwrap()).collect();
    assert!(
        uniform.len() >= 2 && uniform.iter().all(|one| (0.0..1.0).contains(one)),
        "{uniform:?}"
    );
    assert!(
        uniform.windows(2).all(|pair| pair[0] != pair[1]),
        "random: {uniform:?}"
    );
    assert!(!output.stderr.contains("leftovers"), "{}", output.stderr);
    let output = run(&["--set", "gauss_mean=8.5", "--set", "gauss_stddev=0"]);
    output.assert_code(0);
    assert!(
        output.stdout.contains(" [random_coin()] gauss 8.5"),
        "{}",
        output.stdout
    );
    let output = run(&["-c", "{ gauss_mean: 10.5 }"]);
    output.assert_code(2);
    assert!(
        output.stderr.contains("10.5 is out of bounds; write 0 to 10"),
        "{}",
        output.stderr
    );
}

/// Each awk has a generator of its own; the numbers are the kernel's, and `od` has ended before awk does.
#[test]
fn the_coin_is_random_with_every_awk() {
    let scratch = Scratch::new();
    let script = PluginDir::shipped().join("random_coin/random_coin.sh");
    let is_there = |program: &str| {
        let places = ["/usr/bin", "/bin", "/usr/local/bin"];
        places
            .iter()
            .any(|folder| std::path::Path::new(folder).join(program).exists())
    };
    let all = ["awk", "mawk", "gawk", "busybox awk", "original-awk"];
    let present: Vec<&str> = all
        .into_iter()
        .filter(|awk| awk.split(' ').next().is_some_and(is_there))
        .collect();
    assert!(!present.is_empty(), "missing prerequisite: no awk");
    for awk in present {
        let folder = scratch.path().join(awk.replace(' ', "-"));
        fs::create_dir(&folder).unwrap();
        let program = awk.split(' ').next().unwrap();
        let path = ["/usr/bin", "/bin", "/usr/local/bin"]
            .map(|folder| PathBuf::from(folder).join(program))
            .into_iter()
            .find(|path| path.exists());
        // busybox goes by the name that it is called by.
        symlink(path.unwrap(), folder.join("awk")).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let output = std::process::Command::new("sh")
                .arg(&script)
                .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
                .env("KEVMON_SETTING_gauss_mean", "8.5")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success(),
                "{awk}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let lines: Vec<&str> = text.lines().collect();
            let [uniform, gauss] = lines[..] else {
                panic!("{awk}: {text:?}")
            };
            let number = |line: &str, name: &str| line.strip_prefix(name).unwrap().parse::<f64>().unwrap();
            assert!((0.0..1.0).contains(&number(uniform, "uniform ")), "{awk}: {text}");
            assert!((5.0..12.0).contains(&number(gauss, "gauss ")), "{awk}: {text}");
            assert!(seen.insert(text.clone()), "{awk} gave the same twice: {text}");
        }
    }
}
