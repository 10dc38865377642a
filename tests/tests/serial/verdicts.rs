//! The map `VERDICTS`, read where it is pinned: a process that has gone leaves no verdict, or the map would fill up.
#![expect(
    clippy::expect_used,
    reason = "a failed assumption in a test is a failed test"
)]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use kevmon_tests::{kevmon::Daemon, pins, scratch::Scratch, wait};

const LIMIT: Duration = Duration::from_secs(20);

/// The processes that have verdicts, and the sequences of the identities judged. Key and value are two words each
/// (monitor-common/src/marks.rs): the lower half of the key's second word is the pid.
fn judged(state: &Path) -> BTreeMap<u32, u64> {
    let sets = pins::entries(state);
    let set = sets.iter().find(|set| set.is_dir()).expect("a set of pins");
    let map = MapData::from_pin(set.join("map_VERDICTS")).expect("a pinned map");
    let map: HashMap<MapData, [u64; 2], [u64; 2]> = Map::HashMap(map).try_into().expect("a hash map");
    map.iter()
        .filter_map(Result::ok)
        .map(|([_, pid], [sequence, _])| ((pid & u64::from(u32::MAX)) as u32, sequence))
        .collect()
}

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).spawn().expect("a shell")
}

#[test]
fn a_process_takes_its_verdicts_with_it() {
    let scratch = Scratch::new();
    let database = scratch.path().join("a.db");
    let daemon = Daemon::start(&[
        "--interval",
        "500ms",
        "--process-name",
        "^matches-nothing-here$",
        "--keep-watching",
        "10m",
        "--metadata-db-path",
        &database.to_string_lossy(),
    ]);
    let state = pins::of(&database);
    // What a verdict was about when the process ended: its present identity, the one before it, one before that, or none.
    let scripts = [
        ("sleep 2; :", "ends as what was judged"),
        (
            "sleep 2; exec true",
            "executes once more, and ends before that is judged",
        ),
        (
            "sleep 2; printf a > /proc/$$/comm",
            "changes its name, and ends before that is judged",
        ),
        (
            "sleep 2; printf a > /proc/$$/comm; printf b > /proc/$$/comm; exec true",
            "does both",
        ),
        (
            "sleep 2; exec sh -c 'sleep 1; exec true'",
            "is judged twice, and executes once more",
        ),
    ];
    for round in 0..3 {
        let mut children: Vec<(Child, &str)> = scripts
            .iter()
            .map(|&(script, what)| (shell(script), what))
            .collect();
        for (child, what) in &children {
            wait::until(
                &format!("round {round}: a verdict about one that {what}"),
                LIMIT,
                || judged(&state).contains_key(&child.id()).then_some(()),
            );
        }
        let pids: Vec<(u32, &str)> = children.iter().map(|(child, what)| (child.id(), *what)).collect();
        for (child, _) in &mut children {
            child.wait().expect("a child");
        }
        // Frees come after a grace period, and what userspace writes too late it takes back with the next drain.
        thread::sleep(Duration::from_secs(1));
        let left = judged(&state);
        for (pid, what) in pids {
            assert_eq!(left.get(&pid), None, "round {round}: one that {what}");
        }
    }
    daemon.terminate();
}
