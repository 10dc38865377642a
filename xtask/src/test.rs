//! `cargo xtask test`: the stages, in the order in which they fail fastest, and the summary at the end.

mod programs;
mod times;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::ebpf::{self, Builder, Warnings};
use crate::imports;
use crate::preflight;
use crate::privilege::Root;
use crate::receivers::{self, Receivers};
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

use programs::{Program, Programs};
use times::Times;

/// End-to-end tests that run at the same time, for each processor: most of the time they wait.
const TESTS_PER_PROCESSOR: usize = 4;

/// End-to-end tests that are run once more by themselves where they fail, at most: more of them are no accident.
const AGAIN: usize = 8;

/// The flag of test programs that says how many tests run at the same time.
const TEST_THREADS: &str = "--test-threads";

/// Variables of the tests that the caller may set: how long the outage of the export's tests and the long tests of receivers
/// last, seconds.
const LENGTHS: [&str; 2] = ["KEVMON_OUTAGE_SECONDS", "KEVMON_SOAK_SECONDS"];

/// What `test` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    Unit,
    EndToEnd,
}

impl Selection {
    pub(crate) fn new(unit: bool, end_to_end: bool) -> Self {
        match (unit, end_to_end) {
            (true, _) => Self::Unit,
            (false, true) => Self::EndToEnd,
            (false, false) => Self::All,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Format,
    Imports,
    Setup,
    Ebpf,
    Clippy,
    Build,
    UnitTests,
    Preflight,
    ParallelTests,
    SerialTests,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Format,
        Self::Imports,
        Self::Setup,
        Self::Ebpf,
        Self::Clippy,
        Self::Build,
        Self::UnitTests,
        Self::Preflight,
        Self::ParallelTests,
        Self::SerialTests,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Format => "format check",
            Self::Imports => "import rules",
            Self::Setup => "setup",
            Self::Ebpf => "eBPF build, warnings denied",
            Self::Clippy => "clippy, warnings denied",
            Self::Build => "build of kevmon and all tests",
            Self::UnitTests => "unit tests",
            Self::Preflight => "preflight (kernel, privilege)",
            Self::ParallelTests => "end-to-end tests, in parallel",
            Self::SerialTests => "end-to-end tests, one at a time",
        }
    }

    fn selected(self, selection: Selection) -> bool {
        match self {
            Self::Setup | Self::Ebpf | Self::Build => true,
            Self::Format | Self::Imports | Self::Clippy => selection == Selection::All,
            Self::UnitTests => selection != Selection::EndToEnd,
            Self::Preflight | Self::ParallelTests | Self::SerialTests => selection != Selection::Unit,
        }
    }
}

#[derive(Debug)]
struct Report {
    stage: Stage,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    NotRun,
}

/// What earlier stages leave for later ones.
#[derive(Debug)]
struct Run<'a> {
    workspace: &'a Workspace,
    selection: Selection,
    profile: Profile,
    filters: &'a [OsString],
    builder: Option<Builder>,
    receivers: Option<Receivers>,
    root: Option<Root>,
    programs: Option<Programs>,
    times: Times,
    /// Tests that failed at first and passed by themselves.
    alone: Vec<String>,
}

