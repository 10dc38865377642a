//! `kevmon events --json`: what it shows, line by line, while it runs.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    daemon::SHUTDOWN_LIMIT,
    kevmon::{KillOnDrop, command},
    scratch::Scratch,
    truth, wait,
    workload::Program,
};

/// Longest wait for an event.
const LIMIT: Duration = Duration::from_secs(10);

/// A running `kevmon events` that has shown its first event: it is attached.
#[derive(Debug)]
pub struct Live {
    child: KillOnDrop,
    lines: Option<Receiver<String>>,
    seen: Vec<Value>,
    scratch: Scratch,
}

impl Drop for Live {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of kevmon events ---\n{}", self.stderr());
        }
    }
}

impl Live {
    /// Starts it on the names that match `patterns` (all, if there are none). `probe` is started and ended
    /// until it is shown; its events are left out of [`Self::seen`].
    pub fn start(patterns: &[&str], probe: &Program) -> Self {
        Self::start_with(patterns, &[], probe)
    }

    /// The same with further flags, which let the probe's start through.
    pub fn start_with(patterns: &[&str], flags: &[&str], probe: &Program) -> Self {
        let scratch = Scratch::new();
        let stderr = File::create(scratch.path().join("stderr")).expect("a file in the scratch directory");
        let mut args = [&["events", "--json"], flags].concat();
        let own = probe.pattern();
        if !patterns.is_empty() {
            args.extend(["--process-name", &own]);
        }
        args.extend(patterns.iter().flat_map(|pattern| ["--process-name", pattern]));
        let mut child = command(&args)
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("kevmon starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Ends, and so closes the pipe, at the first line that nobody wants.
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut live = Self {
            child: KillOnDrop(child),
            lines: Some(lines),
            seen: Vec::new(),
            scratch,
        };
        wait::until("kevmon events to show the probe", LIMIT * 2, || {
            truth::spawn(probe, &["exit", "0"]).reap();
            live.take_in(Duration::from_millis(100));
            live.seen
                .iter()
                .any(|event| event["name"] == probe.name())
                .then_some(())
        });
        // The probes' own events; what is still on its way is told by their name.
        live.seen.clear();
        live
    }

    /// Every event so far that a wait has taken in.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// The first event, seen or still to come, that satisfies `condition`.
    pub fn wait_for(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + wait::patiently(LIMIT);
        let mut looked_at = 0;
        loop {
            if let Some(found) = self.seen[looked_at..].iter().find(|event| condition(event)) {
                return found.clone();
            }
            looked_at = self.seen.len();
            assert!(
                Instant::now() < deadline,
                "no {what} among {:#?}\nstderr:\n{}",
                self.seen,
                self.stderr()
            );
            self.take_in(Duration::from_millis(100));
        }
    }

    /// The event of this kind and pid.
    pub fn event(&mut self, event: &str, pid: u32) -> Value {
        self.wait_for(&format!("{event} of {pid}"), |told| {
            told["event"] == event && told["pid"] == pid
        })
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }

    /// Sends `signal`, which ends it with exit code 0.
    pub fn stop(mut self, signal: i32) {
        let pid = i32::try_from(self.child.0.id()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "kevmon events is gone: {}", self.stderr());
        self.expect_end(&format!("after signal {signal}"));
    }

    /// Closes the pipe that it writes to, gives it something to write, and expects it to end with exit
    /// code 0.
    pub fn close(mut self, probe: &Program) {
        self.lines = None;
        // The first one ends the reading thread; the next write meets a closed pipe.
        for _ in 0..2 {
            truth::spawn(probe, &["exit", "0"]).reap();
            std::thread::sleep(Duration::from_millis(500));
        }
        self.expect_end("when nobody reads any more");
    }

    fn expect_end(&mut self, when: &str) {
        let sent = Instant::now();
        let status = wait::until(
            &format!("kevmon events to end {when}"),
            SHUTDOWN_LIMIT * 4,
            || self.child.0.try_wait().expect("our child"),
        );
        let told = self.stderr();
        assert_eq!(status.code(), Some(0), "it ended with {status} {when}:\n{told}");
        assert!(!told.contains("panicked"), "{told}");
        assert!(
            sent.elapsed() < wait::patiently(SHUTDOWN_LIMIT),
            "it took {:?} {when}",
            sent.elapsed()
        );
    }

    fn take_in(&mut self, first: Duration) {
        let lines = self.lines.as_ref().expect("not closed yet");
        let mut wait = first;
        loop {
            match lines.recv_timeout(wait) {
                Ok(line) => self
                    .seen
                    .push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("kevmon events ended: {}", self.stderr()),
            }
            wait = Duration::ZERO;
        }
    }
}
