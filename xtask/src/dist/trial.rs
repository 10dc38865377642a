//! The static program is tried before it is packaged, in a root file system that holds nothing else: what it would need of a
//! distribution is missing there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::target::Arch;
use crate::privilege::Credentials;
use crate::shell;

/// Makes the root $1 and runs what follows in it, with the kernel's own file systems and nothing of the machine's.
const RUN: &str = "set -e
root=$1
shift
for name in proc sys; do
    mkdir -p \"$root/$name\"
    mount --rbind \"/$name\" \"$root/$name\"
done
exec chroot \"$root\" /kevmon \"$@\"";

/// A collection of kevmon itself, after `--source SOURCE`.
const COLLECTION: [&str; 6] = [
    "--run-once",
    "--window=100ms",
    "--no-store",
    "--output=json",
    "--process-name=^kevmon$",
    "--source",
];

/// Runs `program` below `folder`, which is removed afterwards.
///
/// # Errors
/// It does not run there, or does not find itself among the processes.
pub(crate) fn run(program: &Path, arch: Arch, folder: &Path) -> Result<()> {
    if !arch.is_here() {
        shell::say(format_args!(
            "the static program is for {}, and is not tried on this machine",
            arch.kernel()
        ));
        return Ok(());
    }
    let is_root = Credentials::own()?.effective_uid == 0;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let tried = try_all(program, folder, is_root);
    fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    tried.context("the static program does not run in an empty root file system")
}

fn try_all(program: &Path, folder: &Path, is_root: bool) -> Result<()> {
    fs::copy(program, folder.join("kevmon")).with_context(|| program.display().to_string())?;
    if !is_root
        && !shell::command("unshare")
            .args(["-rm", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        shell::say(format_args!(
            "the static program is not tried in an empty root file system: that needs root, or user namespaces, which are off here"
        ));
        return Ok(());
    }
    let answer = enter(folder, is_root, &["--version"])?;
    if !answer.starts_with("kevmon ") {
        bail!("--version says {answer:?}");
    }
    let mut sources = vec!["proc"];
    if is_root {
        sources.push("ebpf");
    }
    for source in &sources {
        let mut arguments = COLLECTION.to_vec();
        arguments.push(source);
        let collected = enter(folder, is_root, &arguments)?;
        if !collected.contains(r#""name":"kevmon""#) {
            bail!("with --source {source} it does not find itself: {collected}");
        }
    }
    shell::say(format_args!(
        "the static program runs in an empty root file system (sources: {}{})",
        sources.join(", "),
        if is_root {
            ""
        } else {
            "; eBPF is not tried: that needs root"
        }
    ));
    Ok(())
}

/// What it prints.
fn enter(folder: &Path, is_root: bool, arguments: &[&str]) -> Result<String> {
    let mut command = shell::command("unshare");
    command.arg(if is_root { "-m" } else { "-rm" });
    command.args(["--propagation", "private", "sh", "-c", RUN, "sh"]);
    let output = command
        .arg(folder)
        .args(arguments)
        .output()
        .context("unshare(1)")?;
    if !output.status.success() {
        bail!(
            "kevmon {} fails ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
