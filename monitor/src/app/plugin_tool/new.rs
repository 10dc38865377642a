//! `kevmon plugin new`: a plugin file with every key, and expectations that `kevmon plugin check` tests it with.

use anyhow::Result;

use super::{Exit, complain, explain, print, write_new};
use crate::{cli::NewArgs, config};

const TEMPLATE: &str = include_str!("new/plugin.toml");
const EXPECTATIONS: &str = include_str!("new/expect.toml");

/// Writes both files, unless one of them is there already.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &NewArgs) -> Result<Exit> {
    if let Err(fault) = check(args) {
        complain(fault);
        return Ok(Exit::Usage);
    }
    let folder = args.directory.join(&args.name);
    let pattern = written(&args.process_name);
    let plugin = TEMPLATE
        .replace("@NAME@", &written(&args.name))
        .replace("@PROCESS@", &pattern);
    let anchored = args.process_name.trim_start_matches('^').trim_end_matches('$');
    let example = explain::literal(anchored)
        .map(|name| written(&name))
        .unwrap_or_default();
    let expectations = EXPECTATIONS.replace("@MATCHES@", &example);
    for (name, text) in [("plugin.toml", plugin), ("expect.toml", expectations)] {
        let path = folder.join(name);
        if let Err(fault) = write_new(&path, &text) {
            complain(fault);
            return Ok(Exit::Usage);
        }
        print(&format!("{}\n", path.display()))?;
    }
    print(&format!(
        "test it with: kevmon plugin check {}\n",
        folder.display()
    ))?;
    Ok(Exit::Success)
}

fn check(args: &NewArgs) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = (1..=64).contains(&args.name.len()) && args.name.chars().all(fits);
    if !is_name || args.name.chars().all(|c| c == '.') {
        let remedy = "take 1 to 64 letters A-Z a-z, digits, '.', '_' and '-'";
        return Err(format!("plugin new: {:?} is no plugin name; {remedy}", args.name));
    }
    if config::is_reserved(&args.name) {
        return Err(format!(
            "plugin new: {} and all other plugins would share an environment variable; take another name",
            args.name
        ));
    }
    if args.process_name.trim().is_empty() {
        let remedy = "write a name, or a regular expression such as ^nginx$";
        return Err(format!(
            "--process-name: it is empty and would match every process; {remedy}"
        ));
    }
    if let Err(error) = regex::Regex::new(&args.process_name) {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        let remedy = "write a name, or a regular expression such as ^nginx$";
        return Err(format!(
            "--process-name: {:?}: {last}; {remedy}",
            args.process_name
        ));
    }
    Ok(())
}

/// A text as TOML writes it.
fn written(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
