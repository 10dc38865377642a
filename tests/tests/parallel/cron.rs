//! `--run-once` that keeps its totals, once a minute or whenever a timer says: what happened between the runs is found by
//! comparison, nothing falls, and the printed figures stay those of the window.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use kevmon_tests::{
    checks, history,
    kevmon::{self, Daemon, Output},
    process::Killed,
    receiver::Receiver,
    scratch::Scratch,
    tick::Tick,
    truth, wait,
    workload::Program,
};
use serde_json::{Value, json};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);

/// A program, and the state that the runs share.
struct Setup {
    program: Program,
    database: PathBuf,
    _scratch: Scratch,
    /// The totals of each run, as a daemon would tell them.
    totals: Vec<Tick>,
}

impl Setup {
    fn new(stem: &str) -> Self {
        let scratch = Scratch::new();
        Self {
            program: Program::new(WORKLOAD, stem),
            database: scratch.path().join("metadata.db"),
            _scratch: scratch,
            totals: Vec::new(),
        }
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        let pattern = self.program.pattern();
        let own = [
            "--run-once",
            "--output",
            "json",
            "--process-name",
            &pattern,
            "--metadata-db-path",
            self.database.to_str().unwrap(),
        ];
        let window = ["--window", "200ms"];
        let window = if more.contains(&"--window") {
            &[][..]
        } else {
            &window
        };
        kevmon::command(&[&own[..], window, more].concat())
    }

    /// One run; its line.
    fn run(&mut self, more: &[&str]) -> Tick {
        let output = kevmon::finish(self.command(more));
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
        let line = output.json();
        let mut totals = line.0.clone();
        totals["plugins"] = line.0["kept"]["plugins"].clone();
        totals["complete"] = line.0["kept"]["complete"].clone();
        self.totals.push(Tick(totals));
        line
    }

    /// The totals of the last run.
    fn kept(&self, metric: &str) -> u64 {
        self.totals
            .last()
            .unwrap()
            .expect_group(&self.program.plugin())
            .int(metric)
    }

    fn counts<const N: usize>(&self, metrics: [&str; N]) -> [u64; N] {
        metrics.map(|metric| self.kept(metric))
    }

    /// Nothing fell from run to run, and the sums agree.
    fn assert_rules(&self) {
        checks::assert_sum_rule(&self.totals, &self.program.plugin());
    }
}

/// What grew since the last run.
fn since<'a>(line: &'a Tick, metric: &str) -> &'a Value {
    &line.0["since_last_run"]["plugins"][0]["metrics"][metric]
}

const COUNTS: [&str; 6] = [
    "starts",
    "exits",
    "respawns",
    "unpaired_starts",
    "joins",
    "process_count",
];

