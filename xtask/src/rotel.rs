//! rotel, the OTLP receiver that the end-to-end tests send to: installed once from PyPI into target/tools.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::distribution::{Family, Need};
use crate::packages::Apt;
use crate::shell;
use crate::workspace::Workspace;

const VERSION: &str = "0.0.1a15";

/// Installs rotel where it is not there, and returns its launcher (`rotel start …`).
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    let venv = workspace.tools().join("rotel-venv");
    let launcher = venv.join("bin/rotel");
    let stamp_file = venv.join("rotel.stamp");
    let fits = fs::read_to_string(&stamp_file).is_ok_and(|found| found == VERSION);
    if fits && runs(&launcher) {
        return Ok(launcher);
    }

    let python = find_or_install_python()?;
    shell::say(format_args!(
        "setup: installing rotel {VERSION} from PyPI into {}",
        venv.display()
    ));
    // `--clear` also removes what an interrupted installation left.
    shell::run_step(shell::command(&python).args(["-m", "venv", "--clear"]).arg(&venv))
        .with_context(|| format!("{} cannot create a virtual environment", python.display()))?;
    shell::run_step(
        shell::command(venv.join("bin/pip"))
            .args(["install", "--progress-bar", "off", "--disable-pip-version-check"])
            .arg(format!("rotel=={VERSION}")),
    )
    .with_context(|| {
        format!(
            "cannot install rotel {VERSION}: see above whether PyPI could be reached; it has wheels for CPython 3.10 to \
             3.13 on glibc 2.34 or later only"
        )
    })?;

    // The wheel has no entry point; its program lies among the package's files.
    let agent = find_agent(&venv)?;
    symlink(&agent, &launcher).with_context(|| format!("cannot create {}", launcher.display()))?;
    if !runs(&launcher) {
        install_libpython(&python)?;
    }
    if !runs(&launcher) {
        bail!(
            "{} does not run: `ldd {}` says which library is missing",
            launcher.display(),
            agent.display()
        );
    }
    fs::write(&stamp_file, VERSION).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(launcher)
}

fn runs(launcher: &Path) -> bool {
    shell::read(shell::command(launcher).arg("--version")).is_some()
}

/// A Python with venv and pip. The system's own comes first: rotel's program needs a libpython of the same version,
/// which the system's packages have.
pub(crate) fn find_or_install_python() -> Result<PathBuf> {
    if let Some(python) = find_python() {
        return Ok(python);
    }
    let Some(mut apt) = Apt::find() else {
        Family::here()
            .install(Need::Python)
            .context("the end-to-end tests need python3 with its `venv` and `ensurepip` modules")?;
        return find_python()
            .context("python3 is installed, but `python3 -c 'import venv, ensurepip'` fails");
    };
    shell::say(format_args!(
        "setup: python3 with `venv` is missing; the end-to-end tests' receiver needs it"
    ));
    apt.install(&["python3".to_owned(), "python3-venv".to_owned()])?;
    find_python()
        .context("python3 and python3-venv are installed, but `python3 -c 'import venv, ensurepip'` fails")
}

fn find_python() -> Option<PathBuf> {
    let candidates = [
        Some(PathBuf::from("/usr/bin/python3")),
        shell::find_program("python3"),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|python| shell::read(shell::command(python).args(["-c", "import venv, ensurepip"])).is_some())
}

fn find_agent(venv: &Path) -> Result<PathBuf> {
    let lib = venv.join("lib");
    fs::read_dir(&lib)
        .with_context(|| format!("cannot read {}", lib.display()))?
        .flatten()
        .map(|entry| entry.path().join("site-packages/rotel/rotel-agent"))
        .find(|agent| agent.is_file())
        .with_context(|| format!("rotel {VERSION} installed no rotel-agent under {}", lib.display()))
}

fn install_libpython(python: &Path) -> Result<()> {
    let script = "import sys; print('libpython%d.%d' % sys.version_info[:2])";
    let library = shell::read(shell::command(python).args(["-c", script]))
        .with_context(|| format!("{} does not tell its version", python.display()))?;
    match Apt::find() {
        Some(mut apt) => {
            shell::say(format_args!("setup: rotel needs the shared library of {library}"));
            apt.install(&[library])
        }
        None => bail!("rotel needs the shared library of {library}: install it and run again"),
    }
}
