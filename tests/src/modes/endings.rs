//! Ways to end, and to end another process.

use std::time::Duration;

use super::{Args, checked, hold, ready};

/// `on-term CODE`: exits with this code when SIGTERM comes.
pub(super) fn on_term(args: &Args<'_>) -> i32 {
    use std::sync::atomic::{AtomicI32, Ordering};
    static CODE: AtomicI32 = AtomicI32::new(0);
    extern "C" fn handler(_: i32) {
        // SAFETY: _exit may be called by a signal handler and does not return.
        unsafe { libc::_exit(CODE.load(Ordering::Relaxed)) }
    }
    CODE.store(code(args, 0), Ordering::Relaxed);
    // SAFETY: the handler is a function of the type that signal(2) asks for, and does what a handler may.
    unsafe { libc::signal(libc::SIGTERM, handler as extern "C" fn(i32) as libc::sighandler_t) };
    ready();
    hold();
    0
}

/// `alarm --life-ms F`: a timer's SIGALRM ends it then.
pub(super) fn alarm(args: &Args<'_>) -> i32 {
    let life = args.millis("--life-ms");
    // SAFETY: all zeros is a valid itimerval.
    let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
    timer.it_value.tv_sec = life.as_secs().try_into().expect("a short life");
    timer.it_value.tv_usec = life.subsec_micros().into();
    // SAFETY: a valid itimerval to read; the old one is not asked for.
    let result = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    checked(result, "setitimer");
    std::thread::sleep(life + Duration::from_secs(10));
    99
}

/// `segfault`: writes where nothing is, with a core file allowed. Run it in a directory of its own.
pub(super) fn segfault() -> i32 {
    let any = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: setrlimit reads one valid rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const any) };
    checked(result, "setrlimit");
    let nowhere = std::ptr::null_mut::<u8>().wrapping_add(64);
    // SAFETY: none, which is the point: nothing is mapped there, so the process ends here.
    unsafe { nowhere.write_volatile(1) };
    99
}

/// `kill PID SIGNAL`: sends it, and ends.
pub(super) fn kill(args: &Args<'_>) -> i32 {
    // SAFETY: kill takes plain integers.
    checked(unsafe { libc::kill(code(args, 0), code(args, 1)) }, "kill");
    0
}

/// `eat`: at the first line of its input it takes memory until somebody ends it.
pub(super) fn eat() -> i32 {
    grow(Duration::ZERO)
}

/// `leak MILLISECONDS`: the same, a mebibyte each so many milliseconds.
pub(super) fn leak(args: &Args<'_>) -> i32 {
    grow(Duration::from_millis(
        u64::try_from(code(args, 0)).expect("a pause"),
    ))
}

fn grow(pause: Duration) -> i32 {
    const PIECE: usize = 1 << 20;
    ready();
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("the harness writes text");
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![b'k'; PIECE]));
        std::thread::sleep(pause);
    }
}

/// `thread-exits CODE`: a second thread ends the process, while the leader sleeps.
pub(super) fn thread_exits(args: &Args<'_>) -> i32 {
    let code = code(args, 0);
    ready();
    std::thread::spawn(move || {
        hold();
        // SAFETY: _exit is exit_group(2); it does not return.
        unsafe { libc::_exit(code) }
    });
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// `leader-first CODE LAST [--group]`: the leader goes first, alone, with CODE; the last thread goes with LAST
/// when the input is closed, alone too (the process then ends with the leader's code) or, with `--group`, by
/// exit_group (it ends with LAST).
pub(super) fn leader_first(args: &Args<'_>) -> i32 {
    let (first, last, group) = (code(args, 0), code(args, 1), args.flag("--group"));
    let call = if group {
        libc::SYS_exit_group
    } else {
        libc::SYS_exit
    };
    std::thread::spawn(move || {
        hold();
        // SAFETY: ends this thread, or all of them; nothing of it is used afterwards.
        unsafe { libc::syscall(call, last) };
    });
    ready();
    // SAFETY: the leader's stack stays mapped and nothing on it is used by the other thread.
    unsafe { libc::syscall(libc::SYS_exit, first) };
    0
}

fn code(args: &Args<'_>, index: usize) -> i32 {
    i32::try_from(args.number(index)).expect("a small number")
}
