//! `bench orphans`: what kevmon's totals lack of processes that process 1 reaps, against the same work reaped by a
//! subreaper, whose rusage is the truth (docs/adr/0005).

use std::{process::ExitCode, time::Duration};

use kevmon_tests::{checks::float, kevmon::Daemon, truth, truth::Truth, wait, workload::Program};

use crate::{quantile, verdict};

/// Longest wait for the last end.
const LIMIT: Duration = Duration::from_secs(60);
/// What docs/adr/0005 promises of an end whose final totals did not come: CPU time, ns, and context switches.
const LIMIT_CPU: f64 = 500_000.0;
const LIMIT_SWITCHES: f64 = 4.0;
/// Share of unsettled ends from which on what each lacks is more than the noise of all.
const ENOUGH: f64 = 0.05;

/// What each orphan does.
const WORK: [(&str, &[&str]); 2] = [
    ("ends at once", &["exit", "0"]),
    ("2 ms of CPU", &["burn", "--cpu-ms", "2"]),
];

/// One reaper's samples, a round each, per orphan.
#[derive(Default)]
struct Row {
    /// CPU time that kevmon counted, and that the reaper's rusage tells, ns.
    cpu: Vec<f64>,
    true_cpu: Vec<f64>,
    /// Context switches of both kinds, likewise.
    switches: Vec<f64>,
    true_switches: Vec<f64>,
    /// The share of ends that stayed without final totals.
    unsettled: Vec<f64>,
}

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (rounds, count) = if quick { (2_u32, 500_u64) } else { (5, 2_000) };
    let mut claims = Vec::new();
    println!("{count} orphans a round, medians of {rounds} rounds, per orphan");
    println!(
        "{:>14} {:>10} {:>10} {:>14} {:>14} {:>10} {:>13}",
        "work", "reaper", "unsettled", "CPU counted", "CPU by rusage", "switches", "by rusage"
    );
    for (work, args) in WORK {
        let (mut subreaper, mut init) = (Row::default(), Row::default());
        for round in 1..=rounds {
            for (reaper, row) in [("subreaper", &mut subreaper), ("init", &mut init)] {
                eprintln!("round {round}/{rounds}: {work}, {reaper}");
                measure(this, reaper, args, count, row);
            }
        }
        let true_cpu = quantile(&mut subreaper.true_cpu, 0.5);
        let true_switches = quantile(&mut subreaper.true_switches, 0.5);
        for (reaper, row) in [("subreaper", &mut subreaper), ("init", &mut init)] {
            let (cpu, switches) = (quantile(&mut row.cpu, 0.5), quantile(&mut row.switches, 0.5));
            let unsettled = quantile(&mut row.unsettled, 0.5);
            println!(
                "{work:>14} {reaper:>10} {:>8.1} % {:>11.1} µs {:>11.1} µs {switches:>10.2} {true_switches:>13.2}",
                unsettled * 100.0,
                cpu / 1e3,
                true_cpu / 1e3
            );
            if unsettled >= ENOUGH {
                let (short_cpu, short_switches) = (
                    (true_cpu - cpu) / unsettled,
                    (true_switches - switches) / unsettled,
                );
                claims.push((
                    format!(
                        "{work}, {reaper}: an unsettled end lacks {:.0} µs of CPU and {short_switches:.1} switches, at most \
                         {:.0} and {LIMIT_SWITCHES:.0}",
                        short_cpu / 1e3,
                        LIMIT_CPU / 1e3
                    ),
                    short_cpu <= LIMIT_CPU && short_switches <= LIMIT_SWITCHES,
                ));
            }
        }
    }
    verdict(&claims)
}

fn measure(this: &str, reaper: &str, args: &[&str], count: u64, row: &mut Row) {
    let (parent, leaf) = (Program::new(this, "orphans"), Program::new(this, "orphan"));
    let mut daemon = Daemon::start(&["--interval", "500ms", "--process-name", &leaf.pattern()]);
    let number = count.to_string();
    let mut running = parent.start(&[&["orphans", &number, reaper, leaf.path_text()], args].concat());
    let truth: Truth = truth::from_storm(&running.ask("go"), wait::unix_now());
    let plugin = leaf.plugin();
    daemon.wait_until("every end", LIMIT, |tick| {
        tick.group(&plugin)
            .is_some_and(|group| group.int("exits") == count)
    });
    // Ends whose final totals have not come after 15 s are given up (docs/adr/0005).
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_secs(1), LIMIT);
    let group = tick.expect_group(&plugin);
    let each = |value: u64| float(value) / float(count);
    row.cpu.push(each(group.int("cpu_time_ns")));
    row.switches.push(each(
        group.int("voluntary_ctx_switches") + group.int("nonvoluntary_ctx_switches"),
    ));
    row.unsettled.push(each(
        group.0["unsettled"].as_u64().expect("unsettled in every group"),
    ));
    row.true_cpu.push(each(truth.cpu_ns));
    row.true_switches.push(each(truth.voluntary + truth.involuntary));
    running.finish();
    daemon.terminate();
}
