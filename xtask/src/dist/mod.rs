//! `cargo xtask dist`: packages of kevmon. One list of files ([`tree::Tree`]) is staged once, in memory, and each format packs
//! it by itself, so that all formats hold the same files and none needs a build root, fakeroot or a distribution's tools. Nothing
//! of the machine enters: no clock, no user, no order of a folder. Two builds of a commit give the same bytes.

mod archive;
mod binary;
mod deb;
mod elf;
pub(crate) mod for_tests;
mod image;
#[cfg(test)]
mod kubernetes;
mod licences;
mod manifest;
mod metadata;
mod musl;
mod rpm;
mod sbom;
mod stage;
mod tarball;
mod target;
mod tree;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::shell;
use crate::user::Profile;
use crate::workspace::Workspace;

pub(crate) use self::target::Arch;
use self::target::{Libc, Target};

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For Debian and Ubuntu, with the debug file in a package of its own
    Deb,
    /// For Fedora, RHEL and SUSE, with the debug file in a package of its own
    Rpm,
    /// For any distribution, with install.sh
    Tarball,
    /// For container runtimes: an OCI layout in a tar file
    Image,
}

impl Format {
    /// Distributions have a C library and keep it safe; elsewhere kevmon brings its own.
    fn libc(self) -> Libc {
        match self {
            Self::Deb | Self::Rpm => Libc::Glibc,
            Self::Tarball | Self::Image => Libc::Musl,
        }
    }
}

const FORMATS: [Format; 4] = [Format::Deb, Format::Rpm, Format::Tarball, Format::Image];

/// The command line of `dist`.
#[derive(Debug, Args)]
pub(crate) struct DistArgs {
    /// The processor that the packages are for [default: this machine's]
    #[arg(long, value_enum)]
    target: Option<Arch>,
    /// Build kevmon without optimisation, for tests of packages
    #[arg(long, value_enum, default_value_t = BuildProfile::Release)]
    profile: BuildProfile,
    /// Package this kevmon, and build none; a static one is for any distribution, another one for those with its glibc
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The packages' version, such as 0.2.0~rc1 [default: the workspace's]
    #[arg(long, value_name = "VERSION")]
    package_version: Option<String>,
    /// Where the packages go [default: target/dist]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Which packages [default: all]
    #[arg(value_enum)]
    formats: Vec<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BuildProfile {
    Release,
    Dev,
}

/// What all packages of one run share.
#[derive(Debug)]
pub(crate) struct Release {
    /// As Debian and RPM write it, without their own revision.
    pub(crate) version: String,
    pub(crate) target: Target,
    /// The commit's full id; empty outside a repository.
    pub(crate) commit: String,
    /// When the commit was made, Unix seconds: the time of every file.
    pub(crate) time: u64,
}

/// Packages, and the programs in them.
#[derive(Debug, Default)]
struct Made {
    packages: Vec<PathBuf>,
    /// Bytes without debug information, of the program for each target.
    programs: Vec<(Target, u64)>,
}

/// Builds what is asked for and prints the sizes.
pub(crate) fn run(workspace: &Workspace, args: &DistArgs) -> Result<()> {
    let output = output(workspace, args)?;
    let made = build(workspace, args)?;
    report(&output, &made)
}

fn output(workspace: &Workspace, args: &DistArgs) -> Result<PathBuf> {
    let output = match &args.output {
        Some(folder) => folder.clone(),
        None => workspace.user_target().join("dist"),
    };
    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    Ok(output)
}

fn build(workspace: &Workspace, args: &DistArgs) -> Result<Made> {
    let arch = match args.target {
        Some(arch) => arch,
        None => Arch::here()?,
    };
    let output = output(workspace, args)?;
    let formats: &[Format] = match args.formats.is_empty() {
        true => &FORMATS,
        false => &args.formats,
    };
    let mut made = Made::default();
    if let Some(program) = &args.binary {
        let any = Target {
            arch,
            libc: Libc::Glibc,
        };
        let libc = binary::libc(program, any)?;
        pack(
            workspace,
            args,
            Target { arch, libc },
            program,
            formats,
            &mut made,
        )?;
        return Ok(made);
    }
    let profile = match args.profile {
        BuildProfile::Release => Profile::Release,
        BuildProfile::Dev => Profile::Dev,
    };
    for libc in [Libc::Glibc, Libc::Musl] {
        let of_libc: Vec<Format> = formats
            .iter()
            .copied()
            .filter(|format| format.libc() == libc)
            .collect();
        if of_libc.is_empty() {
            continue;
        }
        let target = Target { arch, libc };
        let program = binary::build(workspace, target, profile)?;
        if libc == Libc::Musl {
            trial::run(&program, arch, &output.join("trial"))?;
        }
        pack(workspace, args, target, &program, &of_libc, &mut made)?;
    }
    Ok(made)
}

/// Makes the packages of one program.
fn pack(
    workspace: &Workspace,
    args: &DistArgs,
    target: Target,
    program: &Path,
    formats: &[Format],
    made: &mut Made,
) -> Result<()> {
    let release = release(workspace, args, target)?;
    let output = output(workspace, args)?;
    let work = output.join("work");
    let split = binary::split(workspace, &release, program, &work)?;
    let staged = stage::stage(workspace, &release, &split, &work)?;
    made.programs.push((target, staged.program_size()));
    for format in formats {
        made.packages.extend(match format {
            Format::Deb => deb::build(workspace, &release, &staged, &output)?,
            Format::Rpm => rpm::build(workspace, &release, &staged, &output)?,
            Format::Tarball => tarball::build(workspace, &release, &staged, &output)?,
            Format::Image => image::build(&release, &staged, &output)?,
        });
    }
    fs::remove_dir_all(&work).with_context(|| work.display().to_string())
}

fn release(workspace: &Workspace, args: &DistArgs, target: Target) -> Result<Release> {
    let version = match &args.package_version {
        Some(version) => version.clone(),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
    if !version.starts_with(|c: char| c.is_ascii_digit()) || !version.chars().all(fits) {
        bail!(
            "--package-version {version}: not a version; write digits, letters, '.', '+' and '~', such as 0.2.0~rc1"
        );
    }
    let git = |format: &str| {
        let mut command = shell::command("git");
        command.current_dir(workspace.root()).args(["log", "-1", format]);
        shell::read(&mut command).map(|text| text.trim().to_owned())
    };
    let time = match std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| git("--format=%ct"))
    {
        Some(text) => text
            .parse()
            .with_context(|| format!("{text:?} is no time in Unix seconds"))?,
        None => bail!(
            "there is no commit whose date the packages would have; set SOURCE_DATE_EPOCH to a time in Unix seconds"
        ),
    };
    Ok(Release {
        version,
        target,
        commit: git("--format=%H").unwrap_or_default(),
        time,
    })
}

/// Writes SHA256SUMS, and prints what was made as a table of docs/installing.md.
fn report(output: &Path, made: &Made) -> Result<()> {
    let mut sums = String::new();
    let mut rows = String::from("| file | MB |\n|---|---|\n");
    for (target, bytes) in &made.programs {
        rows.push_str(&format!(
            "| the program for {}, stripped | {} |\n",
            target.triple(),
            megabytes(*bytes)
        ));
    }
    for path in &made.packages {
        let content = fs::read(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sums.push_str(&format!("{}  {name}\n", tree::sha256(&content)));
        rows.push_str(&format!("| `{name}` | {} |\n", megabytes(content.len() as u64)));
    }
    shell::say(format_args!("packages in {}:", output.display()));
    print!("{rows}");
    let path = output.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| path.display().to_string())
}

/// Millions of bytes, with one digit after the point.
fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
