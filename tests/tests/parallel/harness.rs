//! The harness itself, without kevmon: the workloads do what the other tests rely on, wait4 tells it,
//! and both receivers understand a request that is known to be right.

use std::{fs, process::Command, time::Duration};

use kevmon_tests::{
    kevmon::{self, Daemon},
    receiver::{CUMULATIVE, Instrument, Number, Receiver},
    rotel::Rotel,
    truth,
    workload::{self, Program},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point},
    resource::v1::Resource,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const SOON: Duration = Duration::from_secs(10);

#[test]
fn burnt_cpu_written_bytes_and_sleeps_are_what_wait4_tells() {
    let program = Program::new(WORKLOAD, "self");
    let file = program.directory().join("out");
    let file = file.to_str().unwrap();
    let work = [
        "--cpu-ms",
        "20",
        "--write-bytes",
        "65536",
        "--fsync",
        "--read-back",
        "--sleeps",
        "10",
    ];
    let ended = truth::spawn(&program, &[&["burn", "--file", file], &work[..]].concat()).reap();
    assert_eq!(ended.status, 0);
    let truth = ended.truth;
    // Upper bounds are generous: the rest is the process's own start and the file system's metadata.
    assert!((20_000_000..30_000_000).contains(&truth.cpu_ns), "{truth:?}");
    assert!(
        (65_536..65_536 + 128 * 1024).contains(&truth.write_bytes),
        "{truth:?}"
    );
    assert!(truth.read_bytes >= 65_536, "{truth:?}");
    assert!(truth.voluntary >= 10, "{truth:?}");
}

#[test]
fn ends_are_as_asked() {
    let program = Program::new(WORKLOAD, "self");
    let status = |args: &[&str]| truth::spawn(&program, args).reap().status;
    assert_eq!(status(&["exit", "7"]), 0x700);
    assert_eq!(status(&["signal", "6"]), 6);
    assert_eq!(status(&["signal", "9", "--life-ms", "1"]), 9);
}

#[test]
fn modes_that_last_live_until_their_input_is_closed() {
    let program = Program::new(WORKLOAD, "self");
    for args in [
        &["idle"][..],
        &["mem", "1048576"],
        &["fds", "10"],
        &["rename"],
        &["exec-chain", "3"],
        &["forks", "2"],
        &["vfork-hold", "1048576"],
        &["zombie"],
        &["herd", "3"],
        &["threads", "8"],
        &["threads", "8", "--leader-exits-first"],
    ] {
        let running = program.start(args);
        assert!(workload::pids_of(program.path()).len() <= 4, "{args:?}");
        assert_eq!(running.finish().status, 0, "{args:?}");
        assert_eq!(workload::pids_of(program.path()), [0; 0], "{args:?}");
    }
}

#[test]
fn identities_change_as_asked() {
    let program = Program::new(WORKLOAD, "self");
    let comm = |pid: u32| fs::read(format!("/proc/{pid}/comm")).unwrap();
    let mut renamed = program.start(&["rename"]);
    renamed.rename(b"kvt\xff\xfe");
    assert_eq!(comm(renamed.pid()), b"kvt\xff\xfe\n");

    let other = Program::new(WORKLOAD, "other");
    let mut executed = program.start(&["exec", other.path_text(), "idle"]);
    assert_eq!(executed.ask(""), "ready");
    assert_eq!(
        workload::pids_of(other.path()),
        [i32::try_from(executed.pid()).unwrap()]
    );

    let mut daemon = program.start(&["double-fork"]);
    assert_eq!(daemon.reap().status, 0);
    assert_eq!(
        workload::pids_of(program.path()).len(),
        2,
        "the renamed one and the daemon"
    );
}

#[test]
fn a_program_that_goes_out_of_scope_leaves_no_process() {
    let program = Program::new(WORKLOAD, "self");
    let path = program.path().to_owned();
    let mut running = program.start(&["forks", "3"]);
    assert_eq!(workload::pids_of(&path).len(), 4);
    drop(program);
    assert_eq!(running.reap().status, libc::SIGKILL);
    kevmon_tests::wait::until("the workers to be gone", SOON, || {
        workload::pids_of(&path).is_empty().then_some(())
    });
}

#[test]
fn a_storm_reports_its_children() {
    let (storm, leaf) = (Program::new(WORKLOAD, "storm"), Program::new(WORKLOAD, "leaf"));
    let mut running = storm.start(&["storm", "50", "2", leaf.path_text(), "exit", "0"]);
    let answer = running.ask("go");
    let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 6, "{answer}");
    assert_eq!(numbers[0], 50);
    assert!(numbers[1] > 50 * 100_000, "50 starts in {} ns of CPU", numbers[1]);
}

#[test]
fn the_receiver_shows_what_was_sent() {
    let receiver = Receiver::start();
    send(&receiver.port());
    let points = receiver.wait_for("a point", SOON, |points| {
        (!points.is_empty()).then(|| points.to_vec())
    });
    let [point] = &points[..] else {
        panic!("{points:?}")
    };
    assert_eq!(point.metric, "kvt.sent");
    assert_eq!(point.unit, "{thing}");
    assert_eq!(
        point.instrument,
        Instrument::Sum {
            monotonic: true,
            temporality: CUMULATIVE
        }
    );
    assert_eq!(
        (point.start_time, point.time),
        (1_700_000_000_000_000_001, 1_700_000_060_000_000_002)
    );
    assert_eq!(point.value, Number::Int(i64::MAX));
    assert_eq!(point.resource["service.name"], "Kvt Service");
    assert_eq!(point.attributes["mode"], "one");
}

#[test]
fn rotel_prints_what_was_sent() {
    let rotel = Rotel::start();
    send(&rotel.port());
    let block = rotel.wait_for_metric("Kvt Service", "kvt.sent", SOON);
    for line in [
        "-> Unit: {thing}",
        "-> DataType: Sum",
        "-> IsMonotonic: true",
        "-> AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE",
        "-> mode: Str(one)",
        "StartTimestamp: 1700000000000000001",
        "Timestamp: 1700000060000000002",
        "Value: 9223372036854775807",
    ] {
        assert!(
            block.lines().any(|printed| printed.trim() == line),
            "no {line:?} in {block}"
        );
    }
}

/// Pushes one request with one point.
fn send(port: &str) {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    };
    let point = NumberDataPoint {
        attributes: vec![text("mode", "one")],
        start_time_unix_nano: 1_700_000_000_000_000_001,
        time_unix_nano: 1_700_000_060_000_000_002,
        value: Some(number_data_point::Value::AsInt(i64::MAX)),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: vec![point],
        aggregation_temporality: CUMULATIVE,
        is_monotonic: true,
    };
    let metric = Metric {
        name: "kvt.sent".to_owned(),
        unit: "{thing}".to_owned(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![text("service.name", "Kvt Service")],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = MetricsServiceClient::connect(endpoint).await.unwrap();
        client.export(request).await.unwrap();
    });
}

/// The same test in a process of its own, where it fails on purpose: kevmon had ended before, and its log is shown all the same.
#[test]
fn a_failure_shows_the_log_of_a_kevmon_that_has_ended() {
    const FAILS: &str = "KVT_FAILS_ON_PURPOSE";
    const NAME: &str = "harness::a_failure_shows_the_log_of_a_kevmon_that_has_ended";
    if std::env::var_os(FAILS).is_some() {
        Daemon::start(&["--source", "proc", "--process-name", "^kvt-none$"]).terminate();
        kevmon::run_once(&["--process-name", "kvt-("]);
        panic!("on purpose");
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(FAILS, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    for part in ["on purpose", "source proc: asked for", "kvt-("] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}
