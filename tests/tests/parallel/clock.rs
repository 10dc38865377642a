//! The wall clock is set while kevmon runs, and between two runs. Its own is: the host's stays as it is.

use std::{collections::BTreeMap, time::Duration};

use kevmon_tests::{
    answered::Calls,
    daemon::Daemon,
    http::Client,
    points::{Number, Point},
    port,
    receiver::Receiver,
    scratch::Scratch,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const HOUR: u64 = 3_600_000_000_000;

/// No point lies before its start, and each series goes on.
fn assert_valid(points: &[Point]) {
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for point in points {
        assert!(point.time >= point.start_time, "{point:?}");
        let series = format!("{:?} {} {:?}", point.resource, point.metric, point.attributes);
        if let Some((start, time)) = last.insert(series, (point.start_time, point.time)) {
            assert!(point.time > time, "{point:?} comes after {time}");
            // kevmon's own counts begin with each run.
            let is_own = point.resource["service.name"] == "kevmon";
            assert!(point.start_time == start || is_own, "{point:?}, not {start}");
        }
    }
}

/// The last value of kevmon's offset, s.
fn offset(points: &[Point]) -> Option<f64> {
    let mut offsets = points
        .iter()
        .filter(|point| point.metric == "kevmon.clock.offset");
    match offsets.next_back()?.value {
        Number::Double(offset) => Some(offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn points_after_a_step_of_the_clock_are_valid() {
    let program = Program::new(WORKLOAD, "clockstep");
    let _running = program.start(&["pulse", "--busy-ms", "1", "--idle-ms", "40"]);
    let (receiver, calls, scratch) = (Receiver::start(), Calls::default(), Scratch::new());
    let (endpoint, pattern) = (format!("http://127.0.0.1:{}", receiver.port()), program.pattern());
    let page = port::free();
    let database = scratch.path().join("metadata.db");
    let listen = format!("127.0.0.1:{page}");
    let args = [
        "--interval",
        "200ms",
        "--process-name",
        &pattern,
        "--endpoint",
        &endpoint,
        "--prometheus",
        &listen,
        "--metadata-db-path",
        database.to_str().expect("UTF-8"),
    ];
    let wait = |what: &str, condition: &dyn Fn(f64) -> bool| {
        receiver.wait_for(what, LIMIT, |points| {
            offset(points).filter(|offset| condition(*offset))
        });
        let requests = receiver.requests();
        wait::until("two more requests", LIMIT, || {
            (receiver.requests() > requests + 2).then_some(())
        });
    };
    let mut daemon = Daemon::start_answered(&args, &calls);
    let before = daemon.next_tick(LIMIT).time();
    calls.set_clock(-3_600);
    wait("the offset", &|offset| (3_599.0..3_601.0).contains(&offset));
    let text = Client::plain(page).get("/metrics").expect("the page").body;
    let text = String::from_utf8(text).expect("text");
    let mut shown = text
        .lines()
        .filter(|line| line.starts_with("kevmon_clock_offset_seconds{"));
    let shown = shown.next().and_then(|line| line.rsplit(' ').next());
    let shown: f64 = shown.and_then(|value| value.parse().ok()).expect("the offset");
    assert!((3_599.0..3_601.0).contains(&shown), "{shown}");
    // One that is set back again is said again, and no more often.
    let stderr = daemon.stderr();
    assert_eq!(
        stderr.matches("the wall clock was set back").count(),
        1,
        "{stderr}"
    );
    let last = daemon.terminate().time();
    assert!((before..before + HOUR / 2).contains(&last), "{before} {last}");

    // A restart goes on as well, and so does a step forward.
    let mut daemon = Daemon::start_answered(&args, &calls);
    assert!(daemon.next_tick(LIMIT).time() > last);
    calls.set_clock(0);
    wait("no offset", &|offset| offset == 0.0);
    calls.set_clock(3_600);
    let requests = receiver.requests();
    wait::until("further requests", LIMIT, || {
        (receiver.requests() > requests + 4).then_some(())
    });
    let stderr = daemon.stderr();
    assert_eq!(
        stderr.matches("the wall clock has caught up").count(),
        1,
        "{stderr}"
    );
    let forward = daemon.terminate().time();
    assert!(forward > last + HOUR / 2, "{last} {forward}");

    // Set back between two runs: the starts that are kept lie an hour ahead of the clock.
    calls.set_clock(0);
    let daemon = Daemon::start_answered(&args, &calls);
    wait("the offset", &|offset| (3_590.0..3_601.0).contains(&offset));
    assert!(daemon.terminate().time() > forward);
    assert_valid(&receiver.points());
}
