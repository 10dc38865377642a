//! The detailed mode against the kernel's own accounts: counts to the last switch, sums to the nanosecond, distributions
//! to the bucket, and who ran instead.
#![expect(clippy::panic, reason = "a failed assumption in a test is a failed test")]

use std::{thread, time::Duration};

use kevmon_tests::{
    cgroup::UnitCgroup,
    checks, features,
    kevmon::{self, Daemon},
    plugin_dir::PluginDir,
    points::{Instrument, Number, Point},
    process::{self, Scheduled},
    receiver::Receiver,
    tick::Group,
    truth,
    victoria_metrics::VictoriaMetrics,
    wait,
    watch::Watch,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// A plugin in detailed mode for one program, with `further` keys of `[monitoring]`.
fn folder(program: &Program, further: &str) -> PluginDir {
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[plugin]\nname = \"detail\"\n[service]\nprocess_name = \"{}\"\n[monitoring]\ninterval = \"200ms\"\n\
         mode = \"detailed\"\n{further}\n",
        program.pattern()
    );
    folder.write("detail", &text);
    folder
}

/// Whether this kernel keeps what tracing programs note of a thread with the thread (5.13 and newer).
fn measures() -> bool {
    let measures = features::kernel() >= (5, 13);
    let state = if measures {
        "measured"
    } else {
        "not measured, which the log says"
    };
    features::tell("context switches in detailed mode", state);
    measures
}

#[test]
fn an_old_kernel_takes_samples_and_says_what_it_lacks() {
    let program = Program::new(WORKLOAD, "detail-kernel");
    let folder = folder(&program, "");
    let mut watch = Watch::plugin(&folder, "detail");
    let running = program.start(&["switches"]);
    watch.expect(1, &[]);
    let tick = watch.until("samples", |group| {
        group.0["sampled"]["threads"]["count"].as_u64() > Some(3)
    });
    let is_told = watch.group(&tick).0.get("distributions").is_some();
    let is_said = watch
        .stderr()
        .contains("detailed mode without what happens at context switches");
    assert_eq!(
        (is_told, is_said),
        (measures(), !measures()),
        "{}",
        watch.stderr()
    );
    running.finish();
    watch.finish();
}

/// A key of one of its distributions; 0 where it is absent.
fn of(group: Group<'_>, distribution: &str, key: &str) -> u64 {
    group.0["distributions"][distribution][key].as_u64().unwrap_or(0)
}

/// How often the threads left a CPU, by the kernel.
fn left(scheduled: &Scheduled) -> u64 {
    scheduled.switches.0 + scheduled.switches.1
}

/// The kernel's account of a process that waits for its input, and kevmon's of its group, at one moment.
fn both(watch: &mut Watch, running: &Running) -> (Scheduled, serde_json::Value) {
    // Once it has answered, it is on its way to wait for more.
    wait::until("a thread that waits", Duration::from_secs(20), || {
        let before = process::scheduled(running.pid());
        let tick = watch.settled(wait::unix_now());
        let is_still = before == process::scheduled(running.pid());
        is_still.then(|| (before, watch.group(&tick).0.clone()))
    })
}

/// What the kernel and kevmon have counted of a process while it did something.
struct Done {
    before: Scheduled,
    after: Scheduled,
    first: serde_json::Value,
    second: serde_json::Value,
}

impl Done {
    /// Has it do `work`, line by line.
    fn of(watch: &mut Watch, running: &mut Running, work: &[&str]) -> Self {
        let (before, first) = both(watch, running);
        for line in work {
            assert_eq!(running.ask(line), "ok", "{line}");
        }
        let (after, second) = both(watch, running);
        Self {
            before,
            after,
            first,
            second,
        }
    }

    /// By how much a number of a distribution has grown.
    fn grown(&self, distribution: &str, key: &str) -> u64 {
        of(Group(&self.second), distribution, key) - of(Group(&self.first), distribution, key)
    }

