//! Recordings that are written by the real ring, read again and stepped through.

use std::path::PathBuf;

use super::*;
use crate::{
    app::top::{keys::Action, state::Effect, state::State},
    process::Reason,
    recorder::{Bounds, EventKind, Ring},
};

const S: u64 = 1_000_000_000;
const BEGAN: u64 = 1_790_000_000 * S;

fn group(label: &str, step: u64) -> Group {
    Group {
        key: label.to_owned(),
        plugin: label.to_owned(),
        label: label.to_owned(),
        step,
        detailed: false,
    }
}

/// After so many ms: half a CPU, and a hundredth from the 30th second on.
fn values(millis: u64) -> Values {
    let busy = millis.min(30_000) * 500_000 + millis.saturating_sub(30_000) * 10_000;
    Values::default()
        .with(Field::Cpu, busy)
        .with(Field::Rss, (millis + 1) << 20)
        .with(Field::Processes, 2)
        .with(Field::Starts, 1)
}

/// A minute of a group with steps of a second, and of one with steps of 100 ms.
fn recorded(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kevmon-replay-{name}-{}", std::process::id()));
    let _: std::io::Result<()> = std::fs::remove_dir_all(&folder);
    let bounds = Bounds {
        bytes: 1 << 30,
        age: Duration::from_hours(1),
    };
    let mut ring = Ring::open(&folder, bounds);
    ring.plan([(0, group("slow", S)), (1, group("fine", S / 10))]);
    for tenth in 0..=600 {
        // The slow one's steps come some ms late, another number each time.
        let late = tenth * 7 % 90;
        let time = BEGAN + tenth * S / 10;
        ring.step(time, false, &[(1, values(tenth * 100))]);
        if tenth % 10 == 0 {
            ring.step(time + late * 1_000_000, false, &[(0, values(tenth * 100 + late))]);
        }
    }
    let end = Event {
        time: BEGAN + 30 * S,
        pid: 7,
        name: "worker".to_owned(),
        kind: EventKind::Exit {
            worker: false,
            reason: Reason::Oom,
            sender: None,
            lifetime: Some(S),
            peak_rss: None,
        },
        incident: String::new(),
    };
    ring.events(&[(0, end)]);
    folder
}

fn shown(replay: &mut Replay) -> State {
    let mut state = State::new();
    state.replay(replay.frames(), None);
    state
}

/// CPUs, by label.
fn cpus(state: &State) -> BTreeMap<&str, Option<f64>> {
    let groups = state.groups.iter();
    groups
        .map(|group| (group.label.as_str(), group.values.cpus))
        .collect()
}

