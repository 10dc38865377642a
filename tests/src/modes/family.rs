//! Processes that make processes: workers without exec, daemons, vfork, zombies, herds and storms.

use std::{
    ffi::c_void,
    io::BufRead,
    process::{Command, Stdio},
};

use super::{Args, checked, hold, identity, ready, say};
use crate::truth;

/// In which process fork(2) has returned.
enum Side {
    Child,
    Parent(i32),
}

/// Forks this process, which has one thread.
fn fork() -> Side {
    // SAFETY: the modes that fork have started no thread, so the child may do all that the parent may.
    match checked(unsafe { libc::fork() }, "fork") {
        0 => Side::Child,
        pid => Side::Parent(pid),
    }
}

fn wait_for(pid: i32) {
    // SAFETY: waitpid takes plain integers; a null status is allowed.
    checked(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, "waitpid");
}

fn leave(code: i32) -> ! {
    // SAFETY: _exit does not return.
    unsafe { libc::_exit(code) }
}

/// `forks N`: N workers of the same program, without exec. All end when the shared input is closed.
pub(super) fn forks(args: &Args<'_>) -> i32 {
    let mut workers = Vec::new();
    for _ in 0..args.number(0) {
        match fork() {
            Side::Child => {
                hold();
                leave(0);
            }
            Side::Parent(pid) => workers.push(pid),
        }
    }
    ready();
    hold();
    workers.into_iter().for_each(wait_for);
    0
}

/// `prefork N`: a master with N workers. A worker that a signal ends is replaced at once, and told by a line with
/// the new one's pid. All end when the shared input is closed.
pub(super) fn prefork(args: &Args<'_>) -> i32 {
    let worker = || match fork() {
        Side::Child => {
            hold();
            leave(0);
        }
        Side::Parent(pid) => pid,
    };
    let mut live: Vec<i32> = (0..args.number(0)).map(|_| worker()).collect();
    ready();
    while !live.is_empty() {
        let mut status = 0;
        // SAFETY: waitpid fills one integer.
        let ended = checked(unsafe { libc::waitpid(-1, &raw mut status, 0) }, "waitpid");
        live.retain(|&pid| pid != ended);
        if libc::WIFSIGNALED(status) {
            let pid = worker();
            live.push(pid);
            say(&pid.to_string());
        }
    }
    0
}

/// `double-fork`: the classic daemon. The first process and its child end; the grandchild, which says
/// `ready` when they have, lives until the input is closed.
pub(super) fn double_fork() -> i32 {
    match fork() {
        Side::Parent(pid) => {
            wait_for(pid);
            0
        }
        Side::Child => {
            // SAFETY: setsid has no arguments.
            checked(unsafe { libc::setsid() }, "setsid");
            if let Side::Parent(_) = fork() {
                leave(0);
            }
            ready();
            hold();
            0
        }
    }
}

/// `vfork-hold BYTES`: holds memory while a vfork child that shares it lives.
pub(super) fn vfork_hold(args: &Args<'_>) -> i32 {
    extern "C" fn child(_: *mut c_void) -> i32 {
        ready();
        hold();
        leave(0)
    }
    let memory = identity::resident(args.number(0));
    let mut stack = vec![0_u128; 16 * 1024];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the child runs on its own 256 KiB, and this thread sleeps in the kernel until it is gone
    // (CLONE_VFORK), so nothing that it touches is used by two at once.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            std::ptr::null_mut(),
        )
    };
    wait_for(checked(pid, "clone"));
    drop(memory);
    0
}

/// `zombie`: a child that has ended and that nobody reaps while this lives.
pub(super) fn zombie() -> i32 {
    let Side::Parent(pid) = fork() else { leave(3) };
    // SAFETY: all zeros is a valid siginfo_t, and waitid fills it; WNOWAIT leaves the zombie.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = libc::id_t::try_from(pid).expect("a pid");
        checked(
            libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT),
            "waitid",
        );
    }
    ready();
    hold();
    0
}

/// `herd N`: N processes that do nothing at all, forked without exec so that they cost little memory.
pub(super) fn herd(args: &Args<'_>) -> i32 {
    let mut herd = Vec::new();
    for _ in 0..args.number(0) {
        match fork() {
            Side::Child => {
                // SAFETY: prctl and pause take plain integers. SIGKILL comes when the parent is gone.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
            }
            Side::Parent(pid) => herd.push(pid),
        }
    }
    ready();
    hold();
    for &pid in &herd {
        // SAFETY: kill takes plain integers; our own children, not reaped yet.
        checked(unsafe { libc::kill(pid, libc::SIGKILL) }, "kill");
    }
    herd.into_iter().for_each(wait_for);
    0
}

/// `storm N THREADS PROGRAM ARGS…`: at the first line of its input it starts and reaps the program N
/// times, as fast as THREADS threads can, and answers with what the kernel says of these children:
/// count, CPU ns, voluntary and involuntary switches, bytes read and written.
pub(super) fn storm(args: &Args<'_>) -> i32 {
    let (count, threads) = (args.number(0), args.number(1));
    let (program, rest) = (args.positional(2), &args.0[3..]);
    ready();
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("the harness writes text");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let share = count / threads + u64::from(thread < count % threads);
            scope.spawn(move || {
                for _ in 0..share {
                    let mut child = Command::new(program)
                        .args(rest)
                        .env_clear()
                        .stdin(Stdio::null())
                        .spawn()
                        .unwrap_or_else(|error| panic!("{program}: {error}"));
                    child.wait().expect("our own child");
                }
            });
        }
    });
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid memory for a rusage; zeroed is a valid value if the call fails.
    let children = unsafe {
        checked(
            libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()),
            "getrusage",
        );
        truth::from_rusage(&usage.assume_init())
    };
    let truth::Truth {
        cpu_ns,
        voluntary,
        involuntary,
        read_bytes,
        write_bytes,
        ..
    } = children;
    say(&format!(
        "{count} {cpu_ns} {voluntary} {involuntary} {read_bytes} {write_bytes}"
    ));
    hold();
    0
}
