//! Where kevmon's own telemetry goes: to the default receiver, of all others too, or nowhere; and what the SDK's own
//! variables do to it.

use std::{fs, time::Duration};

use kevmon_tests::{
    checks,
    fake::{Arrival, Fake, Signal},
    telemetry::{OWN, TROUBLES, has_traces, lane, of_lane, own, settings},
    times, wait,
    watched::{self, Watched},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn what_waits_for_a_receiver_is_told_at_another() {
    let watched = Watched::new(
        WORKLOAD,
        "wait",
        1,
        "300ms",
        "[export]\nendpoints = [\"default\", \"far\"]\n",
    );
    let (near, mut far) = (Fake::start(), Fake::start());
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[endpoints.far]\nendpoint = \"{}\"\n[telemetry]\ninterval = \"1s\"\n",
        near.url(),
        far.url()
    ));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(2));
    far.stop();
    watched::run_for(&mut daemon, Duration::from_secs(5));
    let told = |metric: &str| of_lane(&near.points(), metric, "far", "metrics");
    let (requests, sizes) = (told("kevmon.spool.requests"), told("kevmon.spool.size"));
    let most = *requests.last().unwrap();
    // Five seconds of three a second, as of one second ago at worst.
    assert!(
        (9.0..=18.0).contains(&most) && requests.is_sorted(),
        "{requests:?}"
    );
    assert!(
        sizes.is_sorted() && *sizes.last().unwrap() > 100.0 * most,
        "{sizes:?}"
    );
    let failures = *told("kevmon.export.failures").last().unwrap();
    assert!(failures >= 2.0, "{failures}");
    let line = daemon.ticks().last().unwrap().clone();
    let of_far = lane(&line, "far", "metrics");
    assert_eq!(of_far["away"], true, "{of_far}");
    assert!(of_far["waiting_requests"].as_f64().unwrap() >= most, "{of_far}");
    let delivered = *told("kevmon.export.delivered").last().unwrap();
    far.restart();
    wait::until("the spool to be told as empty", LIMIT, || {
        daemon.next_tick(LIMIT);
        let empty = |metric| told(metric).last() == Some(&0.0);
        (empty("kevmon.spool.requests") && empty("kevmon.spool.size")).then_some(())
    });
    // Counts are told once a second, levels when they change.
    wait::until("what was delivered to be told", LIMIT, || {
        daemon.next_tick(LIMIT);
        (*told("kevmon.export.delivered").last().unwrap() > delivered).then_some(())
    });
    // That one was never away.
    let points = near.points();
    for metric in ["kevmon.spool.requests", "kevmon.export.failures"] {
        let of_near = of_lane(&points, metric, "default", "metrics");
        assert!(of_near.iter().all(|value| *value == 0.0), "{metric}: {of_near:?}");
    }
    daemon.terminate();
    let own_there: Vec<&str> = OWN
        .iter()
        .map(|(metric, ..)| *metric)
        .chain(TROUBLES)
        .filter(|metric| !own(&far.points(), metric).is_empty())
        .collect();
    times::assert_never_back(&near);
    times::assert_never_back(&far);
    assert!(
        own_there.is_empty() && !has_traces(&far.arrivals()),
        "telemetry goes to the default alone: {own_there:?}"
    );
}

#[test]
fn switched_off_there_is_none() {
    let watched = Watched::new(WORKLOAD, "off", 1, "300ms", "");
    let fake = Fake::start();
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[telemetry]\nenabled = false\ninterval = \"1s\"\n",
        fake.url()
    ));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .count();
    // Five of its own, and one that looks a name up.
    assert!((5..=6).contains(&threads), "{threads} threads");
    daemon.terminate();
    let arrivals = fake.arrivals();
    assert!(!has_traces(&arrivals));
    let points = fake.points();
    for metric in OWN.iter().map(|(metric, ..)| *metric).chain(TROUBLES) {
        assert!(own(&points, metric).is_empty(), "{metric}");
    }
    // What goes with each interval goes all the same.
    assert!(!own(&points, "kevmon.complete").is_empty());
}

