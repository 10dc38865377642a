//! `cargo xtask vm-test`: boots kernels of several ages in QEMU and runs the tests there that depend on the kernel.
//!
//! A verifier refuses what a newer one takes, and a structure that one kernel has another one lacks, so what runs on this
//! machine's kernel says little about others. The guest holds the test programs, kevmon and a shell, in memory; nothing is
//! installed on this machine but QEMU, and no right is needed. The guest's processors are translated (TCG), which works
//! everywhere and is some ten times slower: the tests wait for longer there (`KEVMON_TEST_PATIENCE`).

mod archive;
mod features;
mod kernel;
mod machine;
mod root;
pub(crate) mod service;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::{self, Warnings};
use crate::shell;
use crate::test::programs;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

use features::FEATURES;
use kernel::{KERNELS, Kernel};
use machine::{Ended, Machine};

/// What `vm-test` was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Names of kernels; none: all of them.
    pub(crate) kernels: &'a [String],
    /// Filters on test names; none: the tests that depend on the kernel.
    pub(crate) filters: &'a [OsString],
    /// Which kevmon runs there.
    pub(crate) profile: Profile,
    /// What cannot be had here is no failure.
    pub(crate) where_possible: bool,
}

/// How a kernel did; an error: it did not come to the tests.
#[derive(Debug)]
struct Report {
    kernel: Kernel,
    release: Option<String>,
    outcome: Result<Ended>,
}

/// Boots each of the kernels and runs the tests there.
///
/// # Errors
/// A name is none of a kernel's, or something cannot be built.
pub(crate) fn test(workspace: &Workspace, asked: &Asked<'_>) -> Result<ExitCode> {
    let kernels = chosen(asked.kernels)?;
    ebpf::setup(workspace)?.build(workspace, Warnings::Denied)?;
    let programs = programs::build(workspace, Profile::Dev)?;
    let kevmon = match asked.profile {
        Profile::Dev => programs.kevmon.clone().context("the build left no kevmon")?,
        // What is shipped is what other machines' kernels run; and it starts fast enough for a slow guest.
        Profile::Release => user::build(workspace, Profile::Release)?,
    };
    let arguments = arguments(asked.filters);
    let reports: Vec<Report> = kernels
        .into_iter()
        .map(|kernel| {
            shell::say(format_args!("vm-test: Linux {}", kernel.name));
            let mut release = None;
            let outcome = kernel.setup(workspace).and_then(|image| {
                release = Some(image.release.clone());
                let (qemu, shell) = (machine::setup()?, root::setup(workspace)?);
                let root = root::make(workspace, &shell, &programs, &kevmon, &image, &arguments)?;
                let machine = Machine {
                    vmlinuz: &image.vmlinuz,
                    root: &root,
                    memory_mib: 2048,
                    programs: 2,
                    options: "",
                };
                machine::run(&qemu, &machine)
            });
            Report {
                kernel,
                release,
                outcome,
            }
        })
        .collect();
    eprint!("{}", summary(&reports));
    let ran: Vec<(&str, &Ended)> = reports
        .iter()
        .filter_map(|report| Some((report.kernel.name, report.outcome.as_ref().ok()?)))
        .collect();
    print!("{}", features::table(&ran));
    let passed = |report: &Report| match &report.outcome {
        Ok(ended) => ended.passed(),
        Err(_) => asked.where_possible,
    };
    Ok(if reports.iter().all(passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(named: &[String]) -> Result<Vec<Kernel>> {
    if named.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    named
        .iter()
        .map(|name| match KERNELS.iter().find(|kernel| kernel.name == name) {
            Some(kernel) => Ok(*kernel),
            None => {
                let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
                bail!(
                    "`{name}` is no kernel that can be had; there are {}",
                    known.join(", ")
                )
            }
        })
        .collect()
}

/// What the test programs of the guest are called with.
fn arguments(filters: &[OsString]) -> Vec<String> {
    if filters.is_empty() {
        // What is about receivers, files and settings is the same on all kernels.
        let tests = FEATURES.iter().flat_map(|(_, tests)| *tests);
        return tests.map(|test| (*test).to_owned()).collect();
    }
    filters
        .iter()
        .map(|filter| filter.to_string_lossy().into_owned())
        .collect()
}

fn summary(reports: &[Report]) -> String {
    let mut text = String::from("\n");
    for report in reports {
        let release = report.release.as_deref().unwrap_or("not there");
        let told = match &report.outcome {
            Ok(ended) => ended.to_string(),
            Err(error) => format!("NOT RUN: {error:#}"),
        };
        text.push_str(&format!("  {:<8} {release:<28} {told}\n", report.kernel.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name() {
        let names = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
            chosen(&named).map(|kernels| kernels.iter().map(|kernel| kernel.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["6.1"]).unwrap(), ["6.1"]);
        assert_eq!(names(&[]).unwrap().len(), KERNELS.len());
        let error = names(&["6.2"]).unwrap_err().to_string();
        assert!(error.contains("6.2") && error.contains("5.10"), "{error}");
    }
}
