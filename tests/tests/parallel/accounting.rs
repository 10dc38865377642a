//! What a group says of short-lived children is what wait4 says, however short
//! they live and however long the interval is.

use std::{
    thread,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    truth::{self, Truth},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const CHILDREN: u32 = 300;
const INTERVAL: Duration = Duration::from_secs(10);

/// From one child's start to the next one's, where the one before has ended by then.
const PERIOD: Duration = Duration::from_millis(100);

/// The classes differ in all that is counted, so that a value in the wrong place is seen.
const CLASSES: [(&str, &[&str]); 3] = [
    (
        "ms1",
        &[
            "--life-ms",
            "1",
            "--cpu-ms",
            "0.8",
            "--write-bytes",
            "4096",
            "--sleeps",
            "1",
        ],
    ),
    (
        "ms10",
        &[
            "--life-ms",
            "10",
            "--cpu-ms",
            "4",
            "--write-bytes",
            "20480",
            "--sleeps",
            "7",
            "--fsync",
        ],
    ),
    (
        "ms100",
        &[
            "--life-ms",
            "100",
            "--cpu-ms",
            "35",
            "--write-bytes",
            "307200",
            "--sleeps",
            "40",
            "--fsync",
            "--read-back",
        ],
    ),
];

#[test]
fn three_classes_of_short_lives_equal_wait4() {
    let programs = CLASSES.map(|(stem, _)| Program::new(WORKLOAD, stem));
    let mut args = vec!["--interval", "10s"];
    let patterns = programs.each_ref().map(Program::pattern);
    args.extend(patterns.iter().flat_map(|pattern| ["--process-name", pattern]));
    let mut daemon = Daemon::start(&args);

    let truths: Vec<Truth> = thread::scope(|scope| {
        let threads: Vec<_> = programs
            .iter()
            .zip(CLASSES)
            .map(|(program, (_, work))| scope.spawn(move || run_class(program, work)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the class ran"))
            .collect()
    });

    let last_reap = truths
        .iter()
        .map(|truth| truth.last_reap)
        .max()
        .expect("three classes");
    let tick = daemon.tick_after(
        last_reap,
        Duration::from_secs(1),
        INTERVAL * 2 + Duration::from_secs(5),
    );
    eprintln!("ends without final totals: {}", tick.unsettled());
    for (program, truth) in programs.iter().zip(&truths) {
        let group = tick.expect_group(&program.plugin());
        eprintln!(
            "{}: truth {truth:?}\n  told {}",
            program.name(),
            group.0["metrics"]
        );
        checks::assert_equals_truth(group, truth);
        assert_eq!(group.int("starts"), u64::from(CHILDREN), "{}", group.0);
        assert_eq!(group.int("worker_starts"), 0, "{}", group.0);
        assert_eq!(group.int("joins") + group.int("leaves"), 0, "{}", group.0);
        assert!(group.members().is_empty(), "{}", group.0);
        checks::assert_sum_rule(daemon.ticks(), &program.plugin());
    }
    checks::assert_complete(daemon.ticks());
    let last = daemon.terminate();
    for (program, truth) in programs.iter().zip(&truths) {
        checks::assert_equals_truth(last.expect_group(&program.plugin()), truth);
    }
}

/// Starts and reaps one child after the other.
fn run_class(program: &Program, work: &[&str]) -> Truth {
    let mut sum = Truth::default();
    let mut next = Instant::now();
    for index in 0..CHILDREN {
        let file = program.directory().join(index.to_string());
        let file = file.to_str().expect("a UTF-8 scratch directory");
        let ended = truth::spawn(program, &[&["burn", "--file", file], work].concat()).reap();
        assert_eq!(ended.status, 0, "a child of {} failed", program.name());
        sum += ended.truth;
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let planned: u64 = u64::from(CHILDREN) * work[5].parse::<u64>().expect("bytes");
    assert!(
        sum.write_bytes >= planned,
        "missing prerequisite: the file system accounts {} of {planned} written bytes",
        sum.write_bytes
    );
    sum
}
