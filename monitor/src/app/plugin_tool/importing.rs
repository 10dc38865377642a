//! `kevmon plugin import`: reads the file, and prints or writes what it becomes.

use std::{fs::File, io::Read, path::Path};

use anyhow::Result;

use super::{Exit, complain, print, write_new};
use crate::{
    cli::ImportArgs,
    import::{self, MOST_BYTES},
};

/// Imports the file; its notes go to standard error.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &ImportArgs) -> Result<Exit> {
    let read = |path: &Path| read(path).inspect_err(|fault| complain(fault)).ok();
    let Some(bytes) = read(&args.file) else {
        return Ok(Exit::Usage);
    };
    let module = match args.module.as_deref().map(read) {
        None => None,
        Some(Some(bytes)) => Some(bytes),
        Some(None) => return Ok(Exit::Usage),
    };
    let shown = args.file.display();
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let plugins = match import::import(&name, &bytes, module.as_deref()) {
        Ok(plugins) => plugins,
        Err(error) => {
            complain(format_args!("{shown}: {error}"));
            return Ok(Exit::Usage);
        }
    };
    for plugin in &plugins {
        for note in &plugin.notes {
            match note.line {
                Some(line) => eprintln!("{shown}:{line}: {}", note.text),
                None => eprintln!("{shown}: {}", note.text),
            }
        }
        let Some(folder) = &args.output else {
            let several = plugins.len() > 1;
            let head = if several {
                format!("# {}/plugin.toml\n", plugin.name)
            } else {
                String::new()
            };
            print(&format!("{head}{}", plugin.toml))?;
            continue;
        };
        let path = folder.join(&plugin.name).join("plugin.toml");
        if let Err(fault) = write_new(&path, &plugin.toml) {
            complain(fault);
            return Ok(Exit::Usage);
        }
        print(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Success)
}

/// A file, as far as it may be imported: one byte more tells that it is too long.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("{}: {error}; name a file that can be read", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    Ok(bytes)
}
