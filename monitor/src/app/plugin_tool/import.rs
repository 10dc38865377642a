//! `kevmon plugin import`: reads the file, and prints or writes what it becomes.

use std::{io::Read, path::Path};

use anyhow::Result;

use super::{Exit, complain, print, write_new};
use crate::{
    cli::ImportArgs,
    config::{self, Fault},
    import::{self, Imported, MOST_BYTES, Note},
    shown::printable,
};

/// How often keys are left out before a file is given up: one may be missing because another was left out.
const ROUNDS: usize = 8;

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
    let name = name_of(&args.file);
    let plugins = match import::import(&name, &bytes, module.as_deref()) {
        Ok(plugins) => plugins.into_iter().map(accepted).collect::<Result<Vec<_>, _>>(),
        Err(error) => {
            complain(format_args!("{shown}: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let plugins = match plugins {
        Ok(plugins) => plugins,
        Err(faults) => {
            complain(format_args!("{shown}: what it becomes would not be accepted:"));
            faults.iter().for_each(complain);
            return Ok(Exit::Usage);
        }
    };
    for plugin in &plugins {
        for note in &plugin.notes {
            match note.line {
                Some(line) => eprintln!("{}", printable(&format!("{shown}:{line}: {}", note.text))),
                None => eprintln!("{}", printable(&format!("{shown}: {}", note.text))),
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
        // The module, where there is one to copy: the source that was given, or the file that was imported itself.
        let source = module.as_ref().or(name.ends_with(".py").then_some(&bytes));
        if let (Some(file), Some(source)) = (&plugin.module, source) {
            let path = path.with_file_name(file);
            let text = String::from_utf8_lossy(source);
            if let Err(fault) = write_new(&path, &text) {
                complain(fault);
                return Ok(Exit::Usage);
            }
            print(&format!("{}\n", path.display()))?;
        }
    }
    Ok(Exit::Success)
}

/// The name that a file is imported under: of a package of Python, which is in an `__init__.py`, the package's.
fn name_of(file: &Path) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let package = file.parent().map(name).filter(|package| !package.is_empty());
    match package {
        Some(package) if name(file) == "__init__.py" => format!("{package}.py"),
        _ => name(file),
    }
}

/// The plugin with what configuration refuses commented out and noted: an original may say what no plugin file can.
///
/// # Errors
/// What remains is refused, too: what was wrong in the first place.
pub(crate) fn accepted(mut plugin: Imported) -> Result<Imported, Vec<Fault>> {
    let path = Path::new(&plugin.name).join("plugin.toml");
    let mut first = None;
    for _ in 0..ROUNDS {
        let faults = config::parse_plugin_file(&path, &plugin.toml).faults;
        if faults.is_empty() {
            return Ok(plugin);
        }
        let first = first.get_or_insert_with(|| faults.clone());
        let mut lines: Vec<String> = plugin.toml.lines().map(str::to_owned).collect();
        let mut left_out = false;
        for fault in &faults {
            let at = fault.line().and_then(|line| line.checked_sub(1));
            let Some(line) = at.and_then(|at| lines.get_mut(at)) else {
                continue;
            };
            let is_a_value = !line.starts_with(['#', '[']) && line.contains('=');
            if let (true, Some(key)) = (is_a_value, &fault.key) {
                line.insert_str(0, "# not carried over: ");
                let remedy = fault.remedy.as_deref().map(|remedy| format!("; {remedy}"));
                let text = format!(
                    "{key} is not carried over: {}{}",
                    fault.message,
                    remedy.unwrap_or_default()
                );
                plugin.notes.push(Note { line: None, text });
                left_out = true;
            }
        }
        if !left_out {
            return Err(std::mem::take(first));
        }
        plugin.toml = lines.join("\n") + "\n";
    }
    Err(first.unwrap_or_default())
}

/// A file, as far as it may be imported: one byte more tells that it is too long.
fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    config::open_file(path)?
        .take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            let message = format!("cannot be read: {error}");
            Fault::in_file(path, None, message).remedy("name a file that can be read")
        })?;
    Ok(bytes)
}
