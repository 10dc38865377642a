//! `kevmon doctor` looks at the real host, and at what a test breaks.

use std::{fs, path::Path, time::Duration};

use kevmon_tests::{
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    port,
    receiver::Receiver,
    scratch::Scratch,
    workload::Program,
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// Settings, a plugin and a state of its own.
struct Setup {
    scratch: Scratch,
    plugins: PluginDir,
}

impl Setup {
    /// Whose receiver listens at this port.
    fn new(port: &str) -> Self {
        let setup = Self {
            scratch: Scratch::new(),
            plugins: PluginDir::new(),
        };
        setup.plugins.write(
            "one",
            "schema = 1\n[plugin]\nname = \"one\"\n[service]\nnamespace = \"Kvt\"\nprocess_name = '^none$'\n",
        );
        setup.set(&format!(
            "schema = 1\n[export]\nendpoint = \"http://127.0.0.1:{port}\"\n"
        ));
        setup
    }

    fn set(&self, settings: &str) {
        fs::write(self.scratch.path().join("kevmon.toml"), settings).unwrap();
    }

    fn args(&self) -> Vec<String> {
        let at = |name: &str| self.scratch.path().join(name).display().to_string();
        let args = [
            "--config",
            &at("kevmon.toml"),
            "--plugins-dir",
            self.plugins.path(),
            "--metadata-db-path",
            &at("state/metadata.db"),
        ];
        args.map(str::to_owned).to_vec()
    }

    /// The checks, and the exit status.
    fn examine(&self, more: &[&str]) -> (Vec<Value>, Option<i32>) {
        let args = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = kevmon::run(&[&["doctor", "--json"], &args[..], more].concat());
        let checks = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", output.stdout, output.stderr));
        (checks, output.code)
    }
}

/// The result of the only check of this name, and all that it says.
fn result<'a>(checks: &'a [Value], name: &str) -> (&'a str, String) {
    let named: Vec<&Value> = checks.iter().filter(|check| check["check"] == name).collect();
    assert_eq!(named.len(), 1, "{name}: {checks:#?}");
    (named[0]["result"].as_str().unwrap(), named[0].to_string())
}

#[test]
fn a_host_on_which_all_works_has_no_fault() {
    let receiver = Receiver::start();
    let setup = Setup::new(&receiver.port());
    let (checks, code) = setup.examine(&[]);
    for name in [
        "kernel",
        "BTF",
        "eBPF programs",
        "CAP_BPF",
        "settings",
        "plugins",
        "state",
        "spool",
    ] {
        assert_eq!(result(&checks, name).0, "ok", "{}", result(&checks, name).1);
    }
    assert!(result(&checks, "eBPF programs").1.contains("sched_process_exit"));
    assert_eq!(result(&checks, "receiver default (metrics)").0, "ok");
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(!setup.scratch.path().join("state").exists(), "it changes nothing");
    let text = kevmon::run(&["doctor", "--plugins-dir", setup.plugins.path()])
        .stdout
        .clone();
    assert!(
        text.lines().any(|line| line.starts_with("✓ eBPF programs: ")),
        "{text}"
    );
}

#[test]
fn what_is_broken_is_named_with_its_remedy() {
    let setup = Setup::new(&port::free().to_string());
    let (checks, code) = setup.examine(&[]);
    assert_eq!(result(&checks, "receiver default (metrics)").0, "fault");
    assert_eq!(code, Some(1));
    setup
        .plugins
        .write("two", "schema = 1\n[plugin]\nnmae = \"two\"\n");
    setup.set("schema = 1\n[exprot]\n");
    let (checks, code) = setup.examine(&[]);
    let faults: Vec<String> = checks
        .iter()
        .filter(|check| check["result"] == "fault")
        .map(ToString::to_string)
        .collect();
    for word in ["nmae", "exprot"] {
        assert!(
            faults.iter().any(|fault| fault.contains(word)),
            "{word}: {faults:#?}"
        );
    }
    assert_eq!(code, Some(1));
}

/// A daemon on the same state goes on; what one left that was killed is named, and removed when that is asked for.
#[test]
fn a_running_daemon_keeps_its_state_and_a_killed_ones_pins_are_found() {
    let receiver = Receiver::start();
    let setup = Setup::new(&receiver.port());
    let program = Program::new(WORKLOAD, "examined");
    let database = setup.scratch.path().join("state/metadata.db");
    let pattern = program.pattern();
    let start = |database: &Path| {
        Daemon::start(&[
            "--process-name",
            &pattern,
            "--metadata-db-path",
            database.to_str().unwrap(),
            "--keep-watching",
            "60s",
            "--interval",
            "200ms",
        ])
    };
    let mut daemon = start(&database);
    let (checks, _) = setup.examine(&["--fix"]);
    assert_eq!(result(&checks, "state").0, "ok", "{}", result(&checks, "state").1);
    let left = result(&checks, "left in the kernel");
    assert!(left.0 == "ok" && left.1.contains("running"), "{}", left.1);
    daemon.next_tick(LIMIT);
    daemon.kill();
    let (checks, _) = setup.examine(&[]);
    let left = result(&checks, "left in the kernel");
    assert!(
        left.0 == "warning" && left.1.contains("kevmon unpin"),
        "{}",
        left.1
    );
    let (checks, _) = setup.examine(&["--fix"]);
    assert_eq!(result(&checks, "left in the kernel").0, "ok");
    let (checks, _) = setup.examine(&[]);
    let left = result(&checks, "left in the kernel");
    assert!(left.0 == "ok" && left.1.contains("nothing"), "{}", left.1);
}
