//! Processes that take one name after the other.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{Args, checked, hold, identity::set_comm, ready};

/// Between two bursts of a rate that is too high for a pause after each rename.
const BURST: Duration = Duration::from_millis(10);

/// `rename-storm RATE [--processes N] [--threads N] [--prefix TEXT]`: N processes, the parent among them, take so many
/// different names a second together, until the input of the parent is closed. With threads, others than the leader give the
/// process its names.
pub(super) fn rename_storm(args: &Args<'_>) -> i32 {
    let processes = args.count("--processes").max(1);
    let threads = args.count("--threads");
    let prefix = args.value("--prefix").unwrap_or("kvj").to_owned();
    let mut number = 0;
    for other in 1..processes {
        // SAFETY: one thread so far; the child calls what a single-threaded process may.
        if checked(unsafe { libc::fork() }, "fork") == 0 {
            // SAFETY: plain integers.
            checked(
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) },
                "PR_SET_PDEATHSIG",
            );
            number = other;
            break;
        }
    }
    let rate = args.number(0) as f64 / processes as f64 / threads.max(1) as f64;
    if number == 0 {
        std::thread::spawn(|| {
            hold();
            std::process::exit(0);
        });
        ready();
    }
    for thread in 1..threads {
        let name = format!("{prefix}{number}-{thread}-");
        std::thread::spawn(move || {
            storm(rate, &name, |name| {
                let mut file = std::fs::File::create("/proc/self/comm").expect("/proc is mounted");
                file.write_all(name).expect("a thread names its leader");
            })
        });
    }
    storm(rate, &format!("{prefix}{number}-"), |name| {
        set_comm(name.to_vec())
    })
}

/// Takes `rate` names a second, for ever.
fn storm(rate: f64, prefix: &str, rename: impl Fn(&[u8])) -> ! {
    let (began, mut taken) = (Instant::now(), 0_u64);
    let pause = BURST.max(Duration::from_secs_f64(1.0 / rate));
    loop {
        while (taken as f64) < began.elapsed().as_secs_f64() * rate {
            rename(format!("{prefix}{taken}").as_bytes());
            taken += 1;
        }
        std::thread::sleep(pause);
    }
}
