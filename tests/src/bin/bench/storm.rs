//! `bench storm`: what kevmon adds to a storm of process lifecycles, and what it uses itself.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use kevmon_tests::{checks, checks::float, kevmon::Daemon, truth, wait, workload::Program};

use crate::{
    cpu_ns,
    programs::{self, RunTimeStatistics},
    quantile, verdict,
};

/// What docs/performance.md promises, nanoseconds per lifecycle: added to the storm's own context, and kevmon's
/// own CPU.
const LIMIT_ADDED: f64 = 5_000.0;
const LIMIT_OWN: f64 = 4_000.0;

/// One row: nanoseconds per lifecycle, a sample a round.
#[derive(Default)]
struct Row<'a> {
    name: &'a str,
    pattern: Option<String>,
    /// CPU of the storm itself: every process of it and the one that starts them.
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// CPU of kevmon's own threads.
    own: Vec<f64>,
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
        "{:>16} {:>14} {:>12} {:>11} {:>14} {:>6} {:>13}",
        "", "CPU of storm", "difference", "wall", "kevmon's eBPF", "runs", "kevmon's CPU"
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
            " {:>11.2} µs {:>6.1} {:>10.2} µs",
            added / 1e3,
            quantile(&mut row.runs, 0.5),
            own / 1e3
        );
        claims.push((
            format!(
                "{}: {:.2} µs added, at most {:.0}",
                row.name,
                added / 1e3,
                LIMIT_ADDED / 1e3
            ),
            added <= LIMIT_ADDED,
        ));
        claims.push((
            format!(
                "{}: {:.2} µs of kevmon's own, at most {:.0}",
                row.name,
                own / 1e3,
                LIMIT_OWN / 1e3
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
            .map(|daemon| (cpu_ns(daemon.pid()), programs::of(daemon.pid())));
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
            row.own.push(float(cpu_ns(daemon.pid()) - own) / lifecycles);
        }
        let last = daemon.terminate();
        if let Some(group) = last.group(&self.leaf.plugin()) {
            assert_eq!(group.int("starts"), truth.count, "lost: {}", last.0);
            checks::assert_cpu(group, &truth);
        }
    }
}
