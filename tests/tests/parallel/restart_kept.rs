//! Restarts of an interpreter's service around a restart of kevmon, and between single runs: what was kept of a root tells
//! its script.

use std::{path::Path, process::Command, time::Duration};

use kevmon_tests::{
    daemon::Daemon,
    executable, kevmon,
    scratch::{self, Scratch},
    tick::Tick,
    workload::{self, Running},
};

const LIMIT: Duration = Duration::from_secs(15);

/// A copy of perl that goes by a name of its own, which looks like one with a version, and scripts.
struct Perl {
    scratch: Scratch,
    name: String,
}

impl Perl {
    fn new() -> Self {
        let scratch = Scratch::new();
        let name = format!("perl-9{}", scratch::unique().replace('x', "."));
        executable::copy("/usr/bin/perl", scratch.path().join(&name));
        Self { scratch, name }
    }

    /// Runs the script of that name, which takes `title`.
    fn run(&self, script: &str, title: &str) -> Running {
        let path = self.scratch.path().join(script);
        let text = "$0 = $ARGV[0] if $ARGV[0]; $| = 1; print \"ready\\n\"; <STDIN>;\n";
        std::fs::write(&path, text).expect("a file in the scratch directory");
        let mut command = Command::new(self.scratch.path().join(&self.name));
        command.arg(path).arg(title);
        Running::start(command)
    }

    fn pattern(&self) -> String {
        workload::pattern(&self.name)
    }

    fn database(&self) -> std::path::PathBuf {
        self.scratch.path().join("metadata.db")
    }

    fn group(&self) -> String {
        workload::adhoc_plugin(&self.name)
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&[
            "--interval",
            "200ms",
            "--process-name",
            &self.pattern(),
            "--metadata-db-path",
            text(&self.database()),
        ])
    }

    /// A single run that goes on from the last one; its totals.
    fn single_run(&self) -> Tick {
        let pattern = self.pattern();
        let database = self.database();
        let arguments = [
            "--run-once",
            "--window",
            "200ms",
            "--output",
            "json",
            "--process-name",
            &pattern,
            "--metadata-db-path",
            text(&database),
        ];
        let line = kevmon::finish(kevmon::command(&arguments)).json();
        let mut totals = line.0.clone();
        totals["plugins"] = line.0["kept"]["plugins"].clone();
        Tick(totals)
    }

    fn counts(&self, tick: &Tick) -> [u64; 3] {
        let group = tick.expect_group(&self.group());
        ["respawns", "unpaired_starts", "process_count"].map(|metric| group.int(metric))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// The name that the pattern matches is the interpreter's, so that nothing but what was kept tells the scripts apart.
#[test]
fn the_first_restart_of_a_script_after_a_restart_of_kevmon() {
    let perl = Perl::new();
    let before = perl.daemon();
    let (one, other) = (perl.run("one.pl", ""), perl.run("other.pl", "shop: master /x"));
    let mut before = before;
    before.wait_until("both", LIMIT, |tick| perl.counts(tick)[2] == 2);
    before.terminate();
    let mut after = perl.daemon();
    after.wait_until("both again", LIMIT, |tick| perl.counts(tick)[2] == 2);
    // A third script takes nobody's place, and the first one its own.
    assert_eq!(one.finish().status, 0);
    after.wait_until("the end", LIMIT, |tick| perl.counts(tick)[2] == 1);
    let third = perl.run("third.pl", "");
    after.wait_until("the third", LIMIT, |tick| perl.counts(tick)[2] == 2);
    let one = perl.run("one.pl", "");
    let tick = after.wait_until("the restart", LIMIT, |tick| perl.counts(tick)[2] == 3);
    assert_eq!(perl.counts(&tick)[0], 1, "{}", tick.0);
    assert_eq!(other.finish().status, 0);
    after.wait_until("its end", LIMIT, |tick| perl.counts(tick)[2] == 2);
    let other = perl.run("other.pl", "");
    let tick = after.wait_until("its restart", LIMIT, |tick| perl.counts(tick)[2] == 3);
    assert_eq!(perl.counts(&tick)[0], 2, "{}", tick.0);
    after.terminate();
    for running in [one, other, third] {
        assert_eq!(running.finish().status, 0);
    }
}

#[test]
fn single_runs_find_the_restart_of_a_script() {
    let perl = Perl::new();
    let (one, other) = (perl.run("one.pl", ""), perl.run("other.pl", ""));
    assert_eq!(perl.counts(&perl.single_run()), [0, 0, 2]);
    assert_eq!(one.finish().status, 0);
    let one = perl.run("one.pl", "");
    assert_eq!(perl.counts(&perl.single_run()), [1, 0, 2]);
    // Another script is no restart, whether it is one that nobody saw is not known.
    assert_eq!(other.finish().status, 0);
    let third = perl.run("third.pl", "");
    assert_eq!(perl.counts(&perl.single_run()), [1, 1, 2]);
    for running in [one, third] {
        assert_eq!(running.finish().status, 0);
    }
}
