//! The files of all packages, from the repository and from kevmon itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::binary::Split;
use super::tree::Tree;
use super::{Release, archive, licences, manifest, metadata, sbom};
use crate::shell;
use crate::workspace::Workspace;

/// Where the manifest is, below the root.
pub(crate) const MANIFEST: &str = "usr/share/kevmon/manifest.toml";

/// What the formats pack.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Everything but the debug file and the manifest.
    pub(crate) tree: Tree,
    /// The debug file alone.
    pub(crate) debug: Tree,
    /// The oldest glibc that the program runs with; `None`: it is static.
    pub(crate) glibc: Option<String>,
    pub(crate) libraries: Vec<String>,
}

impl Staged {
    /// Bytes of the program without debug information.
    pub(crate) fn program_size(&self) -> u64 {
        self.tree
            .get("usr/bin/kevmon")
            .map_or(0, |entry| entry.content.len() as u64)
    }
}

pub(crate) fn stage(workspace: &Workspace, release: &Release, split: &Split, work: &Path) -> Result<Staged> {
    let mut tree = Tree::default();
    tree.add("usr/bin/kevmon", split.program.clone(), 0o755)?;
    systemd(workspace, &mut tree)?;
    plugins(workspace, &mut tree)?;
    observability(workspace, &mut tree)?;
    generated(release, split, work, &mut tree)?;
    documents(workspace, release, &mut tree)?;
    let logrotate = workspace.root().join("packaging/logrotate/kevmon");
    tree.add_config("etc/logrotate.d/kevmon", read(&logrotate)?)?;
    let mut debug = Tree::default();
    debug.add(debug_place(split.build_id.as_deref()), split.debug.clone(), 0o644)?;
    Ok(Staged {
        tree,
        debug,
        glibc: split.glibc.clone(),
        libraries: split.libraries.clone(),
    })
}

/// Where debuggers look for the debug file: by the build id, or by the program's path and the name in its `.gnu_debuglink`.
fn debug_place(build_id: Option<&str>) -> String {
    match build_id.and_then(|id| id.split_at_checked(2)) {
        Some((folder, name)) => format!("usr/lib/debug/.build-id/{folder}/{name}.debug"),
        None => "usr/lib/debug/usr/bin/kevmon.debug".to_owned(),
    }
}

/// What is in packaging/systemd, each file where systemd looks for its kind; drop-ins, which are for an administrator to copy,
/// lie with kevmon's own data.
fn systemd(workspace: &Workspace, tree: &mut Tree) -> Result<()> {
    let folder = workspace.root().join("packaging/systemd");
    if !folder.join("kevmon.service").is_file() {
        bail!(
            "{} is missing: packages need the unit",
            folder.join("kevmon.service").display()
        );
    }
    for path in below(&folder)? {
        let name = path.strip_prefix(&folder)?.to_string_lossy().into_owned();
        let place = match name.as_str() {
            "sysusers.d/kevmon.conf" | "tmpfiles.d/kevmon.conf" => format!("usr/lib/{name}"),
            unit if unit.ends_with(".service") && !unit.contains('/') => {
                format!("usr/lib/systemd/system/{unit}")
            }
            other => format!("usr/share/kevmon/systemd/{other}"),
        };
        tree.add(place, read(&path)?, 0o644)?;
    }
    Ok(())
}

/// Plugins as they are; the programs that run plugins of other systems lie where kevmon looks for them.
fn plugins(workspace: &Workspace, tree: &mut Tree) -> Result<()> {
    let folder = workspace.root().join("plugins");
    for path in below(&folder)? {
        let name = path.strip_prefix(&folder)?.to_string_lossy().into_owned();
        let place = match name.strip_prefix("runners/") {
            Some(runner) => format!("usr/libexec/kevmon/{runner}"),
            None => format!("usr/share/kevmon/plugins/{name}"),
        };
        tree.add(place, with_plain_interpreter(read(&path)?), mode(&path)?)?;
    }
    Ok(())
}

