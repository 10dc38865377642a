//! `cargo xtask service-test`: boots Debian with systemd in QEMU, installs kevmon's package there, and checks what the package
//! and its unit do under a real systemd.
//!
//! The guest's root is Debian's own, made by mmdebstrap and kept in target/tools/roots. It lies in memory, so that nothing that a
//! check leaves is there in the next run. The checks are shell scripts (`checks/`), which run as a unit of the guest and print a
//! line for each check on the serial console. Nothing is installed on this machine but QEMU and mmdebstrap.

mod root;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::kernel::{KERNELS, Kernel};
use super::machine::{self, Ended, Machine};
use crate::dist::for_tests;
use crate::ebpf::{self, Warnings};
use crate::shell;
use crate::test::programs;
use crate::user::{self, Profile};
use crate::workspace::Workspace;

/// Suites whose systemd is tried; the first one where none is named.
const SUITES: [&str; 2] = ["bookworm", "trixie"];
/// The root in memory, its archive while it is unpacked, and what runs.
const MEMORY_MIB: u32 = 3072;
/// systemd says nothing on the console, where the checks' lines are.
const OPTIONS: &str = "systemd.show_status=0 systemd.log_target=journal";

/// Which kevmon is packaged.
#[derive(Debug)]
pub(crate) enum Kevmon {
    File(PathBuf),
    Built(Profile),
}

/// Boots each of the suites and runs the groups of checks there; without names, the first suite and all groups.
///
/// # Errors
/// A name is none of a suite's or group's, or something cannot be built.
pub(crate) fn test(
    workspace: &Workspace,
    kevmon: &Kevmon,
    suites: &[String],
    groups: &[String],
) -> Result<ExitCode> {
    let kernels = chosen(suites)?;
    let groups = root::groups(groups)?;
    let kevmon = binary(workspace, kevmon)?;
    let packages = for_tests::debian(workspace, &kevmon)?;
    let mut passed = true;
    let mut summary = String::from("\n");
    for kernel in kernels {
        let outcome = run(workspace, kernel, &packages, &groups);
        passed &= outcome.as_ref().is_ok_and(Ended::passed);
        let told = match &outcome {
            Ok(ended) => ended.to_string(),
            Err(error) => format!("NOT RUN: {error:#}"),
        };
        summary.push_str(&format!("  {:<10} {told}\n", kernel.suite));
        for (name, reason) in outcome.iter().flat_map(|ended| &ended.reasons) {
            summary.push_str(&format!("    {name}: {reason}\n"));
        }
    }
    eprint!("{summary}");
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(workspace: &Workspace, kernel: Kernel, packages: &[PathBuf], groups: &[&str]) -> Result<Ended> {
    shell::say(format_args!("service-test: Debian {}", kernel.suite));
    let image = kernel.setup(workspace)?;
    let qemu = machine::setup()?;
    let debian = root::setup(workspace, kernel.suite)?;
    let root = root::make(workspace, kernel.suite, &debian, packages, groups)?;
    let machine = Machine {
        vmlinuz: &image.vmlinuz,
        root: &root,
        memory_mib: MEMORY_MIB,
        programs: 1,
        options: OPTIONS,
    };
    machine::run(&qemu, &machine)
}

fn binary(workspace: &Workspace, kevmon: &Kevmon) -> Result<PathBuf> {
    match kevmon {
        Kevmon::File(file) => existing(file),
        Kevmon::Built(Profile::Release) => user::build_both(workspace, Profile::Release),
        Kevmon::Built(Profile::Dev) => {
            ebpf::setup(workspace)?.build(workspace, Warnings::Shown)?;
            let programs = programs::build(workspace, Profile::Dev)?;
            programs.kevmon.context("the build left no kevmon")
        }
    }
}

fn existing(file: &Path) -> Result<PathBuf> {
    if !file.is_file() {
        bail!(
            "--binary {}: no such file; `cargo xtask build` makes target/release/kevmon",
            file.display()
        );
    }
    Ok(file.to_owned())
}

/// The kernels of the suites.
fn chosen(named: &[String]) -> Result<Vec<Kernel>> {
    let named: Vec<&str> = if named.is_empty() {
        vec![SUITES[0]]
    } else {
        named.iter().map(String::as_str).collect()
    };
    named
        .into_iter()
        .map(|name| {
            let known = KERNELS
                .into_iter()
                .find(|kernel| kernel.suite == name && SUITES.contains(&name));
            known.with_context(|| {
                format!(
                    "`{name}` is no suite that service-test boots; there are {}",
                    SUITES.join(", ")
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_name() {
        let suites = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
            chosen(&named).map(|kernels| kernels.iter().map(|kernel| kernel.suite).collect::<Vec<_>>())
        };
        assert_eq!(suites(&[]).unwrap(), ["bookworm"]);
        assert_eq!(suites(&["trixie", "bookworm"]).unwrap(), ["trixie", "bookworm"]);
        // A kernel of vm-test, and no suite of this one.
        let error = suites(&["bullseye"]).unwrap_err().to_string();
        assert!(error.contains("bullseye") && error.contains("trixie"), "{error}");
    }
}
