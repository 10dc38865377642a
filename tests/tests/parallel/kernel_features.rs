//! What one kernel tells and another one does not: a value is right where the kernel has it, and absent where not.

use std::{path::Path, time::Duration};

use kevmon_tests::{features, kevmon::Daemon, live::Live, truth, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
/// From this Linux on, an ending process still has its address space at `sched_process_exit` (kernel/exit.c, do_exit).
const HAS_MEMORY_AT_EXIT: (u32, u32) = (6, 16);
/// Smallest resident set of a program with a C library, bytes.
const LEAST: u64 = 200 << 10;

#[test]
fn the_peak_of_a_process_that_nobody_sampled_is_right_or_absent() {
    let (program, probe) = (Program::new(WORKLOAD, "peak"), Program::new(WORKLOAD, "probe"));
    let mut live = Live::start(&[&program.pattern()], &probe);
    let child = truth::spawn(&program, &["burn", "--cpu-ms", "10", "--life-ms", "50"]);
    let pid = child.pid();
    let truth = child.reap().truth;
    let exit = live.event("exit", pid);
    let peak = exit["peak_rss_bytes"].as_u64();
    assert_eq!(peak.is_some(), features::kernel() >= HAS_MEMORY_AT_EXIT, "{exit}");
    assert!(
        peak.is_none_or(|peak| (LEAST..=truth.max_rss_bytes).contains(&peak)),
        "{truth:?}: {exit}"
    );
    features::tell(
        "`peak_rss_bytes` of a process that no collection saw",
        if peak.is_some() { "works" } else { "absent" },
    );
    live.stop(libc::SIGTERM);
}

/// Without these options of the kernel's build there is neither the file in /proc nor the member of `task_struct`.
#[test]
fn what_the_kernel_was_built_without_is_absent() {
    let program = Program::new(WORKLOAD, "built");
    let mut daemon = Daemon::start(&["--interval", "500ms", "--process-name", &program.pattern()]);
    let running = program.start(&["idle"]);
    let plugin = program.plugin();
    let tick = daemon.wait_until("the process", LIMIT, |tick| {
        tick.expect_group(&plugin).int("process_count") == 1
    });
    let group = tick.expect_group(&plugin);
    for (file, metric) in [
        ("schedstat", "run_queue_wait_ns"),
        ("io", "disk_write_bytes"),
        ("io", "disk_read_bytes"),
    ] {
        let has = Path::new("/proc/self").join(file).exists();
        assert_eq!(group.get(metric).is_some(), has, "{metric}: {}", group.0);
        features::tell(&format!("`{metric}`"), if has { "works" } else { "absent" });
    }
    // A program that this kernel refuses is named, with what is not known without it.
    let stderr = daemon.stderr();
    let refused: Vec<&str> = stderr
        .lines()
        .filter_map(|line| Some(line.split_once("eBPF program ")?.1.split_once(':')?.0))
        .collect();
    features::tell(
        "eBPF programs refused",
        &if refused.is_empty() {
            "none".to_owned()
        } else {
            refused.join(", ")
        },
    );
    assert_eq!(running.finish().status, 0);
    daemon.terminate();
}
