//! The supervisor: one thread, started for one run. It starts the confined process, holds it to its limits, and leaves
//! nothing of it behind.

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use super::{
    End, Job, Order, Report, Word,
    child::{self, Obstacle},
    following,
    refusals::{self, Refusals},
};

/// Bytes of standard error that are kept.
const STDERR: usize = 2_000;
/// An order is not longer than this, bytes.
const LONGEST_ORDER: u64 = 8 << 20;
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Carries out the order on standard input; its report and output go to standard output.
///
/// # Errors
/// Standard input holds no order, or nobody reads the report.
pub fn supervise() -> io::Result<()> {
    die_with_parent();
    // An object of JSON says itself where it ends; standard input may stay open behind it.
    let input = io::stdin().lock().take(LONGEST_ORDER);
    let mut orders = serde_json::Deserializer::from_reader(input).into_iter::<Order>();
    let order = orders.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    if order.follow {
        return follow(&order);
    }
    let (report, output) = match start(&order) {
        Ok(running) => running.watch(&order),
        Err(end) => (Report::of(end), Vec::new()),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &report)?;
    out.write_all(b"\n")?;
    out.write_all(&output)?;
    out.flush()
}

fn follow(order: &Order) -> io::Result<()> {
    // The end of standard input is what ends this process: killed, it could end nothing of what the program had started.
    // SAFETY: prctl(2) with plain integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    match start(order) {
        Ok(running) => {
            following::leave_stdout()?;
            if !running.lacking.is_empty() {
                following::say(&Word::Lacking(running.lacking.clone()))?;
            }
            following::stay(&running)
        }
        Err(end) => following::refuse(end),
    }
}

/// A confined process and what it writes.
pub(super) struct Running {
    pub(super) pid: libc::pid_t,
    /// Empty where the process writes to this one's own.
    stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Its end is the end of everything that it started, wherever that has gone (pid_namespaces(7)).
    own_namespace: bool,
    refusals: Refusals,
    /// What the kernel could not do to confine it.
    pub(super) lacking: Vec<String>,
}

fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| format!("pipe: {error}"))
}

/// Nothing to read, and this process's own standard output to write to.
fn own_stdout() -> io::Result<(OwnedFd, OwnedFd)> {
    let nothing = fs::File::open("/dev/null")?;
    Ok((nothing.into(), io::stdout().as_fd().try_clone_to_owned()?))
}

/// SIGKILL when kevmon ends, however it does.
fn die_with_parent() {
    // SAFETY: prctl(2) with plain integers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        // What this process is made for runs under its user id where kevmon is not root, and the child has kevmon's memory
        // until its exec.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
}

