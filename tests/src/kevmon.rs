//! The real binary: a daemon whose JSON lines are read as they come, and single `--run-once` runs.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{scratch::Scratch, tick::Tick, wait};

/// From the signal to the exit at most.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Longest start: load, attach and snapshot take about 0.2 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(20);

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

#[derive(Debug)]
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running kevmon that has told its first tick: it is attached and has taken its snapshot.
#[derive(Debug)]
pub struct Daemon {
    child: KillOnDrop,
    lines: Receiver<String>,
    ticks: Vec<Tick>,
    scratch: Scratch,
}

impl Daemon {
    /// Starts `kevmon --output json` with further `args` and waits for its first line.
    pub fn start(args: &[&str]) -> Self {
        let scratch = Scratch::new();
        let stderr = File::create(scratch.path().join("stderr")).expect("a file in the scratch directory");
        let mut child = command(&[&["--output", "json"], args].concat())
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("kevmon starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut daemon = Self {
            child: KillOnDrop(child),
            lines,
            ticks: Vec::new(),
            scratch,
        };
        daemon.tick_before(Instant::now() + START_LIMIT, "its first line");
        daemon
    }

    /// kevmon's pid.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Every tick told so far that a wait has taken in.
    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// The next line; panics after `limit`.
    pub fn next_tick(&mut self, limit: Duration) -> Tick {
        self.tick_before(Instant::now() + limit, "the next tick")
    }

    /// Reads lines until one satisfies `condition`, the last one told included; panics after `limit`.
    pub fn wait_until(&mut self, what: &str, limit: Duration, condition: impl Fn(&Tick) -> bool) -> Tick {
        let deadline = Instant::now() + limit;
        if let Some(tick) = self.ticks.last().filter(|tick| condition(tick)) {
            return tick.clone();
        }
        loop {
            let tick = self.tick_before(deadline, what);
            if condition(&tick) {
                return tick;
            }
        }
    }

    /// The first tick collected at least `margin` after `since` (Unix nanoseconds).
    pub fn tick_after(&mut self, since: u64, margin: Duration, limit: Duration) -> Tick {
        let earliest = since + u64::try_from(margin.as_nanos()).expect("a short margin");
        self.wait_until(&format!("a tick {margin:?} later"), limit, |tick| {
            tick.time() >= earliest
        })
    }

    /// SIGTERM; asserts exit 0 within the limit and returns the last line.
    pub fn terminate(self) -> Tick {
        self.stop(libc::SIGTERM)
    }

    /// Sends `signal`; asserts exit 0 within the limit and returns the last line, which says so.
    pub fn stop(mut self, signal: i32) -> Tick {
        let sent = Instant::now();
        let pid = i32::try_from(self.pid()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kevmon is gone");
        let status = wait::until("kevmon to exit", SHUTDOWN_LIMIT * 4, || {
            self.child.0.try_wait().expect("our child")
        });
        let took = sent.elapsed();
        assert_eq!(
            status.code(),
            Some(0),
            "exit status {status} after signal {signal}"
        );
        assert!(
            took <= SHUTDOWN_LIMIT,
            "kevmon took {took:?} to exit after signal {signal}"
        );
        while let Ok(line) = self.lines.recv_timeout(wait::SOON) {
            self.ticks.push(Tick::parse(&line));
        }
        let last = self.ticks.last().expect("at least the first line").clone();
        assert!(
            last.last(),
            "the last line does not say \"final\":true: {}",
            last.0
        );
        let finals = self.ticks.iter().filter(|tick| tick.last()).count();
        assert_eq!(finals, 1, "lines that say \"final\":true");
        last
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        let bytes = std::fs::read(self.scratch.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn tick_before(&mut self, deadline: Instant, what: &str) -> Tick {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => {
                let tick = Tick::parse(&line);
                self.ticks.push(tick.clone());
                tick
            }
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {what}"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.0.wait();
                panic!("kevmon ended ({status:?}) before {what}")
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- kevmon's stderr ---\n{}--- its last lines ---", self.stderr());
            for tick in self.ticks.iter().rev().take(3).rev() {
                eprintln!("{}", tick.0);
            }
        }
    }
}
