//! `cargo xtask fuzz`: builds kevmon with coverage counters and libFuzzer's `main`, and runs the targets of monitor/src/fuzz.
//!
//! The counters come from LLVM's own pass, which stable compilers have; the build has a target folder of its own. Inputs are
//! sought from `tests/fuzz/corpus` on, and what reaches more code is kept in `target/fuzz/corpus` for the next run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ebpf::{self, Warnings};
use crate::shell;
use crate::user;
use crate::workspace::Workspace;

/// Counters for each edge of the control flow, a table of where they are, and calls at comparisons, which libFuzzer takes
/// operands from. As cargo-fuzz has them without a sanitizer.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];
/// What one input may take: seconds, and MiB of memory with all that libFuzzer keeps. The seconds are of the clock on the wall: a
/// busy host may let a fuzzer of low priority wait for some.
const BOUNDS: [&str; 2] = ["-timeout=60", "-rss_limit_mb=1024"];

/// What is done with each target.
#[derive(Debug)]
pub(crate) enum Task {
    /// New inputs, for so long.
    Search(Duration),
    /// One input.
    Replay(PathBuf),
    /// The corpus takes in what earlier runs found.
    Merge,
}

/// Runs the targets of these names, or all; also after one with a finding.
pub(crate) fn run(workspace: &Workspace, names: &[String], task: &Task) -> Result<ExitCode> {
    let targets = chosen(&all(workspace)?, names)?;
    if matches!(task, Task::Replay(_)) && targets.len() != 1 {
        bail!("an input is one target's; name it before --replay");
    }
    let program = build(workspace)?;
    let mut failed = false;
    for name in targets {
        let fuzzed = Fuzzed::new(workspace, &program, name)?;
        failed |= match task {
            Task::Search(length) => !fuzzed.search(*length)?,
            Task::Replay(input) => !fuzzed.replay(input)?,
            Task::Merge => {
                fuzzed.merge()?;
                false
            }
        };
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn corpora(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/fuzz/corpus")
}

/// Every target's name; the unit tests see to it that each has a folder, and no other.
fn all(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = corpora(workspace);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn chosen(all: &[String], names: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("{unknown:?} is no target; the targets are {}", all.join(", "));
    }
    Ok(if names.is_empty() { all } else { names }.to_vec())
}

/// kevmon as a program of libFuzzer's.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    if ["c++", "g++", "clang++"]
        .iter()
        .all(|name| shell::find_program(name).is_none())
        && std::env::var_os("CXX").is_none()
    {
        bail!(
            "libFuzzer is built with a C++ compiler, and there is none; install g++ (`apt-get install g++`)"
        );
    }
    ebpf::setup(workspace)?.build(workspace, Warnings::Shown)?;
    let host = host()?;
    let folder = workspace.root().join("target/fuzz");
    let mut command = user::cargo(workspace, "build");
    command
        .args(["-p", "kevmon", "--bin", "kevmon", "--profile", "fuzz"])
        // With a target named, build scripts and macros are built without the flags.
        .args(["--target", &host, "--target-dir"])
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    shell::run(&mut command).context("cannot build kevmon for libFuzzer")?;
    Ok(folder.join(host).join("fuzz/kevmon"))
}

/// The triple of the machine that compiles.
fn host() -> Result<String> {
    let mut rustc = shell::host_cargo();
    rustc.set_file_name("rustc");
    let told = shell::read(shell::command(rustc).arg("-vV"))
        .or_else(|| shell::read(shell::command("rustc").arg("-vV")));
    let told = told.context("cannot run rustc, which tells what to build for")?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// One target, and where its inputs are.
#[derive(Debug)]
struct Fuzzed<'a> {
    program: &'a Path,
    name: String,
    /// In the repository.
    corpus: PathBuf,
    /// What runs have found to reach more code.
    found: PathBuf,
    /// Inputs that fail.
    findings: PathBuf,
    scratch: Scratch,
}

/// A folder for temporary files, in memory where that is possible: files in place of /proc's are written for each input. It
/// goes with this value, since libFuzzer ends the program without a chance to clean up.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(format!("kevmon-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is small, and gone with the next boot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl<'a> Fuzzed<'a> {
    fn new(workspace: &Workspace, program: &'a Path, name: String) -> Result<Self> {
        let folder = workspace.root().join("target/fuzz");
        let fuzzed = Self {
            program,
            corpus: corpora(workspace).join(&name),
            found: folder.join("corpus").join(&name),
            findings: folder.join("findings").join(&name),
            scratch: Scratch::new()?,
            name,
        };
        for folder in [&fuzzed.found, &fuzzed.findings] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(fuzzed)
    }

    fn command(&self) -> Command {
        let mut command = shell::command(self.program);
        command
            .args(BOUNDS)
            .arg(format!("-artifact_prefix={}/", self.findings.display()))
            .env("KEVMON_FUZZ_TARGET", &self.name)
            .env("TMPDIR", &self.scratch.0);
        command
    }

    /// False: there is a finding.
    fn search(&self, length: Duration) -> Result<bool> {
        shell::say(format_args!("fuzz: {} for {} s", self.name, length.as_secs()));
        let before = self.findings()?;
        let began = Instant::now();
        let mut command = self.command();
        command
            .arg(format!("-max_total_time={}", length.as_secs()))
            .args(["-print_final_stats=1", "-print_funcs=0"])
            .args([&self.found, &self.corpus])
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| shell::line(&command))?;
        let (mut inputs, mut edges) = (None, None);
        for line in child
            .stderr
            .take()
            .into_iter()
            .flat_map(|stderr| BufReader::new(stderr).lines())
        {
            let line = line.context("cannot read what libFuzzer says")?;
            inputs = executed(&line).or(inputs);
            edges = reached(&line).or(edges);
            if !is_progress(&line) {
                eprintln!("  {line}");
            }
        }
        let status = child.wait().with_context(|| shell::line(&command))?;
        let new: Vec<PathBuf> = self
            .findings()?
            .into_iter()
            .filter(|path| !before.contains(path))
            .collect();
        let number =
            |number: Option<u64>| number.map_or("an unknown number of".to_owned(), |n| n.to_string());
        let done = format!(
            "fuzz: {}: {} inputs in {} s reached {} edges",
            self.name,
            number(inputs),
            began.elapsed().as_secs(),
            number(edges)
        );
        if status.success() {
            shell::say(format_args!("{done}, no finding"));
            return Ok(true);
        }
        shell::say(format_args!("{done}, and a finding ({status})"));
        for path in &new {
            shell::say(format_args!(
                "replay it: cargo xtask fuzz {} --replay {}",
                self.name,
                path.display()
            ));
        }
        Ok(false)
    }

    fn findings(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.findings)
            .with_context(|| format!("cannot read {}", self.findings.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }

    /// False: the input is a finding.
    fn replay(&self, input: &Path) -> Result<bool> {
        // libFuzzer takes a name that begins with a dash for a flag.
        let input = fs::canonicalize(input).with_context(|| format!("cannot read {}", input.display()))?;
        let mut command = self.command();
        command.arg(&input);
        let status = command.status().with_context(|| shell::line(&command))?;
        if !status.success() {
            shell::say(format_args!(
                "fuzz: {} fails with {} ({status})",
                self.name,
                input.display()
            ));
        }
        Ok(status.success())
    }

    fn merge(&self) -> Result<()> {
        shell::say(format_args!("fuzz: merging what was found of {}", self.name));
        let mut command = self.command();
        command
            // By edges, not by how often each is passed: half as many inputs, or fewer.
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&self.corpus, &self.found]);
        shell::run(&mut command)
    }
}

