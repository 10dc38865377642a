//! grpcio, the C core's gRPC server, as a receiver of the end-to-end tests: installed once from PyPI into target/tools.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::rotel::find_or_install_python;
use crate::shell;
use crate::workspace::Workspace;

const VERSION: &str = "1.85.3";

/// Installs grpcio where it is not there, and returns a Python that has it.
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    let venv = workspace.tools().join("grpcio-venv");
    let python = venv.join("bin/python");
    let stamp_file = venv.join("grpcio.stamp");
    let fits = fs::read_to_string(&stamp_file).is_ok_and(|found| found == VERSION);
    let runs = || shell::read(shell::command(&python).args(["-c", "import grpc"])).is_some();
    if fits && runs() {
        return Ok(python);
    }
    let system = find_or_install_python()?;
    shell::say(format_args!(
        "setup: installing grpcio {VERSION} from PyPI into {}",
        venv.display()
    ));
    // `--clear` also removes what an interrupted installation left.
    shell::run_step(shell::command(&system).args(["-m", "venv", "--clear"]).arg(&venv))
        .with_context(|| format!("{} cannot create a virtual environment", system.display()))?;
    shell::run_step(
        shell::command(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("grpcio=={VERSION}")),
    )
    .with_context(|| format!("cannot install grpcio {VERSION}: see above whether PyPI could be reached"))?;
    fs::write(&stamp_file, VERSION).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(python)
}
