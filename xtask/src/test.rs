//! `cargo xtask test`: the stages, in the order in which they fail fastest, and the summary at the end.

mod lanes;
mod outputs;
pub(crate) mod programs;
mod summary;
mod times;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::dist;
use crate::ebpf::{self, Builder, Warnings};
use crate::imports;
use crate::preflight;
use crate::privilege::Root;
use crate::receivers::{self, Receivers};
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

use lanes::Lane;
use programs::{Program, Programs};
use summary::{flaky, summary};
use times::Times;

/// Tests that run at the same time, for each processor: most of the time they wait.
const TESTS_PER_PROCESSOR: usize = 5;

/// Under the target folder: how long the parallel end-to-end tests took in the last run of all of them.
const TIMES: &str = "test-times";

/// Tests that are run again by themselves where they fail, at most: more of them are no accident.
const AGAIN: usize = 16;
/// How often they are.
const TRIES: usize = 2;

/// Flags of test programs that choose tests which are not run otherwise.
const IGNORED: [&str; 2] = ["--ignored", "--include-ignored"];

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
    /// Those that the tests of packages install; `None` where no such test was asked for.
    packages: Option<PathBuf>,
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
        packages: None,
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
        flaky(&alone),
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
                let profile = self.workspace.user_target().join(self.profile.folder());
                match outputs::remove_old(&profile) {
                    Ok(0) => {}
                    Ok(removed) => shell::say(format_args!("removed {removed} old outputs of builds")),
                    Err(error) => {
                        shell::say(format_args!("{}: old outputs stay: {error}", profile.display()))
                    }
                }
                Ok(())
            }
            Stage::UnitTests => {
                let threads = at_the_same_time();
                self.unit_tests(self.filters, threads)
                    .or_else(|error| self.again_alone(|run, tests| run.unit_tests(&tests, 1), error))
            }
            Stage::Preflight => {
                let root = Root::obtain("the end-to-end tests (they load eBPF programs)")?;
                preflight::check(&root)?;
                self.root = Some(root);
                self.make_packages()
            }
            Stage::ParallelTests => {
                self.times.take_seen();
                self.parallel_tests()
                    .or_else(|error| self.again_alone(|run, tests| run.alone(parallel, tests), error))
            }
            Stage::SerialTests => {
                self.times.take_seen();
                let all = [Lane {
                    arguments: self.filters.to_vec(),
                    threads: 1,
                }];
                self.end_to_end(serial, &all)
                    .or_else(|error| self.again_alone(|run, tests| run.alone(serial, tests), error))
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
    fn unit_tests(&mut self, filters: &[OsString], threads: usize) -> Result<()> {
        let mut failed = Ok(());
        for Program { executable, folder } in self.programs()?.unit.clone() {
            let mut command = shell::command(&executable);
            command.current_dir(folder).args(filters);
            let result = self.times.run(&mut [with_threads(command, filters, threads)]);
            failed = failed.and(result);
        }
        failed
    }

    /// Runs the tests that failed again, by themselves, and a last time those that fail again: what others take of the machine
    /// is no fault of kevmon's. Which tests these were is said at the end.
    fn again_alone(
        &mut self,
        run: impl Fn(&mut Self, Vec<OsString>) -> Result<()>,
        mut error: anyhow::Error,
    ) -> Result<()> {
        let mut before = Vec::new();
        for _ in 0..TRIES {
            let seen = self.times.take_seen();
            let failed = seen.failed;
            // Of a program that has died nobody knows which tests it owes.
            if seen.is_partial || failed.is_empty() || failed.len() > AGAIN {
                return Err(error);
            }
            shell::say(format_args!(
                "test: {} failed; once more, by themselves",
                failed.len()
            ));
            let mut arguments = lanes::exactly(&failed);
            let is_choice = |filter: &&OsString| IGNORED.iter().any(|flag| *filter == flag);
            arguments.extend(self.filters.iter().filter(is_choice).cloned());
            if before.is_empty() {
                before.clone_from(&failed);
            }
            match run(self, arguments) {
                Ok(()) if self.times.has_passed(&failed) => {
                    self.alone.extend(before);
                    return Ok(());
                }
                Ok(()) => return Err(error),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    /// Runs some tests of a program, one after the other.
    fn alone(
        &mut self,
        choose: impl Fn(&Programs) -> Option<&Program>,
        arguments: Vec<OsString>,
    ) -> Result<()> {
        self.end_to_end(
            choose,
            &[Lane {
                arguments,
                threads: 1,
            }],
        )
    }

    /// Makes the packages that the tests of packages install, where such a test was asked for.
    fn make_packages(&mut self) -> Result<()> {
        let is_asked = |filter: &OsString| filter.to_string_lossy().contains("packages");
        if self.filters.is_empty() || self.filters.iter().any(is_asked) {
            let kevmon = self.programs()?.kevmon.as_deref();
            let kevmon = kevmon.context("the build stage left no kevmon")?;
            self.packages = Some(dist::for_tests::make(self.workspace, kevmon)?);
        }
        Ok(())
    }

    /// Runs the parallel end-to-end tests, the longest first; those that were asked for in the order of their names.
    fn parallel_tests(&mut self) -> Result<()> {
        let threads = at_the_same_time();
        if !self.filters.is_empty() {
            let asked = Lane {
                arguments: self.filters.to_vec(),
                threads,
            };
            return self.end_to_end(parallel, &[asked]);
        }
        let kept = self.workspace.user_target().join(TIMES);
        let program = &parallel(self.programs()?).context(NO_PROGRAMS)?.executable;
        let names = lanes::names(program)?;
        let skipped: Vec<&str> = self.receivers()?.skipped_tests().collect();
        let lanes = lanes::split(&names, &times::kept(&kept), &skipped, threads);
        let result = self.end_to_end(parallel, &lanes);
        self.times.keep(&kept, &names)?;
        result
    }

    fn receivers(&self) -> Result<&Receivers> {
        self.receivers
            .as_ref()
            .context("the setup stage left no receivers")
    }

    /// Runs one of the programs of end-to-end tests as root, all `lanes` at the same time.
    fn end_to_end(&mut self, choose: impl Fn(&Programs) -> Option<&Program>, lanes: &[Lane]) -> Result<()> {
        let programs = self.programs()?;
        let program = choose(programs).context(NO_PROGRAMS)?;
        let kevmon = programs
            .kevmon
            .as_deref()
            .context("the build stage left no kevmon")?;
        let root = self
            .root
            .as_ref()
            .context("the preflight stage left no way to root")?;
        let receivers = self.receivers()?;
        // sudo may not pass on what is only set for itself.
        let (allow, yes) = times::ALLOW_UNSTABLE;
        let mut environment: Vec<(&str, &Path)> = vec![("KEVMON_BIN", kevmon), (allow, Path::new(yes))];
        environment.extend(receivers.environment());
        environment.extend(self.packages.as_deref().map(|folder| ("KEVMON_PACKAGES", folder)));
        let lengths = LENGTHS.map(|name| std::env::var_os(name).map(PathBuf::from));
        let given = LENGTHS.iter().zip(&lengths);
        environment.extend(given.filter_map(|(name, seconds)| Some((*name, seconds.as_deref()?))));
        let command = |lane: &Lane| {
            let mut command = root.command_with(&program.executable, &environment);
            command.current_dir(&program.folder).args(&lane.arguments);
            let skipped = receivers.skipped_tests();
            command.args(skipped.flat_map(|tests| ["--skip", tests]));
            with_threads(command, &lane.arguments, lane.threads)
        };
        let mut commands: Vec<Command> = lanes.iter().map(command).collect();
        self.times.run(&mut commands)
    }
}

fn parallel(programs: &Programs) -> Option<&Program> {
    programs.parallel.as_ref()
}

fn serial(programs: &Programs) -> Option<&Program> {
    programs.serial.as_ref()
}

const NO_PROGRAMS: &str = "the build stage left no end-to-end tests";

/// How many tests of a program run at the same time.
fn at_the_same_time() -> usize {
    thread::available_parallelism().map_or(1, usize::from) * TESTS_PER_PROCESSOR
}

/// A test program that runs so many tests at the same time, unless `arguments` say how many.
fn with_threads(mut command: Command, arguments: &[OsString], threads: usize) -> Command {
    let says_how_many = |argument: &OsString| argument.to_string_lossy().starts_with(TEST_THREADS);
    if !arguments.iter().any(says_how_many) {
        command.args([TEST_THREADS, &threads.to_string()]);
    }
    command
}

fn with_remedy<T>(result: Result<T>, remedy: &str) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}; {remedy}"))
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
}
