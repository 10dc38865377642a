//! How long each test took: read from what the test programs print, while it is passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
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
    /// What was seen since the last [`Times::take_seen`].
    seen: Seen,
}

/// How tests have ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) failed: Vec<String>,
    pub(crate) passed: BTreeSet<String>,
    /// A program ended without saying how many tests failed, or said another number than were seen to fail.
    pub(crate) is_partial: bool,
    /// Failed tests by the programs' own words.
    told: usize,
    /// Programs that said how their tests ended.
    results: usize,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.passed.extend(other.passed);
        self.is_partial |= other.is_partial;
    }
}

impl Times {
    /// Runs test programs at the same time and passes their output on: that of one as it comes, that of several by lines.
    ///
    /// # Errors
    /// One cannot be started, or a test failed; the others have run to their ends.
    pub(crate) fn run(&mut self, commands: &mut [Command]) -> Result<()> {
        if let [command] = commands {
            return self.run_to(command, &mut io::stdout());
        }
        self.run_together(commands, io::stdout)
    }

    fn run_together<W: Write>(&mut self, commands: &mut [Command], sink: fn() -> W) -> Result<()> {
        let ended: Vec<(Self, Result<()>)> = thread::scope(|scope| {
            let run = |command| {
                scope.spawn(move || {
                    let mut times = Self::default();
                    let result = times.run_to(command, &mut Lines::new(sink()));
                    (times, result)
                })
            };
            let running: Vec<_> = commands.iter_mut().map(run).collect();
            let end =
                |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            running.into_iter().map(end).collect()
        });
        let mut all = Ok(());
        for (times, result) in ended {
            self.all.extend(times.all);
            self.seen.add(times.seen);
            all = all.and(result);
        }
        all
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
        let before = std::mem::take(&mut self.seen);
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
        let status = child.wait()?;
        self.seen.is_partial |= self.seen.results != 1 || self.seen.told != self.seen.failed.len();
        self.seen.add(before);
        shell::succeeded(command, status)
    }

    /// Takes in one line, such as `test restarts::a_crash ... ok <1.234s>`.
    fn note(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let mut words = result.split(' ').rev().skip_while(|word| *word != "failed;");
            let failed = words.nth(1).and_then(|count| count.parse::<usize>().ok());
            self.seen.results += 1;
            self.seen.told = self.seen.told.saturating_add(failed.unwrap_or(usize::MAX));
            return;
        }
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
        // Not a part of the name that --exact takes.
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        if let Some(Ok(time)) = seconds.map(Duration::try_from_secs_f64) {
            self.all.push((name.to_owned(), time));
            if result.starts_with("FAILED") {
                self.seen.failed.push(name.to_owned());
            } else if result.starts_with("ok") {
                self.seen.passed.insert(name.to_owned());
            }
        }
    }

    /// Whether each of these tests was seen to pass since the last [`Times::take_seen`].
    pub(crate) fn has_passed(&self, tests: &[String]) -> bool {
        tests.iter().all(|test| self.seen.passed.contains(test))
    }

    /// How tests have ended since the last call.
    pub(crate) fn take_seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    /// Writes how long those of `names` took that have run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep(&self, file: &Path, names: &[String]) -> Result<()> {
        let names: BTreeSet<&String> = names.iter().collect();
        let of_names = self.all.iter().filter(|(name, _)| names.contains(name));
        let text: String = of_names
            .map(|(name, time)| format!("{:.3} {name}\n", time.as_secs_f64()))
            .collect();
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
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

/// What [`Times::keep`] wrote; nothing where no run has. A line that is none is passed over.
pub(crate) fn kept(file: &Path) -> BTreeMap<String, Duration> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let of_line = |line: &str| {
        let (seconds, name) = line.split_once(' ')?;
        let time = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
        Some((name.to_owned(), time))
    };
    text.lines().filter_map(of_line).collect()
}

/// Passes on whole lines, so that programs that run at the same time do not cut each other's.
struct Lines<W: Write> {
    sink: W,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn new(sink: W) -> Self {
        Self {
            sink,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') {
            self.sink.write_all(&self.line[..=end])?;
            self.line.drain(..=end);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<W: Write> Drop for Lines<W> {
    fn drop(&mut self) {
        // A program that died in the middle of a line.
        let _ = self.sink.write_all(&self.line);
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
        assert_eq!(times.take_seen().failed, ["group::bad"]);
        assert!(times.take_seen().failed.is_empty(), "each once");
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

    #[test]
    fn programs_that_run_at_the_same_time_are_all_heard_and_one_failure_is_one() {
        let mut times = Times::default();
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text, "sh"]);
            command
        };
        let mut commands = [
            script("echo 'test a ... FAILED <0.5s>'; exit 101"),
            script("sleep 0.1; echo 'test b ... ok <2s>'"),
        ];
        assert!(times.run_together(&mut commands, io::sink).is_err());
        assert_eq!(times.take_seen().failed, ["a"]);
        let folder = std::env::temp_dir().join(format!("xtask-times-{}", std::process::id()));
        times.keep(&folder, &["b".to_owned(), "c".to_owned()]).unwrap();
        let read = kept(&folder);
        fs::remove_file(&folder).unwrap();
        assert_eq!(read, BTreeMap::from([("b".to_owned(), Duration::from_secs(2))]));
        assert_eq!(kept(&folder), BTreeMap::new(), "no file, no times");
    }

    #[test]
    fn tests_are_tried_again_only_where_all_that_failed_are_known() {
        let seen = |text: &str| {
            let mut times = Times::default();
            let mut command = Command::new("sh");
            command.args(["-c", text, "sh"]);
            let _: Result<()> = times.run_to(&mut command, &mut io::sink());
            times.take_seen()
        };
        let failed = "echo 'test a - should panic ... FAILED <0.5s>'";
        let result = "echo 'test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.0s'";
        let whole = seen(&format!("{failed}; {result}; exit 101"));
        assert_eq!((whole.is_partial, whole.failed), (false, vec!["a".to_owned()]));
        for died in [
            format!("{failed}; kill -9 $$"),
            format!("{result}; exit 101"),
            format!("{failed}; {failed}; {result}; exit 101"),
            format!("{failed}; {result}; {result}; exit 101"),
        ] {
            assert!(seen(&died).is_partial, "{died}");
        }
    }

    #[test]
    fn a_test_that_was_not_run_again_has_not_passed() {
        let mut times = Times::default();
        times.note("test a ... ok <0.5s>");
        times.note("test b ... ignored, a minute");
        let name = |name: &str| name.to_owned();
        assert!(times.has_passed(&[name("a")]));
        assert!(!times.has_passed(&[name("a"), name("b")]));
    }

    #[test]
    fn lines_are_passed_on_whole() {
        let mut passed_on = Vec::new();
        let mut lines = Lines::new(&mut passed_on);
        lines.write_all(b"test a").unwrap();
        assert!(lines.sink.is_empty());
        lines.write_all(b" ... ok\ntest b ... ok\ncut").unwrap();
        assert_eq!(*lines.sink, b"test a ... ok\ntest b ... ok\n");
        drop(lines);
        assert!(passed_on.ends_with(b"\ncut"));
    }
}
