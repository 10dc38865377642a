use std::{collections::BTreeMap, fs, time::Duration};

use super::*;
use crate::{
    app::local_time::Local,
    process::{Reason, Tgid},
    recorder::{Bounds, Cause, Event, EventKind, Field, Flags, Group, Incident, Ring, Trigger, Values},
    store::{self, GroupKey, History, HistoryRow, Outage},
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_790_000_000 * SECOND;
/// What a process may call itself.
const HOSTILE: &str = "</script><script>alert(1)</script>\u{202e}\"'><img src=x onerror=alert(2)>";

fn utc(unix: u64) -> Local {
    let text = crate::export::iso8601_millis(unix);
    Local {
        text: text.trim_end_matches('Z').replace('T', " "),
        zone: "UTC".to_owned(),
    }
}

fn group() -> Group {
    Group {
        key: "k".to_owned(),
        plugin: "web".to_owned(),
        label: "web".to_owned(),
        step: SECOND,
        detailed: false,
    }
}

fn values(second: u64) -> Values {
    Values::default()
        .with(Field::Cpu, second * SECOND / 2)
        .with(Field::Rss, second << 20)
        .with(Field::Fds, 7)
        .with(Field::Voluntary, second * 10)
        .with(Field::Involuntary, second)
}

fn incident() -> Incident {
    let exit = Event {
        time: NOW,
        pid: 7,
        name: HOSTILE.to_owned(),
        kind: EventKind::Exit {
            worker: false,
            reason: Reason::Oom,
            sender: Some((8, HOSTILE.to_owned())),
            lifetime: Some(60 * SECOND),
            peak_rss: Some(60 << 20),
        },
        incident: "a-7".to_owned(),
    };
    Incident {
        trigger: Trigger {
            id: "a-7".to_owned(),
            cause: Cause::Oom,
            time: NOW,
            from: NOW - 60 * SECOND,
            until: NOW + 60 * SECOND,
            pid: 7,
            name: HOSTILE.to_owned(),
        },
        group: Group {
            label: HOSTILE.to_owned(),
            ..group()
        },
        steps: (0..60)
            .map(|second| (NOW - (60 - second) * SECOND, (Flags::default(), values(second))))
            .collect::<BTreeMap<_, _>>(),
        events: vec![exit],
        gaps: Vec::new(),
        left_out: 0,
        is_whole: true,
        damage: None,
    }
}

/// What must hold of every page: nothing is loaded, and no text became markup.
fn assert_sound(page: &str) {
    assert!(!page.contains("<img"), "a name became markup");
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert_eq!(page.matches("</script").count(), 1);
    assert!(!page.contains("onerror=alert(2)>"), "a name became markup");
    assert!(!page.contains('\u{202e}'), "text is turned round");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src=\""));
    assert!(!page.contains(" style="), "the page's policy forbids it");
    for opened in ["<section", "<table", "<div", "<svg", "<details", "<bdi", "<p"] {
        let name = &opened[1..];
        let count = page
            .match_indices(opened)
            .filter(|(at, _)| page[at + opened.len()..].starts_with([' ', '>']));
        assert_eq!(
            count.count(),
            page.matches(&format!("</{name}>")).count(),
            "{name}"
        );
    }
    for role in ["role=\"slider\"", "role=\"img\"", "role=\"region\""] {
        for (at, _) in page.match_indices(role) {
            let tag = &page[at..at + page[at..].find('>').unwrap()];
            assert!(tag.contains("aria-label=\""), "{tag}");
        }
    }
}

#[test]
fn an_incident_s_page_has_its_charts_and_escapes_what_others_chose() {
    let page = html::page(&gather::of_incident(&incident(), NOW + 100 * SECOND), &utc);
    assert_sound(&page);
    assert!(page.contains("\\u{202e}"), "shown by its number");
    assert!(page.contains("&lt;/script&gt;"));
    assert!(page.contains("highest 59.0 MiB"), "the resident set");
    assert!(page.contains("highest 0.50 CPU"));
    assert!(page.contains("highest 11.00 /s"));
    assert!(page.contains("OOM kill"));
    // The minute after it has no step, and the page says so.
    assert_eq!(
        page.matches("class=\"hole\" x=\"491.7\"").count(),
        4,
        "in each chart that has values"
    );
    assert_eq!(
        page.matches("Not known in this time.").count(),
        3,
        "absent, not zero"
    );
    assert!(page.len() < 200 << 10, "{} bytes", page.len());
}

