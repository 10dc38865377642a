//! Points of single processes.

use std::{collections::BTreeSet, time::Duration};

use opentelemetry_proto::tonic::{
    common::v1::any_value,
    metrics::v1::{NumberDataPoint, metric::Data},
};

use super::{
    tests::{decoded, encoder, points, told},
    *,
};
use crate::{
    export::collection::tests::collection,
    plugin::reading::{ProcessReading, SingleProcess, SingleProcesses},
    process::{BootTime, Counter, Gauges, ProcessKey, Tgid, Usage},
};

const S: u64 = 1_000_000_000;

pub(super) fn single(tgid: u32, exe: &str, amount: u64) -> SingleProcess {
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
    let with = |usage: Usage, counter| usage.with(counter, Some(amount));
    SingleProcess {
        key: ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(u64::from(tgid) * S),
        },
        exe: exe.to_owned(),
        command: String::new(),
        path: None,
        usage: counters.into_iter().fold(Usage::ZERO, with),
        cpu_usage: Some(0.5),
        cpu_utilization: Some((0.25, 0.0)),
        memory_usage: Some(0.125),
        gauges: Gauges {
            rss: Some(1),
            vms: Some(2),
            fds: Some(3),
            threads: Some(4),
            peak_rss: Some(5),
            address_space: None,
        },
        uptime: Duration::from_secs(6),
        facts: crate::process::Facts::default(),
        arguments: Vec::new(),
    }
}

/// A collection whose only service has these processes, and wants series of them.
pub(super) fn of(naming: Naming, processes: Vec<SingleProcess>) -> Collection {
    let mut collection = collection();
    let service = &mut collection.services[0];
    Arc::make_mut(&mut service.plugin).naming = naming;
    service.reading.processes = processes
        .iter()
        .map(|process| ProcessReading {
            key: process.key,
            name: process.exe.clone(),
        })
        .collect();
    service.reading.per_process = Some(SingleProcesses {
        processes,
        left_out: 7,
    });
    collection
}

fn is_single(point: &super::tests::Point) -> bool {
    point.attributes.contains("process.pid")
}

#[test]
fn a_process_is_told_by_pid_creation_and_executable_from_its_start_on() {
    for (naming, left_out_as, count) in [
        (Naming::Instana, "per_process.left_out", 17),
        (Naming::Otel, "kevmon.group.process.left_out", 18),
    ] {
        let collection = of(naming, vec![single(10, "app", 3 * S), single(11, "", 4 * S)]);
        let request = told(&mut encoder(Temporality::Cumulative), &collection);
        let left_out = points(&request);
        let left_out = left_out.iter().find(|point| point.metric == left_out_as);
        assert_eq!(left_out.map(|point| point.value), Some(7.0));
        let mut series = BTreeSet::new();
        for metric in &request.resource_metrics[1].scope_metrics[0].metrics {
            let (numbers, is_sum) = match metric.data.as_ref().expect("data") {
                Data::Gauge(gauge) => (&gauge.data_points, false),
                Data::Sum(sum) => (&sum.data_points, true),
                _ => continue,
            };
            let of_process = |number: &&NumberDataPoint| {
                let first = number.attributes.first();
                first.is_some_and(|attribute| attribute.key == "process.pid")
            };
            for number in numbers.iter().filter(of_process) {
                let attributes: Vec<_> = number
                    .attributes
                    .iter()
                    .map(|pair| {
                        (
                            pair.key.as_str(),
                            pair.value.clone().and_then(|value| value.value),
                        )
                    })
                    .collect();
                let text = |text: &str| Some(any_value::Value::StringValue(text.to_owned()));
                let Some(any_value::Value::IntValue(pid)) = attributes[0].1 else {
                    panic!("{attributes:?}")
                };
                let created = format!("2001-09-09T01:46:{pid:02}.000Z", pid = 40 + pid);
                assert_eq!(attributes[0].0, "process.pid");
                assert_eq!(attributes[1], ("process.creation.time", text(&created)));
                if pid == 10 {
                    assert_eq!(attributes[2], ("process.executable.name", text("app")));
                }
                let start = (1_000_000_000 + pid.cast_unsigned()) * S;
                let expected = if is_sum { start } else { 0 };
                assert_eq!(number.start_time_unix_nano, expected, "{}", metric.name);
                assert_eq!(number.time_unix_nano, collection.time);
                assert!(
                    series.insert((metric.name.clone(), format!("{attributes:?}"))),
                    "twice"
                );
            }
        }
        assert_eq!(series.len(), 2 * count, "{naming:?}");
    }
}

#[test]
fn what_is_not_known_of_a_process_is_left_out() {
    let mut process = single(10, "app", 1);
    process.cpu_usage = None;
    process.gauges = Gauges::default();
    process.usage = Usage::UNKNOWN;
    let request = told(
        &mut encoder(Temporality::Cumulative),
        &of(Naming::Instana, vec![process]),
    );
    let names: Vec<_> = points(&request)
        .into_iter()
        .filter(is_single)
        .map(|point| point.metric)
        .collect();
    assert_eq!(names, ["per_process.memory_usage", "per_process.uptime"]);
}

