//! Prometheus and promtool, which read kevmon's page in the end-to-end tests: Debian packages of a suite whose version can
//! be told which format to scrape. (Debian builds them without the OTLP receiver.)

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::deb::{self, Program, Suite};
use crate::packages::Version;
use crate::shell;
use crate::workspace::Workspace;

/// The first one with `scrape_protocols`.
const OLDEST: Version = Version { major: 2, minor: 49 };
/// A suite of Debian that has one, for a machine whose own has none.
const SUITE: &str = "forky";

/// The two programs.
#[derive(Debug)]
pub(crate) struct Prometheus {
    pub(crate) server: PathBuf,
    pub(crate) promtool: PathBuf,
}

/// Installs Prometheus where it is not there.
pub(crate) fn setup(workspace: &Workspace) -> Result<Prometheus> {
    // Elsewhere than on Debian, from its releases.
    if let (Some(server), Some(promtool)) = (find("prometheus"), find("promtool")) {
        return Ok(Prometheus { server, promtool });
    }
    Ok(Prometheus {
        server: unpack(workspace, "prometheus", "usr/bin/prometheus")?,
        promtool: unpack(workspace, "promtool", "usr/bin/promtool")?,
    })
}

fn unpack(workspace: &Workspace, package: &'static str, path: &'static str) -> Result<PathBuf> {
    let own = deb::own_candidate(package).is_some_and(|version| version >= OLDEST);
    let program = Program {
        package,
        suite: if own { Suite::Own } else { Suite::Named(SUITE) },
        path,
        version_flag: "--version",
    };
    program.setup(workspace).with_context(|| {
        format!(
            "the end-to-end tests need Prometheus {OLDEST} or later: let apt reach a mirror with Debian's suite `{SUITE}`, \
             or put `prometheus` and `promtool` on PATH (a release of github.com/prometheus/prometheus)"
        )
    })
}

/// A Prometheus on PATH that receives OTLP.
pub(crate) fn find_with_otlp() -> Option<PathBuf> {
    let program = find("prometheus")?;
    let help = shell::read(shell::command(&program).arg("--help"))?;
    help.contains("--web.enable-otlp-receiver").then_some(program)
}

/// On PATH, where it is new enough.
fn find(name: &str) -> Option<PathBuf> {
    let program = shell::find_program(name)?;
    let said = shell::read(shell::command(&program).arg("--version"))?;
    is_new_enough(&said).then_some(program)
}

/// By its answer: "prometheus, version 2.53.3+ds1 (branch: …".
fn is_new_enough(said: &str) -> bool {
    let version = said
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1);
    version
        .and_then(Version::parse)
        .is_some_and(|version| version >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_a_choice_of_format_are_too_old() {
        for (said, expected) in [
            (
                "prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5+b5)",
                false,
            ),
            ("prometheus, version 2.49.0 (branch: HEAD)", true),
            ("promtool, version 3.5.0 (branch: HEAD)", true),
            ("", false),
        ] {
            assert_eq!(is_new_enough(said), expected, "{said:?}");
        }
    }
}
