//! RPM packages: kevmon, and kevmon-debuginfo. Written by the crate `rpm`, which needs neither rpmbuild nor a build root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

use super::deb::{DESCRIPTION, HOMEPAGE, MAINTAINER, SUMMARY};
use super::stage::{Staged, with_manifest};
use super::tree::Tree;
use super::{Arch, Release};
use crate::workspace::Workspace;

/// RPM's own revision.
const REVISION: &str = "1";

pub(crate) fn build(
    workspace: &Workspace,
    release: &Release,
    staged: &Staged,
    output: &Path,
) -> Result<Vec<PathBuf>> {
    let mut tree = Tree::default();
    for (path, entry) in staged.tree.files() {
        tree.insert(placed(path), entry.clone())?;
    }
    let tree = with_manifest(release, staged.glibc.as_deref(), &tree)?;
    let mut builder = builder(release, "kevmon", SUMMARY)?;
    builder
        .description(DESCRIPTION.join("\n"))
        .group("System/Monitoring");
    builder.requires(Dependency::any("logrotate"));
    for library in &staged.libraries {
        if !library.starts_with("ld-linux") {
            builder.requires(Dependency::any(format!(
                "{library}(){}",
                bits(release.target.arch)
            )));
        }
    }
    if let Some(glibc) = &staged.glibc {
        builder.requires(Dependency::any(format!(
            "libc.so.6(GLIBC_{glibc}){}",
            bits(release.target.arch)
        )));
    }
    builder.requires(Dependency::script_post("/usr/sbin/useradd"));
    builder.requires(Dependency::script_post("/usr/sbin/groupadd"));
    let accounts = read(workspace, "scripts/accounts.sh")?;
    builder.post_install_script(read(workspace, "rpm/post.sh")?.replace("@ACCOUNTS@", &accounts));
    builder.pre_uninstall_script(read(workspace, "rpm/preun.sh")?);
    builder.post_uninstall_script(read(workspace, "rpm/postun.sh")?);
    for folder in ["etc/kevmon", "usr/share/kevmon"] {
        builder.with_dir_entry(FileOptions::dir(format!("/{folder}")).permissions(0o755))?;
    }
    builder.with_dir_entry(FileOptions::dir("/var/log/kevmon").permissions(0o750))?;
    for folder in tree
        .folders()
        .iter()
        .filter(|folder| folder.starts_with("usr/share/kevmon/"))
    {
        builder.with_dir_entry(FileOptions::dir(format!("/{folder}")).permissions(0o755))?;
    }
    add(&mut builder, &tree)?;
    let main = write(release, builder, "kevmon", output)?;

    let mut builder = self::builder(release, "kevmon-debuginfo", "debug information of kevmon")?;
    builder
        .description("Debug information of the program kevmon.")
        .group("Development/Debug");
    builder.requires(Dependency::eq(
        "kevmon",
        format!("{}-{REVISION}", release.version),
    ));
    add(&mut builder, &staged.debug)?;
    Ok(vec![main, write(release, builder, "kevmon-debuginfo", output)?])
}

fn builder(release: &Release, name: &str, summary: &str) -> Result<PackageBuilder> {
    let time = u32::try_from(release.time).context("the commit's date is beyond what RPM can write")?;
    let config = BuildConfig::default()
        .source_date(time)
        .compression(CompressionType::Gzip);
    let mut builder = PackageBuilder::new(
        name,
        &release.version,
        "MIT",
        release.target.arch.kernel(),
        summary,
    );
    builder
        .using_config(config)
        .release(REVISION)
        .url(HOMEPAGE)
        .packager(MAINTAINER)
        .build_host("localhost");
    let version = format!("{MAINTAINER} - {}-{REVISION}", release.version);
    let text = format!(
        "- Made of commit {}.",
        release.commit.get(..12).unwrap_or("unknown")
    );
    builder.add_changelog_entry(version, text, time);
    Ok(builder)
}

fn add(builder: &mut PackageBuilder, tree: &Tree) -> Result<()> {
    for (path, entry) in tree.files() {
        let permissions = u16::try_from(entry.mode).context("a mode")?;
        let mut options = FileOptions::new(format!("/{path}")).permissions(permissions);
        if entry.config {
            options = options.config().noreplace();
        }
        if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
            options = options.doc();
        }
        builder
            .with_file_contents(entry.content.clone(), options)
            .with_context(|| format!("rpm: {path}"))?;
    }
    Ok(())
}

/// Where RPM's distributions have what Debian has elsewhere.
fn placed(path: &str) -> String {
    path.replace(
        "usr/share/zsh/vendor-completions/",
        "usr/share/zsh/site-functions/",
    )
}

fn bits(arch: Arch) -> &'static str {
    match arch {
        Arch::X86 | Arch::Arm => "(64bit)",
    }
}

fn read(workspace: &Workspace, name: &str) -> Result<String> {
    let path = workspace.root().join("packaging").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn write(release: &Release, mut builder: PackageBuilder, name: &str, output: &Path) -> Result<PathBuf> {
    let package = builder.build().with_context(|| format!("rpm: {name}"))?;
    let path = output.join(format!(
        "{name}-{}-{REVISION}.{}.rpm",
        release.version,
        release.target.arch.kernel()
    ));
    let mut content = Vec::new();
    package
        .write(&mut content)
        .with_context(|| format!("rpm: {name}"))?;
    fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(path)
}