#[test]
fn a_day_of_a_service_is_small_and_says_what_is_missing() {
    let folder = std::env::temp_dir().join(format!("kevmon-report-{}", std::process::id()));
    let day = Bounds {
        bytes: 1 << 30,
        age: Duration::from_hours(25),
    };
    let mut ring = Ring::open(&folder, day);
    let slow = Group {
        step: 5 * SECOND,
        ..group()
    };
    ring.plan([(0, slow)]);
    let began = NOW - 86_000 * SECOND;
    for second in (0..86_000).step_by(5) {
        if !(40_000..44_000).contains(&second) {
            ring.step(began + second * SECOND, false, &[(0, values(second))]);
        }
    }
    let key = std::sync::Arc::new(GroupKey {
        plugin: "web".to_owned(),
        key: "k".to_owned(),
    });
    let row = |number: u64| HistoryRow {
        group: std::sync::Arc::clone(&key),
        time: began + number * 60 * SECOND,
        pid: Tgid(number as u32),
        start_time: None,
        name: HOSTILE.to_owned(),
        user: None,
        event: match number % 3 {
            0 => store::Event::Start { worker: false },
            1 => store::Event::Exit {
                worker: false,
                reason: Reason::Exit { code: 3 },
                sender: None,
                lifetime: Some(SECOND),
            },
            _ => store::Event::Restart {
                kind: crate::plugin::RestartKind::Respawn,
                downtime: Some(30 * SECOND),
                previous: None,
            },
        },
        details: store::Details::default(),
    };
    let history = History {
        rows: (0..1000).map(row).collect(),
        outages: vec![Outage {
            from: began + 40_000 * SECOND,
            to: began + 44_000 * SECOND,
            same_boot: true,
        }],
        ..History::default()
    };
    let report = gather::of_range(&history, &folder, NOW - DAY..=NOW, None).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let page = html::page(&report, &utc);
    assert_sound(&page);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert!(page.contains("kevmon was away for 1h 06m"), "the outage");
    assert!(page.contains("The history has the latest 1000 events"));
    assert!(page.contains("Downtimes: 333 known, least 30.000 s"));
    assert!(page.contains("333 ends by reason"));
    assert_eq!(page.matches("class=\"down\" x=").count(), 333);
    assert!(page.contains("Timeline of web: 334 starts, 333 ends, 333 restarts, 333 times down"));
}

#[test]
fn no_state_at_all_is_an_empty_page() {
    let report = gather::of_range(&History::default(), Path::new("/nowhere"), NOW - DAY..=NOW, None).unwrap();
    let page = html::page(&report, &utc);
    assert_sound(&page);
    assert!(page.contains("Nothing happened in this time"));
}

#[test]
fn a_peak_is_not_lost_in_a_day_and_a_hole_is_no_line() {
    let mut trace = trace::Trace::new(0..=86_400);
    for second in 0..86_400 {
        let value = if second == 40_000 { 50.0 } else { 1.0 };
        trace.add(second, (!(50_000..=60_000).contains(&second)).then_some(value));
    }
    let path = trace.path();
    assert!(path.contains(" 0.0"), "the peak is at the top: {path}");
    assert_eq!(path.matches('M').count(), 2, "two lines: {path}");
    assert!(path.len() < 20_000);
}

/// Steps of these seconds before [`NOW`], as an incident has them.
fn steps(seconds: impl Iterator<Item = u64>) -> BTreeMap<u64, (Flags, Values)> {
    seconds
        .map(|second| (NOW - second * SECOND, (Flags::default(), values(100 - second))))
        .collect()
}

