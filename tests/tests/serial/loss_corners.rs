//! Single records that find no room in the ring: what one of them would have said is learnt from what came after it,
//! or from the kernel's own account of the process.

use std::time::Duration;

use kevmon_tests::{
    checks, history,
    kevmon::Daemon,
    tick::Tick,
    truth::{self, Spawned, Truth},
    wait,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon whose ring holds three exec records of 1,200 bytes; what is left of its page then takes two or three of
/// the others (168 bytes at most).
fn start(programs: &[&Program]) -> Daemon {
    let patterns: Vec<String> = programs.iter().map(|program| program.pattern()).collect();
    let named = patterns.iter().flat_map(|pattern| ["--process-name", pattern]);
    let args: Vec<&str> = ["--interval", "300ms", "--ring-bytes", "4096"]
        .into_iter()
        .chain(named)
        .collect();
    Daemon::start(&args)
}

/// Stops the daemon, all of whose records have been read, and lets `filler` execute so often that no other exec
/// finds room.
fn stall_and_fill(daemon: &mut Daemon, filler: &Program) -> Vec<Running> {
    daemon.tick_after(wait::unix_now(), Duration::from_millis(200), LIMIT);
    daemon.stall();
    (0..4).map(|_| filler.start(&["idle"])).collect()
}

/// Records of a kernel-side program that found no room.
fn lost(tick: &Tick, program: &str) -> u64 {
    tick.0["lost"][program].as_u64().unwrap_or(0)
}

fn finish(running: Vec<Running>) {
    for running in running {
        assert_eq!(running.finish().status, 0);
    }
}

#[test]
fn a_rename_that_is_told_after_an_exec_that_was_not() {
    // Others on this machine may take the room that the rename needs.
    let told = (0..4).any(|_| rename_after_a_lost_exec(false));
    assert!(told, "the rename found no room either, in any run");
}

#[test]
fn the_same_of_a_process_that_was_known_under_another_name() {
    let told = (0..4).any(|_| rename_after_a_lost_exec(true));
    assert!(told, "the rename found no room either, in any run");
}

/// Returns whether the rename was told, and the exec not.
fn rename_after_a_lost_exec(known: bool) -> bool {
    let (filler, late) = (Program::new(WORKLOAD, "filler"), Program::new(WORKLOAD, "late"));
    let before = Program::new(WORKLOAD, "before");
    let plugin = late.plugin();
    let mut daemon = start(&[&late, &before]);
    let early = known.then(|| before.start(&["exec", late.path_text(), "rename"]));
    daemon.wait_until("what is known", LIMIT, |tick| {
        tick.expect_group(&before.plugin()).int("process_count") == u64::from(known)
    });
    let fillers = stall_and_fill(&mut daemon, &filler);
    let mut running = if let Some(mut running) = early {
        assert_eq!(running.ask("go"), "ready");
        running
    } else {
        late.start(&["rename"])
    };
    running.rename(b"kvt-else");
    daemon.resume();
    let resumed = wait::unix_now();
    let tick = daemon.tick_after(resumed, Duration::from_millis(20), LIMIT);
    assert!(lost(&tick, "sched_process_exec") > 0, "{}", tick.0["lost"]);
    let told = lost(&tick, "task_rename") == 0;
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (
            group.int("process_count"),
            group.int("starts"),
            group.int("joins")
        ),
        (1, 1, 0),
        "{}",
        group.0
    );
    assert_eq!(group.members()[0].pid, running.pid(), "{}", group.0);
    let group = tick.expect_group(&before.plugin());
    assert_eq!(
        (
            group.int("process_count"),
            group.int("starts"),
            group.int("leaves"),
            group.int("exits")
        ),
        (0, u64::from(known), u64::from(known), 0),
        "{}",
        group.0
    );
    // No record of it is missing any more.
    let ended = running.finish();
    assert_eq!(ended.status, 0);
    let tick = daemon.wait_until("its end", LIMIT, |tick| {
        let group = tick.expect_group(&plugin);
        (group.exits_with(0), group.int("process_count")) == (1, 0)
    });
    let tick = daemon.tick_after(tick.time(), Duration::from_millis(500), LIMIT);
    if !known {
        checks::assert_equals_truth(tick.expect_group(&plugin), &ended.truth);
    }
    for program in [&before, &late] {
        checks::assert_sum_rule(daemon.ticks(), &program.plugin());
    }
    finish(fillers);
    daemon.terminate();
    told
}

