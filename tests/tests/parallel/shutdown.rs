//! Shutdown: exit 0 within two seconds, a last line that says so, and nothing missing in it that ended
//! just before.

use std::{net::TcpListener, time::Duration};

use kevmon_tests::{
    checks,
    kevmon::Daemon,
    receiver::Receiver,
    truth::{self, Truth},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// Children that have just been reaped.
fn children(program: &Program) -> Truth {
    let mut sum = Truth::default();
    for index in 0..20 {
        let file = program.directory().join(index.to_string());
        let file = file.to_string_lossy();
        let work = ["--cpu-ms", "5", "--write-bytes", "8192", "--sleeps", "2"];
        sum += truth::spawn(program, &[&["burn", "--file", &file], &work[..]].concat())
            .reap()
            .truth;
    }
    sum
}

#[test]
fn the_last_line_holds_what_ended_just_before() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let program = Program::new(WORKLOAD, "last");
        // No tick falls between the children and the signal.
        let daemon = Daemon::start(&["--interval", "1h", "--process-name", &program.pattern()]);
        let truth = children(&program);
        let last = daemon.stop(signal);
        let group = last.expect_group(&program.plugin());
        assert_eq!(group.int("starts"), truth.count, "{}", group.0);
        checks::assert_equals_truth(group, &truth);
        checks::assert_complete(std::slice::from_ref(&last));
    }
}

#[test]
fn what_has_not_settled_is_flagged() {
    let program = Program::new(WORKLOAD, "late");
    let daemon = Daemon::start(&["--interval", "1h", "--process-name", &program.pattern()]);
    // Dead, but not reaped: the kernel frees it, and so settles its totals, only later.
    let zombie = program.start(&["zombie"]);
    let last = daemon.terminate();
    let group = last.expect_group(&program.plugin());
    assert_eq!(last.unsettled(), 1, "{}", last.0);
    // It was read after its end, so that its totals are whole.
    for of in [&last.0, group.0] {
        assert_eq!(
            (&of["complete"], &of["complete_totals"]),
            (&true.into(), &true.into()),
            "{of}"
        );
    }
    assert_eq!(
        (group.int("exits"), group.int("process_count")),
        (1, 1),
        "{}",
        group.0
    );
    drop(zombie);
}

#[test]
fn a_receiver_that_never_answers_does_not_hold_it_up() {
    let program = Program::new(WORKLOAD, "mute");
    let pattern = program.pattern();
    let receiver = Receiver::start_mute();
    let start = |port: &str| {
        let endpoint = ["--agent-host", "127.0.0.1", "--agent-port", port];
        Daemon::start(
            &[
                &["--interval", "200ms", "--process-name", &pattern],
                &endpoint[..],
            ]
            .concat(),
        )
    };
    let mut daemon = start(&receiver.port());
    receiver.wait_for("a request", Duration::from_secs(10), |points| {
        (!points.is_empty()).then_some(())
    });
    // Collections go on while a request hangs.
    let truth = children(&program);
    let limit = Duration::from_secs(5);
    daemon.wait_until("the children", limit, |tick| {
        tick.expect_group(&program.plugin()).int("exits") == truth.count
    });
    daemon.terminate();

    // A listener that takes the connection (the kernel does) and never speaks.
    let listener = TcpListener::bind("127.0.0.1:0").map(|listener| (listener.local_addr(), listener));
    let Ok((Ok(address), _listener)) = listener else {
        panic!("no free port")
    };
    let mut daemon = start(&address.port().to_string());
    daemon.next_tick(limit);
    daemon.terminate();
}

#[test]
fn nobody_listening_does_not_hold_it_up() {
    let program = Program::new(WORKLOAD, "none");
    let pattern = program.pattern();
    let mut daemon = Daemon::start(&[
        "--interval",
        "200ms",
        "--process-name",
        &pattern,
        "--agent-port",
        "9",
    ]);
    for _ in 0..5 {
        daemon.next_tick(Duration::from_secs(5));
    }
    daemon.terminate();
}