#[test]
fn a_receiver_that_takes_no_traces_is_named_once() {
    for protocol in ["grpc", "http/protobuf"] {
        let watched = Watched::new(WORKLOAD, "mute", 1, "300ms", "");
        let fake = Fake::start_without(&[Signal::Traces]);
        let settings = settings(&watched, &fake.url());
        let args = ["--config", &settings, "--protocol", protocol];
        let mut daemon = watched.start(&args);
        watched::run_for(&mut daemon, Duration::from_secs(5));
        let said = daemon.stderr();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("traces")).collect();
        assert_eq!(lines.len(), 1, "{protocol}:\n{said}");
        let of = |signal| fake.arrivals().iter().filter(|one| one.signal == signal).count();
        assert_eq!(of(Signal::Traces), 1, "{protocol}: it knows no traces");
        let line = daemon.ticks().last().unwrap().clone();
        let traces = lane(&line, "default", "traces");
        assert_eq!(traces["closed"], true, "{traces}");
        assert_eq!(traces["waiting_requests"], 0, "{traces}");
        assert_eq!(lane(&line, "default", "metrics")["failures"], 0, "{}", line.0);
        let last = fake.points().iter().map(|point| point.time).max().unwrap();
        assert!(last + 1_000_000_000 > line.time(), "{protocol}: metrics go on");
        assert!(own(&fake.points(), "kevmon.collection.duration").len() >= 4);
        daemon.terminate();
    }
}

#[test]
fn the_sdks_own_variables_do_not_break_it() {
    for protocol in ["grpc", "http/protobuf"] {
        let other = Fake::start();
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        let traces = format!("{}{path}", other.url());
        let table: [&[(&str, &str)]; 5] = [
            &[("OTEL_EXPORTER_OTLP_HEADERS", "x-kvt=one%20two")],
            &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")],
            &[("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")],
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces)],
            &[
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
            ],
        ];
        for variables in table {
            let watched = Watched::new(WORKLOAD, "sdk", 1, "300ms", "");
            let fake = Fake::start();
            let settings = watched.write_settings("[telemetry]\ninterval = \"1s\"\n");
            let url = fake.url();
            let basic = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ];
            let environment = [&basic[..], variables].concat();
            let mut daemon = watched.start_with(&["--config", &settings], &environment);
            watched::run_for(&mut daemon, Duration::from_millis(2_500));
            let said = daemon.stderr();
            daemon.terminate();
            let (name, value) = variables[0];
            let elsewhere = name.ends_with("TRACES_ENDPOINT");
            let spans = if elsewhere { other.spans() } else { fake.spans() };
            assert!(
                spans.iter().any(|span| span.name == "collect"),
                "{variables:?}:\n{said}"
            );
            let own = own(&fake.points(), "kevmon.collection.duration");
            assert!(own.len() >= 2, "{variables:?}: {} points:\n{said}", own.len());
            assert!(!elsewhere || !has_traces(&fake.arrivals()), "they go elsewhere");
            let of_traces: Vec<Arrival> = fake
                .arrivals()
                .into_iter()
                .chain(other.arrivals())
                .filter(|one| one.signal == Signal::Traces)
                .collect();
            for arrival in fake.arrivals().iter().chain(&of_traces) {
                if name.ends_with("HEADERS") {
                    assert_eq!(arrival.headers["x-kvt"], "one two", "{:?}", arrival.signal);
                }
                let all = name == "OTEL_EXPORTER_OTLP_COMPRESSION";
                if value == "gzip" {
                    assert_eq!(
                        arrival.gzip,
                        all || arrival.signal == Signal::Traces,
                        "{:?}",
                        arrival.signal
                    );
                }
            }
            // What is said of a plugin file is not about this.
            let warned: Vec<&str> = checks::complaints(&said)
                .filter(|line| !line.contains("plugin.toml"))
                .collect();
            assert!(warned.is_empty(), "{variables:?}: {warned:?}");
        }
    }
}
