//! Programs out of Debian packages, unpacked into target/tools and not installed: no service of theirs starts, and
//! nothing on the machine changes. They may come from a newer suite than the machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::dist::Arch;
use crate::packages::{Apt, Version};
use crate::shell;
use crate::workspace::Workspace;

/// Debian's keys, as its keyring package lays them; the name ends in .pgp from Debian 13 on.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// The folder of package lists that only one fetch needs.
const LISTS: &str = "apt";

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What the machine installs from.
    Own,
    /// Another suite of the mirror that the machine installs from.
    Named(&'static str),
}

/// A program that one package holds.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) suite: Suite,
    /// Inside the package.
    pub(crate) path: &'static str,
    /// What it answers with exit code 0.
    pub(crate) version_flag: &'static str,
}

impl Program {
    /// Fetches and unpacks the package where it is not there, and returns the program.
    pub(crate) fn setup(&self, workspace: &Workspace) -> Result<PathBuf> {
        let folder = workspace.tools().join(self.package);
        let program = folder.join(self.path);
        let stamp_file = folder.join("package.stamp");
        let stamp = format!("{} {:?}", self.package, self.suite);
        if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) && self.runs(&program) {
            return Ok(program);
        }
        let Some(mut apt) = Apt::find() else {
            bail!(
                "apt-get is not on PATH: the package `{}` is Debian's",
                self.package
            );
        };
        shell::say(format_args!(
            "setup: unpacking Debian's {} into {}",
            self.package,
            folder.display()
        ));
        // Also what an interrupted fetch left.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        create(&folder)?;
        let sources = match self.suite {
            Suite::Own => {
                apt.update()?;
                Sources::own()
            }
            Suite::Named(suite) => Sources::private(&folder.join(LISTS), suite)?,
        };
        let package = sources
            .download(&folder, &[self.package.to_owned()])?
            .pop()
            .with_context(|| format!("apt-get left no package in {}", folder.display()))?;
        shell::run_step(shell::command("dpkg-deb").arg("-x").arg(&package).arg(&folder))?;
        if !self.runs(&program) {
            apt.install(&libraries(&package)?)?;
        }
        if !self.runs(&program) {
            bail!(
                "{0} does not run: `{0} {1}` says why",
                program.display(),
                self.version_flag
            );
        }
        fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
        let lists = folder.join(LISTS);
        if lists.exists() {
            fs::remove_dir_all(&lists).with_context(|| format!("cannot remove {}", lists.display()))?;
        }
        fs::write(&stamp_file, &stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
        Ok(program)
    }

    fn runs(&self, program: &Path) -> bool {
        shell::read(shell::command(program).arg(self.version_flag)).is_some()
    }
}

/// The version that the machine's own packages have.
pub(crate) fn own_candidate(package: &str) -> Option<Version> {
    Apt::find()?.candidate(package)
}

fn apt_get(options: &[String]) -> Command {
    let mut command = shell::command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(options);
    command
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Package lists, and what is fetched by them.
#[derive(Debug)]
pub(crate) struct Sources {
    /// apt's options that name the lists.
    options: Vec<String>,
}

impl Sources {
    /// The machine's own.
    fn own() -> Self {
        Self { options: Vec::new() }
    }

    /// Those of `suite` for this machine's processor, in a folder of their own.
    pub(crate) fn private(folder: &Path, suite: &str) -> Result<Self> {
        Self::foreign(folder, suite, None)
    }

    /// The same for another processor.
    pub(crate) fn foreign(folder: &Path, suite: &str, arch: Option<Arch>) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            create(&folder.join(part))?;
        }
        let sources = write_source(folder, suite)?;
        let path = |name: &str| folder.join(name).display().to_string();
        let architecture = arch.into_iter().flat_map(|arch| {
            ["APT::Architecture", "APT::Architectures"].map(|name| format!("{name}={}", arch.debian()))
        });
        let options: Vec<String> = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::Cache={}", path("cache")),
            // What is installed here says nothing about that suite.
            "Dir::State::status=/dev/null".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ]
        .into_iter()
        .chain(architecture)
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        shell::run_step(apt_get(&options).args(["-q", "update"]))
            .with_context(|| format!("the machine's package mirror has no Debian suite `{suite}`"))?;
        Ok(Self { options })
    }

    /// These packages and all that they depend on, on a machine that has none of them.
    pub(crate) fn needed(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut command = apt_get(&self.options);
        command
            .args(["-q", "--simulate", "--no-install-recommends", "install"])
            .args(packages);
        let told = shell::read(&mut command).with_context(|| format!("`{}` fails", shell::line(&command)))?;
        Ok(simulated(&told))
    }

    /// Fetches packages into `folder`; returns their files.
    pub(crate) fn download(&self, folder: &Path, packages: &[String]) -> Result<Vec<PathBuf>> {
        // `apt-get download` writes into its working directory; the sandbox's user could not.
        let mut command = apt_get(&self.options);
        command
            .current_dir(folder)
            .args(["-o", "APT::Sandbox::User=root", "-q", "download"])
            .args(packages);
        shell::run_step(&mut command)
            .with_context(|| format!("cannot fetch the Debian packages {}", packages.join(" ")))?;
        let files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(files
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect())
    }
}

