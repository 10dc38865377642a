//! The program of the packages: built, and split into what runs and what debuggers need.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::target::{Libc, Target};
use super::{Release, elf};
use crate::ebpf::{self, Warnings};
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

/// A program without its debug information, and that.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) program: Vec<u8>,
    pub(crate) debug: Vec<u8>,
    /// Hexadecimal; `None` where the linker wrote none.
    pub(crate) build_id: Option<String>,
    /// The oldest glibc that it runs with, such as 2.34; `None`: the program is static.
    pub(crate) glibc: Option<String>,
    /// One that runs here, to ask for man pages: the program itself, or this machine's of the same source.
    pub(crate) runs: PathBuf,
    /// Shared libraries that it names, such as libc.so.6.
    pub(crate) libraries: Vec<String>,
}

/// Whether the program `path` is static.
///
/// # Errors
/// It is no program for `arch`.
pub(crate) fn libc(path: &Path, target: Target) -> Result<Libc> {
    let read = || -> Result<Libc> {
        let content = fs::read(path)?;
        elf::expect_machine(&content, target.arch)?;
        Ok(match elf::is_static(&content)? {
            true => Libc::Musl,
            false => Libc::Glibc,
        })
    };
    read().with_context(|| path.display().to_string())
}

/// Splits the program `whole`, which is built for the release's target.
pub(crate) fn split(workspace: &Workspace, release: &Release, whole: &Path, work: &Path) -> Result<Split> {
    let arch = release.target.arch;
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| work.display().to_string())?;
    }
    fs::create_dir_all(work).with_context(|| work.display().to_string())?;
    let objcopy = || shell::command(arch.tool("objcopy"));
    let debug = work.join("kevmon.debug");
    shell::run_step(
        objcopy()
            .arg("--only-keep-debug")
            .arg("--compress-debug-sections")
            .arg(whole)
            .arg(&debug),
    )?;
    let program = work.join("kevmon");
    // By .gnu_debuglink too: a debugger finds the file by it where the build id's folder is not searched. Its name alone and a
    // sum of its content are in the program.
    let mut strip = objcopy();
    strip.current_dir(work).args([
        "--strip-all",
        "--remove-section=.comment",
        "--add-gnu-debuglink=kevmon.debug",
    ]);
    shell::run_step(strip.arg(fs::canonicalize(whole)?).arg("kevmon"))?;
    let notes = shell::read(shell::command(arch.tool("readelf")).arg("-nWd").arg(&program))
        .context("readelf -nWd: is binutils installed?")?;
    let build_id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    let glibc = match release.target.libc {
        Libc::Musl => None,
        Libc::Glibc => {
            let versions = shell::read(shell::command(arch.tool("objdump")).arg("-T").arg(&program))
                .context("objdump -T: is binutils installed?")?;
            Some(newest_glibc(&versions)?)
        }
    };
    Ok(Split {
        program: fs::read(&program)?,
        debug: fs::read(&debug)?,
        build_id: build_id.map(|id| id.trim().to_owned()),
        glibc,
        libraries: libraries(&notes),
        runs: match arch.is_here() {
            true => program,
            false => user::build_both(workspace, Profile::Dev)?,
        },
    })
}

/// Builds kevmon. A release has nothing of this machine in it: paths are those of a made-up place.
pub(crate) fn build(workspace: &Workspace, target: Target, profile: Profile) -> Result<PathBuf> {
    let tools = target.setup(workspace)?;
    let object = ebpf::setup(workspace)?.build_for(workspace, target.arch.kernel(), Warnings::Shown)?;
    let folder = workspace.user_target().join("dist-build");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let mut places = vec![(workspace.root().to_owned(), "/usr/src/kevmon")];
    places.extend(home.map(|home| (home, "/usr/src/cargo")));
    // lld, which is the compiler's default linker on x86_64, writes a build id only where it is asked to.
    let mut rust = vec!["-Clink-arg=-Wl,--build-id=sha1".to_owned()];
    let mut c = tools.c_flags;
    for (from, to) in &places {
        rust.push(format!("--remap-path-prefix={}={to}", from.display()));
        c.push(format!("-ffile-prefix-map={}={to}", from.display()));
    }
    let mut command = user::cargo(workspace, "build");
    command.args(["-p", "kevmon", "--bin", "kevmon", "--locked"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let name = target.triple().replace('-', "_");
    command
        .args(["--target", target.triple()])
        .arg("--target-dir")
        .arg(&folder)
        .env("KEVMON_EBPF_OBJECT", object)
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env(format!("CFLAGS_{name}"), c.join(" "));
    if let Some(linker) = tools.linker {
        let variable = format!("CARGO_TARGET_{}_LINKER", name.to_ascii_uppercase());
        command.env(variable, linker);
    }
    if let Some(compiler) = tools.compiler {
        command.env(format!("CC_{name}"), compiler);
    }
    shell::run(&mut command).with_context(|| format!("cannot build kevmon for {}", target.triple()))?;
    let program = folder.join(target.triple()).join(profile.folder()).join("kevmon");
    if libc(&program, target)? != target.libc {
        bail!(
            "{} is not linked as a program for {} has to be: do the flags of a cargo configuration say otherwise (crt-static)?",
            program.display(),
            target.triple()
        );
    }
    Ok(program)
}

/// The newest `GLIBC_x.y` that the dynamic symbols ask for.
fn newest_glibc(symbols: &str) -> Result<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let numbers: Option<Vec<u32>> = rest[..end].split('.').map(|part| part.parse().ok()).collect();
        Some((numbers?, rest[..end].to_owned()))
    });
    let newest = versions.max().context("the program names no version of glibc")?;
    Ok(newest.1)
}

fn libraries(notes: &str) -> Vec<String> {
    let named = notes.lines().filter(|line| line.contains("(NEEDED)"));
    named
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::newest_glibc;

    #[test]
    fn versions_are_compared_by_number() {
        let symbols =
            "DF *UND* (GLIBC_2.4) a\nDF *UND* (GLIBC_2.34) b\nDF *UND* (GLIBC_2.2.5) c\n(GLIBC_PRIVATE) d";
        assert_eq!(newest_glibc(symbols).expect("a version"), "2.34");
        assert!(newest_glibc("static").is_err());
    }
}
