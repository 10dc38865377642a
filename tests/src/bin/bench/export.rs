//! `bench export`: what watching and exporting many single processes costs beyond doing nothing.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use kevmon_tests::{
    kevmon::command,
    plugin_dir::PluginDir,
    wait,
    workload::{Program, Running},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    metrics::v1::metric::Data,
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{cpu_ns, quantile, storm::bare_lifecycle, verdict};

/// Watched services, and the processes of each.
const PLUGINS: usize = 50;
const PROCESSES: usize = 10;
/// Of these, so many work a little: half a millisecond ten times a second.
const BUSY: usize = 2;
/// What docs/performance.md promises, at this many points a second and more.
const POINTS: f64 = 10_000.0;
/// CPU of a point beyond the idle one, in thousandths of what fork + exec + exit + wait cost without kevmon in the same run.
/// 1.2 % of a CPU at 10,500 points a second where these cost 850 µs.
const LIMIT_CPU: f64 = 1.35;
const LIMIT_RSS_MB: f64 = 15.0;
const LIMIT_THREADS: f64 = 6.0;

/// Runs it with copies of the program `this`.
pub(crate) fn run(this: &str, quick: bool) -> ExitCode {
    let (rounds, length) = if quick { (2, 8) } else { (4, 20) };
    let program = Program::new(this, "export");
    let name = |plugin: usize| format!("{}-{plugin:02}", program.name());
    let _members: Vec<Running> = (0..PLUGINS)
        .flat_map(|plugin| (0..PROCESSES).map(move |process| (plugin, process)))
        .map(|(plugin, process)| {
            let busy = ["pulse", "--busy-ms", "0.5", "--idle-ms", "100"];
            let args = if process < BUSY { &busy[..] } else { &["idle"] };
            program.start_as(&name(plugin), args)
        })
        .collect();
    let (watching, idle) = (PluginDir::new(), PluginDir::new());
    for plugin in 0..PLUGINS {
        let (name, watched) = (format!("export-{plugin:02}"), name(plugin));
        watching.write(
            &name,
            &plugin_file(
                &name,
                &format!("^{watched}$"),
                "1s",
                "[processes]\nenabled = true\nmax = 10\n",
            ),
        );
    }
    idle.write("idle", &plugin_file("idle", "^no such process$", "60s", ""));
    let receiver = Counting::start();
    let (mut whole, mut nothing) = (Vec::new(), Vec::new());
    let (storm, leaf) = (Program::new(this, "storm"), Program::new(this, "leaf"));
    let mut lifecycles = Vec::new();
    for round in 0..rounds {
        lifecycles.push(bare_lifecycle(&storm, &leaf));
        for (plugins, into) in [(&idle, &mut nothing), (&watching, &mut whole)] {
            eprintln!("round {}/{rounds}: {}", round + 1, plugins.path());
            into.push(measure(plugins, &receiver, Duration::from_secs(length)));
        }
    }
    report(&whole, &nothing, quantile(&mut lifecycles, 0.5))
}

pub(crate) fn plugin_file(name: &str, pattern: &str, interval: &str, more: &str) -> String {
    format!(
        "schema = 1\n[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"bench\"\nprocess_name = \"{pattern}\"\n\
         [monitoring]\ninterval = \"{interval}\"\n{more}"
    )
}

/// Of one run of kevmon, after it has settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Data points that arrived, a second.
    points: f64,
    /// Percent of one CPU.
    pub(crate) cpu: f64,
    /// Highest resident set, MB.
    pub(crate) rss: f64,
    /// Most threads at once.
    threads: f64,
}

/// Starts kevmon with these plugins and that receiver.
pub(crate) fn start(plugins: &PluginDir, receiver: &Counting) -> Ending {
    let database = database(plugins);
    let kevmon = command(&[
        "--plugins-dir",
        plugins.path(),
        "--metadata-db-path",
        &database,
        "--agent-port",
        &receiver.address.port().to_string(),
    ])
    .stdout(Stdio::null())
    .spawn()
    .expect("kevmon starts");
    Ending(kevmon, database)
}

/// Where its state is.
fn database(plugins: &PluginDir) -> String {
    format!("{}/../{}.db", plugins.path(), std::process::id())
}

