//! The real binary, and runs of it that end by themselves.

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

pub use crate::daemon::Daemon;
use crate::{ended, tick::Tick, wait};

/// Longest `--run-once`: its window is 1 s.
const RUN_ONCE_LIMIT: Duration = Duration::from_secs(30);

/// Every metric name of the JSON, in the order of docs/metrics.md.
pub const METRICS: [&str; 29] = [
    "cpu_usage",
    "memory_usage",
    "process_count",
    "disk_read_bytes",
    "disk_write_bytes",
    "open_file_descriptors",
    "thread_count",
    "max_threads_per_process",
    "min_threads_per_process",
    "avg_threads_per_process",
    "voluntary_ctx_switches",
    "nonvoluntary_ctx_switches",
    "cpu_user_time_total",
    "cpu_system_time_total",
    "memory_rss_total",
    "memory_vms_total",
    "starts",
    "worker_starts",
    "restarts",
    "exits",
    "joins",
    "leaves",
    "cpu_time_ns",
    "run_queue_wait_ns",
    "peak_rss_bytes",
    "unpaired_starts",
    "failed_starts",
    "respawns",
    "reexecs",
];

/// The binary under test.
pub fn binary() -> PathBuf {
    required("KEVMON_BIN", "the kevmon binary")
}

/// The file that an environment variable names; panics with the remedy where there is none.
pub(crate) fn required(variable: &str, what: &str) -> PathBuf {
    let Some(path) = std::env::var_os(variable).map(PathBuf::from) else {
        panic!("missing prerequisite: {variable} does not name {what}; run cargo xtask test");
    };
    assert!(
        path.is_absolute(),
        "{variable} must be an absolute path, not {}",
        path.display()
    );
    assert!(
        path.is_file(),
        "missing prerequisite: {variable}: no file {}; run cargo xtask test",
        path.display()
    );
    path
}

/// kevmon with `args`, without any setting that the caller's environment may hold.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let generic = [
            "COLLECTION_INTERVAL",
            "LOG_LEVEL",
            "USE_TLS",
            "CA_CERT_PATH",
            "CLIENT_CERT_PATH",
            "CLIENT_KEY_PATH",
            "CREDENTIALS_DIRECTORY",
            "RUST_LOG",
        ];
        if ["INSTANA_", "OTEL_", "KEVMON_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix))
            || ["_INTERVAL", "_PROCESS_FILTER"]
                .iter()
                .any(|suffix| name_text.ends_with(suffix))
            || generic.contains(&name_text.as_ref())
        {
            command.env_remove(&name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// What a finished run said.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Drop for Output {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- kevmon's stderr ---\n{}", self.stderr);
        } else {
            ended::keep(std::mem::take(&mut self.stderr));
        }
    }
}

impl Output {
    /// Panics with everything it said unless it exited with `code`.
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code; stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The one JSON object on stdout; panics when there is none or more than one.
    pub fn json(&self) -> Tick {
        let objects: Vec<Value> = serde_json::Deserializer::from_str(&self.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("stdout is not JSON: {error}:\n{}", self.stdout));
        assert_eq!(objects.len(), 1, "objects on stdout:\n{}", self.stdout);
        Tick::parse(&objects[0].to_string())
    }
}

/// Runs kevmon with `args` to its end.
pub fn run(args: &[&str]) -> Output {
    finish(command(args))
}

/// Runs `kevmon --run-once` with further `args`.
pub fn run_once(args: &[&str]) -> Output {
    run(&[&["--run-once"], args].concat())
}

/// Runs a prepared command to its end, killing it at the deadline.
pub fn finish(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kevmon starts");
    let mut child = KillOnDrop(child);
    let stdout = drain(child.0.stdout.take().expect("piped"));
    let stderr = drain(child.0.stderr.take().expect("piped"));
    let status = wait::until(&format!("{command:?} to end"), RUN_ONCE_LIMIT, || {
        child.0.try_wait().expect("our child")
    });
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("the reader does not panic");
    Output {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A child that is killed and reaped at the latest when it goes out of scope.
#[derive(Debug)]
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
