//! `cargo xtask check-imports`: holds monitor/src to the direction in which data flows.
//!
//! The rules are data ([`rules`]), reading Rust is [`reader`]; here each path that was read is judged by them.

mod reader;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::reader::{Reference, SourceFile, Target};
use crate::shell;
use crate::workspace::Workspace;

const SOURCES: &str = "monitor/src";

/// One import that the rules forbid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {} is not allowed here: {}",
            self.file.display(),
            self.line,
            self.what,
            self.rule
        )
    }
}

/// The command.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    check(workspace)?;
    shell::say(format_args!("the imports of {SOURCES} keep the rules"));
    Ok(ExitCode::SUCCESS)
}

/// The stage of `test`: an error lists every violation.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let sources = workspace.root().join(SOURCES);
    let mut files = Vec::new();
    collect(&sources, &sources, &mut files)?;
    let violations = judge_all(&files)?;
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    bail!(
        "{} forbidden imports (move the code, or change the rules in xtask/src/imports/rules.rs with a reason):\n{}",
        lines.len(),
        lines.join("\n")
    )
}

/// Reads every .rs file below `folder`; names are relative to `base`.
fn collect(base: &Path, folder: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.is_dir() {
            collect(base, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path
                .strip_prefix(base)
                .context("a file lies outside its own folder")?;
            files.push((name.to_path_buf(), text));
        }
    }
    Ok(())
}

/// Judges a set of files, named relative to monitor/src.
fn judge_all(files: &[(PathBuf, String)]) -> Result<Vec<Violation>> {
    let mut sources = Vec::with_capacity(files.len());
    for (name, text) in files {
        sources.push(
            SourceFile::parse(name, text)
                .with_context(|| format!("cannot parse {SOURCES}/{}", name.display()))?,
        );
    }
    // `#[cfg(test)] mod tests;` makes a test of another file.
    let test_modules: Vec<Vec<String>> = sources.iter().flat_map(SourceFile::test_modules).collect();

    let mut violations = Vec::new();
    for ((name, _), source) in files.iter().zip(&sources) {
        let file = Path::new(SOURCES).join(name);
        let owner = source.owner();
        if rules::allowed_modules(owner).is_none() {
            violations.push(Violation {
                file,
                line: 1,
                what: format!("the module `{owner}`"),
                rule: "it has no line in the table of xtask/src/imports/rules.rs; add what it may import"
                    .to_owned(),
            });
            continue;
        }
        let in_test_file = test_modules
            .iter()
            .any(|module| source.module().starts_with(module));
        for reference in source.references() {
            for (what, rule) in judge(owner, &reference, in_test_file) {
                violations.push(Violation {
                    file: file.clone(),
                    line: reference.line,
                    what,
                    rule,
                });
            }
        }
    }
    violations.sort();
    violations.dedup();
    Ok(violations)
}

/// What is wrong with one reference, as (what, rule).
fn judge(owner: &str, reference: &Reference, in_test_file: bool) -> Vec<(String, String)> {
    match &reference.target {
        Target::Module(path) => judge_module(owner, path).into_iter().collect(),
        Target::External(path) => {
            let in_test = in_test_file || reference.in_test;
            let (krate, pure) = (
                judge_crate(owner, path),
                judge_purity(owner, path, reference.is_glob, in_test),
            );
            krate.into_iter().chain(pure).collect()
        }
    }
}

fn judge_module(owner: &str, path: &[String]) -> Option<(String, String)> {
    let target = path.first()?;
    // Names that are no module of this crate (items of main.rs, macros) have no direction.
    if target == owner || rules::allowed_modules(target).is_none() {
        return None;
    }
    let allowed = rules::allowed_modules(owner)?;
    if allowed.contains(&target.as_str()) {
        return None;
    }
    let rule = match allowed {
        [] => format!("`{owner}` imports no other module"),
        allowed => format!("`{owner}` may import only {}", allowed.join(", ")),
    };
    Some((format!("`crate::{}`", path.join("::")), rule))
}

fn judge_crate(owner: &str, path: &[String]) -> Option<(String, String)> {
    let krate = path.first()?;
    let rule = rules::CRATES.iter().find(|rule| rule.covers(krate))?;
    rule.refusal(owner)
        .map(|reason| (format!("the crate `{krate}`"), reason))
}

fn judge_purity(owner: &str, path: &[String], is_glob: bool, in_test: bool) -> Option<(String, String)> {
    if in_test || !rules::PURE_MODULES.contains(&owner) {
        return None;
    }
    let found = rules::IMPURE_PATHS.iter().find(|impure| {
        let impure: Vec<&str> = impure.split("::").collect();
        let common = path.iter().zip(&impure).take_while(|(a, b)| a == b).count();
        // `std::fs::read` lies below `std::fs`; `use std::time::*` brings in what lies below `std::time`.
        common == impure.len() || is_glob && common == path.len()
    })?;
    let name = if is_glob {
        format!("{}::*", path.join("::"))
    } else {
        path.join("::")
    };
    Some((
        format!("`{name}`"),
        format!(
            "`{owner}` is pure: it takes the time and its inputs as arguments and uses no `{found}` outside tests"
        ),
    ))
}
