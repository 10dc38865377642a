//! The packages that the end-to-end tests install: two versions of one kevmon, the older one made twice; for the tests under a
//! real systemd also a version with other eBPF programs; and the distributions' tools that judge them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::{Arch, BuildProfile, DistArgs, Format, elf};
use crate::packages::Apt;
use crate::shell;
use crate::workspace::Workspace;

/// Folders and versions, as tests/src/packages.rs has them.
const MADE: [(&str, &str); 3] = [("1.0.0", "1.0.0"), ("again", "1.0.0"), ("1.0.1", "1.0.1")];

/// What the tests of packages and units run, and Debian's packages of it.
const TOOLS: [(&str, &str); 7] = [
    ("busybox", "busybox-static"),
    ("dash", "dash"),
    ("lintian", "lintian"),
    ("rpm", "rpm"),
    ("rpmlint", "rpmlint"),
    ("shellcheck", "shellcheck"),
    ("systemd-analyze", "systemd"),
];

/// The versions of [`debian`], the oldest one first.
const DEBIAN_VERSIONS: [&str; 3] = ["1.0.0", "1.0.1", "1.1.0"];
/// The one of them whose eBPF programs are not those of the others.
const OTHER_PROGRAMS: &str = "1.1.0";

/// A package to make: the folder that it goes to, its version, and the program in it.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    folder: &'a str,
    version: &'a str,
    kevmon: &'a Path,
}

/// Makes them of `kevmon`, and returns the folder that holds them.
pub(crate) fn make(workspace: &Workspace, kevmon: &Path) -> Result<PathBuf> {
    install_tools()?;
    let folder = workspace.user_target().join("packages");
    clear(&folder)?;
    let wanted = MADE.map(|(folder, version)| Wanted {
        folder,
        version,
        kevmon,
    });
    make_each(workspace, &folder, &wanted, &super::FORMATS)?;
    Ok(folder)
}

/// Makes Debian's packages alone of `kevmon`, in all versions, and returns the files.
pub(crate) fn debian(workspace: &Workspace, kevmon: &Path) -> Result<[PathBuf; 3]> {
    let folder = workspace.user_target().join("packages-debian");
    clear(&folder)?;
    let other = with_other_programs(kevmon, &folder)?;
    let wanted = DEBIAN_VERSIONS.map(|version| Wanted {
        folder: version,
        version,
        kevmon: if version == OTHER_PROGRAMS { &other } else { kevmon },
    });
    make_each(workspace, &folder, &wanted, &[Format::Deb])?;
    let arch = Arch::here()?.debian();
    Ok(DEBIAN_VERSIONS.map(|version| {
        folder
            .join(version)
            .join(format!("kevmon_{version}-1_{arch}.deb"))
    }))
}

/// Writes a copy of `kevmon` whose eBPF programs have another hash, and so another layout: it cannot go on from what `kevmon`
/// leaves in the kernel. The programs do the same.
fn with_other_programs(kevmon: &Path, folder: &Path) -> Result<PathBuf> {
    let mut content = fs::read(kevmon).with_context(|| kevmon.display().to_string())?;
    if elf::mark_programs(&mut content) == 0 {
        bail!("{}: no eBPF programs in it", kevmon.display());
    }
    let file = folder.join("kevmon");
    fs::write(&file, content).with_context(|| file.display().to_string())?;
    // It runs, for the man pages.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
        .with_context(|| file.display().to_string())?;
    Ok(file)
}

/// Makes the folder anew.
fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// Makes all of them at the same time, in folders of `folder`.
fn make_each(workspace: &Workspace, folder: &Path, wanted: &[Wanted<'_>], formats: &[Format]) -> Result<()> {
    let make_one = |one: Wanted<'_>| {
        super::build(
            workspace,
            &DistArgs {
                target: None,
                profile: BuildProfile::Dev,
                binary: Some(one.kevmon.to_owned()),
                package_version: Some(one.version.to_owned()),
                output: Some(folder.join(one.folder)),
                formats: formats.to_vec(),
            },
        )
    };
    // Each compresses for some ten seconds.
    thread::scope(|scope| {
        let makers: Vec<_> = wanted
            .iter()
            .map(|&one| scope.spawn(move || make_one(one)))
            .collect();
        makers.into_iter().try_for_each(|maker| {
            let made = maker.join().map_err(|_| anyhow!("making packages panicked"))?;
            made.map(drop)
        })
    })
}

fn install_tools() -> Result<()> {
    let missing: Vec<(&str, &str)> = TOOLS
        .into_iter()
        .filter(|(program, _)| shell::find_program(program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<String> = missing.iter().map(|(_, package)| (*package).to_owned()).collect();
    match Apt::find() {
        Some(mut apt) => apt.install(&packages),
        None => bail!(
            "the tests of packages run {}; install them",
            missing
                .iter()
                .map(|(program, _)| *program)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}
