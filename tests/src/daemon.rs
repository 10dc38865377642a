//! A daemon whose JSON lines are read as they come.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    answered::Calls,
    checks, ended,
    kevmon::{KillOnDrop, command},
    process,
    scratch::Scratch,
    tick::Tick,
    wait,
};

/// From the signal to the exit at most, of a kevmon that has a processor whenever it asks for one.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Longest start: load, attach and snapshot take about 0.2 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The flag that names kevmon's state.
const DATABASE: &str = "--metadata-db-path";

/// A running kevmon that has told its first tick: it is attached and has taken its snapshot.
#[derive(Debug)]
pub struct Daemon {
    child: KillOnDrop,
    lines: Receiver<String>,
    ticks: Vec<Tick>,
    database: PathBuf,
    scratch: Scratch,
}

impl Daemon {
    /// Starts `kevmon --output json` with further `args` and waits for its first line. Its state is its
    /// own, unless `args` say where it is.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with variables in its environment.
    pub fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let prepare = |command: &mut Command| {
            command.envs(environment.iter().copied());
        };
        Self::start_in(args, true, prepare, |_| {})
    }

    /// The same without naming a state, for `--no-store`.
    pub fn start_unstored(args: &[&str]) -> Self {
        Self::start_in(args, false, |_| {}, |_| {})
    }

    /// The same as [`Daemon::start`], with a hand on the command before it starts.
    pub fn start_prepared(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_in(args, true, prepare, |_| {})
    }

    /// The same as [`Daemon::start`] with `calls` that the test answers.
    pub fn start_answered(args: &[&str], calls: &Calls) -> Self {
        Self::start_answered_with(args, &[], calls)
    }

    /// The same with variables in its environment.
    pub fn start_answered_with(args: &[&str], environment: &[(&str, &str)], calls: &Calls) -> Self {
        let prepare = |command: &mut Command| {
            command.envs(environment.iter().copied());
            calls.prepare(command);
        };
        Self::start_in(args, true, prepare, |pid| calls.answer(pid))
    }

    fn start_in(
        args: &[&str],
        has_state: bool,
        prepare: impl FnOnce(&mut Command),
        started: impl FnOnce(u32),
    ) -> Self {
        let scratch = Scratch::new();
        let given = args.iter().position(|arg| *arg == DATABASE);
        let database = given.map_or_else(
            || scratch.path().join("metadata.db"),
            |index| PathBuf::from(args[index + 1]),
        );
        let own = [DATABASE, database.to_str().expect("a UTF-8 path")];
        let has_state = has_state && !args.contains(&"--no-store");
        let own = if given.is_none() && has_state {
            &own[..]
        } else {
            &[]
        };
        // Most tests end or kill a kevmon for good: its programs are to go with it.
        let alone = ["--keep-watching", "0"];
        let alone = if has_state && !args.contains(&alone[0]) {
            &alone[..]
        } else {
            &[]
        };
        let stderr = File::create(scratch.path().join("stderr")).expect("a file in the scratch directory");
        let mut command = command(&[&["--output", "json"], own, alone, args].concat());
        prepare(&mut command);
        let mut child = command
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("kevmon starts");
        started(child.id());
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
            database,
            scratch,
        };
        daemon.tick_before(Instant::now() + wait::patiently(START_LIMIT), "its first line");
        daemon
    }

    /// kevmon's pid.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Where it keeps its state.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Every tick told so far that a wait has taken in.
    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// The next line; panics after `limit`.
    pub fn next_tick(&mut self, limit: Duration) -> Tick {
        self.tick_before(Instant::now() + wait::patiently(limit), "the next tick")
    }

    /// Reads lines until one satisfies `condition`, the last one told included; panics after `limit`.
    pub fn wait_until(&mut self, what: &str, limit: Duration, condition: impl Fn(&Tick) -> bool) -> Tick {
        let deadline = Instant::now() + wait::patiently(limit);
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

    /// Stops it in its tracks (SIGSTOP): from here on nobody reads what the kernel side says.
    pub fn stall(&self) {
        self.send(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        wait::until("kevmon to stand still", wait::SOON, || {
            let stat = std::fs::read_to_string(&stat).expect("our child");
            let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
            (state == 'T').then_some(())
        });
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.send(libc::SIGCONT);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.send(libc::SIGHUP);
    }

    /// SIGKILL: no last line, no last commit. Returns every line that it told; the rules that hold for all
    /// of them have been checked.
    pub fn kill(mut self) -> Vec<Tick> {
        self.child.0.kill().expect("our child");
        self.child.0.wait().expect("our child");
        while let Ok(line) = self.lines.recv_timeout(wait::patiently(wait::SOON)) {
            // The last line may have been cut by the kill.
            if line.ends_with('}') {
                self.ticks.push(Tick::parse(&line));
            }
        }
        checks::assert_rules(&self.ticks);
        std::mem::take(&mut self.ticks)
    }

    fn send(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kevmon is gone");
    }

    /// SIGTERM; asserts exit 0 within the limit and returns the last line.
    pub fn terminate(self) -> Tick {
        self.stop(libc::SIGTERM)
    }

    /// SIGTERM; asserts exit 0 within the limit and returns every line that it told.
    pub fn terminate_told(mut self) -> Vec<Tick> {
        self.end(libc::SIGTERM);
        std::mem::take(&mut self.ticks)
    }

    /// Sends `signal`; asserts exit 0 within the limit and the rules that hold for every line, and returns
    /// the last one, which says so.
    pub fn stop(mut self, signal: i32) -> Tick {
        self.end(signal)
    }

    fn end(&mut self, signal: i32) -> Tick {
        let pid = self.pid();
        let waited_before = process::run_queue_wait(pid);
        let mut waited = waited_before;
        let sent = Instant::now();
        self.send(signal);
        let status = wait::until("kevmon to exit", wait::SOON, || {
            waited = waited.max(process::run_queue_wait(pid));
            self.child.0.try_wait().expect("our child")
        });
        // What a busy host took from it is not its own.
        let took = sent.elapsed().saturating_sub(waited - waited_before);
        assert_eq!(
            status.code(),
            Some(0),
            "exit status {status} after signal {signal}"
        );
        assert!(
            took <= wait::patiently(SHUTDOWN_LIMIT),
            "kevmon took {took:?} to exit after signal {signal}"
        );
        while let Ok(line) = self.lines.recv_timeout(wait::patiently(wait::SOON)) {
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
        checks::assert_rules(&self.ticks);
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
        } else {
            ended::keep(self.stderr());
        }
    }
}
