//! How long each test took: read from what the test programs print, while it is passed on.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::shell;

/// Tests listed at the end.
const LISTED: usize = 10;

/// Asks the test harness for the time of each test. The flag is unstable, and the variable allows it to a stable
/// toolchain (library/test/src/cli.rs, `is_nightly`).
const REPORT_TIME: [&str; 2] = ["-Zunstable-options", "--report-time"];
pub(crate) const ALLOW_UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// Finished tests and their times, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct Times {
    all: Vec<(String, Duration)>,
    /// Tests that failed since the last [`Times::take_failed`].
    failed: Vec<String>,
}

impl Times {
    /// Runs a test program and passes its output on.
    ///
    /// # Errors
    /// It cannot be started, or a test failed.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        self.run_to(command, &mut io::stdout())
    }

    fn run_to(&mut self, command: &mut Command, sink: &mut impl Write) -> Result<()> {
        command
            .args(REPORT_TIME)
            .env(ALLOW_UNSTABLE.0, ALLOW_UNSTABLE.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::line(command)))?;
        let mut output = child.stdout.take().context("the test's output is piped")?;
        let mut line = Vec::new();
        let mut chunk = [0; 8192];
        loop {
            let length = output.read(&mut chunk).context("cannot read the tests' output")?;
            if length == 0 {
                break;
            }
            sink.write_all(&chunk[..length]).context("standard output")?;
            sink.flush().context("standard output")?;
            for &byte in &chunk[..length] {
                if byte == b'\n' {
                    self.note(&String::from_utf8_lossy(&line));
                    line.clear();
                } else {
                    line.push(byte);
                }
            }
        }
        shell::succeeded(command, child.wait()?)
    }

    /// Takes in one line, such as `test restarts::a_crash ... ok <1.234s>`.
    fn note(&mut self, line: &str) {
        let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... "))
        else {
            return;
        };
        let seconds = result
            .trim_end()
            .strip_suffix("s>")
            .and_then(|result| result.rsplit_once('<'))
            .and_then(|(_, seconds)| seconds.parse().ok());
        if let Some(Ok(time)) = seconds.map(Duration::try_from_secs_f64) {
            self.all.push((name.to_owned(), time));
            if result.starts_with("FAILED") {
                self.failed.push(name.to_owned());
            }
        }
    }

    /// The tests that have failed since the last call.
    pub(crate) fn take_failed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failed)
    }

    /// The tests that took longest, one a line; empty where no test ran.
    pub(crate) fn slowest(mut self) -> String {
        self.all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        self.all.truncate(LISTED);
        if self.all.is_empty() {
            return String::new();
        }
        let mut text = String::from("\nslowest tests:\n");
        for (name, time) in self.all {
            text.push_str(&format!("  {:8.1} s  {name}\n", time.as_secs_f64()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_ten_are_listed_first_to_last() {
        let mut times = Times::default();
        for index in 0..12 {
            times.note(&format!("test group::number_{index} ... ok <{index}.500s>"));
        }
        for other in [
            "",
            "running 12 tests",
            "test result: ok. 12 passed; 0 failed; finished in 3.00s",
            "test ignored ... ignored",
            "test odd ... ok <xs>",
            "test negative ... ok <-1.0s>",
            "test cut ... ",
        ] {
            times.note(other);
        }
        times.note("test group::bad ... FAILED <99.000s>");
        assert_eq!(times.take_failed(), ["group::bad"]);
        assert!(times.take_failed().is_empty(), "each once");
        let text = times.slowest();
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines.len(), 1 + LISTED, "{text}");
        assert_eq!(lines[1].trim(), "99.0 s  group::bad");
        assert_eq!(lines[2].trim(), "11.5 s  group::number_11");
        assert_eq!(lines[LISTED].trim(), "3.5 s  group::number_3");
    }

    #[test]
    fn without_tests_nothing_is_listed() {
        assert_eq!(Times::default().slowest(), "");
    }

    #[test]
    fn output_is_read_and_a_failure_is_an_error() {
        let mut times = Times::default();
        // The flags that are added become arguments of the script, which ignores them.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "printf 'test a ... '; printf 'ok <0.250s>\\n'; exit 101",
            "sh",
        ]);
        let mut passed_on = Vec::new();
        assert!(times.run_to(&mut command, &mut passed_on).is_err());
        assert_eq!(passed_on, b"test a ... ok <0.250s>\n");
        assert_eq!(times.all, [("a".to_owned(), Duration::from_millis(250))]);
    }
}
