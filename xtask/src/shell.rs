//! Running other programs: what is said about them, what they inherit, how their failure reads.
//!
//! Everything is said on stderr, and the steps of `setup` print there too, so that the stdout of
//! `cargo xtask run` is kevmon's alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
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

/// The compiler that this cargo runs.
pub(crate) fn host_rustc() -> PathBuf {
    let beside = host_cargo().with_file_name("rustc");
    let own = env::var_os("RUSTC").map(PathBuf::from);
    own.unwrap_or_else(|| match beside.is_file() {
        true => beside,
        false => PathBuf::from("rustc"),
    })
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

/// Between two lines that say that a step still runs.
const STILL: Duration = Duration::from_secs(10);

/// Runs a step that may never end, such as a download, for as long as it moves: it prints lines, or `progress` (bytes, say)
/// changes. Stopped when nothing of this happens for `stalled`. What it prints is shown, and a line from time to time.
pub(crate) fn run_step_while_moving(
    command: &mut Command,
    stalled: Duration,
    progress: impl Fn() -> u64,
) -> Result<()> {
    command
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let stderr = child.stderr.take();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let lines = stderr.map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok));
        lines.into_iter().flatten().try_for_each(|line| sender.send(line))
    });
    let began = Instant::now();
    let (mut moved, mut said, mut last) = (began, began, progress());
    let mut reason = None;
    let mut take = |lines: &mut dyn Iterator<Item = String>| {
        let mut any = false;
        for line in lines {
            eprintln!("  {line}");
            reason = line.strip_prefix("error: ").map(str::to_owned).or(reason.take());
            any = true;
        }
        any
    };
    let status = loop {
        let now = Instant::now();
        let bytes = progress();
        if take(&mut lines.try_iter()) || bytes != last {
            (moved, last) = (now, bytes);
        }
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", program(command)))?
        {
            break status;
        }
        if now.duration_since(moved) >= stalled {
            // It may have ended by itself just now; either way it is gone after `wait`.
            let _ = child.kill();
            let _ = child.wait();
            bail!("stopped: nothing came for {} s", stalled.as_secs());
        }
        if now.duration_since(said) >= STILL {
            say(format_args!(
                "{} still runs, {} s so far",
                program(command),
                began.elapsed().as_secs()
            ));
            said = now;
        }
        thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    // The reader ends with the program's last descriptor, which a child of its own may hold.
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(1)) {
        take(&mut [line].into_iter());
    }
    match reason {
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

    fn moving(script: &str, stalled: Duration, progress: impl Fn() -> u64) -> String {
        let result = run_step_while_moving(Command::new("sh").args(["-c", script]), stalled, progress);
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_step_goes_on_while_it_moves_and_fails_with_its_own_reason() {
        let minute = Duration::from_secs(60);
        let still = || 0;
        assert_eq!(moving("exit 0", minute, still), "");
        assert_eq!(
            moving(
                "echo 'info: x' >&2; echo 'error: no server' >&2; exit 1",
                minute,
                still
            ),
            "no server"
        );
        assert_eq!(moving("exit 3", minute, still), "it failed (exit status: 3)");
        let short = Duration::from_millis(600);
        assert!(moving("exec sleep 60", short, still).starts_with("stopped: nothing came"));
        // Longer than that, but it moves: by its lines, or by what it writes elsewhere.
        let talks = "for i in 1 2 3 4 5; do sleep 0.3; echo $i >&2; done";
        assert_eq!(moving(talks, short, still), "");
        let began = Instant::now();
        let grows = || u64::try_from(began.elapsed().as_millis()).unwrap();
        assert_eq!(moving("sleep 1.5", short, grows), "");
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
