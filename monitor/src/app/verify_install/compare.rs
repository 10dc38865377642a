//! How the files of a folder differ from a manifest.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use ring::digest::{Context, SHA256};

use super::manifest::{Entry, Manifest};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// What differs.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Files of the manifest.
    pub(super) checked: usize,
    /// What is wrong.
    pub(super) faults: Vec<Finding>,
    /// What an administrator may do: changed settings, documentation that was left out.
    pub(super) notes: Vec<Finding>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// As the manifest has it.
    pub(super) path: String,
    /// One word: `changed`, `missing`, `mode`, `owner`, `type` or `unreadable`.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) message: String,
}

/// Compares each file of `manifest` below `base`.
pub(super) fn compare(base: &Path, manifest: &Manifest) -> Report {
    let mut report = Report {
        checked: manifest.files.len(),
        ..Report::default()
    };
    for (path, entry) in &manifest.files {
        for (kind, message) in differences(&base.join(path), entry, manifest.owner) {
            let tolerated = match kind {
                "changed" | "mode" => entry.config,
                "missing" => entry.config || entry.optional,
                _ => false,
            };
            let finding = Finding {
                path: path.clone(),
                kind,
                message,
            };
            if tolerated {
                report.notes.push(finding);
            } else {
                report.faults.push(finding);
            }
        }
    }
    report
}

fn differences(path: &Path, entry: &Entry, owner: u32) -> Vec<(&'static str, String)> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return vec![("missing", "is missing".to_owned())];
        }
        Err(error) => return vec![("unreadable", format!("cannot be looked at: {error}"))],
    };
    if !metadata.is_file() {
        let what = if metadata.is_symlink() {
            "a link"
        } else if metadata.is_dir() {
            "a folder"
        } else {
            "a special file"
        };
        return vec![("type", format!("is {what} and no file"))];
    }
    let mut found = Vec::new();
    match sum(path) {
        Ok(sum) if sum == entry.sha256 => {}
        Ok(sum) => found.push((
            "changed",
            format!("is changed: its SHA-256 is {sum} and was {}", entry.sha256),
        )),
        Err(error) => found.push(("unreadable", format!("cannot be read: {error}"))),
    }
    let mode = metadata.mode() & 0o7777;
    if mode != entry.mode {
        found.push((
            "mode",
            format!("has the mode {mode:04o} in place of {:04o}", entry.mode),
        ));
    }
    if metadata.uid() != owner {
        found.push((
            "owner",
            format!("belongs to user {} in place of {owner}", metadata.uid()),
        ));
    }
    found
}

/// The SHA-256 of a file, in hexadecimal.
fn sum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        context.update(&chunk[..read]);
    }
    Ok(context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
