//! Times of one resource never go back, whatever plugins, receivers and the network do.

use std::{collections::BTreeMap, time::Duration};

use kevmon_tests::{
    fake::{Behaviour, Fake},
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::{Instrument, Number, Point},
    push::plugin_file,
    scratch::Scratch,
    telemetry, times,
    watched::{self, Watched},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const S: u64 = 1_000_000_000;

fn point(id: &str, metric: &str, time: u64) -> Point {
    Point {
        resource: BTreeMap::from([
            ("service.name".to_owned(), "n".to_owned()),
            ("service.instance.id".to_owned(), id.to_owned()),
        ]),
        scope: String::new(),
        metric: metric.to_owned(),
        unit: String::new(),
        instrument: Instrument::Gauge,
        attributes: BTreeMap::new(),
        start_time: 0,
        time,
        value: Number::Int(1),
        buckets: Default::default(),
    }
}

#[test]
fn the_checker_finds_times_that_go_back_and_points_that_come_twice() {
    let faults = |requests: &[&[(&str, &str, u64)]]| {
        let of = |request: &&[(&str, &str, u64)]| {
            let points = request.iter();
            points
                .map(|(id, metric, time)| point(id, metric, *time))
                .collect()
        };
        times::faults(&requests.iter().map(of).collect::<Vec<_>>()).len()
    };
    assert_eq!(
        faults(&[&[("a", "m", S)], &[("a", "m", 2 * S), ("b", "m", S)]]),
        0
    );
    assert_eq!(
        faults(&[&[("a", "m", 2 * S)], &[("a", "n", S)]]),
        1,
        "another series of the resource"
    );
    assert_eq!(
        faults(&[&[("a", "m", 2 * S)], &[("a", "m", 3 * S), ("a", "n", S)]]),
        1,
        "one point of several"
    );
    assert_eq!(
        faults(&[&[("a", "m", 2 * S)], &[("a", "n", 2 * S)]]),
        0,
        "halves of a request"
    );
    assert_eq!(faults(&[&[("a", "m", 2 * S)], &[("a", "m", 2 * S)]]), 1);
    assert_eq!(
        faults(&[&[("a", "m", S), ("a", "m", S + 999_999)]]),
        1,
        "one millisecond"
    );
}

/// Plugins of these intervals, each of two processes.
struct Several {
    folder: PluginDir,
    settings: Scratch,
    _running: Vec<kevmon_tests::workload::Running>,
}

impl Several {
    fn new(stem: &str, intervals: &[&str], monitoring: &str) -> Self {
        let program = Program::new(WORKLOAD, stem);
        let folder = PluginDir::new();
        for (index, interval) in intervals.iter().enumerate() {
            let name = format!("{stem}{index}");
            let file = plugin_file(&name, &program.pattern(), monitoring);
            folder.write(&name, &file.replace("300ms", interval));
        }
        Self {
            folder,
            settings: Scratch::new(),
            _running: (0..2).map(|_| program.start(&["idle"])).collect(),
        }
    }

    fn start(&self, fake: &Fake, export: &str) -> Daemon {
        let file = self.settings.path().join("kevmon.toml");
        let text = format!(
            "schema = 1\n[export]\nendpoint = \"{}\"\n{export}[telemetry]\ninterval = \"1s\"\n",
            fake.url()
        );
        std::fs::write(&file, text).unwrap();
        let database = self.settings.path().join("metadata.db");
        Daemon::start(&[
            "--plugins-dir",
            self.folder.path(),
            "--metadata-db-path",
            database.to_str().unwrap(),
            "--config",
            file.to_str().unwrap(),
        ])
    }
}

/// Intervals that fit each other and that do not, over both transports and each temporality, with a receiver that fails,
/// goes away and comes back, and a kevmon that is told to end and that is killed.
#[test]
fn times_of_a_resource_never_go_back() {
    let table: [(&[&str], &str); 4] = [
        (&["200ms", "300ms", "700ms"], ""),
        (&["100ms", "200ms", "400ms"], "protocol = \"http/protobuf\"\n"),
        (&["310ms", "170ms"], "temporality = \"delta\"\n"),
        (&["250ms", "250ms", "1s"], "max_request_bytes = \"2KiB\"\n"),
    ];
    for (intervals, export) in table {
        let several = Several::new("times", intervals, "naming = \"both\"\n");
        let mut fake = Fake::start();
        let mut daemon = several.start(&fake, export);
        let second = Duration::from_secs(1);
        watched::run_for(&mut daemon, second);
        fake.play(&[Behaviour::Unavailable, Behaviour::LoseAcknowledgement]);
        watched::run_for(&mut daemon, 2 * second);
        fake.stop();
        watched::run_for(&mut daemon, 2 * second);
        fake.restart();
        watched::run_for(&mut daemon, 2 * second);
        daemon.terminate();
        let mut daemon = several.start(&fake, export);
        watched::run_for(&mut daemon, second);
        daemon.kill();
        let mut daemon = several.start(&fake, export);
        watched::run_for(&mut daemon, 2 * second);
        daemon.terminate();
        times::assert_never_back(&fake);
    }
}

/// Two daemons of one host, each with a state of its own: what they say of themselves are two resources.
#[test]
fn daemons_with_states_of_their_own_are_resources_of_their_own() {
    let fake = Fake::start();
    let both = ["statea", "stateb"].map(|stem| Watched::new(WORKLOAD, stem, 1, "300ms", ""));
    let mut daemons = both.each_ref().map(|watched| {
        let settings = telemetry::settings(watched, &fake.url());
        watched.start(&["--config", &settings])
    });
    for _ in 0..3 {
        for daemon in &mut daemons {
            watched::run_for(daemon, Duration::from_millis(700));
        }
    }
    for daemon in daemons {
        daemon.terminate();
    }
    times::assert_never_back(&fake);
    let points = fake.points();
    let ids: std::collections::BTreeSet<&String> = points
        .iter()
        .filter(|point| point.resource["service.name"] == "kevmon")
        .map(|point| &point.resource["service.instance.id"])
        .collect();
    assert_eq!(ids.len(), 2);
}

/// The first failure is a step from 0, in every backend.
#[test]
fn what_goes_wrong_first_begins_with_a_zero_at_the_collection_before() {
    let watched = Watched::new(WORKLOAD, "zero", 1, "300ms", "");
    let fake = Fake::start();
    let settings = watched.write_settings(&format!("[export]\nendpoint = \"{}\"\n", fake.url()));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(2));
    let failures = |fake: &Fake| telemetry::own(&fake.points(), "kevmon.export.failures");
    assert!(failures(&fake).is_empty(), "nothing has failed");
    let of_kind = |fake: &Fake| -> Vec<(u64, f64)> {
        let points = telemetry::own(&fake.points(), "kevmon.soft_failures").into_iter();
        let of = points.filter(|point| point.attributes["kevmon.kind"] == "export_failed");
        of.map(|point| (point.time, point.value.as_f64())).collect()
    };
    assert!(of_kind(&fake).is_empty());
    fake.play(&[Behaviour::Unavailable]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let ticks: Vec<u64> = daemon.ticks().iter().map(|tick| tick.time()).collect();
    daemon.terminate();
    let told = of_kind(&fake);
    assert_eq!((told[0].1, told[1].1), (0.0, 1.0), "{told:?}");
    let first = ticks
        .iter()
        .position(|time| *time == told[1].0)
        .expect("a collection's time");
    assert_eq!(told[0].0, ticks[first - 1], "the collection before");
    let told: Vec<f64> = failures(&fake).iter().map(|point| point.value.as_f64()).collect();
    assert_eq!(told[..2], [0.0, 1.0]);
    times::assert_never_back(&fake);
}
