//! The Rust toolchain of the eBPF half: finding one that fits, or installing one.
//!
//! It fits when it has the source of `core` (the eBPF target ships without it) and when bpf-linker can be linked
//! with its LLVM. Debian's packages come first, because where they are installed nothing needs a download.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::distribution::{Family, Need};
use crate::linker;
use crate::packages::{Apt, Version};
use crate::rustup;
use crate::shell;

/// The workspace's `rust-version`.
const OLDEST_RUSTC: Version = Version { major: 1, minor: 95 };

/// A toolchain that can build the eBPF half.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// "rustc 1.96.0", for messages.
    pub(crate) release: String,
    pub(crate) llvm_major: u32,
    /// The libLLVM that a bpf-linker for this compiler links with.
    pub(crate) llvm_library: PathBuf,
}

/// Finds a toolchain or installs one; an error says which commands a person has to run.
pub(crate) fn find_or_install() -> Result<Toolchain> {
    let mut rejected = Vec::new();
    if let Some(toolchain) = find(&mut rejected) {
        return Ok(toolchain);
    }
    for reason in &rejected {
        shell::say(format_args!("setup: not usable for eBPF: {reason}"));
    }

    if rustup::is_present() {
        match rustup::install_nightly() {
            Ok(()) => {
                if let Some(toolchain) = find(&mut Vec::new()) {
                    return Ok(toolchain);
                }
                shell::say(format_args!(
                    "setup: rustup's nightly is installed, but it does not fit either"
                ));
            }
            Err(error) => shell::say(format_args!(
                "setup: rustup could not install a nightly: {error:#}"
            )),
        }
    }
    if let Some(mut apt) = Apt::find() {
        match install_packages(&mut apt) {
            Ok(()) => {
                rejected.clear();
                if let Some(toolchain) = find(&mut rejected) {
                    return Ok(toolchain);
                }
            }
            Err(error) => rejected.push(format!("Debian/Ubuntu packages: {error:#}")),
        }
    } else if Family::here() == Family::Fedora {
        match install_fedora_packages() {
            Ok(()) => {
                rejected.clear();
                if let Some(toolchain) = find(&mut rejected) {
                    return Ok(toolchain);
                }
            }
            Err(error) => rejected.push(format!("Fedora packages: {error:#}")),
        }
    }
    bail!("{}", remedy(&rejected))
}

/// Whether one that fits is there.
pub(crate) fn is_there() -> bool {
    find(&mut Vec::new()).is_some()
}

/// The ways to one that are tried, in their order, in words.
pub(crate) fn ways() -> String {
    let mut ways = Vec::new();
    if rustup::is_present() {
        ways.push(format!("`{}`", rustup::install_command()));
    }
    if Apt::find().is_some() {
        ways.push(
            "apt's packages rustc-web, rustc or rustc-1.NN, with cargo, the source and llvm-N-dev".to_owned(),
        );
    } else {
        ways.push(Family::here().line(Need::Toolchain));
    }
    ways.join(", else ")
}

fn find(rejected: &mut Vec<String>) -> Option<Toolchain> {
    let mut sysroots = system_sysroots();
    sysroots.extend(rustup::nightly_sysroots());
    for sysroot in sysroots {
        match inspect(&sysroot) {
            Ok(toolchain) => return Some(toolchain),
            Err(error) => rejected.push(format!("{error:#}")),
        }
    }
    None
}

/// Toolchains of the distribution: /usr, and Ubuntu's /usr/lib/rust-1.NN, newest first.
fn system_sysroots() -> Vec<PathBuf> {
    let mut versioned: Vec<(Version, PathBuf)> = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = Version::parse(entry.file_name().to_str()?.strip_prefix("rust-")?)?;
            Some((version, entry.path()))
        })
        .collect();
    versioned.sort_by_key(|(version, _)| Reverse(*version));
    let plain = Some(PathBuf::from("/usr"));
    plain
        .into_iter()
        .chain(versioned.into_iter().map(|(_, path)| path))
        .filter(|sysroot| sysroot.join("bin/rustc").exists())
        .collect()
}

