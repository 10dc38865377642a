//! Which family of distributions this machine is of, and what installs there what the build and the tests need. Debian's
//! family is asked by `packages`, which knows what it offers; Fedora's packages are installed by their names; for the others
//! the exact command is said.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::privilege::Root;
use crate::shell;

/// Distributions that share their package manager and its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Debian,
    Fedora,
    Suse,
    Arch,
    Alpine,
    Unknown,
}

/// Something that the build or the tests need from the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C and C++ compiler with the C library's headers.
    Compiler,
    /// rustc with cargo and the source of `core`.
    Toolchain,
    /// The libLLVM of this major version, with its headers.
    Llvm(u32),
    /// A C compiler for programs with musl in them, called musl-gcc.
    Musl,
    /// gcc and binutils for glibc programs of another processor, as the kernel calls it.
    CrossCompiler(&'static str),
    /// Python with `venv` and pip.
    Python,
    Nginx,
}

impl Family {
    /// This machine's.
    pub(crate) fn here() -> Self {
        Self::of(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// By os-release(5): the distribution itself, else those that it says it is like.
    fn of(os_release: &str) -> Self {
        let field = |name: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default()
                .trim_matches(['"', '\''])
                .to_ascii_lowercase()
        };
        let (id, like) = (field("ID="), field("ID_LIKE="));
        let names = [id.as_str()].into_iter().chain(like.split_whitespace());
        names
            .filter_map(|name| match name {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" => Some(Self::Fedora),
                "suse" | "opensuse" | "sles" | "opensuse-tumbleweed" | "opensuse-leap" => Some(Self::Suse),
                "arch" => Some(Self::Arch),
                "alpine" => Some(Self::Alpine),
                _ => None,
            })
            .next()
            .unwrap_or(Self::Unknown)
    }

    /// What installs it, as root; `None` where nobody knows.
    pub(crate) fn command(self, need: Need) -> Option<Vec<String>> {
        let packages: Vec<String> = self.packages(need)?;
        let manager: &[&str] = match self {
            Self::Debian => &["apt-get", "install", "-y", "--no-install-recommends"],
            Self::Fedora => &["dnf", "install", "-y"],
            Self::Suse => &["zypper", "--non-interactive", "install"],
            Self::Arch => &["pacman", "-S", "--needed"],
            Self::Alpine => &["apk", "add"],
            Self::Unknown => return None,
        };
        let words = manager.iter().map(|&word| word.to_owned());
        Some(words.chain(packages).collect())
    }

    pub(crate) fn packages(self, need: Need) -> Option<Vec<String>> {
        let named = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        match (self, need) {
            (Self::Unknown, _) => None,
            (Self::Debian, Need::Compiler) => named(&["gcc", "g++", "libc6-dev"]),
            (Self::Fedora, Need::Compiler) => named(&["gcc", "gcc-c++", "glibc-devel"]),
            (Self::Suse, Need::Compiler) => named(&["gcc", "gcc-c++", "glibc-devel"]),
            (Self::Arch, Need::Compiler) => named(&["gcc"]),
            (Self::Alpine, Need::Compiler) => named(&["build-base"]),
            (Self::Debian, Need::Toolchain) => named(&["rustc-web", "cargo-web", "rust-web-src"]),
            (Self::Fedora, Need::Toolchain) => named(&["rust", "cargo", "rust-src"]),
            (Self::Suse, Need::Toolchain) => named(&["rust", "cargo", "rust-src"]),
            (Self::Arch, Need::Toolchain) => named(&["rust", "rust-src"]),
            (Self::Alpine, Need::Toolchain) => named(&["rust", "cargo", "rust-src"]),
            (Self::Debian, Need::Llvm(major)) => Some(vec![format!("llvm-{major}-dev")]),
            // The present version has no number in its name; the older ones have.
            (Self::Fedora, Need::Llvm(_)) => named(&["llvm-devel"]),
            (Self::Suse, Need::Llvm(major)) => Some(vec![format!("llvm{major}-devel")]),
            (Self::Arch, Need::Llvm(_)) => named(&["llvm"]),
            (Self::Alpine, Need::Llvm(major)) => Some(vec![format!("llvm{major}-dev")]),
            (Self::Debian, Need::Musl) => named(&["musl-tools"]),
            (Self::Fedora, Need::Musl) => named(&["musl-gcc"]),
            (Self::Suse, Need::Musl) => named(&["musl-devel", "gcc"]),
            (Self::Arch, Need::Musl) => named(&["musl"]),
            (Self::Alpine, Need::Musl) => named(&["build-base"]),
            (Self::Debian, Need::CrossCompiler(arch)) => Some(vec![
                format!("gcc-{}-linux-gnu", arch.replace('_', "-")),
                format!(
                    "libc6-dev-{}-cross",
                    if arch == "aarch64" { "arm64" } else { "amd64" }
                ),
            ]),
            (Self::Arch, Need::CrossCompiler(arch)) => Some(vec![format!("{arch}-linux-gnu-gcc")]),
            // Fedora's and SUSE's cross compilers come without a C library.
            (Self::Fedora | Self::Suse | Self::Alpine, Need::CrossCompiler(_)) => None,
            (Self::Debian, Need::Python) => named(&["python3", "python3-venv"]),
            (Self::Fedora, Need::Python) => named(&["python3", "python3-pip", "python3-libs"]),
            (Self::Suse, Need::Python) => named(&["python3", "python3-pip"]),
            (Self::Arch, Need::Python) => named(&["python", "python-pip"]),
            (Self::Alpine, Need::Python) => named(&["python3", "py3-pip"]),
            (_, Need::Nginx) => named(&["nginx"]),
        }
    }

    /// The command as a person types it.
    pub(crate) fn line(self, need: Need) -> String {
        match self.command(need) {
            Some(words) => format!("as root: {}", words.join(" ")),
            None => {
                let known: Vec<String> = [Self::Debian, Self::Fedora]
                    .into_iter()
                    .filter_map(|family| Some(format!("`{}`", family.command(need)?.join(" "))))
                    .collect();
                format!(
                    "no package of this distribution is known; elsewhere it is {}",
                    known.join(" or ")
                )
            }
        }
    }

    /// Installs it where this family's packages are installed by their names alone: Fedora's.
    pub(crate) fn install(self, need: Need) -> Result<()> {
        let Some(words) = self.command(need).filter(|_| self == Self::Fedora) else {
            bail!("install it, {}", self.line(need));
        };
        let line = words.join(" ");
        shell::say(format_args!("setup: {line}"));
        let root = Root::obtain(&line)?;
        let mut command = root.command(&words[0]);
        command.args(&words[1..]);
        shell::run_step(&mut command)
            .with_context(|| format!("run `sudo {line}` by hand to see what is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_by_os_release() {
        for (text, family) in [
            ("ID=debian\n", Family::Debian),
            ("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n", Family::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Family::Debian),
            ("ID=fedora\nVARIANT_ID=workstation\n", Family::Fedora),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Family::Fedora),
            ("ID=\"almalinux\"\nID_LIKE='rhel centos fedora'\n", Family::Fedora),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n",
                Family::Suse,
            ),
            ("ID=arch\n", Family::Arch),
            ("ID=endeavouros\nID_LIKE=arch\n", Family::Arch),
            ("ID=alpine\n", Family::Alpine),
            ("ID=nixos\n", Family::Unknown),
            ("", Family::Unknown),
        ] {
            assert_eq!(Family::of(text), family, "{text:?}");
        }
    }

    #[test]
    fn every_need_has_its_command() {
        for (family, need, line) in [
            (
                Family::Debian,
                Need::Compiler,
                "apt-get install -y --no-install-recommends gcc g++ libc6-dev",
            ),
            (
                Family::Debian,
                Need::Llvm(22),
                "apt-get install -y --no-install-recommends llvm-22-dev",
            ),
            (
                Family::Fedora,
                Need::Compiler,
                "dnf install -y gcc gcc-c++ glibc-devel",
            ),
            (
                Family::Fedora,
                Need::Toolchain,
                "dnf install -y rust cargo rust-src",
            ),
            (Family::Fedora, Need::Llvm(22), "dnf install -y llvm-devel"),
            (Family::Fedora, Need::Nginx, "dnf install -y nginx"),
            (
                Family::Suse,
                Need::Llvm(21),
                "zypper --non-interactive install llvm21-devel",
            ),
            (
                Family::Debian,
                Need::Musl,
                "apt-get install -y --no-install-recommends musl-tools",
            ),
            (
                Family::Debian,
                Need::CrossCompiler("aarch64"),
                "apt-get install -y --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
            ),
            (
                Family::Debian,
                Need::CrossCompiler("x86_64"),
                "apt-get install -y --no-install-recommends gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
            ),
            (Family::Arch, Need::Compiler, "pacman -S --needed gcc"),
            (Family::Alpine, Need::Python, "apk add python3 py3-pip"),
        ] {
            assert_eq!(
                family.command(need).map(|words| words.join(" ")).as_deref(),
                Some(line)
            );
            assert_eq!(family.line(need), format!("as root: {line}"));
        }
        for family in [
            Family::Debian,
            Family::Fedora,
            Family::Suse,
            Family::Arch,
            Family::Alpine,
        ] {
            for need in [
                Need::Compiler,
                Need::Toolchain,
                Need::Llvm(22),
                Need::Python,
                Need::Nginx,
            ] {
                assert!(
                    family.command(need).is_some_and(|words| words.len() > 2),
                    "{family:?} {need:?}"
                );
            }
        }
        let unknown = Family::Unknown.line(Need::Compiler);
        assert!(
            unknown.contains("apt-get") && unknown.contains("dnf install"),
            "{unknown}"
        );
    }

    #[test]
    fn what_is_not_installed_by_name_is_said() {
        for family in [Family::Suse, Family::Arch, Family::Alpine, Family::Unknown] {
            let said = family.install(Need::Nginx).unwrap_err().to_string();
            assert!(said.contains("install") && said.contains("nginx"), "{said}");
        }
    }
}
