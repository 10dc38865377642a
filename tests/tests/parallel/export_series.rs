//! Series of single processes: what they say, which processes have them, and when they end.

use std::{collections::BTreeSet, time::Duration};

use kevmon_tests::{
    checks, delivery,
    fake::Fake,
    kevmon::Daemon,
    plugin_dir::PluginDir,
    points::{Instrument, Number, Point},
    push::{COUNTER, GAUGE, INSTANA, UP_DOWN, assert_shape, assert_times, plugin_file},
    same_pid,
    tick::Tick,
    wait, watched,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// The table of docs/metrics.md, and the group's metric that is the sum of the processes'.
const SINGLE: [(&str, Instrument, &str, Option<&str>); 17] = [
    ("cpu_user_time_total", COUNTER, "s", Some("cpu_user_time_total")),
    (
        "cpu_system_time_total",
        COUNTER,
        "s",
        Some("cpu_system_time_total"),
    ),
    ("cpu_usage", GAUGE, "1", None),
    ("run_queue_wait_time", COUNTER, "s", Some("run_queue_wait_time")),
    (
        "voluntary_ctx_switches",
        COUNTER,
        "{context_switch}",
        Some("voluntary_ctx_switches"),
    ),
    (
        "nonvoluntary_ctx_switches",
        COUNTER,
        "{context_switch}",
        Some("nonvoluntary_ctx_switches"),
    ),
    ("disk_read_bytes", COUNTER, "By", Some("disk_read_bytes")),
    ("disk_write_bytes", COUNTER, "By", Some("disk_write_bytes")),
    ("minor_faults", COUNTER, "{fault}", None),
    ("major_faults", COUNTER, "{fault}", None),
    ("memory_rss", GAUGE, "By", Some("memory_rss_total")),
    ("peak_rss", GAUGE, "By", None),
    ("memory_vms", GAUGE, "By", Some("memory_vms_total")),
    ("memory_usage", GAUGE, "1", None),
    ("thread_count", UP_DOWN, "{thread}", Some("thread_count")),
    (
        "open_file_descriptors",
        UP_DOWN,
        "{file_descriptor}",
        Some("open_file_descriptors"),
    ),
    ("uptime", GAUGE, "s", None),
];

/// The values of the attribute that splits a metric.
type Split = &'static [&'static str];

/// The same for the other naming, with the values of the attribute that splits it; the group's has the same ones, and the same
/// stem.
const SINGLE_OTEL: [(&str, Instrument, &str, Split, Option<&str>); 13] = [
    (
        "process.cpu.time",
        COUNTER,
        "s",
        &["system", "user"],
        Some("cpu.time"),
    ),
    ("process.cpu.utilization", GAUGE, "1", &["system", "user"], None),
    ("kevmon.process.run_queue.wait_time", COUNTER, "s", &[], None),
    (
        "process.context_switches",
        COUNTER,
        "{context_switch}",
        &["involuntary", "voluntary"],
        Some("context_switches"),
    ),
    (
        "process.disk.io",
        COUNTER,
        "By",
        &["read", "write"],
        Some("disk.io"),
    ),
    (
        "process.paging.faults",
        COUNTER,
        "{fault}",
        &["major", "minor"],
        Some("paging.faults"),
    ),
    ("process.memory.usage", UP_DOWN, "By", &[], Some("memory.usage")),
    ("kevmon.process.memory.peak", GAUGE, "By", &[], None),
    (
        "process.memory.virtual",
        UP_DOWN,
        "By",
        &[],
        Some("memory.virtual"),
    ),
    ("process.memory.utilization", GAUGE, "1", &[], None),
    (
        "process.thread.count",
        UP_DOWN,
        "{thread}",
        &[],
        Some("thread.count"),
    ),
    (
        "process.unix.file_descriptor.count",
        UP_DOWN,
        "{file_descriptor}",
        &[],
        Some("unix.file_descriptor.count"),
    ),
    ("process.uptime", GAUGE, "s", &[], None),
];

/// A process by its attributes.
type Id = (u32, String);

fn id(point: &Point) -> Option<Id> {
    let pid = point.attributes.get("process.pid")?.parse().unwrap();
    Some((pid, point.attributes["process.creation.time"].clone()))
}

/// The points of a plugin at the time of a tick, once all of them are there: those with values, and those that end a series.
fn all_at(fake: &Fake, plugin: &str, tick: &Tick) -> (Vec<Point>, Vec<Point>) {
    delivery::wait_for_tick(fake, &[plugin.to_owned()], tick.time(), LIMIT);
    watched::points_of(&fake.points(), plugin)
        .into_iter()
        .filter(|point| point.time == tick.time())
        .partition(|point| point.value != Number::Absent)
}

