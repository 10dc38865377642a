//! Whether the last collection before a kill is known to have arrived, or to wait on disk.

use std::time::Duration;

use kevmon_tests::{
    fake::{Behaviour, Fake},
    kevmon::{self, Daemon},
    telemetry::{lane, own},
    truth, wait,
    watched::Watched,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_collection_that_nobody_answered_before_a_kill_is_unconfirmed() {
    let watched = Watched::new(WORKLOAD, "doubt", 1, "1s", "");
    let mut fake = Fake::start();
    let url = fake.url();
    let start = || watched.start(&["--endpoint", &url]);
    let unconfirmed = |daemon: &Daemon| daemon.ticks()[0].number("unconfirmed");
    let says_so = |daemon: &Daemon| {
        daemon
            .stderr()
            .lines()
            .filter(|line| line.contains("unconfirmed"))
            .count()
    };

    // The very first request of all.
    fake.always(Behaviour::Hang);
    start().kill();
    fake.always(Behaviour::Accept);
    let daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (1, 1),
        "{}",
        daemon.stderr()
    );
    let told = fake.wait_for("it at the receiver", LIMIT, |_| {
        own(&fake.points(), "kevmon.export.unconfirmed").pop()
    });
    assert_eq!(told.value.as_f64() as u64, 1, "{told:?}");
    daemon.terminate();

    // It ended in order.
    let mut daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (0, 0),
        "{}",
        daemon.stderr()
    );
    // One in the middle, with nothing else on its way.
    wait::until("the first one's acknowledgement", LIMIT, || {
        let line = daemon.next_tick(LIMIT);
        (lane(&line, "default", "metrics")["waiting_requests"] == 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    fake.always(Behaviour::Hang);
    daemon.next_tick(LIMIT);
    daemon.kill();
    fake.always(Behaviour::Accept);
    let mut daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (1, 1),
        "{}",
        daemon.stderr()
    );

    // Each request has been answered, time and again.
    for _ in 0..3 {
        wait::until("all acknowledgements", LIMIT, || {
            let line = daemon.next_tick(LIMIT);
            (lane(&line, "default", "metrics")["waiting_requests"] == 0).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        daemon.kill();
        daemon = start();
        assert_eq!(
            (unconfirmed(&daemon), says_so(&daemon)),
            (0, 0),
            "{}",
            daemon.stderr()
        );
    }

    // All of it waits on disk.
    fake.stop();
    daemon.next_tick(LIMIT);
    daemon.next_tick(LIMIT);
    // It is put there at once: nobody listens.
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    let daemon = start();
    assert_eq!(
        (unconfirmed(&daemon), says_so(&daemon)),
        (0, 0),
        "{}",
        daemon.stderr()
    );
    daemon.terminate();
}

/// `kevmon --run-once --keep` writes to the same state and hands nothing over.
fn cron(watched: &Watched) {
    let database = watched.database().to_str().unwrap();
    let flags = ["--window", "200ms", "--metadata-db-path", database];
    kevmon::run_once(&[&flags[..], &watched.plugin_args()].concat()).assert_code(0);
}

#[test]
fn what_cron_ran_meanwhile_is_not_taken_for_a_killed_daemon_s() {
    let watched = Watched::new(WORKLOAD, "cronned", 1, "1s", "");
    let mut fake = Fake::start();
    let url = fake.url();
    let start = || watched.start(&["--endpoint", &url]);
    let unconfirmed = |daemon: &Daemon| daemon.ticks()[0].number("unconfirmed");

    fake.always(Behaviour::Accept);
    start().terminate();
    cron(&watched);
    let mut daemon = start();
    assert_eq!(
        unconfirmed(&daemon),
        0,
        "it had ended in order: {}",
        daemon.stderr()
    );

    // Killed, and all of it waits on disk.
    fake.stop();
    daemon.next_tick(LIMIT);
    daemon.next_tick(LIMIT);
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    cron(&watched);
    let daemon = start();
    assert_eq!(unconfirmed(&daemon), 0, "it waits: {}", daemon.stderr());
    daemon.terminate();
}

#[test]
fn a_kill_is_not_forgotten_over_what_cron_ran_since() {
    let watched = Watched::new(WORKLOAD, "kept", 1, "1s", "");
    let fake = Fake::start();
    let url = fake.url();
    fake.always(Behaviour::Hang);
    let daemon = watched.start(&["--endpoint", &url]);
    let last = daemon.ticks()[0].number("time");
    daemon.kill();
    cron(&watched);
    let daemon = watched.start(&["--endpoint", &url]);
    let log = daemon.stderr();
    assert_eq!(daemon.ticks()[0].number("unconfirmed"), 1, "{log}");
    let told = log.lines().find(|line| line.contains("unconfirmed"));
    let seconds = last / 1_000_000_000 % 60;
    assert!(
        told.is_some_and(|line| line.contains(&format!(":{seconds:02}."))),
        "not of {last}: {log}"
    );
    daemon.terminate();
}

/// Events go between two collections, and are answered like these.
#[test]
fn events_that_were_answered_before_a_kill_are_confirmed() {
    let watched = Watched::new(WORKLOAD, "told", 1, "60s", "[events]\nenabled = true\n");
    let fake = Fake::start();
    let url = fake.url();
    let start = || watched.start(&["--endpoint", &url]);
    for events in [true, false, true] {
        let daemon = start();
        assert_eq!(daemon.ticks()[0].number("unconfirmed"), 0, "{}", daemon.stderr());
        if events {
            truth::spawn(watched.program(), &["exit", "0"]).reap();
        }
        // Committed within a second, and answered at once.
        std::thread::sleep(Duration::from_millis(2_500));
        daemon.kill();
    }
    let daemon = start();
    assert_eq!(daemon.ticks()[0].number("unconfirmed"), 0, "{}", daemon.stderr());
    daemon.terminate();
}
