//! The benchmarks that the project's claims rest on: `bench tick`, `bench storm`, `bench export`, `bench fleet`,
//! `bench plugins`, `bench orphans`, `bench switch`, `bench idle`, `bench startup`, `bench scale` and
//! `bench detailed`. Each interleaves what it compares, prints a table, and fails when a limit is not met.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed assumption in a benchmark is a failed benchmark"
)]

mod detailed;
mod export;
mod fleet;
mod idle;
mod orphans;
mod plugins;
mod programs;
mod scale;
mod startup;
mod storm;
mod switch;
mod tick;

use std::{fs, process::ExitCode};

use kevmon_tests::modes;

const USAGE: &str = "bench tick [--quick] | bench storm [--quick] | bench export [--quick] | bench fleet | \
                     bench plugins | bench orphans [--quick] | bench switch [--quick] | bench idle [--quick] | \
                     bench startup [--quick] | bench scale [--quick] | bench detailed [--quick]";

/// The workloads are copies of this very file: `cargo run --bin bench` builds no other one. A copy is
/// told by its name.
const COPY: &str = "kvt-";

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
        Some("tick") => tick::run(this, quick),
        Some("storm") => storm::run(this, quick),
        Some("export") => export::run(this, quick),
        Some("orphans") => orphans::run(this, quick),
        Some("switch") => switch::run(this, quick),
        Some("detailed") => detailed::run(this, quick),
        Some("scale") => scale::run(this, quick),
        Some("idle") => idle::run(quick),
        Some("startup") => startup::run(quick),
        Some("fleet") => fleet::run(this),
        Some("plugins") => plugins::run(),
        _ => {
            eprintln!("usage: {USAGE}");
            ExitCode::from(2)
        }
    }
}

/// CPU that all live threads of a process have had, nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    cpu_ns_of(pid, |_| true)
}

/// The same of its threads whose names `is_one` takes.
fn cpu_ns_of(pid: u32, is_one: impl Fn(&str) -> bool) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("kevmon runs");
    tasks
        .filter_map(|task| {
            let task = task.ok()?.path();
            let name = fs::read_to_string(task.join("comm")).ok()?;
            is_one(name.trim_end()).then_some(())?;
            fs::read_to_string(task.join("schedstat")).ok()
        })
        .map(|text| {
            text.split(' ')
                .next()
                .and_then(|ns| ns.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("{text:?}"))
        })
        .sum()
}

/// Prints each claim with PASS or FAIL; the benchmark fails when one does.
fn verdict(claims: &[(String, bool)]) -> ExitCode {
    for (what, holds) in claims {
        println!("{} {what}", if *holds { "PASS" } else { "FAIL" });
    }
    ExitCode::from(u8::from(!claims.iter().all(|(_, holds)| *holds)))
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
