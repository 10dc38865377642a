//! The flight recorder: what it has of a crash, and what becomes of it when kevmon is killed or its disk is full.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kevmon_tests::{
    cgroup::MemoryCgroup,
    daemon::Daemon,
    history, kevmon,
    mount::SmallDisk,
    plugin_dir::PluginDir,
    pty::Pty,
    scratch::Scratch,
    truth, wait,
    workload::{Program, Running},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const SECOND: u64 = 1_000_000_000;
const STANDARD: &str = "schema = 1\n\n[recorder]\nstandard = true\n";

/// What a test needs: a program of its own, its plugin with events, and settings.
struct Recorded {
    program: Program,
    plugins: PluginDir,
    scratch: Scratch,
}

impl Recorded {
    fn new(stem: &str, settings: &str, monitoring: &str) -> Self {
        let program = Program::new(WORKLOAD, stem);
        let plugins = PluginDir::new();
        plugins.write(stem, &plugin(&program, monitoring));
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("state")).expect("a folder");
        fs::write(scratch.path().join("kevmon.toml"), settings).expect("a file");
        Self {
            program,
            plugins,
            scratch,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("state/metadata.db")
    }

    fn start(&self) -> Daemon {
        let (config, database, lines) = (self.path("kevmon.toml"), self.database(), self.path("lines"));
        Daemon::start(&[
            "--config",
            text(&config),
            "--metadata-db-path",
            text(&database),
            "--otlp-json",
            text(&lines),
            "--plugins-dir",
            self.plugins.path(),
        ])
    }

