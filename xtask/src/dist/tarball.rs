//! The archive for any distribution, with install.sh, and one with the debug file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::stage::Staged;
use super::tree::{Entry, Tree};
use super::{Release, archive, manifest};
use crate::workspace::Workspace;

/// Where install.sh is installed to, so that it can uninstall without the archive.
const INSTALLER: &str = "share/kevmon/install.sh";

pub(crate) fn build(
    workspace: &Workspace,
    release: &Release,
    staged: &Staged,
    output: &Path,
) -> Result<Vec<PathBuf>> {
    let mut installed = Tree::default();
    for (path, entry) in staged.tree.files() {
        installed.insert(
            placed(path),
            Entry {
                config: false,
                ..entry.clone()
            },
        )?;
    }
    let accounts = read(workspace, "packaging/scripts/accounts.sh")?;
    let installer =
        read(workspace, "packaging/tarball/install.sh")?.replace("@ACCOUNTS@", accounts.trim_end());
    installed.add(INSTALLER, installer.clone(), 0o755)?;
    let mut extra = Tree::default();
    extra.add("install.sh", installer, 0o755)?;
    extra.add("LICENSE-MIT", read(workspace, "LICENSE-MIT")?, 0o644)?;
    extra.add("LICENSE-GPL2", read(workspace, "LICENSE-GPL2")?, 0o644)?;
    let readme = read(workspace, "packaging/tarball/README.md")?
        .replace("@VERSION@", &release.version)
        .replace("@ARCH@", release.target.arch.kernel())
        .replace("@LIBC@", &needs(staged.glibc.as_deref()));
    extra.add("README.md", readme, 0o644)?;
    let text = manifest::text(release, staged.glibc.as_deref(), &installed, Some(&extra));
    let mut all = installed;
    for (path, entry) in extra.files() {
        all.insert(path.to_owned(), entry.clone())?;
    }
    all.add("manifest.toml", text, 0o644)?;

    let name = format!("kevmon-{}-{}", release.version, release.target.short());
    let main = write(release, &all, &name, &name, output)?;
    let mut debug = Tree::default();
    for (path, entry) in staged.debug.files() {
        debug.insert(placed(path), entry.clone())?;
    }
    let debug = write(release, &debug, &name, &format!("{name}-debug"), output)?;
    Ok(vec![main, debug])
}

/// What the README says of the C library.
fn needs(glibc: Option<&str>) -> String {
    match glibc {
        Some(glibc) => format!("It needs glibc {glibc} or newer."),
        None => {
            "The program is static: it needs no C library and no other file of the distribution.".to_owned()
        }
    }
}

/// The place below the one folder that all is installed into. kevmon looks for the programs that run plugins of other systems in the
/// folder of its own program.
fn placed(path: &str) -> String {
    match path {
        "etc/logrotate.d/kevmon" => "share/kevmon/logrotate".to_owned(),
        _ => {
            let moves = [
                ("etc/kevmon/", "share/kevmon/"),
                ("usr/libexec/kevmon/", "bin/"),
                ("usr/", ""),
            ];
            let moved = moves
                .iter()
                .find_map(|(from, to)| Some(format!("{to}{}", path.strip_prefix(from)?)));
            moved.unwrap_or_else(|| path.to_owned())
        }
    }
}

fn read(workspace: &Workspace, name: &str) -> Result<String> {
    let path = workspace.root().join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// An archive of one folder, which is called `top`.
fn write(release: &Release, tree: &Tree, top: &str, name: &str, output: &Path) -> Result<PathBuf> {
    let path = output.join(format!("{name}.tar.gz"));
    let content = archive::gzip(&archive::tar(tree, &format!("{top}/"), release.time)?)?;
    fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(path)
}
