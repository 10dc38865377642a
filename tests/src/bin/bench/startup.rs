//! `bench startup`: CPU from the start of kevmon until all programs are attached and the first snapshot is taken, which it tells
//! the service manager by READY=1; in turn with a kevmon that reads /proc and loads nothing.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use kevmon_tests::{checks::float, kevmon::Daemon, manager::Manager};

use crate::{cpu_ns, quantile, verdict};

/// What docs/performance.md promises, ms.
const LIMIT_MS: f64 = 120.0;

/// Runs it.
pub(crate) fn run(quick: bool) -> ExitCode {
    let rounds = if quick { 5 } else { 15 };
    let mut sources = [("ebpf", Vec::new()), ("proc", Vec::new())];
    for _ in 0..rounds {
        for (source, times) in &mut sources {
            let (manager, began) = (Manager::at_abstract_name(), Instant::now());
            let args = [
                "--source",
                source,
                "--interval",
                "60s",
                "--process-name",
                "^no such process$",
            ];
            let daemon = Daemon::start_with(&args, &[("NOTIFY_SOCKET", manager.address())]);
            manager.wait_for("READY", began, Duration::from_secs(20));
            times.push(float(cpu_ns(daemon.pid())) / 1e6);
            daemon.terminate();
        }
    }
    println!("CPU until READY=1, {rounds} starts each");
    println!("{:>8} {:>12} {:>12}", "source", "median", "p95");
    for (source, times) in &mut sources {
        println!(
            "{source:>8} {:>9.1} ms {:>9.1} ms",
            quantile(times, 0.5),
            quantile(times, 0.95)
        );
    }
    let median = quantile(&mut sources[0].1, 0.5);
    verdict(&[(
        format!("{median:.1} ms with programs, at most {LIMIT_MS}"),
        median <= LIMIT_MS,
    )])
}
