//! `bench storm`: what kevmon adds to a storm of process lifecycles, and what it uses itself.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use kevmon_tests::{checks, checks::float, kevmon::Daemon, truth, wait, workload::Program};

use crate::{
    cpu_ns_of,
    programs::{self, RunTimeStatistics},
    quantile, verdict,
};

/// What docs/performance.md promises, percent of what a lifecycle costs without kevmon in the same run: added to the storm's
/// own context, and kevmon's own CPU without the thread that keeps the state. Microseconds would follow the machine and the
/// hour.
const LIMIT_ADDED: f64 = 0.60;
const LIMIT_OWN: f64 = 0.48;
/// The thread that commits what the history keeps of the storm, at most: so many rows, however long the storm is.
const STATE: &str = "kevmon-state";

/// One row: nanoseconds per lifecycle, a sample a round.
#[derive(Default)]
struct Row<'a> {
    name: &'a str,
    pattern: Option<String>,
    /// CPU of the storm itself: every process of it and the one that starts them.
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// CPU of kevmon's own threads but the state's.
    own: Vec<f64>,
    /// CPU of the state's.
    state: Vec<f64>,
    /// Time that kevmon's programs ran, by the kernel's statistics, in rounds of their own.
    programs: Vec<f64>,
    /// How often they ran, per lifecycle.
    runs: Vec<f64>,
}

/// A storm to measure.
struct Storm<'a> {
    program: &'a Program,
    leaf: &'a Program,
    lifecycles: u64,
}

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (rounds, lifecycles) = if quick { (2_u32, 2_000_u64) } else { (5, 5_000) };
    let (program, leaf) = (Program::new(this, "storm"), Program::new(this, "leaf"));
    let storm = Storm {
        program: &program,
        leaf: &leaf,
        lifecycles,
    };
    let nobody = format!("^{}-nobody$", leaf.name());
    let mut rows = [
        ("without kevmon", None),
        ("nothing matched", Some(nobody)),
        ("all matched", Some(leaf.pattern())),
    ]
    .map(|(name, pattern)| Row {
        name,
        pattern,
        ..Row::default()
    });
    // Interleaved, so that what else the machine does falls on all alike.
    for round in 1..=rounds {
        for row in &mut rows {
            eprintln!("round {round}/{rounds}: {}", row.name);
            storm.measure(row, false);
            if row.pattern.is_some() {
                storm.measure(row, true);
            }
        }
    }
    println!(
        "fork + exec + exit + wait, {lifecycles} lifecycles a round, medians of {rounds} rounds, per lifecycle"
    );
    println!(
        "{:>16} {:>14} {:>12} {:>11} {:>14} {:>6} {:>13} {:>12}",
        "", "CPU of storm", "difference", "wall", "kevmon's eBPF", "runs", "kevmon's CPU", "its state's"
    );
    let base = quantile(&mut rows[0].cpu, 0.5);
    let mut claims = Vec::new();
    for row in &mut rows {
        let cpu = quantile(&mut row.cpu, 0.5);
        print!(
            "{:>16} {:>11.2} µs {:>9.2} µs {:>8.2} µs",
            row.name,
            cpu / 1e3,
            (cpu - base) / 1e3,
            quantile(&mut row.wall, 0.5) / 1e3
        );
        if row.pattern.is_none() {
            println!();
            continue;
        }
        let (added, own) = (quantile(&mut row.programs, 0.5), quantile(&mut row.own, 0.5));
        println!(
            " {:>11.2} µs {:>6.1} {:>10.2} µs {:>9.2} µs",
            added / 1e3,
            quantile(&mut row.runs, 0.5),
            own / 1e3,
            quantile(&mut row.state, 0.5) / 1e3
        );
        let (added, own) = (added / base * 100.0, own / base * 100.0);
        claims.push((
            format!(
                "{}: {added:.2} % of a lifecycle added, at most {LIMIT_ADDED}",
                row.name
            ),
            added <= LIMIT_ADDED,
        ));
        claims.push((
            format!(
                "{}: {own:.2} % of a lifecycle is kevmon's own, at most {LIMIT_OWN}",
                row.name
            ),
            own <= LIMIT_OWN,
        ));
    }
    println!(
        "added: the run time of kevmon's eBPF programs, by the kernel's statistics, in rounds of their own; the \
         difference in the storm's CPU is that and the machine's noise"
    );
    verdict(&claims)
}

/// CPU of kevmon's threads, ns.
struct Spent {
    state: u64,
    others: u64,
}

impl Spent {
    fn by(pid: u32) -> Self {
        Self {
            state: cpu_ns_of(pid, |thread| thread == STATE),
            others: cpu_ns_of(pid, |thread| thread != STATE),
        }
    }
}

/// What a lifecycle costs here and now without kevmon, ns of CPU: the measure for figures of other benchmarks.
pub(crate) fn bare_lifecycle(program: &Program, leaf: &Program) -> f64 {
    const LIFECYCLES: u64 = 1_000;
    let lifecycles = LIFECYCLES.to_string();
    let mut running = program.start(&["storm", &lifecycles, "2", leaf.path_text(), "exit", "0"]);
    running.ask("go");
    float(running.finish().truth.cpu_ns) / float(LIFECYCLES)
}

impl Storm<'_> {
    /// One storm. With `statistics` only the programs' run time is taken, which the statistics themselves disturb.
    fn measure(&self, row: &mut Row<'_>, statistics: bool) {
        let lifecycles = float(self.lifecycles);
        let _statistics = statistics.then(RunTimeStatistics::enable);
        let daemon = row
            .pattern
            .as_ref()
            .map(|pattern| Daemon::start(&["--interval", "10s", "--process-name", pattern]));
        let mut running = self.program.start(&[
            "storm",
            &self.lifecycles.to_string(),
            "2",
            self.leaf.path_text(),
            "exit",
            "0",
        ]);
        let before = daemon
            .as_ref()
            .map(|daemon| (Spent::by(daemon.pid()), programs::of(daemon.pid())));
        let begin = Instant::now();
        let truth = truth::from_storm(&running.ask("go"), wait::unix_now());
        let wall = begin.elapsed().as_secs_f64() * 1e9 / lifecycles;
        let cpu = float(running.finish().truth.cpu_ns) / lifecycles;
        if !statistics {
            row.wall.push(wall);
            row.cpu.push(cpu);
        }
        let (Some(daemon), Some((own, runs))) = (daemon, before) else {
            return;
        };
        // Half a second in which what the storm left in the ring is drained.
        std::thread::sleep(Duration::from_millis(500));
        if statistics {
            let after = programs::of(daemon.pid());
            row.programs.push(float(after.time - runs.time) / lifecycles);
            row.runs.push(float(after.count - runs.count) / lifecycles);
        } else {
            let now = Spent::by(daemon.pid());
            row.own.push(float(now.others - own.others) / lifecycles);
            row.state.push(float(now.state - own.state) / lifecycles);
        }
        let last = daemon.terminate();
        if let Some(group) = last.group(&self.leaf.plugin()) {
            assert_eq!(group.int("starts"), truth.count, "lost: {}", last.0);
            checks::assert_cpu(group, &truth);
        }
    }
}
