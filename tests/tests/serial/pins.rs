//! What outlives kevmon in the kernel: what is left by a kill and by other ends, who goes on from it, and what is not trusted.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use kevmon_tests::{
    kevmon::{self, Daemon},
    pins,
    scratch::Scratch,
    truth,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65534;
/// What the log says where the kernel side has told of the time that kevmon was away, and where it has not.
const WENT_ON: &str = "the kernel side went on without it";
const UNKNOWN: &str = "what ended in it did so for an unknown reason";

/// A program, and a state for the daemons that watch it one after the other.
struct Stage {
    program: Program,
    scratch: Scratch,
}

impl Stage {
    fn new(stem: &str) -> Self {
        Self {
            program: Program::new(WORKLOAD, stem),
            scratch: Scratch::new(),
        }
    }

    fn start(&self, database: &str, keep_watching: &str) -> Daemon {
        let database = self.scratch.path().join(database);
        let pattern = self.program.pattern();
        let args = [
            "--interval",
            "500ms",
            "--process-name",
            &pattern,
            "--keep-watching",
            keep_watching,
            "--metadata-db-path",
            &database.to_string_lossy(),
        ];
        Daemon::start(&args)
    }

    /// The state's folder in bpffs.
    fn pins(&self, database: &str) -> PathBuf {
        pins::of(&self.scratch.path().join(database))
    }

    fn live(&self, lives: u64) {
        for _ in 0..lives {
            truth::spawn(&self.program, &["exit", "0"]).reap();
        }
    }

    fn exits(&self, daemon: &mut Daemon, exits: u64) {
        let plugin = self.program.plugin();
        daemon.wait_until(&format!("{exits} exits"), LIMIT, |tick| {
            tick.group(&plugin)
                .is_some_and(|group| group.int("exits") == exits)
        });
    }
}

#[test]
fn lives_while_kevmon_is_away_are_counted() {
    let stage = Stage::new("away");
    let state = stage.pins("a.db");
    let mut daemon = stage.start("a.db", "10m");
    stage.live(3);
    stage.exits(&mut daemon, 3);
    daemon.kill();
    assert!(state.is_dir(), "a kill leaves them");
    stage.live(5);

    let mut next = stage.start("a.db", "10m");
    stage.exits(&mut next, 8);
    let said = next.stderr();
    assert!(
        said.contains("kevmon was away for") && said.contains(WENT_ON) && said.contains("lost none"),
        "{said}"
    );
    assert!(
        next.ticks().iter().all(|tick| tick.complete()),
        "nothing is missing: {said}"
    );

    // SIGUSR2: another one follows.
    next.stop(libc::SIGUSR2);
    assert!(state.is_dir(), "the kernel side goes on");
    stage.live(2);
    let mut last = stage.start("a.db", "10m");
    stage.exits(&mut last, 10);
    assert!(last.stderr().contains(WENT_ON), "{}", last.stderr());
    last.terminate();
    assert!(!state.exists(), "an end for good leaves nothing");
}

#[test]
fn what_is_left_can_be_removed_when_nobody_uses_it() {
    let stage = Stage::new("unpin");
    let daemon = stage.start("a.db", "10m");
    let state = stage.pins("a.db");
    let database = stage.scratch.path().join("a.db");
    let unpin = || kevmon::run(&["unpin", "--metadata-db-path", &database.to_string_lossy()]);
    let refused = unpin();
    refused.assert_code(4);
    assert!(
        refused.stderr.contains("another kevmon uses it"),
        "{}",
        refused.stderr
    );
    assert!(!pins::entries(&state).is_empty());
    daemon.kill();
    let removed = unpin();
    removed.assert_code(0);
    assert!(
        removed.stdout.contains("removed what was left"),
        "{}",
        removed.stdout
    );
    assert!(!state.exists());
    assert!(unpin().stdout.contains("nothing was left"));
}

/// A kevmon whose programs or records differ cannot read what is there: it says so, and begins anew.
#[test]
fn another_layout_is_removed_and_said() {
    let stage = Stage::new("layout");
    stage.start("a.db", "10m").kill();
    let state = stage.pins("a.db");
    let old = pins::entries(&state).pop_first().expect("a layout");
    let other = old.with_file_name("0123456789abcdef");
    fs::rename(&old, &other).expect("root may");

    let next = stage.start("a.db", "10m");
    let said = next.stderr();
    assert!(
        said.contains("another version of kevmon") && said.contains(UNKNOWN),
        "{said}"
    );
    assert_eq!(pins::entries(&state).into_iter().collect::<Vec<_>>(), [old]);
    next.terminate();
}

