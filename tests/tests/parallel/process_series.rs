//! Series of single processes over their lives: whatever ends one, the receiver is sent its end, and what lives keeps its
//! series.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use kevmon_tests::{
    fake::Fake,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::{Number, Point},
    push::plugin_file,
    scratch::Scratch,
    victoria_metrics::VictoriaMetrics,
    wait, watched,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const PLUGIN: &str = "series";

/// A metric and its attributes.
type Series = (String, BTreeMap<String, String>);

/// The series of single processes that a receiver believes to go on: each value opens one, each end closes it.
fn open(fake: &Fake) -> BTreeSet<Series> {
    let mut points: Vec<Point> = watched::points_of(&fake.points(), PLUGIN);
    points.sort_by_key(|point| point.time);
    let mut open = BTreeSet::new();
    for point in points.iter().filter(|point| is_single(point)) {
        let series = (point.metric.clone(), point.attributes.clone());
        if point.value == Number::Absent {
            assert!(open.remove(&series), "an end of what is not open: {point:?}");
        } else {
            open.insert(series);
        }
    }
    open
}

fn is_single(point: &Point) -> bool {
    point.attributes.contains_key("process.pid")
}

fn pids(series: &BTreeSet<Series>) -> BTreeSet<u32> {
    let pid = |(_, attributes): &Series| attributes["process.pid"].parse().unwrap();
    series.iter().map(pid).collect()
}

/// Waits until these processes have open series and no other has.
fn wait_for(fake: &Fake, what: &str, expected: &[u32]) -> BTreeSet<Series> {
    let expected: BTreeSet<u32> = expected.iter().copied().collect();
    wait::until(what, LIMIT, || {
        std::thread::sleep(Duration::from_millis(20));
        Some(open(fake)).filter(|open| pids(open) == expected)
    })
}

/// A plugin with series of its processes, and a receiver.
struct Setup {
    program: Program,
    folder: PluginDir,
    state: Scratch,
    fake: Fake,
}

impl Setup {
    fn new(naming: &str) -> Self {
        let setup = Self {
            program: Program::new(WORKLOAD, PLUGIN),
            folder: PluginDir::new(),
            state: Scratch::new(),
            fake: Fake::start(),
        };
        setup.write(naming, "[processes]\nenabled = true\n");
        setup
    }

    fn write(&self, naming: &str, further: &str) {
        let monitoring = format!("naming = \"{naming}\"\n");
        let file = plugin_file(PLUGIN, &self.program.pattern(), &monitoring);
        self.folder.write(PLUGIN, &format!("{file}{further}"));
    }

    fn start(&self, further: &[&str], temporality: &str) -> Daemon {
        let database = self.state.path().join("metadata.db");
        let url = self.fake.url();
        let args = [
            "--plugins-dir",
            self.folder.path(),
            "--endpoint",
            &url,
            "--metadata-db-path",
            database.to_str().unwrap(),
        ];
        let preference = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality);
        Daemon::start_with(&[&args[..], further].concat(), &[preference])
    }

    fn work(&self) -> Running {
        self.program.start(&["work"])
    }
}

#[test]
fn a_series_ends_with_its_process_with_kevmon_there_or_not_and_with_its_plugin() {
    for (naming, temporality) in [("otel", "cumulative"), ("both", "delta")] {
        let setup = Setup::new(naming);
        let [one, two, three] = [setup.work(), setup.work(), setup.work()];
        let [of_one, of_two, of_three] = [&one, &two, &three].map(Running::pid);
        let daemon = setup.start(&[], temporality);
        wait_for(&setup.fake, "all three", &[of_one, of_two, of_three]);
        one.finish();
        let before = wait_for(&setup.fake, "the first one's end", &[of_two, of_three]);

        // Killed, and ended in order: what ended meanwhile is told by the next run, and what lives goes on.
        daemon.kill();
        two.finish();
        let daemon = setup.start(&[], temporality);
        let after = wait_for(&setup.fake, "the second one's end", &[of_three]);
        let gone_on: BTreeSet<Series> = before
            .iter()
            .filter(|(_, attributes)| attributes["process.pid"] == of_three.to_string())
            .cloned()
            .collect();
        assert!(gone_on.is_subset(&after), "{gone_on:?}\n{after:?}");
        daemon.terminate();
        assert_eq!(pids(&open(&setup.fake)), BTreeSet::from([of_three]), "it goes on");
        let daemon = setup.start(&[], temporality);

        setup.write(naming, "[processes]\nenabled = false\n");
        wait_for(&setup.fake, "processes to be asked for no more", &[]);
        setup.write(naming, "[processes]\nenabled = true\n");
        wait_for(&setup.fake, "processes to be asked for again", &[of_three]);
        setup.write(
            naming,
            "[processes]\nenabled = true\n[metrics]\nexclude = [\"*memory*\"]\n",
        );
        wait::until("a filter to end some", LIMIT, || {
            std::thread::sleep(Duration::from_millis(20));
            let memory = |(metric, _): &Series| metric.contains("memory");
            Some(open(&setup.fake)).filter(|open| !open.is_empty() && !open.iter().any(memory))
        });
        fs::remove_dir_all(Path::new(setup.folder.path()).join(PLUGIN)).unwrap();
        wait_for(&setup.fake, "the plugin to be gone", &[]);
        daemon.terminate();
        drop(three);
    }
}