/// Dashboards and alerts, for a person to import.
fn observability(workspace: &Workspace, tree: &mut Tree) -> Result<()> {
    let folder = workspace.root().join(crate::observability::FOLDER);
    for path in below(&folder)? {
        let name = path.strip_prefix(&folder)?.to_string_lossy().into_owned();
        tree.add(
            format!("usr/share/kevmon/observability/{name}"),
            read(&path)?,
            0o644,
        )?;
    }
    Ok(())
}

/// A script of a package runs by the system's Python, not by the first that the caller's PATH has.
fn with_plain_interpreter(script: Vec<u8>) -> Vec<u8> {
    match script.strip_prefix(b"#!/usr/bin/env python3\n") {
        Some(rest) => [b"#!/usr/bin/python3\n", rest].concat(),
        None => script,
    }
}

/// Man pages, completions, the settings file and the schema of plugin files, by the kevmon that is packaged.
fn generated(release: &Release, split: &Split, work: &Path, tree: &mut Tree) -> Result<()> {
    let folder = work.join("generated");
    shell::run_step(shell::command(&split.runs).arg("generate").arg(&folder)).with_context(|| {
        format!(
            "kevmon for {} has to run here to write its man pages",
            release.target.arch.kernel()
        )
    })?;
    for path in below(&folder.join("man"))? {
        let name = file_name(&path);
        tree.add(
            format!("usr/share/man/man8/{name}.gz"),
            archive::gzip(&read(&path)?)?,
            0o644,
        )?;
    }
    for (name, place) in [
        ("kevmon.bash", "usr/share/bash-completion/completions/kevmon"),
        ("_kevmon", "usr/share/zsh/vendor-completions/_kevmon"),
        ("kevmon.fish", "usr/share/fish/vendor_completions.d/kevmon.fish"),
    ] {
        tree.add(place, read(&folder.join("completions").join(name))?, 0o644)?;
    }
    tree.add_config("etc/kevmon/kevmon.toml", read(&folder.join("kevmon.toml"))?)?;
    let schema = shell::read(shell::command(&split.runs).args(["plugin", "schema"]))
        .context("kevmon plugin schema")?;
    tree.add("usr/share/kevmon/plugin.schema.json", schema, 0o644)
}

fn documents(workspace: &Workspace, release: &Release, tree: &mut Tree) -> Result<()> {
    let crates = metadata::crates(workspace, release)?;
    let text = |name: &str| -> Result<String> {
        let path = workspace.root().join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    tree.add(
        "usr/share/doc/kevmon/THIRD-PARTY.gz",
        archive::gzip(licences::third_party(&crates)?.as_bytes())?,
        0o644,
    )?;
    tree.add(
        "usr/share/doc/kevmon/sbom.cdx.json",
        sbom::text(release, &crates)?,
        0o644,
    )?;
    tree.add(
        "usr/share/doc/kevmon/changelog.gz",
        archive::gzip(text("CHANGELOG.md")?.as_bytes())?,
        0o644,
    )?;
    let copyright = text("packaging/deb/copyright")?.replace("@MIT@", &indented(&text("LICENSE-MIT")?));
    tree.add("usr/share/doc/kevmon/copyright", copyright, 0o644)
}

/// As a field of a Debian control file goes on: blank lines are dots.
fn indented(text: &str) -> String {
    let line = |line: &str| {
        if line.trim().is_empty() {
            " .".to_owned()
        } else {
            format!(" {line}")
        }
    };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The tree of a package of a distribution: with the manifest of all its files.
pub(crate) fn with_manifest(release: &Release, glibc: Option<&str>, tree: &Tree) -> Result<Tree> {
    let mut all = tree.clone();
    all.add(MANIFEST, manifest::text(release, glibc, tree, None), 0o644)?;
    Ok(all)
}

fn mode(path: &Path) -> Result<u32> {
    let mode = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .permissions()
        .mode();
    // What git keeps of it; the rest is this machine's umask.
    Ok(if mode & 0o100 == 0 { 0o644 } else { 0o755 })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The files below `folder`, at any depth, sorted.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.is_dir() {
            files.extend(below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
