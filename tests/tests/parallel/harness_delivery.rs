//! The harness itself, without kevmon: the comparison of what arrived with what was told finds what it is there to
//! find, and nothing where all is well.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use kevmon_tests::{
    delivery::{self, Delivery},
    fake::{Behaviour, Fake},
    http::Client,
    known, process,
    tick::Tick,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, any_value},
};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
const PLUGIN: &str = "one";

/// A tick as kevmon tells it, with one metric.
fn tick(time: u64, value: u64) -> Tick {
    let line = format!(
        "{{\"schema\":1,\"time\":{time},\"source\":\"ebpf\",\"complete\":true,\"complete_totals\":true,\"final\":false,\
         \"plugins\":[{{\"plugin\":\"{PLUGIN}\",\"metrics\":{{\"process_count\":{value}}}}}]}}"
    );
    Tick::parse(&line)
}

/// The same as kevmon sends it.
fn request(time: u64, value: u64) -> ExportMetricsServiceRequest {
    let mut request = known::metrics(time, i64::try_from(value).unwrap());
    let of_resource = &mut request.resource_metrics[0];
    of_resource.scope_metrics[0].metrics[0].name = "process_count".to_owned();
    let attributes = &mut of_resource.resource.as_mut().unwrap().attributes;
    let id = attributes.iter_mut().find(|pair| pair.key == "kevmon.service.id");
    id.unwrap().value = Some(AnyValue {
        value: Some(any_value::Value::StringValue(format!("kvt_company_{PLUGIN}"))),
    });
    request
}

fn send(fake: &Fake, time: u64, value: u64) {
    let body = known::body(&request(time, value), false);
    let headers = [("Content-Type", "application/x-protobuf")];
    // A reset is an error of its own.
    let _ = Client::plain(fake.port()).post("/v1/metrics", &headers, &body);
}

/// What arrives of ticks 0 to 4, as (second, value), and whether each assertion then holds.
struct Case {
    arrives: &'static [(u64, u64)],
    in_order: bool,
    no_duplicates: bool,
    complete: bool,
    /// Complete where kevmon was killed after tick 4.
    complete_in_flight: bool,
}

#[test]
fn deliveries() {
    let all = true;
    for (name, case) in [
        (
            "all of them",
            Case {
                arrives: &[(0, 10), (1, 11), (2, 12), (3, 13), (4, 14)],
                in_order: all,
                no_duplicates: all,
                complete: all,
                complete_in_flight: all,
            },
        ),
        (
            "one is missing",
            Case {
                arrives: &[(0, 10), (1, 11), (3, 13), (4, 14)],
                in_order: true,
                no_duplicates: true,
                complete: false,
                complete_in_flight: false,
            },
        ),
        (
            "the last is missing",
            Case {
                arrives: &[(0, 10), (1, 11), (2, 12), (3, 13)],
                in_order: true,
                no_duplicates: true,
                complete: false,
                complete_in_flight: true,
            },
        ),
        (
            "another value",
            Case {
                arrives: &[(0, 10), (1, 11), (2, 99), (3, 13), (4, 14)],
                in_order: true,
                no_duplicates: true,
                complete: false,
                complete_in_flight: false,
            },
        ),
        (
            "two change places",
            Case {
                arrives: &[(0, 10), (2, 12), (1, 11), (3, 13), (4, 14)],
                in_order: false,
                no_duplicates: true,
                complete: true,
                complete_in_flight: true,
            },
        ),
        (
            "one twice",
            Case {
                arrives: &[(0, 10), (1, 11), (1, 11), (2, 12), (3, 13), (4, 14)],
                in_order: true,
                no_duplicates: false,
                complete: true,
                complete_in_flight: true,
            },
        ),
    ] {
        let fake = Fake::start();
        for (second, value) in case.arrives {
            send(&fake, START + second * SECOND, *value);
        }
        let ticks: Vec<Tick> = (0..5)
            .map(|second| tick(START + second * SECOND, 10 + second))
            .collect();
        let plugins = [PLUGIN.to_owned()];
        let delivery = Delivery::of(&fake, &plugins);
        let holds = |assertion: &dyn Fn()| catch_unwind(AssertUnwindSafe(assertion)).is_ok();
        assert_eq!(holds(&|| delivery.assert_in_order()), case.in_order, "{name}");
        assert_eq!(
            holds(&|| delivery.assert_no_duplicates()),
            case.no_duplicates,
            "{name}"
        );
        assert_eq!(
            holds(&|| delivery.assert_complete(&ticks, PLUGIN, &[])),
            case.complete,
            "{name}"
        );
        let in_flight = [START + 4 * SECOND];
        assert_eq!(
            holds(&|| delivery.assert_complete(&ticks, PLUGIN, &in_flight)),
            case.complete_in_flight,
            "{name}, killed"
        );
        assert_eq!(delivery.sent_again, 0, "{name}");
    }
}

#[test]
fn a_copy_after_a_lost_acknowledgement_is_none_too_many() {
    let mut fake = Fake::start();
    fake.play(&[Behaviour::LoseAcknowledgement]);
    send(&fake, START, 10);
    send(&fake, START, 10);
    // Taken, and the receiver killed before anybody can know.
    send(&fake, START + SECOND, 11);
    fake.stop();
    fake.restart();
    send(&fake, START + SECOND, 11);
    let plugins = [PLUGIN.to_owned()];
    let delivery = Delivery::of(&fake, &plugins);
    delivery.assert_no_duplicates();
    assert_eq!(delivery.sent_again, 2);
    delivery::wait_for_tick(&fake, &plugins, START + SECOND, Duration::from_secs(1));
}

#[test]
fn nine_of_ten_ticks_are_on_time_within_a_tenth_of_their_interval() {
    let holds = |offsets: &[u64]| {
        let first = tick(START - SECOND * 2 / 3, 1);
        let on_grid = (0..).zip(offsets);
        let on_grid = on_grid.map(|(index, offset)| tick(START + index * SECOND + offset, 1));
        let ticks: Vec<Tick> = std::iter::once(first).chain(on_grid).collect();
        let assertion = || delivery::assert_on_time(&ticks, Duration::from_secs(1));
        catch_unwind(AssertUnwindSafe(assertion)).is_ok()
    };
    let ms = 1_000_000;
    assert!(holds(&[0, 20 * ms, 0, 90 * ms, 0]));
    assert!(holds(&[0, 0, 110 * ms, 0, 0]), "one of ten may be late …");
    assert!(!holds(&[0, 110 * ms, 0, 110 * ms, 0, 0, 0]), "… and no other");
    assert!(!holds(&[0, 0, 310 * ms, 0, 0]));
    // The first one on the grid is late; all others are not.
    assert!(!holds(&[400 * ms, 0, 0, 0, 0]));
    assert!(!holds(&[0, 0, SECOND, SECOND, SECOND]), "one tick is missing");
}

#[test]
fn ports_and_memory_of_a_process_are_read() {
    let fake = Fake::start();
    let own = std::process::id();
    let ports: Vec<u16> = process::listening(own)
        .iter()
        .filter(|address| address.ip().is_loopback())
        .map(|address| address.port())
        .collect();
    assert!(ports.contains(&fake.port()), "{ports:?}");
    assert!((1 << 20..1 << 30).contains(&process::rss(own)));
    assert!(!process::command_line(own).is_empty());
}
