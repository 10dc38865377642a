//! `cargo xtask`: builds, runs and tests kevmon. Arguments and wiring only; each command's work is in its module.

mod bench;
mod collector;
mod conventions;
mod deb;
mod deny;
mod dist;
mod distribution;
mod docs;
mod ebpf;
mod fuzz;
mod grpcio;
mod guest;
mod imports;
mod linker;
mod nginx;
mod observability;
mod packages;
mod preflight;
mod privilege;
mod prometheus;
mod receivers;
mod rotel;
mod rustup;
mod shell;
mod test;
mod toolchain;
mod user;
mod victoria_metrics;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::user::Profile;
use crate::workspace::Workspace;

/// Builds, runs and tests kevmon.
///
/// kevmon has two halves: programs that the kernel runs (eBPF, built with a toolchain of their own) and
/// the daemon that loads them. `run` and `test` prepare all that is needed, announce each step, and
/// do nothing twice. Start with: cargo xtask run -- --run-once
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = false
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or install what the build needs (the other commands do this themselves)
    Setup(SetupArgs),
    /// Build both halves: target/release/kevmon
    Build(BuildArgs),
    /// Build, then start kevmon as root with the arguments after `--`
    Run(RunArgs),
    /// Formatting, import rules, clippy, unit tests and end-to-end tests
    Test(TestArgs),
    /// Boot kernels of several ages in QEMU, and run the tests there that depend on the kernel (no root needed)
    VmTest(VmTestArgs),
    /// Boot Debian with systemd in QEMU, install the .deb there, and check what package and unit do (no root needed)
    ServiceTest(ServiceTestArgs),
    /// Build, then run one of the benchmarks of tests/
    Bench(BenchArgs),
    /// Give whatever reads bytes that others choose inputs without end, guided by the code that they reach (libFuzzer)
    Fuzz(FuzzArgs),
    /// Build packages of kevmon: .deb, .rpm, an archive with an installer, and a container image
    Dist(dist::DistArgs),
    /// Check known vulnerabilities, licences and sources of all crates (cargo-deny)
    Deny(DenyArgs),
    /// Check which module of monitor/src imports what (part of `test`)
    CheckImports,
    /// Make a book of the documentation, in target/book (mdBook, built once), and follow its links
    Docs,
    /// Write the dashboards and alerts of packaging/observability
    Observability,
    /// Extract the names that kevmon uses from a checkout of OpenTelemetry's semantic conventions, for the tests
    Conventions(ConventionsArgs),
}

#[derive(Debug, Args)]
struct SetupArgs {
    /// Also install what the end-to-end tests need: the receivers rotel and grpcio (from PyPI), VictoriaMetrics and
    /// Prometheus, and nginx before them (Debian's packages, unpacked into target/tools)
    #[arg(long)]
    tests: bool,
    /// Also build the OpenTelemetry Collector from Debian's Go packages, for the tests that need it (some minutes)
    #[arg(long)]
    collector: bool,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// Build the daemon without optimisation, as target/debug/kevmon (the eBPF half is always optimised)
    #[arg(long)]
    debug: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// kevmon's arguments, after `--`; paths are relative to the repository's root
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Only the unit tests
    #[arg(long, conflicts_with = "e2e")]
    unit: bool,
    /// Only the end-to-end tests (the real binary on this machine's kernel; needs root or sudo)
    #[arg(long)]
    e2e: bool,
    /// Test the binary that is shipped (compiled with optimisation) instead of the one for development
    #[arg(long)]
    release: bool,
    /// Arguments for the test programs, after `--`: filters on test names, or flags such as --nocapture
    #[arg(last = true, value_name = "FILTERS")]
    filters: Vec<OsString>,
}

#[derive(Debug, Args)]
struct VmTestArgs {
    /// Run the kevmon for development, which is there after `test`, instead of the one that is shipped
    #[arg(long)]
    debug: bool,
    /// Leave out kernels that cannot be fetched or do not boot here, and say so, instead of failing
    #[arg(long)]
    where_possible: bool,
    /// Which kernels: 5.10, 6.1, 6.12, newest; without any, all of them
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Other tests than those that depend on the kernel, after `--`
    #[arg(last = true, value_name = "FILTERS")]
    filters: Vec<OsString>,
}