#[test]
fn what_others_can_write_is_not_used() {
    let stage = Stage::new("planted");
    stage.start("a.db", "10m").kill();
    let state = stage.pins("a.db");
    let layout = pins::entries(&state).pop_first().expect("a layout");

    // One object.
    chown(layout.join("map_MARKS"), Some(NOBODY), None).expect("root may");
    let next = stage.start("a.db", "10m");
    let said = next.stderr();
    assert!(
        said.contains("map_MARKS") && said.contains("removed") && said.contains(UNKNOWN),
        "{said}"
    );
    next.kill();

    // One of another type under its name.
    fs::remove_file(layout.join("map_MARKS")).expect("root may");
    fs::hard_link(layout.join("map_COUNTERS"), layout.join("map_MARKS")).expect("bpffs has links");
    let next = stage.start("a.db", "10m");
    let said = next.stderr();
    assert!(
        said.contains("MARKS has another size") && said.contains(UNKNOWN),
        "{said}"
    );
    next.terminate();

    // The whole folder.
    fs::create_dir_all(&state).expect("root may");
    chown(&state, Some(NOBODY), None).expect("root may");
    let next = stage.start("a.db", "10m");
    let said = next.stderr();
    assert!(
        said.contains("will not be known") && said.contains(state.to_string_lossy().as_ref()),
        "{said}"
    );
    assert_eq!(pins::entries(&state).len(), 0, "nothing is put there");
    next.terminate();
    fs::remove_dir(&state).expect("it is empty");
    let _ = fs::remove_dir(Path::new("/sys/fs/bpf/kevmon"));
}

#[test]
fn the_kernel_side_stops_when_kevmon_does_not_come_back() {
    let stage = Stage::new("lapsed");
    let mut daemon = stage.start("a.db", "2s");
    stage.live(3);
    stage.exits(&mut daemon, 3);
    daemon.kill();
    stage.live(4);
    thread::sleep(Duration::from_secs(3));
    stage.live(5);
    let mut next = stage.start("a.db", "2s");
    let said = next.stderr();
    assert!(said.contains("it stopped before kevmon came back"), "{said}");
    stage.exits(&mut next, 7);
    assert!(
        next.ticks().iter().any(|tick| !tick.complete()),
        "what came later is missing"
    );
    next.terminate();
}

#[test]
fn two_states_share_nothing() {
    let stage = Stage::new("two");
    let mut first = stage.start("a.db", "10m");
    let second = stage.start("b.db", "10m");
    let (one, other) = (stage.pins("a.db"), stage.pins("b.db"));
    assert!(one.is_dir() && other.is_dir());
    second.kill();
    stage.live(2);
    stage.exits(&mut first, 2);
    first.terminate();
    assert!(!one.exists() && other.is_dir(), "each removes its own");
    let mut second = stage.start("b.db", "10m");
    stage.exits(&mut second, 2);
    second.terminate();
    assert!(!other.exists());
}

/// A zombie's end is in the state, and its final totals come once it is reaped: after kevmon was killed. They belong to it all
/// the same, so that nothing of its group is left open.
#[test]
fn final_totals_that_come_while_kevmon_is_away_settle_their_process() {
    const BEFORE_THE_KILL: Duration = Duration::from_millis(1_500);
    let stage = Stage::new("zombie");
    let plugin = stage.program.plugin();
    let mut daemon = stage.start("a.db", "10m");
    let zombie = truth::spawn(&stage.program, &["exit", "0"]);
    stage.exits(&mut daemon, 1);
    thread::sleep(BEFORE_THE_KILL); // its end is committed and told within 1.2 s
    daemon.kill();
    zombie.reap();

    let mut next = stage.start("a.db", "10m");
    stage.exits(&mut next, 1);
    let tick = next.next_tick(LIMIT);
    assert_eq!(tick.expect_group(&plugin).0["unsettled"], 0, "{}", tick.0);
    assert!(
        next.ticks().iter().all(|tick| tick.complete()),
        "{}",
        next.stderr()
    );
    next.terminate();
}

/// Also a kevmon that leaves nothing itself removes what others left, once its time has passed.
#[test]
fn a_kevmon_without_a_state_removes_what_is_stale() {
    let stage = Stage::new("stale");
    stage.start("stale.db", "1s").kill();
    stage.start("fresh.db", "10m").kill();
    let used = stage.start("used.db", "1s");
    let (stale, fresh) = (stage.pins("stale.db"), stage.pins("fresh.db"));
    assert!(stale.is_dir() && fresh.is_dir());
    thread::sleep(Duration::from_secs(2));
    let once = kevmon::run(&[
        "--run-once",
        "--no-store",
        "--process-name",
        &stage.program.pattern(),
    ]);
    assert!(once.stdout.contains("source: ebpf"), "{}", once.stdout);
    assert!(!stale.exists(), "its programs watch no longer: {}", once.stderr);
    assert!(fresh.is_dir(), "another kevmon may come");
    assert!(stage.pins("used.db").is_dir(), "its kevmon runs");
    used.terminate();
    stage.start("fresh.db", "10m").terminate();
    assert!(!fresh.exists());
}
