//! The user half: building kevmon, and becoming it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Error, Result, bail};

use crate::ebpf::{self, Warnings};
use crate::privilege::Root;
use crate::shell;
use crate::workspace::Workspace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Profile {
    /// Its folder under the target folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The host's cargo, at the repository's root.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = shell::command(shell::host_cargo());
    command.current_dir(workspace.root()).arg(subcommand);
    command
}

/// Builds the daemon alone; the eBPF object must be there.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(workspace, "build");
    command.args(["-p", "kevmon", "--bin", "kevmon"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    shell::run(&mut command).context("cannot build the user half (monitor)")?;

    let binary = workspace.user_target().join(profile.folder()).join("kevmon");
    if !binary.exists() {
        bail!(
            "the build succeeded but left no {}: is another target folder set in a cargo configuration or with --target-dir?",
            binary.display()
        );
    }
    Ok(binary)
}

pub(crate) fn build_both(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    ebpf::setup(workspace)?.build(workspace, Warnings::Shown)?;
    build(workspace, profile)
}

/// Builds kevmon and replaces this process by it: signals, exit code and terminal are then kevmon's own business. Comes
/// back only with the reason why it could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<Error> {
    let root = Root::obtain("kevmon (it loads eBPF programs)")?;
    let binary = build_both(workspace, Profile::Release)?;
    let mut command = root.command(&binary);
    command.current_dir(workspace.root()).args(arguments);
    let reason = command.exec();
    Ok(Error::new(reason).context(format!("cannot start `{}`", shell::line(&command))))
}
