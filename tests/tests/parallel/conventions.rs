//! Names that OpenTelemetry's semantic conventions reserve: whatever kevmon sends under them is in the registry (version
//! 1.44, tests/fixtures/conventions.json, made by `cargo xtask conventions`), with the same unit, instrument, type and
//! values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use kevmon_tests::{
    fake::{Arrival, Fake, Message, Signal},
    kevmon::Daemon,
    logs,
    plugin_dir::PluginDir,
    points::{Instrument, Point, flatten},
    push::{LIMIT, plugin_file},
    scratch::Scratch,
    truth,
    workload::Program,
};
use opentelemetry_proto::tonic::{common::v1::KeyValue, metrics::v1::metric::Data};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

static CONVENTIONS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../fixtures/conventions.json")).expect("the extract is JSON")
});

/// Names that begin so are the conventions' to define. `kevmon.` is ours, and the rest are names of the original
/// framework's, which have no dot or begin with `per_process.`.
const RESERVED: [&str; 13] = [
    "container.",
    "cpu.",
    "disk.",
    "error.",
    "host.",
    "k8s.",
    "network.",
    "os.",
    "otel.",
    "process.",
    "service.",
    "system.",
    "telemetry.",
];

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|namespace| name.starts_with(namespace))
}

/// What a point, span, record or resource says of itself.
type Attributes = BTreeMap<String, Value>;

