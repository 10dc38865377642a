//! Ten minutes at the default interval into receivers with default settings, while a supervisor restarts a service: what the
//! receivers say is what the supervisor counted, and no point is lost. `cargo xtask test --e2e -- --ignored soak_receivers::`
//! runs them one after the other; `KEVMON_SOAK_SECONDS` makes each shorter.

use kevmon_tests::{
    port,
    prometheus::{Format, Prometheus},
    soak::{self, ID, INTERVAL, Soak, sum},
    telemetry::lane,
    victoria_metrics::VictoriaMetrics,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
#[ignore = "ten minutes: cargo xtask test --e2e -- --ignored soak_receivers::"]
fn a_prometheus_that_scrapes_has_what_the_supervisor_counted() {
    let port = port::free();
    let settings = format!(
        "[prometheus]\nenabled = true\nlisten = \"127.0.0.1:{port}\"\n[export]\nendpoint = \"http://127.0.0.1:9\"\n"
    );
    let soak = Soak::start(WORKLOAD, &settings, "");
    let prometheus = Prometheus::scraping(port, Format::OpenMetrics, INTERVAL);
    let done = soak.run();
    let selector = format!("target_info{{kevmon_service_id=\"{ID}\"}}");
    let target = prometheus.query_at(&selector, done.end);
    let of = format!("instance=\"{}\"", target[0].label("instance"));
    soak::assert_counts(&prometheus, &done, &of);
    let range = done.end - done.begin;
    let scrapes = sum(&prometheus.query_at(&format!("count_over_time(up[{range:.0}s])"), done.end));
    let points = sum(&prometheus.query_at(
        &format!("count_over_time(starts_total{{{of}}}[{range:.0}s])"),
        done.end,
    ));
    eprintln!("{scrapes} scrapes, {points} points");
    assert!(
        scrapes >= (range / INTERVAL.as_secs_f64()).floor() - 1.0,
        "{scrapes} scrapes in {range} s"
    );
    assert!(
        (scrapes - points).abs() < 0.5,
        "{points} points of {scrapes} scrapes"
    );
    assert!(
        prometheus.complaints().is_empty(),
        "{:?}",
        prometheus.complaints()
    );
    done.daemon.terminate();
}

#[test]
#[ignore = "ten minutes: cargo xtask test --e2e -- --ignored soak_receivers::"]
fn victoria_metrics_takes_everything_at_defaults() {
    let receiver = VictoriaMetrics::start();
    let settings = format!(
        "[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n",
        receiver.url()
    );
    let done = Soak::start(WORKLOAD, &settings, "[processes]\nenabled = true\nmax = 5\n").run();
    let complaints: Vec<String> = receiver.complaints();
    eprintln!("{complaints:#?}");
    let last = done.ticks.last().unwrap();
    eprintln!("{}", last.0["exports"]);
    let metrics = lane(last, "default", "metrics");
    assert_eq!(
        metrics["lost"]["refused"].as_u64().unwrap_or_default(),
        0,
        "{metrics}"
    );
    // It answers 400 to logs and traces, and warns of the path: kevmon asks for each once, and no more.
    assert!(complaints.len() <= 2, "{complaints:#?}");
    assert!(
        complaints
            .iter()
            .all(|line| line.contains("unsupported path requested")),
        "{complaints:#?}"
    );
    // No process of the service lives any more, and kevmon itself does: an ended process's series ends with it.
    let ever = receiver.labels("last_over_time({process\\.pid!=\"\"}[1h])", "process.pid");
    let own = done.daemon.pid().to_string();
    assert!(
        ever.iter().any(|pid| *pid != own),
        "no process of the service had a series"
    );
    let top = receiver.labels("topk(5, {process\\.pid!=\"\"})", "process.pid");
    let alive = |pid: &String| std::path::Path::new("/proc").join(pid).exists();
    assert!(top.iter().all(alive), "processes that have ended: {top:?}");
    let times: Vec<u64> = receiver
        .samples(ID)
        .iter()
        .filter(|sample| sample.metric == "process_count")
        .map(|sample| sample.time / 1_000_000)
        .collect();
    let measured: Vec<u64> = done.ticks.iter().map(|tick| tick.time() / 1_000_000).collect();
    assert_eq!(times, measured, "each collection once");
    done.daemon.terminate();
}
