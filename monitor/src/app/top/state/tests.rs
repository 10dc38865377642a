//! What keys and frames do to the state.

use super::*;
use crate::app::top::frame::{EventFrame, GroupFrame, Has, Latency, ProcessFrame, Used};

const S: u64 = 1_000_000_000;
/// Unix time of the first frame, ns: 2023-11-14 22:13:20 UTC.
pub(in crate::app::top) const BEGAN: u64 = 1_700_000_000 * S;

pub(in crate::app::top) fn process(pid: u32, name: &str, cpu_time_ns: u64) -> ProcessFrame {
    ProcessFrame {
        pid,
        start_time: BEGAN - 100 * S,
        name: name.to_owned(),
        worker: false,
        used: Used {
            cpu_time_ns: Some(cpu_time_ns),
            run_queue_wait_ns: Some(cpu_time_ns / 10),
            switches: Some(cpu_time_ns / 1_000_000),
        },
        has: Has {
            rss_bytes: Some(u64::from(pid) << 20),
            open_file_descriptors: Some(12),
            threads: Some(3),
        },
    }
}

/// A group whose sums are those of its processes.
pub(in crate::app::top) fn group(id: u64, label: &str, processes: Vec<ProcessFrame>) -> GroupFrame {
    let sum = |of: fn(&ProcessFrame) -> Option<u64>| processes.iter().map(of).sum();
    GroupFrame {
        id,
        label: label.to_owned(),
        process_count: processes.len() as u64,
        used: Used {
            cpu_time_ns: sum(|process| process.used.cpu_time_ns),
            run_queue_wait_ns: sum(|process| process.used.run_queue_wait_ns),
            switches: sum(|process| process.used.switches),
        },
        has: Has {
            rss_bytes: sum(|process| process.has.rss_bytes),
            open_file_descriptors: sum(|process| process.has.open_file_descriptors),
            threads: sum(|process| process.has.threads),
        },
        starts: 4,
        restarts: 1,
        exits: 3,
        processes,
        ..GroupFrame::default()
    }
}

/// The frame after so many seconds of run 1.
pub(in crate::app::top) fn frame(seconds: u64, groups: Vec<GroupFrame>) -> Frame {
    Frame {
        run: 1,
        time: BEGAN + seconds * S,
        boot_time: 1_000 * S + seconds * S,
        source: "ebpf".to_owned(),
        fresh: true,
        groups,
        ..Frame::default()
    }
}

pub(in crate::app::top) fn end(number: u64, group: &str, second: u64, code: u8) -> EventFrame {
    EventFrame {
        number,
        group: group.to_owned(),
        event: serde_json::json!({ "time": BEGAN + second * S, "event": "exit", "pid": 815, "name": group, "exe": group,
            "start_time": BEGAN, "parent_pid": 1, "reason": "exit", "code": code, "lifetime_ns": 3 * S, "settled": true }),
    }
}

/// Two groups over two frames: web uses 0.5 CPU with two processes, db 0.1 with one.
pub(in crate::app::top) fn state() -> State {
    let mut state = State::new();
    for second in [0, 1] {
        let at = |rate: u64| 50 * S + rate * second;
        let web = vec![
            process(10, "nginx", at(400_000_000)),
            process(11, "nginx: worker", at(100_000_000)),
        ];
        let db = vec![process(20, "postgres", at(100_000_000))];
        state.take(frame(second, vec![group(0, "web", web), group(1, "db", db)]));
    }
    state
}

fn labels(state: &State) -> Vec<String> {
    let of = |row: &Row| match row {
        Row::Group(group) => state.groups[*group].label.clone(),
        Row::Process(group, member) => format!("  {}", state.groups[*group].members[*member].pid),
    };
    state.rows.iter().map(of).collect()
}

fn selected(state: &State) -> String {
    labels(state)[state.place()].clone()
}