fn start(order: &Order) -> Result<Running, End> {
    let refused = |what: &str, error: io::Error| End::Refused(format!("{what}: {error}"));
    let own = fs::File::open("/proc/self/ns/pid");
    // Needs CAP_SYS_ADMIN; without, strays are looked for one by one.
    // SAFETY: unshare(2) of this single-threaded process takes plain flags.
    let own_namespace = own.is_ok() && unsafe { libc::unshare(libc::CLONE_NEWPID) } == 0;
    let (out_read, out_write) = if order.follow {
        own_stdout().map_err(|error| refused("standard output", error))?
    } else {
        pipe().map_err(End::Refused)?
    };
    let (err_read, err_write) = pipe().map_err(End::Refused)?;
    // What keeps the child from beginning comes through here; it is closed when the work begins.
    let (failed_read, failed_write) = pipe().map_err(End::Refused)?;
    let (here, there) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| refused("socketpair", error.into()))?;
    // SAFETY: this process has one thread, so the child may do whatever it likes.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => return Err(refused("fork", io::Error::last_os_error())),
        0 => {
            // SAFETY: setsid(2) has no arguments; prctl(2) takes plain integers.
            unsafe {
                libc::setsid();
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            let wiring = child::Wiring {
                stdout: &out_write,
                stderr: &err_write,
                confined: &there,
                own_namespace,
            };
            let obstacle = match (child::prepare(order, &wiring), &order.job) {
                (Err(obstacle), _) => obstacle,
                (
                    Ok(()),
                    Job::Run {
                        argv,
                        environment,
                        folder,
                    },
                ) => child::run(argv, environment, folder),
                (Ok(()), Job::Read(files)) => {
                    drop(failed_write); // no exec closes it
                    child::read(files)
                }
            };
            let end = match obstacle {
                Obstacle::Reason(reason) => End::Refused(reason),
                Obstacle::UserInUse => End::UserInUse,
            };
            // Nobody is left to be told that this cannot be written.
            let _: Result<(), serde_json::Error> = serde_json::to_writer(fs::File::from(failed_write), &end);
            // SAFETY: ends this process at once; nothing of the parent's is flushed twice.
            unsafe { libc::_exit(125) }
        }
        _ => {}
    }
    drop((out_write, err_write, failed_write, there));
    if let (true, Ok(own)) = (own_namespace, &own) {
        // Children of this process would be in the child's namespace, and a thread cannot be (clone(2), EINVAL).
        // SAFETY: setns(2) takes a descriptor and plain flags. Where it fails, there is no thread, which is said below.
        unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) };
    }
    let mut running = Running {
        pid,
        stdout: out_read,
        stderr: err_read,
        own_namespace,
        refusals: Refusals::default(),
        lacking: Vec::new(),
    };
    let mut failed = Vec::new();
    // Ends when the work begins, or with the child.
    let told = fs::File::from(failed_read)
        .take(64 << 10)
        .read_to_end(&mut failed);
    if told.is_ok() && !failed.is_empty() {
        running.kill();
        return Err(serde_json::from_slice(&failed)
            .unwrap_or_else(|_| End::Refused("it ended before it began".to_owned())));
    }
    running.hear(&here, order.follow)?;
    Ok(running)
}

impl Running {
    /// Takes what the child said before it began, and answers the calls that its filter refuses from now on.
    fn hear(&mut self, from: &OwnedFd, follows: bool) -> Result<(), End> {
        let (confined, listener) = refusals::receive(from);
        self.lacking = confined.lacking;
        let Some(listener) = listener else {
            return Ok(());
        };
        let tell = move |name: &str| {
            if follows {
                // Without a reader kevmon is ending, and the program with it.
                let _: io::Result<()> = following::say(&Word::RefusedCall(name.to_owned()));
            }
        };
        self.refusals.answer(listener, tell).map_err(|error| {
            self.kill();
            End::Refused(format!("no thread answers its refused calls: {error}"))
        })
    }

    fn watch(self, order: &Order) -> (Report, Vec<u8>) {
        let deadline = Instant::now() + Duration::from_millis(order.timeout_ms);
        let (mut output, mut stderr) = (Vec::new(), Vec::new());
        let limit = usize::try_from(order.output).unwrap_or(usize::MAX);
        let mut open = [true, true];
        let end = loop {
            if let Some(end) = self.ended() {
                // What it has written is in the pipes.
                let deadline = deadline.min(Instant::now() + LOOK);
                self.pump(
                    (Duration::ZERO, deadline),
                    &mut open,
                    &mut output,
                    &mut stderr,
                    limit,
                );
                break if output.len() > limit {
                    End::TooMuchOutput
                } else {
                    end
                };
            }
            let now = Instant::now();
            if now >= deadline {
                break End::TimedOut;
            }
            self.pump(
                (LOOK.min(deadline - now), deadline),
                &mut open,
                &mut output,
                &mut stderr,
                limit,
            );
            if output.len() > limit {
                break End::TooMuchOutput;
            }
        };
        let leftovers = self.kill();
        if matches!(end, End::TooMuchOutput | End::TimedOut) {
            output.clear();
        }
        let report = Report {
            end,
            stderr: String::from_utf8_lossy(&stderr).trim_end().to_owned(),
            leftovers,
            refused_calls: self.refusals.names(),
            lacking: self.lacking,
        };
        (report, output)
    }

