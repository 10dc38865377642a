//! `kevmon report`: a page about an incident or a length of time, made of the history and the flight recorder. It is one file that
//! loads nothing, and holds no name that is not escaped ([`html`]).

mod gather;
mod html;
#[cfg(test)]
mod tests;
mod trace;

use std::{io::Write, path::Path};

use anyhow::{Context, Result};

use super::{Exit, history, incidents, local_time, output, state_path};
use crate::{
    cli::ReportArgs,
    config::Environment,
    files::{Accepts, Folder, Missing, Open},
    recorder::{self, Incidents},
};

/// What a page is about when nothing is asked for, ns.
const DAY: u64 = 86_400_000_000_000;

/// Writes the page.
///
/// # Errors
/// The state cannot be read, or the page not be written.
pub(super) fn run(args: &ReportArgs) -> Result<Exit> {
    let Some(state) = state_path(args.metadata_db_path.as_deref(), &Environment::of_this_process()) else {
        return Ok(Exit::Usage);
    };
    let folder = recorder::folder(&state);
    let now = output::unix_now();
    let report = if let Some(id) = &args.incident {
        let Some(incident) = incidents::find(&Incidents::new(&folder), id, &folder)? else {
            return Ok(Exit::NothingFound);
        };
        gather::of_incident(&incident, now)
    } else {
        let asked = args.metadata_db_path.as_deref();
        let Some((history, _)) = history::read(asked, args.plugin.as_deref())? else {
            return Ok(Exit::Usage);
        };
        let since = args
            .since
            .map_or(DAY, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        let range = now.saturating_sub(since)..=now;
        gather::of_range(&history, &folder, range, args.plugin.as_deref())
            .with_context(|| folder.display().to_string())?
    };
    let page = html::page(&report, &local_time::date);
    write(&args.output, &page).with_context(|| args.output.display().to_string())?;
    Ok(Exit::Success)
}

fn write(path: &Path, page: &str) -> std::io::Result<()> {
    if path == Path::new("-") {
        return output::write(page).map(drop);
    }
    let (folder, name) = Folder::holding(path, Missing::Fail)?;
    let mut file = folder.open(&name, Open::to_write().or_create(0o640), Accepts::Stream)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(page.as_bytes())
}
