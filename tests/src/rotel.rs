//! An independent receiver: `rotel`, whose debug exporter prints what it decoded. It shares no line
//! of code with kevmon or with [`crate::receiver`].

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{kevmon, port, sample::Sample, scratch::Scratch, wait};

/// A running rotel; killed when dropped.
#[derive(Debug)]
pub struct Rotel {
    child: Child,
    port: u16,
    http_port: u16,
    printed: Arc<Mutex<String>>,
    _scratch: Scratch,
}

impl Rotel {
    /// Starts the launcher that `KEVMON_ROTEL` names and waits until it listens.
    pub fn start() -> Self {
        let launcher = kevmon::required("KEVMON_ROTEL", "the rotel launcher");
        let scratch = Scratch::new();
        let (port, http_port) = (port::free(), port::free());
        let mut child = Command::new(launcher)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "metrics", "--debug-log", "logs"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http_port}")])
            .arg("--pid-file")
            .arg(scratch.path().join("pid"))
            .arg("--log-file")
            .arg(scratch.path().join("log"))
            .env("NO_COLOR", "1")
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rotel starts");
        let printed = Arc::default();
        collect(child.stdout.take().expect("piped"), Arc::clone(&printed));
        collect(child.stderr.take().expect("piped"), Arc::clone(&printed));
        let mut rotel = Self {
            child,
            port,
            http_port,
            printed,
            _scratch: scratch,
        };
        wait::until("rotel to listen", wait::SOON, || {
            let ended = rotel.child.try_wait().expect("our child");
            assert!(ended.is_none(), "rotel ended: {}", rotel.printed());
            let listens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            (listens(port) && listens(http_port)).then_some(())
        });
        rotel
    }

    /// Its gRPC port, as an argument.
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// Its endpoint for OTLP over gRPC.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its endpoint for OTLP over HTTP.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Every number that it printed so far under resources whose attributes hold the text `service`.
    pub fn samples(&self, service: &str) -> Vec<Sample> {
        let printed = self.printed();
        let blocks = printed.split("ResourceMetrics #").skip(1);
        blocks
            .filter(|block| is_of(block, service))
            .flat_map(|block| block.split("\nMetric #").skip(1))
            .flat_map(samples_of)
            .collect()
    }

    /// What it printed so far, without colours.
    pub fn printed(&self) -> String {
        self.printed.lock().expect("nobody panics with it").clone()
    }

    /// Waits until the metric was printed under a resource whose attributes hold the text `service`;
    /// returns the metric's descriptor and points.
    pub fn wait_for_metric(&self, service: &str, metric: &str, limit: Duration) -> String {
        wait::until(&format!("rotel to print {metric} of {service}"), limit, || {
            let printed = self.printed();
            let resources = printed.split("ResourceMetrics #").skip(1);
            let name = format!("-> Name: {metric}");
            let complete =
                |block: &&str| block.lines().any(|line| line.trim() == name) && block.contains("\nValue: ");
            resources
                .filter(|block| is_of(block, service))
                .flat_map(|block| block.split("\nMetric #").skip(1))
                .find(complete)
                .map(str::to_owned)
        })
    }

    /// Waits until `text` was printed.
    pub fn wait_for(&self, text: &str, limit: Duration) -> String {
        wait::until(&format!("rotel to print {text:?}"), limit, || {
            Some(self.printed()).filter(|printed| printed.contains(text))
        })
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a resource's attributes hold the text.
fn is_of(resource: &str, service: &str) -> bool {
    let attributes = resource.split("ScopeMetrics").next().unwrap_or_default();
    attributes.contains(service)
}

/// The numbers of one printed metric.
fn samples_of(metric: &str) -> Vec<Sample> {
    let behind = |text: &str, label: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(label).map(str::to_owned))
    };
    let Some(name) = behind(metric, "-> Name: ") else {
        return Vec::new();
    };
    let points = metric.split("\nNumberDataPoints #").skip(1);
    points
        .filter_map(|point| {
            Some(Sample {
                metric: name.clone(),
                time: behind(point, "Timestamp: ")?.parse().expect("a time"),
                // The last thing printed of a point: absent while it is still being printed.
                value: behind(point, "Value: ")?.parse().expect("a number"),
            })
        })
        .collect()
}

/// Two ports that were free a moment ago; rotel cannot say which it took if it chose itself.
fn collect(pipe: impl Read + Send + 'static, printed: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut printed = printed.lock().expect("nobody panics with it");
            printed.push_str(&without_colours(&line));
            printed.push('\n');
        }
    });
}

/// The line without its ANSI escape sequences.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}