    /// Takes what the pipes hold, within `wait`, and until `deadline` while more comes: of the output a byte more than it may
    /// have.
    fn pump(
        &self,
        (wait, deadline): (Duration, Instant),
        open: &mut [bool; 2],
        output: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
        limit: usize,
    ) {
        let mut buffer = [0; 65536];
        let mut wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        loop {
            let mut polled = [&self.stdout, &self.stderr].map(|fd| libc::pollfd {
                fd: fd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            });
            for (polled, open) in polled.iter_mut().zip(&*open) {
                if !open {
                    polled.fd = -1;
                }
            }
            // SAFETY: two valid entries; closed ones have a negative descriptor, which poll(2) passes over.
            let ready = unsafe { libc::poll(polled.as_mut_ptr(), 2, wait) };
            if ready <= 0 {
                return;
            }
            wait = 0;
            if Instant::now() >= deadline {
                return;
            }
            for (index, fd) in [&self.stdout, &self.stderr].into_iter().enumerate() {
                if !open[index] || polled[index].revents == 0 {
                    continue;
                }
                match rustix::io::read(fd, &mut buffer) {
                    Ok(0) | Err(_) => open[index] = false,
                    Ok(length) if index == 0 => {
                        output.extend_from_slice(&buffer[..length]);
                        if output.len() > limit {
                            return;
                        }
                    }
                    Ok(length) => {
                        let room = STDERR.saturating_sub(stderr.len());
                        stderr.extend_from_slice(&buffer[..length.min(room)]);
                    }
                }
            }
        }
    }

    /// How it ended, once it has. It is not reaped yet, so that its pid and its group stay its own until all are dead.
    pub(super) fn ended(&self) -> Option<End> {
        // SAFETY: a siginfo of zeros is a valid one; waitid(2) fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: our own child, and a siginfo to fill.
        let result = unsafe { libc::waitid(libc::P_PID, self.pid.unsigned_abs(), &raw mut info, flags) };
        // SAFETY: waitid filled these fields, or left them zero.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        match (result, pid, info.si_code) {
            (-1, ..) => Some(End::Refused(format!("waitid: {}", io::Error::last_os_error()))),
            (_, 0, _) => None,
            (_, _, libc::CLD_EXITED) => Some(End::Exited(status)),
            _ => Some(End::Signalled(status)),
        }
    }

    /// Ends it and everything that it started; returns how many were left beside it.
    pub(super) fn kill(&self) -> u64 {
        // SAFETY: kill(2) takes plain integers; the pid is our child's, which has not been reaped, and its group is its own.
        unsafe {
            libc::kill(-self.pid, libc::SIGKILL);
            libc::kill(self.pid, libc::SIGKILL);
        }
        let mut strays = 0;
        // With its own namespace all is over with its first process. Without, whatever was orphaned is our child now.
        for _ in 0..100 {
            let children = if self.own_namespace {
                Vec::new()
            } else {
                descendants()
            };
            // Stopped first, so that none forks on while the others die.
            for pid in &children {
                // SAFETY: as below.
                unsafe { libc::kill(*pid, libc::SIGSTOP) };
            }
            for pid in &children {
                // SAFETY: as above; a child that is not reaped keeps its pid.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            strays = strays.max(children.iter().filter(|pid| **pid != self.pid).count() as u64);
            let mut status = 0;
            // SAFETY: waitpid(2) writes the status of a child.
            while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {}
            // SAFETY: as above; -1 (ECHILD): nothing is left.
            if unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } == -1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        strays
    }
}

/// Everything below this process, by the parents that /proc tells.
fn descendants() -> Vec<libc::pid_t> {
    let mut parents: Vec<(libc::pid_t, libc::pid_t)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // pid (comm) state ppid: the name may hold anything (proc_pid_stat(5)).
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![i32::try_from(std::process::id()).unwrap_or(0)];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        let children = parents
            .iter()
            .filter(|(pid, of)| *of == parent && !found.contains(pid));
        let children: Vec<_> = children.map(|(pid, _)| *pid).collect();
        found.extend(children);
        at += 1;
    }
    found.split_off(1)
}
