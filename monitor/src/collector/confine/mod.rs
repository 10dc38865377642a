//! Runs what a plugin asks for where it can do no harm: kevmon starts itself again as a supervisor, which starts the
//! program, or reads the files, in a process without privileges, within limits of time, output and memory. docs/collectors.md
//! has the whole list.

mod calls;
mod child;
mod domain;
mod filter;
mod following;
mod reading;
mod refusals;
mod supervisor;

use std::{collections::BTreeMap, io, path::PathBuf, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

pub use following::{Word, follow};
pub use supervisor::supervise;

/// The hidden subcommand that is the supervisor.
pub const SUBCOMMAND: &str = "confine";

/// The supervisor ends a run by itself; if it does not within this time more, it is killed, and all with it.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a report beside the output.
const REPORT: u64 = 64 << 10;

/// What to do, for the supervisor; it reads this as JSON from its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub job: Job,
    /// As this user and group, and in no other group; `None`: as kevmon's own.
    pub user: Option<(u32, u32)>,
    /// No other process may have that user id.
    pub is_alone: bool,
    /// Ended after this time, ms; a program that is followed runs until kevmon ends it.
    pub timeout_ms: u64,
    /// The program stays, and writes to the supervisor's own standard output.
    pub follow: bool,
    /// Ended with more bytes of output.
    pub output: u64,
    /// Bytes of address space.
    pub memory: u64,
    /// Folders and files that stay out of reach: state, secrets.
    pub denied: Vec<PathBuf>,
    /// … but for these.
    pub granted: Vec<PathBuf>,
    /// Internet sockets may be made, and TCP ports reached.
    pub allow_network: bool,
    /// Go on where the kernel cannot confine it as it should.
    pub allow_unconfined: bool,
}

/// A program, or files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Run a program; its standard output is the output.
    Run {
        /// The program, absolute, and its arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: BTreeMap<String, String>,
        /// Where it starts.
        folder: PathBuf,
    },
    /// Read files; the output is a JSON line of [`FileRead`] for each.
    Read(Vec<FileOrder>),
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrder {
    /// Absolute; for a process's file relative to its directory.
    pub path: PathBuf,
    /// Whose file it is: pid, and start in clock ticks since boot, which has to be the same before and after.
    pub process: Option<(u32, u64)>,
    /// Where proc is mounted.
    pub proc: PathBuf,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    /// The process, as it was ordered.
    pub process: Option<(u32, u64)>,
    /// The content, or why there is none.
    pub content: Result<String, Refusal>,
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The process is gone, which is no failure.
    pub vanished: bool,
    /// For a person.
    pub reason: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, which nobody here sent.
    Signalled(i32),
    /// It took too long.
    TimedOut,
    /// It wrote too much.
    TooMuchOutput,
    /// kevmon asked for its end.
    Stopped,
    /// It was not begun: it could not be confined as it should, or not be started.
    Refused(String),
    /// It was not begun: another process has the user id that was meant for it alone.
    UserInUse,
}

/// What a supervisor tells, in a line of JSON before the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// The beginning of its standard error.
    pub stderr: String,
    /// Processes that it had left behind.
    pub leftovers: u64,
    /// System calls that it made and that were refused, each once.
    pub refused_calls: Vec<String>,
    /// What the kernel could not do to confine it.
    pub lacking: Vec<String>,
}

impl Report {
    /// Of a program of which nothing else is known.
    pub fn of(end: End) -> Self {
        Self {
            end,
            stderr: String::new(),
            leftovers: 0,
            refused_calls: Vec::new(),
            lacking: Vec::new(),
        }
    }
}

/// Keeps this process's memory, with the secrets in it, from others of its user: they cannot trace it, and it leaves no core
/// file. Root's processes are kept from others anyway. Of /proc, such a process of an ordinary user can no longer read its own
/// `io`, `environ` and other files of mode 0400, which belong to root from here (proc(5)).
pub fn guard_memory() {
    if !rustix::process::geteuid().is_root() {
        // SAFETY: prctl(2) with plain integers. It fails for no such value.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    }
}

/// Has `order` carried out; returns the report and the output.
///
/// # Errors
/// There is no supervisor, or it does not answer.
pub async fn carry_out(order: &Order) -> io::Result<(Report, Vec<u8>)> {
    let limit = Duration::from_millis(order.timeout_ms) + GRACE;
    let mut supervisor = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let text = serde_json::to_vec(order)?;
    let work = async {
        if let Some(mut stdin) = supervisor.stdin.take() {
            stdin.write_all(&text).await?;
        }
        let mut told = Vec::new();
        if let Some(stdout) = supervisor.stdout.take() {
            stdout.take(order.output + REPORT).read_to_end(&mut told).await?;
        }
        supervisor.wait().await?;
        Ok::<_, io::Error>(told)
    };
    let told = match timeout(limit, work).await {
        Ok(told) => told?,
        // Dropped, it is killed; what it had started dies with it (PR_SET_PDEATHSIG, and the pid namespace where there is one).
        Err(_) => {
            return Ok((Report::of(End::TimedOut), Vec::new()));
        }
    };
    let line = told.iter().position(|byte| *byte == b'\n').unwrap_or(told.len());
    let report: Report = serde_json::from_slice(&told[..line])
        .map_err(|_| io::Error::other("the supervisor ended without a report"))?;
    Ok((report, told.get(line + 1..).unwrap_or_default().to_vec()))
}