fn press(state: &mut State, actions: &[Action]) -> Effect {
    let effects: Vec<Effect> = actions.iter().map(|action| state.apply(*action)).collect();
    *effects.last().unwrap()
}

#[test]
fn rates_are_differences_of_two_frames() {
    let state = state();
    let web = &state.groups[0];
    assert_eq!(
        (web.label.as_str(), web.values.cpus),
        ("web", Some(0.5)),
        "the busiest comes first"
    );
    assert_eq!(web.values.switches, Some(500.0));
    assert_eq!(web.values.wait, Some(50_000_000.0));
    let mut first = State::new();
    first.take(frame(0, vec![group(0, "web", vec![process(1, "x", 9 * S)])]));
    let values = first.groups[0].values;
    assert_eq!(
        (values.cpus, values.rss),
        (None, Some(1 << 20)),
        "the first frame has no rates"
    );
}

#[test]
fn a_process_that_began_since_then_has_used_all_it_used_since() {
    let mut state = State::new();
    state.take(frame(0, vec![group(0, "web", Vec::new())]));
    let mut late = process(9, "late", S / 4);
    late.start_time = BEGAN + S / 2;
    let joined = process(10, "joined", 90 * S);
    state.take(frame(1, vec![group(0, "web", vec![late, joined])]));
    let cpus: Vec<_> = state.groups[0]
        .members
        .iter()
        .map(|member| member.values.cpus)
        .collect();
    assert_eq!(
        cpus,
        [Some(0.5), None],
        "of one that came in otherwise nothing is known yet"
    );
}

#[test]
fn groups_expand_and_the_selection_stays_with_its_row() {
    let mut state = state();
    assert_eq!(state.members(), Members::Of(Vec::new()));
    assert_eq!(press(&mut state, &[Action::Expand]), Effect::Ask);
    assert_eq!(labels(&state), ["web", "  10", "  11", "db"]);
    assert_eq!(state.members(), Members::Of(vec![0]));
    press(&mut state, &[Action::Down, Action::Down]);
    assert_eq!(selected(&state), "  11");
    press(&mut state, &[Action::Reverse]);
    assert_eq!(labels(&state), ["db", "web", "  11", "  10"]);
    assert_eq!(selected(&state), "  11", "wherever it stands");
    press(&mut state, &[Action::Collapse]);
    assert_eq!((labels(&state).len(), selected(&state).as_str()), (2, "web"));
    assert_eq!(press(&mut state, &[Action::ToggleAll]), Effect::Ask);
    assert_eq!(labels(&state).len(), 5);
    press(&mut state, &[Action::ToggleAll]);
    assert_eq!(labels(&state).len(), 2);
}

#[test]
fn sorting_goes_through_the_columns_and_what_is_not_known_comes_last() {
    let mut state = state();
    press(&mut state, &[Action::Sort { back: false }]);
    assert_eq!(state.sort, Sort::Rss);
    assert_eq!(labels(&state), ["web", "db"], "21 MiB before 20");
    for _ in 0..3 {
        press(&mut state, &[Action::Sort { back: true }]);
    }
    assert_eq!(state.sort, Sort::Name);
    assert_eq!(labels(&state), ["db", "web"], "names ascend");
    press(&mut state, &[Action::Sort { back: true }]);
    assert_eq!(state.sort, Sort::LastEnd);
    let mut next = frame(2, vec![group(0, "web", Vec::new()), group(1, "db", Vec::new())]);
    next.events = vec![end(1, "web", 2, 7)];
    state.take(next);
    assert_eq!(labels(&state), ["web", "db"]);
    press(&mut state, &[Action::Reverse]);
    assert_eq!(labels(&state), ["web", "db"], "nobody has seen db end");
}

