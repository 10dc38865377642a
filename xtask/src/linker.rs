//! bpf-linker: built once into target/tools, against the LLVM of the compiler whose bitcode it will read.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

pub(crate) const VERSION: &str = "0.13.0";
/// The `llvm-N` features of that version.
pub(crate) const LLVM_MAJORS: RangeInclusive<u32> = 21..=23;

/// The libLLVM to link with: the toolchain's own where it brings one (rustup's do), else the system's.
pub(crate) fn find_llvm_library(sysroot: &Path, major: u32) -> Option<PathBuf> {
    bundled_llvm(&sysroot.join("lib"), major).or_else(|| {
        let mut prefixes = vec![PathBuf::from(format!("/usr/lib/llvm-{major}"))];
        for name in [format!("llvm-config-{major}"), "llvm-config".to_owned()] {
            let config = |option: &str| shell::read(shell::command(&name).arg(option));
            if config("--version")
                .is_some_and(|version| version.split('.').next() == Some(&major.to_string()))
            {
                prefixes.extend(config("--prefix").map(PathBuf::from));
            }
        }
        let folders = prefixes
            .iter()
            .flat_map(|prefix| [prefix.join("lib"), prefix.join("lib64")]);
        folders
            .map(|folder| folder.join("libLLVM.so"))
            .find(|library| library.exists())
    })
}

/// rustup's toolchains ship libLLVM.so.22.1-rust-1.97.0-nightly, which is also its soname.
fn bundled_llvm(folder: &Path, major: u32) -> Option<PathBuf> {
    let wanted = format!("libLLVM.so.{major}.");
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(&wanted) && name.contains("-rust-"))
        })
        .map(|entry| entry.path())
}

/// Whether some bpf-linker has been built, and runs.
pub(crate) fn is_there(workspace: &Workspace) -> bool {
    let linker = workspace.tools().join("bin/bpf-linker");
    shell::read(shell::command(linker).arg("--version")).is_some()
}

/// The bpf-linker for this toolchain, built if it is not there.
pub(crate) fn find_or_build(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let tools = workspace.tools();
    let linker = tools.join("bin/bpf-linker");
    let stamp_file = tools.join("bpf-linker.stamp");
    let stamp = stamp(toolchain);
    let fits = fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp);
    // Running it notices a libLLVM that has been uninstalled since.
    if fits && shell::read(shell::command(&linker).arg("--version")).is_some() {
        return Ok(linker);
    }

    shell::say(format_args!(
        "setup: building bpf-linker {VERSION} for LLVM {} into {} (once; about a minute)",
        toolchain.llvm_major,
        tools.display()
    ));
    let build = tools.join("build");
    let prefix = llvm_prefix(&tools, &toolchain.llvm_library)?;
    let mut command = shell::command(shell::host_cargo());
    command.current_dir(workspace.root()).env("LLVM_PREFIX", prefix);
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.args([
        "install",
        "bpf-linker",
        "--version",
        VERSION,
        "--locked",
        "--force",
    ]);
    command.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{}", toolchain.llvm_major),
    ]);
    command.arg("--root").arg(&tools).arg("--target-dir").arg(&build);
    // An interrupted build must not leave a stamp that vouches for it.
    remove_if_there(&stamp_file)?;
    shell::run_step(&mut command).context(
        "cannot build bpf-linker: it needs a C compiler (`cc`) with libstdc++ and the crate registry; the lines above say more",
    )?;
    fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(linker)
}

/// What the built bpf-linker depends on.
fn stamp(toolchain: &Toolchain) -> String {
    format!(
        "bpf-linker {VERSION}\nLLVM {}\n{}\n",
        toolchain.llvm_major,
        toolchain.llvm_library.display()
    )
}

/// The folder that holds `lib/libLLVM.so`, as bpf-linker's build script wants it. A rustup toolchain has the library
/// under its versioned name only, so links to it are made; the second one is what the dynamic loader looks for.
fn llvm_prefix(tools: &Path, library: &Path) -> Result<PathBuf> {
    let name = library.file_name().context("libLLVM's path has no file name")?;
    if name == "libLLVM.so" {
        let prefix = library
            .parent()
            .and_then(Path::parent)
            .context("libLLVM's path has no prefix")?;
        return Ok(prefix.to_path_buf());
    }
    let prefix = tools.join("llvm");
    let folder = prefix.join("lib");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for link in [folder.join("libLLVM.so"), folder.join(name)] {
        symlink(library, &link).with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(prefix)
}

fn remove_if_there(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}
