//! Every transport against receivers that are not ours: what arrives equals what was measured. rotel over gRPC and
//! HTTP, VictoriaMetrics over HTTP, each with and without gzip.

use std::time::Duration;

use kevmon_tests::{
    fake::{Fake, Signal, Transport},
    kevmon::Daemon,
    rotel::Rotel,
    sample::{self, EXACT, Sample},
    victoria_metrics::{EXACTNESS, VictoriaMetrics},
    wait,
    watched::Watched,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
/// Collections that must have arrived.
const TIMES: usize = 4;
const COMPRESSIONS: [&str; 2] = ["none", "gzip"];

fn push(watched: &Watched, url: &str, protocol: &str, compression: &str) -> Daemon {
    watched.start(&[
        "--endpoint",
        url,
        "--protocol",
        protocol,
        "--compression",
        compression,
    ])
}

/// Waits for the tick of the last value that arrived, and compares.
fn compare(daemon: &mut Daemon, plugin: &str, samples: &[Sample], exactness: sample::Exactness) {
    let last = samples.iter().map(|sample| sample.time).max().unwrap_or(0);
    daemon.wait_until("the tick of what arrived last", LIMIT, |tick| tick.time() > last);
    let compared = sample::assert_equals_measured(daemon.ticks(), plugin, samples, exactness);
    assert!(compared >= TIMES, "{compared} ticks compared");
}

fn times_of(samples: &[Sample]) -> usize {
    samples
        .iter()
        .filter(|sample| sample.metric == "process_count")
        .count()
}

#[test]
fn rotel_over_both_transports() {
    for protocol in ["grpc", "http/protobuf"] {
        for compression in COMPRESSIONS {
            let watched = Watched::new(WORKLOAD, "rot", 1, "500ms", "");
            let rotel = Rotel::start();
            let url = if protocol == "grpc" {
                rotel.grpc_url()
            } else {
                rotel.http_url()
            };
            let mut daemon = push(&watched, &url, protocol, compression);
            let id = Watched::service_id("rot0");
            let what = format!("{TIMES} collections at rotel over {protocol}, {compression}");
            let samples = wait::until(&what, LIMIT, || {
                std::thread::sleep(Duration::from_millis(100));
                Some(rotel.samples(&id)).filter(|samples| times_of(samples) >= TIMES)
            });
            // What is printed of the newest one may not be complete yet.
            let last = samples.iter().map(|sample| sample.time).max();
            let complete: Vec<Sample> = samples
                .into_iter()
                .filter(|sample| Some(sample.time) < last)
                .collect();
            let last = complete.iter().map(|sample| sample.time).max().unwrap_or(0);
            daemon.wait_until("the tick of what arrived last", LIMIT, |tick| tick.time() > last);
            let compared = sample::assert_equals_measured(daemon.ticks(), "rot0", &complete, EXACT);
            assert!(compared >= TIMES - 1, "{compared} ticks compared");
            daemon.terminate();
        }
    }
}

#[test]
fn victoria_metrics_over_http() {
    for compression in COMPRESSIONS {
        let watched = Watched::new(WORKLOAD, "vic", 1, "500ms", "");
        let receiver = VictoriaMetrics::start();
        let mut daemon = push(&watched, &receiver.url(), "http/protobuf", compression);
        let samples = receiver.wait_for(&Watched::service_id("vic0"), TIMES, LIMIT);
        compare(&mut daemon, "vic0", &samples, EXACTNESS);
        daemon.terminate();
    }
}

#[test]
fn requests_are_compressed_as_asked_and_say_so() {
    for (protocol, transport) in [("grpc", Transport::Grpc), ("http/protobuf", Transport::Http)] {
        for compression in COMPRESSIONS {
            let watched = Watched::new(WORKLOAD, "zip", 1, "300ms", "[events]\nenabled = true\n");
            let fake = Fake::start();
            let mut daemon = push(&watched, &fake.url(), protocol, compression);
            let samples = fake.wait_for("metrics", LIMIT, |_| {
                let samples = Sample::of_service(&fake.points(), &Watched::service_id("zip0"));
                (times_of(&samples) >= TIMES).then_some(samples)
            });
            compare(&mut daemon, "zip0", &samples, EXACT);
            daemon.terminate();
            for arrival in fake.arrivals() {
                assert_eq!(arrival.transport, transport, "{arrival:?}");
                assert_eq!(
                    arrival.gzip,
                    compression == "gzip",
                    "{:?} over {protocol}",
                    arrival.signal
                );
            }
        }
    }
}

#[test]
fn one_connection_serves_all_requests() {
    let watched = Watched::new(WORKLOAD, "conn", 5, "200ms", "");
    for protocol in ["grpc", "http/protobuf"] {
        let fake = Fake::start();
        let daemon = push(&watched, &fake.url(), protocol, "none");
        fake.wait_for("fifty requests with metrics", LIMIT, |arrivals| {
            let metrics = arrivals
                .iter()
                .filter(|arrival| arrival.signal == Signal::Metrics);
            (metrics.count() >= 50).then_some(())
        });
        daemon.terminate();
        // One, or one for each signal.
        assert!(fake.connections() <= 3, "{} connections", fake.connections());
    }
}

#[test]
fn each_plugin_to_its_own_endpoints() {
    let own = Fake::start();
    let named = Fake::start();
    let default = Fake::start();
    let further = format!(
        "[export]\nendpoints = [\"default\", \"other\", \"{}\"]\n",
        own.url()
    );
    let watched = Watched::new(WORKLOAD, "many", 1, "300ms", &further);
    let plain = Watched::new(WORKLOAD, "plain", 1, "300ms", "");
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[endpoints.other]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n",
        default.url(),
        named.url()
    ));
    let [flag, folder] = plain.plugin_args();
    let mut daemon = watched.start(&["--config", &settings, flag, folder]);
    let has = |fake: &Fake, plugin: &str| {
        let samples = Sample::of_service(&fake.points(), &Watched::service_id(plugin));
        (times_of(&samples) >= TIMES).then_some(samples)
    };
    for fake in [&default, &named, &own] {
        let samples = fake.wait_for("the plugin with three endpoints", LIMIT, |_| has(fake, "many0"));
        compare(&mut daemon, "many0", &samples, EXACT);
    }
    default.wait_for("the plugin without", LIMIT, |_| has(&default, "plain0"));
    for fake in [&named, &own] {
        let strays = Sample::of_service(&fake.points(), &Watched::service_id("plain0"));
        assert!(strays.is_empty(), "{strays:?}");
    }
    let all_http = named.arrivals();
    assert!(
        all_http
            .iter()
            .all(|arrival| arrival.transport == Transport::Http)
    );
    daemon.terminate();
}

#[test]
fn variables_choose_as_flags_do() {
    let watched = Watched::new(WORKLOAD, "vars", 1, "300ms", "");
    let fake = Fake::start();
    let url = fake.url();
    let daemon = watched.start_with(
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-kvt=one,x-other=two%20words"),
        ],
    );
    let arrival = fake.wait_for("metrics", LIMIT, |arrivals| {
        let metrics = arrivals.iter().find(|arrival| arrival.signal == Signal::Metrics);
        metrics.cloned()
    });
    assert_eq!((arrival.transport, arrival.gzip), (Transport::Http, true));
    assert_eq!(arrival.headers["x-kvt"], "one");
    assert_eq!(arrival.headers["x-other"], "two words");
    let Some(value) = arrival.headers.get("user-agent") else {
        panic!("no user-agent: {:?}", arrival.headers)
    };
    assert!(value.to_lowercase().contains("kevmon"), "{value}");
    daemon.terminate();
}
