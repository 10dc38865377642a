//! `cargo xtask docs`: the documentation as a book, in target/book, by mdBook.
//!
//! The pages are written for the repository's own view. The book has them in one folder: README.md and CHANGELOG.md go next to those of
//! docs/, and links to other files become links to the repository. Afterwards every link of the book is followed.

mod html;
mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// The mdBook that docs/book.toml is written for.
const VERSION: &str = "0.5.4";

/// Builds the book.
///
/// # Errors
/// mdBook cannot be had, refuses the pages, or a link of the book leads nowhere.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let program = find_or_install(workspace)?;
    let source = workspace.root().join("target/book-source");
    let book = workspace.root().join("target/book");
    for folder in [&source, &book] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    pages::stage(workspace.root(), &source)?;
    let mut command = shell::command(&program);
    command.arg("build").arg(&source).arg("--dest-dir").arg(&book);
    shell::run(&mut command).context("mdBook cannot make the book of docs/SUMMARY.md")?;
    let faults = html::faults(&book)?;
    if !faults.is_empty() {
        bail!("links of the book lead nowhere:\n{}", faults.join("\n"));
    }
    shell::say(format_args!("the book is {}", book.join("index.html").display()));
    Ok(())
}

/// The mdBook of `setup`'s folder, else one on PATH of the same version, else a new one.
fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/mdbook");
    let candidates = [Some(own.clone()), shell::find_program("mdbook")];
    if let Some(program) = candidates.into_iter().flatten().find(|program| fits(program)) {
        return Ok(program);
    }
    build(workspace)?;
    Ok(own)
}

fn fits(program: &Path) -> bool {
    let version = shell::read(shell::command(program).arg("--version"));
    version.is_some_and(|text| text.trim().ends_with(VERSION))
}

/// Builds mdBook from its source, without its server.
fn build(workspace: &Workspace) -> Result<()> {
    let tools = workspace.tools();
    shell::say(format_args!(
        "setup: building mdBook {VERSION} into {} (once; some minutes)",
        tools.display()
    ));
    let folder = tools.join("build-mdbook");
    let mut command = shell::command(shell::host_cargo());
    command
        .args(["install", "mdbook", "--version", VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", "search", "--root"])
        .arg(&tools)
        .arg("--target-dir")
        .arg(&folder);
    shell::run_step(&mut command)
        .context("cannot build mdBook: it needs the crate registry; the lines above say more")?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests;
