//! `cargo xtask deny`: known vulnerabilities, licences and sources of every crate, by cargo-deny.
//!
//! No stage of `test`: what it says changes with the day and not with the commit, and building cargo-deny takes minutes. Licences and
//! sources of what is linked are checked by `dist`, and so by `test`, too.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// The cargo-deny that deny.toml is written for.
const VERSION: &str = "0.20.2";

/// The checks that need this machine's files and the registry alone.
const LOCAL: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs all checks.
///
/// # Errors
/// A crate breaks a rule of deny.toml, or the advisories cannot be had and `offline` does not say that this may be.
pub(crate) fn run(workspace: &Workspace, offline: bool) -> Result<()> {
    let program = find_or_build(workspace)?;
    let deny = |arguments: &[&str]| {
        let mut command = shell::command(&program);
        command.current_dir(workspace.root()).args(arguments);
        shell::run(&mut command)
    };
    deny(&[&["check"], &LOCAL[..]].concat()).context("a crate breaks the rules of deny.toml")?;
    if let Err(error) = deny(&["fetch", "db"]) {
        let what = "advisories: NOT CHECKED, the database of known vulnerabilities (https://github.com/rustsec/advisory-db) cannot be fetched";
        if !offline {
            bail!("{what}: {error:#}; where no network is to be had, --offline leaves them out");
        }
        shell::say(format_args!("{what}"));
        return Ok(());
    }
    deny(&["check", "--disable-fetch", "advisories"]).context(
        "a crate has a known fault: take another version of it (`cargo update -p CRATE`), or say in deny.toml why it does not matter here",
    )
}

fn find_or_build(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.tools();
    let program = tools.join("bin/cargo-deny");
    let version = shell::read(shell::command(&program).arg("--version"));
    if version.is_some_and(|text| text.trim().ends_with(VERSION)) {
        return Ok(program);
    }
    shell::say(format_args!(
        "setup: building cargo-deny {VERSION} into {} (once; some minutes)",
        tools.display()
    ));
    let build = tools.join("build-deny");
    let mut command = shell::command(shell::host_cargo());
    command
        .args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--force",
        ])
        .arg("--root")
        .arg(&tools)
        .arg("--target-dir")
        .arg(&build);
    shell::run_step(&mut command)
        .context("cannot build cargo-deny: it needs a C compiler (`cc`) and the crate registry; the lines above say more")?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(program)
}
