//! What is in the guest: Debian with systemd, the packages under test, and the checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::super::archive::Archive;
use super::super::root as small;
use crate::deb;
use crate::packages::Apt;
use crate::shell;
use crate::workspace::Workspace;

/// What the guest has beyond the packages that every Debian has.
const PACKAGES: [&str; 8] = [
    "dbus",
    "iproute2",
    "jq",
    "kmod",
    "passwd",
    "procps",
    "systemd",
    "systemd-sysv",
];
/// What nobody reads there, and what would take memory.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
/// Run in the finished root: packages that are installed in the guest are installed in full, and from files alone.
const FINISH: &str =
    r#"rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/sources.list"#;
const MACHINE_ID: &str = "6b65766d6f6e2d67756573742d726f6f\n";

/// Unpacks Debian's root and begins it.
const INIT: &str = include_str!("init.sh");
/// Where the guest's root has the checks and the packages.
const FOLDER: &str = "overlay/kevmon";
/// The unit that runs the checks, and what it runs.
const UNIT: &str = include_str!("service-checks.service");
const RUN: &str = include_str!("checks/run.sh");
/// The groups of checks, in the order in which they run.
const GROUPS: [(&str, &str); 7] = [
    ("install", include_str!("checks/install.sh")),
    ("watched", include_str!("checks/watched.sh")),
    ("users", include_str!("checks/users.sh")),
    ("outages", include_str!("checks/outages.sh")),
    ("upgrade", include_str!("checks/upgrade.sh")),
    ("instances", include_str!("checks/instances.sh")),
    ("removal", include_str!("checks/removal.sh")),
];
/// What the plugin under test watches.
const VICTIM: &str = include_str!("checks/victim");

/// The groups of these names, in the order in which they run; without names, all of them. `install` and
/// `watched`, on which the others rely, always run.
///
/// # Errors
/// A name is none of a group's.
pub(super) fn groups(named: &[String]) -> Result<Vec<&'static str>> {
    let all = GROUPS.map(|(name, _)| name);
    if let Some(unknown) = named.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("`{unknown}` is no group of checks; there are {}", all.join(", "));
    }
    let wanted = |name: &&str| {
        named.is_empty() || ["install", "watched"].contains(name) || named.iter().any(|named| named == name)
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Makes Debian's root of `suite`, as a tar archive, where it is not there; returns the archive.
///
/// # Errors
/// mmdebstrap cannot be had, or fails.
pub(super) fn setup(workspace: &Workspace, suite: &str) -> Result<PathBuf> {
    let folder = workspace.tools().join("roots").join(suite);
    let (archive, stamp_file) = (folder.join("root.tar"), folder.join("root.stamp"));
    let stamp = format!("{} {} {FINISH}", PACKAGES.join(","), LEFT_OUT.join(","));
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) && archive.is_file() {
        return Ok(archive);
    }
    let mmdebstrap = mmdebstrap()?;
    shell::say(format_args!(
        "setup: making a root of Debian's suite {suite} in {} (some two minutes)",
        folder.display()
    ));
    // Also what an interrupted run left.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let source = deb::write_source(&folder, suite)?;
    let mut command = shell::command(mmdebstrap);
    command
        .args(["--quiet", "--variant=apt"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .arg(format!("--customize-hook={FINISH}"))
        .arg(suite)
        .arg(&archive)
        .arg(&source);
    shell::run_step(&mut command).with_context(|| format!("cannot make a root of Debian's suite {suite}"))?;
    fs::write(&stamp_file, &stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(archive)
}

fn mmdebstrap() -> Result<PathBuf> {
    const NAME: &str = "mmdebstrap";
    if shell::find_program(NAME).is_none()
        && let Some(mut apt) = Apt::find()
    {
        apt.install(&[NAME.to_owned()])?;
    }
    shell::find_program(NAME)
        .with_context(|| format!("no {NAME} on PATH: install it, it makes Debian's root"))
}

/// Writes the initial RAM file system that holds the root; returns the file.
///
/// # Errors
/// One of its files cannot be read.
pub(super) fn make(
    workspace: &Workspace,
    suite: &str,
    debian: &Path,
    packages: &[PathBuf],
    groups: &[&str],
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for folder in ["proc", "dev", "bin", "root"] {
        archive.directory(folder);
    }
    archive.file("/init", 0o755, INIT.as_bytes());
    archive.copy("/bin/busybox", &small::setup(workspace)?)?;
    archive.copy("/root.tar", debian)?;
    archive.file("/overlay/etc/machine-id", 0o644, MACHINE_ID.as_bytes());
    archive.file(
        "/overlay/etc/systemd/system/service-checks.service",
        0o644,
        UNIT.as_bytes(),
    );
    archive.file(&format!("/{FOLDER}/run.sh"), 0o644, RUN.as_bytes());
    let list = format!("{}\n", groups.join(" "));
    archive.file(&format!("/{FOLDER}/groups"), 0o644, list.as_bytes());
    for (name, text) in GROUPS {
        archive.file(&format!("/{FOLDER}/{name}.sh"), 0o644, text.as_bytes());
    }
    archive.file(&format!("/{FOLDER}/victim"), 0o755, VICTIM.as_bytes());
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(&format!("/{FOLDER}/{name}"), package)?;
    }
    let folder = workspace.tools().join("guest");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join(format!("service-{suite}.cpio"));
    fs::write(&file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_with_what_they_need_and_in_order() {
        let named = |names: &[&str]| groups(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            named(&["removal", "users"]).unwrap(),
            ["install", "watched", "users", "removal"]
        );
        assert_eq!(named(&[]).unwrap().len(), GROUPS.len());
        let error = named(&["remove"]).unwrap_err().to_string();
        assert!(error.contains("`remove`") && error.contains("removal"), "{error}");
    }
}
