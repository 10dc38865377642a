//! `bench switch`: what a context switch costs with kevmon's programs on it.
//!
//! Two processes on one CPU wake each other through pipes. The same pair runs without kevmon, with one in standard mode, with one
//! whose program looks for dying threads alone (close to an empty program: the floor), and with one in detailed mode
//! that measures others, or these.

use std::{fs, process::ExitCode, thread, time::Duration};

use kevmon_tests::{
    kevmon::Daemon,
    plugin_dir::PluginDir,
    scratch::Scratch,
    workload::{self, Program, Running},
};

use crate::{
    programs::{self, RunTimeStatistics},
    quantile, verdict,
};

/// CPU that the pair runs on.
const CPU: &str = "1";
/// Round trips a measurement.
const TRIPS: u64 = 40_000;
/// What docs/performance.md promises, as shares of a switch without programs: 60 ns of 1,075 beyond the floor without names of
/// preemptors, 90 with them.
const TRACKED: f64 = 90.0 / 1075.0;
/// By how much the look-up of a thread that is not tracked may exceed the floor's own.
const UNTRACKED: f64 = 1.10;
/// Medians of one machine differ by so much.
const NOISE: f64 = 0.03;

/// One way of watching.
struct Way {
    name: &'static str,
    /// The settings file, and a plugin in detailed mode for the pair or for others; `None`: no kevmon.
    kevmon: Option<(&'static str, Option<bool>)>,
    /// Of a switch, ns.
    times: Vec<f64>,
    /// Of a switch, in the programs, ns, by the kernel's statistics.
    inside: Vec<f64>,
}

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let rounds = if quick { 3 } else { 9 };
    let program = Program::new(this, "pair");
    let mut pair = program.start(&["ping-pong", CPU]);
    let always = "[accounting]\nexact_ends = \"always\"\n";
    let never = "[accounting]\nexact_ends = \"never\"\n";
    let ways = [
        ("nothing", None),
        ("standard mode", Some((never, None))),
        ("the floor", Some((always, None))),
        ("detailed, others", Some((never, Some(false)))),
        ("detailed, these", Some((never, Some(true)))),
    ];
    let mut ways = ways.map(|(name, kevmon)| Way {
        name,
        kevmon,
        times: Vec::new(),
        inside: Vec::new(),
    });
    for round in 0..rounds {
        for way in &mut ways {
            eprintln!("round {}/{rounds}: {}", round + 1, way.name);
            measure(way, &program, &mut pair);
        }
    }
    assert_eq!(pair.finish().status, 0, "the pair");
    // What else the machine does makes a switch longer, never shorter.
    let times = ways.each_mut().map(|way| quantile(&mut way.times, 0.0));
    let inside = ways.each_mut().map(|way| match way.inside.len() {
        0 => 0.0,
        _ => quantile(&mut way.inside, 0.5),
    });
    println!(
        "a context switch, the fastest of {rounds} rounds; in the programs, medians, by the kernel's statistics, with their own cost"
    );
    println!(
        "{:<18} {:>12} {:>12} {:>12} {:>18}",
        "", "a switch", "added", "in programs", "beyond the floor"
    );
    for (index, way) in ways.iter().enumerate() {
        println!(
            "{:<18} {:>9.1} ns {:>9.1} ns {:>9.1} ns {:>15.1} ns",
            way.name,
            times[index],
            times[index] - times[0],
            inside[index],
            inside[index] - inside[2]
        );
    }
    let [nothing, standard, ..] = times;
    let [.., floor, others, these] = inside;
    let share = (these - floor) / nothing;
    verdict(&[
        (
            format!(
                "standard mode adds {:.2} % at most {:.0} %",
                (standard / nothing - 1.0) * 100.0,
                NOISE * 100.0
            ),
            standard / nothing < 1.0 + NOISE,
        ),
        (
            format!(
                "others cost {:.2} of the floor, at most {UNTRACKED}",
                others / floor
            ),
            others / floor <= UNTRACKED,
        ),
        (
            format!(
                "these cost {:.2} % of a switch beyond the floor, at most {:.2} %",
                share * 100.0,
                TRACKED * 100.0
            ),
            share <= TRACKED,
        ),
    ])
}

fn measure(way: &mut Way, program: &Program, pair: &mut Running) {
    let Some((settings, detailed)) = way.kevmon else {
        way.times.push(switch(pair));
        return;
    };
    let scratch = Scratch::new();
    let file = scratch.path().join("kevmon.toml");
    fs::write(&file, format!("schema = 1\n{settings}")).expect("a file of its own");
    let folder = PluginDir::new();
    let pattern = match detailed {
        Some(true) => program.pattern(),
        _ => workload::pattern("kvt-nobody-at-all"),
    };
    let mode = detailed.map_or("standard", |_| "detailed");
    folder.write(
        "pair",
        &format!(
            "schema = 1\n[plugin]\nname = \"pair\"\n[service]\nprocess_name = \"{pattern}\"\n[monitoring]\n\
             interval = \"60s\"\nmode = \"{mode}\"\n{}",
            if detailed.is_some() {
                "sample_interval = \"5s\"\n"
            } else {
                ""
            }
        ),
    );
    let file = file.to_str().expect("UTF-8");
    let daemon = Daemon::start(&["--config", file, "--plugins-dir", folder.path()]);
    thread::sleep(Duration::from_millis(700));
    way.times.push(switch(pair));
    let statistics = RunTimeStatistics::enable();
    let before = programs::of(daemon.pid());
    switch(pair);
    let after = programs::of(daemon.pid());
    drop(statistics);
    let runs = after.count - before.count;
    if runs > TRIPS {
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        way.inside.push((after.time - before.time) as f64 / runs as f64);
    }
    daemon.terminate();
}

/// The time of a switch, ns.
fn switch(pair: &mut Running) -> f64 {
    let answer = pair.ask(&TRIPS.to_string());
    answer.parse::<f64>().expect("a number") / 1000.0
}