#[test]
fn without_a_store_the_last_collection_ends_all_series() {
    let setup = Setup::new("otel");
    let one = setup.work();
    let url = setup.fake.url();
    let daemon = Daemon::start_unstored(&[
        "--plugins-dir",
        setup.folder.path(),
        "--endpoint",
        &url,
        "--no-store",
    ]);
    let before = wait_for(&setup.fake, "the process", &[one.pid()]);
    daemon.terminate();
    wait_for(&setup.fake, "kevmon's end", &[]);
    // Without a store, too, a process is the same to two runs.
    let daemon = Daemon::start_unstored(&[
        "--plugins-dir",
        setup.folder.path(),
        "--endpoint",
        &url,
        "--no-store",
    ]);
    let after = wait_for(&setup.fake, "the process again", &[one.pid()]);
    let created = |series: &BTreeSet<Series>| -> BTreeSet<String> {
        let times = series
            .iter()
            .map(|(_, attributes)| attributes["process.creation.time"].clone());
        times.collect()
    };
    assert_eq!(created(&before), created(&after));
    daemon.terminate();
}

#[test]
fn a_receiver_that_is_sent_the_plugin_no_more_is_sent_the_ends() {
    let setup = Setup::new("otel");
    let one = setup.work();
    let daemon = setup.start(&[], "cumulative");
    wait_for(&setup.fake, "the process", &[one.pid()]);
    let other = Fake::start();
    let further = format!(
        "[processes]\nenabled = true\n[export]\nendpoints = [\"{}\"]\n",
        other.url()
    );
    setup.write("otel", &further);
    wait_for(&setup.fake, "ends at the first receiver", &[]);
    wait_for(&other, "the process at the other one", &[one.pid()]);
    daemon.terminate();
}

/// VictoriaMetrics takes an end for a staleness marker.
#[test]
fn a_query_for_the_busiest_processes_shows_live_ones_alone() {
    let setup = Setup::new("otel");
    let receiver = VictoriaMetrics::start();
    let url = receiver.url();
    let database = setup.state.path().join("vm.db");
    let mut daemon = Daemon::start_with(
        &[
            "--plugins-dir",
            setup.folder.path(),
            "--endpoint",
            &url,
            "--metadata-db-path",
            database.to_str().unwrap(),
        ],
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
    );
    let mut busy: Vec<Running> = (0..4).map(|_| setup.work()).collect();
    let live = setup.work();
    for running in &mut busy {
        assert_eq!(running.ask("user 60"), "ok");
    }
    let dead: BTreeSet<String> = busy.iter().map(|running| running.pid().to_string()).collect();
    let of_all = |what: &str, expected: &dyn Fn(&BTreeSet<String>) -> bool| {
        wait::until(what, LIMIT, || {
            std::thread::sleep(Duration::from_millis(200));
            // kevmon's own process is one, too.
            let query =
                r#"topk(8, sum by (process\.pid) ({__name__="process.cpu.time", service\.name!="kevmon"}))"#;
            let pids: BTreeSet<String> = receiver.labels(query, "process.pid").into_iter().collect();
            Some(pids).filter(|pids| expected(pids))
        })
    };
    of_all("all processes", &|pids| pids.len() == 5 && dead.is_subset(pids));
    let ended = wait::unix_now();
    busy.into_iter().for_each(|running| {
        running.finish();
    });
    daemon.tick_after(ended, Duration::from_millis(300), LIMIT);
    let shown = of_all("live processes alone", &|pids| pids.is_disjoint(&dead));
    assert_eq!(shown, BTreeSet::from([live.pid().to_string()]));
    daemon.terminate();
}
