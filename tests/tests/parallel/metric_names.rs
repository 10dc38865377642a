//! One name by every route: what docs/prometheus.md says that a metric is called, its page calls it, and so does a
//! database that translates OTLP itself (VictoriaMetrics with Prometheus's names).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use kevmon_tests::{
    fake::Fake,
    http::Client,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::Instrument,
    port,
    push::{LIMIT, plugin_file},
    scratch::Scratch,
    victoria_metrics::VictoriaMetrics,
    wait,
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// The table of docs/prometheus.md: by OTLP's name, the unit and Prometheus's name.
fn documented() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let page = include_str!("../../../docs/prometheus.md");
    let cells = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        (cells.len() == 6).then(|| (cells[1], (cells[2], cells[3])))
    });
    cells.collect()
}

/// The names of a page's samples.
fn names_on(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| Some(line.split_once(['{', ' '])?.0.to_owned()))
        .collect()
}

#[test]
fn every_route_has_the_documented_name() {
    let program = Program::new(WORKLOAD, "route");
    let folder = PluginDir::new();
    let file = plugin_file("route", &program.pattern(), "naming = \"both\"");
    let further = "[processes]\nenabled = true\n[export]\nendpoints = [\"default\", \"plain\"]\n";
    folder.write("route", &format!("{file}{further}"));
    let (fake, database) = (Fake::start(), VictoriaMetrics::start_with_prometheus_names());
    let address = SocketAddr::from(([127, 0, 0, 1], port::free()));
    let scratch = Scratch::new();
    let settings = scratch.path().join("kevmon.toml");
    let text = format!(
        "schema = 1\n[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\nsignals = [\"metrics\"]\n\
         [endpoints.plain]\nendpoint = \"{}\"\n[prometheus]\nenabled = true\nlisten = \"{address}\"\n",
        database.url(),
        fake.url()
    );
    std::fs::write(&settings, text).unwrap();
    let mut running = program.start(&["work"]);
    running.ask("user 50");
    let settings = settings.to_str().unwrap();
    let daemon = Daemon::start(&["--plugins-dir", folder.path(), "--config", settings]);
    // A second life, so that there is a restart, a downtime and a lifetime to tell.
    running.finish();
    let mut running = program.start(&["work"]);
    running.ask("user 50");

    let documented = documented();
    let expected = wait::until("each kind of metric", LIMIT, || {
        let mut expected = BTreeSet::new();
        let mut metrics = BTreeSet::new();
        for point in fake.points() {
            metrics.insert(point.metric.clone());
            let Some((unit, name)) = documented.get(point.metric.as_str()) else {
                // kevmon's own telemetry is not on the page.
                assert_eq!(point.resource["service.name"], "kevmon", "{point:?}");
                continue;
            };
            assert_eq!(*unit, point.unit, "{}", point.metric);
            match point.instrument {
                Instrument::Histogram { .. } => {
                    expected.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
                }
                _ => {
                    expected.insert((*name).to_owned());
                }
            }
        }
        let all = [
            "downtime",
            "kevmon.group.downtime",
            "kevmon.complete",
            "kevmon.complete_totals",
            "last_exit_time",
        ];
        let single = metrics
            .iter()
            .any(|metric| metric.ends_with("cpu_usage") && metric != "cpu_usage");
        (single && all.iter().all(|metric| metrics.contains(*metric))).then_some(expected)
    });
    let missing = |names: BTreeSet<String>| -> Vec<String> { expected.difference(&names).cloned().collect() };
    let client = Client::plain(address.port());
    let on_page = || {
        let answer = client.get("/metrics").expect("a page");
        missing(names_on(&String::from_utf8_lossy(&answer.body)))
    };
    wait::until("every name on the page", LIMIT, || {
        on_page().is_empty().then_some(())
    });
    let kept = || missing(database.names());
    let deadline = std::time::Instant::now() + LIMIT;
    while !kept().is_empty() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(
        kept(),
        [""; 0],
        "VictoriaMetrics calls these otherwise: {:?}",
        database.names()
    );
    daemon.terminate();
    running.finish();
}