    /// kevmon's turns are the kernel's, to the last switch and nanosecond.
    #[track_caller]
    fn assert_turns(&self) {
        let (before, after) = (&self.before, &self.after);
        assert_eq!(
            self.grown("on_cpu", "count"),
            left(after) - left(before),
            "{}",
            self.second
        );
        assert_eq!(
            self.grown("on_cpu", "sum_ns"),
            after.runtime - before.runtime,
            "{}",
            self.second
        );
    }
}

#[test]
fn a_thread_s_counts_and_sums_are_the_kernel_s() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail");
    let folder = folder(&program, "");
    let mut watch = Watch::plugin(&folder, "detail");
    let mut running = program.start(&["switches"]);
    watch.expect(1, &[]);
    assert_eq!(running.ask("pin 0"), "ok");
    let done = Done::of(&mut watch, &mut running, &["sleep 200 3000", "spin 100"]);
    done.assert_turns();
    let Done { before, after, .. } = &done;
    let grown = |distribution: &str, key: &str| done.grown(distribution, key);
    let second = Group(&done.second);
    assert_eq!(
        grown("run_queue_latency", "count"),
        after.turns - before.turns,
        "{}",
        second.0
    );
    assert_eq!(
        grown("run_queue_latency", "sum_ns"),
        after.run_delay - before.run_delay
    );
    // It slept as often as it gave up the CPU, and was preempted as often as it had to.
    let slept = grown("off_cpu_sleep", "count") + grown("off_cpu_uninterruptible", "count");
    assert_eq!(slept, after.switches.0 - before.switches.0);
    assert_eq!(grown("preempted", "count"), after.switches.1 - before.switches.1);
    let median = of(second, "off_cpu_sleep", "p50_ns");
    assert!(
        (2_700_000..4_000_000).contains(&median),
        "sleeps of 3 ms: {median}"
    );
    // Who ran while it waited adds up to the wait.
    let named: u64 = second.0["preemptors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|by| by["time_ns"].as_u64().expect("a number"))
        .sum();
    let others = second.0["preemptors_others_ns"].as_u64().expect("a number");
    let unknown = second.0["preemptors_unknown_ns"].as_u64().expect("a number");
    let waited = of(second, "run_queue_latency", "sum_ns");
    assert!(named + others + unknown <= waited, "{}", second.0);
    // Ten names are told at most.
    assert!(named + others + unknown + waited / 10 >= waited, "{}", second.0);
    assert_eq!(second.0["detail_complete"], true, "{}", second.0);
    running.finish();
    watch.finish();
}

#[test]
fn what_was_found_running_is_measured_from_then_on() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-found");
    let folder = folder(&program, "");
    let mut running = program.start(&["switches"]);
    assert_eq!(running.ask("sleep 50 1000"), "ok");
    let mut watch = Watch::plugin(&folder, "detail");
    watch.expect(1, &[]);
    let done = Done::of(&mut watch, &mut running, &["sleep 100 1000"]);
    done.assert_turns();
    assert!(
        of(Group(&done.first), "on_cpu", "count") < 20,
        "not what was before: {}",
        done.first
    );
    running.finish();
    watch.finish();
}

#[test]
fn short_lives_and_threads_are_in_the_distributions_as_in_the_sums() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-short");
    let folder = folder(&program, "");
    let mut watch = Watch::plugin(&folder, "detail");
    let mut running = program.start(&["switches"]);
    assert_eq!(running.ask("threads 100 200"), "ok");
    let lives: Vec<_> = (0..100)
        .map(|_| truth::spawn(&program, &["burn", "--sleeps", "5"]).reap())
        .collect();
    let tick = watch.settled(wait::unix_now());
    let group = watch.group(&tick);
    assert_eq!(group.int("starts"), 101, "{}", group.0);
    let switches = group.int("voluntary_ctx_switches") + group.int("nonvoluntary_ctx_switches");
    let counted = of(group, "on_cpu", "count");
    // A life's last switch is in the kernel's sums where its parent was not faster.
    assert!(
        counted >= switches && counted <= switches + 201,
        "{counted} of {switches}: {}",
        group.0
    );
    let (told, cpu) = (of(group, "on_cpu", "sum_ns"), group.int("cpu_time_ns"));
    assert!(told.abs_diff(cpu) < cpu / 50, "{told} of {cpu}: {}", group.0);
    assert_eq!(lives.len(), 100);
    assert_eq!(group.0["detail_complete"], true, "{}", group.0);
    running.finish();
    watch.finish();
}

