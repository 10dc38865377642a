//! The eBPF half: its setup and its build, with a compiler and flags of its own.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::distribution::{Family, Need};
use crate::linker;
use crate::packages::Apt;
use crate::shell;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;

const TARGET: &str = "bpfel-unknown-none";

/// What builds the eBPF half.
#[derive(Debug)]
pub(crate) struct Builder {
    toolchain: Toolchain,
    linker: PathBuf,
}

/// What happens to the compiler's warnings. It is no part of cargo's freshness, so changing it rebuilds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    Shown,
    Denied,
}

/// Finds or installs everything that the builds of both halves need.
pub(crate) fn setup(workspace: &Workspace) -> Result<Builder> {
    announce(workspace);
    require_c_compiler()?;
    let toolchain = toolchain::find_or_install()?;
    let linker = linker::find_or_build(workspace, &toolchain)?;
    shell::say(format_args!(
        "eBPF toolchain: rustc {} ({}), bpf-linker {} on LLVM {}",
        toolchain.release,
        toolchain.rustc.display(),
        linker::VERSION,
        toolchain.llvm_major
    ));
    Ok(Builder { toolchain, linker })
}

/// Says what is about to be installed, before any of it is; nothing where all is there.
fn announce(workspace: &Workspace) {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut steps = Vec::new();
    if shell::read(shell::command(&compiler).arg("--version")).is_none() {
        let how = Family::here().line(Need::Compiler);
        steps.push(format!("a C compiler ({how})"));
    }
    if !toolchain::is_there() {
        steps.push(format!("a compiler for the eBPF half: {}", toolchain::ways()));
    }
    if !linker::is_there(workspace) {
        let tools = workspace.tools();
        steps.push(format!(
            "bpf-linker {}, built by cargo into {} (about a minute)",
            linker::VERSION,
            tools.display()
        ));
    }
    if steps.is_empty() {
        return;
    }
    shell::say(format_args!(
        "setup: this machine lacks, and setup installs:\n  - {}",
        steps.join("\n  - ")
    ));
}

/// Every link needs it.
fn require_c_compiler() -> Result<()> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if shell::read(shell::command(&compiler).arg("--version")).is_some() {
        return Ok(());
    }
    match Apt::find() {
        Some(mut apt) => {
            shell::say(format_args!("setup: the C compiler `{compiler}` is missing"));
            apt.install(&["gcc".to_owned(), "g++".to_owned(), "libc6-dev".to_owned()])
        }
        None => {
            shell::say(format_args!("setup: the C compiler `{compiler}` is missing"));
            Family::here()
                .install(Need::Compiler)
                .with_context(|| format!("the C compiler `{compiler}` does not run"))
        }
    }
}

impl Builder {
    /// Builds the object file, where it is not fresh.
    pub(crate) fn build(&self, workspace: &Workspace, warnings: Warnings) -> Result<()> {
        self.build_for(workspace, env::consts::ARCH, warnings).map(drop)
    }

    /// Builds the object file for the kernels of a processor, and returns where it is.
    pub(crate) fn build_for(&self, workspace: &Workspace, arch: &str, warnings: Warnings) -> Result<PathBuf> {
        let mut command = shell::command(&self.toolchain.cargo);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(leads_cargo_astray) {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(workspace.root())
            .env("RUSTC", &self.toolchain.rustc)
            // Lets a stable compiler build `core`; a nightly one does not mind.
            .env("RUSTC_BOOTSTRAP", "1")
            // Empty and not absent: a wrapper in the user's cargo configuration is switched off too.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(arch))
            .arg("build")
            .arg("--manifest-path")
            .arg(workspace.root().join("Cargo.toml"))
            .args([
                "-p",
                "kevmon-ebpf",
                "--release",
                "-Z",
                "build-std=core",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(workspace.ebpf_target(arch));
        if warnings == Warnings::Denied {
            command.args(["-Z", "warnings", "--config", "build.warnings='deny'"]);
        }
        if workspace.root().join("Cargo.lock").exists() {
            command.arg("--locked");
        }
        shell::run(&mut command).context("cannot build the eBPF half (monitor-ebpf)")?;

        let object = workspace.ebpf_object(arch);
        if !object.exists() {
            bail!(
                "the eBPF build succeeded but left no {}: has the binary been renamed?",
                object.display()
            );
        }
        Ok(object)
    }

    fn rustflags(&self, arch: &str) -> String {
        let mut linker = String::from("-Clinker=");
        linker.push_str(&self.linker.to_string_lossy());
        [
            // aya-ebpf chooses the kernel's register layout by it, and the programs their memory barrier.
            &format!("--cfg=bpf_target_arch=\"{arch}\""),
            "-Cdebuginfo=2",
            &linker,
            "-Clink-arg=--btf",
        ]
        .join("\u{1f}")
    }
}

/// Variables that would choose another compiler, target folder, profile or flags for the eBPF build. What says where
/// cargo's home is and how it reaches the network stays.
fn leads_cargo_astray(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "RUSTC",
        "RUSTFLAGS",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
    ];
    const PREFIXES: [&str; 5] = [
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_PROFILE_",
        "CARGO_UNSTABLE_",
        "RUSTC_",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::leads_cargo_astray;

    #[test]
    fn the_network_settings_stay_and_the_outer_toolchain_goes() {
        for name in [
            "RUSTUP_TOOLCHAIN",
            "RUSTC_WRAPPER",
            "CARGO_BUILD_RUSTC",
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
        ] {
            assert!(leads_cargo_astray(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_CAINFO",
            "CARGO_REGISTRIES_X_INDEX",
            "PATH",
            "HOME",
        ] {
            assert!(!leads_cargo_astray(name), "{name}");
        }
    }
}
