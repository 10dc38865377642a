//! kevmon killed again and again under a stream of short lives, at an interval much longer than it lives.

use std::{
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

/// What a kill costs is what happened while kevmon was away, and in the second before it: at an interval of a minute, no
/// more. Counters do not fall, starts of series stay, and each end that is counted has its event.
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
