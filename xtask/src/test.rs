//! `cargo xtask test`: the stages, in the order in which they fail fastest, and the summary at the end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::bench::run_as_root;
use crate::ebpf::{self, Builder, Warnings};
use crate::imports;
use crate::preflight;
use crate::privilege::Root;
use crate::receivers::{self, Receivers};
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

/// Makes the outage of the export's tests longer, seconds (tests/tests/export_outage.rs).
const OUTAGE: &str = "KEVMON_OUTAGE_SECONDS";

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
    UnitTests,
    ReleaseBuild,
    Preflight,
    EndToEndTests,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::Format,
        Self::Imports,
        Self::Setup,
        Self::Ebpf,
        Self::Clippy,
        Self::UnitTests,
        Self::Preflight,
        Self::ReleaseBuild,
        Self::EndToEndTests,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Format => "format check",
            Self::Imports => "import rules",
            Self::Setup => "setup",
            Self::Ebpf => "eBPF build, warnings denied",
            Self::Clippy => "clippy, warnings denied",
            Self::UnitTests => "unit tests",
            Self::ReleaseBuild => "release build",
            Self::Preflight => "preflight (kernel, privilege)",
            Self::EndToEndTests => "end-to-end tests",
        }
    }

    fn selected(self, selection: Selection) -> bool {
        match self {
            Self::Setup | Self::Ebpf => true,
            Self::Format | Self::Imports | Self::Clippy => selection == Selection::All,
            Self::UnitTests => selection != Selection::EndToEnd,
            Self::Preflight | Self::ReleaseBuild | Self::EndToEndTests => selection != Selection::Unit,
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
    filters: &'a [OsString],
    builder: Option<Builder>,
    receivers: Option<Receivers>,
    root: Option<Root>,
    kevmon: Option<PathBuf>,
}

/// Runs the selected stages up to the first that fails.
pub(crate) fn run(workspace: &Workspace, selection: Selection, filters: &[OsString]) -> Result<ExitCode> {
    let mut run = Run {
        workspace,
        selection,
        filters,
        builder: None,
        receivers: None,
        root: None,
        kevmon: None,
    };
    let mut reports: Vec<Report> = Vec::new();
    for stage in Stage::ALL.into_iter().filter(|stage| stage.selected(selection)) {
        let failed = reports
            .iter()
            .any(|report| matches!(report.outcome, Outcome::Failed(..)));
        let outcome = if failed { Outcome::NotRun } else { run.timed(stage) };
        reports.push(Report { stage, outcome });
    }
    eprint!("{}", summary(&reports));
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
            Stage::UnitTests => {
                let mut command = user::cargo(self.workspace, "test");
                command
                    .args([
                        "--no-fail-fast",
                        "-p",
                        "kevmon",
                        "-p",
                        "kevmon-common",
                        "-p",
                        "xtask",
                        "--",
                    ])
                    .args(self.filters);
                shell::run(&mut command)
            }
            Stage::ReleaseBuild => {
                self.kevmon = Some(user::build(self.workspace, Profile::Release)?);
                Ok(())
            }
            Stage::Preflight => {
                let root = Root::obtain("the end-to-end tests (they load eBPF programs)")?;
                preflight::check(&root)?;
                self.root = Some(root);
                Ok(())
            }
            Stage::EndToEndTests => self.end_to_end(),
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

    fn end_to_end(&self) -> Result<()> {
        let root = self
            .root
            .as_ref()
            .context("the preflight stage left no way to root")?;
        let kevmon = self
            .kevmon
            .as_deref()
            .context("the release build left no kevmon")?;
        let receivers = self
            .receivers
            .as_ref()
            .context("the setup stage left no receivers")?;
        let mut environment = vec![("KEVMON_BIN", kevmon)];
        environment.extend(receivers.environment());
        // sudo does not pass it on by itself.
        let outage = std::env::var_os(OUTAGE).map(PathBuf::from);
        environment.extend(outage.as_deref().map(|seconds| (OUTAGE, seconds)));
        let mut command = user::cargo(self.workspace, "test");
        command.args(["--release", "--no-fail-fast", "-p", "kevmon-tests"]);
        run_as_root(&mut command, root, &environment);
        // One at a time: they measure processes on the machine that they share.
        command.args(["--", "--test-threads=1"]).args(self.filters);
        shell::run(&mut command)
    }
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
            [Stage::Setup, Stage::Ebpf, Stage::UnitTests]
        );
        assert_eq!(
            names(Selection::EndToEnd),
            [
                Stage::Setup,
                Stage::Ebpf,
                Stage::Preflight,
                Stage::ReleaseBuild,
                Stage::EndToEndTests
            ]
        );
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
