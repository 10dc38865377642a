use std::{sync::Arc, time::Duration};

use super::{
    super::{
        collection::tests::collection,
        page::{Look, display_width},
    },
    *,
};
use crate::{
    plugin::{
        collector::CustomValue,
        reading::{Happened, ProcessReading},
        tracker::tests::plugin,
    },
    process::{BootTime, Counter, Moment, ProcessKey, Reason, Tgid, Usage},
};

const S: u64 = 1_000_000_000;
const HUMAN: Detail = Detail {
    precision: Precision::Human,
    all: false,
};
const EXACT: Detail = Detail {
    precision: Precision::Exact,
    all: true,
};

fn shown(collection: &Collection, detail: Detail, width: Option<usize>) -> String {
    let look = Look {
        colours: false,
        width,
    };
    render(collection, detail).paint(look).as_str().to_owned()
}

fn coloured(collection: &Collection) -> String {
    let look = Look {
        colours: true,
        width: Some(80),
    };
    let text = render(collection, HUMAN).paint(look).as_str().to_owned();
    // As a reader of the snapshot can tell them.
    text.replace('\u{1b}', "␛")
}

fn key(tgid: u32, start: u64) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(tgid),
        start: BootTime(start * S),
    }
}

fn busy(tgid: u32, name: &str, cpus: f64, mebibytes: u64) -> Busy {
    Busy {
        key: key(tgid, 10),
        name: name.to_owned(),
        cpus: Some(cpus),
        rss: Some(mebibytes << 20),
        age: Duration::from_secs(11_220),
    }
}

/// A service that works: two of its processes are busy.
fn working(name: &str) -> ServiceReading {
    let collection = collection();
    let mut service = collection.services[0].clone();
    service.plugin = Arc::new(plugin(name));
    let reading = &mut service.reading;
    *reading = Reading {
        usage_start: Moment::Unix(collection.time - 11_220 * S),
        watch_start: Moment::Unix(collection.time - S - 3_000_000),
        usage: Usage::ZERO
            .with(Counter::Runtime, Some(2_470 * S))
            .with(Counter::User, Some(1_802 * S))
            .with(Counter::System, Some(668 * S))
            .with(Counter::RunDelay, Some(62 * S))
            .with(Counter::Voluntary, Some(1_234_567))
            .with(Counter::Involuntary, Some(8_901))
            .with(Counter::MinorFaults, Some(90_000))
            .with(Counter::ReadBytes, Some(5 << 30)),
        happened: Happened::default(),
        exits: Vec::new(),
        downtime: Durations::default(),
        last_start: None,
        last_exit: None,
        crash_loop: false,
        process_count: 3,
        cpu_usage: Some(0.244_709),
        cpus: Some(0.734_127),
        memory_usage: Some(0.005_4),
        memory_utilization: Some(0.016_3),
        rss: Some(432_013_312),
        vms: Some(1_288_490_189),
        fds: Some(61),
        threads: Some(24),
        min_threads: Some(4),
        max_threads: Some(12),
        avg_threads: Some(8.0),
        peak_rss: Some(300 << 20),
        uptime: Some(Duration::from_secs(11_220)),
        processes: [812, 815, 40_212]
            .map(|tgid| ProcessReading {
                key: key(tgid, 10),
                name: name.to_owned(),
            })
            .to_vec(),
        ..reading.clone()
    };
    service.extra.busiest = vec![
        busy(40_212, "shop-worker", 0.61, 96),
        busy(815, "shop-worker", 0.123, 12),
        busy(812, "shop-web", 0.0, 304),
    ];
    service
}

fn healthy(services: Vec<ServiceReading>) -> Collection {
    let mut collection = collection();
    collection.health = HealthReading {
        source: "ebpf",
        source_reason: "the kernel allows it".to_owned(),
        complete: true,
        complete_totals: true,
        ..HealthReading::default()
    };
    collection.services = services;
    collection
}

