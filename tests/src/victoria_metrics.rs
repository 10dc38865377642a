//! An independent receiver over HTTP: VictoriaMetrics, which keeps what arrives and can be asked for it. It speaks
//! TLS when told to; for client certificates [`crate::nginx`] stands before it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    certificates::{Authority, Identity},
    http::Client,
    kevmon, port,
    prometheus::{Series, series, told_by},
    sample::{Exactness, Sample},
    scratch::Scratch,
    wait,
};

/// It keeps milliseconds, cut off, and values as decimal numbers of 18 digits, with one scale for many of a series.
pub const EXACTNESS: Exactness = Exactness {
    time: 1_000_000,
    value: 1e-11,
};

/// Where it takes OTLP, below its root; a sender puts /v1/metrics behind.
const OTLP: &str = "/opentelemetry";

/// A running VictoriaMetrics; killed when dropped.
#[derive(Debug)]
pub struct VictoriaMetrics {
    child: Child,
    port: u16,
    client: Client,
    scheme: &'static str,
    scratch: Scratch,
}

impl VictoriaMetrics {
    /// Starts the program that `KEVMON_VICTORIA_METRICS` names, in cleartext.
    pub fn start() -> Self {
        Self::launch(None, &[])
    }

    /// The same, calling metrics as Prometheus would.
    pub fn start_with_prometheus_names() -> Self {
        Self::launch(None, &["-opentelemetry.usePrometheusNaming"])
    }

    /// Starts it with TLS: it shows `server`, for which `authority` vouches.
    pub fn start_tls(server: &Identity, authority: &Authority) -> Self {
        Self::launch(Some((server, authority)), &[])
    }

    fn launch(tls: Option<(&Identity, &Authority)>, flags: &[&str]) -> Self {
        let program = kevmon::required("KEVMON_VICTORIA_METRICS", "the VictoriaMetrics program");
        let scratch = Scratch::new();
        let port = port::free();
        let mut command = Command::new(program);
        if let Some((server, _)) = tls {
            let (certificate, key) = (server.certificate.display(), server.key.display());
            command
                .arg("-tls")
                .arg(format!("-tlsCertFile={certificate}"))
                .arg(format!("-tlsKeyFile={key}"));
        }
        let log = File::create(scratch.path().join("log")).expect("a file in the scratch directory");
        let data = scratch.path().join("data");
        let child = command
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg(format!("-storageDataPath={}", data.display()))
            .args(flags)
            .args(["-retentionPeriod=1d", "-memory.allowedBytes=128MB"])
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("VictoriaMetrics starts");
        let mut started = Self {
            child,
            port,
            client: tls.map_or_else(
                || Client::plain(port),
                |(_, authority)| Client::tls(port, authority, None),
            ),
            scheme: if tls.is_some() { "https" } else { "http" },
            scratch,
        };
        wait::until("VictoriaMetrics to listen", wait::SOON, || {
            let ended = started.child.try_wait().expect("our child");
            assert!(ended.is_none(), "VictoriaMetrics ended: {}", started.log());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        started
    }

    /// Its endpoint for OTLP over HTTP.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}{OTLP}", self.scheme, self.port)
    }

    /// The same behind a proxy.
    pub fn url_behind(&self, proxy: &str) -> String {
        format!("{proxy}{OTLP}")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path that takes metrics.
    pub fn path() -> String {
        format!("{OTLP}/v1/metrics")
    }

    /// A client that it lets in.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Lines of its log that are warnings or errors.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.log();
        let complains = |line: &&str| ["\twarn\t", "\terror\t"].iter().any(|level| line.contains(level));
        log.lines().filter(complains).map(str::to_owned).collect()
    }

    /// Every value that it has of the service with this `kevmon.service.id`.
    pub fn samples(&self, service_id: &str) -> Vec<Sample> {
        // What arrived can be asked for only once it is in a part.
        self.get("/internal/force_flush");
        let selector = format!("{{kevmon\\.service\\.id={service_id:?}}}");
        let answer = self.get(&format!("/api/v1/export?match[]={}", percent_encoded(&selector)));
        let mut samples = Vec::new();
        for line in answer.lines() {
            let series: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let metric = series["metric"]["__name__"].as_str().expect("a name");
            let list = |name: &str| {
                series[name]
                    .as_array()
                    .unwrap_or_else(|| panic!("{line}"))
                    .clone()
            };
            // A point without a value ends a series; the export has null for it.
            let values = list("values");
            let told = list("timestamps")
                .into_iter()
                .zip(&values)
                .filter(|(_, value)| !value.is_null());
            for (time, value) in told {
                samples.push(Sample {
                    metric: metric.to_owned(),
                    time: time.as_u64().expect("milliseconds") * EXACTNESS.time,
                    value: value.as_f64().expect("a number"),
                });
            }
        }
        samples
    }

    /// The names of all metrics that it has.
    pub fn names(&self) -> BTreeSet<String> {
        self.get("/internal/force_flush");
        let answer = self.get("/api/v1/label/__name__/values");
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let names = answer["data"].as_array().expect("a list").iter();
        names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// The value of an expression now.
    pub fn query(&self, expression: &str) -> Vec<Series> {
        self.get("/internal/force_flush");
        let path = format!(
            "/api/v1/query?nocache=1&latency_offset=1ms&query={}",
            percent_encoded(expression)
        );
        let answer: Value = serde_json::from_str(&self.get(&path)).expect("JSON");
        let result = answer["data"]["result"].as_array();
        let result = result.unwrap_or_else(|| panic!("{expression}: {answer}"));
        result.iter().map(series).collect()
    }

    /// The values of a label in the answer to an instant query, as of now.
    pub fn labels(&self, query: &str, label: &str) -> Vec<String> {
        self.get("/internal/force_flush");
        // Without `nocache` the answer may be of some seconds ago.
        let path = format!(
            "/api/v1/query?nocache=1&latency_offset=1ms&query={}",
            percent_encoded(query)
        );
        let answer: Value = serde_json::from_str(&self.get(&path)).expect("JSON");
        let series = answer["data"]["result"].as_array().expect("a vector");
        let value = |series: &Value| series["metric"][label].as_str().map(str::to_owned);
        series.iter().filter_map(value).collect()
    }

    fn get(&self, path: &str) -> String {
        let answer = self.client.get(path);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}; it logged: {}", self.log()));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {body}");
        body
    }

