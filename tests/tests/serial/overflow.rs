//! A ring that overflows because nobody reads it: what was lost is counted, the counters are right all the
//! same, and what nobody can know any more is said to be unknown.

use std::time::{Duration, Instant};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    tick::{Group, Tick},
    truth::{self, Truth},
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);

/// A daemon whose ring holds some forty lives.
fn start(patterns: &[&str]) -> Daemon {
    let named = patterns.iter().flat_map(|pattern| ["--process-name", pattern]);
    let args: Vec<&str> = ["--interval", "500ms", "--ring-bytes", "65536"]
        .into_iter()
        .chain(named)
        .collect();
    Daemon::start(&args)
}

/// Lets `supervisor` start and reap `leaf` so often while `daemon` stands still, then waits until the daemon has
/// said that something is missing, and is complete again. Returns the storm, as it told it, and that last tick.
fn storm_unread(daemon: &mut Daemon, supervisor: &Program, leaf: &Program, lives: u64) -> (Truth, Tick) {
    let lives = lives.to_string();
    let mut running = supervisor.start(&["storm", &lives, "2", leaf.path_text(), "exit", "0"]);
    // The supervisor is known before the storm.
    daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
    daemon.stall();
    let truth = truth::from_storm(&running.ask("go"), wait::unix_now());
    daemon.resume();
    let gap = daemon.wait_until("a tick that says it", LIMIT, |tick| !tick.complete());
    assert!(gap.records().lost > 0, "{}", gap.0);
    assert!(
        daemon.stderr().contains("records were lost"),
        "{}",
        daemon.stderr()
    );
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let since = ended.truth.last_reap;
    daemon.tick_after(since, Duration::from_secs(1), LIMIT);
    let tick = daemon.wait_until("a complete tick", LIMIT, Tick::complete);
    checks::assert_records_add_up(daemon.ticks());
    (truth, tick)
}

/// Waits until each of so many lives of the first plugin is counted. One whose free the kernel does not tell
/// (docs/adr/0005) is counted by what its exit kept, when kevmon is sure of that: 15 to 30 s later.
fn all_counted(daemon: &mut Daemon, plugin: &str, lives: u64) -> Tick {
    let tick = counted(daemon, plugin, lives);
    // What is kept between exit and free has room for a thousand lives, of all programs on this machine together.
    assert_eq!((starts(&tick, plugin), untold(&tick)), (lives, 0), "{}", tick.0);
    tick
}

fn starts(tick: &Tick, plugin: &str) -> u64 {
    let group = tick.expect_group(plugin);
    group.int("starts") + group.int("worker_starts")
}

/// The same, or until it is said that some lives are untold.
fn counted(daemon: &mut Daemon, plugin: &str, lives: u64) -> Tick {
    let begin = Instant::now();
    let tick = daemon.wait_until("each life to be counted", LIMIT * 2, |tick| {
        starts(tick, plugin) >= lives || untold(tick) > 0
    });
    eprintln!(
        "counted after {:?}, {} unsettled",
        begin.elapsed(),
        tick.unsettled()
    );
    tick
}

/// Lives of which neither a record nor a map told anything.
fn untold(tick: &Tick) -> u64 {
    tick.0["lost"]["untold_lives"].as_u64().unwrap_or(0)
}

/// What a storm of this many lives of one group has left, however much of it was lost.
fn assert_counted(group: Group<'_>, lives: u64) {
    assert_eq!(
        (
            group.int("starts"),
            group.int("worker_starts"),
            group.int("process_count")
        ),
        (lives, 0, 0),
        "{}",
        group.0
    );
    assert_eq!(
        (group.int("exits"), group.exits_with(0)),
        (lives, lives),
        "{}",
        group.0
    );
    // Nobody invents what was lost: a start is a restart, or one of which it cannot be said, or one of the two
    // that came first.
    let (respawns, unpaired) = (group.int("respawns"), group.int("unpaired_starts"));
    assert!(unpaired > 0, "{}", group.0);
    assert!(
        (lives - 2..=lives).contains(&(respawns + unpaired)),
        "{respawns} respawns and {unpaired} unpaired starts: {}",
        group.0
    );
    assert!(group.downtime().count <= respawns, "{}", group.0);
    assert!(group.lifetime().count < lives, "{}", group.0);
    assert_eq!(group.int("reexecs"), 0, "{}", group.0);
}