/// One whose processes come and go.
fn failing() -> ServiceReading {
    let mut service = working("^crashing$");
    let reading = &mut service.reading;
    reading.happened = Happened {
        starts: 9,
        respawns: 8,
        reexecs: 1,
        failed_starts: 6,
        exits: 8,
        joins: 1,
        ..Happened::default()
    };
    reading.exits = vec![
        (Reason::Exit { code: 0 }, 1),
        (Reason::Exit { code: 7 }, 5),
        (
            Reason::Signal {
                number: 11,
                core_dumped: true,
            },
            1,
        ),
        (Reason::Oom, 1),
    ];
    for millis in [250, 750] {
        reading.downtime.add(Duration::from_millis(millis));
    }
    reading.lifetime.add(Duration::from_millis(90));
    reading.last_start = Some(BootTime(29 * S).into());
    reading.last_exit = Some(BootTime(28 * S).into());
    reading.crash_loop = true;
    reading.process_count = 1;
    reading.processes.truncate(1);
    service.extra.busiest.truncate(1);
    service
}

fn nothing() -> ServiceReading {
    let mut service = working("^absent$");
    service.reading.process_count = 0;
    service.reading.processes.clear();
    service.extra.busiest.clear();
    service
}

#[test]
fn one_service() {
    let collection = healthy(vec![working("^shop")]);
    insta::assert_snapshot!(shown(&collection, HUMAN, Some(80)));
}

#[test]
fn exactly_and_with_zeros() {
    let collection = healthy(vec![working("^shop")]);
    insta::assert_snapshot!(shown(&collection, EXACT, None));
}

#[test]
fn several_services() {
    let collection = healthy(vec![working("^shop"), failing(), nothing()]);
    insta::assert_snapshot!("several_services_80", shown(&collection, HUMAN, Some(80)));
    insta::assert_snapshot!("several_services_200", shown(&collection, HUMAN, Some(200)));
    insta::assert_snapshot!("several_services_40", shown(&collection, HUMAN, Some(40)));
    insta::assert_snapshot!("several_services_coloured", coloured(&collection));
}

#[test]
fn what_is_not_known_is_said_with_the_reason() {
    let mut service = working("^shop");
    let reading = &mut service.reading;
    reading.usage = Usage::UNKNOWN;
    (reading.rss, reading.vms, reading.fds, reading.threads) = (None, None, None, None);
    (reading.cpus, reading.cpu_usage, reading.peak_rss) = (None, None, None);
    (reading.memory_usage, reading.memory_utilization) = (None, None);
    for busy in &mut service.extra.busiest {
        (busy.cpus, busy.rss) = (None, None);
    }
    let mut collection = healthy(vec![service]);
    insta::assert_snapshot!("unknown_ebpf", shown(&collection, HUMAN, Some(80)));
    collection.health.source = "proc";
    collection.health.source_reason = "asked for".to_owned();
    collection.health.complete = false;
    collection.health.complete_totals = false;
    insta::assert_snapshot!("unknown_proc", shown(&collection, HUMAN, Some(80)));
    collection.health.hidden = Some("processes of other users cannot be seen".to_owned());
    collection.services = vec![nothing()];
    collection.services[0].reading.set_unlisted();
    insta::assert_snapshot!("unknown_hidden", shown(&collection, HUMAN, Some(80)));
}

#[test]
fn what_kevmon_missed_stands_at_the_top() {
    let mut collection = healthy(vec![working("^shop")]);
    let health = &mut collection.health;
    health.complete_totals = false;
    health.lost = vec![("sched_process_exec", 0), ("sched_process_exit", 2), ("marks", 1)];
    health.unattributed = 3;
    (health.outages, health.outage_ns) = (1, 1_500_000_000);
    insta::assert_snapshot!(shown(&collection, HUMAN, Some(80)));
}

