//! The dashboards and alerts of packages: every query has an answer in a real Prometheus that scrapes kevmon's page, and in a real
//! VictoriaMetrics that receives OTLP; every alert does what its tests say in promtool and in vmalert-tool.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use kevmon_tests::{
    dashboards::{self, Dashboard, Query},
    kevmon::Daemon,
    plugin_dir::PluginDir,
    port,
    prometheus::{Format, Prometheus, Series, promtool_check_rules, promtool_test_rules},
    push::plugin_file,
    scratch::Scratch,
    truth,
    victoria_metrics::{VictoriaMetrics, vmalert_check_rules, vmalert_test_rules},
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(90);
const SCRAPE: Duration = Duration::from_secs(1);

/// Panels that show nothing on a healthy host, and what has to happen first. Their queries have to be valid.
const EMPTY_WHERE_ALL_IS_WELL: [(&str, &str); 6] = [
    ("Incomplete now", "records were lost, or eBPF was refused"),
    ("Records lost", "the ring had no room"),
    ("Limits reached", "a map was full"),
    ("Processes in no number", "records were lost"),
    ("CPU time of eBPF programs", "kernel.bpf_stats_enabled is 1"),
    ("Runs of eBPF programs", "kernel.bpf_stats_enabled is 1"),
];

/// Panels that show nothing in a database that receives OTLP, where what never happened has no series.
const EMPTY_OVER_OTLP: [(&str, &str); 4] = [
    ("Clock offset", "the clock was set back"),
    (
        "Collections whose arrival is not known",
        "kevmon was killed with a collection on its way",
    ),
    ("Requests sent twice", "an answer was lost"),
    (
        "Answers that could not be read",
        "a receiver answers with something else",
    ),
];

/// Panels that show kevmon's telemetry, which is not on the page.
const ONLY_OVER_OTLP: [&str; 13] = [
    "Items delivered",
    "Attempts that failed",
    "Duration of attempts, 95th percentile",
    "Requests waiting",
    "Bytes waiting",
    "Requests sent twice",
    "Answers that could not be read",
    "kevmon's CPU time",
    "kevmon's resident memory",
    "kevmon's threads",
    "Duration of collections",
    "CPU time of eBPF programs",
    "Runs of eBPF programs",
];

/// A kevmon with plugins of which each panel has something to show.
struct Watched {
    folder: PluginDir,
    scratch: Scratch,
    looping: Program,
    _running: Running,
    _steady: Program,
    page: u16,
}

impl Watched {
    fn start(database: &VictoriaMetrics) -> Self {
        let (steady, looping) = (
            Program::new(WORKLOAD, "obsteady"),
            Program::new(WORKLOAD, "obloop"),
        );
        let (folder, scratch) = (PluginDir::new(), Scratch::new());
        let further = "[processes]\nenabled = true\nmax = 1\n[export]\nendpoints = [\"default\", \"away\"]\n\
                       [[collector]]\nname = \"status\"\nkind = \"http\"\nurl = \"http://127.0.0.1:9/status\"\n\
                       [[collector.metric]]\nname = \"queue.depth\"\npointer = \"/depth\"\n";
        for (name, program) in [("obsteady", &steady), ("obloop", &looping)] {
            let file = plugin_file(name, &program.pattern(), "naming = \"both\"");
            folder.write(name, &format!("{file}{further}"));
        }
        folder.write(
            "obnone",
            &plugin_file("obnone", "^kvt-obnone$", "naming = \"both\""),
        );
        folder.write("obfaulty", "schema = 1\n[service]\n");
        let page = port::free();
        // Nobody listens where `away` is: soon the spool is full, and the oldest is lost.
        let text = format!(
            "schema = 1\n[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n[endpoints.away]\nendpoint = \"http://127.0.0.1:9\"\n\
             [telemetry]\ninterval = \"1s\"\n[spool]\nmax_bytes = \"64KiB\"\n[prometheus]\nenabled = true\nlisten = \"127.0.0.1:{page}\"\n",
            database.url()
        );
        std::fs::write(scratch.path().join("kevmon.toml"), text).unwrap();
        let running = steady.start(&["pulse", "--busy-ms", "5", "--idle-ms", "20"]);
        Self {
            folder,
            scratch,
            looping,
            _running: running,
            _steady: steady,
            page,
        }
    }

