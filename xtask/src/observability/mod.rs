//! `cargo xtask observability`: writes the dashboards and alerts of packaging/observability. Each query is written once, in terms of a
//! [`scheme::Scheme`], and comes out for each database and each `naming`.

mod grafana;
mod own;
mod own_rules;
mod own_tests;
mod rule_tests;
mod rules;
mod scheme;
mod service_rules;
mod service_tests;
mod services;

use std::fs;

use anyhow::{Context, Result};

use crate::shell;
use crate::workspace::Workspace;
use scheme::{Backend, Naming};

/// The folder below the repository's root.
pub(crate) const FOLDER: &str = "packaging/observability";
/// Where the tests of the alerts are, below the repository's root.
const TESTS: &str = "tests/fixtures/alerts";
/// What to do about each alert.
const RUNBOOK: &str = "https://github.com/kevmon/kevmon/blob/main/docs/dashboards.md";

/// All files: the path below the repository's root, and the text.
fn files() -> Vec<(String, String)> {
    let packaged = packaged().into_iter();
    let mut files: Vec<(String, String)> = packaged
        .map(|(name, text)| (format!("{FOLDER}/{name}"), text))
        .collect();
    for backend in Backend::ALL {
        let folder = backend.folder();
        let tested = |rules: &str, cases: &[rule_tests::Case]| {
            let name = format!("{TESTS}/{folder}-{rules}.yml");
            (
                name,
                rule_tests::text(&format!("../../../{FOLDER}/{folder}/alerts-{rules}.yml"), cases),
            )
        };
        files.push(tested("kevmon", &own_tests::cases(backend)));
        for naming in Naming::ALL {
            let rules = format!("services{}", naming.suffix());
            files.push(tested(&rules, &service_tests::cases(backend, naming)));
        }
    }
    files
}

/// Those of packages: the path below the folder, and the text.
fn packaged() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for backend in Backend::ALL {
        let folder = backend.folder();
        files.push((
            format!("{folder}/kevmon-itself.json"),
            own::dashboard(backend).text(),
        ));
        let about = format!("Alerts about kevmon itself, for {}.", backend.title());
        files.push((
            format!("{folder}/alerts-kevmon.yml"),
            own_rules::group(backend).text(&about),
        ));
        for naming in Naming::ALL {
            let suffix = naming.suffix();
            files.push((
                format!("{folder}/kevmon-services{suffix}.json"),
                services::dashboard(backend, naming).text(),
            ));
            let about = format!(
                "Alerts about services that kevmon watches, for {}, of plugins with naming = \"{}\".",
                backend.title(),
                naming.value()
            );
            files.push((
                format!("{folder}/alerts-services{suffix}.yml"),
                service_rules::group(backend, naming).text(&about),
            ));
        }
    }
    files
}

/// Writes them all.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    for (name, text) in files() {
        let path = workspace.root().join(&name);
        let parent = path.parent().unwrap_or(workspace.root());
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        shell::say(format_args!("wrote {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_files_are_what_the_generator_writes() {
        let mut written = BTreeSet::new();
        for (name, text) in files() {
            let path = root().join(&name);
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "{name} is not what `cargo xtask observability` writes"
            );
            written.insert(path);
        }
        let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let packaged = entries(&root().join(FOLDER)).flat_map(|path| entries(&path));
        let there: BTreeSet<PathBuf> = packaged.chain(entries(&root().join(TESTS))).collect();
        let more: Vec<_> = there.difference(&written).collect();
        assert!(
            more.is_empty(),
            "not written by `cargo xtask observability`: {more:?}"
        );
    }

    #[test]
    fn every_alert_has_its_runbook() {
        let page = include_str!("../../../docs/dashboards.md");
        for backend in Backend::ALL {
            let services = Naming::ALL.map(|naming| service_rules::group(backend, naming));
            let rules = services
                .into_iter()
                .chain([own_rules::group(backend)])
                .flat_map(|group| group.rules);
            for rule in rules {
                let heading = format!("### {}\n", rule.alert);
                assert!(
                    page.contains(&heading),
                    "docs/dashboards.md has no heading {heading:?}"
                );
            }
        }
    }
}
