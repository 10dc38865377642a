//! The test programs: one cargo call builds kevmon, the unit tests and the end-to-end tests, so that they share every
//! compiled crate, and says where each executable is.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

/// The end-to-end tests that run at the same time.
const PARALLEL: &str = "parallel";
/// The end-to-end tests that run one at a time.
const SERIAL: &str = "serial";
/// The package of the end-to-end tests.
const END_TO_END: &str = "tests";

/// An executable that holds tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    /// The folder of its package, in which cargo starts tests.
    pub(crate) folder: PathBuf,
}

/// Everything that one build made for the tests.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// kevmon itself.
    pub(crate) kevmon: Option<PathBuf>,
    pub(crate) unit: Vec<Program>,
    pub(crate) parallel: Option<Program>,
    pub(crate) serial: Option<Program>,
}

/// Builds everything; the eBPF object must be there.
///
/// # Errors
/// The build fails, or leaves out one of the programs.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<Programs> {
    let mut command = user::cargo(workspace, "build");
    command.args(["--all-targets", "--message-format=json-render-diagnostics"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
    let stdout = child.stdout.take().context("cargo's standard output is piped")?;
    let mut programs = Programs::default();
    for line in BufReader::new(stdout).lines() {
        programs.note(&line.context("cannot read what cargo built")?);
    }
    shell::succeeded(&command, child.wait()?)?;
    if programs.kevmon.is_none() || programs.parallel.is_none() || programs.serial.is_none() {
        bail!("the build succeeded but left out kevmon or a test program; found {programs:?}");
    }
    Ok(programs)
}

impl Programs {
    /// Takes in one message of cargo's (doc.rust-lang.org/cargo/reference/external-tools.html, "Artifact messages"). Other
    /// messages, and executables that hold no tests, are passed over.
    fn note(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let (Some(executable), Some(target), Some(manifest)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            return;
        };
        let executable = PathBuf::from(executable);
        let is_test = message["profile"]["test"] == true;
        let Some(folder) = PathBuf::from(manifest).parent().map(PathBuf::from) else {
            return;
        };
        let of_end_to_end = folder.file_name().is_some_and(|name| name == END_TO_END);
        let program = Program { executable, folder };
        match (is_test, of_end_to_end, target) {
            (false, false, "kevmon") => self.kevmon = Some(program.executable),
            (true, true, PARALLEL) => self.parallel = Some(program),
            (true, true, SERIAL) => self.serial = Some(program),
            (true, false, _) => self.unit.push(program),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(package: &str, target: &str, test: bool) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": format!("/src/{package}/Cargo.toml"),
            "target": {"name": target},
            "profile": {"test": test},
            "executable": format!("/target/{target}-{test}"),
        })
        .to_string()
    }

    #[test]
    fn each_executable_goes_where_it_is_run() {
        let mut programs = Programs::default();
        for line in [
            "not JSON".to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            r#"{"reason":"compiler-artifact","executable":null,"target":{"name":"kevmon"}}"#.to_owned(),
            artifact("monitor", "kevmon", false),
            artifact("monitor", "kevmon", true),
            artifact("xtask", "xtask", false),
            artifact("xtask", "xtask", true),
            artifact("tests", "workload", false),
            artifact("tests", "workload", true),
            artifact("tests", "parallel", true),
            artifact("tests", "serial", true),
        ] {
            programs.note(&line);
        }
        let path = |name: &str| PathBuf::from(format!("/target/{name}"));
        assert_eq!(programs.kevmon, Some(path("kevmon-false")));
        let unit: Vec<PathBuf> = programs
            .unit
            .iter()
            .map(|program| program.executable.clone())
            .collect();
        assert_eq!(unit, [path("kevmon-true"), path("xtask-true")]);
        let executable = |program: Option<Program>| program.map(|program| program.executable);
        assert_eq!(executable(programs.parallel), Some(path("parallel-true")));
        assert_eq!(executable(programs.serial.clone()), Some(path("serial-true")));
        assert_eq!(
            programs.serial.map(|program| program.folder),
            Some(PathBuf::from("/src/tests"))
        );
    }
}