#[test]
fn a_hog_is_named_with_its_time() {
    if !measures() {
        return;
    }
    let (program, hog) = (
        Program::new(WORKLOAD, "detail-victim"),
        Program::new(WORKLOAD, "hog"),
    );
    let folder = folder(&program, "");
    let mut watch = Watch::plugin(&folder, "detail");
    let (mut victim, mut rival) = (program.start(&["switches"]), hog.start(&["switches"]));
    watch.expect(1, &[]);
    for running in [&mut victim, &mut rival] {
        assert_eq!(running.ask("pin 1"), "ok");
    }
    let (_, first) = both(&mut watch, &victim);
    let before = process::scheduled(rival.pid());
    victim.tell("spin 3000");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(rival.ask("spin 2000"), "ok");
    let after = process::scheduled(rival.pid());
    assert_eq!(victim.line(), "ok");
    let (_, second) = both(&mut watch, &victim);
    let comm: String = hog.name().chars().take(15).collect();
    let time = |group: &serde_json::Value| {
        let all = group["preemptors"].as_array().expect("a list");
        let own = all.iter().find(|by| by["name"] == comm.as_str());
        own.map_or(0, |by| by["time_ns"].as_u64().expect("a number"))
    };
    let (told, ran) = (time(&second) - time(&first), after.runtime - before.runtime);
    assert!(ran > 100_000_000, "it ran: {ran}");
    // On a busy CPU more turns may lie between two of the victim's than are kept, or more names.
    let grown = |key: &str| second[key].as_u64().expect("a number") - first[key].as_u64().expect("a number");
    let open = grown("preemptors_others_ns") + grown("preemptors_unknown_ns");
    // It waited by the clock, in which time that the host's host took from the hog counts, too.
    assert!(told <= ran + ran / 10, "{told} of {ran}: {second}");
    assert!(
        told + open + ran / 50 >= ran,
        "{told} and {open} of {ran}: {second}"
    );
    rival.finish();
    victim.finish();
    watch.finish();
}

#[test]
fn a_burst_between_two_collections_is_in_the_peaks() {
    const MIB: u64 = 300;
    let program = Program::new(WORKLOAD, "detail-peak");
    let folder = PluginDir::new();
    let text = format!(
        "schema = 1\n[plugin]\nname = \"peak\"\n[service]\nprocess_name = \"{}\"\n[monitoring]\ninterval = \"5s\"\n\
         mode = \"detailed\"\nsample_interval = \"50ms\"\n",
        program.pattern()
    );
    folder.write("peak", &text);
    let mut daemon = Daemon::start(&["--plugins-dir", folder.path()]);
    let mut running = program.start(&["switches"]);
    assert_eq!(running.ask("pin 0"), "ok");
    daemon.wait_until("the process", Duration::from_secs(20), |tick| {
        tick.expect_group("peak").int("process_count") == 1
    });
    let (began, before) = (wait::unix_now(), process::scheduled(running.pid()));
    assert_eq!(running.ask("spin 300"), "ok");
    let (ended, after) = (wait::unix_now(), process::scheduled(running.pid()));
    let asked = wait::unix_now();
    assert_eq!(running.ask(&format!("allocate {MIB} 200")), "ok");
    let freed = wait::unix_now();
    let tick = daemon.next_tick(Duration::from_secs(20));
    let group = tick.expect_group("peak");
    let peak = &group.0["peaks"]["cpu_utilization"];
    let value = peak["value"].as_f64().expect("a number");
    let time = peak["time"].as_u64().expect("a time");
    // Others may take a part of the CPU. The kernel accounts a running thread once a scheduler tick, of 10 ms at most, and a sample
    // sees what was accounted.
    let mean = checks::float(after.runtime - before.runtime) / checks::float(ended - began);
    let tick_of_sample = 10.0 / 50.0;
    assert!(
        value > mean * 0.95 && value < 1.0 + tick_of_sample,
        "one CPU, or {mean} of it: {}",
        group.0
    );
    let sample = 200_000_000;
    assert!(
        time > began && time < ended + sample,
        "{time}: {began} to {ended}"
    );
    let rss = &group.0["peaks"]["rss_bytes"];
    let (value, time) = (rss["value"].as_u64(), rss["time"].as_u64());
    let (value, time) = value.zip(time).expect("numbers");
    assert!(
        value > MIB << 20 && value < (MIB << 20) * 21 / 20,
        "{MIB} MiB: {}",
        group.0
    );
    assert!(
        time > asked && time < freed + sample,
        "{time}: {asked} to {freed}"
    );
    let samples = group.0["sampled"]["threads"]["count"].as_u64().expect("a number");
    assert!(samples > 20, "{}", group.0);
    let memory = &group.0["memory"];
    assert!(
        memory["pss_bytes"].as_u64().is_some_and(|bytes| bytes > 0),
        "{memory}"
    );
    running.finish();
    daemon.terminate();
}