#[test]
fn an_incident_says_what_it_does_not_reach() {
    let missing = |steps, is_whole| {
        crate::app::incidents::missing(&Incident {
            steps,
            is_whole,
            ..incident()
        })
    };
    let whole = steps(0..=60)
        .into_keys()
        .chain((1..=60).map(|second| NOW + second * SECOND));
    let whole: BTreeMap<_, _> = whole.map(|time| (time, (Flags::default(), values(1)))).collect();
    assert_eq!(missing(whole.clone(), true), [""; 0]);
    let late = whole.clone().split_off(&(NOW - 50 * SECOND));
    let said = missing(late, true).concat();
    assert!(
        said.starts_with("There is no step in the first 10.000 s:"),
        "{said}"
    );
    let said = missing(steps(0..=60), true).concat();
    assert!(said.starts_with("There is no step in the last 1m"), "{said}");
    assert_eq!(missing(steps(0..=60), false).len(), 1, "it is not over");
    // Where reading takes long, steps are further apart, and have holes all the same.
    let slow = |gone: u64| {
        let slow = whole.iter().filter(move |(time, _)| {
            let second = (**time - (NOW - 60 * SECOND)) / SECOND;
            second.is_multiple_of(5) && !(gone..gone + 20).contains(&second)
        });
        slow.map(|(time, step)| (*time, *step))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(missing(slow(200), true), [""; 0]);
    let said = missing(slow(50), true).concat();
    assert!(said.contains("1 times steps are further apart than 5"), "{said}");
}

#[test]
fn sums_that_begin_in_a_new_run_are_no_peak() {
    let mut incident = incident();
    for (time, (flags, values)) in &mut incident.steps {
        if *time >= NOW - 30 * SECOND {
            flags.begins = *time == NOW - 30 * SECOND;
            let sum = values.get(Field::Cpu).map(|sum| sum + 5_000 * SECOND);
            *values = values.with(Field::Cpu, sum);
        }
    }
    let page = html::page(&gather::of_incident(&incident, NOW + 100 * SECOND), &utc);
    assert!(page.contains("highest 0.50 CPU"), "no peak of 5,000 CPUs");
}

#[test]
fn a_range_counts_all_holes_and_says_whose_rows_were_cut() {
    let folder = std::env::temp_dir().join(format!("kevmon-report-holes-{}", std::process::id()));
    let day = Bounds {
        bytes: 1 << 30,
        age: Duration::from_hours(25),
    };
    let mut ring = Ring::open(&folder, day);
    ring.plan([(0, group())]);
    let began = NOW - 80_000 * SECOND;
    // Ten steps, and ten seconds without, 600 times.
    for second in (0..12_000).filter(|second| second % 20 < 10) {
        ring.step(began + second * SECOND, false, &[(0, values(second))]);
    }
    let key = std::sync::Arc::new(GroupKey {
        plugin: "web".to_owned(),
        key: "k".to_owned(),
    });
    let row = |time: u64, user: u32| HistoryRow {
        group: std::sync::Arc::clone(&key),
        time,
        pid: Tgid(1),
        start_time: None,
        name: "web".to_owned(),
        user: Some(user),
        event: store::Event::Start { worker: false },
        details: store::Details::default(),
    };
    // One user's row is from before the range; the rest are another's, of which older ones have gone.
    let busy = (0..store::KEPT as u64 - 1).map(|number| row(began + number * SECOND, 2));
    let history = History {
        rows: std::iter::once(row(NOW - 2 * DAY, 1)).chain(busy).collect(),
        ..History::default()
    };
    let report = gather::of_range(&history, &folder, NOW - DAY..=NOW, None).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = report.services[0].missing.concat();
    assert!(said.contains("The history has the latest 1000 events"), "{said}");
    assert!(
        said.contains("in 601 parts of this time; the charts show the first 500"),
        "{said}"
    );
}

#[test]
fn slow_steps_are_no_holes_though_a_part_has_few_of_them() {
    let folder = std::env::temp_dir().join(format!("kevmon-report-slow-{}", std::process::id()));
    let mut ring = Ring::open(
        &folder,
        Bounds {
            bytes: 1 << 30,
            age: Duration::from_hours(2),
        },
    );
    ring.plan([(0, group())]);
    let began = NOW - 3_600 * SECOND;
    for second in (0..=3_600).step_by(60) {
        ring.step(began + second * SECOND, false, &[(0, values(second))]);
    }
    let report = gather::of_range(&History::default(), &folder, began..=NOW, None).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let holes = report.services[0].charts.holes.len();
    assert!(holes <= 4, "{holes}, until their pace is known");
}
