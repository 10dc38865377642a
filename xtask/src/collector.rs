//! The OpenTelemetry Collector, which is had as source alone: Debian's Go packages of a newer suite, unpacked into target/tools and
//! built there with that suite's Go from the small `main` in tests/collector. Nothing is installed. The build takes some
//! minutes, so it is done on request alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::deb::Sources;
use crate::shell;
use crate::workspace::Workspace;

/// The suite whose packages are built: the first one with a Collector.
const SUITE: &str = "forky";
/// The Collector's core; the packages that it needs come along.
const PACKAGE: &str = "golang-opentelemetry-collector-dev";
/// The folder of its `main`, below the repository's root.
const MAIN: &str = "tests/collector/main.go";

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("collector")
}

/// The program, where it was built.
pub(crate) fn find(workspace: &Workspace) -> Option<PathBuf> {
    let program = folder(workspace).join("collector");
    shell::read(shell::command(&program).arg("--version")).map(|_| program)
}

/// Builds it where its `main` has changed since or it is not there, and returns the program.
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder(workspace);
    let main = workspace.root().join(MAIN);
    let text = fs::read_to_string(&main).with_context(|| format!("cannot read {}", main.display()))?;
    let stamp = format!("{SUITE}\n{text}");
    let stamp_file = folder.join("main.stamp");
    let is_built = fs::read_to_string(&stamp_file).is_ok_and(|built| built == stamp);
    if let Some(program) = find(workspace).filter(|_| is_built) {
        return Ok(program);
    }
    let root = folder.join("root");
    unpack(&root)?;
    build(&folder, &root, &main)?;
    let program = find(workspace).with_context(|| {
        format!(
            "{0} does not run: `{0}/collector --version` says why",
            folder.display()
        )
    })?;
    for part in [root, folder.join("cache")] {
        remove(&part)?;
    }
    fs::write(&stamp_file, &stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(program)
}

/// Fetches and unpacks the sources and the Go that builds them.
fn unpack(root: &Path) -> Result<()> {
    if shell::find_program("apt-get").is_none() {
        bail!("apt-get is not on PATH: the Collector is built from Debian's packages");
    }
    // What an interrupted build left.
    remove(root)?;
    let packages = root.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("cannot create {}", packages.display()))?;
    let lists = root.join("apt");
    let sources = Sources::private(&lists, SUITE)?;
    // The Go packages alone: without cgo, no library of C is needed.
    let mut needed = sources.needed(&[PACKAGE, "golang-go"])?;
    needed.retain(|name| name.starts_with("golang"));
    shell::say(format_args!(
        "setup: fetching the Collector's source, {} packages of Debian's {SUITE}",
        needed.len()
    ));
    for package in sources.download(&packages, &needed)? {
        shell::run_step(shell::command("dpkg-deb").arg("-x").arg(&package).arg(root))?;
    }
    remove(&packages)?;
    remove(&lists)
}

fn build(folder: &Path, root: &Path, main: &Path) -> Result<()> {
    shell::say(format_args!("setup: building the Collector; this takes minutes"));
    let go_root = go_root(root)?;
    let mut command = shell::command("nice");
    command
        .args(["-n", "15"])
        .arg(go_root.join("bin/go"))
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(folder.join("collector"))
        .arg(main)
        .current_dir(folder)
        .env("GOROOT", &go_root)
        .env("GOPATH", root.join("usr/share/gocode"))
        .env("GOCACHE", folder.join("cache"))
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-p=1")
        .env("CGO_ENABLED", "0");
    shell::run_step(&mut command).with_context(|| {
        format!("the Collector cannot be built: Debian's {PACKAGE} may be newer than {MAIN} was written for")
    })
}

/// Where the packages put Go: /usr/lib/go-1.27, say.
fn go_root(root: &Path) -> Result<PathBuf> {
    let lib = root.join("usr/lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let versioned = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with("go-")) && path.join("bin/go").is_file()
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(versioned)
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("Debian's {SUITE} put no Go into {}", lib.display()))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
