//! Outputs beside the receivers: OTLP/JSON lines, the Prometheus page and the ports that there are, and where
//! secrets are not.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use kevmon_tests::{
    fake::{Fake, Signal},
    http::Client,
    kevmon::{self, Daemon},
    logs,
    points::{self, Point},
    port, process, wait,
    watched::{self, Watched},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
/// Stands nowhere but where the test puts it.
const SECRET: &str = "kvt-s3cr3t-d0-n0t-sh0w";

/// The points of plugins, by time.
fn of_plugins(points: Vec<Point>) -> BTreeMap<u64, Vec<Point>> {
    let mut by_time: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
    for point in points {
        if point.resource.contains_key("kevmon.service.id") {
            by_time.entry(point.time).or_default().push(point);
        }
    }
    by_time
}

#[test]
fn json_lines_are_what_the_receiver_got() {
    let watched = Watched::new(WORKLOAD, "lines", 2, "300ms", "[events]\nenabled = true\n");
    let fake = Fake::start();
    let file = watched.settings().path().join("otlp.jsonl");
    let url = fake.url();
    let mut daemon = watched.start(&["--endpoint", &url, "--otlp-json", file.to_str().unwrap()]);
    let child = watched.program().start(&["idle"]);
    assert_eq!(child.finish().status, 0);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let told = daemon.ticks().to_vec();
    wait::until("the start at the receiver", LIMIT, || {
        fake.logs()
            .iter()
            .any(|log| log.event_name == "kevmon.process.start")
            .then_some(())
    });
    daemon.terminate();

    let (mut points, mut records) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(&file).unwrap().lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        // One request a line, as the collector's file exporter writes it.
        match keys[..] {
            [key] if key == "resourceMetrics" => {
                let request: ExportMetricsServiceRequest = serde_json::from_str(line).unwrap();
                points.extend(points::flatten(&request));
            }
            [key] if key == "resourceLogs" => {
                let request: ExportLogsServiceRequest = serde_json::from_str(line).unwrap();
                records.extend(logs::flatten(&request));
            }
            [key] if key == "resourceSpans" => {}
            _ => panic!("not a request: {line}"),
        }
        // 64-bit integers are strings in OTLP/JSON, and ids hexadecimal.
        assert!(!line.contains("\"timeUnixNano\":1"), "{line}");
    }
    let (written, received) = (of_plugins(points), of_plugins(fake.points()));
    for tick in &told {
        let mine = |points: &BTreeMap<u64, Vec<Point>>| points.get(&tick.time()).cloned().unwrap_or_default();
        let (mut written, mut received) = (mine(&written), mine(&received));
        assert!(!written.is_empty(), "no line of {}", tick.time());
        let key = |point: &Point| format!("{:?}", (&point.resource, &point.metric, &point.attributes));
        written.sort_by_key(key);
        received.sort_by_key(key);
        assert_eq!(written, received, "at {}", tick.time());
    }
    let starts = |all: &[logs::Log]| {
        let mut times: Vec<u64> = all
            .iter()
            .filter(|log| log.event_name == "kevmon.process.start")
            .map(|log| log.time)
            .collect();
        times.sort_unstable();
        times
    };
    assert_eq!(starts(&records), starts(&fake.logs()));
}

#[test]
fn json_lines_need_no_receiver_and_are_appended() {
    let watched = Watched::new(WORKLOAD, "append", 1, "300ms", "");
    let file = watched.settings().path().join("otlp.jsonl");
    let settings = watched.write_settings(&format!("[otlp_json]\npath = \"{}\"\n", file.display()));
    let mut lines = 0;
    for _ in 0..2 {
        let mut daemon = watched.start(&["--config", &settings, "--agent-port", "9"]);
        watched::run_for(&mut daemon, Duration::from_secs(1));
        daemon.terminate();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > lines, "{text}");
        assert!(text.ends_with('\n'));
        lines = text.lines().count();
    }
}

#[test]
fn no_port_is_open_by_default() {
    let watched = Watched::new(WORKLOAD, "ports", 1, "300ms", "");
    let fake = Fake::start();
    let url = fake.url();
    let mut daemon = watched.start(&["--endpoint", &url]);
    for _ in 0..3 {
        daemon.next_tick(LIMIT);
        assert_eq!(process::listening(daemon.pid()), []);
    }
    daemon.terminate();
}

#[test]
fn the_prometheus_page_is_on_loopback_and_shows_the_last_tick() {
    let watched = Watched::new(WORKLOAD, "page", 1, "1h", "");
    let fake = Fake::start();
    let url = fake.url();
    let daemon = watched.start(&["--endpoint", &url, "--prometheus"]);
    let addresses = process::listening(daemon.pid());
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert!(addresses[0].ip().is_loopback(), "{addresses:?}");
    daemon.terminate();

    let address = SocketAddr::from(([127, 0, 0, 1], port::free()));
    let settings = watched.write_settings(&format!("[prometheus]\nenabled = true\nlisten = \"{address}\"\n"));
    let daemon = watched.start(&["--endpoint", &url, "--config", &settings]);
    assert_eq!(process::listening(daemon.pid()), [address]);
    assert_page(&daemon, address.port());
    daemon.terminate();
}

