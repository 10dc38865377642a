//! Collections to one receiver in every way at once: gRPC and HTTP, with and without gzip, cumulative and delta. Each way is a
//! plugin of its own, so that what arrives says which way it came.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::{Instrument, Number, Point},
    push::{COUNTER, INSTANA, plugin_file},
    sample::{self, EXACT, Sample},
    scratch::Scratch,
    telemetry::lane,
    tick::Tick,
    watched::{Watched, run_for},
    workload::{Program, Running},
};

/// A process that works a little all the time, so that no two collections measure the same.
const WORK: [&str; 5] = ["pulse", "--busy-ms", "1", "--idle-ms", "40"];
/// Deadline of the last requests.
const LIMIT: Duration = Duration::from_secs(20);
/// OTLP's number for delta temporality.
const DELTA: i32 = 1;

/// Ways to a receiver: name, protocol and compression.
pub const WAYS: [(&str, &str, &str); 4] = [
    ("grpcnone", "grpc", "none"),
    ("grpcgzip", "grpc", "gzip"),
    ("httpnone", "http/protobuf", "none"),
    ("httpgzip", "http/protobuf", "gzip"),
];

/// A kevmon whose plugins go to one receiver, each in its way.
#[derive(Debug)]
pub struct Cells {
    daemon: Daemon,
    temporality: &'static str,
    ways: Vec<(&'static str, &'static str, &'static str)>,
    _folder: PluginDir,
    _settings: Scratch,
    _running: Running,
    _program: Program,
}

impl Cells {
    /// Starts it with a plugin for each of `ways`, which sends to `url` of its protocol. `temporality` is `cumulative` or
    /// `delta`.
    pub fn start(
        workload: &str,
        temporality: &'static str,
        interval: Duration,
        ways: &[(&'static str, &'static str, &'static str)],
        url: impl Fn(&str, &str) -> String,
    ) -> Self {
        let program = Program::new(workload, "cells");
        let folder = PluginDir::new();
        let settings = Scratch::new();
        let mut text =
            format!("schema = 1\n[export]\ntemporality = \"{temporality}\"\n[telemetry]\nenabled = false\n");
        for (way, protocol, compression) in ways {
            let plugin = format!("{temporality}{way}");
            let file = plugin_file(&plugin, &program.pattern(), "")
                .replace("300ms", &format!("{}ms", interval.as_millis()));
            folder.write(&plugin, &format!("{file}[export]\nendpoints = [\"{way}\"]\n"));
            write!(
                text,
                "[endpoints.{way}]\nendpoint = \"{}\"\nprotocol = \"{protocol}\"\ncompression = \"{compression}\"\n",
                url(way, protocol)
            )
            .expect("text");
        }
        let file = settings.path().join("kevmon.toml");
        std::fs::write(&file, text).expect("a file in the scratch directory");
        let running = program.start(&WORK);
        let daemon = Daemon::start(&[
            "--plugins-dir",
            folder.path(),
            "--config",
            file.to_str().expect("a UTF-8 scratch directory"),
        ]);
        Self {
            daemon,
            temporality,
            ways: ways.to_vec(),
            _folder: folder,
            _settings: settings,
            _running: running,
            _program: program,
        }
    }

    /// Takes in ticks for so long.
    pub fn run_for(&mut self, time: Duration) {
        run_for(&mut self.daemon, time);
    }

    /// Stops kevmon, and asserts of every way that each of at least `collections` ticks was taken and none was repeated. Returns
    /// the ticks.
    pub fn finish(mut self, collections: usize) -> Vec<Tick> {
        // On a busy machine some requests may still be on their way.
        let ways = &self.ways;
        self.daemon.wait_until("nothing to wait", LIMIT, |tick| {
            let waiting = |way| lane(tick, way, "metrics")["waiting_requests"].as_u64();
            ways.iter()
                .all(|(way, ..)| waiting(way).is_some_and(|count| count <= 1))
        });
        let said = self.daemon.stderr();
        let ticks = self.daemon.terminate_told();
        // The last line is written when what it counts is on its way; the one before says it of all others.
        let told = &ticks[ticks.len() - 2];
        for (way, ..) in &self.ways {
            let lane = lane(told, way, "metrics");
            let what = format!("{} {way}: {lane}\n{said}", self.temporality);
            for (key, wanted) in [("repeated", 0), ("failures", 0), ("unreadable_answers", 0)] {
                assert_eq!(lane[key].as_u64(), Some(wanted), "{key} of {what}");
            }
        }
        assert!(ticks.len() >= collections, "{} ticks", ticks.len());
        ticks
    }
}

/// The plugin of a way.
pub fn plugin(temporality: &str, way: &str) -> String {
    format!("{temporality}{way}")
}

/// Asserts that `points` hold every collection of a way once, with the values that were measured.
pub fn assert_each_once(points: &[Point], ticks: &[Tick], temporality: &str, way: &str) {
    let plugin = plugin(temporality, way);
    let id = Watched::service_id(&plugin);
    let of_plugin: Vec<Point> = points
        .iter()
        .filter(|point| point.resource.get("kevmon.service.id") == Some(&id))
        .cloned()
        .collect();
    let last = of_plugin.iter().map(|point| point.time).max().unwrap_or_default();
    let told: Vec<Tick> = ticks.iter().filter(|tick| tick.time() <= last).cloned().collect();
    let first = of_plugin.iter().map(|point| point.time).min().unwrap_or_default();
    assert_eq!(first, told[0].time(), "{plugin}: the first collection");
    assert_eq!(
        Some(last),
        ticks.last().map(Tick::time),
        "{plugin}: the last collection"
    );
    if temporality == "cumulative" {
        let samples = Sample::of_service(&of_plugin, &id);
        let compared = sample::assert_equals_measured(&told, &plugin, &samples, EXACT);
        assert_eq!(compared, ticks.len(), "{plugin}");
    } else {
        assert_deltas(&of_plugin, &told, &plugin);
    }
}

/// Asserts that the deltas of every counter join without a gap and add up to the sums that were measured.
fn assert_deltas(points: &[Point], ticks: &[Tick], plugin: &str) {
    for (metric, ..) in INSTANA.iter().filter(|(_, instrument, _)| *instrument == COUNTER) {
        let mut by_time: BTreeMap<u64, &Point> = BTreeMap::new();
        for point in points.iter().filter(|point| point.metric == *metric) {
            let is_delta = matches!(
                point.instrument,
                Instrument::Sum {
                    temporality: DELTA,
                    ..
                }
            );
            assert!(is_delta, "{plugin}: {point:?}");
            let twice = by_time.insert(point.time, point);
            assert!(twice.is_none(), "{plugin}: {metric} twice at {}", point.time);
        }
        let mut sum = 0.0;
        let mut before: Option<&Point> = None;
        for tick in ticks {
            let Some(point) = by_time.get(&tick.time()) else {
                panic!("{plugin}: no {metric} at {}", tick.time())
            };
            if let Some(before) = before {
                assert_eq!(point.start_time, before.time, "{plugin}: {metric}");
            }
            before = Some(point);
            assert!(
                matches!(point.value, Number::Int(_) | Number::Double(_)),
                "{point:?}"
            );
            sum += point.value.as_f64();
            let measured = tick.expect_group(plugin).float(metric);
            crate::checks::assert_close(sum, measured, metric);
        }
    }
}
