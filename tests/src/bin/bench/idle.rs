//! `bench idle`: what a kevmon costs that has nothing to do.
//!
//! Ten plugins that match nothing, at 60 s, with a receiver. First on the host as it is, then with forty short lives of others a
//! second; the rate that the host really had is printed with each, since a busy host is no idle one.

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use kevmon_tests::{checks::float, plugin_dir::PluginDir};

use crate::{
    cpu_ns,
    export::{Counting, Ending, plugin_file, start, status},
    verdict,
};

const PLUGINS: usize = 10;
/// Lives a second of the second part.
const LIVES: u32 = 40;
/// What docs/performance.md promises of each part: percent of one CPU, and wake-ups a second.
const QUIET: (f64, f64) = (0.01, 0.5);
const FOREIGN: (f64, f64) = (0.03, 2.0);
/// Resident set that is not of files, MB.
const LIMIT_ANON_MB: f64 = 12.0;

/// Of one part.
struct Cost {
    cpu: f64,
    wakeups: f64,
    lives: f64,
    anon: f64,
    rss: f64,
}

/// Runs it.
pub(crate) fn run(quick: bool) -> ExitCode {
    let length = Duration::from_secs(if quick { 60 } else { 300 });
    let plugins = PluginDir::new();
    for index in 0..PLUGINS {
        let name = format!("idle-{index}");
        plugins.write(
            &name,
            &plugin_file(&name, &format!("^no such {name}$"), "60s", ""),
        );
    }
    let receiver = Counting::start();
    let kevmon = start(&plugins, &receiver);
    std::thread::sleep(Duration::from_secs(10));
    let quiet = measure(&kevmon, length);
    let others = Others::start();
    let foreign = measure(&kevmon, length);
    drop(others);
    println!("{PLUGINS} plugins that match nothing, at 60 s; {length:?} each");
    println!(
        "{:>24} {:>10} {:>12} {:>11} {:>11}",
        "host's lives a second", "CPU", "wake-ups/s", "anonymous", "RSS"
    );
    let mut claims = Vec::new();
    for (cost, (cpu, wakeups)) in [(&quiet, QUIET), (&foreign, FOREIGN)] {
        println!(
            "{:>24.1} {:>8.4} % {:>12.2} {:>8.1} MB {:>8.1} MB",
            cost.lives, cost.cpu, cost.wakeups, cost.anon, cost.rss
        );
        claims.push((
            format!("{:.4} % of a CPU, at most {cpu}", cost.cpu),
            cost.cpu <= cpu,
        ));
        claims.push((
            format!("{:.2} wake-ups a second, at most {wakeups}", cost.wakeups),
            cost.wakeups <= wakeups,
        ));
        claims.push((
            format!("{:.1} MB anonymous, at most {LIMIT_ANON_MB}", cost.anon),
            cost.anon <= LIMIT_ANON_MB,
        ));
    }
    verdict(&claims)
}

fn measure(kevmon: &Ending, length: Duration) -> Cost {
    let pid = kevmon.0.id();
    let (began, cpu, woken, lives) = (Instant::now(), cpu_ns(pid), wakeups(pid), forks());
    std::thread::sleep(length);
    let seconds = began.elapsed().as_secs_f64();
    Cost {
        cpu: float(cpu_ns(pid) - cpu) / 1e7 / seconds,
        wakeups: float(wakeups(pid) - woken) / seconds,
        lives: float(forks() - lives) / seconds,
        anon: status(pid, "RssAnon:") / 1024.0,
        rss: status(pid, "VmRSS:") / 1024.0,
    }
}

/// How often all threads of a process have waited (proc_pid_status(5)): each time somebody woke one.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("kevmon runs");
    let of = |text: String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    tasks
        .filter_map(|task| of(fs::read_to_string(task.ok()?.path().join("status")).ok()?))
        .sum()
}

/// Processes and threads that the host has made since it was booted (proc_stat(5)).
fn forks() -> u64 {
    let text = fs::read_to_string("/proc/stat").expect("/proc is mounted");
    let line = text.lines().find_map(|line| line.strip_prefix("processes "));
    line.and_then(|number| number.parse().ok()).expect("a number")
}

/// Short lives, evenly spread, until it is dropped.
struct Others {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Others {
    fn start() -> Self {
        let ends = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&ends);
        let live = move || {
            let period = Duration::from_secs(1) / LIVES;
            let mut next = Instant::now();
            while !ended.load(Relaxed) {
                let mut child = Command::new("/bin/true");
                child.stdin(Stdio::null()).stdout(Stdio::null());
                assert!(child.status().expect("true is installed").success(), "true");
                next += period;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        };
        Self {
            ends,
            thread: Some(std::thread::spawn(live)),
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("true runs");
        }
    }
}
