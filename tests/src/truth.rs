//! What the kernel says that children did: fork, exec, wait4 and the rusage that comes with it. The
//! numbers that kevmon reports of the same children are compared with these.

use std::{
    fs,
    ops::AddAssign,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{wait, workload::Program};

/// Bytes in a unit of ru_inblock and ru_oublock.
const BLOCK: u64 = 512;

/// Sums over reaped children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truth {
    pub count: u64,
    /// ru_utime + ru_stime. The kernel scales the two to the exact runtime and then cuts each to
    /// microseconds, so this is at most 2 µs per child below the runtime.
    pub cpu_ns: u64,
    /// ru_utime; 0 where a storm tells.
    pub user_ns: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    /// The largest, not the sum. Includes the image before exec.
    pub max_rss_bytes: u64,
    /// When the last one had been reaped, Unix nanoseconds.
    pub last_reap: u64,
}

impl AddAssign for Truth {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.cpu_ns += other.cpu_ns;
        self.user_ns += other.user_ns;
        self.read_bytes += other.read_bytes;
        self.write_bytes += other.write_bytes;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.max_rss_bytes = self.max_rss_bytes.max(other.max_rss_bytes);
        self.last_reap = self.last_reap.max(other.last_reap);
    }
}

/// A child that has not been reaped; killed and reaped when dropped.
#[derive(Debug)]
pub struct Spawned {
    pid: i32,
    reaped: bool,
}

/// A reaped child.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The wait status.
    pub status: i32,
    pub truth: Truth,
}

/// Starts `program` with `args`, an empty environment and nothing on its standard streams.
pub fn spawn(program: &Program, args: &[&str]) -> Spawned {
    let mut command = Command::new(program.path());
    command.args(args).env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Spawned::start(&mut command)
}

impl Spawned {
    /// Starts a prepared command.
    pub fn start(command: &mut Command) -> Self {
        Self::adopt(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// Takes over a child that nobody has waited for. Dropping a `Child` does not reap it, so from
    /// here on the wait4 below is the only one that does.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "nobody else may wait for it any more"
    )]
    pub fn adopt(child: Child) -> Self {
        Self::own(child.id())
    }

    /// The same for a child that was not started through the standard library.
    pub(crate) fn own(pid: u32) -> Self {
        Self {
            pid: i32::try_from(pid).expect("a pid"),
            reaped: false,
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid).expect("a pid")
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: i32) {
        assert!(!self.reaped, "its pid may be another process by now");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0, "the child is gone");
    }

    /// Waits for its end, without a deadline: for workloads that end by themselves.
    pub fn reap(mut self) -> Ended {
        assert!(self.is_zombie(0), "a blocking waitid waits");
        self.wait4()
    }

    /// Reaps it if it has ended.
    pub fn try_reap(&mut self) -> Option<Ended> {
        self.is_zombie(libc::WNOHANG).then(|| self.wait4())
    }

    /// Whether it has ended; it stays to be reaped.
    fn is_zombie(&self, flags: i32) -> bool {
        assert!(!self.reaped, "reaped twice");
        let id = libc::id_t::try_from(self.pid).expect("a pid");
        loop {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            let flags = flags | libc::WEXITED | libc::WNOWAIT;
            // SAFETY: `info` is valid memory for a siginfo_t, of which all zeros is a valid value.
            let (result, info) = unsafe {
                let result = libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags);
                (result, info.assume_init())
            };
            if result == 0 {
                // SAFETY: waitid fills the fields of a child's state, and leaves zero where none has ended.
                return unsafe { info.si_pid() } == self.pid;
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::Interrupted,
                "waitid({}): {error}",
                self.pid
            );
        }
    }

    /// Waits until a zombie is off its CPU. Its parent is woken before (kernel/exit.c, exit_notify), and a
    /// wait4 that wins the race tells a rusage without the last context switch and the last microseconds.
    fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let path = format!("/proc/{}/syscall", self.pid);
        // "running" until the kernel has seen it switched out (lib/syscall.c, task_current_syscall).
        while fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("missing prerequisite: {path}: {error}"))
            .starts_with("running")
        {
            assert!(Instant::now() < deadline, "process {} does not stop", self.pid);
            std::thread::yield_now();
        }
    }

    fn wait4(&mut self) -> Ended {
        self.settle();
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers are valid for the call and of the types that wait4 fills.
        let reaped = unsafe { libc::wait4(self.pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        assert_eq!(
            reaped,
            self.pid,
            "wait4 of a zombie: {}",
            std::io::Error::last_os_error()
        );
        self.reaped = true;
        // SAFETY: all zeros is a valid rusage, and wait4 has filled it in.
        let usage = unsafe { usage.assume_init() };
        let truth = Truth {
            count: 1,
            last_reap: wait::unix_now(),
            ..from_rusage(&usage)
        };
        Ended { status, truth }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            self.is_zombie(0);
            self.wait4();
        }
    }
}

/// What the `storm` mode answered, at `end` (Unix nanoseconds). Its children are reaped as fast as they end, so
/// their last switches may be missing.
pub fn from_storm(answer: &str, end: u64) -> Truth {
    let numbers = answer.split(' ').map(|number| number.parse().expect("a number"));
    let numbers: Vec<u64> = numbers.collect();
    let [count, cpu_ns, voluntary, involuntary, read_bytes, write_bytes] = numbers[..] else {
        panic!("{answer}")
    };
    Truth {
        count,
        cpu_ns,
        user_ns: 0,
        read_bytes,
        write_bytes,
        voluntary,
        involuntary,
        max_rss_bytes: 0,
        last_reap: end,
    }
}

/// The sums of a rusage; `count` and `last_reap` stay 0.
pub(crate) fn from_rusage(usage: &libc::rusage) -> Truth {
    let whole = |value: i64| u64::try_from(value).expect("rusage is never negative");
    let time = |value: libc::timeval| whole(value.tv_sec) * 1_000_000_000 + whole(value.tv_usec) * 1_000;
    Truth {
        cpu_ns: time(usage.ru_utime) + time(usage.ru_stime),
        user_ns: time(usage.ru_utime),
        read_bytes: whole(usage.ru_inblock) * BLOCK,
        write_bytes: whole(usage.ru_oublock) * BLOCK,
        voluntary: whole(usage.ru_nvcsw),
        involuntary: whole(usage.ru_nivcsw),
        max_rss_bytes: whole(usage.ru_maxrss) * 1024,
        ..Truth::default()
    }
}
