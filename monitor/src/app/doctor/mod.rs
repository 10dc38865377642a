//! `kevmon doctor`: what of this host, this user and this configuration keeps kevmon from working, and what to do about it.
//!
//! Each check asks for the very thing that the daemon needs, and in the daemon's own way: it loads the programs, connects to the
//! receivers, reads the files. Nothing that a running daemon holds is taken, and nothing is changed without `--fix`.

mod check;
mod exports;
mod files;
mod kernel;
mod rights;

use anyhow::{Context, Result};
use serde_json::json;

use self::check::Check;
use super::{
    Exit, block_on, output,
    sources::{Configuration, Sources},
};
use crate::{
    cli::{Args, DoctorArgs},
    shown,
};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing is wrong.
    Fine,
    /// kevmon works, with less than it could have.
    Warning,
    /// Something that was asked for does not work.
    Fault,
}

impl Outcome {
    fn mark(self) -> char {
        match self {
            Self::Fine => '✓',
            Self::Warning => '!',
            Self::Fault => '✗',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    check: Check,
    /// Which one, where a check is made of several: a receiver's name and signal. Else empty.
    subject: String,
    outcome: Outcome,
    /// What was found.
    found: String,
    /// What to do about it; empty where nothing has to be done.
    remedy: String,
}

fn fine(check: Check, found: impl Into<String>) -> Finding {
    Finding {
        check,
        subject: String::new(),
        outcome: Outcome::Fine,
        found: found.into(),
        remedy: String::new(),
    }
}

fn warning(check: Check, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        outcome: Outcome::Warning,
        remedy: remedy.into(),
        ..fine(check, found)
    }
}

fn fault(check: Check, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        outcome: Outcome::Fault,
        ..warning(check, found, remedy)
    }
}

impl Finding {
    /// The same, made of one of several.
    fn of(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    /// What was looked at, as it is printed.
    fn name(&self) -> String {
        match self.subject.as_str() {
            "" => self.check.to_string(),
            subject => format!("{} {subject}", self.check),
        }
    }

    fn line(&self) -> String {
        let remedy = match self.remedy.as_str() {
            "" => String::new(),
            remedy => format!("; {remedy}"),
        };
        let text = format!("{} {}: {}{remedy}", self.outcome.mark(), self.name(), self.found);
        shown::one_line(&text).into_owned()
    }
}

/// Makes all checks and prints them.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &DoctorArgs) -> Result<Exit> {
    let sources = Sources::new(daemon_args(args));
    block_on(async {
        let findings = examine(&sources, args.fix).await;
        print(&findings, args.json)?;
        let is_faulty = findings.iter().any(|finding| finding.outcome == Outcome::Fault);
        Ok(if is_faulty {
            Exit::NothingFound
        } else {
            Exit::Success
        })
    })
}

/// The daemon whose start is tried.
fn daemon_args(args: &DoctorArgs) -> Args {
    let mut of_daemon = Args::of_daemon();
    of_daemon.config.clone_from(&args.config);
    of_daemon.metadata_db_path.clone_from(&args.metadata_db_path);
    of_daemon.plugins_dir.clone_from(&args.plugins_dir);
    of_daemon
}

async fn examine(sources: &Sources, fix: bool) -> Vec<Finding> {
    let mut findings = kernel::checks();
    findings.extend(rights::checks());
    let Configuration { loaded, settled, .. } = sources.read();
    findings.extend(files::configuration(&loaded, settled.as_ref().err()));
    findings.extend(files::state(sources, settled.as_ref().ok(), fix));
    if let Ok(settings) = &settled {
        findings.extend(exports::checks(settings, loaded.plugins).await);
    }
    findings
}

fn print(findings: &[Finding], is_json: bool) -> Result<()> {
    let text = if is_json {
        let all: Vec<_> = findings
            .iter()
            .map(|finding| {
                let mut object = json!({
                    "check": finding.name(),
                    "result": finding.outcome.name(),
                    "found": finding.found,
                });
                if !finding.remedy.is_empty() {
                    object["remedy"] = json!(finding.remedy);
                }
                object
            })
            .collect();
        shown::json(&format!("{:#}\n", json!(all))).into_owned()
    } else {
        findings.iter().map(|finding| finding.line() + "\n").collect()
    };
    output::print(&text).map(|_| ()).context("standard output")
}