#[test]
fn ten_thousand_lives_that_nobody_reads_of_are_counted() {
    let counted = (0..3).any(|_| ten_thousand_lives());
    assert!(counted, "the map between exit and free had no room, in any run");
}

/// False where the kernel took its time with frees, so that the map between exit and free had no room for some lives: it
/// has for a thousand, of all programs on this machine together. These are then said to be untold.
fn ten_thousand_lives() -> bool {
    const LIVES: u64 = 10_000;
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let mut daemon = start(&[&leaf.pattern()]);
    let (truth, _) = storm_unread(&mut daemon, &storm, &leaf, LIVES);
    let tick = counted(&mut daemon, &leaf.plugin(), LIVES);
    let (starts, untold) = (tick.expect_group(&leaf.plugin()).int("starts"), untold(&tick));
    assert!(
        starts + untold >= LIVES && untold <= LIVES / 100,
        "{starts} starts and {untold} untold: {}",
        tick.0
    );
    if untold > 0 {
        return false;
    }
    let group = tick.expect_group(&leaf.plugin());
    eprintln!(
        "truth {truth:?}\n told {}\n records {:?}",
        group.0,
        tick.records()
    );
    assert_counted(group, LIVES);
    checks::assert_usage_of_storm(&tick, group, &truth);

    // And everything is counted again, restarts too.
    assert_eq!(leaf.start(&["idle"]).finish().status, 0);
    let again = daemon.wait_until("one more", LIMIT, |tick| {
        tick.expect_group(&leaf.plugin()).int("exits") == LIVES + 1
    });
    let (before, after) = (group, again.expect_group(&leaf.plugin()));
    assert_eq!(after.int("starts"), LIVES + 1, "{}", after.0);
    assert_eq!(after.lifetime().count, before.lifetime().count + 1, "{}", after.0);
    daemon.terminate();
    true
}

#[test]
fn what_lives_on_is_found_again() {
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let kept = Program::new(WORKLOAD, "kept");
    let plugin = kept.plugin();
    let mut daemon = start(&[&kept.pattern()]);
    let before = kept.start(&["idle"]);
    daemon.wait_until("the first", LIMIT, |tick| {
        tick.expect_group(&plugin).int("process_count") == 1
    });
    let mut running = storm.start(&["storm", "500", "2", leaf.path_text(), "exit", "0"]);
    daemon.stall();
    running.ask("go");
    // The one's start and the other's end fall into the gap.
    let during = kept.start(&["idle"]);
    let ended = before.finish();
    assert_eq!(ended.status, 0);
    daemon.resume();
    daemon.wait_until("a tick that says it", LIMIT, |tick| !tick.complete());
    let after = daemon.wait_until("a complete tick", LIMIT, Tick::complete);
    let group = after.expect_group(&plugin);
    assert_eq!(
        group
            .members()
            .iter()
            .map(|member| member.pid)
            .collect::<Vec<_>>(),
        [during.pid()],
        "{}",
        group.0
    );
    // Its end is known from what the kernel side kept, reason and all.
    assert_eq!((group.int("exits"), group.exits_with(0)), (1, 1), "{}", group.0);
    checks::assert_cpu_at_least(group, &ended.truth);
    assert_eq!(during.finish().status, 0);
    daemon.wait_until("its end", LIMIT, |tick| {
        let group = tick.expect_group(&plugin);
        (group.exits_with(0), group.int("process_count")) == (2, 0)
    });
    daemon.terminate();
}

