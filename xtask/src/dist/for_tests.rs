//! The packages that the end-to-end tests install: two versions of one kevmon, the older one made twice; and the distributions'
//! tools that judge them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::{Arch, BuildProfile, DistArgs, Format};
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

/// The versions of [`debian`], the older one first.
pub(crate) const DEBIAN_VERSIONS: [&str; 2] = ["1.0.0", "1.0.1"];

/// Makes them of `kevmon`, and returns the folder that holds them.
pub(crate) fn make(workspace: &Workspace, kevmon: &Path) -> Result<PathBuf> {
    install_tools()?;
    let folder = workspace.user_target().join("packages");
    make_each(workspace, kevmon, &folder, &MADE, &super::FORMATS)?;
    Ok(folder)
}

/// Makes Debian's packages alone of `kevmon`, in both versions, and returns the files.
pub(crate) fn debian(workspace: &Workspace, kevmon: &Path) -> Result<[PathBuf; 2]> {
    let folder = workspace.user_target().join("packages-debian");
    let made = DEBIAN_VERSIONS.map(|version| (version, version));
    make_each(workspace, kevmon, &folder, &made, &[Format::Deb])?;
    let arch = Arch::here()?.debian();
    Ok(DEBIAN_VERSIONS.map(|version| {
        folder
            .join(version)
            .join(format!("kevmon_{version}-1_{arch}.deb"))
    }))
}

/// Makes each of `made`, a folder of `folder` and a version, at the same time.
fn make_each(
    workspace: &Workspace,
    kevmon: &Path,
    folder: &Path,
    made: &[(&str, &str)],
    formats: &[Format],
) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let make_one = |(name, version): (&str, &str)| {
        super::build(
            workspace,
            &DistArgs {
                target: None,
                profile: BuildProfile::Dev,
                binary: Some(kevmon.to_owned()),
                package_version: Some(version.to_owned()),
                output: Some(folder.join(name)),
                formats: formats.to_vec(),
            },
        )
    };
    // Each compresses for some ten seconds.
    thread::scope(|scope| {
        let makers: Vec<_> = made
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
