//! Programs to watch: the `workload` binary copied under a name that nothing else on the machine
//! carries, so that a pattern matches exactly what the test starts.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    executable, scratch,
    scratch::Scratch,
    truth::{Ended, Spawned},
    wait,
};

/// A uniquely named program. When it goes out of scope, every process that still runs it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    scratch: Scratch,
}

impl Program {
    /// Copies `binary` (in a test: `env!("CARGO_BIN_EXE_workload")`) to `kvt-STEM-<unique>`.
    pub fn new(binary: &str, stem: &str) -> Self {
        let program = Self::placeholder(stem);
        executable::copy(binary, &program.path);
        program
    }

    /// An executable script of that name.
    pub fn script(stem: &str, text: &str) -> Self {
        let program = Self::placeholder(stem);
        executable::write(&program.path, text);
        program
    }

    fn placeholder(stem: &str) -> Self {
        let scratch = Scratch::new();
        let name = format!("kvt-{stem}-{}", scratch::unique());
        Self {
            path: scratch.path().join(&name),
            name,
            scratch,
        }
    }

    /// Its file name, which is its process name in full.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its file, as an argument.
    pub fn path_text(&self) -> &str {
        self.path.to_str().expect("a UTF-8 scratch directory")
    }

    /// A directory of its own on the same disk, for the files that it writes.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// The pattern that matches this program alone.
    pub fn pattern(&self) -> String {
        pattern(&self.name)
    }

    /// The name of the ad hoc plugin that `--process-name` makes of [`Self::pattern`].
    pub fn plugin(&self) -> String {
        adhoc_plugin(&self.name)
    }

    /// Starts it with `args` and waits until it says that it is ready.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = Command::new(&self.path);
        command.args(args);
        Running::start(command)
    }

    /// The same under another argv[0].
    pub fn start_as(&self, arg0: &str, args: &[&str]) -> Running {
        let mut command = Command::new(&self.path);
        command.arg0(arg0).args(args);
        Running::start(command)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for pid in pids_of(&self.path) {
            // SAFETY: kill(2) takes plain integers. The pid has just been seen to run this file.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// The pattern that matches `name` alone.
pub fn pattern(name: &str) -> String {
    format!("^{name}$")
}

/// The name that kevmon gives the ad hoc plugin for `^name$`: the sanitised pattern.
pub fn adhoc_plugin(name: &str) -> String {
    let mut id = String::new();
    for letter in name.to_lowercase().chars() {
        if letter.is_ascii_alphanumeric() {
            id.push(letter);
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    id.trim_end_matches('_').to_owned()
}

/// The processes whose executable is `path`, also after it was deleted.
pub fn pids_of(path: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let runs = |pid: &i32| {
        fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe == path || exe.to_string_lossy().strip_suffix(" (deleted)") == path.to_str())
    };
    pids.filter(runs).collect()
}

/// A started workload that has said `ready`. It ends when its standard input is closed, which
/// happens at the latest when the harness itself is gone.
#[derive(Debug)]
pub struct Running {
    child: Spawned,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a prepared command and waits for its first line.
    pub fn start(mut command: Command) -> Self {
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut running = Self {
            child: Spawned::adopt(child),
            stdin,
            stdout,
        };
        assert_eq!(running.line(), "ready", "first line of {command:?}");
        running
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its next line; panics when none comes in a minute.
    pub fn line(&mut self) -> String {
        let deadline = Instant::now() + wait::patiently(Duration::from_secs(60));
        if self.stdout.buffer().is_empty() {
            assert!(
                wait::readable(self.stdout.get_ref().as_fd(), deadline),
                "the workload says nothing"
            );
        }
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the workload writes text");
        line.trim_end().to_owned()
    }

    /// Gives it a line and returns its answer.
    pub fn ask(&mut self, request: &str) -> String {
        self.tell(request);
        self.line()
    }

    /// Gives it a line that it does not answer.
    pub fn tell(&mut self, request: &str) {
        let stdin = self.stdin.as_mut().expect("not closed yet");
        writeln!(stdin, "{request}").expect("the workload reads its input");
    }

    /// Sets its comm (prctl) to `name`; for the `rename` mode.
    pub fn rename(&mut self, name: &[u8]) {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.ask(&hex), "ok", "answer to a rename");
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: i32) {
        self.child.signal(signal);
    }

    /// Closes its input, which ends it, and reaps it.
    pub fn finish(mut self) -> Ended {
        self.stdin = None;
        self.reap()
    }

    /// Waits for its end and reaps it; its input stays open, for the descendants that share it.
    pub fn reap(&mut self) -> Ended {
        let child = &mut self.child;
        wait::until("the workload to end", wait::SOON, || child.try_reap())
    }

    /// Closes its input, which also ends the descendants that share it.
    pub fn release(&mut self) {
        self.stdin = None;
    }
}