#[test]
fn ends_whose_records_are_lost_have_their_reasons_before_they_are_reaped() {
    const MEMBERS: u64 = 20;
    let (filler, member) = (Program::new(WORKLOAD, "filler"), Program::new(WORKLOAD, "member"));
    let killer = Program::new(WORKLOAD, "assassin");
    let plugin = member.plugin();
    let mut daemon = start(&[&member]);
    let mut members: Vec<Running> = (0..MEMBERS).map(|_| member.start(&["idle"])).collect();
    daemon.wait_until("all members", LIMIT, |tick| {
        tick.expect_group(&plugin).int("process_count") == MEMBERS
    });
    let fillers = stall_and_fill(&mut daemon, &filler);
    let mut killers = Vec::new();
    for member in &members {
        let assassin = truth::spawn(&killer, &["kill", &member.pid().to_string(), "9"]);
        killers.push(assassin.pid());
        assert_eq!(assassin.reap().status, 0);
    }
    daemon.resume();
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_millis(500), LIMIT);
    // Two records of them may have found room.
    assert!(
        lost(&tick, "sched_process_exit") >= MEMBERS - 3,
        "{}",
        tick.0["lost"]
    );
    let group = tick.expect_group(&plugin);
    assert_eq!(
        (
            group.int("exits"),
            group.signalled_with("SIGKILL"),
            group.int("process_count")
        ),
        (MEMBERS, MEMBERS, 0),
        "{}",
        group.0
    );
    assert_eq!(group.lifetime().count, MEMBERS, "{}", group.0);
    let rows = history::rows(daemon.database(), Some(&plugin));
    for (member, killer_pid) in members.iter().zip(killers) {
        let row = history::row(&rows, "exit", member.pid());
        assert_eq!(
            (&row["reason"], &row["signal"]),
            (&"signal".into(), &9.into()),
            "{row}"
        );
        assert_eq!(row["sender"]["pid"], killer_pid, "{row}");
        assert_eq!(row["sender"]["name"], killer.name()[..15], "{row}");
    }
    // Reaped, they bring their last totals, and nothing else.
    let mut sum = Truth::default();
    for member in &mut members {
        let ended = member.reap();
        assert_eq!(ended.status, libc::SIGKILL);
        sum += ended.truth;
    }
    let tick = daemon.tick_after(sum.last_reap, Duration::from_secs(1), LIMIT);
    let group = tick.expect_group(&plugin);
    assert_eq!(group.signalled_with("SIGKILL"), MEMBERS, "{}", group.0);
    checks::assert_equals_truth(group, &sum);
    checks::assert_sum_rule(daemon.ticks(), &plugin);
    finish(fillers);
    daemon.terminate();
}

#[test]
fn a_process_whose_exec_was_lost_and_that_nobody_reaps() {
    let filler = Program::new(WORKLOAD, "filler");
    let (before, after) = (Program::new(WORKLOAD, "before"), Program::new(WORKLOAD, "after"));
    let alone = Program::new(WORKLOAD, "alone");
    let all = [&before, &after, &alone];
    let mut daemon = start(&all);
    // One is known under another name, of the other one nothing is.
    let mut known = before.start(&["exec", after.path_text(), "exit", "3"]);
    daemon.wait_until("it", LIMIT, |tick| {
        tick.expect_group(&before.plugin()).int("process_count") == 1
    });
    let fillers = stall_and_fill(&mut daemon, &filler);
    known.tell("go");
    let mut unknown: Spawned = truth::spawn(&alone, &["exit", "4"]);
    for pid in [known.pid(), unknown.pid()] {
        wait::until("a zombie", wait::SOON, || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") Z ").then_some(())
        });
    }
    daemon.resume();
    let zombies = daemon.tick_after(wait::unix_now(), Duration::from_secs(1), LIMIT);
    assert!(lost(&zombies, "sched_process_exec") >= 2, "{}", zombies.0["lost"]);
    for program in all {
        eprintln!("zombies: {}", zombies.expect_group(&program.plugin()).0);
    }
    let known = known.reap();
    let unknown = wait::until("its end", wait::SOON, || unknown.try_reap());
    assert_eq!((known.status, unknown.status), (0x300, 0x400));
    let tick = daemon.wait_until("both ends", LIMIT * 3, |tick| {
        let exits = |program: &Program| tick.expect_group(&program.plugin()).int("exits");
        exits(&after) + exits(&before) > 0 && exits(&alone) > 0
    });
    let tick = daemon.tick_after(tick.time(), Duration::from_millis(500), LIMIT);
    // (starts, exits, joins, leaves, process_count)
    for (program, counts) in [
        (&before, [1, 0, 0, 1, 0]),
        (&after, [1, 1, 0, 0, 0]),
        (&alone, [1, 1, 0, 0, 0]),
    ] {
        let group = tick.expect_group(&program.plugin());
        let told = ["starts", "exits", "joins", "leaves", "process_count"].map(|metric| group.int(metric));
        assert_eq!(told, counts, "{}", group.0);
        checks::assert_sum_rule(daemon.ticks(), &program.plugin());
    }
    assert_eq!(tick.expect_group(&after.plugin()).exits_with(3), 1, "{}", tick.0);
    let group = tick.expect_group(&alone.plugin());
    assert_eq!(group.exits_with(4), 1, "{}", group.0);
    checks::assert_equals_truth(group, &unknown.truth);
    finish(fillers);
    daemon.terminate();
}
