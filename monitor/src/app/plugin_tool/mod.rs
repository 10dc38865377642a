//! `kevmon plugin …`: what people do with plugin files beside running them. Each command has a file of its name.

mod check;
mod doubts;
mod explain;
mod import;
mod list;
mod live;
mod new;
mod run;
mod unit;
mod value_line;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Exit, output, sources::on_this_host};
use crate::{
    cli::PluginCommand,
    config::{self, Environment, Loaded, Overrides, PluginSources},
    shown,
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::import::accepted;

/// Runs one of the commands.
///
/// # Errors
/// Standard output cannot be written, or the processes cannot be read.
pub(super) fn run(command: PluginCommand) -> Result<Exit> {
    match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Check(args) => check::run(&args),
        PluginCommand::List(args) => list::run(&args),
        PluginCommand::Run(args) => {
            // What a command writes to standard error is told at this level.
            super::log::start(&super::log::LogPlace::STDERR, &config::LogLevel::Info.into())?;
            crate::limits::raise_open_files()?;
            super::block_on(run::run(args))
        }
        PluginCommand::Import(args) => import::run(&args),
        PluginCommand::Schema => schema(),
        PluginCommand::Unit(args) => unit::run(&args),
    }
}

/// Configuration generates the schema from its table of keys.
fn schema() -> Result<Exit> {
    print(&format!("{:#}\n", config::json_schema()))?;
    Ok(Exit::Success)
}

/// All plugins of `directories`, or of the search path, as a daemon would load them.
fn load(directories: Vec<PathBuf>, plugins: Vec<String>, overrides: &Overrides) -> Loaded {
    // Whoever names a plugin here tries it out, switched on or off.
    let sources = PluginSources {
        directories,
        plugins,
        also_disabled: true,
        ..PluginSources::default()
    };
    let environment = Environment::of_this_process();
    let sources = on_this_host(sources, &environment);
    let file = config::read_settings(None);
    let mut loaded = config::load(&sources, &environment, overrides, file.as_ref());
    loaded.faults.extend(loaded.idle.take());
    loaded
}

fn complain(message: impl std::fmt::Display) {
    shown::complain(message);
}

/// Prints a result; a reader that has gone away is content.
fn print(text: &str) -> Result<()> {
    output::print(text).map(|_| ()).context("standard output")
}

/// Writes a file that does not exist yet, with its folder. What goes wrong is told.
fn write_new(path: &Path, text: &str) -> std::result::Result<(), String> {
    use std::{fs, io::Write};
    let cannot = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            format!(
                "{} exists already; move it away, or take another name",
                path.display()
            )
        } else {
            let remedy = "choose a folder that can be written";
            format!("{} cannot be written: {error}; {remedy}", path.display())
        }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)
}
