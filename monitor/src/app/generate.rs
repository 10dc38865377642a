//! `kevmon generate`: what packages hold and kevmon itself knows best: man pages, completions, the settings file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Exit;
use crate::{
    cli::{Cli, GenerateArgs},
    config::settings_example,
};

/// Of man pages: programs for administrators.
const SECTION: &str = "8";

/// Writes `man/`, `completions/` and `kevmon.toml` below the folder. The same kevmon writes the same bytes.
///
/// # Errors
/// A file or folder cannot be written.
pub(super) fn run(args: &GenerateArgs) -> Result<Exit> {
    let pages = folder(&args.directory, "man")?;
    let mut command = Cli::command();
    command.build();
    man_pages(&command, &pages)?;
    let completions = folder(&args.directory, "completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "kevmon", &completions)
            .with_context(|| format!("{}: {shell}", completions.display()))?;
    }
    let settings = args.directory.join("kevmon.toml");
    fs::write(&settings, settings_example::text()).with_context(|| settings.display().to_string())?;
    Ok(Exit::Success)
}

/// The pages of `command` and of what it has below, hidden ones left out.
fn man_pages(command: &Command, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        man_pages(below, folder)?;
    }
    let page = Man::new(command.clone()).section(SECTION);
    page.generate_to(folder)
        .with_context(|| format!("{}: man pages", folder.display()))?;
    Ok(())
}

fn folder(below: &Path, name: &str) -> Result<PathBuf> {
    let path = below.join(name);
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}
