//! `kevmon verify-install`: compares what is installed with the manifest that the package brought.

mod compare;
mod manifest;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::compare::{Report, compare};
use super::{Exit, output};
use crate::{cli::VerifyInstallArgs, shown};

/// Where packages put the manifest, below the root.
const PACKAGED: &str = "usr/share/kevmon/manifest.toml";

/// Where `install.sh` puts it, below the folder that it installs into.
const INSTALLED: &str = "manifest.toml";

/// Compares and prints.
///
/// # Errors
/// There is no manifest, it cannot be read, or standard output cannot be written.
pub(super) fn run(args: &VerifyInstallArgs) -> Result<Exit> {
    let (base, manifest) = locate(args.root.as_deref())?;
    let manifest = manifest::read(&manifest)?;
    let report = compare(&base, &manifest);
    let text = if args.json {
        let object = json!({
            "manifest": manifest.path.display().to_string(),
            "version": manifest.version,
            "checked": report.checked,
            "faults": report.faults.iter().map(|finding| json!({
                "path": finding.path, "fault": finding.kind, "message": finding.message,
            })).collect::<Vec<_>>(),
            "notes": report.notes.iter().map(|finding| json!({
                "path": finding.path, "note": finding.kind, "message": finding.message,
            })).collect::<Vec<_>>(),
        });
        shown::json(&object.to_string()).into_owned() + "\n"
    } else {
        lines(&report, &manifest.version)
    };
    output::print(&text).context("standard output")?;
    Ok(if report.faults.is_empty() {
        Exit::Success
    } else {
        Exit::Differs
    })
}

fn lines(report: &Report, version: &str) -> String {
    let mut text = String::new();
    for finding in report.faults.iter().chain(&report.notes) {
        text.push_str(&format!(
            "{}: {}\n",
            shown::printable(&finding.path),
            finding.message
        ));
    }
    let faults = match report.faults.len() {
        0 => "no fault".to_owned(),
        1 => "1 fault; install the package again".to_owned(),
        many => format!("{many} faults; install the package again"),
    };
    text.push_str(&format!(
        "kevmon {version}: {} files checked, {faults}\n",
        report.checked
    ));
    text
}

/// The folder that the manifest's paths start at, and the manifest.
fn locate(root: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let bases = match root {
        Some(root) => vec![root.to_owned()],
        None => own_folder().into_iter().chain([PathBuf::from("/")]).collect(),
    };
    for base in &bases {
        for name in [PACKAGED, INSTALLED] {
            let manifest = base.join(name);
            if manifest.is_file() {
                return Ok((base.clone(), manifest));
            }
        }
    }
    let looked: Vec<String> = bases
        .iter()
        .flat_map(|base| [PACKAGED, INSTALLED].map(|name| base.join(name).display().to_string()))
        .collect();
    bail!(
        "there is no manifest at {}; name the folder that kevmon was installed into with --root",
        looked.join(" or ")
    );
}

/// `DIR` for a kevmon that runs from `DIR/bin/kevmon`.
fn own_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let folder = program.parent()?;
    folder
        .ends_with("bin")
        .then(|| folder.parent().map(Path::to_owned))
        .flatten()
}