#[test]
fn what_happened_between_the_runs_is_found_by_comparison() {
    let mut setup = Setup::new("between");
    let plugin = setup.program.plugin();
    let mut steady = setup.program.start(&["work"]);
    let second = setup.program.start(&["idle"]);
    let line = setup.run(&[]);
    assert!(line.complete(), "{}", line.0);
    assert!(line.0["since_last_run"].is_null(), "the first run: {}", line.0);
    assert_eq!(setup.counts(COUNTS), [0, 0, 0, 0, 2, 2]);
    assert!(setup.totals[0].complete(), "{}", setup.totals[0].0);

    // One works and lives on, one ends and is replaced, one comes and goes unseen.
    assert_eq!(steady.ask("user 200"), "ok");
    assert_eq!(second.finish().status, 0);
    let replaced = setup.program.start(&["idle"]);
    truth::spawn(&setup.program, &["burn", "--cpu-ms", "5"]).reap();
    let line = setup.run(&[]);
    assert_eq!(setup.counts(COUNTS), [1, 1, 1, 0, 2, 2], "{}", line.0);
    assert_eq!(
        ["starts", "exits", "restarts", "joins"].map(|metric| since(&line, metric).as_u64().unwrap()),
        [1, 1, 1, 0],
        "{}",
        line.0
    );
    assert!(
        since(&line, "cpu_user_time_total").as_f64().unwrap() > 0.15,
        "{}",
        line.0
    );
    assert_eq!(line.0["since_last_run"]["complete"], false);
    assert_eq!(line.0["since_last_run"]["same_boot"], true);
    assert!(!setup.totals[1].complete(), "{}", setup.totals[1].0);
    // The end is known by comparison alone: neither its reason nor for how long the place was empty.
    let kept = setup.totals[1].expect_group(&plugin);
    assert_eq!(
        (
            kept.ends_of("unknown"),
            kept.downtime().count,
            kept.lifetime().count
        ),
        (1, 0, 0)
    );
    // The window shows what it would without any state.
    assert!(line.complete(), "{}", line.0);
    let window = line.expect_group(&plugin);
    let shown = COUNTS.map(|metric| window.int(metric));
    assert_eq!(shown, [0, 0, 0, 0, 2, 2], "{}", window.0);
    let whole = window.float("cpu_user_time_total");
    assert!(
        whole >= kept.float("cpu_user_time_total") * 0.99,
        "whole lives: {}",
        line.0
    );

    // One more, with nobody gone: whether it took the place of one that nobody saw is not known.
    let more = setup.program.start(&["idle"]);
    setup.run(&[]);
    assert_eq!(setup.counts(COUNTS), [2, 1, 1, 1, 2, 3]);
    // All end.
    for running in [steady, replaced, more] {
        assert_eq!(running.finish().status, 0);
    }
    let line = setup.run(&[]);
    assert_eq!(setup.counts(COUNTS), [2, 4, 1, 1, 2, 0]);
    assert_eq!(line.expect_group(&plugin).int("process_count"), 0);
    setup.assert_rules();

    let rows = history::rows(&setup.database, Some(&plugin));
    let of = |event: &str| rows.iter().filter(|row| row["event"] == event).count();
    assert_eq!([of("start"), of("exit"), of("restart")], [2, 4, 1], "{rows:?}");
}

#[test]
fn what_happens_in_the_window_is_counted_in_both() {
    let mut setup = Setup::new("within");
    let plugin = setup.program.plugin();
    setup.run(&[]);
    let log = setup.program.directory().join("log");
    let mut command = setup.command(&["--window", "2s"]);
    command
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap());
    let child = command.spawn().unwrap();
    wait::until("the run to watch", LIMIT, || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("source ebpf")
            .then_some(())
    });
    let ended = truth::spawn(&setup.program, &["exit", "7"]).reap();
    assert!(ended.truth.count == 1);
    let output = child.wait_with_output().unwrap();
    let line = Tick::parse(String::from_utf8(output.stdout).unwrap().trim());
    let kept = &line.0["kept"]["plugins"][0];
    for group in [line.expect_group(&plugin).0, kept] {
        assert_eq!(group["metrics"]["starts"], 1, "{}", line.0);
        assert_eq!(
            group["exits_by_reason"],
            json!([{"reason": "exit", "code": 7, "count": 1}])
        );
    }
}