/// The number of inputs, in the line of libFuzzer's that tells it.
fn executed(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?
        .trim()
        .parse()
        .ok()
}

/// Edges of the control flow that inputs have reached so far, in a line of progress ("#2\tINITED cov: 5 ft: 6").
fn reached(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix('#')?.split_once(" cov: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Whether a line says how far libFuzzer is, which words it has found to be useful, or that there is no sanitizer, and no more.
fn is_progress(line: &str) -> bool {
    let begins = [
        "#",
        "INFO: ",
        "stat::",
        "Done ",
        "WARNING: Failed to find function \"__sanitizer",
    ];
    begins.iter().any(|begin| line.starts_with(begin)) || line.contains("\" # Uses: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_all_or_those_that_are_named() {
        let all = ["a", "b"].map(str::to_owned);
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert_eq!(chosen(&all, &["b".to_owned()]).unwrap(), ["b"]);
        let error = chosen(&all, &["c".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "\"c\" is no target; the targets are a, b");
    }

    #[test]
    fn what_libfuzzer_says_is_told_apart() {
        assert_eq!(executed("stat::number_of_executed_units: 1234"), Some(1234));
        assert_eq!(executed("stat::average_exec_per_sec:     5"), None);
        assert_eq!(reached("#2\tINITED cov: 51 ft: 6 corp: 1/1b exec/s: 0"), Some(51));
        assert_eq!(reached("INFO: seed corpus: files: 5 cov: x"), None);
        for (line, progress) in [
            ("\"\\001\\000\" # Uses: 5", true),
            ("###### Recommended dictionary. ######", true),
            (
                "WARNING: Failed to find function \"__sanitizer_print_stack_trace\".",
                true,
            ),
            ("#2\tINITED cov: 5 ft: 6", true),
            ("INFO: Running with entropic power schedule", true),
            ("thread '<unnamed>' panicked at src/x.rs:5:5:", false),
            ("==5== ERROR: libFuzzer: timeout after 10 seconds", false),
        ] {
            assert_eq!(is_progress(line), progress, "{line}");
        }
    }
}