/// The toolchain in this sysroot, or why it does not fit.
fn inspect(sysroot: &Path) -> Result<Toolchain> {
    let (rustc, cargo) = (sysroot.join("bin/rustc"), sysroot.join("bin/cargo"));
    let description = shell::read(toolchain_command(&rustc).arg("-vV"))
        .with_context(|| format!("{} does not run", rustc.display()))?;
    let (release, llvm) = parse_description(&description)
        .with_context(|| format!("`{} -vV` names no release or LLVM version", rustc.display()))?;
    let name = format!("rustc {release} ({})", sysroot.display());

    if Version::parse(&release).is_none_or(|version| version < OLDEST_RUSTC) {
        bail!("{name} is older than {OLDEST_RUSTC}");
    }
    if !cargo.exists() {
        bail!("{name} has no cargo beside it (Debian: the cargo package of the same name)");
    }
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
    {
        bail!("{name} has no source of `core` (Debian: its -src package; rustup: the rust-src component)");
    }
    if !linker::LLVM_MAJORS.contains(&llvm.major) {
        let majors = linker::LLVM_MAJORS;
        bail!(
            "{name} is built on LLVM {}, and bpf-linker {} knows {} to {}",
            llvm.major,
            linker::VERSION,
            majors.start(),
            majors.end()
        );
    }
    let Some(llvm_library) = linker::find_llvm_library(sysroot, llvm.major) else {
        bail!(
            "{name} needs LLVM {0} to link bpf-linker with (Debian: llvm-{0}-dev)",
            llvm.major
        );
    };
    Ok(Toolchain {
        rustc,
        cargo,
        release,
        llvm_major: llvm.major,
        llvm_library,
    })
}

