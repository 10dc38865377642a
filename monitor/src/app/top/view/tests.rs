//! What is drawn, in four sizes, with and without colours.

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::app::top::{
    frame::{EventFrame, GroupFrame, ProcessFrame},
    keys::Action,
    state::tests::{BEGAN, end, frame, group, process},
};

const S: u64 = 1_000_000_000;

fn utc(seconds: u64) -> Wall {
    let part = |value: u64| u32::try_from(value).unwrap();
    Wall {
        hour: part(seconds / 3600 % 24),
        minute: part(seconds / 60 % 60),
        second: part(seconds % 60),
    }
}

fn look(has_colours: bool) -> Look {
    Look {
        has_colours,
        local: utc,
    }
}

fn event(number: u64, group: &str, second: u64, what: serde_json::Value) -> EventFrame {
    let mut event = serde_json::json!({ "time": BEGAN + second * S, "pid": 900 + number, "start_time": BEGAN + second * S,
        "parent_pid": 1, "name": group, "exe": group, "user": "www-data" });
    for (key, value) in what.as_object().unwrap() {
        event[key] = value.clone();
    }
    EventFrame {
        number,
        group: group.to_owned(),
        event,
    }
}

/// Something of everything: an expanded group, one in detailed mode in a crash loop, one of which little is known.
fn state() -> State {
    let mut state = State::new();
    for second in 0..=40_u64 {
        let wave = [0, 300, 700, 900, 500, 200][(second % 6) as usize] * 1_000_000;
        let at = |rate: u64| 50 * S + rate * second;
        let web: Vec<ProcessFrame> = vec![
            process(812, "nginx", at(1_000_000)),
            ProcessFrame {
                worker: true,
                ..process(815, "nginx: worker", at(400_000_000) + wave)
            },
        ];
        let mut shop = group(1, "shop", vec![process(4_194_304, "gunicorn", at(20_000_000))]);
        shop.crash_loop = true;
        (shop.starts, shop.restarts) = (12_345, 2_048);
        let mut unknown = group(2, "batch", Vec::new());
        (unknown.used, unknown.has) = Default::default();
        unknown.last_exit_time = Some(BEGAN - 90_000 * S);
        let mut next = frame(second, vec![group(0, "web", web), shop, unknown]);
        next.events = events(second);
        state.take(next);
        if second == 3 {
            // web, which comes first now: it uses most of the CPU.
            state.apply(Action::Expand);
        }
    }
    state
}

fn events(second: u64) -> Vec<EventFrame> {
    let killed = serde_json::json!({ "event": "exit", "reason": "signal", "signal": 9, "lifetime_ns": 7 * S,
        "sender": { "pid": 12, "name": "bash" }, "cpu_time_ns": 40_000_000, "peak_rss_bytes": 92_379_136, "settled": true });
    let restart = serde_json::json!({ "event": "restart", "kind": "respawn", "downtime_ns": 254_000_000,
        "previous": { "pid": 811, "name": "nginx", "reason": "exit", "code": 7 } });
    match second {
        10 => vec![event(
            1,
            "web",
            10,
            serde_json::json!({ "event": "start", "parent_name": "systemd" }),
        )],
        20 => vec![
            end(2, "shop", 20, 3),
            event(3, "shop", 20, serde_json::json!({ "event": "start" })),
        ],
        31 => vec![
            event(4, "web", 30, killed),
            event(5, "web", 31, serde_json::json!({ "event": "start" })),
            event(6, "web", 31, restart),
        ],
        33 => vec![event(
            7,
            "shop",
            33,
            serde_json::json!({ "event": "exit", "reason": "oom" }),
        )],
        _ => Vec::new(),
    }
}

fn drawn(state: &mut State, width: u16, height: u16, has_colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            state.fit(table_height(frame.area(), state));
            draw(frame.buffer_mut(), state, look(has_colours));
        })
        .unwrap();
    terminal
}

fn text(state: &mut State, width: u16, height: u16) -> String {
    let terminal = drawn(state, width, height, false);
    terminal.backend().to_string()
}

