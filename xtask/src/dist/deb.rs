//! Debian packages: kevmon, and kevmon-dbgsym with the debug file. Written here rather than by dpkg-deb or cargo-deb, which
//! would need a build root, or the list of files a second time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use md5::{Digest as _, Md5};

use super::stage::{Staged, with_manifest};
use super::tree::{Tree, hex};
use super::{Release, archive};
use crate::shell;
use crate::workspace::Workspace;

/// Who answers for the packages.
pub(super) const MAINTAINER: &str = "kevmon maintainers <kevmon@users.noreply.github.com>";
pub(super) const HOMEPAGE: &str = "https://github.com/kevmon/kevmon";
pub(super) const SUMMARY: &str = "process monitor that listens to the kernel and speaks OTLP";
pub(super) const DESCRIPTION: [&str; 4] = [
    "kevmon watches named processes through eBPF: each start, exit, crash and",
    "restart, and what each process used, by the kernel's own accounting. What a",
    "small TOML file names becomes an OpenTelemetry service whose metrics and",
    "events are sent by OTLP, or served to Prometheus.",
];

pub(crate) fn build(
    workspace: &Workspace,
    release: &Release,
    staged: &Staged,
    output: &Path,
) -> Result<Vec<PathBuf>> {
    let mut tree = staged.tree.clone();
    tree.add(
        "usr/share/doc/kevmon/changelog.Debian.gz",
        changelog(release)?,
        0o644,
    )?;
    tree.add(
        "usr/share/lintian/overrides/kevmon",
        read(workspace, "lintian-overrides")?,
        0o644,
    )?;
    let tree = with_manifest(release, staged.glibc.as_deref(), &tree)?;
    let mut control = scripts(workspace)?;
    control.add(
        "control",
        control_text(release, staged.glibc.as_deref(), tree.size()),
        0o644,
    )?;
    let conffiles: String = tree
        .files()
        .filter(|(_, entry)| entry.config)
        .map(|(path, _)| format!("/{path}\n"))
        .collect();
    control.add("conffiles", conffiles, 0o644)?;
    let main = write(release, "kevmon", control, &tree, output)?;

    let mut debug = staged.debug.clone();
    // Terms and changes are those of kevmon, which it depends on in the same version (Debian policy 12.3).
    debug.add_link("usr/share/doc/kevmon-dbgsym", "kevmon")?;
    let mut control = Tree::default();
    control.add("control", debug_control(release, &debug), 0o644)?;
    Ok(vec![
        main,
        write(release, "kevmon-dbgsym", control, &debug, output)?,
    ])
}

/// With Debian's own revision.
fn version(release: &Release) -> String {
    format!("{}-1", release.version)
}

fn scripts(workspace: &Workspace) -> Result<Tree> {
    let accounts = fs::read_to_string(workspace.root().join("packaging/scripts/accounts.sh"))
        .context("packaging/scripts/accounts.sh")?;
    let mut control = Tree::default();
    for name in ["postinst", "prerm", "postrm"] {
        control.add(
            name,
            read(workspace, name)?.replace("@ACCOUNTS@", &accounts),
            0o755,
        )?;
    }
    Ok(control)
}

fn read(workspace: &Workspace, name: &str) -> Result<String> {
    let path = workspace.root().join("packaging/deb").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn control_text(release: &Release, glibc: Option<&str>, bytes: u64) -> String {
    let libraries = glibc.map_or_else(String::new, |glibc| format!("libc6 (>= {glibc}), libgcc-s1, "));
    let description: String = DESCRIPTION.iter().map(|line| format!(" {line}\n")).collect();
    format!(
        "Package: kevmon\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\n\
         Depends: {libraries}passwd\nRecommends: ca-certificates\nSuggests: logrotate, python3, kevmon-dbgsym\n\
         Section: admin\nPriority: optional\nHomepage: {HOMEPAGE}\nDescription: {SUMMARY}\n{description}",
        version(release),
        release.target.arch.debian(),
        bytes.div_ceil(1024),
    )
}

fn debug_control(release: &Release, tree: &Tree) -> String {
    let ids: String = tree
        .files()
        .filter_map(|(path, _)| {
            path.strip_prefix("usr/lib/debug/.build-id/")?
                .strip_suffix(".debug")
        })
        .map(|id| format!("Build-Ids: {}\n", id.replace('/', "")))
        .collect();
    format!(
        "Package: kevmon-dbgsym\nVersion: {version}\nAuto-Built-Package: debug-symbols\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {}\nDepends: kevmon (= {version})\nSection: debug\nPriority: optional\nHomepage: {HOMEPAGE}\n\
         {ids}Description: debug symbols for kevmon\n",
        release.target.arch.debian(),
        tree.size().div_ceil(1024),
        version = version(release),
    )
}

fn changelog(release: &Release) -> Result<Vec<u8>> {
    let date = shell::read(
        shell::command("date")
            .args(["-u", "-R", "-d"])
            .arg(format!("@{}", release.time)),
    )
    .context("date -R")?;
    let text = format!(
        "kevmon ({}) stable; urgency=medium\n\n  * Made of commit {}; changelog.gz says what is new.\n\n -- {MAINTAINER}  {}\n",
        version(release),
        release.commit.get(..12).unwrap_or("unknown"),
        date.trim()
    );
    archive::gzip(text.as_bytes())
}

fn write(release: &Release, name: &str, mut control: Tree, tree: &Tree, output: &Path) -> Result<PathBuf> {
    let sums: String = tree
        .files()
        .filter(|(_, entry)| !entry.config)
        .map(|(path, entry)| format!("{}  {path}\n", hex(&Md5::digest(&entry.content))))
        .collect();
    control.add("md5sums", sums, 0o644)?;
    let control = archive::gzip(&archive::tar(&control, "./", release.time)?)?;
    let data = archive::gzip(&archive::tar(tree, "./", release.time)?)?;
    let members = [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar.gz", &control),
        ("data.tar.gz", &data),
    ];
    let path = output.join(format!(
        "{name}_{}_{}.deb",
        version(release),
        release.target.arch.debian()
    ));
    fs::write(&path, archive::ar(&members, release.time)).with_context(|| path.display().to_string())?;
    Ok(path)
}