/// All attributes of a request, by place.
fn attributes_of(arrival: &Arrival) -> Vec<Attributes> {
    let mut found: Vec<Attributes> = Vec::new();
    let mut add = |pairs: &[KeyValue]| found.push(logs::typed(pairs).into_iter().collect());
    match &arrival.message {
        Message::Metrics(request) => {
            for of_resource in &request.resource_metrics {
                add(&of_resource.resource.as_ref().expect("a resource").attributes);
                let metrics = of_resource
                    .scope_metrics
                    .iter()
                    .flat_map(|of_scope| &of_scope.metrics);
                for metric in metrics {
                    match metric.data.as_ref().expect("data") {
                        Data::Gauge(gauge) => gauge.data_points.iter().for_each(|of| add(&of.attributes)),
                        Data::Sum(sum) => sum.data_points.iter().for_each(|of| add(&of.attributes)),
                        Data::Histogram(histogram) => {
                            histogram.data_points.iter().for_each(|of| add(&of.attributes));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        Message::Logs(request) => {
            for of_resource in &request.resource_logs {
                add(&of_resource.resource.as_ref().expect("a resource").attributes);
                let records = of_resource
                    .scope_logs
                    .iter()
                    .flat_map(|of_scope| &of_scope.log_records);
                records.for_each(|record| add(&record.attributes));
            }
        }
        Message::Traces(request) => {
            for of_resource in &request.resource_spans {
                add(&of_resource.resource.as_ref().expect("a resource").attributes);
                let spans = of_resource
                    .scope_spans
                    .iter()
                    .flat_map(|of_scope| &of_scope.spans);
                spans.for_each(|span| add(&span.attributes));
            }
        }
    }
    found
}

fn points_of(arrivals: &[Arrival]) -> Vec<Point> {
    let requests = arrivals.iter().filter_map(|arrival| match &arrival.message {
        Message::Metrics(request) => Some(request),
        _ => None,
    });
    requests.flat_map(flatten).collect()
}

/// What is wrong with an attribute, by the registry.
fn fault(key: &str, value: &Value) -> Option<String> {
    let Some(defined) = CONVENTIONS["attributes"].get(key) else {
        return Some(format!("{key} is no attribute of the conventions"));
    };
    let kind = defined["type"].as_str().expect("a type");
    let fits = match kind {
        "string" => value.is_string(),
        "int" => value.is_i64() || value.is_u64(),
        "double" => value.is_number(),
        "boolean" => value.is_boolean(),
        "string[]" => value.is_array(),
        other => panic!("{key} has a type that this test does not know: {other}"),
    };
    if !fits {
        return Some(format!("{key} is a {kind}, not {value}"));
    }
    let values = defined["values"].as_array()?;
    (!values.contains(value)).then(|| format!("{key} has no value {value}"))
}

fn instrument(of: Instrument) -> &'static str {
    match of {
        Instrument::Gauge => "gauge",
        Instrument::Sum { monotonic: true, .. } => "counter",
        Instrument::Sum { monotonic: false, .. } => "updowncounter",
        Instrument::Histogram { .. } | Instrument::ExponentialHistogram { .. } => "histogram",
        Instrument::Other => "other",
    }
}

/// Everything that kevmon can send, from one run: both namings, single processes, lifecycle events, its own telemetry.
fn everything() -> Vec<Arrival> {
    let program = Program::new(WORKLOAD, "convention");
    let folder = PluginDir::new();
    let file = plugin_file("convention", &program.pattern(), "naming = \"both\"");
    folder.write(
        "convention",
        &format!("{file}[processes]\nenabled = true\narguments = [\"--code\"]\n[events]\nenabled = true\n"),
    );
    let fake = Fake::start();
    let scratch = Scratch::new();
    let settings = scratch.path().join("kevmon.toml");
    let text = format!(
        "schema = 1\n[export]\nendpoint = \"{}\"\n[telemetry]\ninterval = \"1s\"\n",
        fake.url()
    );
    fs::write(&settings, text).expect("a file in the scratch directory");
    let settings = settings.to_str().expect("a path in UTF-8");
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path(), "--config", settings]);
    daemon.next_tick(LIMIT);
    let _works = program.start(&["work"]);
    truth::spawn(&program, &["exit", "3"]).reap();
    for signal in [Signal::Metrics, Signal::Logs, Signal::Traces] {
        fake.wait_for("a request of each signal", LIMIT, |arrivals| {
            arrivals.iter().any(|one| one.signal == signal).then_some(())
        });
    }
    fake.wait_for("kevmon's own telemetry and a single process", LIMIT, |arrivals| {
        let points = points_of(arrivals);
        let own = points
            .iter()
            .any(|point| point.metric == "kevmon.collection.duration");
        let single = points
            .iter()
            .any(|point| point.attributes.contains_key("process.pid"));
        let exit = points.iter().any(|point| {
            point
                .attributes
                .get("process.exit.code")
                .is_some_and(|code| code == "3")
        });
        (own && single && exit).then_some(())
    });
    daemon.terminate();
    fake.arrivals()
}

#[test]
fn names_of_the_conventions_mean_what_they_mean_there() {
    let arrivals = everything();
    let mut faults = BTreeSet::new();
    let mut checked = BTreeSet::new();
    for attributes in arrivals.iter().flat_map(attributes_of) {
        for (key, value) in attributes.iter().filter(|(key, _)| is_reserved(key)) {
            checked.insert(key.clone());
            faults.extend(fault(key, value));
        }
    }
    for point in points_of(&arrivals) {
        let Point { metric, unit, .. } = &point;
        if is_reserved(metric) {
            checked.insert(metric.clone());
            let Some(defined) = CONVENTIONS["metrics"].get(metric) else {
                faults.insert(format!("{metric} is no metric of the conventions"));
                continue;
            };
            if defined["unit"] != unit.as_str() || defined["instrument"] != instrument(point.instrument) {
                faults.insert(format!(
                    "{metric} is a {} in {}, not a {} in {unit}",
                    defined["instrument"],
                    defined["unit"],
                    instrument(point.instrument)
                ));
            }
            let wanted = defined["attributes"].as_object().expect("attributes");
            for (key, level) in wanted {
                if level == "required" && !point.attributes.contains_key(key) {
                    faults.insert(format!("{metric} has no {key}"));
                }
            }
        }
        // The group's metrics: the stem of a process's metric has its unit, instrument and attributes.
        if let Some(stem) = metric.strip_prefix("kevmon.group.")
            && let Some(defined) = CONVENTIONS["metrics"].get(format!("process.{stem}"))
        {
            checked.insert(metric.clone());
            if defined["unit"] != unit.as_str() || defined["instrument"] != instrument(point.instrument) {
                faults.insert(format!("{metric} differs from process.{stem}"));
            }
            let keys = defined["attributes"].as_object().expect("attributes");
            if !point.attributes.keys().eq(keys.keys()) {
                faults.insert(format!("{metric} has other attributes than process.{stem}"));
            }
        }
    }
    assert_eq!(faults, BTreeSet::new());
    for name in [
        "cpu.mode",
        "disk.io.direction",
        "host.name",
        "kevmon.group.cpu.time",
        "kevmon.group.paging.faults",
        "process.cpu.time",
        "process.exit.code",
        "process.pid",
        "service.name",
    ] {
        assert!(checked.contains(name), "{name} was not sent: {checked:?}");
    }
}

/// The schema URL that goes with the names is that of the version they were compared with.
#[test]
fn the_schema_url_is_that_of_the_conventions_compared() {
    let arrivals = everything();
    let mut urls = BTreeSet::new();
    for arrival in &arrivals {
        if let Message::Metrics(request) = &arrival.message {
            for of_resource in &request.resource_metrics {
                urls.insert(of_resource.schema_url.clone());
                urls.extend(
                    of_resource
                        .scope_metrics
                        .iter()
                        .map(|of_scope| of_scope.schema_url.clone()),
                );
            }
        }
    }
    urls.remove("");
    let expected = CONVENTIONS["schema_url"].as_str().expect("a URL");
    assert_eq!(urls, BTreeSet::from([expected.to_owned()]));
}
