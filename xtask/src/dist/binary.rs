//! The program of the packages: built, and split into what runs and what debuggers need.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::Release;
use crate::ebpf::{self, Warnings};
use crate::shell;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

/// A processor that kevmon is packaged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "aarch64")]
    Arm,
}

impl Arch {
    pub(crate) fn here() -> Result<Self> {
        match env::consts::ARCH {
            "x86_64" => Ok(Self::X86),
            "aarch64" => Ok(Self::Arm),
            other => bail!(
                "packages are made for x86_64 and aarch64; this machine is {other}: name one with --target"
            ),
        }
    }

    /// As the compiler calls it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-gnu",
            Self::Arm => "aarch64-unknown-linux-gnu",
        }
    }

    /// As the kernel and RPM call it.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// As Debian and OCI call it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// As ELF's header has it (elf.h, EM_X86_64 and EM_AARCH64).
    fn machine(self) -> u16 {
        match self {
            Self::X86 => 62,
            Self::Arm => 183,
        }
    }

    /// Debian's cross binutils are called so.
    fn tool(self, name: &str) -> String {
        match Self::here() {
            Ok(here) if here == self => name.to_owned(),
            _ => format!("{}-linux-gnu-{name}", self.kernel()),
        }
    }
}

/// A program without its debug information, and that.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) program: Vec<u8>,
    pub(crate) debug: Vec<u8>,
    /// Hexadecimal; `None` where the linker wrote none.
    pub(crate) build_id: Option<String>,
    /// The oldest glibc that it runs with, such as 2.34.
    pub(crate) glibc: String,
    /// One that runs here, to ask for man pages.
    pub(crate) runs: PathBuf,
    /// Shared libraries that it names, such as libc.so.6.
    pub(crate) libraries: Vec<String>,
}

/// Builds kevmon, unless `given` is one, and splits it.
pub(crate) fn prepare(
    workspace: &Workspace,
    release: &Release,
    profile: Profile,
    given: Option<&Path>,
    work: &Path,
) -> Result<Split> {
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| work.display().to_string())?;
    }
    fs::create_dir_all(work).with_context(|| work.display().to_string())?;
    let whole = match given {
        Some(binary) => binary.to_owned(),
        None => build(workspace, release.arch, profile)?,
    };
    let content = fs::read(&whole).with_context(|| whole.display().to_string())?;
    expect_machine(&whole, &content, release.arch)?;
    let objcopy = || shell::command(release.arch.tool("objcopy"));
    let debug = work.join("kevmon.debug");
    shell::run_step(
        objcopy()
            .arg("--only-keep-debug")
            .arg("--compress-debug-sections")
            .arg(&whole)
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
    shell::run_step(strip.arg(fs::canonicalize(&whole)?).arg("kevmon"))?;
    let notes = shell::read(
        shell::command(release.arch.tool("readelf"))
            .arg("-nWd")
            .arg(&program),
    )
    .context("readelf -nWd: is binutils installed?")?;
    let build_id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    let versions = shell::read(
        shell::command(release.arch.tool("objdump"))
            .arg("-T")
            .arg(&program),
    )
    .context("objdump -T: is binutils installed?")?;
    Ok(Split {
        program: fs::read(&program)?,
        debug: fs::read(&debug)?,
        build_id: build_id.map(|id| id.trim().to_owned()),
        glibc: newest_glibc(&versions)?,
        libraries: libraries(&notes),
        runs: program,
    })
}

/// A release is built with nothing of this machine in it: paths are those of a made-up place.
fn build(workspace: &Workspace, arch: Arch, profile: Profile) -> Result<PathBuf> {
    ebpf::setup(workspace)?.build(workspace, Warnings::Shown)?;
    if profile == Profile::Dev {
        return user::build(workspace, profile);
    }
    let target = workspace.user_target().join("dist-build");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let mut places = vec![(workspace.root().to_owned(), "/usr/src/kevmon")];
    places.extend(home.map(|home| (home, "/usr/src/cargo")));
    // lld, which is the compiler's default linker on x86_64, writes a build id only where it is asked to.
    let (mut rust, mut c) = (vec!["-Clink-arg=-Wl,--build-id=sha1".to_owned()], Vec::new());
    for (from, to) in &places {
        rust.push(format!("--remap-path-prefix={}={to}", from.display()));
        c.push(format!("-ffile-prefix-map={}={to}", from.display()));
    }
    let mut command = user::cargo(workspace, "build");
    command
        .args([
            "-p",
            "kevmon",
            "--bin",
            "kevmon",
            "--release",
            "--locked",
            "--target",
            arch.triple(),
        ])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env("CFLAGS", c.join(" "));
    if arch != Arch::here()? {
        let compiler = arch.tool("gcc");
        let name = arch.triple().to_ascii_uppercase().replace('-', "_");
        command
            .env(format!("CARGO_TARGET_{name}_LINKER"), &compiler)
            .env("CC", &compiler);
    }
    shell::run(&mut command).with_context(|| {
        format!(
            "cannot build kevmon for {0}: it needs Rust's library for it (`rustup target add {0}`)",
            arch.triple()
        )
    })?;
    Ok(target.join(arch.triple()).join("release/kevmon"))
}

fn expect_machine(path: &Path, content: &[u8], arch: Arch) -> Result<()> {
    let machine = content
        .get(18..20)
        .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if !content.starts_with(b"\x7fELF") || machine != Some(arch.machine()) {
        bail!("{} is no program for {}", path.display(), arch.kernel());
    }
    Ok(())
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
