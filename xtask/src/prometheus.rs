//! Prometheus, the end-to-end tests' receiver over HTTP: a Debian package of a suite that has OTLP in it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::deb::{self, Program, Suite};
use crate::packages::Version;
use crate::shell;
use crate::workspace::Workspace;

/// The first one that takes OTLP.
const OLDEST: Version = Version { major: 2, minor: 47 };
/// From here on another flag switches it on.
const TOO_NEW: Version = Version { major: 3, minor: 0 };
/// A suite of Debian that has one, for a machine whose own has none.
const SUITE: &str = "trixie";

/// Installs Prometheus where it is not there, and returns its program.
pub(crate) fn setup(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = shell::find_program("prometheus").filter(version_fits) {
        return Ok(program);
    }
    let own = deb::own_candidate("prometheus").is_some_and(fits);
    let program = Program {
        package: "prometheus",
        suite: if own { Suite::Own } else { Suite::Named(SUITE) },
        path: "usr/bin/prometheus",
        version_flag: "--version",
    };
    program.setup(workspace).with_context(|| {
        format!(
            "the end-to-end tests need Prometheus {OLDEST} or later, below {TOO_NEW}: put one on PATH, or let apt reach a \
             mirror with Debian's suite `{SUITE}`"
        )
    })
}

fn fits(version: Version) -> bool {
    (OLDEST..TOO_NEW).contains(&version)
}

fn version_fits(program: &PathBuf) -> bool {
    shell::read(shell::command(program).arg("--version"))
        .and_then(|text| parse_version(&text))
        .is_some_and(fits)
}

/// Reads "prometheus, version 2.53.3+ds1 (branch: …".
fn parse_version(text: &str) -> Option<Version> {
    Version::parse(
        text.strip_prefix("prometheus, version ")?
            .split_whitespace()
            .next()?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_take_otlp_by_the_same_flag() {
        for (text, expected) in [
            ("prometheus, version 2.53.3+ds1 (branch: debian/sid)", true),
            ("prometheus, version 2.47.0", true),
            ("prometheus, version 2.42.0+ds", false),
            ("prometheus, version 3.1.0", false),
            ("something else", false),
        ] {
            assert_eq!(parse_version(text).is_some_and(fits), expected, "{text}");
        }
    }
}
