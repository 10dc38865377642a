//! Processes that rename themselves more often than is reported: the last name counts, and what no pattern fits costs no plugin
//! anything.

use std::time::{Duration, Instant};

use kevmon_tests::{
    checks, daemon::Daemon, plugin_dir::PluginDir, scratch, wait, watch::Watch, workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_rename_loop_is_cut_short_and_ends_under_its_last_name() {
    let program = Program::new(WORKLOAD, "loop");
    let name = format!("kvt-{}", program.name().rsplit('-').next().unwrap());
    let mut watch = Watch::start(&name);
    let mut running = program.start(&["rename"]);
    // More than are reported within a second; only the last one makes it a member.
    for _ in 0..400 {
        running.rename(b"kvt-round");
    }
    running.rename(name.as_bytes());
    let tick = watch.until("the member", |group| group.int("process_count") == 1);
    assert_eq!(watch.group(&tick).members()[0].pid, running.pid());
    // The other way round: it leaves by its last name, and comes back by the next one.
    for _ in 0..400 {
        running.rename(name.as_bytes());
    }
    running.rename(b"kvt-round");
    watch.until("that it has left", |group| group.int("leaves") == 1);
    std::thread::sleep(Duration::from_secs(1));
    running.rename(name.as_bytes());
    watch.until("that it is back", |group| group.int("process_count") == 1);
    assert_eq!(running.finish().status, 0);
    watch.until("its end", |group| group.int("exits") == 1);
    assert!(
        !watch.stderr().contains("records were lost"),
        "{}",
        watch.stderr()
    );
    // Its own name among those that it changed too fast may have been another process's, for all that is known.
    watch.finish_incomplete();
}

/// A storm of names that fit nothing, while real processes come, rename themselves into a plugin and go.
fn storm(args: &[&str]) {
    let unique = scratch::unique();
    let folder = PluginDir::new();
    for plugin in ["first", "second"] {
        folder.write(
            plugin,
            &format!(
                "schema = 1\n[plugin]\nname = \"{plugin}\"\n[service]\nprocess_name = '^kvt-{plugin}-{unique}$'\n\
                 [monitoring]\ninterval = \"200ms\"\n"
            ),
        );
    }
    // A name of a process is at most 15 bytes long.
    folder.write(
        "renamed",
        &format!(
            "schema = 1\n[plugin]\nname = \"renamed\"\n[service]\nprocess_name = '^r{unique}$'\n\
             [monitoring]\ninterval = \"200ms\"\n"
        ),
    );
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let attacker = Program::new(WORKLOAD, "storm");
    let others = Program::new(WORKLOAD, "other");
    let began = Instant::now();
    let storm = attacker.start(&[&["rename-storm"], args].concat());
    let mut members = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let mut running = others.start(&["rename"]);
        running.rename(format!("r{unique}").as_bytes());
        members += 1;
        daemon.wait_until("the real member", LIMIT, |tick| {
            tick.expect_group("renamed").int("process_count") == 1
        });
        assert_eq!(running.finish().status, 0);
        daemon.wait_until("its end", LIMIT, |tick| {
            tick.expect_group("renamed").int("exits") == members
        });
    }
    storm.finish();
    daemon.next_tick(LIMIT);
    checks::assert_complete(daemon.ticks());
    let told = daemon.stderr();
    assert!(!told.contains("records were lost"), "{args:?}: {told}");
    daemon.terminate();
}

#[test]
fn sixty_six_names_a_second_that_fit_nothing_cost_nothing() {
    storm(&["66"]);
}

#[test]
fn ten_thousand_names_a_second_of_one_process_cost_nothing() {
    storm(&["10000"]);
}

#[test]
fn ten_thousand_names_a_second_of_two_hundred_processes_cost_nothing() {
    storm(&["10000", "--processes", "200"]);
}

#[test]
fn ten_thousand_names_a_second_given_by_threads_cost_nothing() {
    storm(&["10000", "--threads", "4"]);
}

#[test]
fn a_matching_name_that_was_replaced_before_it_was_told_is_said() {
    let program = Program::new(WORKLOAD, "brief");
    let name = format!("kvt-{}", program.name().rsplit('-').next().unwrap());
    let mut watch = Watch::start(&name);
    let mut running = program.start(&["rename"]);
    for _ in 0..400 {
        running.rename(b"kvt-round");
    }
    running.rename(name.as_bytes());
    running.rename(b"kvt-round");
    assert_eq!(running.finish().status, 0);
    watch.settled(wait::unix_now());
    let last = watch.finish_incomplete();
    assert_eq!(
        last.0["soft_failures"]["verdict_unknown"], 1,
        "one name that fits was not told: {}",
        last.0
    );
}