#[test]
fn a_filter_looks_at_groups_and_processes_and_a_faulty_one_changes_nothing() {
    let mut state = state();
    press(&mut state, &[Action::BeginFilter]);
    let typed = |letter: char, state: &mut State| (press(state, &[Action::Letter(letter)]), labels(state));
    assert_eq!(
        typed('P', &mut state),
        (Effect::Ask, vec!["db".to_owned(), "  20".to_owned()]),
        "postgres, in any case"
    );
    assert_eq!(state.members(), Members::All);
    let (_, shown) = typed('(', &mut state);
    assert_eq!(
        (shown.len(), state.filter.is_faulty()),
        (2, true),
        "the pattern before stands"
    );
    press(&mut state, &[Action::Delete, Action::Delete]);
    assert_eq!(labels(&state), ["web", "db"]);
    typed('1', &mut state);
    assert_eq!(typed('1', &mut state).1, ["web", "  11"], "a pid");
    press(&mut state, &[Action::EndMode]);
    assert_eq!((state.mode, state.filter.text()), (Mode::Commands, "11"));
    press(&mut state, &[Action::ClearFilter]);
    assert_eq!(labels(&state), ["web", "db"]);
    press(&mut state, &[Action::Letter('\x1b')]);
    assert_eq!(state.filter.text(), "", "no control characters");
}

#[test]
fn a_pause_ends_with_a_question_and_rates_over_the_time_in_between() {
    let mut state = state();
    assert_eq!(press(&mut state, &[Action::Pause]), Effect::None);
    assert!(state.is_paused);
    assert_eq!(press(&mut state, &[Action::Pause]), Effect::Ask);
    let web = vec![process(10, "nginx", 60 * S), process(11, "nginx: worker", 50 * S)];
    state.take(frame(21, vec![group(0, "web", web)]));
    let cpus = state.groups[0].values.cpus.unwrap();
    assert!((cpus - 9.5 / 20.0).abs() < 1e-9, "{cpus}: 9.5 s in 20 s");
}

#[test]
fn a_frame_that_comes_during_a_pause_moves_nothing_and_its_events_are_told_after_it() {
    let mut state = state();
    press(&mut state, &[Action::Pause]);
    for (second, number) in [(2, 1), (3, 2)] {
        let web = vec![process(10, "nginx", 90 * S)];
        let mut late = frame(second, vec![group(0, "web", web)]);
        late.events = vec![end(number, "web", second, 7)];
        late.events_missed = 1;
        state.take(late);
    }
    state.lose(BEGAN + 4 * S, "kevmon has ended".to_owned());
    assert_eq!((state.time, labels(&state).len()), (BEGAN + S, 2));
    assert_eq!(state.condition, Condition::Live);
    assert_eq!(
        (state.events.latest(|_| true).count(), state.events.missed),
        (0, 0)
    );
    assert_eq!(press(&mut state, &[Action::Pause]), Effect::Ask);
    assert_eq!((state.time, labels(&state).len()), (BEGAN + 3 * S, 1));
    assert_eq!(
        (state.events.latest(|_| true).count(), state.events.missed),
        (2, 2)
    );
}

#[test]
fn a_group_that_is_expanded_during_a_pause_gets_its_processes_after_it() {
    let mut state = State::new();
    let mut web = group(0, "web", Vec::new());
    web.process_count = 2;
    state.take(frame(0, vec![web]));
    press(&mut state, &[Action::Expand]);
    assert!(!state.lacks_processes(), "they are asked for");
    press(&mut state, &[Action::Pause]);
    assert!(state.lacks_processes());
    press(&mut state, &[Action::Collapse]);
    assert!(!state.lacks_processes());
}

/// CPUs that the group shows after each frame: seconds, whether it is fresh, CPU time in ms.
fn cpus_of(frames: &[(u64, bool, u64)]) -> Vec<Option<f64>> {
    let mut state = State::new();
    let of = |&(second, fresh, millis): &(u64, bool, u64)| {
        let mut next = frame(
            second,
            vec![group(0, "web", vec![process(1, "x", millis * 1_000_000)])],
        );
        next.fresh = fresh;
        state.take(next);
        state.groups[0].values.cpus
    };
    frames.iter().map(of).collect()
}