/// Those with values.
fn at(fake: &Fake, plugin: &str, tick: &Tick) -> Vec<Point> {
    all_at(fake, plugin, tick).0
}

/// The processes that have points.
fn processes(points: &[Point]) -> BTreeSet<Id> {
    points.iter().filter_map(id).collect()
}

fn pids(points: &[Point]) -> BTreeSet<u32> {
    processes(points).into_iter().map(|(pid, _)| pid).collect()
}

fn left_out(points: &[Point], metric: &str) -> f64 {
    let mut of_metric = points.iter().filter(|point| point.metric == metric);
    let value = of_metric.next().unwrap().value.as_f64();
    assert!(of_metric.next().is_none());
    value
}

/// Milliseconds since midnight, of a creation time.
fn time_of_day(creation: &str) -> u64 {
    let (_, time) = creation.split_once('T').expect("ISO 8601");
    let parts = time.trim_end_matches('Z').split([':', '.']);
    let numbers: Vec<u64> = parts.map(|part| part.parse().expect("a number")).collect();
    let [hour, minute, second, ms] = numbers[..] else {
        panic!("{creation}")
    };
    ((hour * 60 + minute) * 60 + second) * 1_000 + ms
}

/// A plugin with series of its two busiest processes.
struct Singles {
    program: Program,
    folder: PluginDir,
    fake: Fake,
    plugin: &'static str,
}

impl Singles {
    fn new(plugin: &'static str, monitoring: &str) -> Self {
        let program = Program::new(WORKLOAD, plugin);
        let folder = PluginDir::new();
        let file = plugin_file(plugin, &program.pattern(), monitoring).replace("300ms", "500ms");
        folder.write(
            plugin,
            &format!("{file}[processes]\nenabled = true\nmax = 2\nby = \"cpu\"\n"),
        );
        Self {
            program,
            folder,
            fake: Fake::start(),
            plugin,
        }
    }

    fn work(&self) -> Running {
        self.program.start(&["work"])
    }

    fn start(&self) -> Daemon {
        Daemon::start(&[
            "--plugins-dir",
            self.folder.path(),
            "--endpoint",
            &self.fake.url(),
        ])
    }

    /// The next tick that begins after this moment, and its points.
    fn next(&self, daemon: &mut Daemon) -> (Tick, Vec<Point>) {
        let tick = daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
        let points = at(&self.fake, self.plugin, &tick);
        (tick, points)
    }
}

/// The attributes that describe a process, whatever else it is told by.
fn assert_described(point: &Point, program: &Program) {
    let attributes = &point.attributes;
    let text = |key: &str| attributes.get(key).map(String::as_str);
    assert_eq!(text("process.executable.name"), Some(program.name()), "{point:?}");
    assert_eq!(text("process.command"), Some(program.path_text()), "{point:?}");
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        assert_eq!(text("process.owner"), Some("root"), "{point:?}");
    }
    let known = [
        "process.pid",
        "process.creation.time",
        "process.executable.name",
        "process.command",
        "process.owner",
        "container.id",
        "k8s.pod.uid",
        "kevmon.process.unit",
    ];
    let own = attributes.keys().filter(|key| !known.contains(&key.as_str()));
    assert!(own.count() <= 1, "{point:?}");
}

fn busy(running: &mut Running, ms: u32) {
    assert_eq!(running.ask(&format!("user {ms}")), "ok");
}

