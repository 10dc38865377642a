//! rustup's toolchains: which are installed, and adding one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::shell;

/// The nightly that `setup` adds, under its dated name: the user's own `nightly` is never changed, and two
/// machines build with the same compiler.
pub(crate) const DATED_NIGHTLY: &str = "nightly-2026-05-20";

/// A download that has not moved for so long is given up: an unreachable server must not hold up the way through the
/// system's packages. One that moves, however slowly, is waited for.
const STALLED: Duration = Duration::from_secs(30);

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
        "setup: {} (about 150 MB; given up when nothing comes for {} s)",
        install_command(),
        STALLED.as_secs()
    ));
    let mut command = shell::command("rustup");
    command.args(install_command().split_whitespace().skip(1));
    command.arg("--no-self-update").env("RUSTUP_MAX_RETRIES", "1");
    let home = home();
    shell::run_step_while_moving(&mut command, STALLED, || home.as_deref().map_or(0, bytes_in))
}

/// Adds the standard library for a target to the toolchain in use.
pub(crate) fn target_command(triple: &str) -> String {
    format!("rustup target add {triple}")
}

pub(crate) fn add_target(triple: &str) -> Result<()> {
    let line = target_command(triple);
    shell::say(format_args!(
        "setup: {line} (about 30 MB; given up when nothing comes for {} s)",
        STALLED.as_secs()
    ));
    let mut command = shell::command("rustup");
    command.args(line.split_whitespace().skip(1));
    command.env("RUSTUP_MAX_RETRIES", "1");
    let home = home();
    shell::run_step_while_moving(&mut command, STALLED, || home.as_deref().map_or(0, bytes_in))
        .with_context(|| format!("run `{line}` by hand to see what is wrong"))
}

/// Where rustup downloads to, and unpacks.
fn home() -> Option<PathBuf> {
    let own = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))
}

/// Bytes of what is being downloaded and unpacked there.
fn bytes_in(home: &Path) -> u64 {
    let folders = ["downloads", "tmp", &format!("toolchains/{DATED_NIGHTLY}")].map(|name| home.join(name));
    folders.iter().map(|folder| size(folder, 4)).sum()
}

fn size(folder: &Path, depth: u32) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() && depth > 0 => 1 + size(&entry.path(), depth - 1),
        Ok(of) => of.len(),
        Err(_) => 0,
    });
    sizes.sum()
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