    fn daemon(&self) -> Daemon {
        let path = |name: &str| self.scratch.path().join(name).to_str().unwrap().to_owned();
        Daemon::start(&[
            "--plugins-dir",
            self.folder.path(),
            "--config",
            &path("kevmon.toml"),
            "--metadata-db-path",
            &path("state.db"),
        ])
    }

    /// Processes that fail, are killed and crash, each followed by the next one.
    fn fail(&self) {
        for args in [
            &["exit", "1"][..],
            &["signal", "9"],
            &["segfault"],
            &["exit", "7"],
        ] {
            let mut command = Command::new(self.looping.path());
            // A directory of its own, for the core that it may leave.
            command
                .args(args)
                .current_dir(self.looping.directory())
                .env_clear();
            truth::Spawned::start(&mut command).reap();
        }
    }
}

/// The answers to all queries, once no further one is expected; panics with those that stay empty.
fn answered(
    database: &str,
    queries: &[Query],
    may_be_empty: &BTreeSet<&str>,
    watched: &Watched,
    ask: impl Fn(&str) -> Vec<Series>,
) {
    let deadline = Instant::now() + LIMIT;
    loop {
        watched.fail();
        std::thread::sleep(SCRAPE);
        let answers: Vec<(&Query, Vec<Series>)> = queries
            .iter()
            .map(|query| (query, ask(&query.expression)))
            .collect();
        let is_missing = |(query, series): &&(&Query, Vec<Series>)| {
            series.is_empty() && !may_be_empty.contains(query.panel.as_str())
        };
        let missing: Vec<&str> = answers
            .iter()
            .filter(is_missing)
            .map(|(query, _)| query.expression.as_str())
            .collect();
        if !missing.is_empty() && Instant::now() < deadline {
            continue;
        }
        for (query, series) in &answers {
            let value = series.iter().map(Series::last).fold(f64::NAN, f64::max);
            eprintln!(
                "{database}: {}: {} series, at most {value}",
                query.panel,
                series.len()
            );
        }
        assert!(missing.is_empty(), "{database}: no answer to {missing:#?}");
        for (query, series) in &answers {
            assert_legend(query, series);
        }
        return;
    }
}

/// Each label of a legend has a value in one of the series.
fn assert_legend(query: &Query, series: &[Series]) {
    for label in query.legend.iter().filter(|_| !series.is_empty()) {
        let named = series.iter().any(|series| !series.label(label).is_empty());
        assert!(
            named,
            "{}: no {label} in {series:?} of {}",
            query.panel, query.expression
        );
    }
}

fn assert_variables(dashboard: &Dashboard, ask: impl Fn(&str) -> Vec<Series>) {
    let variables = dashboard.variables();
    assert!(!variables.is_empty());
    for (name, label, series) in variables {
        let values = ask(&format!("count by ({label}) ({series})"));
        let named = !values.is_empty() && values.iter().all(|series| !series.label(&label).is_empty());
        assert!(named, "{name} has no values: {values:?}");
    }
}

/// Alerts that the workloads raise, and one that they do not.
fn assert_alerts(folder: &Path, ask: impl Fn(&str) -> Vec<Series>) {
    for file in dashboards::files(folder, ".yml") {
        for (alert, expression) in dashboards::alerts(&file) {
            let raised = ask(&expression);
            match alert.as_str() {
                "KevmonCrashLoop"
                | "KevmonServiceCrashed"
                | "KevmonServiceKilled"
                | "KevmonFailedStarts"
                | "KevmonPluginFaulty" => {
                    let located = raised.iter().all(|series| !series.label("host_name").is_empty());
                    assert!(
                        !raised.is_empty() && located,
                        "{alert}: {raised:?} of {expression}"
                    );
                }
                "KevmonNoneReports"
                | "KevmonStoppedReporting"
                | "KevmonOutOfMemoryKill"
                | "KevmonWithoutEbpf" => {
                    assert!(raised.is_empty(), "{alert}: {raised:?}");
                }
                _ => {}
            }
        }
    }
}

