//! Receivers that flood their connections: kevmon gives each connection up, says so, tries again later, and has its time for
//! what it is there for.

use std::{fmt::Write as _, time::Duration};

use kevmon_tests::{
    floods::{self, Flood, Flooding},
    kevmon::Daemon,
    process,
    watched::{Watched, run_for},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// How long they flood.
const TIME: Duration = Duration::from_secs(10);

/// How long one of them floods alone.
const TIME_ALONE: Duration = Duration::from_secs(4);

/// Of one processor, with one receiver that floods. Without bounds kevmon uses what it gets.
const MOST_CPU: f64 = 0.15;

/// Lines of the log for each receiver.
const MOST_LINES: usize = 12;

fn floods() -> Vec<Flood> {
    let all = floods::all();
    let of = |name: &str| {
        all.iter()
            .find(|flood| flood.name == name)
            .expect("one of them")
            .clone()
    };
    let by_bytes = [
        of("body").by_bytes("body_bytes"),
        of("header_value").by_bytes("head_bytes"),
    ];
    all.into_iter().chain(by_bytes).collect()
}

/// kevmon with receivers that flood, and the processes that it watches.
fn started(floods: &[Flood]) -> (Watched, Vec<Flooding>, Daemon) {
    let receivers: Vec<Flooding> = floods.iter().cloned().map(Flooding::start).collect();
    let names: Vec<String> = floods.iter().map(|of| format!("\"{}\"", of.name)).collect();
    let further = format!("[export]\nendpoints = [{}]\n", names.join(", "));
    let watched = Watched::new(WORKLOAD, "flooded", 1, "500ms", &further);
    let mut settings = "[telemetry]\nenabled = false\n".to_owned();
    for (flood, receiver) in floods.iter().zip(&receivers) {
        write!(
            settings,
            "[endpoints.{}]\nendpoint = \"{}\"\nprotocol = \"{}\"\n",
            flood.name,
            receiver.url(),
            flood.protocol
        )
        .expect("text");
    }
    let settings = watched.write_settings(&settings);
    let daemon = watched.start(&["--config", &settings]);
    (watched, receivers, daemon)
}

#[test]
fn a_receiver_that_floods_costs_little() {
    for flood in floods() {
        let of = ["ping", "pong", "priority", "window", "interim", "chunks_of_one"];
        if !of.contains(&flood.name) {
            continue;
        }
        let (_watched, _receivers, mut daemon) = started(std::slice::from_ref(&flood));
        let before = process::cpu_time(daemon.pid());
        run_for(&mut daemon, TIME_ALONE);
        let used = process::cpu_time(daemon.pid()) - before;
        let share = used.as_secs_f64() / TIME_ALONE.as_secs_f64();
        eprintln!("{}: {share:.3} of a processor", flood.name);
        assert!(share < MOST_CPU, "{}: {share:.3} of a processor", flood.name);
        daemon.kill();
    }
}

#[test]
fn receivers_that_flood_are_named_and_collections_go_on() {
    let floods = floods();
    let (_watched, receivers, mut daemon) = started(&floods);
    run_for(&mut daemon, TIME);
    let said = daemon.stderr();
    let collected = daemon.ticks().len();
    assert!(collected >= 15, "{collected} collections; it said:\n{said}");
    let mut unnamed = Vec::new();
    for (flood, receiver) in floods.iter().zip(&receivers) {
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains(&receiver.url()))
            .collect();
        assert!(receiver.connections() > 0, "{}", flood.name);
        assert!(lines.len() <= MOST_LINES, "{}: {lines:#?}", flood.name);
        // What a body holds behind a status of success, and how fast it comes, is of no matter.
        let is_named = lines.iter().any(|line| line.contains("ERROR"));
        if !is_named && !flood.name.starts_with("body") {
            unnamed.push(flood.name);
        }
    }
    assert!(
        unnamed.is_empty(),
        "nothing said of {unnamed:?}; it said:\n{said}"
    );
    let lines = said.lines().count();
    assert!(lines <= MOST_LINES * floods.len(), "{lines} lines");
    for word in ["PING ack", "h2::", "panicked"] {
        assert!(!said.contains(word), "{word}:\n{said}");
    }
    daemon.kill();
}
