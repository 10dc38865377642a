//! What kevmon is built for: a processor, and the C library that the program is linked with; and what a build for it needs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::musl;
use crate::distribution::{Family, Need};
use crate::packages::Apt;
use crate::rustup;
use crate::shell;
use crate::workspace::Workspace;

/// A processor that kevmon is packaged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "aarch64")]
    Arm,
}

/// The C library of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Libc {
    /// The distribution's, found when the program starts.
    Glibc,
    /// musl, inside of the program, which needs no library then.
    Musl,
}

/// A processor and a C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) arch: Arch,
    pub(crate) libc: Libc,
}

/// What builds for a target; `None`: what builds for this machine.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    pub(crate) linker: Option<String>,
    pub(crate) compiler: Option<String>,
    pub(crate) c_flags: Vec<String>,
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

    pub(crate) fn is_here(self) -> bool {
        env::consts::ARCH == self.kernel()
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
    pub(crate) fn machine(self) -> u16 {
        match self {
            Self::X86 => object::elf::EM_X86_64,
            Self::Arm => object::elf::EM_AARCH64,
        }
    }

    /// A tool of binutils or gcc. Debian's cross tools have the target's name in front.
    pub(crate) fn tool(self, name: &str) -> String {
        match self.is_here() {
            true => name.to_owned(),
            false => format!("{}-linux-gnu-{name}", self.kernel()),
        }
    }
}

impl Target {
    /// As the compiler calls it.
    pub(crate) fn triple(self) -> &'static str {
        match (self.arch, self.libc) {
            (Arch::X86, Libc::Glibc) => "x86_64-unknown-linux-gnu",
            (Arch::X86, Libc::Musl) => "x86_64-unknown-linux-musl",
            (Arch::Arm, Libc::Glibc) => "aarch64-unknown-linux-gnu",
            (Arch::Arm, Libc::Musl) => "aarch64-unknown-linux-musl",
        }
    }

    /// The end of an archive's name.
    pub(crate) fn short(self) -> String {
        let libc = match self.libc {
            Libc::Glibc => "gnu",
            Libc::Musl => "musl",
        };
        format!("{}-linux-{libc}", self.arch.kernel())
    }

    /// Installs what a build for it needs, or says the exact command.
    pub(crate) fn setup(self, workspace: &Workspace) -> Result<Tools> {
        self.add_library()?;
        let mut tools = Tools::default();
        if !self.arch.is_here() {
            let gcc = self.arch.tool("gcc");
            provide(&gcc, Need::CrossCompiler(self.arch.kernel()))?;
            tools.linker = Some(gcc.clone());
            tools.compiler = Some(gcc);
        }
        if self.libc == Libc::Musl {
            match self.arch.is_here() {
                // On a distribution of musl, such as Alpine, the compiler itself is the one.
                true if cfg!(target_env = "musl") => {}
                true => {
                    provide("musl-gcc", Need::Musl)?;
                    tools.compiler = Some("musl-gcc".to_owned());
                }
                false => tools.c_flags = musl::flags(workspace, self.arch)?,
            }
        }
        Ok(tools)
    }

    /// Rust's standard library for it.
    fn add_library(self) -> Result<()> {
        if self.has_library() {
            return Ok(());
        }
        let command = rustup::target_command(self.triple());
        if !rustup::is_present() {
            bail!(
                "Rust's standard library for {0} is missing, and there is no rustup here to add it: with rustup it is \
                 `{command}`, on Fedora `dnf install rust-std-static-{0}`{1}",
                self.triple(),
                match self.libc {
                    Libc::Musl =>
                        "; without it, `cargo xtask dist deb rpm` makes the packages that need none, and `cargo xtask dist \
                         --binary target/release/kevmon tarball image` makes the others of a glibc program",
                    Libc::Glibc => "",
                }
            );
        }
        rustup::add_target(self.triple())?;
        if !self.has_library() {
            bail!(
                "`{command}` succeeded, but the compiler has no standard library for {}: is it rustup's? `rustc --print sysroot` \
                 shows the folder that was looked into",
                self.triple()
            );
        }
        Ok(())
    }

    fn has_library(self) -> bool {
        let mut command = shell::command(shell::host_rustc());
        let found = shell::read(command.args(["--print", "target-libdir", "--target", self.triple()]));
        found.is_some_and(|folder| Path::new(folder.trim()).is_dir())
    }
}

/// Installs the package that has `program`, where it is missing.
fn provide(program: &str, need: Need) -> Result<()> {
    if shell::find_program(program).is_some() {
        return Ok(());
    }
    let family = Family::here();
    shell::say(format_args!("setup: {program} is missing"));
    match (family, Apt::find()) {
        (Family::Debian, Some(mut apt)) => apt.install(&family.packages(need).unwrap_or_default())?,
        _ => family.install(need)?,
    }
    shell::find_program(program)
        .map(|_: PathBuf| ())
        .with_context(|| {
            format!(
                "{program} is still not on PATH; install it, {}",
                family.line(need)
            )
        })
}
