//! `cargo xtask fuzz`: damaged files through the plugin parser and the importers, for as long as is asked for. The work
//! is a test of kevmon's own that is left out otherwise (monitor/src/app/fuzz.rs), built as a release.

use anyhow::{Context, Result};

use crate::shell;
use crate::user;
use crate::workspace::Workspace;

/// Runs it.
pub(crate) fn run(workspace: &Workspace, seconds: u64, seed: u64) -> Result<()> {
    let findings = workspace.root().join("target/fuzz");
    let mut command = user::cargo(workspace, "test");
    command
        .args(["--release", "-p", "kevmon", "--bin", "kevmon", "--"])
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("app::fuzz::for_as_long_as_it_is_told_to")
        .env("KEVMON_FUZZ_SECONDS", seconds.to_string())
        .env("KEVMON_FUZZ_SEED", seed.to_string())
        .env("KEVMON_FUZZ_PLUGINS", workspace.root().join("plugins"))
        .env("KEVMON_FUZZ_FINDINGS", &findings);
    let saved = || format!("inputs that fail are saved in {}", findings.display());
    shell::run(&mut command).with_context(saved)
}