#[test]
fn single_processes_are_told_by_name_and_add_up_to_the_group() {
    let setup = Singles::new("single", "");
    let (mut one, mut other) = (setup.work(), setup.work());
    let mut daemon = setup.start();
    busy(&mut one, 60);
    busy(&mut other, 30);
    let (tick, points) = setup.next(&mut daemon);
    let group = tick.expect_group("single");
    let members = group.members();
    assert_eq!(members.len(), 2, "{}", group.0);
    assert_eq!(left_out(&points, "per_process.left_out"), 0.0);
    let singles: Vec<Point> = points
        .iter()
        .filter(|point| id(point).is_some())
        .cloned()
        .collect();
    assert_eq!(processes(&singles).len(), 2);
    for (metric, instrument, unit, of_group) in SINGLE {
        let name = format!("per_process.{metric}");
        assert_shape(&singles, &name, instrument, unit);
        let of_metric: Vec<&Point> = singles.iter().filter(|point| point.metric == name).collect();
        assert_eq!(of_metric.len(), 2, "{name}");
        assert_eq!(processes(&singles).len(), 2, "{name}");
        if let Some(of_group) = of_group {
            let sum = of_metric.iter().map(|point| point.value.as_f64()).sum();
            checks::assert_close(sum, group.float(of_group), &name);
        }
    }
    let known = SINGLE.map(|(metric, ..)| format!("per_process.{metric}"));
    for point in &singles {
        assert!(known.contains(&point.metric), "{point:?}");
        assert_described(point, &setup.program);
        let (pid, creation) = id(point).unwrap();
        let member = members.iter().find(|member| member.pid == pid).unwrap();
        // To the tick of /proc, and midnight may lie in between.
        let started = member.start_time / 1_000_000 % 86_400_000;
        let early = (86_400_000 + started - time_of_day(&creation)) % 86_400_000;
        assert!(early <= 10, "{creation}, {member:?}");
        if point.instrument == COUNTER {
            assert_eq!(
                point.start_time, member.start_time,
                "sums begin at the start: {point:?}"
            );
        }
        if point.metric == "per_process.uptime" {
            let age = checks::float(tick.time() - member.start_time) / 1e9;
            assert!((point.value.as_f64() - age).abs() < 0.01, "{age}: {point:?}");
        }
    }
    // The group's names are not theirs.
    for (metric, ..) in INSTANA {
        let told = points.iter().filter(|point| point.metric == metric);
        assert!(told.clone().count() <= 1, "{metric}");
        assert!(told.clone().all(|point| id(point).is_none()), "{metric}");
    }
    daemon.terminate();
    assert_times(&watched::points_of(&setup.fake.points(), "single"));
}

#[test]
fn the_busiest_have_places_and_keep_them_and_series_end() {
    let setup = Singles::new("top", "");
    let (mut one, mut two, mut three) = (setup.work(), setup.work(), setup.work());
    let [of_one, of_two, of_three] = [&one, &two, &three].map(Running::pid);
    // By the means over their lives these two are first.
    busy(&mut one, 200);
    busy(&mut two, 100);
    let mut daemon = setup.start();
    let (tick, points) = setup.next(&mut daemon);
    assert_eq!(pids(&points), BTreeSet::from([of_one, of_two]), "{}", tick.0);
    assert_eq!(left_out(&points, "per_process.left_out"), 1.0);
    assert_eq!(tick.expect_group("top").int("process_count"), 3);
    // The third one works more than both, and has a place soon; the one that loses its own is told so.
    let (mut ticks, mut before) = (0, processes(&points));
    let (points, ends) = loop {
        busy(&mut three, 150);
        let tick = daemon.next_tick(LIMIT);
        let (points, ends) = all_at(&setup.fake, "top", &tick);
        assert_eq!(left_out(&points, "per_process.left_out"), 1.0);
        if pids(&points).contains(&of_three) {
            break (points, ends);
        }
        assert_eq!(ends, [], "nobody has lost a place");
        before = processes(&points);
        ticks += 1;
        assert!(ticks < 20, "it has no place after {ticks} collections");
    };
    let lost: BTreeSet<Id> = before.difference(&processes(&points)).cloned().collect();
    assert_eq!(lost.len(), 1, "{before:?}");
    assert_eq!(processes(&ends), lost);
    assert_eq!(ends.len(), SINGLE.len(), "each of its series ends");
    // What it used stays in the group's sums; its series end, and the free place is taken.
    let of_ended: BTreeSet<Id> = processes(&points)
        .into_iter()
        .filter(|(pid, _)| *pid == of_three)
        .collect();
    let three = three.finish();
    assert_eq!(three.status, 0);
    let gone = daemon.tick_after(three.truth.last_reap, Duration::from_millis(100), LIMIT);
    let points = at(&setup.fake, "top", &gone);
    assert_eq!(left_out(&points, "per_process.left_out"), 0.0);
    assert_eq!(pids(&points), BTreeSet::from([of_one, of_two]));
    assert!(gone.expect_group("top").float("cpu_user_time_total") > 0.3);
    let all = watched::points_of(&setup.fake.points(), "top");
    let ends = all.iter().filter(|point| point.value == Number::Absent);
    let ends: Vec<&Point> = ends
        .filter(|point| id(point).is_some_and(|id| of_ended.contains(&id)))
        .collect();
    assert_eq!(ends.len(), SINGLE.len(), "each series ends once: {ends:?}");

    let ended = one.finish();
    assert_eq!(ended.status, 0);
    let gone = daemon.tick_after(ended.truth.last_reap, Duration::from_millis(100), LIMIT);
    assert_eq!(pids(&at(&setup.fake, "top", &gone)), BTreeSet::from([of_two]));
    // Its pid comes again: another process, another series.
    let again = same_pid::spawn(
        of_one,
        &setup.program,
        &["burn", "--cpu-ms", "100", "--life-ms", "3000"],
    );
    std::thread::sleep(Duration::from_millis(200));
    let (_, points) = setup.next(&mut daemon);
    let new: Vec<Id> = processes(&points)
        .into_iter()
        .filter(|(pid, _)| *pid == of_one)
        .collect();
    assert_eq!(new.len(), 1, "{:?}", processes(&points));
    let all = with_values(&setup.fake);
    let of_pid: BTreeSet<Id> = processes(&all)
        .into_iter()
        .filter(|(pid, _)| *pid == of_one)
        .collect();
    assert_eq!(of_pid.len(), 2, "{of_pid:?}");
    let user = |points: &[Point], wanted: &Id| {
        let found = points.iter().rfind(|point| {
            point.metric == "per_process.cpu_user_time_total" && id(point).as_ref() == Some(wanted)
        });
        found.unwrap().value.as_f64()
    };
    assert!(
        user(&points, &new[0]) < 0.15,
        "it does not begin where the old one ended: {points:?}"
    );
    let end = again.reap();
    assert_eq!(end.status, 0);
    let last = daemon.terminate();
    delivery::wait_for_tick(&setup.fake, &["top".to_owned()], last.time(), LIMIT);
    let all = with_values(&setup.fake);
    let latest = |wanted: &Id| {
        all.iter()
            .filter(|point| id(point).as_ref() == Some(wanted))
            .map(|point| point.time)
            .max()
    };
    for of_pid in &of_pid {
        let ended = if *of_pid == new[0] { end } else { ended };
        assert!(
            latest(of_pid).unwrap() <= ended.truth.last_reap,
            "{of_pid:?} is told after its end"
        );
    }
}

