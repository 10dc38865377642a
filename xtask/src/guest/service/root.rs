//! What is in the guest: Debian with systemd, the packages under test, and the checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

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
/// Where the guest's root has what is in `FILES` and the packages.
const FOLDER: &str = "overlay/kevmon";
/// The unit that runs the checks, and the checks in the order in which they run.
const UNIT: &str = include_str!("service-checks.service");
const FILES: [(&str, &str); 8] = [
    ("run.sh", include_str!("checks/run.sh")),
    ("install.sh", include_str!("checks/install.sh")),
    ("watched.sh", include_str!("checks/watched.sh")),
    ("users.sh", include_str!("checks/users.sh")),
    ("outages.sh", include_str!("checks/outages.sh")),
    ("upgrade.sh", include_str!("checks/upgrade.sh")),
    ("instances.sh", include_str!("checks/instances.sh")),
    ("removal.sh", include_str!("checks/removal.sh")),
];
/// What the plugin under test watches.
const VICTIM: &str = include_str!("checks/victim");

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
    for (name, text) in FILES {
        archive.file(&format!("/{FOLDER}/{name}"), 0o644, text.as_bytes());
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