#[test]
fn rates_are_those_of_the_moment_whatever_the_steps_are() {
    let folder = recorded("rates");
    let mut replay = Replay::around(&folder, BEGAN + 20 * S + S / 3).unwrap().unwrap();
    for _ in 0..5 {
        let state = shown(&mut replay);
        for (label, cpus) in cpus(&state) {
            let cpus = cpus.unwrap();
            assert!((cpus - 0.5).abs() < 1e-6, "{label}: {cpus}");
        }
        assert_eq!(state.groups.len(), 2);
        replay.step(1);
    }
    replay.step(20);
    let state = shown(&mut replay);
    assert!((cpus(&state)["slow"].unwrap() - 0.01).abs() < 1e-6);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_moment_looks_the_same_whichever_way_it_was_reached() {
    let folder = recorded("way");
    let mut replay = Replay::around(&folder, BEGAN + 29 * S).unwrap().unwrap();
    let look = |state: &State| {
        let events: Vec<u64> = state
            .events
            .latest(|_| true)
            .map(|shown| shown.event.time.0)
            .collect();
        (state.time, state.source.clone(), state.groups.clone(), events)
    };
    let mut state = State::new();
    state.replay(replay.frames(), None);
    let before = look(&state);
    assert!(before.3.is_empty(), "it has not happened yet");
    replay.step(10);
    state.replay(replay.frames(), None);
    let after = look(&state);
    assert_eq!((after.0 - before.0, &after.3), (10 * S, &vec![BEGAN + 30 * S]));
    let slow = state.groups.iter().find(|group| group.label == "slow").unwrap();
    assert_eq!(slow.last_end.as_ref().and_then(|end| end.pid), Some(7));
    replay.step(-10);
    state.replay(replay.frames(), None);
    assert_eq!(look(&state), before);
    replay.step(-1_000);
    assert_eq!(replay.place, 0);
    replay.step(1_000);
    assert_eq!(replay.place, replay.moments.len() - 1, "no further than there is");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_step_through_a_recording_alone_and_it_has_no_pause() {
    let folder = recorded("keys");
    let mut replay = Replay::around(&folder, BEGAN + 20 * S).unwrap().unwrap();
    let mut state = State::new();
    assert_eq!(state.apply(Action::Step(1)), Effect::None, "of what is live");
    state.replay(replay.frames(), None);
    assert_eq!(state.apply(Action::Step(-10)), Effect::Step(-10));
    assert_eq!(state.apply(Action::Pause), Effect::None);
    assert!(!state.is_paused);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_keeps_a_time_from_being_shown_is_said() {
    let folder = recorded("why");
    let why = |at| Replay::around(&folder, at).unwrap().err().unwrap();
    let outside = why(BEGAN + 100 * S);
    assert!(
        outside.contains("has nothing of") && outside.contains("max_age"),
        "{outside}"
    );
    let ring = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&ring).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&ring, &bytes).unwrap();
    let damaged = why(BEGAN + 50 * S);
    assert!(damaged.contains("damaged at byte"), "{damaged}");
    let before = Replay::around(&folder, BEGAN + 10 * S).unwrap().unwrap();
    assert!(
        before
            .fault
            .is_some_and(|fault| fault.contains("damaged at byte"))
    );
    std::fs::remove_dir_all(&folder).unwrap();
    let none = why(BEGAN);
    assert!(
        none.contains("nothing is recorded in") && none.contains("standard = true"),
        "{none}"
    );
}

#[test]
fn a_group_is_absent_where_nothing_was_recorded() {
    let mut track = Track::new(group("x", S));
    for second in [0, 1, 30, 31] {
        track.steps.insert(second * S, values(second * 1_000));
    }
    for (millis, is_known) in [
        (500, true),
        (1_000, true),
        (1_001, false),
        (29_999, false),
        (30_000, true),
        (31_001, false),
    ] {
        assert_eq!(track.frame(0, millis * 1_000_000).is_some(), is_known, "{millis}");
    }
}

#[test]
fn no_rate_goes_from_the_sums_of_one_run_to_those_of_the_next() {
    let folder = recorded("runs");
    let bounds = Bounds {
        bytes: 1 << 30,
        age: Duration::from_hours(1),
    };
    let mut ring = Ring::open(&folder, bounds);
    ring.plan([(0, group("slow", S)), (1, group("fine", S / 10))]);
    for tenth in 601..=700 {
        let time = BEGAN + tenth * S / 10;
        // An hour of CPU time more than the run before had.
        let values = values(tenth * 100).with(Field::Cpu, 3_600 * S + tenth * 1_000_000);
        let groups = [(0, values), (1, values)];
        ring.step(time, false, if tenth % 10 == 0 { &groups } else { &groups[1..] });
    }
    let mut replay = Replay::around(&folder, BEGAN + 40 * S).unwrap().unwrap();
    let mut seen = 0;
    for _ in 0..28 {
        replay.step(1);
        for (label, cpus) in cpus(&shown(&mut replay)) {
            if let Some(cpus) = cpus {
                assert!(cpus < 0.1, "{label} at {}: {cpus}", replay.moments[replay.place]);
                seen += usize::from(replay.moments[replay.place] > BEGAN + 62 * S);
            }
        }
    }
    assert!(seen > 8, "both have rates again: {seen}");
    std::fs::remove_dir_all(folder).unwrap();
}