/// Runs the selected stages up to the first that fails; the serial tests also run after failed parallel ones.
pub(crate) fn run(
    workspace: &Workspace,
    selection: Selection,
    profile: Profile,
    filters: &[OsString],
) -> Result<ExitCode> {
    let mut run = Run {
        workspace,
        selection,
        profile,
        filters,
        builder: None,
        receivers: None,
        root: None,
        programs: None,
        times: Times::default(),
        alone: Vec::new(),
    };
    let mut reports: Vec<Report> = Vec::new();
    for stage in Stage::ALL.into_iter().filter(|stage| stage.selected(selection)) {
        // The two halves of the end-to-end tests do not depend on each other.
        let failed = reports.iter().any(|report| {
            matches!(report.outcome, Outcome::Failed(..)) && report.stage != Stage::ParallelTests
        });
        let outcome = if failed { Outcome::NotRun } else { run.timed(stage) };
        reports.push(Report { stage, outcome });
    }
    let alone = std::mem::take(&mut run.alone);
    eprint!(
        "{}{}{}{}",
        run.times.slowest(),
        run.receivers
            .as_ref()
            .map_or_else(String::new, Receivers::skipped),
        passed_alone(&alone),
        summary(&reports)
    );
    let passed = reports
        .iter()
        .all(|report| matches!(report.outcome, Outcome::Passed(_)));
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Run<'_> {
    fn timed(&mut self, stage: Stage) -> Outcome {
        shell::say(format_args!("test: {}", stage.name()));
        let start = Instant::now();
        match self.execute(stage) {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => Outcome::Failed(start.elapsed(), format!("{error:#}")),
        }
    }

    fn execute(&mut self, stage: Stage) -> Result<()> {
        match stage {
            Stage::Format => with_remedy(
                shell::run(user::cargo(self.workspace, "fmt").args(["--all", "--", "--check"])),
                "`cargo fmt --all` puts the format right; `rustup component add rustfmt` installs a missing rustfmt",
            ),
            Stage::Imports => imports::check(self.workspace),
            Stage::Setup => self.setup(),
            Stage::Ebpf => {
                let builder = self
                    .builder
                    .as_ref()
                    .context("the setup stage left no eBPF toolchain")?;
                builder.build(self.workspace, Warnings::Denied)
            }
            Stage::Clippy => with_remedy(
                shell::run(user::cargo(self.workspace, "clippy").args([
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ])),
                "the findings are above; `rustup component add clippy` installs a missing clippy",
            ),
            Stage::Build => {
                self.programs = Some(programs::build(self.workspace, self.profile)?);
                Ok(())
            }
            Stage::UnitTests => self.unit_tests(),
            Stage::Preflight => {
                let root = Root::obtain("the end-to-end tests (they load eBPF programs)")?;
                preflight::check(&root)?;
                self.root = Some(root);
                Ok(())
            }
            Stage::ParallelTests => {
                let threads = thread::available_parallelism().map_or(1, usize::from) * TESTS_PER_PROCESSOR;
                self.times.take_failed();
                self.end_to_end(|programs| programs.parallel.as_ref(), threads, self.filters)
                    .or_else(|error| self.again_alone(|programs| programs.parallel.as_ref(), error))
            }
            Stage::SerialTests => {
                self.times.take_failed();
                self.end_to_end(|programs| programs.serial.as_ref(), 1, self.filters)
                    .or_else(|error| self.again_alone(|programs| programs.serial.as_ref(), error))
            }
        }
    }

    fn setup(&mut self) -> Result<()> {
        self.builder = Some(ebpf::setup(self.workspace)?);
        if self.selection != Selection::Unit {
            self.receivers = Some(with_remedy(
                receivers::setup(self.workspace),
                "`cargo xtask test --unit` needs no receivers",
            )?);
        }
        Ok(())
    }

    fn programs(&self) -> Result<&Programs> {
        self.programs.as_ref().context("the build stage left no programs")
    }

    /// Runs every unit test, also after a program of which some failed.
    fn unit_tests(&mut self) -> Result<()> {
        let mut failed = Ok(());
        for Program { executable, folder } in self.programs()?.unit.clone() {
            let mut command = shell::command(&executable);
            command.current_dir(folder).args(self.filters);
            let result = self.times.run(&mut command);
            failed = failed.and(result);
        }
        failed
    }

    /// Runs the tests that failed once more, by themselves: what others take of the machine is no fault of kevmon's. Which
    /// tests these were is said at the end.
    fn again_alone(
        &mut self,
        choose: impl Fn(&Programs) -> Option<&Program>,
        error: anyhow::Error,
    ) -> Result<()> {
        let failed = self.times.take_failed();
        if failed.is_empty() || failed.len() > AGAIN {
            return Err(error);
        }
        shell::say(format_args!(
            "test: {} failed; once more, by themselves",
            failed.len()
        ));
        let mut arguments = vec![OsString::from("--exact")];
        arguments.extend(failed.iter().map(OsString::from));
        self.end_to_end(choose, 1, &arguments)?;
        self.alone.extend(failed);
        Ok(())
    }

    /// Runs one of the programs of end-to-end tests as root with `arguments`, `threads` tests at a time unless these say how
    /// many.
    fn end_to_end(
        &mut self,
        choose: impl Fn(&Programs) -> Option<&Program>,
        threads: usize,
        arguments: &[OsString],
    ) -> Result<()> {
        let programs = self.programs()?;
        let program = choose(programs).context("the build stage left no end-to-end tests")?;
        let kevmon = programs
            .kevmon
            .as_deref()
            .context("the build stage left no kevmon")?;
        let root = self
            .root
            .as_ref()
            .context("the preflight stage left no way to root")?;
        let receivers = self
            .receivers
            .as_ref()
            .context("the setup stage left no receivers")?;
        // sudo may not pass on what is only set for itself.
        let (allow, yes) = times::ALLOW_UNSTABLE;
        let mut environment: Vec<(&str, &Path)> = vec![("KEVMON_BIN", kevmon), (allow, Path::new(yes))];
        environment.extend(receivers.environment());
        let lengths = LENGTHS.map(|name| std::env::var_os(name).map(PathBuf::from));
        let given = LENGTHS.iter().zip(&lengths);
        environment.extend(given.filter_map(|(name, seconds)| Some((*name, seconds.as_deref()?))));
        let mut command = root.command_with(&program.executable, &environment);
        command.current_dir(&program.folder).args(arguments);
        let says_how_many = |argument: &OsString| argument.to_string_lossy().starts_with(TEST_THREADS);
        if !arguments.iter().any(says_how_many) {
            command.args([TEST_THREADS, &threads.to_string()]);
        }
        command.args(receivers.skip_arguments());
        self.times.run(&mut command)
    }
}

