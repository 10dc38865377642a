//! rustup's toolchains: which are installed, and adding one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::shell;

/// The nightly that `setup` adds, under its dated name: the user's own `nightly` is never changed, and two
/// machines build with the same compiler.
pub(crate) const DATED_NIGHTLY: &str = "nightly-2026-05-20";

/// An unreachable server must not hold up the way through the system's packages for longer.
const INSTALL_LIMIT: Duration = Duration::from_secs(120);

/// Roots of the installed nightly toolchains, the dated one first.
pub(crate) fn nightly_sysroots() -> Vec<PathBuf> {
    let Some(list) = shell::read(shell::command("rustup").args(["toolchain", "list"])) else {
        return Vec::new();
    };
    let mut names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| is_considered(name))
        .collect();
    names.sort_by_key(|name| !name.starts_with(DATED_NIGHTLY));
    names
        .into_iter()
        .filter_map(|name| {
            let sysroot =
                shell::read(shell::command("rustup").args(["run", name, "rustc", "--print", "sysroot"]))?;
            Some(PathBuf::from(sysroot))
        })
        .collect()
}

/// The dated nightly and the one plainly called `nightly`; other dated ones are somebody's experiments.
fn is_considered(toolchain: &str) -> bool {
    let host_follows = |rest: &str| rest.is_empty() || rest.starts_with('-');
    toolchain.strip_prefix(DATED_NIGHTLY).is_some_and(host_follows)
        || toolchain
            .strip_prefix("nightly")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-') && !rest.starts_with("-20"))
}

pub(crate) fn is_present() -> bool {
    shell::find_program("rustup").is_some()
}

pub(crate) fn install_command() -> String {
    format!("rustup toolchain install {DATED_NIGHTLY} --profile minimal --component rust-src")
}

pub(crate) fn install_nightly() -> Result<()> {
    shell::say(format_args!(
        "setup: {} (at most {} s)",
        install_command(),
        INSTALL_LIMIT.as_secs()
    ));
    let mut command = shell::command("rustup");
    command.args(install_command().split_whitespace().skip(1));
    command.arg("--no-self-update").env("RUSTUP_MAX_RETRIES", "1");
    shell::run_step_within(&mut command, INSTALL_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nightly_and_the_dated_nightly_are_considered() {
        assert!(is_considered("nightly-x86_64-unknown-linux-gnu"));
        assert!(is_considered("nightly"));
        assert!(is_considered(DATED_NIGHTLY));
        assert!(is_considered(&format!(
            "{DATED_NIGHTLY}-x86_64-unknown-linux-gnu"
        )));
        assert!(!is_considered("nightly-2025-01-01-x86_64-unknown-linux-gnu"));
        assert!(!is_considered("stable-x86_64-unknown-linux-gnu"));
        assert!(!is_considered("1.95.0-x86_64-unknown-linux-gnu"));
    }
}
