//! What is in the guest: the programs under test with the libraries that they are linked with, and a shell.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::kernel::Image;
use crate::deb::{Program, Suite};
use crate::shell;
use crate::test::programs::Programs;
use crate::workspace::Workspace;

/// The guest's first process.
const INIT: &str = include_str!("init.sh");
/// Programs of this machine that the tests use in ways that the guest's shell does not know.
const TOOLS: [&str; 4] = ["bash", "cp", "setpriv", "unshare"];
/// Its users; the tests look for both.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
const MACHINE_ID: &str = "6b65766d6f6e2d67756573742d726f6f\n";

/// The guest's shell and tools, in one program that needs no library.
pub(super) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    let busybox = Program {
        package: "busybox-static",
        suite: Suite::Own,
        path: "bin/busybox",
        version_flag: "--help",
    };
    busybox.setup(workspace)
}

/// Writes the guest's root, as an initial RAM file system; returns the file.
///
/// # Errors
/// One of the programs or libraries cannot be read.
pub(super) fn make(
    workspace: &Workspace,
    busybox: &Path,
    programs: &Programs,
    kevmon: &Path,
    image: &Image,
    arguments: &[String],
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for folder in [
        "proc", "sys", "dev", "tmp", "run", "var/tmp", "var/lib", "root", "etc",
    ] {
        archive.directory(folder);
    }
    archive.file("/init", 0o755, INIT.as_bytes());
    archive.file("/etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("/etc/group", 0o644, GROUP.as_bytes());
    archive.file("/etc/machine-id", 0o644, MACHINE_ID.as_bytes());
    archive.file("/kevmon/arguments", 0o644, arguments.join(" ").as_bytes());
    archive.copy("/bin/busybox", busybox)?;
    archive.copy("/loop.ko", &image.loop_module)?;
    let tests = |program: &Option<crate::test::programs::Program>| {
        let program = program.as_ref().context("the build left no end-to-end tests")?;
        anyhow::Ok(program.executable.clone())
    };
    let mut files = vec![
        (PathBuf::from("/kevmon/kevmon"), kevmon.to_path_buf()),
        (PathBuf::from("/kevmon/parallel"), tests(&programs.parallel)?),
        (PathBuf::from("/kevmon/serial"), tests(&programs.serial)?),
    ];
    // The tests know by its path what they were built with.
    for helper in ["workload", "filtered", "attack"] {
        let path = workspace.user_target().join("debug").join(helper);
        files.push((path.clone(), path));
    }
    let folder = workspace.tools().join("guest");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut libraries = BTreeSet::new();
    let stripped = folder.join("stripped");
    for (path, file) in &files {
        // Without what only a debugger reads: the guest has all of it in memory.
        shell::run(shell::command("strip").arg("-o").arg(&stripped).arg(file))?;
        archive.copy(&path.to_string_lossy(), &stripped)?;
        libraries.extend(linked(file)?);
    }
    for tool in TOOLS {
        let program = shell::find_program(tool).with_context(|| format!("no `{tool}` on PATH"))?;
        libraries.extend(linked(&program)?);
        archive.copy(&format!("/bin/{tool}"), &program)?;
    }
    for library in libraries {
        archive.copy(&library, Path::new(&library))?;
    }
    let file = folder.join(format!("{}.cpio", image.release));
    fs::write(&file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The libraries that a program is linked with, its loader among them.
fn linked(program: &Path) -> Result<Vec<String>> {
    let told = shell::read(shell::command("ldd").arg(program))
        .with_context(|| format!("`ldd {}` fails", program.display()))?;
    Ok(libraries(&told))
}

/// Of lines such as "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)".
fn libraries(told: &str) -> Vec<String> {
    told.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_tells() {
        let told = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x2)\n";
        assert_eq!(
            libraries(told),
            ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