/// Starts it, lets it settle, and looks at it for so long.
pub(crate) fn measure(plugins: &PluginDir, receiver: &Counting, length: Duration) -> Cost {
    const SETTLE: Duration = Duration::from_secs(4);
    let kevmon = start(plugins, receiver);
    let pid = kevmon.0.id();
    std::thread::sleep(SETTLE);
    let (began, cpu, points) = (Instant::now(), cpu_ns(pid), receiver.points.load(Relaxed));
    let (mut rss, mut threads) = (0.0_f64, 0.0_f64);
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_millis(50));
        rss = rss.max(status(pid, "VmRSS:") / 1024.0);
        threads = threads.max(status(pid, "Threads:"));
    }
    let elapsed = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (cpu, points) = (
        (cpu_ns(pid) - cpu) as f64 / 1e9,
        (receiver.points.load(Relaxed) - points) as f64,
    );
    drop(kevmon);
    Cost {
        points: points / elapsed,
        cpu: cpu / elapsed * 100.0,
        rss,
        threads,
    }
}

/// A number of /proc/PID/status.
pub(crate) fn status(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("kevmon runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {field} in {text}"))
}

/// `lifecycle`: of fork + exec + exit + wait, ns.
fn report(whole: &[Cost], nothing: &[Cost], lifecycle: f64) -> ExitCode {
    println!(
        "{PLUGINS} plugins with {PROCESSES} processes each, every second, beside one that matches nothing; medians"
    );
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12}",
        "", "points/s", "CPU", "RSS", "threads"
    );
    let median = |costs: &[Cost], of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        quantile(&mut values, 0.5)
    };
    let all = |costs: &[Cost]| {
        [
            median(costs, |cost| cost.points),
            median(costs, |cost| cost.cpu),
            median(costs, |cost| cost.rss),
            costs.iter().map(|cost| cost.threads).fold(0.0, f64::max),
        ]
    };
    let (whole, nothing) = (all(whole), all(nothing));
    let beyond: [f64; 4] = std::array::from_fn(|index| whole[index] - nothing[index]);
    for (name, [points, cpu, rss, threads]) in [("exporting", whole), ("idle", nothing), ("beyond", beyond)] {
        println!("{name:>10} {points:>12.0} {cpu:>10.3} % {rss:>9.1} MB {threads:>12.0}");
    }
    let [points, ..] = whole;
    println!(
        "fork + exec + exit + wait without kevmon: {:.0} µs",
        lifecycle / 1e3
    );
    let [_, cpu, rss, _] = beyond;
    let [.., threads] = whole;
    // Percent of a CPU are ten million ns a second.
    let a_point = cpu * 1e7 / points / lifecycle * 1e3;
    verdict(&[
        (format!("at least {POINTS:.0} points a second"), points >= POINTS),
        (
            format!(
                "a point costs {a_point:.2} thousandths of fork + exec + exit + wait beyond the idle one, at most {LIMIT_CPU}"
            ),
            a_point <= LIMIT_CPU,
        ),
        (
            format!("at most {LIMIT_RSS_MB} MB beyond the idle one"),
            rss <= LIMIT_RSS_MB,
        ),
        (
            format!("at most {LIMIT_THREADS} threads"),
            threads <= LIMIT_THREADS,
        ),
    ])
}

/// Ends kevmon in order, and removes its state.
pub(crate) struct Ending(pub(crate) Child, String);

impl Drop for Ending {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let _ = self.0.wait();
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.1));
        }
    }
}

/// A receiver that counts data points and keeps nothing.
pub(crate) struct Counting {
    address: SocketAddr,
    points: Arc<AtomicU64>,
}

struct Counter(Arc<AtomicU64>);

#[tonic::async_trait]
impl MetricsService for Counter {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics;
        let metrics = resources
            .iter()
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics);
        let points = metrics.map(|metric| match &metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            Some(Data::Sum(sum)) => sum.data_points.len(),
            Some(Data::Histogram(histogram)) => histogram.data_points.len(),
            _ => 0,
        });
        self.0.fetch_add(points.sum::<usize>() as u64, Relaxed);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Counting {
    pub(crate) fn start() -> Self {
        let points = Arc::<AtomicU64>::default();
        let service = MetricsServiceServer::new(Counter(Arc::clone(&points)));
        let (bound, address) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
                bound
                    .send(incoming.local_addr().expect("bound"))
                    .expect("the bench waits");
                let server = Server::builder().add_service(service);
                server
                    .serve_with_incoming(incoming)
                    .await
                    .expect("the receiver serves");
            });
        });
        let address = address.recv_timeout(wait::SOON).expect("the receiver binds");
        Self { address, points }
    }
}