fn assert_answered(
    name: &str,
    may_be_empty: &BTreeSet<&str>,
    watched: &Watched,
    ask: impl Fn(&str) -> Vec<Series>,
) {
    let folder = dashboards::folder().join(name);
    let files = dashboards::files(&folder, ".json");
    assert_eq!(files.len(), 3, "{files:?}");
    let dashboards: Vec<Dashboard> = files.iter().map(|file| Dashboard::read(file)).collect();
    let queries: Vec<Query> = dashboards
        .iter()
        .flat_map(|dashboard| dashboard.queries("20s", "5m"))
        .collect();
    for title in may_be_empty {
        assert!(
            queries.iter().any(|query| query.panel == *title),
            "no panel {title:?}"
        );
    }
    answered(name, &queries, may_be_empty, watched, &ask);
    for dashboard in &dashboards {
        assert_variables(dashboard, &ask);
    }
    assert_alerts(&folder, &ask);
}

#[test]
fn every_query_has_an_answer() {
    let database = VictoriaMetrics::start_with_prometheus_names();
    let watched = Watched::start(&database);
    let server = Prometheus::scraping(watched.page, Format::OpenMetrics, SCRAPE);
    let first = watched.daemon();
    watched.fail();
    std::thread::sleep(2 * SCRAPE);
    first.terminate();
    let second = watched.daemon();
    let well: BTreeSet<&str> = EMPTY_WHERE_ALL_IS_WELL.map(|(title, _)| title).into();
    let otlp = EMPTY_OVER_OTLP.map(|(title, _)| title);
    let page: BTreeSet<&str> = well.iter().copied().chain(ONLY_OVER_OTLP).collect();
    assert_answered("prometheus", &page, &watched, |query| server.query(query));
    let otlp: BTreeSet<&str> = well.into_iter().chain(otlp).collect();
    assert_answered("victoriametrics", &otlp, &watched, |query| database.query(query));
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    second.terminate();
}

/// Each of the two tools tries the rules about kevmon, and those about services by one of the namings: a query is written once for both.
#[test]
fn every_alert_does_what_its_tests_say_in_prometheus() {
    let mut alerts = 0;
    for folder in ["prometheus", "victoriametrics"] {
        for file in dashboards::files(&dashboards::folder().join(folder), ".yml") {
            let (is_well, said) = promtool_check_rules(&file);
            assert!(is_well, "{}: {said}", file.display());
            alerts += 1;
        }
    }
    assert_eq!(alerts, 6);
    for rules in ["kevmon", "services"] {
        let tests = dashboards::tests_of_alerts().join(format!("prometheus-{rules}.yml"));
        let (is_well, said) = promtool_test_rules(&tests);
        assert!(is_well && said.contains("SUCCESS"), "{said}");
    }
}

/// One file after the other: each begins a database of its own, with a port that is always the same.
#[test]
fn every_alert_does_what_its_tests_say_in_vmalert() {
    for rules in ["kevmon", "services", "services-instana-names"] {
        let alerts = dashboards::folder().join(format!("victoriametrics/alerts-{rules}.yml"));
        let (is_well, said) = vmalert_check_rules(&alerts);
        assert!(is_well, "{said}");
    }
    for rules in ["kevmon", "services-instana-names"] {
        let tests = dashboards::tests_of_alerts().join(format!("victoriametrics-{rules}.yml"));
        let (is_well, said) = vmalert_test_rules(&tests);
        assert!(is_well && said.contains("SUCCESS"), "{said}");
    }
}