#[derive(Debug, Args)]
struct ServiceTestArgs {
    /// Package the kevmon for development, which is there after `test`, instead of the one that is shipped
    #[arg(long, conflicts_with = "binary")]
    debug: bool,
    /// Package this kevmon, and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Which Debian: bookworm (systemd 252, Linux 6.1), trixie (systemd 257, Linux 6.12); without any, bookworm
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Only these groups of checks, after `--`, with `install` and `watched`: users, outages, upgrade, instances, removal
    #[arg(last = true, value_name = "GROUP")]
    groups: Vec<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Which benchmark; without it, tests/ says which exist
    name: Option<OsString>,
    /// The benchmark's arguments, after `--`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

#[derive(Debug, Args)]
struct FuzzArgs {
    /// Targets, which are the folders of tests/fuzz/corpus [default: all of them]
    targets: Vec<String>,
    /// How long each target is given new inputs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Give the target this input alone
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "merge"])]
    replay: Option<PathBuf>,
    /// Add the fewest inputs that earlier runs found and that reach more code to tests/fuzz/corpus
    #[arg(long, conflicts_with = "seconds")]
    merge: bool,
}

#[derive(Debug, Args)]
struct DenyArgs {
    /// Leave out what cannot be fetched here (the database of vulnerabilities, or cargo-deny itself), and say so, instead of failing
    #[arg(long)]
    where_possible: bool,
}

#[derive(Debug, Args)]
struct ConventionsArgs {
    /// The checkout, of the version whose names are sent
    source: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Setup(args) => {
            ebpf::setup(&workspace)?;
            if args.tests {
                receivers::setup(&workspace)?;
            }
            if args.collector {
                let program = collector::setup(&workspace)?;
                shell::say(format_args!("the Collector is {}", program.display()));
            }
        }
        Command::Build(args) => {
            let profile = if args.debug {
                Profile::Dev
            } else {
                Profile::Release
            };
            let binary = user::build_both(&workspace, profile)?;
            shell::say(format_args!("built {}", binary.display()));
        }
        // `exec` replaces this process, so it comes back only with an error.
        Command::Run(args) => return Err(user::run(&workspace, &args.args)?),
        Command::Test(args) => {
            let profile = if args.release {
                Profile::Release
            } else {
                Profile::Dev
            };
            let selection = test::Selection::new(args.unit, args.e2e);
            return test::run(&workspace, selection, profile, &args.filters);
        }
        Command::VmTest(args) => {
            let profile = if args.debug {
                Profile::Dev
            } else {
                Profile::Release
            };
            let asked = guest::Asked {
                kernels: &args.kernels,
                filters: &args.filters,
                profile,
                where_possible: args.where_possible,
            };
            return guest::test(&workspace, &asked);
        }
        Command::ServiceTest(args) => {
            let kevmon = match (args.binary, args.debug) {
                (Some(file), _) => guest::service::Kevmon::File(file),
                (None, true) => guest::service::Kevmon::Built(Profile::Dev),
                (None, false) => guest::service::Kevmon::Built(Profile::Release),
            };
            return guest::service::test(&workspace, &kevmon, &args.suites, &args.groups);
        }
        Command::Bench(args) => bench::run(&workspace, args.name.as_deref(), &args.args)?,
        Command::Fuzz(args) => {
            let task = match (args.replay, args.merge) {
                (Some(input), _) => fuzz::Task::Replay(input),
                (None, true) => fuzz::Task::Merge,
                (None, false) => fuzz::Task::Search(Duration::from_secs(args.seconds)),
            };
            return fuzz::run(&workspace, &args.targets, &task);
        }
        Command::Dist(args) => dist::run(&workspace, &args)?,
        Command::Deny(args) => deny::run(&workspace, args.where_possible)?,
        Command::CheckImports => return imports::run(&workspace),
        Command::Docs => docs::run(&workspace)?,
        Command::Observability => observability::write(&workspace)?,
        Command::Conventions(args) => conventions::extract(&workspace, &args.source)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