#[test]
fn names_that_the_kernel_side_cuts_are_not_guessed() {
    const LIVES: u64 = 3_000;
    let stem = "a-name-that-is-so-long-that-the-kernel-side-has-no-room-for-all-of-it";
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, stem));
    assert!(leaf.name().len() > 63);
    let mut daemon = start(&[&leaf.pattern()]);
    storm_unread(&mut daemon, &storm, &leaf, LIVES);
    // Lives of others on this machine that nobody read of are among those that cannot be attributed.
    let tick = daemon.wait_until("each life to be counted", LIMIT * 2, |tick| {
        let group = tick.groups().next().expect("one plugin");
        group.int("starts") + tick.number("unattributed_lives") >= LIVES
    });
    // The name of an ad hoc plugin is cut too.
    let group = tick.groups().next().expect("one plugin");
    let (starts, unattributed) = (group.int("starts"), tick.number("unattributed_lives"));
    eprintln!("{starts} starts, {unattributed} unattributed lives");
    assert!(starts < LIVES && unattributed > 0, "{}", tick.0);
    assert_eq!(
        (group.int("exits"), group.int("process_count")),
        (starts, 0),
        "{}",
        group.0
    );
    daemon.terminate();
}

#[test]
fn children_of_a_matched_supervisor_are_its_workers() {
    const LIVES: u64 = 3_000;
    let (storm, leaf) = (Program::new(WORKLOAD, "boss"), Program::new(WORKLOAD, "hand"));
    let both = format!("^({}|{})$", storm.name(), leaf.name());
    let mut daemon = start(&[&both]);
    let (truth, tick) = storm_unread(&mut daemon, &storm, &leaf, LIVES);
    let plugin = tick.groups().next().expect("one plugin").0["plugin"].clone();
    // Whether a start was a worker's is known only where its parent is: the sum is exact.
    let tick = all_counted(&mut daemon, plugin.as_str().expect("a name"), LIVES + 1);
    let group = tick.groups().next().expect("one plugin");
    eprintln!("told {}\n records {:?}", group.0, tick.records());
    let all = LIVES + 1;
    assert!(group.int("worker_starts") > 0, "{}", group.0);
    assert_eq!(
        (
            group.int("exits"),
            group.exits_with(0),
            group.int("process_count")
        ),
        (all, all, 0),
        "{}",
        group.0
    );
    assert_eq!((group.int("joins"), group.int("leaves")), (0, 0), "{}", group.0);
    checks::assert_cpu_at_least(group, &truth);
    daemon.terminate();
}

#[test]
fn children_that_leave_a_matched_supervisor_are_not_its_own() {
    const LIVES: u64 = 3_000;
    let (storm, leaf) = (Program::new(WORKLOAD, "boss"), Program::new(WORKLOAD, "other"));
    let mut daemon = start(&[&storm.pattern(), &leaf.pattern()]);
    storm_unread(&mut daemon, &storm, &leaf, LIVES);
    let tick = all_counted(&mut daemon, &leaf.plugin(), LIVES);
    let (boss, other) = (
        tick.expect_group(&storm.plugin()),
        tick.expect_group(&leaf.plugin()),
    );
    // A fork that was told joined the supervisor's group, and left it by its exec; one that was lost never did.
    assert!(boss.int("worker_starts") <= LIVES, "{}", boss.0);
    assert_eq!(boss.int("leaves"), boss.int("worker_starts"), "{}", boss.0);
    assert_eq!(
        (boss.int("starts"), boss.int("exits"), boss.int("process_count")),
        (1, 1, 0),
        "{}",
        boss.0
    );
    assert_eq!(other.int("worker_starts") + other.int("joins"), 0, "{}", other.0);
    assert_eq!(
        (
            other.int("exits"),
            other.exits_with(0),
            other.int("process_count")
        ),
        (LIVES, LIVES, 0),
        "{}",
        other.0
    );
    daemon.terminate();
}