    /// `kevmon incidents --json`, with an id or without.
    fn incidents(&self, id: Option<&str>) -> Vec<Value> {
        let database = self.database();
        let mut args = vec!["incidents", "--json", "--metadata-db-path", text(&database)];
        args.extend(id);
        let output = kevmon::run(&args);
        output.assert_code(0);
        let lines = output.stdout.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    /// Waits for the only incident.
    fn incident(&self) -> Value {
        wait::until("an incident", LIMIT, || {
            let listed = self.incidents(None);
            assert!(listed.len() <= 1, "{listed:?}");
            listed.into_iter().next()
        })
    }

    /// Starts a process of `mode` that may use so many bytes.
    fn start_in(&self, cgroup: &MemoryCgroup, mode: &[&str]) -> Running {
        let mut running = self.program.start(mode);
        cgroup.take(running.pid());
        running.tell("");
        running
    }
}

/// A plugin file of `program`, with events.
fn plugin(program: &Program, monitoring: &str) -> String {
    format!(
        "schema = 1\n\n[service]\nprocess_name = \"{}\"\n\n[monitoring]\ninterval = 1\n{monitoring}\n\n[events]\nenabled = true\n",
        program.pattern()
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn id(incident: &Value) -> String {
    incident["id"].as_str().expect("an id").to_owned()
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == kind).collect()
}

fn time(line: &Value) -> u64 {
    line["time"].as_u64().expect("a time")
}

/// An incident of a service that leaks until the OOM killer ends it, whose steps are `step` ns apart.
fn assert_shows_the_leak(recorded: &Recorded, pid: u32, step: u64, limit: u64) {
    let incident = recorded.incident();
    assert_eq!(
        (incident["cause"].as_str(), incident["pid"].as_u64()),
        (Some("oom"), Some(pid.into()))
    );
    let lines = recorded.incidents(Some(&id(&incident)));
    let end = lines
        .iter()
        .find(|line| line["event"] == "exit" && line["pid"] == pid);
    let end = end.unwrap_or_else(|| panic!("no end: {lines:?}"));
    assert_eq!(
        (&end["reason"], &end["incident"]),
        (&"oom".into(), &incident["id"])
    );
    let killed = time(end);
    let sets: Vec<(u64, u64)> = of_kind(&lines, "step")
        .into_iter()
        .filter(|line| time(line) <= killed && line["processes"] == 1)
        .map(|line| (time(line), line["rss_bytes"].as_u64().expect("a resident set")))
        .collect();
    assert!(sets.len() >= 3, "{sets:?}");
    assert!(sets.is_sorted_by_key(|(_, bytes)| *bytes), "it climbs: {sets:?}");
    let (last, bytes) = sets[sets.len() - 1];
    // A busy host makes a step late; a missing one is two steps.
    let since = killed - last;
    assert!(
        since < 2 * step,
        "the last sample is {since} ns old at the kill: {sets:?}"
    );
    assert!(bytes > limit / 2, "{bytes} of {limit}: {sets:?}");
    let rows = history::rows(&recorded.database(), None);
    assert_eq!(history::row(&rows, "exit", pid)["reason"], "oom");
    // The log record names it.
    let id = id(&incident);
    wait::until("the log record", LIMIT, || {
        let lines = fs::read_to_string(recorded.path("lines")).expect("OTLP/JSON lines");
        let mut exits = lines.lines().filter(|line| line.contains("kevmon.process.exit"));
        exits
            .find(|line| line.contains("kevmon.incident.id") && line.contains(&id))
            .map(drop)
    });
}

#[test]
fn a_service_that_leaks_is_seen_climbing_to_its_oom_kill() {
    const LIMIT_BYTES: u64 = 96 << 20;
    let recorded = Recorded::new("leaky", STANDARD, "");
    let daemon = recorded.start();
    let cgroup = MemoryCgroup::new(LIMIT_BYTES);
    let mut running = recorded.start_in(&cgroup, &["leak", "60"]);
    let pid = running.pid();
    assert_eq!(running.reap().status, libc::SIGKILL);
    assert_shows_the_leak(&recorded, pid, SECOND, LIMIT_BYTES);
    daemon.terminate();
}

#[test]
fn in_detailed_mode_it_is_seen_at_the_sample_interval() {
    const LIMIT_BYTES: u64 = 96 << 20;
    let monitoring = "mode = \"detailed\"\nsample_interval = \"100ms\"";
    let recorded = Recorded::new("leaky-detail", "schema = 1\n", monitoring);
    let daemon = recorded.start();
    let cgroup = MemoryCgroup::new(LIMIT_BYTES);
    let mut running = recorded.start_in(&cgroup, &["leak", "20"]);
    let pid = running.pid();
    assert_eq!(running.reap().status, libc::SIGKILL);
    assert_shows_the_leak(&recorded, pid, SECOND / 10, LIMIT_BYTES);
    daemon.terminate();
}

#[test]
fn a_kill_of_kevmon_in_a_freeze_loses_the_step_in_progress_at_most() {
    let recorded = Recorded::new("frozen", STANDARD, "");
    let daemon = recorded.start();
    let _holds = recorded
        .program
        .start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    std::thread::sleep(Duration::from_secs(4));
    let before = wait::unix_now();
    let crash = truth::spawn(&recorded.program, &["exit", "7"]);
    crash.reap();
    let incident = recorded.incident();
    let id = id(&incident);
    std::thread::sleep(Duration::from_secs(3));
    let killed = wait::unix_now();
    daemon.kill();

    let first = recorded.incidents(Some(&id));
    let steps = of_kind(&first, "step");
    assert!(
        steps.iter().filter(|line| time(line) < before).count() >= 3,
        "{steps:?}"
    );
    let last = time(steps[steps.len() - 1]);
    assert!(
        killed - last < 2 * SECOND,
        "the last step is {} ns old",
        killed - last
    );
    assert_eq!(first[0]["whole"], false);

    // The next run goes on with it.
    let daemon = recorded.start();
    let began = wait::unix_now();
    wait::until("steps after the restart", LIMIT, || {
        let lines = recorded.incidents(Some(&id));
        let last = of_kind(&lines, "step").last().map(|line| time(line))?;
        (last > began).then_some(())
    });
    let all = recorded.incidents(Some(&id));
    for line in &first[1..] {
        assert!(all.contains(line), "lost: {line}");
    }
    let begins = |line: &&&Value| line["begins"] == true;
    let begins: Vec<u64> = of_kind(&all, "step")
        .iter()
        .filter(begins)
        .map(|line| time(line))
        .collect();
    assert!(
        matches!(begins[..], [first, second] if first < before && second > killed),
        "the sums begin with each run: {begins:?}"
    );
    daemon.terminate();
    // What another kill left of a file in the making is no incident, and torn ends of files are cut off.
    let folder = recorded.path("state/metadata.db.recorder");
    let mut rings: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the recorder's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kfr"))
        .collect();
    rings.sort();
    let newest = rings.pop().expect("a ring");
    let mut torn = fs::read(&newest).expect("a file");
    torn.extend([0x20, 0, 0, 0, 1, 2, 3]);
    fs::write(&newest, torn).expect("a file");
    fs::write(folder.join("incident.new"), "half").expect("a file");
    let daemon = recorded.start();
    let said = wait::until("a line about the torn end", LIMIT, || {
        Some(daemon.stderr()).filter(|said| said.contains("damaged at byte"))
    });
    assert_eq!(said.matches("damaged at byte").count(), 1, "{said}");
    assert_eq!(recorded.incidents(None).len(), 1);
    daemon.terminate();
}

#[test]
fn a_full_disk_costs_steps_and_nothing_else() {
    // Steps that soon fill the page of memory that the last of them lies in.
    let monitoring = "mode = \"detailed\"\nsample_interval = \"20ms\"";
    let recorded = Recorded::new("full", "schema = 1\n", monitoring);
    let folder = recorded.path("state/metadata.db.recorder");
    fs::create_dir(&folder).expect("a folder");
    let disk = SmallDisk::over(&folder, 256 << 10);
    let mut daemon = recorded.start();
    let _holds = recorded
        .program
        .start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    std::thread::sleep(Duration::from_secs(3));
    let filler = disk.fill();
    let said = wait::until("a line about the full disk", LIMIT, || {
        Some(daemon.stderr()).filter(|said| said.contains("steps are lost until it can be written"))
    });
    assert!(
        said.contains("No space left") && said.contains("max_bytes"),
        "{said}"
    );
    let tick = daemon.next_tick(LIMIT);
    daemon.wait_until("collections that go on", LIMIT, |later| {
        later.time() > tick.time()
    });
    fs::remove_file(filler).expect("the file that fills it");
    std::thread::sleep(Duration::from_secs(3));
    truth::spawn(&recorded.program, &["exit", "7"]).reap();
    let incident = recorded.incident();
    assert!(incident["lost"].as_u64() > Some(0), "{incident}");
    let lines = recorded.incidents(Some(&id(&incident)));
    let steps = of_kind(&lines, "step");
    assert!(
        steps
            .iter()
            .all(|line| (line["processes"].as_u64() > Some(0)) == (line["rss_bytes"].as_u64() > Some(0))),
        "{steps:?}"
    );
    assert_eq!(daemon.stderr().matches("steps are lost until").count(), 1);
    daemon.terminate();
}

#[test]
fn readers_and_the_daemon_do_not_mind_each_other() {
    let monitoring = "mode = \"detailed\"\nsample_interval = \"10ms\"";
    let recorded = Recorded::new(
        "read",
        "schema = 1\n\n[recorder]\nmax_bytes = \"1MiB\"\n",
        monitoring,
    );
    let daemon = recorded.start();
    let _holds = recorded
        .program
        .start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    truth::spawn(&recorded.program, &["exit", "7"]).reap();
    let incident = recorded.incident();
    let end = Instant::now() + Duration::from_secs(10);
    let mut counts = Vec::new();
    while Instant::now() < end {
        let database = recorded.database();
        let output = kevmon::run(&[
            "incidents",
            "--json",
            "--metadata-db-path",
            text(&database),
            &id(&incident),
        ]);
        output.assert_code(0);
        assert_eq!(output.stderr, "", "nothing is damaged");
        counts.push(output.stdout.lines().count());
    }
    assert!(counts.is_sorted(), "it grows: {counts:?}");
    assert!(counts[counts.len() - 1] > counts[0] + 100, "{counts:?}");
    daemon.terminate();
}

#[test]
fn a_plugin_that_comes_with_a_reload_is_recorded_and_breaks_no_other() {
    let recorded = Recorded::new("first", STANDARD, "");
    let daemon = recorded.start();
    let _holds = recorded
        .program
        .start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    std::thread::sleep(Duration::from_secs(3));
    let second = Program::new(WORKLOAD, "second");
    recorded.plugins.write("second", &plugin(&second, ""));
    let incident = wait::until("an incident of the new plugin", LIMIT, || {
        truth::spawn(&second, &["exit", "7"]).reap();
        std::thread::sleep(Duration::from_secs(1));
        recorded.incidents(None).into_iter().next()
    });
    assert_eq!(incident["plugin"], "second");
    truth::spawn(&recorded.program, &["exit", "7"]).reap();
    let listed = wait::until("one of each", LIMIT, || {
        Some(recorded.incidents(None)).filter(|listed| listed.len() == 2)
    });
    std::thread::sleep(Duration::from_secs(2));
    for incident in listed {
        let lines = recorded.incidents(Some(&id(&incident)));
        let steps = of_kind(&lines, "step");
        let begins = steps.iter().filter(|line| line["begins"] == true);
        assert_eq!(begins.count(), 1, "the sums of each begin once: {steps:?}");
        assert!(steps.len() >= 3, "{steps:?}");
        assert_eq!(lines[0]["lost"], 0);
    }
    daemon.terminate();
}

#[test]
fn top_shows_what_was_recorded_and_steps_through_it() {
    let recorded = Recorded::new("replayed", STANDARD, "");
    let daemon = recorded.start();
    let _holds = recorded
        .program
        .start(&["pulse", "--busy-ms", "10", "--idle-ms", "20"]);
    std::thread::sleep(Duration::from_secs(3));
    truth::spawn(&recorded.program, &["exit", "7"]).reap();
    let incident = recorded.incident();
    std::thread::sleep(Duration::from_secs(3));
    daemon.terminate();
    let database = recorded.database();
    let top = |more: &[&str]| {
        let args = ["top", "--metadata-db-path", text(&database)];
        Pty::start(kevmon::command(&[&args, more].concat()), (120, 30))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ago =
        u64::try_from(now.expect("after 1970").as_nanos()).expect("a time") - time(&incident) + SECOND / 2;
    for which in [
        ["--at", &format!("{}ms", ago / 1_000_000)],
        ["--incident", &id(&incident)],
    ] {
        let mut top = top(&which);
        top.shows("source recording", LIMIT);
        top.shows("recorded, groups alone", LIMIT);
        top.line("the group", LIMIT, |line| {
            line.starts_with(">▸") && line.contains(" 0.")
        });
        top.press("<<<<<<<<<");
        top.shows("recording 1/", LIMIT);
        let is_end = |line: &str| line.contains("EXIT") && line.contains("exit 7");
        assert!(
            !top.screen().iter().any(|line| is_end(line)),
            "{:#?}",
            top.screen()
        );
        top.press(".");
        top.shows("recording 2/", LIMIT);
        top.press(",");
        top.shows("recording 1/", LIMIT);
        top.press(">>>>>>>>>>>>>");
        top.line("the end", LIMIT, is_end);
        top.press("q");
        assert_eq!(top.ended(LIMIT).code(), Some(0));
    }
    let mut nothing = top(&["--at", "1h"]);
    assert_eq!(nothing.ended(LIMIT).code(), Some(1));
    assert!(
        nothing.written().contains("has nothing of"),
        "{}",
        nothing.written()
    );
    fs::remove_dir_all(recorded.path("state/metadata.db.recorder")).expect("the recorder's folder");
    let mut off = top(&["--at", "1m"]);
    assert_eq!(off.ended(LIMIT).code(), Some(1));
    assert!(
        off.written().contains("nothing is recorded in"),
        "{}",
        off.written()
    );
}

#[test]
fn without_a_recorder_there_is_nothing_and_a_clear_word() {
    let recorded = Recorded::new("none", "schema = 1\n", "");
    let daemon = recorded.start();
    truth::spawn(&recorded.program, &["exit", "7"]).reap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!recorded.path("state/metadata.db.recorder").exists());
    let database = recorded.database();
    let output = kevmon::run(&["incidents", "--metadata-db-path", text(&database)]);
    output.assert_code(0);
    assert!(
        output.stdout.contains("no incident is recorded"),
        "{}",
        output.stdout
    );
    let output = kevmon::run(&[
        "incidents",
        "--metadata-db-path",
        text(&database),
        "20260101T000000000Z-1",
    ]);
    output.assert_code(1);
    assert!(
        output.stderr.contains("kevmon incidents lists them"),
        "{}",
        output.stderr
    );
    kevmon::run(&["incidents", "../passwd"]).assert_code(2);
    daemon.terminate();
}
