//! System calls of kevmon that the test answers: what time it is, whether the kernel's random number generator is seeded, and how
//! long the disk takes.
//!
//! A filter that the child puts on itself before it becomes kevmon stops it at the calls, and a thread of the test answers them
//! (seccomp_unotify(2)): the host's clock stays as it is. kevmon would read the clock without a call, from the vDSO, which is hidden
//! from it.

use std::{
    fs::{self, File},
    io,
    mem::{offset_of, zeroed},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use libc::{seccomp_data, seccomp_notif, seccomp_notif_resp, sock_filter};

/// Where the child keeps the listener: above what it opens itself.
const LISTENER: RawFd = 1000;
/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`, include/uapi/linux/seccomp.h.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const CONTINUE: u32 = 1;

/// What the calls of one kevmon are answered with.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// By how much its wall clock is ahead, ns.
    offset: AtomicI64,
    /// Calls that would have to wait for entropy wait.
    unseeded: AtomicBool,
    /// Those that do.
    waiting: Mutex<Vec<u64>>,
    /// What waits for the disk takes so long, ms.
    disk: AtomicU64,
    /// Calls that wait for it, each until then.
    flushing: Mutex<Vec<(Instant, u64)>>,
}

impl Calls {
    /// Sets its wall clock to so many seconds ahead of the host's, or behind it.
    pub fn set_clock(&self, seconds: i64) {
        self.0.offset.store(seconds * 1_000_000_000, Ordering::SeqCst);
    }

    /// The kernel's random number generator is seeded from now on, or is not yet.
    pub fn set_seeded(&self, seeded: bool) {
        self.0.unseeded.store(!seeded, Ordering::SeqCst);
    }

    /// From now on, what waits for the disk (fsync(2), fdatasync(2)) takes so long.
    pub fn set_disk(&self, takes: Duration) {
        let millis = u64::try_from(takes.as_millis()).expect("a short time");
        self.0.disk.store(millis, Ordering::SeqCst);
    }

    /// Calls that wait for entropy.
    pub fn waiting(&self) -> usize {
        self.0.waiting.lock().expect("nobody panics with it").len()
    }

    /// Has the calls of what `command` starts answered, once [`Calls::answer`] is called.
    pub fn prepare(&self, command: &mut Command) {
        let filter = filter();
        // SAFETY: system calls alone, on what was made before the fork.
        unsafe {
            command.pre_exec(move || {
                let program = libc::sock_fprog {
                    len: u16::try_from(filter.len()).expect("a short filter"),
                    filter: filter.as_ptr().cast_mut(),
                };
                let listener = libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                    &raw const program,
                );
                checked(listener)?;
                checked(libc::dup2(i32::try_from(listener).expect("a descriptor"), LISTENER).into())?;
                // It stops once it is kevmon, before its first instruction.
                checked(libc::ptrace(libc::PTRACE_TRACEME, 0, 0_usize, 0_usize))
            });
        }
    }

    /// Answers the calls of the child of this pid from now on; by the thread that started it.
    pub fn answer(&self, pid: u32) {
        let child = i32::try_from(pid).expect("a pid");
        let mut status = 0;
        // SAFETY: a child of this thread that is not reaped: it is stopped by its exec.
        unsafe {
            assert_eq!(libc::waitpid(child, &raw mut status, libc::__WALL), child);
            assert!(
                libc::WIFSTOPPED(status),
                "missing prerequisite: ptrace; status {status:#x}"
            );
        }
        hide_vdso(pid);
        let listener = listener(child);
        // SAFETY: a stopped tracee of this thread.
        unsafe { assert_eq!(libc::ptrace(libc::PTRACE_DETACH, child, 0_usize, 0_usize), 0) };
        let state = Arc::clone(&self.0);
        std::thread::spawn(move || state.serve(&listener));
    }
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Notifies of the calls that tell the wall clock or wait for the disk, and of getrandom(2); allows all others.
fn filter() -> Vec<sock_filter> {
    let word = |offset: usize| u32::try_from(offset).expect("a small struct");
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, word(offset), 0, 0);
    let equals = |value, yes, no| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, yes, no);
    let give = |value| step(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let number = |number: libc::c_long| u32::try_from(number).expect("a call");
    let argument = offset_of!(seccomp_data, args) + if cfg!(target_endian = "big") { 4 } else { 0 };
    vec![
        load(offset_of!(seccomp_data, nr)),
        equals(number(libc::SYS_getrandom), 8, 0),
        equals(number(libc::SYS_fsync), 7, 0),
        equals(number(libc::SYS_fdatasync), 6, 0),
        equals(number(libc::SYS_gettimeofday), 5, 0),
        equals(number(libc::SYS_clock_gettime), 0, 3),
        load(argument),
        equals(libc::CLOCK_REALTIME.unsigned_abs(), 2, 0),
        equals(libc::CLOCK_REALTIME_COARSE.unsigned_abs(), 1, 0),
        give(libc::SECCOMP_RET_ALLOW),
        give(libc::SECCOMP_RET_USER_NOTIF),
    ]
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("a code"),
        jt,
        jf,
        k,
    }
}

/// Takes the vDSO's address out of the auxiliary vector of a program that has not begun (getauxval(3)): what reads the clock makes
/// the call, as on a host without a vDSO.
fn hide_vdso(pid: u32) {
    /// Of `include/uapi/linux/auxvec.h`.
    const AT_IGNORE: u64 = 1;
    const AT_SYSINFO_EHDR: u64 = 33;
    const WORD: usize = size_of::<u64>();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("our child");
    let bounds = |name: &str| {
        let line = maps.lines().find(|line| line.ends_with(name)).expect(name);
        let bounds = line.split(' ').next().and_then(|bounds| bounds.split_once('-'));
        let (from, to) = bounds.expect("bounds");
        [from, to].map(|bound| u64::from_str_radix(bound, 16).expect("hexadecimal"))
    };
    let ([vdso, _], [from, to]) = (bounds("[vdso]"), bounds("[stack]"));
    let memory = format!("/proc/{pid}/mem");
    let memory = File::options()
        .read(true)
        .write(true)
        .open(memory)
        .expect("our child");
    let mut stack = vec![0; usize::try_from(to - from).expect("a few pages")];
    memory.read_exact_at(&mut stack, from).expect("its stack");
    let entry = [AT_SYSINFO_EHDR.to_ne_bytes(), vdso.to_ne_bytes()].concat();
    let at = stack.windows(2 * WORD).step_by(WORD).position(|two| two == entry);
    let at = at.expect("the vDSO's entry") * WORD;
    memory
        .write_all_at(&AT_IGNORE.to_ne_bytes(), from + at as u64)
        .expect("its stack");
}

/// The listener of the child, which has it open.
fn listener(child: i32) -> OwnedFd {
    let owned = |result: libc::c_long| {
        assert!(
            result >= 0,
            "missing prerequisite: pidfd: {}",
            io::Error::last_os_error()
        );
        // SAFETY: a new descriptor that nobody else has.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(result).expect("a descriptor")) }
    };
    // SAFETY: both take plain integers.
    unsafe {
        let process = owned(libc::syscall(libc::SYS_pidfd_open, child, 0));
        owned(libc::syscall(
            libc::SYS_pidfd_getfd,
            process.as_raw_fd(),
            LISTENER,
            0,
        ))
    }
}

impl State {
    /// Until the child has ended.
    fn serve(&self, listener: &OwnedFd) {
        loop {
            let mut poll = libc::pollfd {
                fd: listener.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one descriptor, which lives.
            unsafe { libc::poll(&raw mut poll, 1, 20) };
            if poll.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
                return;
            }
            if !self.unseeded.load(Ordering::SeqCst) {
                let waiting = std::mem::take(&mut *self.waiting.lock().expect("nobody panics with it"));
                waiting.into_iter().for_each(|id| send(listener, id, 0, CONTINUE));
            }
            let now = Instant::now();
            let mut flushing = self.flushing.lock().expect("nobody panics with it");
            flushing.retain(|&(until, id)| {
                let waits = now < until;
                if !waits {
                    send(listener, id, 0, CONTINUE);
                }
                waits
            });
            drop(flushing);
            if poll.revents & libc::POLLIN == 0 {
                continue;
            }
            // SAFETY: integers alone; the kernel wants zeros.
            let mut call: seccomp_notif = unsafe { zeroed() };
            // SAFETY: a place of that type. A call that was interrupted meanwhile is none (ENOENT).
            if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) } == 0 {
                self.answer(listener, &call);
            }
        }
    }

    fn answer(&self, listener: &OwnedFd, call: &seccomp_notif) {
        let [first, second, third, ..] = call.data.args;
        match libc::c_long::from(call.data.nr) {
            libc::SYS_getrandom => {
                let flags = u32::try_from(third).expect("flags");
                let waits = self.unseeded.load(Ordering::SeqCst) && flags & libc::GRND_INSECURE == 0;
                match (waits, flags & libc::GRND_NONBLOCK != 0) {
                    (false, _) => send(listener, call.id, 0, CONTINUE),
                    (true, true) => send(listener, call.id, -libc::EAGAIN, 0),
                    (true, false) => self.waiting.lock().expect("nobody panics with it").push(call.id),
                }
            }
            libc::SYS_fsync | libc::SYS_fdatasync => {
                let takes = Duration::from_millis(self.disk.load(Ordering::SeqCst));
                let mut flushing = self.flushing.lock().expect("nobody panics with it");
                flushing.push((Instant::now() + takes, call.id));
            }
            libc::SYS_clock_gettime => {
                let time = self.time(i32::try_from(first).expect("a clock"));
                tell(call.pid, second, &[time.tv_sec, time.tv_nsec]);
                send(listener, call.id, 0, 0);
            }
            _ => {
                let time = self.time(libc::CLOCK_REALTIME);
                tell(call.pid, first, &[time.tv_sec, time.tv_nsec / 1_000]);
                send(listener, call.id, 0, 0);
            }
        }
    }

    fn time(&self, clock: libc::clockid_t) -> libc::timespec {
        // SAFETY: integers alone.
        let mut time: libc::timespec = unsafe { zeroed() };
        // SAFETY: a place of that type.
        assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
        let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec + self.offset.load(Ordering::SeqCst);
        (time.tv_sec, time.tv_nsec) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        time
    }
}

/// Writes two numbers into the memory of the thread that waits.
fn tell(pid: u32, address: u64, numbers: &[i64; 2]) {
    let memory = File::options().write(true).open(format!("/proc/{pid}/mem"));
    let bytes = numbers.map(i64::to_ne_bytes).concat();
    // It may have been killed meanwhile.
    let _: io::Result<()> = memory.and_then(|memory| memory.write_all_at(&bytes, address));
}

fn send(listener: &OwnedFd, id: u64, error: i32, flags: u32) {
    let response = seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: a response that lives across the call. One that nobody waits for any more is refused.
    unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const response) };
}