fn with_values(fake: &Fake) -> Vec<Point> {
    let mut all = watched::points_of(&fake.points(), "top");
    all.retain(|point| point.value != Number::Absent);
    all
}

#[test]
fn single_processes_by_the_other_naming() {
    let setup = Singles::new("conv", "naming = \"otel\"");
    let (mut one, mut other, _third) = (setup.work(), setup.work(), setup.work());
    busy(&mut one, 60);
    busy(&mut other, 30);
    let mut daemon = setup.start();
    daemon.next_tick(LIMIT);
    let (_, points) = setup.next(&mut daemon);
    assert_eq!(left_out(&points, "kevmon.group.process.left_out"), 1.0);
    let singles: Vec<Point> = points
        .iter()
        .filter(|point| id(point).is_some())
        .cloned()
        .collect();
    assert_eq!(pids(&singles), BTreeSet::from([one.pid(), other.pid()]));
    let known: BTreeSet<String> = SINGLE_OTEL
        .iter()
        .map(|(metric, ..)| (*metric).to_owned())
        .collect();
    assert!(
        points
            .iter()
            .all(|point| !point.metric.starts_with("per_process."))
    );
    for (metric, instrument, unit, split, of_group) in SINGLE_OTEL {
        let name = metric.to_owned();
        assert_shape(&singles, &name, instrument, unit);
        let of_metric: Vec<&Point> = singles.iter().filter(|point| point.metric == name).collect();
        assert_eq!(of_metric.len(), 2 * split.len().max(1), "{name}: {of_metric:?}");
        for part in split {
            let of_part = |point: &&&Point| point.attributes.values().any(|value| value == part);
            let of_metric: Vec<&&Point> = of_metric.iter().filter(of_part).collect();
            assert_eq!(of_metric.len(), 2, "{name} {part}");
            let Some(of_group) = of_group else { continue };
            let names = [format!("process.{of_group}"), format!("kevmon.group.{of_group}")];
            let of_group = points
                .iter()
                .filter(|point| names.contains(&point.metric) && id(point).is_none());
            let of_group: Vec<f64> = of_group
                .filter(|point| of_part(&point))
                .map(|point| point.value.as_f64())
                .collect();
            let sum: f64 = of_metric.iter().map(|point| point.value.as_f64()).sum();
            assert_eq!(of_group.len(), 1, "{name} {part}");
            assert!(
                sum <= of_group[0] * (1.0 + 1e-9),
                "{name} {part}: {sum} of {of_group:?}"
            );
        }
    }
    for point in &singles {
        assert!(known.contains(&point.metric), "{point:?}");
        assert_described(point, &setup.program);
    }
    daemon.terminate();
}
