//! `bench scale`: a collection's CPU and kevmon's memory by the number of matched processes, and what is given back after they
//! have ended.

use std::{process::ExitCode, time::Duration};

use kevmon_tests::{checks::float, kevmon::Daemon, workload::Program};

use crate::{export::status, quantile, verdict};

/// Matched processes of each step.
const STEPS: [u64; 5] = [10, 100, 1_000, 10_000, 20_000];
/// What docs/performance.md promises: a collection without members, µs; each member beyond it, µs and KB.
const FIXED_US: f64 = 100.0;
const MEMBER_US: f64 = 4.0;
const MEMBER_KB: f64 = 2.0;
/// What may be left of the members' memory after they have ended.
const LEFT: f64 = 0.25;

/// At one number of members.
struct Step {
    members: u64,
    /// Of a collection, µs.
    cpu: f64,
    /// Anonymous memory, KB: with them, and after their end.
    with: f64,
    after: f64,
}

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (steps, ticks) = if quick {
        (&STEPS[..4], 10)
    } else {
        (&STEPS[..], 20)
    };
    let steps: Vec<Step> = steps
        .iter()
        .map(|members| measure(this, *members, ticks))
        .collect();
    println!("CPU of a collection, kevmon's own process clock; anonymous memory");
    println!(
        "{:>9} {:>13} {:>15} {:>12} {:>12} {:>14}",
        "members", "median", "a member", "memory", "a member", "after them"
    );
    let (first, mut claims) = (&steps[0], Vec::new());
    for step in &steps {
        let others = float(step.members.saturating_sub(first.members).max(1));
        let (cpu, memory) = (
            (step.cpu - FIXED_US) / float(step.members),
            (step.with - first.with) / others,
        );
        let (cpu, memory) = (cpu.max(0.0), memory.max(0.0));
        println!(
            "{:>9} {:>10.1} µs {cpu:>12.2} µs {:>9.0} KB {memory:>9.2} KB {:>11.0} KB",
            step.members, step.cpu, step.with, step.after
        );
        claims.push((
            format!(
                "{} members: {cpu:.2} µs a member beyond {FIXED_US} µs, at most {MEMBER_US}",
                step.members
            ),
            cpu <= MEMBER_US,
        ));
        if step.members >= 1_000 {
            claims.push((
                format!(
                    "{} members: {memory:.2} KB a member, at most {MEMBER_KB}",
                    step.members
                ),
                memory <= MEMBER_KB,
            ));
            let left = (step.after - first.with).max(0.0) / (step.with - first.with).max(1.0);
            claims.push((
                format!(
                    "{} members: {:.0} % of their memory is kept after them, at most {:.0} %",
                    step.members,
                    left * 100.0,
                    LEFT * 100.0
                ),
                left <= LEFT,
            ));
        }
    }
    verdict(&claims)
}

fn measure(this: &str, members: u64, ticks: usize) -> Step {
    const WARM_UP: usize = 3;
    let limit = Duration::from_secs(60);
    eprintln!("{members} members");
    let program = Program::new(this, "scale");
    // The parent is one of them.
    let herd = program.start(&["herd", &(members - 1).to_string()]);
    let mut daemon = Daemon::start(&["--interval", "500ms", "--process-name", &program.pattern()]);
    for _ in 0..WARM_UP {
        daemon.next_tick(limit);
    }
    let mut costs: Vec<f64> = (0..ticks)
        .map(|_| {
            let tick = daemon.next_tick(limit);
            let group = tick.expect_group(&program.plugin());
            assert_eq!(group.int("process_count"), members, "{}", group.0);
            float(tick.cpu_ns()) / 1e3
        })
        .collect();
    let with = anonymous(daemon.pid());
    assert_eq!(herd.finish().status, 0, "the herd");
    daemon.wait_until("no members", limit, |tick| {
        tick.expect_group(&program.plugin()).int("process_count") == 0
    });
    for _ in 0..ticks {
        daemon.next_tick(limit);
    }
    let after = anonymous(daemon.pid());
    daemon.terminate();
    Step {
        members,
        cpu: quantile(&mut costs, 0.5),
        with,
        after,
    }
}

fn anonymous(pid: u32) -> f64 {
    status(pid, "RssAnon:")
}
