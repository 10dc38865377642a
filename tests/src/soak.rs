//! A service that a supervisor restarts for minutes, watched by a kevmon at the default interval: what the long tests of receivers
//! share.

use std::{collections::BTreeMap, fs, sync::Arc, thread, time::Duration};

use crate::{
    checks::float,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    prometheus::{Prometheus, Series},
    push::plugin_file,
    scratch::Scratch,
    supervisor::{Counted, Ending, Supervisor},
    tick::Tick,
    wait,
    workload::Program,
};

/// Between two collections.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// What the service's processes do: they end in three ways, and use some CPU before.
const WAYS: &[&[&str]] = &[
    &["burn", "--life-ms", "900", "--cpu-ms", "40"],
    &["exit", "7", "--life-ms", "400"],
    &["signal", "9", "--life-ms", "200"],
];
/// No part of [`INTERVAL`], or each collection would meet the same moment of a life, and perhaps one at which none runs.
const PERIOD: Duration = Duration::from_millis(1_900);
const PLUGIN: &str = "soak";
/// The service's id.
pub const ID: &str = "kvt_company_soak";

/// How long the supervisor works, where nothing else is said.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// How long a long test works: what `KEVMON_SOAK_SECONDS` says, or `usual`.
pub fn length(usual: Duration) -> Duration {
    let given = std::env::var("KEVMON_SOAK_SECONDS").ok();
    let seconds = given.map(|text| text.parse().expect("KEVMON_SOAK_SECONDS is a number of seconds"));
    seconds.map_or(usual, Duration::from_secs)
}

fn seconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e9
}

/// A service under a supervisor, and a kevmon that watches it.
#[derive(Debug)]
pub struct Soak {
    program: Arc<Program>,
    daemon: Daemon,
    counted: Counted,
    _folder: PluginDir,
    _settings: Scratch,
}

/// What is known at the end.
#[derive(Debug)]
pub struct Done {
    /// Begin and end of the time in which `counted` was counted, Unix seconds: no start and no end lies within two intervals of
    /// either.
    pub begin: f64,
    pub end: f64,
    /// Ends since `begin`.
    pub endings: BTreeMap<Ending, u64>,
    /// Everything since kevmon's start.
    pub counted: Counted,
    pub ticks: Vec<Tick>,
    pub daemon: Daemon,
    _soak: (Arc<Program>, PluginDir, Scratch),
}

impl Soak {
    /// `settings` is the settings file, `further` are sections of the plugin file.
    pub fn start(workload: &str, settings: &str, further: &str) -> Self {
        let program = Arc::new(Program::new(workload, PLUGIN));
        let folder = PluginDir::new();
        let file = plugin_file(PLUGIN, &program.pattern(), "").replace("300ms", "10s");
        folder.write(PLUGIN, &format!("{file}{further}"));
        let scratch = Scratch::new();
        let path = scratch.path().join("kevmon.toml");
        fs::write(&path, format!("schema = 1\n{settings}")).expect("a file in the scratch directory");
        let daemon = Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--config",
            path.to_str().expect("a UTF-8 path"),
        ]);
        Self {
            program,
            daemon,
            counted: Counted::default(),
            _folder: folder,
            _settings: scratch,
        }
    }

    /// Takes in lines for so long.
    fn run_for(&mut self, time: Duration) {
        let end = wait::unix_now() + u64::try_from(time.as_nanos()).expect("less than a century");
        while wait::unix_now() < end {
            self.daemon.next_tick(INTERVAL * 2);
        }
    }

    /// One end of each kind, so that each has a series; then the supervisor for the whole time.
    pub fn run(mut self) -> Done {
        for args in WAYS {
            self.counted.run(&self.program, args);
        }
        self.run_for(INTERVAL * 2);
        let begin = seconds(wait::unix_now());
        self.run_for(INTERVAL * 2);
        let before = self.counted.clone();
        let supervisor = Supervisor::start(&self.program, WAYS, PERIOD, self.counted.clone());
        self.run_for(length(TEN_MINUTES));
        let counted = supervisor.stop();
        self.run_for(INTERVAL * 3);
        let end = seconds(wait::unix_now());
        // A scrape, or a request on its way.
        thread::sleep(Duration::from_secs(2));
        Done {
            begin,
            end,
            endings: counted.since(&before),
            counted,
            ticks: self.daemon.ticks().to_vec(),
            daemon: self.daemon,
            _soak: (self.program, self._folder, self._settings),
        }
    }
}

/// Labels of a way to end, as Prometheus has them.
fn labels(ending: Ending) -> String {
    match ending {
        Ending::Exit(code) => format!("kevmon_exit_reason=\"exit\",process_exit_code=\"{code}\""),
        Ending::Signal(9) => "kevmon_exit_signal=\"SIGKILL\"".to_owned(),
        Ending::Signal(number) => panic!("no process was to end by signal {number}"),
    }
}

/// The sum of the newest values.
pub fn sum(series: &[Series]) -> f64 {
    series.iter().map(Series::last).sum()
}

/// Asserts what a Prometheus says of the service. `of` selects the service's series.
pub fn assert_counts(prometheus: &Prometheus, done: &Done, of: &str) {
    let range = done.end - done.begin;
    // Prometheus extrapolates to the ends of the range, by at most an interval on each side and a tenth of it.
    let most = range / (range - 2.2 * INTERVAL.as_secs_f64());
    let check = |metric: &str, labels: &str, count: u64| {
        let selector = format!("{metric}{{{of}{labels}}}");
        let increase = sum(&prometheus.query_at(&format!("increase({selector}[{range:.0}s])"), done.end));
        let count = float(count);
        assert!(
            (count - 1e-6..=count * most).contains(&increase),
            "increase of {selector}: {increase}, and {count} were counted"
        );
        // What it holds, without extrapolation.
        let (first, last) = (
            sum(&prometheus.query_at(&selector, done.begin)),
            sum(&prometheus.query_at(&selector, done.end)),
        );
        assert!(
            (last - first - count).abs() < 1e-6,
            "{selector}: {first} to {last}, not {count} more"
        );
        eprintln!(
            "{selector}: {count} counted, increase() {increase:.2}, last - first {}",
            last - first
        );
    };
    assert_eq!(done.endings.len(), WAYS.len(), "{:?}", done.endings);
    for (ending, count) in &done.endings {
        check("exits_total", &format!(",{}", labels(*ending)), *count);
    }
    check("restarts_total", "", done.endings.values().sum());
    let cpu =
        |mode: &str| sum(&prometheus.query_at(&format!("cpu_{mode}_time_seconds_total{{{of}}}"), done.end));
    let (cpu, least) = (cpu("user") + cpu("system"), seconds(done.counted.truth.cpu_ns));
    eprintln!("CPU: {cpu} s, and {least} s by wait4");
    assert!(
        (cpu / least - 1.0).abs() < 0.01,
        "{cpu} s of CPU, and {least} s by wait4"
    );
}
