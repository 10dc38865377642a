//! A real Prometheus that scrapes kevmon's page, and promtool, which checks pages. Queries go over Prometheus's HTTP API
//! (prometheus.io/docs/prometheus/latest/querying/api).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{http::Client, kevmon, port, scratch::Scratch, wait};

/// What Prometheus asks a target for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format.
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// Its name in `scrape_protocols` (prometheus.io/docs/prometheus/latest/configuration/configuration).
    fn protocol(self) -> &'static str {
        match self {
            Self::Text => "PrometheusText0.0.4",
            Self::OpenMetrics => "OpenMetricsText1.0.0",
        }
    }
}

/// A running Prometheus; killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    client: Client,
    port: u16,
    scratch: Scratch,
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    /// Of an instant vector, its one value; of a range vector, all of them, oldest first. Unix seconds and the value.
    pub values: Vec<(f64, f64)>,
}

impl Series {
    /// A label's value; empty where there is none, as Prometheus has it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The newest value.
    pub fn last(&self) -> f64 {
        self.values.last().expect("a series has a value").1
    }
}

impl Prometheus {
    /// Starts the program that `KEVMON_PROMETHEUS` names. It scrapes the page of `target` in this format at this
    /// interval, with what docs/prometheus.md says of the configuration, and has defaults for all else.
    pub fn scraping(target: u16, format: Format, interval: Duration) -> Self {
        Self::scraping_with(target, format, interval, "")
    }

    /// The same with further lines of the scrape's configuration, each indented by four spaces.
    pub fn scraping_with(target: u16, format: Format, interval: Duration, further: &str) -> Self {
        let milliseconds = interval.as_millis();
        Self::launch(
            "KEVMON_PROMETHEUS",
            &format!(
                "global:\n  scrape_interval: {milliseconds}ms\n  scrape_timeout: {milliseconds}ms\n\
                 scrape_configs:\n  - job_name: kevmon\n    honor_labels: true\n    scrape_protocols: [{}]\n    \
                 static_configs:\n      - targets: [\"127.0.0.1:{target}\"]\n{further}",
                format.protocol()
            ),
            &[],
        )
    }

    /// Starts the program that `KEVMON_PROMETHEUS_OTLP` names as a receiver of OTLP, with defaults for all else.
    pub fn receiving() -> Self {
        Self::launch("KEVMON_PROMETHEUS_OTLP", "{}\n", &["--web.enable-otlp-receiver"])
    }

    fn launch(variable: &str, config: &str, args: &[&str]) -> Self {
        let program = kevmon::required(variable, "the Prometheus program");
        let scratch = Scratch::new();
        let port = port::free();
        let file = scratch.path().join("prometheus.yml");
        fs::write(&file, config).expect("a file in the scratch directory");
        let log = File::create(scratch.path().join("log")).expect("a file in the scratch directory");
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                scratch.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(args)
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus starts");
        let mut started = Self {
            child,
            client: Client::plain(port),
            port,
            scratch,
        };
        wait::until("Prometheus to be ready", Duration::from_secs(30), || {
            let ended = started.child.try_wait().expect("our child");
            assert!(ended.is_none(), "Prometheus ended: {}", started.log());
            let answer = started.client.get("/-/ready").ok();
            answer.filter(|answer| answer.status == 200)
        });
        started
    }

    /// Its endpoint for OTLP over HTTP.
    pub fn otlp_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/otlp", self.port)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Lines of its log that are warnings or errors.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.log();
        let levels = ["level=warn", "level=WARN", "level=error", "level=ERROR"];
        let complains = |line: &&str| levels.iter().any(|level| line.contains(level));
        log.lines().filter(complains).map(str::to_owned).collect()
    }

    /// The value of an expression now.
    pub fn query(&self, expression: &str) -> Vec<Series> {
        self.ask(&format!("/api/v1/query?query={}", percent_encoded(expression)))
    }

    /// The value of an expression at a time, Unix seconds.
    pub fn query_at(&self, expression: &str, time: f64) -> Vec<Series> {
        self.ask(&format!(
            "/api/v1/query?query={}&time={time:.3}",
            percent_encoded(expression)
        ))
    }

    /// Waits until an expression has a value for which `condition` gives one.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        expression: &str,
        condition: impl Fn(&[Series]) -> Option<T>,
    ) -> T {
        wait::until(what, limit, || {
            std::thread::sleep(Duration::from_millis(100));
            condition(&self.query(expression))
        })
    }

    /// Type and unit of each metric, by its name, as the scraped page said them.
    pub fn metadata(&self) -> BTreeMap<String, (String, String)> {
        let answer = self.get("/api/v1/metadata");
        let all = answer["data"].as_object().expect("metadata by name");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .map(|(name, told)| (name.clone(), (text(&told[0]["type"]), text(&told[0]["unit"]))))
            .collect()
    }

    fn ask(&self, path: &str) -> Vec<Series> {
        let answer = self.get(path);
        let result = answer["data"]["result"].as_array();
        let result = result.unwrap_or_else(|| panic!("{path}: {answer}"));
        result.iter().map(series).collect()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.client.get(path);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}; it logged: {}", self.log()));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Prometheus's log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A series of an answer of the query API, which VictoriaMetrics has as well.
pub(crate) fn series(told: &Value) -> Series {
    let labels = told["metric"].as_object().expect("labels");
    let pairs = told["values"].as_array().cloned();
    let pairs = pairs.unwrap_or_else(|| vec![told["value"].clone()]);
    Series {
        labels: labels
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        values: pairs
            .iter()
            .map(|pair| {
                let value = pair[1].as_str().and_then(|text| text.parse().ok());
                (pair[0].as_f64().expect("a time"), value.expect("a number"))
            })
            .collect(),
    }
}

/// What `promtool check metrics` says of a page in the text format; empty where it finds no fault.
pub fn promtool_check(page: &[u8]) -> String {
    let program = kevmon::required("KEVMON_PROMTOOL", "promtool");
    let mut child = Command::new(&program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(page).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("our child");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.is_empty() {
        said = format!("{} ended with {}", shown(&program), output.status);
    }
    said
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What `promtool test rules` says of a file of tests of alerts, and whether they passed.
pub fn promtool_test_rules(file: &Path) -> (bool, String) {
    let program = kevmon::required("KEVMON_PROMTOOL", "promtool");
    let mut command = Command::new(program);
    told_by(command.args(["test", "rules"]).arg(file))
}

/// What `promtool check rules` says of a file of alerts, and whether it finds no fault.
pub fn promtool_check_rules(file: &Path) -> (bool, String) {
    let program = kevmon::required("KEVMON_PROMTOOL", "promtool");
    told_by(
        Command::new(program)
            .args(["check", "rules", "--lint=all", "--lint-fatal"])
            .arg(file),
    )
}

/// All that a program says until its end, and whether it ended well.
pub(crate) fn told_by(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
