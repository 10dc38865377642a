//! Running other programs: what is said about them, what they inherit, how their failure reads.
//!
//! Everything is said on stderr, and the steps of `setup` print there too, so that the stdout of
//! `cargo xtask run` is kevmon's alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a rustup proxy, `cargo run` and a Makefile set for their children, and what must not reach the
/// builds started here: with it they would pick the wrong compiler, or differ between two runs.
const OUTER_CARGO: [&str; 7] = [
    "CARGO",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "OUT_DIR",
    "MAKEFLAGS",
    "CARGO_MAKEFLAGS",
];
const OUTER_CARGO_PREFIXES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];

/// Says what is about to happen, or what was found.
pub(crate) fn say(message: fmt::Arguments<'_>) {
    eprintln!("xtask: {message}");
}

/// The cargo that started this program: the same cargo finds what it built before fresh.
pub(crate) fn host_cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// A command without the traces of the cargo that runs this program.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if OUTER_CARGO.contains(&text) || OUTER_CARGO_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    match env::var_os("LD_LIBRARY_PATH").map(|path| without_cargo_entries(&path)) {
        Some(Some(path)) => command.env("LD_LIBRARY_PATH", path),
        Some(None) => command.env_remove("LD_LIBRARY_PATH"),
        None => &mut command,
    };
    command
}

/// `cargo run` puts its target folders and its toolchain's lib folder in front of LD_LIBRARY_PATH.
fn without_cargo_entries(path: &OsStr) -> Option<OsString> {
    let target = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().and_then(Path::parent).map(Path::to_path_buf));
    let toolchain = env::var_os("CARGO")
        .and_then(|cargo| {
            Path::new(&cargo)
                .parent()
                .and_then(Path::parent)
                .map(Path::to_path_buf)
        })
        .filter(|prefix| prefix != Path::new("/usr"));
    let kept: Vec<PathBuf> = env::split_paths(path)
        .filter(|entry| !entry.as_os_str().is_empty())
        .filter(|entry| {
            ![&target, &toolchain]
                .into_iter()
                .flatten()
                .any(|prefix| entry.starts_with(prefix))
        })
        .collect();
    if kept.is_empty() {
        None
    } else {
        env::join_paths(kept).ok()
    }
}

/// Runs to the end; stdout and stderr are this program's.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    succeeded(command, status)
}

/// Like [`run`], for steps of `setup`: what they print goes to stderr.
pub(crate) fn run_step(command: &mut Command) -> Result<()> {
    command.stdout(Stdio::from(io::stderr())).stdin(Stdio::null());
    run(command)
}

/// Runs a step that may never end, such as a download, for at most `limit`. It is silent: what it printed matters only
/// when it fails, and then its own error line is enough.
pub(crate) fn run_step_within(command: &mut Command, limit: Duration) -> Result<()> {
    command
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        stderr
            .and_then(|stderr| io::read_to_string(stderr).ok())
            .unwrap_or_default()
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", program(command)))?
        {
            break status;
        }
        if Instant::now() >= deadline {
            // It may have ended by itself just now; either way it is gone after `wait`.
            let _ = child.kill();
            let _ = child.wait();
            bail!("stopped after {} s without an end", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    let said = reader.join().unwrap_or_default();
    match said.lines().find_map(|line| line.strip_prefix("error: ")) {
        Some(reason) => bail!("{reason}"),
        None => bail!("it failed ({status})"),
    }
}

/// The trimmed stdout of a command that succeeds; `None` when it is missing or fails.
pub(crate) fn read(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first file of this name on PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// An error that shows the command unless it exited with 0.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed ({status})", line(command))
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = program(command);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(script: &str, limit: Duration) -> String {
        let result = run_step_within(Command::new("sh").args(["-c", script]), limit);
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_limited_step_fails_with_its_own_reason_or_is_stopped() {
        let minute = Duration::from_secs(60);
        assert_eq!(within("exit 0", minute), "");
        assert_eq!(
            within("echo 'info: x' >&2; echo 'error: no server' >&2; exit 1", minute),
            "no server"
        );
        assert_eq!(within("exit 3", minute), "it failed (exit status: 3)");
        assert!(within("exec sleep 60", Duration::from_millis(200)).starts_with("stopped after"));
    }

    #[test]
    fn entries_of_cargo_leave_the_library_path() {
        let exe = env::current_exe().unwrap();
        let own = exe.parent().unwrap();
        let mixed = env::join_paths([own, Path::new("/opt/lib")]).unwrap();
        assert_eq!(
            without_cargo_entries(&mixed).as_deref(),
            Some(OsStr::new("/opt/lib"))
        );
        assert_eq!(without_cargo_entries(own.as_os_str()), None);
    }
}