    /// Waits until values of at least `times` collections of a service have come; returns all there are.
    pub fn wait_for(&self, service_id: &str, times: usize, limit: Duration) -> Vec<Sample> {
        let what = format!("{times} collections of {service_id} at VictoriaMetrics");
        wait::until(&what, limit, || {
            let samples = self.samples(service_id);
            let counts = samples.iter().filter(|sample| sample.metric == "process_count");
            if counts.count() >= times {
                return Some(samples);
            }
            std::thread::sleep(Duration::from_millis(100));
            None
        })
    }
}

/// A program of VictoriaMetrics' that lies where the database does, or on PATH.
fn beside(name: &str) -> PathBuf {
    let database = kevmon::required("KEVMON_VICTORIA_METRICS", "the VictoriaMetrics program");
    let production = format!("{name}-prod");
    let near = [name, &production].map(|name| database.with_file_name(name));
    let near = near.into_iter().find(|path| path.is_file());
    near.unwrap_or_else(|| PathBuf::from(name))
}

/// What `vmalert-tool unittest` says of a file of tests of alerts, and whether they passed.
pub fn vmalert_test_rules(file: &Path) -> (bool, String) {
    let mut command = Command::new(beside("vmalert-tool"));
    command.args(["unittest", "-disableAlertgroupLabel"]);
    told_by(command.arg(format!("--files={}", file.display())))
}

/// What `vmalert -dryRun` says of a file of alerts, and whether it finds no fault.
pub fn vmalert_check_rules(file: &Path) -> (bool, String) {
    let mut command = Command::new(beside("vmalert"));
    told_by(command.arg("-dryRun").arg(format!("-rule={}", file.display())))
}

impl Drop for VictoriaMetrics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- VictoriaMetrics's log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