#[test]
fn huge_numbers() {
    let mut service = working("^shop");
    let counters = [
        Counter::Runtime,
        Counter::User,
        Counter::System,
        Counter::RunDelay,
        Counter::Voluntary,
        Counter::Involuntary,
        Counter::MinorFaults,
        Counter::MajorFaults,
        Counter::ReadBytes,
        Counter::WriteBytes,
    ];
    let reading = &mut service.reading;
    reading.usage = counters
        .into_iter()
        .fold(Usage::ZERO, |usage, counter| usage.with(counter, Some(u64::MAX)));
    (reading.rss, reading.vms) = (Some(u64::MAX), Some(u64::MAX));
    (reading.fds, reading.threads) = (Some(u64::MAX), Some(4_194_304));
    reading.cpus = Some(4096.0);
    reading.process_count = 4_194_304;
    let mut collection = healthy(vec![service]);
    insta::assert_snapshot!("huge_human", shown(&collection, HUMAN, Some(80)));
    collection.services[0].extra.busiest.clear();
    insta::assert_snapshot!("huge_exact", shown(&collection, EXACT, Some(80)));
}

#[test]
fn names_of_any_length_and_width() {
    let mut wide = working("^日本語サービス$");
    wide.extra.busiest = vec![
        busy(1, "日本語サービス", 0.5, 1),
        busy(2, "tab\tescape\u{1b}[2Jreversed\u{202e}", 0.25, 1),
        busy(3, &"a-very-long-name-".repeat(6), 0.1, 1),
    ];
    let mut long = working(&format!("^{}$", "long-".repeat(30)));
    long.extra.custom = vec![CustomValue {
        name: "queue.depth".to_owned(),
        unit: "{job}".to_owned(),
        description: String::new(),
        value: Custom::Int(17),
        attributes: vec![("queue".to_owned(), "mail\u{1b}]0;x".to_owned())],
        time: 1,
    }];
    let collection = healthy(vec![wide, long]);
    insta::assert_snapshot!("names_80", shown(&collection, HUMAN, Some(80)));
    insta::assert_snapshot!("names_200", shown(&collection, HUMAN, Some(200)));
}

#[test]
fn no_line_is_wider_than_the_terminal_unless_a_word_is() {
    let collection = healthy(vec![working("^shop"), failing(), nothing()]);
    for width in [20, 40, 79, 80, 120] {
        let text = shown(&collection, HUMAN, Some(width));
        for line in text.lines() {
            let longest = line.split(' ').map(display_width).max().unwrap_or(0);
            let fits = display_width(line) <= width || longest + LABELS > width;
            assert!(fits, "{width} columns: {line:?}\n{text}");
        }
    }
}

/// Each of the names that programs read has an underscore or is a word of its own; no line begins with one.
#[test]
fn no_name_of_the_json_is_in_the_text() {
    use crate::metrics::{INSTANA, JSON_ONLY};

    let text = shown(&healthy(vec![working("^shop"), failing()]), EXACT, None);
    for metric in INSTANA.iter().chain(JSON_ONLY) {
        let is_in = metric.name.contains('_') && text.contains(metric.name);
        assert!(!is_in, "{}:\n{text}", metric.name);
    }
}

#[test]
fn names_do_nothing_to_a_terminal() {
    let all: String = crate::shown::tests::all().collect();
    let rendered = |name: &str| {
        let mut collection = collection();
        collection.health.source_reason = name.to_owned();
        collection.health.hidden = Some(name.to_owned());
        let service = &mut collection.services[0];
        let plugin = Arc::make_mut(&mut service.plugin);
        plugin.name = name.to_owned();
        plugin.description = name.to_owned();
        plugin.instance = Some(name.to_owned());
        plugin.service.id = name.to_owned();
        service.reading.process_count = 1;
        service.reading.processes = vec![ProcessReading {
            key: key(7, 1),
            name: name.to_owned(),
        }];
        service.extra.busiest = vec![busy(7, name, 0.5, 1)];
        service.extra.custom = vec![CustomValue {
            name: name.to_owned(),
            unit: name.to_owned(),
            description: name.to_owned(),
            value: Custom::Text(name.to_owned()),
            attributes: vec![(name.to_owned(), name.to_owned())],
            time: 1,
        }];
        shown(&collection, HUMAN, None)
    };
    let (plain, hostile) = (rendered("name"), rendered(&all));
    assert_eq!(plain.lines().count(), hostile.lines().count(), "{hostile}");
    let bad: Vec<char> = hostile
        .chars()
        .filter(|c| *c != '\n' && crate::shown::is_unsafe(*c))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(hostile.contains("\\u{202e}"));
}
