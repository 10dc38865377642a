//! The packages that the end-to-end tests install: two versions of one kevmon, the older one made twice; and the distributions'
//! tools that judge them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::{BuildProfile, DistArgs, Format};
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

/// Makes them of `kevmon`, and returns the folder that holds them.
pub(crate) fn make(workspace: &Workspace, kevmon: &Path) -> Result<PathBuf> {
    install_tools()?;
    let folder = workspace.user_target().join("packages");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
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
                formats: vec![Format::Deb, Format::Rpm, Format::Tarball, Format::Image],
            },
        )
    };
    // Each compresses for some ten seconds.
    thread::scope(|scope| {
        let makers = MADE.map(|one| scope.spawn(move || make_one(one)));
        makers.into_iter().try_for_each(|maker| {
            let made = maker.join().map_err(|_| anyhow!("making packages panicked"))?;
            made.map(drop)
        })
    })?;
    Ok(folder)
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
