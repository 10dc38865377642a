//! `kevmon unpin`: removes what an ended kevmon has left in the kernel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Exit, output, state_path};
use crate::{
    cli::UnpinArgs,
    config::Environment,
    kernel::{remove_pins, state_name},
};

/// Removes what daemons on the state have left in the kernel.
///
/// # Errors
/// A daemon on the state runs, or something cannot be removed.
pub(super) fn run(args: &UnpinArgs) -> Result<Exit> {
    let environment = Environment::of_this_process();
    let Some(path) = state_path(args.metadata_db_path.as_deref(), &environment) else {
        return Ok(Exit::Usage);
    };
    let path = fs::canonicalize(&path).unwrap_or(path);
    let mut removed = 0;
    for database in databases(&path) {
        let of = || format!("the state {}", database.display());
        let state = state_name(&database).with_context(of)?;
        removed += u32::from(remove_pins(&state).with_context(of)?);
    }
    let text = match removed {
        0 => format!("nothing was left of {}\n", path.display()),
        _ => format!("removed what was left of {}\n", path.display()),
    };
    output::print(&text).context("standard output")?;
    Ok(Exit::Success)
}

/// The database at `path`, and those of further daemons on it.
fn databases(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return all;
    };
    let further = format!("{}.set-", name.to_string_lossy());
    let names = fs::read_dir(folder).into_iter().flatten();
    let names = names.filter_map(|entry| Some(entry.ok()?.file_name()));
    // What lies beside a database, such as its log, has no pins.
    all.extend(
        names
            .filter(|name| name.to_string_lossy().starts_with(&further))
            .map(|name| folder.join(name)),
    );
    all
}
