//! musl's C headers for a processor that this machine is not: distributions have no C compiler for that pair, and gcc for glibc
//! compiles against them as well. SQLite and ring are compiled; Rust's own musl, which is linked, comes with its standard library.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::target::Arch;
use crate::deb::Sources;
use crate::packages::Apt;
use crate::shell;
use crate::workspace::Workspace;

/// Debian's package of the headers.
const PACKAGE: &str = "musl-dev";

/// The suite that they are of. The layout of musl's types has been the same since 1.2.0, and this has 1.2.3.
const SUITE: &str = "bookworm";

/// Flags of the C compiler that put musl's headers in the place of glibc's.
pub(crate) fn flags(workspace: &Workspace, arch: Arch) -> Result<Vec<String>> {
    let headers = headers(workspace, arch)?;
    // The compiler's own: stddef.h, stdarg.h and so on.
    let own = shell::read(shell::command(arch.tool("gcc")).arg("-print-file-name=include"));
    let own = own.with_context(|| format!("`{} -print-file-name=include` fails", arch.tool("gcc")))?;
    Ok(vec![
        "-nostdinc".to_owned(),
        format!("-isystem{}", headers.display()),
        format!("-isystem{}", own.trim()),
    ])
}

/// The folder of the headers, in target/tools.
fn headers(workspace: &Workspace, arch: Arch) -> Result<PathBuf> {
    let folder = workspace.tools().join(format!("{PACKAGE}-{}", arch.debian()));
    let headers = folder.join(format!("usr/include/{}-linux-musl", arch.kernel()));
    if headers.join("stdio.h").is_file() {
        return Ok(headers);
    }
    if Apt::find().is_none() {
        bail!(
            "a static program for {} is made where apt-get is, with the headers of Debian's {PACKAGE}; elsewhere, make it on a machine \
             of that processor, or make the packages that need no musl: `cargo xtask dist --target {} deb rpm`",
            arch.kernel(),
            arch.kernel()
        );
    }
    shell::say(format_args!(
        "setup: unpacking Debian's {PACKAGE} for {} into {}",
        arch.debian(),
        folder.display()
    ));
    // Also what an interrupted fetch left.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let lists = folder.join("apt");
    let sources = Sources::foreign(&lists, SUITE, Some(arch))?;
    for package in sources.download(&folder, &[PACKAGE.to_owned()])? {
        shell::run_step(shell::command("dpkg-deb").arg("-x").arg(&package).arg(&folder))?;
        fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
    }
    fs::remove_dir_all(&lists).with_context(|| format!("cannot remove {}", lists.display()))?;
    if !headers.join("stdio.h").is_file() {
        bail!("Debian's {PACKAGE} has no {}", headers.display());
    }
    Ok(headers)
}
