//! VictoriaMetrics, the end-to-end tests' receiver over HTTP: a Debian package of a suite whose version takes OTLP.
//! (Debian builds Prometheus 2.53 without OTLP.)

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::deb::{self, Program, Suite};
use crate::packages::Version;
use crate::shell;
use crate::workspace::Workspace;

const PACKAGE: &str = "victoria-metrics";
/// The first one that takes OTLP.
const OLDEST: Version = Version { major: 1, minor: 92 };
/// A suite of Debian that has one, for a machine whose own has none.
const SUITE: &str = "trixie";

/// Installs VictoriaMetrics where it is not there, and returns its program.
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    // Elsewhere than on Debian, from its releases.
    let on_path = ["victoria-metrics", "victoria-metrics-prod"];
    if let Some(program) = on_path.into_iter().find_map(shell::find_program) {
        return Ok(program);
    }
    let own = deb::own_candidate(PACKAGE).is_some_and(|version| version >= OLDEST);
    let program = Program {
        package: PACKAGE,
        suite: if own { Suite::Own } else { Suite::Named(SUITE) },
        path: "usr/bin/victoria-metrics",
        version_flag: "-version",
    };
    program.setup(workspace).with_context(|| {
        format!(
            "the end-to-end tests need VictoriaMetrics {OLDEST} or later: let apt reach a mirror with Debian's suite \
             `{SUITE}`, or put `victoria-metrics` on PATH (a release of github.com/VictoriaMetrics/VictoriaMetrics)"
        )
    })
}
