//! nginx, which the end-to-end tests put in front of a receiver that speaks no TLS, as an operator would.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::deb::{Program, Suite};
use crate::distribution::{Family, Need};
use crate::shell;
use crate::workspace::Workspace;

/// Installs nginx where it is not there, and returns its program.
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = shell::find_program("nginx") {
        return Ok(program);
    }
    let family = Family::here();
    if family != Family::Debian {
        family
            .install(Need::Nginx)
            .context("the end-to-end tests need nginx with its http_v2 and ssl modules")?;
        return shell::find_program("nginx").context("nginx is installed, but not on PATH");
    }
    let program = Program {
        package: "nginx",
        suite: Suite::Own,
        path: "usr/sbin/nginx",
        version_flag: "-v",
    };
    program
        .setup(workspace)
        .context("the end-to-end tests need nginx with its http_v2 and ssl modules: put it on PATH")
}