#[test]
fn a_frame_of_old_totals_has_no_rates_and_makes_none() {
    let collected = [(0, false, 100), (1, false, 100), (2, false, 60_100)];
    assert_eq!(cpus_of(&collected), [None; 3], "the growth of a whole interval");
    let one_failed = [
        (0, true, 9_000),
        (1, true, 9_500),
        (2, false, 1_000),
        (3, true, 9_900),
        (4, true, 10_000),
    ];
    assert_eq!(cpus_of(&one_failed), [None, Some(0.5), None, None, Some(0.1)]);
}

#[test]
fn a_sum_that_falls_back_for_a_frame_makes_no_spike() {
    let fell = [
        (0, true, 9_000),
        (1, true, 9_500),
        (2, true, 4_000),
        (3, true, 9_900),
        (4, true, 10_000),
    ];
    let shown = [None, Some(0.5), None, Some(0.2), Some(0.1)];
    assert_eq!(
        cpus_of(&fell),
        shown,
        "0.4 s in the two seconds since the higher sum"
    );
    let for_good: Vec<_> = std::iter::once((0, true, 9_000))
        .chain((1..15).map(|second| (second, true, second * 100)))
        .collect();
    let cpus = cpus_of(&for_good);
    assert_eq!(cpus[1..12], [None; 11]);
    assert_eq!(cpus[12], Some(0.1), "a total that nobody could read is given up");
}

#[test]
fn a_group_that_goes_takes_its_history_with_it_and_the_selection_moves() {
    let mut state = state();
    press(&mut state, &[Action::Down, Action::Expand]);
    assert_eq!(selected(&state), "db");
    state.take(frame(
        2,
        vec![group(0, "web", vec![process(10, "nginx", 51 * S)])],
    ));
    assert_eq!(
        (labels(&state), selected(&state).as_str()),
        (vec!["web".to_owned()], "web")
    );
    assert_eq!(state.histories.len(), 1);
    state.take(frame(3, Vec::new()));
    assert_eq!(labels(&state), [] as [&str; 0]);
    assert!(state.selected_group().is_none());
    for action in [
        Action::Down,
        Action::Up,
        Action::Toggle,
        Action::Last,
        Action::Row(3),
        Action::Expand,
    ] {
        state.apply(action);
    }
    state.take(frame(
        4,
        vec![group(1, "db", vec![process(20, "postgres", 99 * S)])],
    ));
    assert_eq!(
        state.groups[0].values.cpus, None,
        "new again: nothing to compare it with"
    );
    assert_eq!(labels(&state), ["db"], "it is not expanded any more");
}

#[test]
fn a_daemon_that_ends_leaves_its_values_and_comes_again_without_false_rates() {
    let mut state = state();
    state.lose(BEGAN + 2 * S, "kevmon has ended".to_owned());
    state.lose(BEGAN + 3 * S, "kevmon has ended".to_owned());
    let Condition::Away { since, .. } = &state.condition else {
        panic!("{:?}", state.condition);
    };
    assert_eq!((*since, labels(&state).len()), (BEGAN + 2 * S, 2));
    let history = &state.histories["web"];
    assert_eq!(history.cpus(10), [None, Some(0.5), None, None], "a gap");
    let mut again = frame(9, vec![group(0, "web", vec![process(10, "nginx", 3)])]);
    (again.run, again.boot_time) = (2, 5);
    state.take(again);
    assert_eq!(state.condition, Condition::Live);
    assert_eq!(state.groups[0].values.cpus, None, "sums of another run");
}