#[test]
fn a_run_for_a_moment_prints_its_window() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-once");
    let mut running = program.start(&["switches"]);
    running.tell("sleep 100000 2000");
    let pattern = program.pattern();
    let output = kevmon::run_once(&[
        "--mode",
        "detailed",
        "--window",
        "500ms",
        "--output",
        "json",
        "--process-name",
        &pattern,
    ]);
    output.assert_code(0);
    let tick = output.json();
    let group = tick.expect_group(&program.plugin());
    let count = of(group, "off_cpu_sleep", "count");
    assert!((1..=300).contains(&count), "{}", group.0);
    // It goes with its program.
    drop(program);
    drop(running);
}

#[test]
fn from_proc_there_are_samples_and_no_switches() {
    let program = Program::new(WORKLOAD, "detail-proc");
    let running = program.start(&["switches"]);
    let pattern = program.pattern();
    let output = kevmon::run_once(&[
        "--mode",
        "detailed",
        "--window",
        "500ms",
        "--source",
        "proc",
        "--output",
        "json",
        "--process-name",
        &pattern,
    ]);
    output.assert_code(0);
    let tick = output.json();
    let group = tick.expect_group(&program.plugin());
    assert!(
        group.0.get("distributions").is_none(),
        "absent, not zero: {}",
        group.0
    );
    assert!(
        group.0["sampled"]["threads"]["count"].as_u64().is_some(),
        "{}",
        group.0
    );
    assert!(
        output
            .stderr
            .contains("detailed mode without what happens at context switches"),
        "{}",
        output.stderr
    );
    running.finish();
}

/// What arrives at a receiver, with these variables set.
fn arrives(environment: &[(&str, &str)]) -> (Vec<Point>, u64) {
    let program = Program::new(WORKLOAD, "detail-sent");
    let folder = folder(&program, "naming = \"both\"");
    let receiver = Receiver::start();
    let endpoint = format!("http://127.0.0.1:{}", receiver.port());
    let args = ["--plugins-dir", folder.path(), "--endpoint", &endpoint];
    let mut daemon = Daemon::start_with(&args, environment);
    let mut running = program.start(&["switches"]);
    assert_eq!(running.ask("sleep 100 1000"), "ok");
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_secs(1), Duration::from_secs(20));
    running.finish();
    let count = of(tick.expect_group("detail"), "on_cpu", "count");
    daemon.terminate();
    (receiver.points(), count)
}

/// The points of a metric that is a distribution, each with its number of values.
fn told<'a>(points: &'a [Point], metric: &str) -> Vec<(&'a Point, u64)> {
    let of_metric = points.iter().filter(|point| point.metric == metric);
    of_metric
        .map(|point| match point.value {
            Number::Distribution { count, .. } => (point, count),
            other => panic!("{metric}: {other:?}"),
        })
        .collect()
}

