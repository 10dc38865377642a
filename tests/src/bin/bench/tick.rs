//! `bench tick`: CPU per collection among many processes and among few.

use std::{process::ExitCode, time::Duration};

use kevmon_tests::{checks::float, kevmon::Daemon, workload::Program};

use crate::{cpu_ns, quantile, verdict};

/// Members of the watched group in `bench tick`.
const MATCHED: usize = 10;
/// Processes beside them.
const MANY: u64 = 5_000;
const FEW: u64 = 100;
/// What docs/performance.md promises.
const LIMIT_NS: f64 = 1e6;
const LIMIT_RATIO: f64 = 1.20;

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (rounds, ticks) = if quick { (2, 40) } else { (4, 60) };
    let matched = Program::new(this, "ten");
    let _members: Vec<_> = (0..MATCHED).map(|_| matched.start(&["idle"])).collect();
    let herd = Program::new(this, "herd");
    let mut samples = [MANY, FEW].map(|population| (population, Vec::new(), Vec::new()));
    for round in 0..rounds {
        for (population, collection, whole) in &mut samples {
            eprintln!("round {}/{rounds}: {population} processes", round + 1);
            let idle = herd.start(&["herd", &population.to_string()]);
            let (costs, per_tick) = collect(&matched, ticks);
            collection.extend(costs);
            whole.push(per_tick);
            assert_eq!(idle.finish().status, 0, "the herd");
        }
    }
    println!("CPU of one collection, {MATCHED} matched processes, kevmon's own process clock");
    println!(
        "{:>10} {:>7} {:>12} {:>12} {:>26}",
        "beside", "ticks", "median", "p95", "whole process per tick"
    );
    let mut medians = Vec::new();
    for (population, collection, whole) in &mut samples {
        let median = quantile(collection, 0.5);
        println!(
            "{population:>10} {:>7} {:>9.1} µs {:>9.1} µs {:>23.1} µs",
            collection.len(),
            median / 1e3,
            quantile(collection, 0.95) / 1e3,
            quantile(whole, 0.5) / 1e3
        );
        medians.push(median);
    }
    let ratio = medians[0] / medians[1];
    let verdicts = [
        (
            format!("median among {MANY} at most {:.0} µs", LIMIT_NS / 1e3),
            medians[0] <= LIMIT_NS,
        ),
        (
            format!("ratio {ratio:.3} at most {LIMIT_RATIO}"),
            ratio <= LIMIT_RATIO,
        ),
    ];
    verdict(&verdicts)
}

/// The cost of each of `ticks` collections, and the mean CPU of the whole process per tick, which also
/// holds output and export. Nanoseconds.
fn collect(matched: &Program, ticks: usize) -> (Vec<f64>, f64) {
    const WARM_UP: usize = 5;
    let limit = Duration::from_secs(10);
    let mut daemon = Daemon::start(&["--interval", "50ms", "--process-name", &matched.pattern()]);
    for _ in 0..WARM_UP {
        daemon.next_tick(limit);
    }
    let before = cpu_ns(daemon.pid());
    let costs = (0..ticks).map(|_| {
        let tick = daemon.next_tick(limit);
        let members = tick.expect_group(&matched.plugin()).int("process_count");
        assert_eq!(
            members,
            u64::try_from(MATCHED).expect("ten"),
            "members: {}",
            tick.0
        );
        assert!(tick.complete(), "an incomplete tick: {}", tick.0);
        float(tick.cpu_ns())
    });
    let costs: Vec<f64> = costs.collect();
    let whole = float(cpu_ns(daemon.pid()) - before) / float(u64::try_from(ticks).expect("few"));
    daemon.terminate();
    (costs, whole)
}
