//! `bench detailed`: what detailed mode costs over a hundred processes that work a little, in turn with standard mode over the same.

use std::{process::ExitCode, time::Duration};

use kevmon_tests::{
    plugin_dir::PluginDir,
    workload::{Program, Running},
};

use crate::{
    export::{Counting, measure, plugin_file},
    quantile, verdict,
};

const PROCESSES: usize = 100;
/// Of these, so many work: half a millisecond ten times a second.
const BUSY: usize = 20;
/// What docs/performance.md promises, percent of one CPU.
const LIMIT_CPU: f64 = 1.0;

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (rounds, length) = if quick { (2, 10) } else { (3, 30) };
    let program = Program::new(this, "detailed");
    let members = (0..PROCESSES).map(|index| {
        let busy = ["pulse", "--busy-ms", "0.5", "--idle-ms", "100"];
        program.start(if index < BUSY { &busy[..] } else { &["idle"] })
    });
    let _members: Vec<Running> = members.collect();
    let mut modes = ["standard", "detailed"].map(|mode| {
        let folder = PluginDir::new();
        let more = format!("mode = \"{mode}\"\n");
        folder.write(mode, &plugin_file(mode, &program.pattern(), "15s", &more));
        (mode, folder, Vec::new(), Vec::new())
    });
    let receiver = Counting::start();
    for round in 0..rounds {
        for (mode, folder, cpu, memory) in &mut modes {
            eprintln!("round {}/{rounds}: {mode}", round + 1);
            let cost = measure(folder, &receiver, Duration::from_secs(length));
            cpu.push(cost.cpu);
            memory.push(cost.rss);
        }
    }
    println!(
        "{PROCESSES} processes, {BUSY} of them busy, at 15 s; detailed mode looks every 100 ms; medians of {rounds}"
    );
    println!("{:>10} {:>10} {:>12}", "", "CPU", "RSS");
    for (mode, _, cpu, memory) in &mut modes {
        println!(
            "{mode:>10} {:>8.3} % {:>9.1} MB",
            quantile(cpu, 0.5),
            quantile(memory, 0.5)
        );
    }
    let cpu = quantile(&mut modes[1].2, 0.5);
    verdict(&[(
        format!("{cpu:.2} % of a CPU in detailed mode, at most {LIMIT_CPU}"),
        cpu <= LIMIT_CPU,
    )])
}