#[test]
fn distributions_arrive_in_each_form() {
    if !measures() {
        return;
    }
    const FORM: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    const SUMS: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    for (form, temporality, instrument) in [
        (
            "base2_exponential_bucket_histogram",
            "cumulative",
            Instrument::ExponentialHistogram { temporality: 2 },
        ),
        (
            "base2_exponential_bucket_histogram",
            "delta",
            Instrument::ExponentialHistogram { temporality: 1 },
        ),
        (
            "explicit_bucket_histogram",
            "cumulative",
            Instrument::Histogram { temporality: 2 },
        ),
        (
            "explicit_bucket_histogram",
            "delta",
            Instrument::Histogram { temporality: 1 },
        ),
    ] {
        let (points, count) = arrives(&[(FORM, form), (SUMS, temporality)]);
        for metric in ["on_cpu_time", "kevmon.group.on_cpu.time"] {
            let told = told(&points, metric);
            let (last, last_count) = told
                .last()
                .unwrap_or_else(|| panic!("{form} {temporality}: no {metric}"));
            assert_eq!(last.instrument, instrument, "{metric}");
            assert_eq!((last.unit.as_str(), last.start_time > 0), ("s", true));
            for (point, count) in &told {
                let in_buckets: u64 = point.buckets.1.iter().sum();
                assert_eq!(in_buckets, *count, "{point:?}");
                assert!(
                    point.buckets.0.windows(2).all(|pair| pair[0] < pair[1]),
                    "{point:?}"
                );
            }
            let all = match temporality {
                "delta" => told.iter().map(|(_, count)| count).sum(),
                _ => *last_count,
            };
            assert!(
                all >= count && all < count + 20,
                "{form} {temporality}: {all} of {count}"
            );
        }
        // Sleeps of a millisecond lie in the bucket that holds it.
        let slept = told(&points, "off_cpu_time");
        let mut slept = slept.iter().filter(|(point, count)| {
            *count > 50
                && point
                    .attributes
                    .get("kevmon.off_cpu.state")
                    .is_some_and(|state| state == "sleep")
        });
        let (point, _) = slept
            .next_back()
            .unwrap_or_else(|| panic!("{form} {temporality}: no sleeps"));
        let (bounds, counts) = &point.buckets;
        let most = (0..counts.len()).max_by_key(|&at| counts[at]).expect("buckets");
        assert!((0.001..0.0025).contains(&bounds[most]), "{point:?}");
    }
}

#[test]
fn a_receiver_that_others_wrote_reads_them() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-vm");
    let folder = folder(&program, "");
    let receiver = VictoriaMetrics::start();
    let args = [
        "--plugins-dir",
        folder.path(),
        "--endpoint",
        &receiver.url(),
        "--protocol",
        "http/protobuf",
    ];
    let mut daemon = Daemon::start(&args);
    let mut running = program.start(&["switches"]);
    assert_eq!(running.ask("sleep 100 5000"), "ok");
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_secs(1), Duration::from_secs(20));
    let count = of(tick.expect_group("detail"), "off_cpu_sleep", "count");
    let found = wait::until("the distribution", Duration::from_secs(30), || {
        let names = receiver.names();
        names
            .iter()
            .any(|name| name.starts_with("off_cpu_time"))
            .then_some(names)
    });
    let counts = receiver.query("off_cpu_time_count{\"kevmon.off_cpu.state\"=\"sleep\"}");
    assert!(!counts.is_empty(), "{found:?}");
    assert!(count >= 100, "{count}");
    running.finish();
    daemon.terminate();
    assert_eq!(receiver.complaints(), [] as [String; 0]);
}

