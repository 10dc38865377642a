//! The virtual machine: QEMU, and what the guest says on its serial line.
//!
//! A guest prints `kevmon-guest: booted RELEASE`, then a line for each test (`test NAME ... ok`, `test NAME ... FAILED: WHY`),
//! and `kevmon-guest: NAME ended with CODE` after each program of tests.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::packages::Apt;
use crate::shell;

const QEMU: &str = "qemu-system-x86_64";
/// A boot takes QEMU some thirty seconds of CPU time. Now and then a new kernel spins or halts in its boot under an old QEMU,
/// which says nothing about kevmon: a boot that spins is given up by its CPU time, one that halts by the time that passes. A
/// busy host stretches the latter only.
const BOOT_CPU: Duration = Duration::from_secs(180);
const BOOT_WITHIN: Duration = Duration::from_secs(1200);
const BOOTS: usize = 4;
/// Without a line for so long the guest hangs.
const QUIET_AT_MOST: Duration = Duration::from_secs(1800);
/// Between two looks at QEMU's CPU time.
const LOOK: Duration = Duration::from_secs(2);
/// USER_HZ of x86 (proc_pid_stat(5)).
const TICKS_PER_SECOND: u64 = 100;

/// What the guest's first process prints.
const SAYS: &str = "kevmon-guest: ";
/// What a test prints of the kernel (`kevmon_tests::features`).
const FEATURE: &str = "kevmon-feature: ";

/// What is booted.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) vmlinuz: &'a Path,
    /// The initial RAM file system.
    pub(super) root: &'a Path,
    pub(super) memory_mib: u32,
    /// How many programs of tests run there.
    pub(super) programs: usize,
    /// What the kernel's command line has beyond the console.
    pub(super) options: &'a str,
}

/// How a guest ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// How many programs of tests were to run.
    pub(super) programs: usize,
    pub(super) booted: bool,
    /// The test programs' exit codes.
    pub(super) codes: Vec<i32>,
    /// Tests, by their outcomes.
    pub(super) passed: Vec<String>,
    pub(super) failed: Vec<String>,
    /// Why tests failed, where they said it on their own line.
    pub(super) reasons: Vec<(String, String)>,
    /// What tests said of the kernel: a feature, and how it is with it.
    pub(super) said: Vec<(String, String)>,
}

impl Ended {
    /// Of a guest that has said nothing yet.
    fn of(programs: usize) -> Self {
        Self {
            programs,
            ..Self::default()
        }
    }

    /// All that was to run has run, and passed.
    pub(super) fn passed(&self) -> bool {
        self.codes == vec![0; self.programs] && self.failed.is_empty() && !self.passed.is_empty()
    }

    /// Takes in a line of the serial console.
    fn note(&mut self, line: &str) {
        if let Some((_, said)) = line.split_once(SAYS) {
            self.booted |= said.starts_with("booted");
            if let Some((_, code)) = said.split_once("ended with ") {
                self.codes.push(code.trim().parse().unwrap_or(-1));
            }
        } else if let Some((_, said)) = line.trim_end().split_once(FEATURE) {
            let said = said.rsplit_once(": ");
            self.said
                .extend(said.map(|(feature, state)| (feature.to_owned(), state.to_owned())));
        } else if let Some(test) = line.trim_end().strip_prefix("test ") {
            let Some((name, outcome)) = test.split_once(" ... ") else {
                return;
            };
            let (outcome, reason) = outcome.split_once(": ").unwrap_or((outcome, ""));
            match outcome {
                "ok" => self.passed.push(name.to_owned()),
                "FAILED" => self.failed.push(name.to_owned()),
                _ => return,
            }
            if outcome == "FAILED" && !reason.is_empty() {
                self.reasons.push((name.to_owned(), reason.to_owned()));
            }
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.len();
        match (self.passed(), self.booted) {
            (true, _) => write!(f, "ok: {passed} tests"),
            (false, false) => write!(f, "FAILED: the guest did not boot"),
            (false, true) if self.codes.len() < self.programs => {
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

/// Boots the machine, and shows what the guest says until it ends.
///
/// # Errors
/// QEMU does not start, or no boot of several comes to the tests.
pub(super) fn run(qemu: &Path, machine: &Machine<'_>) -> Result<Ended> {
    for attempt in 1..=BOOTS {
        let ended = boot(qemu, machine)?;
        if ended.booted {
            return Ok(ended);
        }
        shell::say(format_args!("guest: boot {attempt} of at most {BOOTS} failed"));
    }
    bail!("the guest did not boot in {BOOTS} attempts")
}

fn boot(qemu: &Path, machine: &Machine<'_>) -> Result<Ended> {
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
            &machine.memory_mib.to_string(),
        ])
        .args(["-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(machine.vmlinuz)
        .arg("-initrd")
        .arg(machine.root)
        .arg("-append")
        .arg(format!("console=ttyS0 panic=-1 quiet {}", machine.options))
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
    let (mut ended, began, mut last) = (Ended::of(machine.programs), Instant::now(), Instant::now());
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                last = Instant::now();
                ended.note(&line);
                if ended.booted {
                    print!("{line}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break, // it is off
            Err(RecvTimeoutError::Timeout) => {}
        }
        let hangs = if ended.booted {
            last.elapsed() > QUIET_AT_MOST
        } else {
            began.elapsed() > BOOT_WITHIN || cpu_time(child.id()).is_some_and(|used| used > BOOT_CPU)
        };
        if hangs {
            break;
        }
    }
    child.kill().context("cannot stop QEMU")?;
    child.wait().context("cannot wait for QEMU")?;
    Ok(ended)
}

/// CPU time of a process; `None` where it is gone.
fn cpu_time(pid: u32) -> Option<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// utime + stime of proc_pid_stat(5), whose second field may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Ended {
        let mut ended = Ended::of(2);
        lines.iter().for_each(|line| ended.note(line));
        ended
    }

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "812 (qemu) x) S 1 812 812 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 6150";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("812 (qemu) S 1"), None);
        assert!(cpu_time(std::process::id()).is_some());
    }

    #[test]
    fn what_tests_say_of_the_kernel_is_taken_in() {
        let ended = told(&["kevmon-feature: `peak_rss_bytes` of a process: absent\r\n"]);
        let said = ("`peak_rss_bytes` of a process".to_owned(), "absent".to_owned());
        assert_eq!(ended.said, [said]);
    }

    #[test]
    fn a_test_may_say_on_its_line_why_it_failed() {
        let ended = told(&[
            "test unit::user ... FAILED: uid 0: not kevmon\r\n",
            "test unit::exposure ... ok: 1.3\r\n",
            "test unit::slow ... has been running for a minute\r\n",
        ]);
        assert_eq!(
            (ended.failed, ended.passed),
            (vec!["unit::user".to_owned()], vec!["unit::exposure".to_owned()])
        );
        assert_eq!(
            ended.reasons,
            [("unit::user".to_owned(), "uid 0: not kevmon".to_owned())]
        );
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
