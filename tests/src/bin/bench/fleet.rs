//! `bench fleet`: a hundred kevmons that are started together and send to one receiver, with everything at its default
//! but the source, a 10 s interval and HTTP with gzip. When do they send, how much, and what of it is about kevmon itself?

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    process::{Child, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use kevmon_tests::{
    kevmon::command, plugin_dir::PluginDir, points, scratch::Scratch, wait, workload::Program,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;

use crate::{cpu_ns, verdict};

const AGENTS: usize = 100;
const INTERVAL: Duration = Duration::from_secs(10);
/// Telemetry goes once a minute: so long is measured.
const MEASURED: Duration = Duration::from_secs(60);
/// What docs/performance.md promises: requests in one second against their mean, and kevmon's own metrics among the bytes.
const LIMIT_BURST: f64 = 2.0;
const LIMIT_OWN: f64 = 15.0;
/// Who sends: the agents of the fleet, and one of each naming with the source that it chooses.
const GROUPS: [(&str, &str, Option<&str>); 4] = [
    ("fleet-instana", "instana", Some("proc")),
    ("fleet-otel", "otel", Some("proc")),
    ("one-instana", "instana", None),
    ("one-otel", "otel", None),
];

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str) -> ExitCode {
    let program = Program::new(this, "fleet");
    let _members = [0, 1, 2].map(|_| program.start(&["pulse", "--busy-ms", "0.5", "--idle-ms", "100"]));
    let folders = ["instana", "otel"].map(|naming| {
        let folder = PluginDir::new();
        folder.write(
            "fleet",
            &format!(
                "schema = 1\n[plugin]\nname = \"fleet\"\n[service]\nnamespace = \"Example Company\"\nprocess_name = \
                 \"{}\"\n[monitoring]\ninterval = \"10s\"\nnaming = \"{naming}\"\n",
                program.pattern()
            ),
        );
        folder
    });
    let receiver = Receiver::start();
    let states = Scratch::new();
    let agents: Vec<Agent> = (0..AGENTS + 2)
        .map(|number| {
            let group = if number < AGENTS {
                number % 2
            } else {
                number - AGENTS + 2
            };
            let (group, _, source) = GROUPS[group];
            Agent::start(
                number,
                group,
                source,
                folders[number % 2].path(),
                &receiver,
                &states,
            )
        })
        .collect();
    wait::until("the first request of each", Duration::from_secs(120), || {
        (receiver.connections() >= agents.len()).then_some(())
    });
    let started = receiver.elapsed();
    let cpu: u64 = agents.iter().take(AGENTS).map(|agent| cpu_ns(agent.0.id())).sum();
    std::thread::sleep(INTERVAL * 3 / 2);
    let from = receiver.elapsed();
    std::thread::sleep(MEASURED);
    let to = receiver.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let cpu = (agents
        .iter()
        .take(AGENTS)
        .map(|agent| cpu_ns(agent.0.id()))
        .sum::<u64>()
        - cpu) as f64
        / 1e7
        / (to - started).as_secs_f64();
    let memory: f64 = agents.iter().take(AGENTS).map(|agent| pss_mb(agent.0.id())).sum();
    drop(agents);
    let requests = receiver.requests();
    println!(
        "{AGENTS} agents, one plugin of three processes each, every {} s; {:.0} s beginning {:.0} s after the first \
         request of the last one",
        INTERVAL.as_secs(),
        (to - from).as_secs_f64(),
        (from - started).as_secs_f64()
    );
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let each = AGENTS as f64;
    println!(
        "each: {:.2} % of a CPU, {:.1} MB PSS\n",
        cpu / each,
        memory / each
    );
    let measured = |request: &&Arrived| (from..to).contains(&request.at);
    let requests: Vec<&Arrived> = requests.iter().filter(measured).collect();
    report(&requests, (to - from).as_secs_f64())
}

fn report(requests: &[&Arrived], seconds: f64) -> ExitCode {
    let mut claims = vec![burst(requests, seconds)];
    println!(
        "{:>14} {:>10} {:>9} {:>14} {:>14} {:>14} {:>10}",
        "", "requests", "series", "plugins", "own metrics", "traces", "own"
    );
    for (group, naming, _) in GROUPS {
        let of_group: Vec<&&Arrived> = requests.iter().filter(|request| request.group == group).collect();
        for (what, gzip) in [("bytes", false), ("gzip", true)] {
            let sum = |of: fn(&Sizes) -> [u64; 2]| -> u64 {
                of_group
                    .iter()
                    .map(|request| of(&request.sizes)[usize::from(gzip)])
                    .sum()
            };
            let [plugins, own, traces] = [sum(|of| of.plugins), sum(|of| of.own), sum(|of| of.traces)];
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let share = own as f64 / (plugins + own + traces) as f64 * 100.0;
            let [series, own_series] = series(&of_group);
            println!(
                "{:>14} {:>10} {:>9} {plugins:>14} {own:>14} {traces:>14} {share:>8.1} %",
                format!("{group} {what}")
                    .replace("fleet-", "")
                    .replace("one-", "eBPF "),
                kinds(&of_group),
                format!("{series}+{own_series}"),
            );
            claims.push((
                format!("own metrics of {group} below {LIMIT_OWN} % of the {what} ({naming})"),
                share < LIMIT_OWN,
            ));
        }
    }
    println!("\nrequests: with metrics + traces; series: of plugins + of kevmon, of one agent");
    verdict(&claims)
}

/// Requests with metrics and with traces.
fn kinds(requests: &[&&Arrived]) -> String {
    let traces = requests
        .iter()
        .filter(|request| request.sizes.traces[0] > 0)
        .count();
    format!("{}+{traces}", requests.len() - traces)
}

/// Series of plugins and of kevmon that one agent sent: the one that sent most.
fn series(requests: &[&&Arrived]) -> [usize; 2] {
    let mut by_agent: BTreeMap<&str, [std::collections::BTreeSet<u64>; 2]> = BTreeMap::new();
    for request in requests {
        let of_agent = by_agent.entry(&request.agent).or_default();
        for (own, series) in &request.series {
            of_agent[usize::from(*own)].insert(*series);
        }
    }
    let counts = by_agent.values().map(|[plugins, own]| [plugins.len(), own.len()]);
    counts.max().unwrap_or_default()
}

/// The most requests in any second, against their mean.
fn burst(requests: &[&Arrived], seconds: f64) -> (String, bool) {
    let mut by_second: BTreeMap<u64, u32> = BTreeMap::new();
    for request in requests {
        *by_second.entry(request.at.as_secs()).or_default() += 1;
    }
    let most = f64::from(by_second.values().copied().max().unwrap_or_default());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let mean = requests.len() as f64 / seconds;
    println!("requests a second: {mean:.1} on average, {most:.0} at most\n");
    (
        format!("at most {LIMIT_BURST} times the mean of requests in any second"),
        most <= LIMIT_BURST * mean,
    )
}

/// Proportional set size of a process, MB.
fn pss_mb(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("kevmon runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("Linux counts it");
    kib / 1024.0
}

/// A kevmon; ended in order when dropped.
struct Agent(Child);

impl Agent {
    fn start(
        number: usize,
        group: &str,
        source: Option<&str>,
        plugins: &str,
        receiver: &Receiver,
        states: &Scratch,
    ) -> Self {
        let folder = states.path().join(number.to_string());
        fs::create_dir(&folder).expect("a folder in the scratch directory");
        let database = folder.join("metadata.db");
        let endpoint = format!("http://127.0.0.1:{}/{group}/{number}", receiver.port);
        let mut command = command(&[
            "--plugins-dir",
            plugins,
            "--metadata-db-path",
            database.to_str().expect("a UTF-8 scratch directory"),
            "--endpoint",
            &endpoint,
            "--protocol",
            "http/protobuf",
            "--compression",
            "gzip",
        ]);
        command.args(source.iter().flat_map(|source| ["--source", source]));
        let host = format!("host.id=fleet-{number},host.name=fleet-{number}");
        command.env("OTEL_RESOURCE_ATTRIBUTES", host);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("kevmon starts"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// Bytes of a request by what they are about: as they are, and as gzip makes of them.
#[derive(Debug, Default)]
struct Sizes {
    plugins: [u64; 2],
    /// What the request would be shorter without kevmon's own metrics.
    own: [u64; 2],
    traces: [u64; 2],
}

/// A request as it is remembered.
#[derive(Debug)]
struct Arrived {
    /// After the receiver's start.
    at: Duration,
    group: String,
    agent: String,
    sizes: Sizes,
    /// Hashes of the series in it, and whether they are kevmon's own.
    series: Vec<(bool, u64)>,
}

fn is_own(of: &ResourceMetrics) -> bool {
    let resource = of.resource.iter().flat_map(|resource| &resource.attributes);
    let mut keys = resource.map(|attribute| attribute.key.as_str());
    !keys.any(|key| key == "kevmon.plugin")
}

fn gzip(bytes: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it").len() as u64
}

fn sizes(path: &str, body: &[u8]) -> (Sizes, Vec<(bool, u64)>) {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    let whole = [plain.len() as u64, body.len() as u64];
    if path.ends_with("/v1/traces") {
        let traces = Sizes {
            traces: whole,
            ..Sizes::default()
        };
        return (traces, Vec::new());
    }
    let mut request = ExportMetricsServiceRequest::decode(&plain[..]).expect("metrics");
    let mut series = Vec::new();
    for of in &request.resource_metrics {
        let own = is_own(of);
        let alone = ExportMetricsServiceRequest {
            resource_metrics: vec![of.clone()],
        };
        series.extend(points::flatten(&alone).iter().flat_map(|point| {
            let buckets = if point.buckets.1.is_empty() {
                1
            } else {
                point.buckets.1.len() + 2
            };
            (0..buckets).map(move |bucket| (own, hash(&(&point.metric, &point.attributes, bucket))))
        }));
    }
    request.resource_metrics.retain(|of| !is_own(of));
    let without = request.encode_to_vec();
    // kevmon's compressor is another one: the share is what the same one makes of both.
    let packed = whole[1] * gzip(&without) / gzip(&plain);
    let plugins = [without.len() as u64, packed];
    let sizes = Sizes {
        plugins,
        own: [whole[0] - plugins[0], whole[1] - plugins[1]],
        ..Sizes::default()
    };
    (sizes, series)
}

fn hash(of: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What the server and the bench share: requests, as they came.
type Raw = Arc<Mutex<Vec<(Duration, String, Bytes)>>>;

/// A receiver over HTTP that keeps what it gets and looks at it later.
struct Receiver {
    port: u16,
    began: Instant,
    raw: Raw,
}

impl Receiver {
    fn start() -> Self {
        let (raw, began) = (Raw::default(), Instant::now());
        let (bound, port) = mpsc::channel();
        let kept = Arc::clone(&raw);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                let address = listener.local_addr().expect("bound");
                bound.send(address.port()).expect("the bench waits");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let kept = Arc::clone(&kept);
                    let service = service_fn(move |request| take(request, Arc::clone(&kept), began));
                    tokio::spawn(async move {
                        let builder = Builder::new(TokioExecutor::new());
                        // An agent that ends in the middle is seen by what is missing.
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            });
        });
        Self {
            port: port.recv_timeout(wait::SOON).expect("the receiver binds"),
            began,
            raw,
        }
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Agents that have sent something.
    fn connections(&self) -> usize {
        let raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let agents = raw.iter().filter_map(|(_, path, _)| path.split('/').nth(2));
        agents.collect::<std::collections::BTreeSet<_>>().len()
    }

    fn requests(&self) -> Vec<Arrived> {
        let raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = raw.iter().map(|(at, path, body)| {
            let (sizes, series) = sizes(path, body);
            let mut parts = path.split('/').skip(1);
            let mut part = || parts.next().unwrap_or_default().to_owned();
            Arrived {
                at: *at,
                group: part(),
                agent: part(),
                sizes,
                series,
            }
        });
        arrived.collect()
    }
}

async fn take(
    request: Request<Incoming>,
    kept: Raw,
    began: Instant,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    kept.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((began.elapsed(), path, body));
    Ok(Response::new(Empty::new()))
}