/// A command that sees nothing of rustup, which would otherwise redirect the compiler.
fn toolchain_command(program: &Path) -> std::process::Command {
    let mut command = shell::command(program);
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// The release and the LLVM version in the output of `rustc -vV`.
fn parse_description(description: &str) -> Option<(String, Version)> {
    let field = |name: &str| {
        description
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    Some((
        field("release:")?.to_owned(),
        Version::parse(field("LLVM version:")?)?,
    ))
}

/// Names of a rustc, a cargo and a source package that belong together.
type PackageSet = [String; 3];

fn install_packages(apt: &mut Apt) -> Result<()> {
    apt.update()?;
    let set = choose_packages(&package_sets(apt), |package| apt.candidate(package)).with_context(|| {
        format!("apt offers no rustc {OLDEST_RUSTC} or later with its source (looked for rustc-web, rustc, rustc-1.*)")
    })?;
    apt.install(&set)?;

    // Which LLVM this rustc was built on is known for certain only now.
    for sysroot in system_sysroots() {
        let Some(description) = shell::read(toolchain_command(&sysroot.join("bin/rustc")).arg("-vV")) else {
            continue;
        };
        let Some((release, llvm)) = parse_description(&description) else {
            continue;
        };
        let new_enough = Version::parse(&release).is_some_and(|version| version >= OLDEST_RUSTC);
        if new_enough && linker::find_llvm_library(&sysroot, llvm.major).is_none() {
            return apt.install(&[format!("llvm-{}-dev", llvm.major)]);
        }
    }
    Ok(())
}

/// Fedora builds rustc on its present LLVM.
fn install_fedora_packages() -> Result<()> {
    let family = Family::Fedora;
    family.install(Need::Toolchain)?;
    let description = shell::read(toolchain_command(Path::new("/usr/bin/rustc")).arg("-vV"));
    let llvm = description.as_deref().and_then(parse_description);
    let major = llvm.context("/usr/bin/rustc tells no version")?.1.major;
    family.install(Need::Llvm(major))
}

/// Debian stable keeps a current compiler as rustc-web (for the browsers); Ubuntu has versioned packages.
fn package_sets(apt: &Apt) -> Vec<PackageSet> {
    let set =
        |rustc: &str, cargo: &str, source: &str| [rustc.to_owned(), cargo.to_owned(), source.to_owned()];
    let mut sets = vec![
        set("rustc-web", "cargo-web", "rust-web-src"),
        set("rustc", "cargo", "rust-src"),
    ];
    let mut versioned: Vec<(Version, String)> = apt
        .names("rustc-1.")
        .into_iter()
        .filter_map(|name| {
            let version = name.strip_prefix("rustc-")?;
            Some((Version::parse(version)?, version.to_owned()))
        })
        .collect();
    versioned.sort();
    sets.extend(versioned.iter().map(|(_, v)| {
        set(
            &format!("rustc-{v}"),
            &format!("cargo-{v}"),
            &format!("rust-{v}-src"),
        )
    }));
    sets
}

/// The first set that apt has in full and in a version that is new enough.
fn choose_packages(sets: &[PackageSet], candidate: impl Fn(&str) -> Option<Version>) -> Option<PackageSet> {
    sets.iter()
        .find(|[rustc, cargo, source]| {
            candidate(rustc).is_some_and(|version| version >= OLDEST_RUSTC)
                && candidate(cargo).is_some()
                && candidate(source).is_some()
        })
        .cloned()
}

fn remedy(rejected: &[String]) -> String {
    let mut text = String::from("no toolchain that can build the eBPF half, and none could be installed:\n");
    for reason in rejected {
        text.push_str(&format!("  - {reason}\n"));
    }
    text.push_str("Install one of these, then run the same command again:\n");
    text.push_str(&format!("  with rustup:     {}\n", rustup::install_command()));
    text.push_str(
        "  Debian, as root: apt-get update && apt-get install rustc-web cargo-web rust-web-src llvm-22-dev\n",
    );
    for need in [Need::Toolchain, Need::Llvm(*linker::LLVM_MAJORS.end())] {
        text.push_str(&format!("  Fedora, {}\n", Family::Fedora.line(need)));
    }
    text.push_str(&format!(
        "  Ubuntu, as root: rustc-1.NN, cargo-1.NN and rust-1.NN-src ({OLDEST_RUSTC} or later), and the llvm-N-dev whose \
         N `rustc-1.NN -vV` tells ({} to {})",
        linker::LLVM_MAJORS.start(),
        linker::LLVM_MAJORS.end()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_llvm_are_read_from_rustc() {
        let description = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                           release: 1.96.0\nLLVM version: 22.1.8";
        let (release, llvm) = parse_description(description).unwrap();
        assert_eq!((release.as_str(), llvm.major), ("1.96.0", 22));
        assert!(parse_description("rustc 1.96.0").is_none());
    }

    #[test]
    fn a_package_set_must_be_complete_and_new_enough() {
        let sets = [
            "rustc-web cargo-web rust-web-src",
            "rustc cargo rust-src",
            "rustc-1.97 cargo-1.97 rust-1.97-src",
        ]
        .map(|line| [0, 1, 2].map(|i| line.split(' ').nth(i).unwrap().to_owned()));
        let choose = |offers: &[(&str, &str)]| {
            let candidate = |package: &str| {
                offers
                    .iter()
                    .find(|(name, _)| *name == package)
                    .and_then(|(_, v)| Version::parse(v))
            };
            choose_packages(&sets, candidate).map(|set| set[0].clone())
        };
        let web = [
            ("rustc-web", "1.96.0"),
            ("cargo-web", "1.96.0"),
            ("rust-web-src", "1.96.0"),
        ];
        let old = [("rustc", "1.63.0"), ("cargo", "0.66.0"), ("rust-src", "1.63.0")];
        let versioned = [
            ("rustc-1.97", "1.97.1"),
            ("cargo-1.97", "1.97.1"),
            ("rust-1.97-src", "1.97.1"),
        ];
        assert_eq!(choose(&[web, old].concat()).as_deref(), Some("rustc-web"));
        assert_eq!(
            choose(&[&web[..2], &old, &versioned].concat()).as_deref(),
            Some("rustc-1.97")
        );
        assert_eq!(choose(&old), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn the_remedy_names_commands_and_reasons() {
        let text = remedy(&["rustc 1.63.0 (/usr) is older than 1.95".to_owned()]);
        assert!(text.contains("rustup toolchain install nightly-"));
        assert!(text.contains("apt-get install rustc-web"));
        assert!(text.contains("1.63.0"));
    }
}
