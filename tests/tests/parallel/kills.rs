//! kevmon killed again and again under a stream of short lives, at an interval much longer than it lives.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kevmon_tests::{history, kevmon::Daemon, scratch::Scratch, truth, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// Ends the stream, also where an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Where nothing outlives kevmon, a kill costs what happened while it was away, and in the second before it: at an interval
/// of a minute, no more. Counters do not fall, starts of series stay, and each end that is counted has its event.
#[test]
fn a_kill_costs_no_interval() {
    const KILLS: u32 = 6;
    /// kevmon watches so long before it is killed, …
    const WATCHES: Duration = Duration::from_secs(4);
    /// … and what it may lose of that.
    const BEFORE_A_KILL: Duration = Duration::from_millis(1_300);
    /// Between two lives: the history keeps a thousand events.
    const PAUSE: Duration = Duration::from_millis(100);
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let program = Program::new(WORKLOAD, "stream");
    let plugin = program.plugin();
    let (lives, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let stream = Ends(&ends);
        scope.spawn(|| {
            while !ends.load(Relaxed) {
                truth::spawn(&program, &["exit", "0"]).reap();
                lives.fetch_add(1, Relaxed);
                thread::sleep(PAUSE);
            }
        });
        let start = || {
            let state = database.to_str().expect("a UTF-8 path");
            let pattern = program.pattern();
            let args = [
                "--interval",
                "60s",
                "--process-name",
                &pattern,
                "--metadata-db-path",
                state,
            ];
            Daemon::start(&args)
        };
        let (mut known, mut least) = (None, 0);
        for _ in 0..KILLS {
            let mut daemon = start();
            let first = daemon.wait_until("its first tick", LIMIT, |_| true);
            let group = first.expect_group(&plugin);
            let now = (group.int("starts"), group.int("exits"), group.start_time());
            if let Some((starts, exits, start_time)) = known.replace(now) {
                assert!(
                    now.0 >= starts + least && now.1 >= exits && now.2 == start_time,
                    "{now:?} after {starts}, {exits}, {start_time}; at least {least} starts between"
                );
            }
            let (began, before) = (Instant::now(), lives.load(Relaxed));
            thread::sleep(WATCHES - BEFORE_A_KILL);
            least = (lives.load(Relaxed) - before).saturating_sub(1);
            thread::sleep(WATCHES - began.elapsed());
            daemon.kill();
        }
        drop(stream);
        let mut last = start();
        let tick = last.wait_until("its first tick", LIMIT, |_| true);
        let group = tick.expect_group(&plugin);
        let (starts, exits) = (group.int("starts"), group.int("exits"));
        eprintln!(
            "{} lives, {starts} starts and {exits} exits counted",
            lives.load(Relaxed)
        );
        last.terminate();
        let told = |event: &str| {
            let rows = history::rows(&database, Some(&plugin));
            rows.iter().filter(|row| row["event"] == event).count() as u64
        };
        assert_eq!((told("start"), told("exit")), (starts, exits), "one event each");
    });
}

#[test]
fn a_kill_loses_no_life() {
    lose_no_life(10);
}

/// `cargo xtask test -- --ignored a_hundred_kills`: about five minutes.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_kills_lose_no_life() {
    let kills = std::env::var("KEVMON_TEST_KILLS").ok();
    lose_no_life(kills.map_or(100, |kills| kills.parse().expect("a number of kills")));
}

/// Kills at any moment of an interval, under up to 50 lives a second: every life is counted once, each end is told once,
/// and each time that kevmon was away is stated.
fn lose_no_life(kills: u32) {
    /// kevmon lives and is away for up to so long.
    const LIVES: Duration = Duration::from_millis(3_000);
    const IS_AWAY: Duration = Duration::from_millis(1_000);
    const PAUSE: Duration = Duration::from_millis(20);
    let scratch = Scratch::new();
    let database = scratch.path().join("metadata.db");
    let program = Program::new(WORKLOAD, "kills");
    let (plugin, pattern) = (program.plugin(), program.pattern());
    let start = || {
        let state = database.to_str().expect("a UTF-8 path");
        Daemon::start(&[
            "--interval",
            "10s",
            "--process-name",
            &pattern,
            "--keep-watching",
            "10m",
            "--metadata-db-path",
            state,
        ])
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut part_of = |time: Duration| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        time.mul_f64((random >> 40) as f64 / (1 << 24) as f64)
    };
    let mut told = BTreeSet::new();
    let mut tell = || {
        let rows = history::rows(&database, Some(&plugin));
        let exits = rows.iter().filter(|row| row["event"] == "exit");
        told.extend(exits.map(|row| (row["pid"].to_string(), row["start_time"].to_string())));
        told.len() as u64
    };
    let (lives, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let stream = Ends(&ends);
        let mut daemon = start();
        scope.spawn(|| {
            while !ends.load(Relaxed) {
                truth::spawn(&program, &["exit", "0"]).reap();
                lives.fetch_add(1, Relaxed);
                thread::sleep(PAUSE);
            }
        });
        let mut known = (0, 0, None);
        for kill in 0..kills {
            thread::sleep(part_of(LIVES));
            // The history keeps a thousand rows.
            tell();
            daemon.kill();
            thread::sleep(part_of(IS_AWAY));
            daemon = start();
            let said = daemon.stderr();
            assert!(
                said.contains("kevmon was away for") && said.contains("the kernel side went on"),
                "kill {kill}: {said}"
            );
            let first = daemon.wait_until("its first tick", LIMIT, |_| true);
            let group = first.expect_group(&plugin);
            let now = (group.int("starts"), group.int("exits"), Some(group.start_time()));
            assert!(
                now.0 >= known.0 && now.1 >= known.1 && (known.2.is_none() || now.2 == known.2),
                "kill {kill}: {now:?} after {known:?}"
            );
            known = now;
            tell();
        }
        drop(stream);
        thread::sleep(Duration::from_secs(1));
        let last = daemon.terminate();
        let group = last.expect_group(&plugin);
        let (starts, exits, truth) = (group.int("starts"), group.int("exits"), lives.load(Relaxed));
        let told = tell();
        eprintln!("{kills} kills: {truth} lives; {starts} starts, {exits} exits and {told} exit events told");
        let least = truth - truth / 1_000;
        assert!((least..=truth).contains(&starts), "{starts} starts of {truth}");
        assert!((least..=truth).contains(&exits), "{exits} exits of {truth}");
        assert_eq!(told, exits, "an event for each end");
    });
}