/// Names the tests that failed at first; empty where there are none.
fn passed_alone(tests: &[String]) -> String {
    if tests.is_empty() {
        return String::new();
    }
    format!("\nfailed at first, and passed alone:\n  {}\n", tests.join("\n  "))
}

fn with_remedy<T>(result: Result<T>, remedy: &str) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}; {remedy}"))
}

fn summary(reports: &[Report]) -> String {
    let width = reports
        .iter()
        .map(|report| report.stage.name().len())
        .max()
        .unwrap_or_default();
    let mut text = String::from("\n");
    for Report { stage, outcome } in reports {
        let (word, duration) = match outcome {
            Outcome::Passed(duration) => ("ok", Some(duration)),
            Outcome::Failed(duration, _) => ("FAILED", Some(duration)),
            Outcome::NotRun => ("not run", None),
        };
        let seconds = duration
            .map(|duration| format!("{:8.1} s", duration.as_secs_f64()))
            .unwrap_or_default();
        text.push_str(format!("  {:width$}  {word:<7} {seconds}", stage.name()).trim_end());
        text.push('\n');
    }
    let total: Duration = reports
        .iter()
        .filter_map(|report| match report.outcome {
            Outcome::Passed(duration) | Outcome::Failed(duration, _) => Some(duration),
            Outcome::NotRun => None,
        })
        .sum();
    text.push_str(&format!(
        "  {:width$}  {:7} {:8.1} s\n",
        "total",
        "",
        total.as_secs_f64()
    ));
    for Report { stage, outcome } in reports {
        if let Outcome::Failed(_, reason) = outcome {
            text.push_str(&format!("\nerror: {} failed: {reason}\n", stage.name()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_selection_builds_the_ebpf_half_and_runs_its_own_tests() {
        let names = |selection| {
            Stage::ALL
                .into_iter()
                .filter(|stage| stage.selected(selection))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Selection::All), Stage::ALL);
        assert_eq!(
            names(Selection::Unit),
            [Stage::Setup, Stage::Ebpf, Stage::Build, Stage::UnitTests]
        );
        assert_eq!(
            names(Selection::EndToEnd),
            [
                Stage::Setup,
                Stage::Ebpf,
                Stage::Build,
                Stage::Preflight,
                Stage::ParallelTests,
                Stage::SerialTests
            ]
        );
    }

    #[test]
    fn tests_that_passed_alone_are_named() {
        assert_eq!(passed_alone(&[]), "");
        let text = passed_alone(&["a::b".to_owned(), "c::d".to_owned()]);
        assert!(text.contains("passed alone:\n  a::b\n  c::d\n"), "{text}");
    }

    #[test]
    fn the_summary_names_what_failed_and_what_did_not_run() {
        let second = Duration::from_secs(1);
        let text = summary(&[
            Report {
                stage: Stage::Format,
                outcome: Outcome::Passed(second),
            },
            Report {
                stage: Stage::Setup,
                outcome: Outcome::Failed(second, "no compiler".to_owned()),
            },
            Report {
                stage: Stage::Ebpf,
                outcome: Outcome::NotRun,
            },
        ]);
        for part in [
            "format check",
            "ok",
            "FAILED",
            "not run",
            "error: setup failed: no compiler",
            "2.0 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