#[test]
fn a_unit_that_waits_for_cpus_says_so() {
    let program = Program::new(WORKLOAD, "detail-unit");
    let folder = folder(&program, "");
    let unit = UnitCgroup::new(&format!("{}.service", program.name()));
    let mut watch = Watch::plugin(&folder, "detail");
    let mut rivals: Vec<Running> = (0..3).map(|_| program.start(&["switches"])).collect();
    for rival in &mut rivals {
        std::fs::write(unit.processes(), rival.pid().to_string()).expect("a cgroup of its own");
        assert_eq!(rival.ask("pin 0"), "ok");
    }
    watch.expect(3, &[]);
    let tick = watch.until("pressure", |group| {
        group.0["pressure"]["cpu"]["some_ns"].as_u64().is_some()
    });
    let before = watch.group(&tick).0["pressure"]["cpu"]["some_ns"]
        .as_u64()
        .expect("a number");
    // Three on one CPU: two of them wait at each moment.
    for rival in &mut rivals {
        rival.tell("spin 1000");
    }
    for rival in &mut rivals {
        assert_eq!(rival.line(), "ok");
    }
    let tick = watch.settled(wait::unix_now());
    let pressure = &watch.group(&tick).0["pressure"];
    let waited = pressure["cpu"]["some_ns"].as_u64().expect("a number") - before;
    assert!(
        (500_000_000..3_000_000_000).contains(&waited),
        "{waited}: {pressure}"
    );
    // One that leaves the unit: they share nothing any more but the host.
    let root = kevmon_tests::cgroup::unified().join("cgroup.procs");
    std::fs::write(root, rivals[0].pid().to_string()).expect("the root takes it back");
    watch.until("no pressure", |group| group.0.get("pressure").is_none());
    for rival in rivals {
        rival.finish();
    }
    watch.finish();
}

#[test]
fn a_reload_begins_and_ends_it() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-reload");
    let plain = |mode: &str| {
        format!(
            "schema = 1\n[plugin]\nname = \"detail\"\n[service]\nprocess_name = \"{}\"\n[monitoring]\ninterval = \"200ms\"\n\
             mode = \"{mode}\"\n",
            program.pattern()
        )
    };
    let folder = PluginDir::new();
    folder.write("detail", &plain("standard"));
    let mut watch = Watch::plugin(&folder, "detail");
    let mut running = program.start(&["switches"]);
    let tick = watch.expect(1, &[]);
    assert!(watch.group(&tick).0.get("sampled").is_none());
    folder.write("detail", &plain("detailed"));
    watch.until("the detailed mode", |group| {
        group.0.get("distributions").is_some()
    });
    let measured = Done::of(&mut watch, &mut running, &["sleep 20 1000"]);
    measured.assert_turns();
    folder.write("detail", &plain("standard"));
    assert_eq!(running.ask("spin 50"), "ok");
    watch.until("the standard mode", |group| {
        group.0.get("distributions").is_none()
    });
    folder.write("detail", &plain("detailed"));
    let tick = watch.until("the detailed mode again", |group| {
        group.0.get("distributions").is_some()
    });
    let again = watch.group(&tick);
    assert!(
        of(again, "on_cpu", "count") < of(Group(&measured.second), "on_cpu", "count"),
        "from its beginning: {}",
        again.0
    );
    assert_eq!(again.int("starts"), 1, "{}", again.0);
    // What it used while nobody measured is in no turn.
    Done::of(&mut watch, &mut running, &["sleep 20 1000"]).assert_turns();
    running.finish();
    watch.finish();
}

#[test]
fn threads_that_execute_or_outlive_their_leader_count_once() {
    if !measures() {
        return;
    }
    let program = Program::new(WORKLOAD, "detail-once-each");
    let folder = folder(&program, "");
    let mut watch = Watch::plugin(&folder, "detail");
    // The leader is a zombie while its threads go on, and is looked at all that time.
    let running = program.start(&["threads", "4", "--cpu-ms", "50", "--leader-exits-first"]);
    watch.expect(1, &[]);
    for _ in 0..3 {
        watch.settled(wait::unix_now());
    }
    running.finish();
    // A chain of programs in one process: what each did counts for the group once.
    let chain = program.start(&["exec-chain", "5"]);
    chain.finish();
    let tick = watch.settled(wait::unix_now());
    let group = watch.group(&tick);
    let (told, cpu) = (of(group, "on_cpu", "sum_ns"), group.int("cpu_time_ns"));
    assert!(told.abs_diff(cpu) < cpu / 200, "{told} of {cpu}: {}", group.0);
    let switches = group.int("voluntary_ctx_switches") + group.int("nonvoluntary_ctx_switches");
    let counted = of(group, "on_cpu", "count");
    assert!(
        counted.abs_diff(switches) <= 20,
        "{counted} of {switches}: {}",
        group.0
    );
    watch.finish();
}