/// Compares the page with the one tick of the daemon.
fn assert_page(daemon: &Daemon, port: u16) {
    let client = Client::plain(port);
    let answer = client.get("/metrics").unwrap();
    let (head, page) = (
        answer.head.to_lowercase(),
        String::from_utf8(answer.body).unwrap(),
    );
    assert_eq!(answer.status, 200, "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert_eq!(client.get("/nowhere").unwrap().status, 404);
    let tick = daemon.ticks().last().unwrap();
    let group = tick.expect_group("page0");
    for (metric, kind) in [
        ("process_count", "gauge"),
        ("joins", "counter"),
        ("disk_write_bytes", "counter"),
    ] {
        let family = page
            .lines()
            .find_map(|line| {
                let (name, told) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
                (name.starts_with(metric) && told == kind).then(|| name.to_owned())
            })
            .unwrap_or_else(|| panic!("no {kind} {metric}:\n{page}"));
        let values: Vec<f64> = page
            .lines()
            .filter(|line| {
                line.strip_prefix(&family)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(
            values.contains(&group.float(metric)),
            "{metric} is {}, not {values:?}",
            group.float(metric)
        );
    }
}

#[test]
fn secrets_stand_nowhere() {
    let watched = Watched::new(WORKLOAD, "secret", 1, "300ms", "[events]\nenabled = true\n");
    let mut fake = Fake::start_without(&[Signal::Logs]);
    let token = watched.settings().path().join("token");
    fs::write(&token, format!("{SECRET}-file\n")).unwrap();
    let credentials = watched.settings().path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("kvt"), format!("{SECRET}-credential\n")).unwrap();
    let output = watched.settings().path().join("otlp.jsonl");
    let url = fake.url();
    let from_file = format!("x-file=file:{}", token.display());
    let args = [
        "--header",
        &from_file,
        "--header",
        "x-env=env:KVT_TOKEN",
        "--header",
        "x-credential=credential:kvt",
        "--otlp-json",
        output.to_str().unwrap(),
        "--log-level",
        "trace",
    ];
    let (variable, endpoint) = (
        format!("{SECRET}-env"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
    );
    let environment = [
        ("KVT_TOKEN", variable.as_str()),
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        endpoint,
    ];
    let mut daemon = watched.start_with(&args, &environment);
    let headers = fake.wait_for("metrics", LIMIT, |arrivals| {
        let metrics = arrivals.iter().find(|arrival| arrival.signal == Signal::Metrics);
        metrics.map(|arrival| arrival.headers.clone())
    });
    for (name, kind) in [
        ("x-file", "file"),
        ("x-env", "env"),
        ("x-credential", "credential"),
    ] {
        assert_eq!(
            headers.get(name),
            Some(&format!("{SECRET}-{kind}")),
            "the receiver gets {name}"
        );
    }
    // Everything that it may say: refusals, and a receiver that is gone, with something in the spool.
    for behaviour in [
        kevmon_tests::fake::Behaviour::Unauthenticated,
        kevmon_tests::fake::Behaviour::Unavailable,
        kevmon_tests::fake::Behaviour::Noise,
    ] {
        fake.always(behaviour);
        watched::run_for(&mut daemon, Duration::from_millis(1200));
    }
    fake.stop();
    watched::run_for(&mut daemon, Duration::from_millis(1500));
    assert_without_secret(&process::command_line(daemon.pid()), "the command line");
    let lines: String = daemon.ticks().iter().map(|tick| tick.0.to_string()).collect();
    assert_without_secret(lines.as_bytes(), "the output");
    let said = daemon.stderr();
    assert!(said.lines().count() > 3, "{said}");
    assert_without_secret(said.as_bytes(), "the log");
    assert_files_without_secret(watched.settings().path(), &[&token, &credentials]);
    let history = kevmon_tests::history::rows(watched.database(), None);
    assert_without_secret(format!("{history:?}").as_bytes(), "the history");
    drop(daemon);
}

#[test]
fn user_information_in_a_url_is_refused_and_not_repeated() {
    let watched = Watched::new(WORKLOAD, "userinfo", 1, "300ms", "");
    let url = format!("http://user:{SECRET}@127.0.0.1:4317");
    let mut command = kevmon::command(&watched.plugin_args());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let refused = kevmon::finish(command);
    refused.assert_code(2);
    assert!(
        refused.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && refused.stderr.contains("header"),
        "{}",
        refused.stderr
    );
    assert_without_secret(refused.stderr.as_bytes(), "the refusal");
    assert_without_secret(refused.stdout.as_bytes(), "the output");
}

fn assert_without_secret(bytes: &[u8], what: &str) {
    let secret = SECRET.as_bytes();
    let found = bytes.windows(secret.len()).position(|window| window == secret);
    if let Some(at) = found {
        let around = &bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())];
        panic!("the secret stands in {what}: {}", String::from_utf8_lossy(around));
    }
}

/// The store, its journal, the spool and whatever else lies there.
fn assert_files_without_secret(folder: &Path, but: &[&Path]) {
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !but.contains(&path.as_path()) {
            assert_without_secret(&fs::read(&path).unwrap(), &path.display().to_string());
            seen += 1;
        }
    }
    assert!(seen >= 3, "the store, the spool and the JSON lines: {seen} files");
}

#[test]
fn a_secret_that_is_given_openly_is_refused() {
    let output = kevmon_tests::kevmon::run_once(&["--process-name", "x", "--header", "x-token=abc"]);
    output.assert_code(2);
    assert!(
        ["file:", "env:", "credential:"]
            .iter()
            .all(|way| output.stderr.contains(way)),
        "what to write instead: {}",
        output.stderr
    );
}
