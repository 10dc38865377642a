//! Corners of going on from a kernel side that outlived kevmon: what starts in that moment, what was lost before, and when the
//! programs stop.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kevmon_tests::{answered::Calls, kevmon::Daemon, scratch::Scratch, tick::Tick, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
const WENT_ON: &str = "the kernel side went on without it";
const STOPPED: &str = "it stopped before kevmon came back";

/// The arguments of a daemon on a state of its own.
fn args<'a>(pattern: &'a str, database: &'a str, interval: &'a str, keep_watching: &'a str) -> Vec<&'a str> {
    let named = ["--process-name", pattern, "--metadata-db-path", database];
    let times = ["--interval", interval, "--keep-watching", keep_watching];
    [named, times].concat()
}

/// A process that executes between the last record that is taken and the snapshot has a record of its own, still to come. Found by
/// the snapshot alone it would join its group, and not start. So does one whose start a storm has cost the state; that is said.
#[test]
fn what_executes_during_a_takeover_starts() {
    const TAKEOVERS: usize = 10;
    const LEAST: usize = 3;
    const LIVES: &str = "2000";
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let (plugin, pattern) = (leaf.plugin(), leaf.pattern());
    let scratch = Scratch::new();
    let database = scratch.path().join("a.db");
    let database = database.to_str().expect("a UTF-8 path");
    let args = args(&pattern, database, "500ms", "10m");
    let mut daemon = Daemon::start(&args);
    let mut running = storm.start(&["storm", LIVES, "4", leaf.path_text(), "burn", "--life-ms", "20"]);
    let (mut joins, mut takeovers, mut whole) = (0, 0, 0);
    let mut daemon = thread::scope(|scope| {
        let lives = scope.spawn(|| running.ask("go"));
        while takeovers < TAKEOVERS {
            daemon.kill();
            daemon = Daemon::start(&args);
            assert!(daemon.stderr().contains(WENT_ON), "{}", daemon.stderr());
            let first = daemon.ticks().first().expect("its first tick");
            let now = first.expect_group(&plugin).int("joins");
            assert!(
                now == joins || !first.complete(),
                "{joins} joins before: {}",
                first.0
            );
            joins = now;
            if lives.is_finished() {
                break;
            }
            takeovers += 1;
            whole += usize::from(first.complete());
        }
        lives.join().expect("the harness does not panic");
        daemon
    });
    assert_eq!(running.finish().status, 0);
    // A slow machine lives through fewer of them, and loses more.
    assert!(
        whole >= LEAST,
        "{whole} of {takeovers} takeovers in the midst of the lives lost nothing"
    );
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_secs(1), LIMIT);
    assert_eq!(tick.expect_group(&plugin).int("joins"), joins, "{}", tick.0);
    daemon.terminate();
}

/// Nobody has said so yet: the next run does, as the interval goes on in it.
#[test]
fn a_loss_before_a_kill_is_said_by_the_next_run() {
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let (plugin, pattern) = (leaf.plugin(), leaf.pattern());
    let scratch = Scratch::new();
    let database = scratch.path().join("a.db");
    let database = database.to_str().expect("a UTF-8 path");
    let mut args = args(&pattern, database, "1h", "10m");
    args.extend(["--ring-bytes", "65536"]);
    let daemon = Daemon::start(&args);
    let mut running = storm.start(&["storm", "300", "2", leaf.path_text(), "exit", "0"]);
    daemon.stall();
    running.ask("go");
    daemon.resume();
    assert_eq!(running.finish().status, 0);
    thread::sleep(Duration::from_secs(2)); // what has come is committed within 1.2 s, and no collection is due
    daemon.kill();
    let next = Daemon::start(&args);
    let said = next.stderr();
    assert!(
        said.contains(WENT_ON) && said.contains("in an interval that the run before did not live to close"),
        "{said}"
    );
    let first = next.ticks().first().expect("its first tick");
    assert!(
        !first.expect_group(&plugin).0["complete"]
            .as_bool()
            .expect("it is told"),
        "{}",
        first.0
    );
    next.terminate();
}

/// A shell is of no interest. It executes a program while the programs sleep, so that no record tells of it, and its mark says
/// that it has been judged.
#[test]
fn what_executes_while_kevmon_is_stopped_for_too_long_is_found() {
    let program = Program::new(WORKLOAD, "asleep");
    let (plugin, pattern) = (program.plugin(), program.pattern());
    let scratch = Scratch::new();
    let database = scratch.path().join("a.db");
    let database = database.to_str().expect("a UTF-8 path");
    let mut daemon = Daemon::start(&args(&pattern, database, "500ms", "1s"));
    let script = "read line; exec \"$0\" idle";
    let mut shell = Command::new("sh")
        .args(["-c", script, program.path_text()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("sh(1)");
    daemon.tick_after(wait::unix_now(), Duration::from_secs(1), LIMIT);
    daemon.stall();
    thread::sleep(Duration::from_secs(2));
    let mut stdin = shell.stdin.take().expect("piped");
    stdin.write_all(b"go\n").expect("it reads");
    let exe = format!("/proc/{}/exe", shell.id());
    wait::until("the exec", wait::SOON, || {
        std::fs::read_link(&exe)
            .is_ok_and(|exe| exe == program.path())
            .then_some(())
    });
    daemon.resume();
    let is_member = |tick: &Tick| {
        let group = tick.group(&plugin);
        group.is_some_and(|group| group.members().iter().any(|member| member.pid == shell.id()))
    };
    let tick = daemon.wait_until("the program", LIMIT, is_member);
    assert!(
        tick.0["lost"]["watch_lapsed"]
            .as_u64()
            .is_some_and(|lapses| lapses > 0),
        "{}",
        tick.0
    );
    drop(stdin);
    shell.wait().expect("our child");
    daemon.terminate();
}

/// The loop waits for the last commits of an end. Killed then, kevmon has been there until that moment.
#[test]
fn a_slow_disk_lets_no_short_time_of_watching_lapse() {
    let program = Program::new(WORKLOAD, "slow");
    let pattern = program.pattern();
    let scratch = Scratch::new();
    let database = scratch.path().join("a.db");
    let database = database.to_str().expect("a UTF-8 path");
    // From an interval of a second on, commits wait for the disk.
    let args = args(&pattern, database, "1s", "2s");
    let calls = Calls::default();
    let mut daemon = Daemon::start_answered(&args, &calls);
    daemon.next_tick(LIMIT);
    calls.set_disk(Duration::from_secs(4));
    thread::sleep(Duration::from_secs(1));
    let pid = i32::try_from(daemon.pid()).expect("a pid");
    // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGUSR2) }, 0);
    thread::sleep(Duration::from_millis(3_500));
    daemon.kill();
    let next = Daemon::start(&args);
    let said = next.stderr();
    assert!(said.contains(WENT_ON) && !said.contains(STOPPED), "{said}");
    next.terminate();
}
