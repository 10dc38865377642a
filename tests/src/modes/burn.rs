//! Work of a known size: CPU time by the process's own clock, bytes written and read through a disk,
//! sleeps (each one voluntary context switch), threads.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd},
    path::Path,
    sync::{Arc, Barrier, Condvar, Mutex},
    time::{Duration, Instant},
};

use super::{Args, clock, hold, ready, say};
use crate::wait;

const CHUNK: usize = 64 * 1024;
const SHORT_SLEEP: Duration = Duration::from_micros(50);

/// `burn [--cpu-ms F] [--write-bytes N --file PATH [--fsync] [--read-back]] [--sleeps N] [--life-ms F]`:
/// works, and ends when it has lived `life` since its main began.
pub(super) fn burn(args: &Args<'_>) -> i32 {
    let begin = Instant::now();
    let bytes = usize::try_from(args.count("--write-bytes")).expect("a small file");
    if bytes > 0 {
        let path = Path::new(args.value("--file").expect("--write-bytes needs --file"));
        write(path, bytes, args.flag("--fsync"));
        if args.flag("--read-back") {
            read_back(path);
        }
    }
    for _ in 0..args.count("--sleeps") {
        std::thread::sleep(SHORT_SLEEP);
    }
    spin(libc::CLOCK_PROCESS_CPUTIME_ID, args.millis("--cpu-ms"));
    let left = args.millis("--life-ms").saturating_sub(begin.elapsed());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
    0
}

/// `pulse --busy-ms F --idle-ms F`: works and rests by turns until its input is closed.
pub(super) fn pulse(args: &Args<'_>) -> i32 {
    let (busy, idle) = (args.millis("--busy-ms"), args.millis("--idle-ms"));
    ready();
    loop {
        spin(
            libc::CLOCK_PROCESS_CPUTIME_ID,
            clock(libc::CLOCK_PROCESS_CPUTIME_ID) + busy,
        );
        if wait::readable(std::io::stdin().as_fd(), Instant::now() + idle) {
            return 0;
        }
    }
}

/// `work`: each line of its input, `user MS` or `system MS`, is CPU time to spend in that mode, answered with `ok`.
pub(super) fn work() -> i32 {
    ready();
    let mut zeros = File::open("/dev/zero").expect("/dev/zero");
    let mut buffer = vec![0; 256 * 1024];
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (mode, ms) = line.split_once(' ').expect("a mode and a number");
        let ms = ms.parse().expect("a number of milliseconds");
        let end = clock(libc::CLOCK_PROCESS_CPUTIME_ID) + Duration::from_millis(ms);
        while clock(libc::CLOCK_PROCESS_CPUTIME_ID) < end {
            match mode {
                // Some 0.1 ms between two calls of the kernel.
                "user" => (0..100_000).for_each(|_| std::hint::spin_loop()),
                "system" => zeros.read_exact(&mut buffer).expect("zeros"),
                _ => panic!("{line:?}"),
            }
        }
        say("ok");
    }
    0
}

/// Burns until the CPU clock `id`, which began at the start of the process or thread, shows `cpu`.
fn spin(id: libc::clockid_t, cpu: Duration) {
    while clock(id) < cpu {
        std::hint::spin_loop();
    }
}

fn write(path: &Path, bytes: usize, fsync: bool) {
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let chunk = [b'k'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(CHUNK);
        file.write_all(&chunk[..length])
            .expect("the disk takes the bytes");
        left -= length;
    }
    if fsync {
        file.sync_all().expect("the disk takes the bytes");
    }
}

/// Reads the file from the disk: its pages are dropped from the cache before. Needs `--fsync`, as
/// dirty pages are not dropped.
fn read_back(path: &Path) {
    let mut file = File::open(path).expect("our own file");
    // SAFETY: posix_fadvise takes plain integers and an open descriptor.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0, "posix_fadvise");
    let mut buffer = [0; CHUNK];
    while file.read(&mut buffer).expect("our own file") > 0 {}
}

/// `threads N [--cpu-ms F] [--leader-exits-first]`: N more threads, each of which burns CPU first.
/// At the end the leader ends all at once (`exit_group`); with `--leader-exits-first` the leader goes
/// after `ready`, alone, and at the end the others go one after the other.
pub(super) fn threads(args: &Args<'_>) -> i32 {
    let count = usize::try_from(args.number(0)).expect("a few threads");
    let cpu = args.millis("--cpu-ms");
    let leader_goes = args.flag("--leader-exits-first");
    let burnt = Arc::new(Barrier::new(count + 1));
    let released = Arc::new((Mutex::new(false), Condvar::new()));
    for index in 0..count {
        let (burnt, released) = (Arc::clone(&burnt), Arc::clone(&released));
        std::thread::spawn(move || {
            spin(libc::CLOCK_THREAD_CPUTIME_ID, cpu);
            burnt.wait();
            if leader_goes && index == 0 {
                hold();
                *released.0.lock().expect("nobody panics") = true;
                released.1.notify_all();
            } else {
                let guard = released.0.lock().expect("nobody panics");
                drop(
                    released
                        .1
                        .wait_while(guard, |released| !*released)
                        .expect("nobody panics"),
                );
            }
        });
    }
    burnt.wait();
    ready();
    if leader_goes {
        // Not exit(3), which ends the whole process: the leader alone, which stays as a zombie.
        // SAFETY: the leader's stack stays mapped and nothing on it is used by the other threads.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    hold();
    // SAFETY: _exit does not return and runs no handler that another thread could disturb.
    unsafe { libc::_exit(0) }
}
