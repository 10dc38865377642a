//! A disk that takes its time: the state is written late, and nothing else is.

use std::time::Duration;

use kevmon_tests::{
    answered::Calls, daemon::Daemon, plugin_dir::PluginDir, tick::Tick, wait, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(60);

fn assert_each_second(times: &[u64]) {
    const SECOND: u64 = 1_000_000_000;
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(
            apart.abs_diff(SECOND) < SECOND / 4,
            "ticks {apart} ns apart: {times:?}"
        );
    }
}

/// Each commit takes one and a half intervals: ticks come in time all the same, and a storm meanwhile is counted.
#[test]
fn a_slow_disk_delays_no_tick() {
    const LIVES: u64 = 3_000;
    const TICKS: usize = 8;
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let (plugin, pattern) = (leaf.plugin(), leaf.pattern());
    let calls = Calls::default();
    let args = ["--interval", "1s", "--process-name", &pattern];
    let mut daemon = Daemon::start_answered(&args, &calls);
    daemon.next_tick(LIMIT);
    calls.set_disk(Duration::from_millis(1_500));
    let mut running = storm.start(&["storm", &LIVES.to_string(), "2", leaf.path_text(), "exit", "0"]);
    running.ask("go");
    let late: Vec<_> = (0..TICKS).map(|_| daemon.next_tick(LIMIT)).collect();
    calls.set_disk(Duration::ZERO);
    let last = daemon.wait_until("every life", LIMIT, |tick| {
        tick.expect_group(&plugin).int("exits") >= LIVES
    });
    // A line is printed once its collection is in the store; its time is when it was made.
    assert_each_second(&late.iter().map(Tick::time).collect::<Vec<_>>());
    let group = last.expect_group(&plugin);
    assert_eq!(
        (group.int("starts"), group.int("exits"), last.records().lost),
        (LIVES, LIVES, 0),
        "{}",
        group.0
    );
    assert!(
        last.0["soft_failures"].get("tick_skipped").is_none(),
        "{}",
        last.0["soft_failures"]
    );
    running.finish();
    // What waits is written first: at the end the disk has five seconds.
    daemon.tick_after(wait::unix_now(), Duration::from_secs(2), LIMIT);
    daemon.terminate();
}

/// A plugin changes, one comes and one goes, while each commit takes one and a half intervals: what the state knows of them has to
/// wait. A plugin that does not change is collected in time meanwhile.
#[test]
fn a_slow_disk_delays_no_tick_of_a_plugin_that_a_reload_leaves_alone() {
    const TICKS: usize = 10;
    let folder = PluginDir::new();
    let write = |name: &str, pattern: &str, interval: &str| {
        let text = format!(
            "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nprocess_name = '{pattern}'\n\
             [monitoring]\ninterval = \"{interval}\"\n"
        );
        folder.write(name, &text)
    };
    let programs = ["steady", "changes", "comes", "goes"].map(|stem| Program::new(WORKLOAD, stem));
    let running = programs.each_ref().map(|program| program.start(&["work"]));
    let [steady, changes, comes, goes] = programs.each_ref().map(Program::pattern);
    write("steady", &steady, "1s");
    write("changes", &changes, "1s");
    let gone = write("goes", &goes, "1s");
    let calls = Calls::default();
    let mut daemon = Daemon::start_answered(&["--plugins-dir", folder.path()], &calls);
    daemon.wait_until("all plugins", LIMIT, |tick| {
        ["steady", "changes", "goes"]
            .iter()
            .all(|name| tick.group(name).is_some())
    });
    calls.set_disk(Duration::from_millis(1_500));
    write("changes", &changes, "3s");
    write("comes", &comes, "1s");
    std::fs::remove_dir_all(gone.parent().expect("its folder")).expect("a folder of ours");
    let mut steady = Vec::new();
    while steady.len() < TICKS {
        let tick = daemon.next_tick(LIMIT);
        steady.extend(tick.group("steady").map(|_| tick.time()));
    }
    calls.set_disk(Duration::ZERO);
    daemon.wait_until("the plugins as they are now", LIMIT, |tick| {
        let comes = tick.group("comes");
        let has_come = comes.is_some_and(|group| {
            group
                .members()
                .iter()
                .any(|member| member.pid == running[2].pid())
        });
        has_come && tick.group("changes").is_none() && tick.group("goes").is_none()
    });
    assert_each_second(&steady);
    let mut last_of_gone = daemon.ticks().iter().filter(|tick| tick.group("goes").is_some());
    let last_of_gone = last_of_gone.next_back().expect("it ran");
    assert!(
        !last_of_gone.expect_group("goes").members().is_empty(),
        "{}",
        last_of_gone.0
    );
    for process in running {
        process.finish();
    }
    daemon.terminate();
}
