//! The benchmarks that the project's claims rest on: `bench tick` and `bench storm`. Each interleaves
//! what it compares, prints a table, and `tick` fails when a limit is not met.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed assumption in a benchmark is a failed benchmark"
)]

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use kevmon_tests::{checks::float, kevmon::Daemon, modes, workload::Program};

const USAGE: &str = "bench tick [--quick] | bench storm [--quick]";

/// The workloads are copies of this very file: `cargo run --bin bench` builds no other one. A copy is
/// told by its name.
const COPY: &str = "kvt-";

/// Members of the watched group in `bench tick`.
const MATCHED: usize = 10;
/// Processes beside them.
const MANY: u64 = 5_000;
const FEW: u64 = 100;
/// What docs/performance.md promises.
const LIMIT_NS: f64 = 1e6;
const LIMIT_RATIO: f64 = 1.20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let this = std::env::current_exe().expect("/proc is mounted");
    if this
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(COPY))
    {
        std::process::exit(modes::run(&args));
    }
    let this = this.to_str().expect("a UTF-8 path");
    let quick = args.iter().any(|arg| arg == "--quick");
    match args.first().map(String::as_str) {
        Some("tick") => tick(this, quick),
        Some("storm") => storm(this, quick),
        _ => {
            eprintln!("usage: {USAGE}");
            ExitCode::from(2)
        }
    }
}

/// CPU per collection among many processes and among few.
fn tick(this: &str, quick: bool) -> ExitCode {
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
    for (what, passed) in &verdicts {
        println!("{} {what}", if *passed { "PASS" } else { "FAIL" });
    }
    ExitCode::from(u8::from(!verdicts.iter().all(|(_, passed)| *passed)))
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

/// One row of `bench storm`: nanoseconds per lifecycle, a sample a round.
#[derive(Default)]
struct Row<'a> {
    name: &'a str,
    /// CPU of the storm itself: every process of it and the one that starts them.
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// CPU of kevmon's own threads.
    own: Vec<f64>,
}

/// What kevmon adds to a storm of process lifecycles, and what it uses itself.
fn storm(this: &str, quick: bool) -> ExitCode {
    let (rounds, lifecycles) = if quick { (2_u32, 2_000_u64) } else { (5, 5_000) };
    let (program, leaf) = (Program::new(this, "storm"), Program::new(this, "leaf"));
    let nobody = format!("^{}-nobody$", leaf.name());
    let setups = [
        ("without kevmon", None),
        ("nothing matched", Some(nobody)),
        ("all matched", Some(leaf.pattern())),
    ];
    let mut rows = setups.each_ref().map(|(name, _)| Row {
        name,
        ..Row::default()
    });
    for round in 0..rounds {
        for ((name, pattern), row) in setups.iter().zip(&mut rows) {
            eprintln!("round {}/{rounds}: {name}", round + 1);
            let daemon = pattern
                .as_ref()
                .map(|pattern| Daemon::start(&["--interval", "10s", "--process-name", pattern]));
            let before = daemon.as_ref().map(|daemon| cpu_ns(daemon.pid()));
            let mut running = program.start(&[
                "storm",
                &lifecycles.to_string(),
                "2",
                leaf.path_text(),
                "exit",
                "0",
            ]);
            let begin = Instant::now();
            running.ask("go");
            row.wall
                .push(begin.elapsed().as_secs_f64() * 1e9 / float(lifecycles));
            row.cpu
                .push(float(running.finish().truth.cpu_ns) / float(lifecycles));
            if let (Some(daemon), Some(before)) = (daemon, before) {
                // Half a second in which what the storm left in the ring is drained.
                std::thread::sleep(Duration::from_millis(500));
                row.own
                    .push(float(cpu_ns(daemon.pid()) - before) / float(lifecycles));
                let last = daemon.terminate();
                let plugin = leaf.plugin();
                if let Some(group) = last.group(&plugin) {
                    assert_eq!(group.int("starts"), lifecycles, "lost: {}", last.0);
                }
            }
        }
    }
    println!(
        "fork + exec + exit + wait, {lifecycles} lifecycles a round, medians of {rounds} rounds, per lifecycle"
    );
    println!(
        "{:>16} {:>14} {:>10} {:>8} {:>12} {:>16}",
        "", "CPU of storm", "added", "", "wall", "kevmon's CPU"
    );
    let base = quantile(&mut rows[0].cpu, 0.5);
    for Row { name, cpu, wall, own } in &mut rows {
        let cpu = quantile(cpu, 0.5);
        let own = if own.is_empty() {
            String::new()
        } else {
            format!("{:.2} µs", quantile(own, 0.5) / 1e3)
        };
        println!(
            "{name:>16} {:>11.2} µs {:>7.2} µs {:>+7.1}% {:>9.2} µs {own:>16}",
            cpu / 1e3,
            (cpu - base) / 1e3,
            (cpu / base - 1.0) * 100.0,
            quantile(wall, 0.5) / 1e3
        );
    }
    ExitCode::SUCCESS
}

/// CPU that all live threads of a process have had, nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("kevmon runs");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .map(|text| {
            text.split(' ')
                .next()
                .and_then(|ns| ns.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("{text:?}"))
        })
        .sum()
}

/// The value below which a share of the samples lies.
fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = ((samples.len() - 1) as f64 * share).round() as usize;
    samples[index]
}
