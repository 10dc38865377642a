//! A Prometheus that receives OTLP, with defaults for all else: it has no out-of-order window, so that one request with an older
//! time than the one before is refused as a whole. Optional: `cargo xtask test` says what brings it.

use std::{collections::BTreeSet, time::Duration};

use kevmon_tests::{
    port,
    prometheus::{Format, Prometheus},
    soak::{self, ID, Soak},
    telemetry::lane,
    tick::Tick,
    watched::{Watched, run_for},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

fn settings(url: &str) -> String {
    format!("[export]\nendpoint = \"{url}\"\nprotocol = \"http/protobuf\"\n[telemetry]\ninterval = \"1s\"\n")
}

/// A time of Prometheus's, which has milliseconds.
fn cut(time: u64) -> String {
    format!("{}.{:03}", time / 1_000_000_000, time / 1_000_000 % 1_000)
}

/// Asserts that the time of each collection, and no other, is that of a point of `process_count`.
fn assert_times(prometheus: &Prometheus, id: &str, ticks: &[Tick]) {
    let told: BTreeSet<String> = ticks.iter().map(|tick| cut(tick.time())).collect();
    let last = told.last().expect("collections");
    let info = format!("target_info{{kevmon_service_id=\"{id}\"}}");
    let arrived = prometheus.wait_for("the last collection", LIMIT, &info, |target| {
        let instance = target.first()?.label("instance");
        let points = prometheus.query(&format!("process_count_processes{{instance=\"{instance}\"}}[1h]"));
        let values = &points.first()?.values;
        let times: BTreeSet<String> = values.iter().map(|(time, _)| format!("{time:.3}")).collect();
        times.contains(last).then_some(times)
    });
    let lost: Vec<_> = told.difference(&arrived).collect();
    let more: Vec<_> = arrived.difference(&told).collect();
    assert!(
        lost.is_empty() && more.is_empty(),
        "{id}: lost {lost:?}, and not told {more:?}"
    );
}

/// Asserts that nothing was refused as out of order, or for any other reason.
fn assert_taken(prometheus: &Prometheus, last: &Tick) {
    let metrics = lane(last, "default", "metrics");
    assert_eq!(
        metrics["lost"]["refused"].as_u64().unwrap_or_default(),
        0,
        "{metrics}"
    );
    let complaints = prometheus.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Sends collections of three plugins and kevmon's own telemetry to `url`, from where they reach Prometheus.
fn assert_in_order(prometheus: &Prometheus, url: &str) {
    let watched = Watched::new(WORKLOAD, "order", 3, "500ms", "[processes]\nenabled = true\n");
    let settings = watched.write_settings(&settings(url));
    let mut daemon = watched.start(&["--config", &settings]);
    run_for(&mut daemon, Duration::from_secs(8));
    let ticks = daemon.terminate_told();
    assert_taken(prometheus, ticks.last().unwrap());
    for plugin in watched.plugins() {
        let id = Watched::service_id(plugin);
        let of_plugin: Vec<Tick> = ticks
            .iter()
            .filter(|tick| tick.group(plugin).is_some())
            .cloned()
            .collect();
        assert!(of_plugin.len() >= 15, "{} ticks", of_plugin.len());
        assert_times(prometheus, &id, &of_plugin);
    }
}

#[test]
fn no_collection_is_out_of_order() {
    let prometheus = Prometheus::receiving();
    assert_in_order(&prometheus, &prometheus.otlp_url());
}

/// The same through the OpenTelemetry Collector, which does not say what became of a request.
mod otel_collector {
    use kevmon_tests::{collector::Collector, prometheus::Prometheus};

    #[test]
    fn no_collection_is_out_of_order() {
        let prometheus = Prometheus::receiving();
        let collector = Collector::before(&prometheus.otlp_url());
        super::assert_in_order(&prometheus, &collector.url("http/protobuf"));
    }
}

#[test]
fn a_process_that_ends_ends_its_series() {
    let prometheus = Prometheus::receiving();
    let watched = Watched::new(WORKLOAD, "stale", 1, "500ms", "[processes]\nenabled = true\n");
    let settings = watched.write_settings(&settings(&prometheus.otlp_url()));
    let mut daemon = watched.start(&["--config", &settings]);
    let child = watched.program().start(&["idle"]);
    let of = format!("group by (instance) ({{process_pid=\"{}\"}})", child.pid());
    daemon.next_tick(LIMIT);
    prometheus.wait_for("the process's series", LIMIT, &of, |series| {
        (series.len() == 1).then_some(())
    });
    assert_eq!(child.finish().status, 0);
    // Without a mark, it would be there for five minutes.
    prometheus.wait_for("the series to end", LIMIT, &of, |series| {
        series.is_empty().then_some(())
    });
    daemon.terminate();
}

#[test]
#[ignore = "ten minutes: cargo xtask test --e2e -- --ignored prometheus_otlp::"]
fn ten_minutes_are_what_the_supervisor_counted() {
    let prometheus = Prometheus::receiving();
    let settings = format!(
        "[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n",
        prometheus.otlp_url()
    );
    let done = Soak::start(WORKLOAD, &settings, "").run();
    let target = prometheus.query_at(&format!("target_info{{kevmon_service_id=\"{ID}\"}}"), done.end);
    let of = format!("instance=\"{}\"", target[0].label("instance"));
    soak::assert_counts(&prometheus, &done, &of);
    assert_taken(&prometheus, done.ticks.last().unwrap());
    assert_times(&prometheus, ID, &done.ticks);
    done.daemon.terminate();
}

/// Names of the metrics of a plugin's service.
fn names(prometheus: &Prometheus, id: &str) -> BTreeSet<String> {
    let target = prometheus.wait_for(
        "the service",
        LIMIT,
        &format!("target_info{{kevmon_service_id=\"{id}\"}}"),
        |target| target.first().map(|series| series.label("instance").to_owned()),
    );
    let series = prometheus.query(&format!("{{instance=\"{target}\"}}"));
    series
        .iter()
        .map(|series| series.label("__name__").to_owned())
        .collect()
}

#[test]
fn the_page_has_the_names_of_the_translation() {
    let translating = Prometheus::receiving();
    let port = port::free();
    for naming in ["instana", "otel"] {
        let further = "[processes]\nenabled = true\n";
        let watched = Watched::new(
            WORKLOAD,
            naming,
            1,
            &format!("500ms\"\nnaming = \"{naming}"),
            further,
        );
        let page = format!("[prometheus]\nenabled = true\nlisten = \"127.0.0.1:{port}\"\n");
        let settings = watched.write_settings(&(settings(&translating.otlp_url()) + &page));
        let mut daemon = watched.start(&["--config", &settings]);
        let scraping = Prometheus::scraping(port, Format::OpenMetrics, Duration::from_secs(1));
        assert_eq!(watched.program().start(&["idle"]).finish().status, 0);
        run_for(&mut daemon, Duration::from_secs(4));
        let id = Watched::service_id(&watched.plugins()[0]);
        let (by_otlp, by_page) = (names(&translating, &id), names(&scraping, &id));
        assert!(by_otlp.len() > 20, "{by_otlp:?}");
        assert_eq!(by_otlp, by_page, "naming {naming}: by OTLP, and by the page");
        daemon.terminate();
    }
}
