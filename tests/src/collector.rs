//! The OpenTelemetry Collector (tests/collector) as a receiver over gRPC, by grpc-go, and over HTTP. What it takes it appends to
//! a file of OTLP/JSON lines.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

use crate::{
    kevmon,
    points::{self, Point},
    port,
    scratch::Scratch,
    wait,
};

/// Longest start: it reads its configuration and opens two ports.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running Collector; killed when dropped.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    grpc: u16,
    http: u16,
    scratch: Scratch,
}

impl Collector {
    /// Starts the program that `KEVMON_COLLECTOR` names. It writes what it takes to a file.
    pub fn start() -> Self {
        Self::launch("jsonlines:\n    path: LINES\n", "jsonlines")
    }

    /// Starts it in front of another receiver over HTTP, to which it passes metrics on.
    pub fn before(url: &str) -> Self {
        let exporters = format!(
            "jsonlines:\n    path: LINES\n  otlphttp:\n    endpoint: {url}\n    tls:\n      insecure: true\n"
        );
        Self::launch(&exporters, "jsonlines, otlphttp")
    }

    fn launch(exporters: &str, names: &str) -> Self {
        let program = kevmon::required("KEVMON_COLLECTOR", "the OpenTelemetry Collector");
        let scratch = Scratch::new();
        let (grpc, http) = (port::free(), port::free());
        let lines = scratch.path().join("lines");
        let exporters = exporters.replace("LINES", &lines.display().to_string());
        let pipeline = |signal: &str, names: &str| {
            format!("    {signal}:\n      receivers: [otlp]\n      exporters: [{names}]\n")
        };
        let config = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: 127.0.0.1:{grpc}\n      http:\n        \
             endpoint: 127.0.0.1:{http}\nexporters:\n  {exporters}service:\n  telemetry:\n    metrics:\n      level: none\n  \
             pipelines:\n{}{}{}",
            pipeline("metrics", names),
            pipeline("logs", "jsonlines"),
            pipeline("traces", "jsonlines"),
        );
        let file = scratch.path().join("collector.yaml");
        fs::write(&file, config).expect("a file in the scratch directory");
        let log = File::create(scratch.path().join("log")).expect("a file in the scratch directory");
        let child = Command::new(program)
            .arg(format!("--config={}", file.display()))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the Collector starts");
        let mut started = Self {
            child,
            grpc,
            http,
            scratch,
        };
        wait::until("the Collector to listen", START_LIMIT, || {
            let ended = started.child.try_wait().expect("our child");
            assert!(ended.is_none(), "the Collector ended: {}", started.log());
            let listens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            (listens(grpc) && listens(http)).then_some(())
        });
        started
    }

    /// Its endpoint for `grpc` or `http/protobuf`.
    pub fn url(&self, protocol: &str) -> String {
        let port = if protocol == "grpc" { self.grpc } else { self.http };
        format!("http://127.0.0.1:{port}")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Each data point that it took, as often as it took it.
    pub fn points(&self) -> Vec<Point> {
        let text = fs::read_to_string(self.scratch.path().join("lines")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let metrics = whole
            .lines()
            .filter(|line| line.starts_with("{\"resourceMetrics\""));
        metrics
            .flat_map(|line| {
                let request: ExportMetricsServiceRequest =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                points::flatten(&request)
            })
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the Collector's log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
