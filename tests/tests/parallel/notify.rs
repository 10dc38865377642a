//! Notifications of a service manager: states in their order, and a sign of life for as long as every thread moves.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use kevmon_tests::{
    answered::Calls, held_thread::HeldThread, http::Client, kevmon::Daemon, manager::Manager, port, wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(30);
/// The manager's patience in these tests; a thread is stuck after half of it.
const WATCHDOG: Duration = Duration::from_secs(4);

/// Microseconds of CLOCK_MONOTONIC.
fn monotonic() -> u64 {
    // SAFETY: integers alone.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a place of that type.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap()
}

#[test]
fn states_are_sent_in_their_order() {
    for manager in [Manager::at_path(), Manager::at_abstract_name()] {
        let program = Program::new(WORKLOAD, "notified");
        let running = program.start(&["work"]);
        let args = ["--process-name", &program.pattern(), "--interval", "200ms"];
        let began = Instant::now();
        let environment = [("NOTIFY_SOCKET", manager.address())];
        let daemon = Daemon::start_with(&args, &environment);
        manager.wait_for("READY", began, LIMIT);
        wait::until("the status to tell the process", LIMIT, || {
            let status = manager.said(&["STATUS"]);
            let tells = |text: &String| text.starts_with("STATUS=1 plugin, 1 process");
            status.iter().any(tells).then_some(())
        });
        let (before, hung_up) = (monotonic(), Instant::now());
        daemon.hang_up();
        let reloading = manager.wait_for("RELOADING", hung_up, LIMIT);
        let micros = reloading
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let micros: u64 = micros.expect("when").parse().unwrap();
        assert!((before..=monotonic()).contains(&micros), "{before} {micros}");
        manager.wait_for("READY", hung_up, LIMIT);
        running.finish();
        daemon.terminate();
        let states = manager.said(&["READY", "RELOADING", "STOPPING", "WATCHDOG"]);
        let states: Vec<&str> = states.iter().map(|text| text.lines().next().unwrap()).collect();
        assert_eq!(states, ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]);
        let status = manager.said(&["STATUS"]);
        assert!(status.windows(2).all(|pair| pair[0] != pair[1]), "{status:?}");
    }
}

/// No sign of life comes while one of kevmon's threads does not move, whichever that is; and it comes again once
/// the thread does.
#[test]
fn a_stuck_thread_ends_the_signs_of_life() {
    let manager = Manager::at_path();
    let program = Program::new(WORKLOAD, "watchdogged");
    let page = port::free();
    let listen = format!("127.0.0.1:{page}");
    let args = [
        "--process-name",
        &program.pattern(),
        "--interval",
        "10s",
        "--prometheus",
        &listen,
    ];
    let micros = WATCHDOG.as_micros().to_string();
    let environment = [("NOTIFY_SOCKET", manager.address()), ("WATCHDOG_USEC", &micros)];
    let daemon = Daemon::start_with(&args, &environment);
    let healthy = || Client::plain(page).get("/-/healthy").map(|answer| answer.status);
    assert_eq!(Client::plain(page).get("/-/ready").unwrap().status, 200);
    for thread in ["kevmon", "kevmon-ring", "kevmon-state", "kevmon-export"] {
        manager.wait_for("WATCHDOG", Instant::now(), LIMIT);
        assert_eq!(healthy().unwrap(), 200, "{thread}");
        let held = HeldThread::of(daemon.pid(), thread);
        sleep(WATCHDOG);
        let since = Instant::now();
        sleep(WATCHDOG);
        assert_eq!(manager.count_since(since, "WATCHDOG"), 0, "{thread}");
        if thread != "kevmon-export" {
            assert_eq!(healthy().unwrap(), 503, "{thread}");
        }
        drop(held);
    }
    manager.wait_for("WATCHDOG", Instant::now(), LIMIT);
    assert_eq!(healthy().unwrap(), 200);
    let stderr = daemon.stderr();
    for thread in ["kevmon-ring", "kevmon-state", "kevmon-export"] {
        assert!(
            stderr.contains(&format!("{thread} has not moved for")),
            "{stderr}"
        );
    }
    daemon.terminate();
}

/// The state's disk hangs: nothing is exported any more, and the manager is to know.
#[test]
fn a_disk_that_hangs_ends_the_signs_of_life() {
    const HANGS: Duration = Duration::from_secs(20);
    let manager = Manager::at_abstract_name();
    let program = Program::new(WORKLOAD, "hanging");
    let calls = Calls::default();
    let micros = WATCHDOG.as_micros().to_string();
    let environment = [("NOTIFY_SOCKET", manager.address()), ("WATCHDOG_USEC", &micros)];
    let args = ["--process-name", &program.pattern(), "--interval", "1s"];
    let mut daemon = Daemon::start_answered_with(&args, &environment, &calls);
    daemon.next_tick(LIMIT);
    calls.set_disk(HANGS);
    sleep(WATCHDOG * 2);
    let since = Instant::now();
    sleep(WATCHDOG);
    calls.set_disk(Duration::ZERO);
    assert_eq!(manager.count_since(since, "WATCHDOG"), 0);
    manager.wait_for("WATCHDOG", Instant::now(), HANGS + LIMIT);
    daemon.terminate();
}
