//! `cargo xtask bench`: the benchmarks of tests/, on the release build.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::privilege::Root;
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, name: Option<&OsStr>, arguments: &[OsString]) -> Result<()> {
    let root = Root::obtain("a benchmark (it starts kevmon)")?;
    let kevmon = user::build_both(workspace, Profile::Release)?;
    let mut command = user::cargo(workspace, "run");
    command.args(["--quiet", "--release", "-p", "kevmon-tests", "--bin", "bench"]);
    run_as_root(&mut command, &root, &[("KEVMON_BIN", &kevmon)]);
    command.arg("--").args(name).args(arguments);
    shell::run(&mut command).context("the benchmark failed")
}

/// Lets cargo build as the caller and start what it built as root, with these variables whatever sudo's policy is.
pub(crate) fn run_as_root(command: &mut Command, root: &Root, environment: &[(&str, &Path)]) {
    command.envs(environment.iter().copied());
    if let Root::Sudo(sudo) = root {
        let mut runner = vec![sudo.display().to_string(), "-E".to_owned(), "env".to_owned()];
        runner.extend(
            environment
                .iter()
                .map(|(name, value)| format!("{name}={}", value.display())),
        );
        let quoted: Vec<String> = runner.iter().map(|word| format!("{word:?}")).collect();
        command
            .arg("--config")
            .arg(format!("target.'cfg(unix)'.runner=[{}]", quoted.join(",")));
    }
}
