//! CAP_BPF and CAP_PERFMON are given up once the programs are attached.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use kevmon_tests::{
    cgroup::UnitCgroup,
    features::{kernel, tell},
    kevmon::{self, Daemon},
    nobody::Nobody,
    plugin_dir::PluginDir,
    process::Killed,
    push::plugin_file,
    scratch::Scratch,
    truth, wait,
    workload::Program,
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65534;
const FEATURE: &str = "CAP_BPF and CAP_PERFMON after the start";
/// CAP_PERFMON and CAP_BPF (include/uapi/linux/capability.h).
const LOADING: u64 = 1 << 38 | 1 << 39;

/// Which of the two each thread of a process could use, or make usable.
fn held(pid: u32) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let statuses = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let held = |status: String| {
        let set = |name: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(text.trim(), 16).unwrap() & LOADING
        };
        ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"]
            .map(set)
            .iter()
            .fold(0, |all, set| all | set)
    };
    statuses.map(held).collect()
}

/// Before Linux 5.19 (kernel/bpf/syscall.c, __sys_bpf).
fn wanted_for_each_look() -> bool {
    let knob = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap_or_default();
    kernel() < (5, 19) && knob.trim() != "0"
}

fn assert_gone(pid: u32) {
    let held = held(pid);
    assert!(held.len() > 3 && held.iter().all(|&held| held == 0), "{held:x?}");
}

fn assert_refused(asks: &[&str]) {
    let output = kevmon::run(&[&["--restart"], asks].concat());
    assert!(
        output.stderr.contains("CAP_BPF") && output.stderr.contains("--stop"),
        "{}",
        output.stderr
    );
    output.assert_code(4);
}

/// What kevmon does without them: collect, take a reload, begin again, where root gets them again.
#[test]
fn what_loading_needs_is_given_up_after_it() {
    let (first, second) = (Program::new(WORKLOAD, "one"), Program::new(WORKLOAD, "two"));
    let folder = PluginDir::new();
    folder.write("one", &plugin_file("one", &first.pattern(), ""));
    let args = [
        "--plugins-dir",
        folder.path(),
        "--interval",
        "200ms",
        "--keep-watching",
        "60s",
    ];
    let mut daemon = Daemon::start(&args);
    assert_gone(daemon.pid());
    let lives = |daemon: &mut Daemon, program: &Program, group: &str, exits: u64| {
        truth::spawn(program, &["exit", "0"]).reap();
        let tick = daemon.wait_until("its end", LIMIT, |tick| {
            tick.group(group).is_some_and(|group| group.int("exits") == exits)
        });
        assert_eq!(tick.0["source"], "ebpf");
        assert!(tick.complete(), "{}", tick.0);
    };
    lives(&mut daemon, &first, "one", 1);
    folder.write("two", &plugin_file("two", &second.pattern(), ""));
    daemon.hang_up();
    daemon.wait_until("the plugin", LIMIT, |tick| tick.group("two").is_some());
    lives(&mut daemon, &second, "two", 1);
    let database = daemon.database().to_str().unwrap().to_owned();
    kevmon::run(&["--restart", "--metadata-db-path", &database]).assert_code(0);
    lives(&mut daemon, &first, "one", 2);
    assert_gone(daemon.pid());
    kevmon::run(&["--stop", "--metadata-db-path", &database]).assert_code(0);
}

/// Under no_new_privs root gets nothing back that it gave up: a container's root, which has a few capabilities. So it does not
/// begin again without them.
#[test]
fn no_restart_in_place_is_taken_that_would_lack_them() {
    if wanted_for_each_look() {
        return; // kept, as the next test shows
    }
    let program = Program::new(WORKLOAD, "bound");
    let pattern = program.pattern();
    let args = ["--process-name", &pattern, "--interval", "200ms"];
    let mut daemon = Daemon::start_prepared(&args, |command| {
        // SAFETY: system calls with plain integers.
        unsafe {
            command.pre_exec(|| {
                for capability in (0..64).filter(|capability| LOADING & 1 << capability == 0) {
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                }
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                Ok(())
            })
        };
    });
    assert_gone(daemon.pid());
    let database = daemon.database().to_str().unwrap().to_owned();
    assert_refused(&["--metadata-db-path", &database]);
    let plugin = program.plugin();
    truth::spawn(&program, &["exit", "0"]).reap();
    let tick = daemon.wait_until("its end", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == 1
    });
    assert_eq!(tick.0["source"], "ebpf");
    daemon.terminate();
}

/// As a unit gets them, and as another supervisor gives them.
#[test]
fn an_ambient_set_is_given_up() {
    let nobody = Nobody::new();
    for is_unit in [true, false] {
        let program = Program::new(WORKLOAD, "ambient");
        let scratch = Scratch::new();
        chown(scratch.path(), Some(NOBODY), Some(NOBODY)).expect("we are root");
        let cgroup = UnitCgroup::new(&format!("{}.service", program.name()));
        let mark = if is_unit {
            "export INVOCATION_ID=0123 SYSTEMD_EXEC_PID=$$;"
        } else {
            ""
        };
        let script = format!(
            "echo 0 >\"$0\"; {mark} ulimit -l unlimited 2>/dev/null; exec setpriv --reuid=65534 --regid=65534 --clear-groups \
             --inh-caps=-all,+bpf,+perfmon --ambient-caps=-all,+bpf,+perfmon \"$@\""
        );
        let database = scratch.path().join("metadata.db");
        let asks = ["--metadata-db-path", database.to_str().unwrap()];
        let mut command = Command::new("bash");
        command
            .args(["-c", &script])
            .arg(cgroup.processes())
            .arg(nobody.kevmon());
        command
            .args(["--process-name", &program.pattern(), "--interval", "200ms"])
            .args(asks)
            .args(["--keep-watching", "0", "--source", "ebpf"]);
        let daemon = Killed(command.stderr(Stdio::null()).spawn().unwrap());
        let exits = |exits: u64| {
            wait::until("the end", LIMIT, || {
                let output = kevmon::run(&[&["status", "--json"], &asks[..]].concat());
                let status: Value = serde_json::from_str(&output.stdout).ok()?;
                (status["plugins"][0]["metrics"]["exits"] == exits).then_some(())
            });
        };
        exits(0);
        truth::spawn(&program, &["exit", "0"]).reap();
        exits(1);
        if wanted_for_each_look() {
            let held = held(daemon.0.id());
            assert!(held.iter().all(|&held| held == LOADING), "{held:x?}");
            tell(FEATURE, "kept (root: given up)");
            continue;
        }
        tell(FEATURE, "given up");
        assert_gone(daemon.0.id());
        if !is_unit {
            assert_refused(&asks); // a unit is restarted by systemctl
            truth::spawn(&program, &["exit", "0"]).reap();
            exits(2);
        }
    }
}
