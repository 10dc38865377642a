//! The manifest of a package: its files with their SHA-256 sums and modes.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The layout that this kevmon reads.
const SCHEMA: u32 = 1;

/// A manifest as it was read.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: PathBuf,
    /// The user that the manifest belongs to, and so the files do.
    pub(super) owner: u32,
    /// Of kevmon.
    pub(super) version: String,
    /// By path, relative to the folder that the package is installed into.
    pub(super) files: BTreeMap<String, Entry>,
}

/// What a file has to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: String,
    #[serde(deserialize_with = "octal")]
    pub(super) mode: u32,
    /// The administrator's to change or remove.
    #[serde(default)]
    pub(super) config: bool,
    /// Package managers can be told to leave it out, as those of container images are: documentation.
    #[serde(default)]
    pub(super) optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    version: String,
    #[serde(rename = "target")]
    _target: String,
    #[serde(rename = "commit")]
    _commit: String,
    #[serde(rename = "glibc")]
    _glibc: Option<String>,
    files: BTreeMap<String, Entry>,
    /// What an archive holds and does not install.
    #[serde(rename = "archive", default)]
    _archive: BTreeMap<String, Entry>,
}

fn octal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    u32::from_str_radix(&text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| serde::de::Error::custom(format!("mode {text:?} is not octal, such as \"0644\"")))
}

/// Reads the manifest at `path`.
///
/// # Errors
/// It cannot be read, or is not in the layout of this kevmon.
pub(super) fn read(path: &Path) -> Result<Manifest> {
    let shown = || format!("manifest {}", path.display());
    let text = fs::read_to_string(path).with_context(shown)?;
    let owner = fs::metadata(path).with_context(shown)?.uid();
    let document: Document = toml::from_str(&text).with_context(shown)?;
    if document.schema != SCHEMA {
        bail!(
            "{}: its layout is {}, and this kevmon reads {SCHEMA}; use the kevmon that came with it",
            shown(),
            document.schema
        );
    }
    for (name, entry) in &document.files {
        let inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.is_empty() {
            bail!(
                "{}: {name:?} is no path below the folder that is installed into",
                shown()
            );
        }
        if entry.sha256.len() != 64
            || !entry
                .sha256
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        {
            bail!("{}: {name}: {:?} is no SHA-256", shown(), entry.sha256);
        }
    }
    if document.files.is_empty() {
        bail!("{}: it names no file", shown());
    }
    Ok(Manifest {
        path: path.to_owned(),
        owner,
        version: document.version,
        files: document.files,
    })
}
