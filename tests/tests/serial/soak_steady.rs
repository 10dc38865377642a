//! Half an hour of short lives at the default interval, in ten plugins, into VictoriaMetrics and a state on disk: what kevmon
//! takes of the host does not grow, and every life is counted. `cargo xtask test --e2e -- --ignored soak_steady::` runs it;
//! `KEVMON_SOAK_SECONDS` makes it shorter.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kevmon_tests::{
    kevmon::Daemon, plugin_dir::PluginDir, process, push::plugin_file, scratch::Scratch, soak,
    telemetry::lane, tick::Tick, truth, victoria_metrics::VictoriaMetrics, wait, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const PLUGINS: usize = 10;
const INTERVAL: Duration = Duration::from_secs(10);
/// How long lives are started.
const HALF_AN_HOUR: Duration = Duration::from_secs(1800);
/// Between two lives: 50 a second.
const PERIOD: Duration = Duration::from_millis(20);
/// Resident memory may change by so much between the two windows, as part of the first.
const RSS_CHANGE: f64 = 0.02;
/// The database's size likewise: SQLite's log grows and shrinks between two checkpoints.
const DATABASE_CHANGE: f64 = 0.1;

/// What kevmon takes of the host at one moment.
#[derive(Debug, Clone, Copy)]
struct Taken {
    after: Duration,
    rss: u64,
    descriptors: u64,
    threads: u64,
    /// Of the database with its log, bytes.
    database: u64,
}

impl Taken {
    fn now(daemon: &Daemon, began: Instant) -> Self {
        let entries = |what: &str| {
            let folder = format!("/proc/{}/{what}", daemon.pid());
            fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
        };
        let size = |suffix: &str| {
            let path = format!("{}{suffix}", daemon.database().display());
            fs::metadata(Path::new(&path)).map_or(0, |file| file.len())
        };
        Self {
            after: began.elapsed(),
            rss: process::rss(daemon.pid()),
            descriptors: entries("fd"),
            threads: entries("task"),
            database: size("") + size("-wal") + size("-shm"),
        }
    }
}

/// Samples between two moments.
#[derive(Debug)]
struct Window(Vec<Taken>);

impl Window {
    /// Of `samples`, those between `from` and `to` sixths of `length`.
    fn of(samples: &[Taken], length: Duration, from: u32, to: u32) -> Self {
        let range = length * from / 6..length * to / 6;
        let taken = samples.iter().filter(|taken| range.contains(&taken.after));
        let window = Self(taken.copied().collect());
        assert!(window.0.len() > 1, "too few samples: {samples:?}");
        window
    }

    fn mean(&self, of: impl Fn(&Taken) -> u64) -> f64 {
        self.0.iter().map(of).sum::<u64>() as f64 / self.0.len() as f64
    }

    /// A connection or a journal that is open for a moment does not change this; one that is never closed does.
    fn median(&self, of: impl Fn(&Taken) -> u64) -> u64 {
        let mut all: Vec<u64> = self.0.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    }
}

