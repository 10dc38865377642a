//! A thread that leaves its CPU as it is told to.

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use super::{Args, checked, ready, say};

/// `switches`: each line of its input is done and then answered with `ok`: `pin CPU`; `sleep COUNT US`; `spin MS`, of wall time;
/// `threads COUNT US`, one after the other, each of which sleeps once and ends; `allocate MIB MS`, all of it written, and given back
/// after that time.
pub(super) fn switches() -> i32 {
    ready();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| -> u64 { words[index].parse().expect("a number") };
        match words[0] {
            "pin" => pin(usize::try_from(number(1)).expect("a CPU")),
            "sleep" => (0..number(1)).for_each(|_| sleep(number(2))),
            "spin" => {
                let end = Instant::now() + Duration::from_millis(number(1));
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            }
            "threads" => {
                let micros = number(2);
                for _ in 0..number(1) {
                    std::thread::spawn(move || sleep(micros))
                        .join()
                        .expect("it sleeps");
                }
            }
            "allocate" => {
                let size = usize::try_from(number(1) << 20).expect("it fits");
                let memory = std::hint::black_box(vec![1_u8; size]);
                sleep(number(2) * 1_000);
                drop(memory);
            }
            _ => panic!("{line:?}"),
        }
        say("ok");
    }
    0
}

fn sleep(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}

/// Pins the calling thread.
fn pin(cpu: usize) {
    // SAFETY: plain integers and a set on the stack.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0, "sched_setaffinity");
}

/// Turns in which a measurement is made; the fastest one counts.
const TURNS: u64 = 20;

/// `ping-pong CPU`: two processes on one CPU that wake each other through pipes. Each line of its input, `COUNT`, has them do
/// so, and is answered with the time of one context switch, in picoseconds.
pub(super) fn ping_pong(args: &Args<'_>) -> i32 {
    pin(usize::try_from(args.number(0)).expect("a CPU"));
    let (there, back) = (pipe(), pipe());
    // SAFETY: this process has one thread.
    if checked(unsafe { libc::fork() }, "fork") == 0 {
        // Ends with the pipe.
        while pass(there.0) {
            send(back.1);
        }
        // SAFETY: nothing has to be run at its end.
        unsafe { libc::_exit(0) };
    }
    // The child alone holds these, so that it ends with this process.
    // SAFETY: descriptors of this process that nothing else uses.
    unsafe {
        libc::close(there.0);
        libc::close(back.1);
    }
    ready();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let count: u64 = line.parse().expect("a number");
        let each = count / TURNS;
        let times = (0..TURNS).map(|_| {
            let began = Instant::now();
            for _ in 0..each {
                send(there.1);
                assert!(pass(back.0), "the other one is there");
            }
            began.elapsed()
        });
        let fastest = times.min().expect("some turns");
        say(&(fastest.as_nanos() * 1000 / u128::from(each * 2)).to_string());
    }
    0
}

fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    checked(unsafe { libc::pipe(ends.as_mut_ptr()) }, "pipe");
    (ends[0], ends[1])
}

fn send(to: i32) {
    // SAFETY: one byte of a constant.
    let written = unsafe { libc::write(to, b"x".as_ptr().cast(), 1) };
    assert_eq!(written, 1, "a pipe takes a byte");
}

/// Waits for a byte; false at the end.
fn pass(from: i32) -> bool {
    let mut byte = 0_u8;
    // SAFETY: room for one byte.
    unsafe { libc::read(from, (&raw mut byte).cast(), 1) == 1 }
}
