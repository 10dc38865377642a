//! Debian's and Ubuntu's packages: asking what they offer, installing them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::privilege::Root;
use crate::shell;

/// A version such as 1.96.0, compared number by number; what follows the numbers does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    /// Reads "1.96.0+dfsg1-1", "22.1.8", and Debian's "1:22.1.8" with its epoch.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once(':').map_or(text, |(_, version)| version);
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The package lists have been fetched by this program: once is enough, whatever is installed after that.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// apt-get, on a system that has it.
#[derive(Debug)]
pub(crate) struct Apt;

impl Apt {
    pub(crate) fn find() -> Option<Self> {
        shell::find_program("apt-get").map(|_| Self)
    }

    /// Fetches the package lists, once in the life of this program.
    pub(crate) fn update(&mut self) -> Result<()> {
        if UPDATED.load(Ordering::Relaxed) {
            return Ok(());
        }
        shell::say(format_args!("setup: apt-get update"));
        self.apt_get(&["update", "-q"])?;
        UPDATED.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The version that would be installed.
    pub(crate) fn candidate(&self, package: &str) -> Option<Version> {
        let policy = shell::read(
            shell::command("apt-cache")
                .env("LC_ALL", "C")
                .args(["policy", package]),
        )?;
        policy
            .lines()
            .find_map(|line| Version::parse(line.trim().strip_prefix("Candidate:")?.trim()))
    }

    /// Names of packages that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        shell::read(shell::command("apt-cache").args(["pkgnames", prefix]))
            .map(|names| names.lines().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    pub(crate) fn install(&mut self, packages: &[String]) -> Result<()> {
        self.update()?;
        shell::say(format_args!("setup: apt-get install {}", packages.join(" ")));
        let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
        arguments.extend(packages.iter().map(String::as_str));
        self.apt_get(&arguments)
    }

    fn apt_get(&self, arguments: &[&str]) -> Result<()> {
        let root = Root::obtain("apt-get")?;
        let mut command = root.command("env");
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=120",
        ]);
        command.args(arguments);
        shell::run_step(&mut command).with_context(|| {
            format!(
                "run `sudo apt-get {}` by hand to see what is wrong",
                arguments.join(" ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tools_and_packages() {
        for (text, expected) in [
            ("1.96.0+dfsg1-1~deb12u2", Some((1, 96))),
            ("1:22.1.8-1~deb12u1", Some((22, 1))),
            ("1.101.0-nightly", Some((1, 101))),
            ("6.18.44-amd64", Some((6, 18))),
            ("(none)", None),
            ("", None),
        ] {
            assert_eq!(
                Version::parse(text).map(|v| (v.major, v.minor)),
                expected,
                "{text:?}"
            );
        }
        assert!(Version { major: 1, minor: 101 } > Version { major: 1, minor: 96 });
    }
}