/// Writes the source of `suite`, on the mirror that the machine installs from, into `folder`; returns the file.
pub(crate) fn write_source(folder: &Path, suite: &str) -> Result<PathBuf> {
    create(folder)?;
    let keyring = KEYRINGS.into_iter().find(|path| Path::new(path).exists());
    let file = folder.join(format!("{suite}.sources"));
    fs::write(&file, source(&mirror()?, suite, keyring))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The packages that `apt-get --simulate install` would install: of lines such as "Inst golang-go (2:1.24~2 Debian:13/trixie
/// [amd64])".
fn simulated(told: &str) -> Vec<String> {
    told.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// The first mirror of the machine's own sources, as apt reads them.
fn mirror() -> Result<String> {
    let targets = shell::read(shell::command("apt-get").args([
        "indextargets",
        "--no-release-info",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))
    .context("`apt-get indextargets` fails: are the machine's package sources readable?")?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    choose_mirror(&targets, codename(&release))
        .context("the machine's package sources name no mirror with the component `main`")
}

/// The code name of the release that this machine runs.
fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
}

/// The mirror of the release itself rather than of its updates or of somebody else's packages.
fn choose_mirror(targets: &str, codename: Option<&str>) -> Option<String> {
    let targets: Vec<Vec<&str>> = targets
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() == 3 && fields[2] == "main")
        .collect();
    let of_release = targets
        .iter()
        .find(|fields| codename.is_some_and(|name| name == fields[1]));
    of_release.or(targets.first()).map(|fields| fields[0].to_owned())
}

/// A source in apt's format (sources.list(5)): package lists only, no translations and no desktop catalogues.
fn source(uri: &str, suite: &str, keyring: Option<&str>) -> String {
    let signed = keyring.map_or_else(String::new, |path| format!("Signed-By: {path}\n"));
    format!(
        "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nTargets: Packages\nLanguages: none\n{signed}"
    )
}

/// The libraries that a package depends on, of the machine's own suite.
fn libraries(package: &Path) -> Result<Vec<String>> {
    let depends = shell::read(shell::command("dpkg-deb").arg("-f").arg(package).arg("Depends"))
        .with_context(|| format!("`dpkg-deb -f {}` fails", package.display()))?;
    Ok(library_names(&depends))
}

fn library_names(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
        .filter(|name| (name.starts_with("lib") && !name.starts_with("libjs-")) || name.starts_with("zlib"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_releases_own() {
        let targets = "http://a/other/ stable main\nhttp://b/debian/ bookworm-updates main\n\
                       http://b/debian/ bookworm contrib\nhttp://b/debian/ bookworm main";
        for (codename, expected) in [
            (Some("bookworm"), Some("http://b/debian/")),
            (Some("trixie"), Some("http://a/other/")),
            (None, Some("http://a/other/")),
        ] {
            assert_eq!(
                choose_mirror(targets, codename).as_deref(),
                expected,
                "{codename:?}"
            );
        }
        assert_eq!(choose_mirror("", Some("bookworm")), None);
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm")
        );
    }

    #[test]
    fn a_source_names_its_keys_where_there_are_any() {
        let text = source("http://b/debian/", "trixie", Some("/keys.gpg"));
        assert!(text.contains("Suites: trixie\n") && text.ends_with("Signed-By: /keys.gpg\n"));
        assert!(!source("http://b/debian/", "trixie", None).contains("Signed-By"));
    }

    #[test]
    fn simulated_installations_name_packages() {
        let told = "NOTE: This is only a simulation!\nInst golang-go (2:1.24~2 Debian:13/trixie [amd64])\n\
                    Inst libc6 (2.41-12 Debian:13/trixie [amd64]) [x]\nConf golang-go (2:1.24~2 Debian:13/trixie)\n";
        assert_eq!(simulated(told), ["golang-go", "libc6"]);
        assert!(simulated("").is_empty());
    }

    #[test]
    fn only_shared_libraries_are_taken_from_the_dependencies() {
        let depends =
            "adduser, libjs-jquery (>= 3.5.1~), promtool, libc6 (>= 2.34), libssl3 (>= 3.0.0), zlib1g (>= 1)";
        assert_eq!(library_names(depends), ["libc6", "libssl3", "zlib1g"]);
    }
}