/// Starts and reaps one life after the other, at a steady rate, until `ends`.
fn drive(programs: &[(Program, AtomicU64)], ends: &AtomicBool) {
    let mut next = Instant::now();
    for (program, lives) in programs.iter().cycle() {
        if ends.load(Relaxed) {
            return;
        }
        truth::spawn(program, &["exit", "0"]).reap();
        lives.fetch_add(1, Relaxed);
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn assert_flat(samples: &[Taken], length: Duration) {
    let (first, last) = (
        Window::of(samples, length, 1, 2),
        Window::of(samples, length, 5, 6),
    );
    let growth = |of: fn(&Taken) -> u64| last.mean(of) / first.mean(of) - 1.0;
    let (rss, database) = (growth(|taken| taken.rss), growth(|taken| taken.database));
    let medians = |window: &Window| {
        let descriptors = window.median(|taken| taken.descriptors);
        (descriptors, window.median(|taken| taken.threads))
    };
    eprintln!(
        "RSS {:.0} B to {:.0} B ({:+.2} %), database {:.0} B to {:.0} B ({:+.2} %), descriptors and threads {:?} to {:?}",
        first.mean(|taken| taken.rss),
        last.mean(|taken| taken.rss),
        rss * 100.0,
        first.mean(|taken| taken.database),
        last.mean(|taken| taken.database),
        database * 100.0,
        medians(&first),
        medians(&last),
    );
    assert!(rss.abs() <= RSS_CHANGE, "resident memory changed by {rss}");
    assert!(
        database.abs() <= DATABASE_CHANGE,
        "the database changed by {database}"
    );
    assert_eq!(medians(&first), medians(&last), "descriptors and threads");
}

/// A plugin's starts and exits, by kevmon and by the receiver, are the driver's lives.
fn assert_counted(tick: &Tick, receiver: &VictoriaMetrics, plugin: &str, lives: u64) {
    let group = tick.expect_group(plugin);
    assert_eq!(
        (group.int("starts"), group.int("exits"), group.exits_with(0)),
        (lives, lives, lives),
        "{}",
        group.0
    );
    let samples = receiver.samples(&format!("kvt_company_{plugin}"));
    for metric in ["starts", "exits"] {
        // Exits have a series for each reason.
        let of = || samples.iter().filter(|sample| sample.metric == metric);
        let newest = of().map(|sample| sample.time).max();
        let newest: f64 = of()
            .filter(|sample| Some(sample.time) == newest)
            .map(|sample| sample.value)
            .sum();
        assert!(
            (newest - lives as f64).abs() < 0.5,
            "{metric} of {plugin} at the receiver: {newest}, not {lives}"
        );
    }
}

#[test]
#[ignore = "half an hour: cargo xtask test --e2e -- --ignored --nocapture soak_steady::"]
fn what_it_takes_of_the_host_does_not_grow() {
    let (receiver, folder, scratch) = (VictoriaMetrics::start(), PluginDir::new(), Scratch::new());
    let programs: Vec<(Program, AtomicU64)> = (0..PLUGINS)
        .map(|_| (Program::new(WORKLOAD, "steady"), AtomicU64::new(0)))
        .collect();
    for (number, (program, _)) in programs.iter().enumerate() {
        let name = format!("steady{number}");
        let file = plugin_file(&name, &program.pattern(), "").replace("300ms", "10s");
        folder.write(&name, &file);
    }
    let settings = scratch.path().join("kevmon.toml");
    let text = format!(
        "schema = 1\n[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n",
        receiver.url()
    );
    fs::write(&settings, text).expect("a file in the scratch directory");
    let settings = settings.to_str().expect("a UTF-8 path");
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path(), "--config", settings]);
    let (length, ends, began) = (soak::length(HALF_AN_HOUR), AtomicBool::new(false), Instant::now());
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let driver = scope.spawn(|| drive(&programs, &ends));
        while began.elapsed() < length && !driver.is_finished() {
            thread::sleep(INTERVAL);
            let taken = Taken::now(&daemon, began);
            eprintln!("{taken:?}");
            samples.push(taken);
        }
        ends.store(true, Relaxed);
    });
    let since = wait::unix_now();
    daemon.tick_after(since, INTERVAL, INTERVAL * 6);
    let last = daemon.tick_after(since, INTERVAL * 2, INTERVAL * 6);
    thread::sleep(Duration::from_secs(2));
    let counts: Vec<u64> = programs.iter().map(|(_, lives)| lives.load(Relaxed)).collect();
    eprintln!(
        "{} lives in {:?}, by plugin {counts:?}",
        counts.iter().sum::<u64>(),
        began.elapsed()
    );
    for (number, lives) in counts.iter().enumerate() {
        assert_counted(&last, &receiver, &format!("steady{number}"), *lives);
    }
    let incomplete = daemon.ticks().iter().filter(|tick| !tick.complete()).count();
    assert_eq!(incomplete, 0, "incomplete collections");
    let metrics = lane(&last, "default", "metrics");
    assert_eq!(
        metrics["lost"]["refused"].as_u64().unwrap_or_default(),
        0,
        "{metrics}"
    );
    assert_flat(&samples, length);
    daemon.terminate();
}
