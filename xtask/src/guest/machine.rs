//! The virtual machine: QEMU, and what the guest says on its serial line.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::packages::Apt;
use crate::shell;

const QEMU: &str = "qemu-system-x86_64";
/// A boot takes some ten seconds; now and then one of a new kernel hangs or crashes under an old QEMU, which says nothing
/// about kevmon.
const BOOT_WITHIN: Duration = Duration::from_secs(180);
const BOOTS: usize = 4;
/// Without a line for so long the guest hangs.
const QUIET_AT_MOST: Duration = Duration::from_secs(900);

/// What the guest's first process prints.
const SAYS: &str = "kevmon-guest: ";

/// How a guest ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    booted: bool,
    /// The test programs' exit codes.
    codes: Vec<i32>,
    /// Tests, by their outcomes.
    passed: usize,
    failed: Vec<String>,
}

impl Ended {
    /// All that was to run has run, and passed.
    pub(super) fn passed(&self) -> bool {
        self.codes == [0, 0] && self.failed.is_empty() && self.passed > 0
    }

    /// Takes in a line of the serial console.
    fn note(&mut self, line: &str) {
        if let Some((_, said)) = line.split_once(SAYS) {
            self.booted |= said.starts_with("booted");
            if let Some((_, code)) = said.split_once("ended with ") {
                self.codes.push(code.trim().parse().unwrap_or(-1));
            }
        } else if let Some(test) = line.trim_end().strip_prefix("test ") {
            if let Some(name) = test.strip_suffix(" ... FAILED") {
                self.failed.push(name.to_owned());
            } else {
                self.passed += usize::from(test.ends_with("... ok"));
            }
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed;
        match (self.passed(), self.booted) {
            (true, _) => write!(f, "ok: {passed} tests"),
            (false, false) => write!(f, "FAILED: the guest did not boot"),
            (false, true) if self.codes.len() < 2 => {
                write!(
                    f,
                    "FAILED: the guest ended in the midst of the tests, {passed} passed"
                )
            }
            (false, true) if passed == 0 && self.failed.is_empty() => write!(f, "FAILED: no test ran"),
            (false, true) if self.failed.is_empty() => {
                write!(
                    f,
                    "FAILED: {passed} tests passed, and a test program ended with {:?}",
                    self.codes
                )
            }
            (false, true) => write!(f, "FAILED: {passed} tests passed, not {}", self.failed.join(", ")),
        }
    }
}

/// Finds QEMU, or installs it.
pub(super) fn setup() -> Result<PathBuf> {
    if let Some(qemu) = shell::find_program(QEMU) {
        return Ok(qemu);
    }
    if let Some(mut apt) = Apt::find() {
        apt.install(&["qemu-system-x86".to_owned()])?;
    }
    shell::find_program(QEMU).with_context(|| {
        format!("no {QEMU} on PATH: install QEMU for x86 (Fedora: dnf install qemu-system-x86-core)")
    })
}

/// Boots `vmlinuz` with `root`, and shows what the guest says until it ends.
///
/// # Errors
/// QEMU does not start, or no boot of several comes to the tests.
pub(super) fn run(qemu: &Path, vmlinuz: &Path, root: &Path) -> Result<Ended> {
    for attempt in 1..=BOOTS {
        let ended = boot(qemu, vmlinuz, root)?;
        if ended.booted {
            return Ok(ended);
        }
        shell::say(format_args!("vm-test: boot {attempt} of at most {BOOTS} failed"));
    }
    bail!("the guest did not boot in {BOOTS} attempts")
}

fn boot(qemu: &Path, vmlinuz: &Path, root: &Path) -> Result<Ended> {
    let mut command = shell::command(qemu);
    command
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Nehalem",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args(["-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(root)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
    let console = child.stdout.take().context("QEMU's standard output is piped")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let mut ended = Ended::default();
    loop {
        let patience = if ended.booted { QUIET_AT_MOST } else { BOOT_WITHIN };
        let Ok(line) = lines.recv_timeout(patience) else {
            break; // it is off, or hangs
        };
        ended.note(&line);
        if ended.booted {
            print!("{line}");
        }
    }
    child.kill().context("cannot stop QEMU")?;
    child.wait().context("cannot wait for QEMU")?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Ended {
        let mut ended = Ended::default();
        lines.iter().for_each(|line| ended.note(line));
        ended
    }

    #[test]
    fn a_guest_has_passed_where_both_programs_ran_and_no_test_failed() {
        let booted = "[    4.1] junk kevmon-guest: booted 6.1.0\r\n";
        let first = "kevmon-guest: parallel ended with 0\r\n";
        let second = "kevmon-guest: serial ended with 0\r\n";
        let ok = "test lives::a ... ok\r\n";
        for (lines, passed, text) in [
            (&[][..], false, "did not boot"),
            (&[booted, ok, first, second], true, "ok: 1 tests"),
            (&[booted, first, second], false, "no test ran"),
            (&[booted, ok, first], false, "in the midst"),
            (
                &[
                    booted,
                    ok,
                    "test lives::b ... FAILED\r\n",
                    "kevmon-guest: parallel ended with 101\r\n",
                    second,
                ],
                false,
                "not lives::b",
            ),
            (
                &[booted, ok, "kevmon-guest: parallel ended with 137\r\n", second],
                false,
                "137",
            ),
        ] {
            let ended = told(lines);
            assert_eq!(ended.passed(), passed, "{lines:?}");
            assert!(ended.to_string().contains(text), "{lines:?}: {ended}");
        }
    }
}