#[test]
fn many_processes_fill_several_requests() {
    let processes = (10..2_010).map(|tgid| single(tgid, "app", 1)).collect();
    let collection = of(Naming::Both, processes);
    let mut one = encoder(Temporality::Cumulative);
    one.longest = usize::MAX;
    let mut expected = points(&told(&mut one, &collection));
    let mut encoder = encoder(Temporality::Cumulative);
    let requests = encoder.encode(&collection, |_| true);
    assert!(requests.len() > 1, "a service larger than a request");
    let mut all = Vec::new();
    for request in &requests {
        assert!(
            request.body.len() < LONGEST_REQUEST,
            "{} bytes",
            request.body.len()
        );
        let points = points(&decoded(request));
        assert_eq!(points.len() as u64, request.items);
        all.extend(points);
    }
    assert!(
        requests.iter().map(|request| request.body.len()).sum::<usize>() / requests.len()
            > LONGEST_REQUEST / 2
    );
    let order = |points: &mut Vec<super::tests::Point>| {
        for point in points.iter_mut() {
            point.resource = 0;
        }
        points.sort_by(|a, b| (&a.metric, &a.attributes).cmp(&(&b.metric, &b.attributes)));
    };
    order(&mut all);
    order(&mut expected);
    assert!(all == expected, "each point once");
}

#[test]
fn deltas_of_a_process_begin_at_its_start_and_outlast_a_time_without_a_place() {
    let mut encoder = encoder(Temporality::Delta);
    let mut at = |tick: u64, processes: Vec<SingleProcess>, live: &[u32]| {
        let mut collection = of(Naming::Instana, processes);
        collection.time += tick * S;
        collection.services[0].reading.processes = live
            .iter()
            .map(|&tgid| ProcessReading {
                key: single(tgid, "", 0).key,
                name: String::new(),
            })
            .collect();
        let points = points(&told(&mut encoder, &collection));
        let of = |point: super::tests::Point| (point.value, point.time - point.start, point.temporality);
        let name = "per_process.voluntary_ctx_switches";
        points
            .into_iter()
            .filter(|point| point.metric == name && !point.is_end)
            .map(of)
            .collect::<Vec<_>>()
    };
    // Collections are 30 s after the start of the machine, and processes as many seconds as their pid says.
    assert_eq!(at(0, vec![single(10, "app", 100)], &[10]), [(100.0, 20 * S, 1)]);
    let two = vec![single(10, "app", 130), single(20, "app", 5)];
    assert_eq!(at(1, two, &[10, 20]), [(30.0, S, 1), (5.0, 11 * S, 1)]);
    assert_eq!(
        at(2, vec![single(20, "app", 6)], &[10, 20]),
        [(1.0, S, 1)],
        "the other has no place"
    );
    let two = vec![single(10, "app", 150), single(20, "app", 6)];
    assert_eq!(at(3, two, &[10, 20]), [(20.0, 2 * S, 1), (0.0, S, 1)]);
    assert_eq!(at(4, vec![], &[20]), []);
    assert_eq!(
        encoder
            .services
            .values()
            .next()
            .map(|(_, _, service)| service.series.processes()),
        Some(1),
        "no more than live"
    );
}

#[test]
fn a_process_is_described_by_the_conventions_attributes() {
    let id = "b5f1a7b3c8d24e6f9a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566a";
    let uid = "2c48913c-b29f-11e7-9350-020968147796";
    let process = SingleProcess {
        command: "/usr/sbin/nginx".to_owned(),
        path: Some("/usr/sbin/nginx".into()),
        facts: crate::process::Facts {
            uid: Some(33),
            user: Some("www-data".into()),
            cgroup: Some(format!("/kubepods/burstable/pod{uid}/{id}").into()),
            pid_namespace: None,
        },
        arguments: vec!["--port".to_owned(), "80".to_owned()],
        ..single(10, "nginx", 1)
    };
    let collection = of(Naming::Otel, vec![process]);
    let told = points(&told(&mut encoder(Temporality::Cumulative), &collection));
    let uptime = told
        .iter()
        .find(|point| point.metric == "process.uptime" && is_single(point));
    let attributes = &uptime.expect("a point").attributes;
    for (name, value) in [
        ("process.creation.time", "2001-09-09T01:46:50.000Z"),
        ("process.executable.name", "nginx"),
        ("process.executable.path", "/usr/sbin/nginx"),
        ("process.command", "/usr/sbin/nginx"),
        ("process.owner", "www-data"),
        ("container.id", id),
        ("k8s.pod.uid", uid),
        ("kevmon.process.arguments", "--port 80"),
    ] {
        let pair = attributes.split(&format!("key: \"{name}\"")).nth(1);
        let pair = pair.unwrap_or_else(|| panic!("{name}: {attributes}"));
        let value_begins = pair.find(&format!("StringValue(\"{value}\")"));
        assert!(value_begins.is_some_and(|at| at < 60), "{name}: {pair}");
    }
}