#[test]
fn four_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50), (60, 20)] {
        insta::assert_snapshot!(format!("{width}x{height}"), text(&mut state(), width, height));
        // Text and the style of each part that has one.
        let terminal = drawn(&mut state(), width, height, true);
        insta::assert_snapshot!(
            format!("{width}x{height}_in_colour"),
            format!("{:#?}", terminal.backend().buffer())
        );
    }
}

#[test]
fn without_colours_there_are_none() {
    let terminal = drawn(&mut state(), 200, 50, false);
    let cells = terminal.backend().buffer().content();
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    let coloured = drawn(&mut state(), 200, 50, true);
    let cells = coloured.backend().buffer().content();
    assert!(cells.iter().any(|cell| cell.fg == Color::Red));
}

#[test]
fn a_terminal_that_is_too_small_says_so_in_any_size() {
    for (width, height) in [(79, 24), (80, 23), (20, 10), (5, 2), (1, 1)] {
        let shown = text(&mut state(), width, height);
        if width >= 20 {
            let words = shown.replace(['"', '\n'], " ");
            let words: Vec<&str> = words.split_whitespace().collect();
            assert!(
                words.join(" ").contains("needs 80 columns and 24 lines"),
                "{shown}"
            );
        }
    }
}

#[test]
fn the_second_line_says_what_is_not_as_usual() {
    let second_line = |change: &dyn Fn(&mut State)| {
        let mut state = state();
        change(&mut state);
        let shown = text(&mut state, 120, 24);
        shown.lines().nth(1).unwrap().trim_matches(['"', ' ']).to_owned()
    };
    assert_eq!(second_line(&|_| {}), "");
    let away = second_line(&|state| state.lose(BEGAN + 50 * S, "kevmon has ended".to_owned()));
    assert_eq!(away, "since 22:14:10 kevmon has ended");
    let paused = second_line(&|state| {
        state.apply(Action::Pause);
    });
    assert_eq!(paused, "PAUSED: Space goes on");
    let lacking = second_line(&|state| {
        let mut web = group(0, "web", Vec::new());
        web.process_count = 2;
        state.take(frame(41, vec![web]));
        state.apply(Action::Pause);
    });
    assert_eq!(lacking, "PAUSED: Space goes on  processes come after the pause");
    let filter = second_line(&|state| {
        state.apply(Action::BeginFilter);
        state.apply(Action::Letter('('));
    });
    assert_eq!(filter, "/(_  not a pattern yet: the one before stands");
    let many = second_line(&|state| {
        let mut frame = frame(41, Vec::new());
        (frame.lost, frame.fresh, frame.groups_left_out) = (12, false, 3);
        state.take(frame);
    });
    assert_eq!(
        many,
        "very many processes: values of the last collections  12 records were lost  3 groups are left out"
    );
    let recorded =
        second_line(&|state| state.replay(vec![frame(41, Vec::new())], Some("x: damaged".to_owned())));
    assert_eq!(
        recorded,
        "recorded, groups alone; , and . step, < and > ten  x: damaged"
    );
    let waiting = text(&mut State::new(), 80, 24);
    assert!(waiting.contains("waiting for the first values"), "{waiting}");
}

#[test]
fn names_from_elsewhere_move_no_cursor_and_wide_ones_are_cut() {
    let mut state = State::new();
    let odd = process(7, "a\x1b[2J\u{202e}b\nc", 1);
    let wide = process(8, &"名".repeat(40), 1);
    let groups: Vec<GroupFrame> = vec![group(0, &"long".repeat(20), vec![odd, wide])];
    state.take(frame(0, groups));
    state.apply(Action::Expand);
    let shown = text(&mut state, 80, 24);
    assert!(!shown.contains(['\x1b', '\u{202e}']), "{shown:?}");
    assert!(shown.contains("longlonglon…"), "{shown}");
    assert!(shown.contains("a\\u{1b}"), "{shown}");
}

#[test]
fn the_help_names_every_key() {
    let mut state = state();
    state.apply(Action::Help);
    insta::assert_snapshot!("help", text(&mut state, 80, 24));
}