#[test]
fn a_run_that_is_killed_takes_nothing_back() {
    let mut setup = Setup::new("killed");
    let mut steady = setup.program.start(&["work"]);
    setup.run(&[]);
    for round in 1..=3_u64 {
        truth::spawn(&setup.program, &["exit", "0"]).reap();
        assert_eq!(steady.ask("user 50"), "ok");
        let mut command = setup.command(&["--window", "30s"]);
        let mut killed = Killed(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let lock = format!("{}.lock", setup.database.display());
        wait::until("the run to have the state", LIMIT, || {
            let text = fs::read_to_string(&lock).unwrap_or_default();
            text.starts_with(&format!("{}\n", killed.0.id())).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300 * round));
        killed.0.kill().unwrap();
        killed.0.wait().unwrap();
        setup.run(&[]);
        assert_eq!(setup.counts(COUNTS), [0, 0, 0, 0, 1, 1]);
    }
    assert!(setup.kept("cpu_time_ns") > 120_000_000);
    setup.assert_rules();
}

#[test]
fn a_boot_between_the_runs_ends_what_was_there_and_starts_what_is() {
    let mut setup = Setup::new("booted");
    let _steady = setup.program.start(&["idle"]);
    setup.run(&["--boot-id", "first"]);
    assert_eq!(setup.counts(COUNTS), [0, 0, 0, 0, 1, 1]);
    let line = setup.run(&["--boot-id", "second"]);
    assert_eq!(line.0["since_last_run"]["same_boot"], false, "{}", line.0);
    // Another boot's process, whatever its pid; one of the same program is there now.
    assert_eq!(setup.counts(COUNTS), [1, 1, 1, 0, 1, 1], "{}", line.0);
    setup.run(&["--boot-id", "second"]);
    assert_eq!(setup.counts(COUNTS), [1, 1, 1, 0, 1, 1]);
    setup.assert_rules();
}

#[test]
fn runs_and_a_daemon_take_turns() {
    let mut setup = Setup::new("turns");
    let plugin = setup.program.plugin();
    let mut steady = setup.program.start(&["work"]);
    setup.run(&[]);
    for round in 1..=2_u64 {
        assert_eq!(steady.ask("user 50"), "ok");
        let pattern = setup.program.pattern();
        let database = setup.database.to_str().unwrap();
        let mut daemon = Daemon::start(&[
            "--interval",
            "200ms",
            "--process-name",
            &pattern,
            "--metadata-db-path",
            database,
        ]);
        truth::spawn(&setup.program, &["exit", "3"]).reap();
        daemon.wait_until("the end", LIMIT, |tick| {
            tick.expect_group(&plugin).exits_with(3) == round
        });
        setup.totals.extend(daemon.ticks().iter().cloned());
        setup.totals.push(daemon.terminate());
        setup.run(&[]);
        assert_eq!(
            setup.counts(["starts", "exits", "joins", "process_count"]),
            [round, round, 1, 1]
        );
    }
    setup.assert_rules();
}

#[test]
fn the_source_may_change_from_run_to_run() {
    let mut setup = Setup::new("sources");
    let mut steady = setup.program.start(&["work"]);
    for source in ["ebpf", "proc", "proc", "ebpf", "ebpf"] {
        assert_eq!(steady.ask("user 20"), "ok");
        setup.run(&["--source", source]);
        assert_eq!(setup.counts(COUNTS), [0, 0, 0, 0, 1, 1], "{source}");
    }
    let replaced = setup.program.start(&["idle"]);
    assert_eq!(steady.finish().status, 0);
    setup.run(&["--source", "proc"]);
    assert_eq!(
        setup.counts(["starts", "exits", "respawns", "process_count"]),
        [1, 1, 1, 1]
    );
    drop(replaced);
}

#[test]
fn a_receiver_sees_one_service_whose_counters_grow() {
    let setup = Setup::new("received");
    let receiver = Receiver::start();
    let port = receiver.port();
    let to = ["--agent-host", "127.0.0.1", "--agent-port", &port];
    for _ in 0..3 {
        let _running = setup.program.start(&["idle"]);
        let output = kevmon::finish(setup.command(&to));
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    let points = receiver.points();
    let starts: Vec<_> = points.iter().filter(|point| point.metric == "starts").collect();
    assert_eq!(starts.len(), 3);
    let ids: BTreeSet<&String> = starts
        .iter()
        .map(|point| &point.resource["service.instance.id"])
        .collect();
    let begun: BTreeSet<u64> = starts.iter().map(|point| point.start_time).collect();
    assert_eq!((ids.len(), begun.len()), (1, 1), "one series");
    let values: Vec<f64> = starts.iter().map(|point| point.value.as_f64()).collect();
    assert_eq!(values, [0.0, 1.0, 2.0]);
}

#[test]
fn a_state_that_cannot_be_had_is_said_and_the_figures_are_printed() {
    let program = Program::new(WORKLOAD, "nostate");
    let _running = program.start(&["idle"]);
    let scratch = Scratch::new();
    fs::write(scratch.path().join("file"), "").unwrap();
    let nowhere = scratch.path().join("file/metadata.db");
    let args = [
        "--process-name",
        &program.pattern(),
        "--window",
        "200ms",
        "--metadata-db-path",
    ];
    let output = kevmon::run_once(&[&args[..], &[nowhere.to_str().unwrap()]].concat());
    output.assert_code(4);
    assert!(output.stdout.contains('✓'), "{}", output.stdout);
    assert!(
        output.stderr.contains(nowhere.to_str().unwrap()),
        "{}",
        output.stderr
    );
}

/// Runs kevmon as cron does: no flags, a folder of its own for the state.
fn from_cron(scratch: &Scratch, more: &[&str]) -> Output {
    let mut command = kevmon::command(more);
    command
        .env("STATE_DIRECTORY", scratch.path())
        .current_dir(scratch.path());
    kevmon::finish(command)
}

#[test]
fn the_line_of_a_crontab_that_starts_a_daemon_each_minute_leaves_one() {
    for with_plugins in [false, true] {
        let scratch = Scratch::new();
        let program = Program::new(WORKLOAD, "crontab");
        if with_plugins {
            fs::create_dir_all(scratch.path().join("plugins/x")).unwrap();
            let text = format!("schema = 1\n[service]\nprocess_name = '{}'\n", program.pattern());
            fs::write(scratch.path().join("plugins/x/plugin.toml"), text).unwrap();
        }
        let mut first = kevmon::command(&[]);
        first
            .env("STATE_DIRECTORY", scratch.path())
            .current_dir(scratch.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let first = Killed(first.spawn().unwrap());
        let lock = scratch.path().join("metadata.db.lock");
        wait::until("the first one", LIMIT, || {
            let text = fs::read_to_string(&lock).unwrap_or_default();
            text.ends_with(".\n").then_some(())
        });
        for _ in 0..2 {
            let began = Instant::now();
            let next = from_cron(&scratch, &[]);
            next.assert_code(4);
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            assert!(
                next.stderr.contains(&format!("pid {},", first.0.id())),
                "{}",
                next.stderr
            );
            let silent = from_cron(&scratch, &["--if-not-running"]);
            silent.assert_code(0);
            assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
            let kept = from_cron(&scratch, &["--run-once", "--keep", "--if-not-running"]);
            assert_eq!((kept.code, kept.stdout.as_str()), (Some(0), ""), "{kept:?}");
        }
    }
}

#[test]
fn the_original_frameworks_database_is_offered_once() {
    let program = Program::new(WORKLOAD, "original");
    let _running = program.start(&["idle"]);
    let home = Scratch::new();
    let folder = home.path().join(".instana_plugins");
    fs::create_dir(&folder).unwrap();
    let original = folder.join("metadata.db");
    // The first page, as SQLite begins one; kevmon only looks at it.
    let mut page = vec![0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[3000..3021].copy_from_slice(b"CREATE TABLE services");
    fs::write(&original, page).unwrap();
    let pattern = program.pattern();
    let run = |state: &str, home: Option<&Scratch>| {
        let mut command = kevmon::command(&["--run-once", "--window", "100ms", "--process-name", &pattern]);
        command.args(["--metadata-db-path", state]).env_remove("HOME");
        command.envs(home.map(|home| ("HOME", home.path())));
        let output = kevmon::finish(command);
        output.assert_code(0);
        output
            .stderr
            .lines()
            .filter(|line| line.contains("Instana framework's database"))
            .count()
    };
    let scratch = Scratch::new();
    let state = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(run(&state("a"), Some(&home)), 1);
    assert_eq!(
        run(&state("a"), Some(&home)),
        0,
        "kevmon's own state is not new any more"
    );
    assert_eq!(run(&state("b"), None), 0, "no HOME");
    // kevmon's own mark: it was migrated in place.
    let mut page = fs::read(&original).unwrap();
    page[68..72].copy_from_slice(b"kevm");
    fs::write(&original, page).unwrap();
    assert_eq!(run(&state("c"), Some(&home)), 0);
}
