//! The history of a service whose name the processes of several users go by.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use kevmon_tests::{daemon::Daemon, history, tick::Tick, truth, wait, workload::Program, workload::Running};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(60);
/// nobody.
const OTHER: u32 = 65_534;
/// Rows kept of a group.
const KEPT: usize = 1_000;

/// Events of the group that are in the history, or were before others took their place.
fn written(tick: &Tick, plugin: &str) -> u64 {
    let group = tick.expect_group(plugin);
    let happened = ["starts", "exits", "respawns"];
    let happened: u64 = happened.iter().map(|name| group.int(name)).sum();
    happened - tick.0["soft_failures"]["event_dropped"].as_u64().unwrap_or(0)
}

/// Lives of another user's process under the name, one after the other.
fn flood(storm: &Program, leaf: &Program, lives: &str) {
    let mut command = Command::new(storm.path());
    command.args(["storm", lives, "2", leaf.path_text(), "exit", "0"]);
    command.uid(OTHER).gid(OTHER);
    let mut running = Running::start(command);
    running.ask("go");
    assert_eq!(running.finish().status, 0);
}

#[test]
fn a_flood_by_another_user_leaves_a_service_its_history() {
    const LIVES: u64 = 4;
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let (plugin, pattern) = (leaf.plugin(), leaf.pattern());
    let args = ["--interval", "1s", "--process-name", &pattern];
    let mut daemon = Daemon::start(&args);
    let lives = (0..LIVES).map(|_| {
        let child = truth::spawn(&leaf, &["exit", "3"]);
        let pid = child.pid();
        child.reap();
        pid
    });
    let pids: Vec<u32> = lives.collect();
    daemon.wait_until("the service's lives", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") == LIVES
    });
    let of_service = |rows: &[serde_json::Value]| {
        let is_its = |row: &&serde_json::Value| {
            let pid = row["pid"].as_u64().expect("a pid");
            pids.iter().any(|&known| u64::from(known) == pid) && row["event"] != "restart"
        };
        rows.iter().filter(is_its).cloned().collect::<Vec<_>>()
    };
    let before = of_service(&history::rows(daemon.database(), Some(&plugin)));
    assert_eq!(
        before.len() as u64,
        2 * LIVES,
        "a start and an exit each: {before:?}"
    );

    // Of one user's events some 1,000 find room at once, and some 200 more each second.
    let enough = 2 * KEPT as u64;
    let mut tick = daemon.next_tick(LIMIT);
    while written(&tick, &plugin) < enough {
        flood(&storm, &leaf, "400");
        tick = daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
    }
    let rows = history::rows(daemon.database(), Some(&plugin));
    assert_eq!(of_service(&rows), before);
    assert_eq!(rows.len(), KEPT, "as many as before the bound was shared");
    daemon.terminate();
}