#[test]
fn a_frame_that_is_known_tells_its_events_and_new_processes_alone() {
    let mut state = state();
    let before = state.histories["web"].cpus(10).len();
    let mut same = frame(
        1,
        vec![
            group(0, "web", vec![process(10, "nginx", 1)]),
            group(1, "db", Vec::new()),
        ],
    );
    same.events = vec![end(1, "web", 1, 7)];
    state.take(same);
    assert_eq!(state.histories["web"].cpus(10).len(), before);
    assert_eq!(state.groups[0].values.cpus, Some(0.5));
    assert_eq!(state.events.latest(|_| true).count(), 1);
}

#[test]
fn the_last_end_has_its_reason_and_a_newer_one_has_its_time_until_it_is_told() {
    let mut state = state();
    let mut next = frame(4, vec![group(0, "web", Vec::new())]);
    next.groups[0].last_exit_time = Some(BEGAN + 2 * S);
    next.events = vec![
        end(1, "web", 2, 7),
        end(2, "web", 1, 0),
        EventFrame {
            number: 3,
            group: "web".to_owned(),
            event: serde_json::json!({ "event": "reborn" }),
        },
    ];
    next.events_missed = 5;
    state.take(next);
    let last = state.groups[0].last_end.clone().unwrap();
    assert_eq!(
        (last.how.as_deref(), last.is_success),
        (Some("exit 7"), false),
        "not the one that came later and ended before"
    );
    assert_eq!((state.events.missed, state.events.unread), (5, 1));
    let mut next = frame(9, vec![group(0, "web", Vec::new())]);
    next.groups[0].last_exit_time = Some(BEGAN + 8 * S);
    state.take(next);
    let last = state.groups[0].last_end.clone().unwrap();
    assert_eq!((last.time, last.how), (BEGAN + 8 * S, None));
    let ribbon = state.histories["web"].ribbon(BEGAN / S + 9, 1, 10);
    assert_eq!(
        (ribbon[1].ends, ribbon[1].failures),
        (1, 0),
        "second 1: exit code 0"
    );
    assert_eq!((ribbon[2].ends, ribbon[2].failures), (1, 1));
}

#[test]
fn percentiles_are_those_of_the_time_since_the_frame_before() {
    let latency = |values: &[u64]| {
        let mut spread = crate::process::Spread::new(crate::process::Quantity::Time);
        values.iter().for_each(|value| spread.add_value(*value));
        Some(Latency::from(&spread))
    };
    let mut state = State::new();
    for (second, values) in [
        (0, &[1_000_000_000; 50][..]),
        (
            1,
            &[&[1_000_000_000; 50][..], &[10_000; 99], &[5_000_000]].concat()[..],
        ),
    ] {
        let mut web = group(0, "web", Vec::new());
        web.run_queue = latency(values);
        state.take(frame(second, vec![web]));
    }
    let of = state.groups[0].percentiles.unwrap();
    let close = |value: u64, expected: u64| value.abs_diff(expected) * 8 < expected;
    assert!(close(of.p50, 10_000) && close(of.p99, 10_000), "{of:?}");
}

#[test]
fn five_thousand_processes_are_sorted_and_scrolled() {
    let mut state = State::new();
    for second in [0, 1] {
        let all = (0..5_000)
            .map(|pid| {
                let grown = u64::from(pid % 1_000) * 1_000_000 * second;
                process(pid + 1, "worker", 50 * S + grown)
            })
            .collect();
        state.take(frame(second, vec![group(0, "web", all)]));
    }
    press(&mut state, &[Action::Expand, Action::Last]);
    assert_eq!(state.rows.len(), 5_001);
    state.fit(10);
    assert_eq!((state.place(), state.offset), (5_000, 4_991));
    press(&mut state, &[Action::PageUp]);
    assert_eq!(state.place(), 4_990);
    assert_eq!(state.offset, 4_990, "it follows the selection");
    press(&mut state, &[Action::First, Action::Down]);
    assert_eq!(selected(&state), "  1000", "the busiest, by pid among equals");
    press(&mut state, &[Action::Row(4)]);
    assert_eq!(state.place(), 4);
}
