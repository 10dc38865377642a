//! Root, sudo and capabilities: who runs this program, and how it starts another one as root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The effective user and capabilities out of a `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) effective_uid: u32,
    effective_capabilities: u64,
}

impl Credentials {
    pub(crate) fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            effective_uid: field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
            effective_capabilities: u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?,
        })
    }

    pub(crate) fn own() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
        Self::parse(&status).context("/proc/self/status has no readable Uid or CapEff line")
    }

    /// `number` as in linux/capability.h.
    pub(crate) fn has_capability(self, number: u32) -> bool {
        self.effective_capabilities >> number & 1 == 1
    }
}

/// How a program is started as root.
#[derive(Debug, Clone)]
pub(crate) enum Root {
    /// This program is root already.
    Already,
    Sudo(PathBuf),
}

impl Root {
    /// `purpose` completes "… needs root".
    pub(crate) fn obtain(purpose: &str) -> Result<Self> {
        if Credentials::own()?.effective_uid == 0 {
            return Ok(Self::Already);
        }
        match shell::find_program("sudo") {
            Some(sudo) => Ok(Self::Sudo(sudo)),
            None => bail!(
                "{purpose} needs root, and sudo is not on PATH: run this command as root, or install sudo"
            ),
        }
    }

    /// The program as root, with the caller's environment where sudo's policy lets it through.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Already => shell::command(program),
            Self::Sudo(sudo) => {
                let mut command = shell::command(sudo);
                command.arg("-E").arg(program);
                command
            }
        }
    }

    /// The program as root, with these variables whatever sudo's policy is: env(1) sets them behind sudo.
    pub(crate) fn command_with(&self, program: &Path, variables: &[(&str, &Path)]) -> Command {
        match self {
            Self::Already => {
                let mut command = shell::command(program);
                command.envs(variables.iter().copied());
                command
            }
            Self::Sudo(_) => {
                let mut command = self.command("env");
                for (name, value) in variables {
                    let mut assignment = OsString::from(name);
                    assignment.push("=");
                    assignment.push(value);
                    command.arg(assignment);
                }
                command.arg(program);
                command
            }
        }
    }

    /// The credentials that such a program has.
    pub(crate) fn credentials(&self) -> Result<Credentials> {
        match self {
            Self::Already => Credentials::own(),
            Self::Sudo(_) => {
                let status = shell::read(self.command("cat").arg("/proc/self/status"))
                    .context("sudo refused to run `cat /proc/self/status`: run this command as root")?;
                Credentials::parse(&status).context("/proc/self/status under sudo has no Uid or CapEff line")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_values_are_read_not_real_ones() {
        let status = "Name:\tcat\nUid:\t1000\t0\t0\t0\nCapPrm:\t0\nCapEff:\t000000c000000000\n";
        let credentials = Credentials::parse(status).unwrap();
        assert_eq!(credentials.effective_uid, 0);
        assert!(credentials.has_capability(38));
        assert!(credentials.has_capability(39));
        assert!(!credentials.has_capability(21));
    }

    #[test]
    fn a_status_without_the_lines_is_unknown() {
        assert_eq!(Credentials::parse("Name:\tcat\nUid:\t0\t0\t0\t0\n"), None);
        assert_eq!(Credentials::parse("Uid:\t0\t0\t0\t0\nCapEff:\tzz\n"), None);
    }
}
