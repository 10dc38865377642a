//! A program that stays running: kevmon reads its output from the program itself, and hears from the supervisor what the
//! program writes to standard error, and how it ended.
//!
//! The supervisor's standard streams are pipes to kevmon. The program inherits the supervisor's standard output, which the
//! supervisor then closes for itself: end of file means that neither the program nor anything that it started can write any
//! more. The supervisor writes a line of JSON to its standard error for each [`Word`]; the last one is [`Word::Ended`].
//! Standard input carries the order and stays open; when it closes, because kevmon wants the end or is no more, the
//! supervisor ends the program: SIGTERM, and SIGKILL for whatever is left after [`LAST_MOMENTS`].

use std::{
    fs,
    io::{self, Write},
    os::fd::AsRawFd,
    process::Stdio,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::{End, Order, Report, SUBCOMMAND, supervisor::Running};

/// Between SIGTERM and SIGKILL.
pub(super) const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// Bytes of standard error that are taken a second; a program that writes more waits.
const STDERR_RATE: usize = 64 << 10;
/// Between two looks at whether the program has ended, where the kernel does not say when (before Linux 5.3).
const LOOK: Duration = Duration::from_millis(100);

/// What a supervisor says of the program that it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A piece of its standard error.
    Stderr(String),
    /// A system call that was refused, for the first time.
    RefusedCall(String),
    /// What the kernel could not do to confine it.
    Lacking(Vec<String>),
    /// It has ended, and everything that it started with it.
    Ended(Report),
}

/// A program that is followed.
#[derive(Debug)]
pub struct Followed {
    supervisor: Child,
    /// The program ends when this is closed.
    stdin: Option<ChildStdin>,
    /// What the program writes.
    pub stdout: ChildStdout,
    words: Lines<BufReader<ChildStderr>>,
}

/// Starts what `order` says.
///
/// # Errors
/// There is no supervisor, or it does not take the order.
pub async fn follow(order: &Order) -> io::Result<Followed> {
    let mut supervisor = Command::new("/proc/self/exe")
        .arg(SUBCOMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let missing = || io::Error::other("a pipe to the supervisor is missing");
    let mut stdin = supervisor.stdin.take().ok_or_else(missing)?;
    let stdout = supervisor.stdout.take().ok_or_else(missing)?;
    let stderr = supervisor.stderr.take().ok_or_else(missing)?;
    stdin.write_all(&serde_json::to_vec(order)?).await?;
    stdin.flush().await?;
    Ok(Followed {
        supervisor,
        stdin: Some(stdin),
        stdout,
        words: BufReader::new(stderr).lines(),
    })
}

impl Followed {
    /// Asks for the end; the last word is still to come.
    pub fn stop(&mut self) {
        self.stdin = None;
    }

    /// The next word, `None` where the supervisor ended without its last one, and what the program writes: both are waited
    /// for at the same time. A word that is not awaited to its end is not lost.
    pub fn halves(&mut self) -> (impl Future<Output = Option<Word>>, &mut ChildStdout) {
        (next(&mut self.words), &mut self.stdout)
    }

    /// Takes leave of the supervisor, which has nothing more to say; one that does not end is killed.
    pub async fn finish(mut self, grace: Duration) {
        self.stop();
        if tokio::time::timeout(grace, self.supervisor.wait()).await.is_err() {
            // It has ended meanwhile, or cannot be killed: nothing is left to do in either case.
            let _: io::Result<()> = self.supervisor.kill().await;
        }
    }
}

async fn next(words: &mut Lines<BufReader<ChildStderr>>) -> Option<Word> {
    let line = words.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}

/// The supervisor's side: stays until the program has ended, or kevmon wants its end.
pub(super) fn stay(running: &Running) -> io::Result<()> {
    let end = watch(running)?;
    let leftovers = running.kill();
    say(&Word::Ended(Report {
        leftovers,
        ..Report::of(end)
    }))
}

/// Says that the program was not begun.
pub(super) fn refuse(end: End) -> io::Result<()> {
    say(&Word::Ended(Report::of(end)))
}

pub(super) fn say(word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    io::stderr().lock().write_all(&line)
}

fn watch(running: &Running) -> io::Result<End> {
    let pid = rustix::process::Pid::from_raw(running.pid);
    let ending =
        pid.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    let mut stderr_open = true;
    let mut taken = Taken::default();
    loop {
        if let Some(end) = running.ended() {
            pass_on(running, &mut stderr_open, usize::MAX)?;
            return Ok(end);
        }
        let room = taken.room(Instant::now());
        let wanted = [
            Some(0),
            ending.as_ref().map(AsRawFd::as_raw_fd),
            (stderr_open && room > 0).then(|| running.stderr.as_raw_fd()),
        ];
        let mut polled = wanted.map(|fd| libc::pollfd {
            fd: fd.unwrap_or(-1), // passed over by poll(2)
            events: libc::POLLIN,
            revents: 0,
        });
        let wait = match (&ending, room) {
            (None, _) | (_, 0) => i32::try_from(LOOK.as_millis()).unwrap_or(i32::MAX),
            _ => -1,
        };
        // SAFETY: three valid entries.
        if unsafe { libc::poll(polled.as_mut_ptr(), 3, wait) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if polled[0].revents != 0 {
            // Nothing more is ever written here: it has been closed.
            return Ok(terminate(running));
        }
        if polled[2].revents != 0 {
            taken.add(pass_on(running, &mut stderr_open, room)?);
        }
    }
}

/// Hands on what stands in the pipe of standard error, `most` bytes and one buffer at most; returns how many those were.
fn pass_on(running: &Running, open: &mut bool, most: usize) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let mut polled = libc::pollfd {
        fd: running.stderr.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid entry.
    if !*open || unsafe { libc::poll(&raw mut polled, 1, 0) } < 1 {
        return Ok(0);
    }
    let most = most.min(buffer.len());
    match rustix::io::read(&running.stderr, &mut buffer[..most]) {
        Ok(0) | Err(_) => {
            *open = false;
            Ok(0)
        }
        Ok(length) => {
            say(&Word::Stderr(
                String::from_utf8_lossy(&buffer[..length]).into_owned(),
            ))?;
            Ok(length)
        }
    }
}

/// Asks the program to end, and waits a moment.
fn terminate(running: &Running) -> End {
    // SAFETY: kill(2) takes plain integers; the pid is our child's, which has not been reaped, and its group is its own.
    unsafe {
        libc::kill(-running.pid, libc::SIGTERM);
        libc::kill(running.pid, libc::SIGTERM);
    }
    let deadline = Instant::now() + LAST_MOMENTS;
    while running.ended().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    End::Stopped
}

/// What was taken of standard error in the present second.
#[derive(Debug, Default)]
struct Taken {
    since: Option<Instant>,
    bytes: usize,
}

impl Taken {
    fn room(&mut self, now: Instant) -> usize {
        let is_over = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if is_over {
            (self.since, self.bytes) = (Some(now), 0);
        }
        STDERR_RATE.saturating_sub(self.bytes)
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// Standard output is the program's alone from here.
pub(super) fn leave_stdout() -> io::Result<()> {
    let null = fs::File::options().write(true).open("/dev/null")?;
    // SAFETY: both are descriptors of this process; what 1 was is open in the program.
    if unsafe { libc::dup2(null.as_raw_fd(), 1) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
