//! Processes that are, hold, change their name or program, and end in a given way.

use std::{fs::File, os::unix::process::CommandExt, process::Command};

use super::{Args, checked, hold, ready, say};

/// `idle`: lives until its input is closed.
pub(super) fn idle() -> i32 {
    ready();
    hold();
    0
}

/// `exit CODE [--life-ms F]`.
pub(super) fn exit(args: &Args<'_>) -> i32 {
    std::thread::sleep(args.millis("--life-ms"));
    i32::try_from(args.number(0)).expect("an exit code")
}

/// `signal SIG [--life-ms F]`: kills itself, without a core file.
pub(super) fn signal(args: &Args<'_>) -> i32 {
    std::thread::sleep(args.millis("--life-ms"));
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let signal = i32::try_from(args.number(0)).expect("a signal");
    // SAFETY: setrlimit reads one valid rlimit; signal and raise take plain integers.
    unsafe {
        checked(libc::setrlimit(libc::RLIMIT_CORE, &raw const none), "setrlimit");
        libc::signal(signal, libc::SIG_DFL);
        checked(libc::raise(signal), "raise");
    }
    99
}

/// `mem BYTES`: holds so much resident memory.
pub(super) fn mem(args: &Args<'_>) -> i32 {
    let memory = resident(args.number(0));
    ready();
    hold();
    drop(memory);
    0
}

/// So many bytes, each page of them touched.
pub(super) fn resident(bytes: u64) -> Vec<u8> {
    vec![b'k'; usize::try_from(bytes).expect("fits the address space")]
}

/// `fds N`: holds N more open files.
pub(super) fn fds(args: &Args<'_>) -> i32 {
    let files: Vec<File> = (0..args.number(0))
        .map(|_| File::open("/dev/null").expect("/dev/null"))
        .collect();
    ready();
    hold();
    drop(files);
    0
}

/// `rename`: each line of its input is a new comm, in hexadecimal, answered with `ok`.
pub(super) fn rename() -> i32 {
    ready();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let comm: Vec<u8> = (0..line.len() / 2)
            .map(|index| u8::from_str_radix(&line[index * 2..index * 2 + 2], 16).expect("hexadecimal"))
            .collect();
        set_comm(comm);
        say("ok");
    }
    0
}

/// `title [--argv-only]`: each line of its input becomes its title as setproctitle(3) makes it: written over the memory of
/// its arguments, the rest of which is filled with NULs, and, cut, its comm. Answered with `ok`.
pub(super) fn title(args: &Args<'_>) -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split(' ')
        .collect();
    // Fields 48 and 49, arg_start and arg_end (proc(5)); the first one here is field 3.
    let address = |field: usize| fields[field - 3].parse::<usize>().expect("an address");
    let (start, end) = (address(48), address(49));
    ready();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        for (offset, address) in (start..end).enumerate() {
            let byte = line.as_bytes().get(offset).copied().unwrap_or(0);
            // SAFETY: the kernel's own bounds of the arguments, which are writable (execve(2)); the standard
            // library copied them before main began.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write(byte) };
        }
        if !args.flag("--argv-only") {
            set_comm(line.into_bytes());
        }
        say("ok");
    }
    0
}

/// The kernel cuts it at 15 bytes.
pub(super) fn set_comm(mut comm: Vec<u8>) {
    comm.push(0);
    // SAFETY: `comm` is NUL-terminated and outlives the call.
    let result = unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) };
    checked(result, "prctl(PR_SET_NAME)");
}

/// `exec PROGRAM ARGS…`: becomes that program at the first line of its input.
pub(super) fn exec(args: &Args<'_>) -> i32 {
    ready();
    let mut line = String::new();
    // Not through a buffer, which would swallow what is meant for the next program.
    read_line_unbuffered(&mut line);
    let error = Command::new(args.positional(0)).args(&args.0[1..]).exec();
    panic!("{}: {error}", args.positional(0));
}

fn read_line_unbuffered(line: &mut String) {
    loop {
        let mut byte = 0_u8;
        // SAFETY: one byte of valid memory to fill.
        let length = unsafe { libc::read(0, (&raw mut byte).cast(), 1) };
        if length != 1 || byte == b'\n' {
            return;
        }
        line.push(char::from(byte));
    }
}

/// `exec-chain N`: executes itself N times, then lives until its input is closed.
pub(super) fn exec_chain(args: &Args<'_>) -> i32 {
    let left = args.number(0);
    if left == 0 {
        return idle();
    }
    let this = std::env::current_exe().expect("/proc is mounted");
    let error = Command::new(&this)
        .args(["exec-chain", &(left - 1).to_string()])
        .exec();
    panic!("{}: {error}", this.display());
}
