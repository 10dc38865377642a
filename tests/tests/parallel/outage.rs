//! kevmon killed under load and started again: no counter falls, what lived through the outage is caught up
//! with, what ended in it keeps its last known totals, and the gap is stated.

use std::{fs, path::PathBuf, time::Duration};

use kevmon_tests::{
    checks::{self, float},
    history,
    kevmon::Daemon,
    scratch::Scratch,
    tick::Tick,
    truth::{self, Truth},
    wait,
    workload::{Program, Running},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(15);
const PULSE: [&str; 5] = ["pulse", "--busy-ms", "3", "--idle-ms", "12"];
/// For those of which many live at the end.
const SLOW_PULSE: [&str; 5] = ["pulse", "--busy-ms", "1", "--idle-ms", "50"];

/// The state that several runs share, and the program that they watch.
struct Setup {
    program: Program,
    database: PathBuf,
    _scratch: Scratch,
}

impl Setup {
    fn new(stem: &str) -> Self {
        let scratch = Scratch::new();
        Self {
            program: Program::new(WORKLOAD, stem),
            database: scratch.path().join("metadata.db"),
            _scratch: scratch,
        }
    }

    fn start(&self, further: &[&str]) -> Daemon {
        let pattern = self.program.pattern();
        let own = [
            "--interval",
            "200ms",
            "--process-name",
            &pattern,
            "--metadata-db-path",
            self.database.to_str().unwrap(),
        ];
        Daemon::start(&[&own[..], further].concat())
    }

    fn count(&self, tick: &Tick, metric: &str) -> u64 {
        tick.expect_group(&self.program.plugin()).int(metric)
    }

    /// Waits until `metric` has reached `value`.
    fn wait(&self, daemon: &mut Daemon, metric: &str, value: u64) -> Tick {
        daemon.wait_until(&format!("{metric} = {value}"), LIMIT, |tick| {
            self.count(tick, metric) == value
        })
    }
}

/// CPU that a process of one thread has had, nanoseconds.
fn cpu_ns(process: &Running) -> u64 {
    let path = format!("/proc/{}/schedstat", process.pid());
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let first = text.split(' ').next().expect("three numbers");
    first.parse().expect("nanoseconds")
}

/// What the load of the ten outages sums up to.
#[derive(Default)]
struct Sum {
    /// CPU that kevmon must tell, nanoseconds.
    exact: u64,
    /// Bounds of what it must tell of those that ended in an outage.
    least: u64,
    most: u64,
    /// How long it was away at least and at most, nanoseconds.
    away: (u64, u64),
}

#[test]
fn ten_kills_under_load() {
    const KILLS: u64 = 10;
    /// Lives that begin and end within each run.
    const SHORT: u64 = 5;
    let setup = Setup::new("load");
    let plugin = setup.program.plugin();
    let (mut ticks, mut sum, mut found) = (Vec::<Tick>::new(), Sum::default(), Vec::new());
    let mut daemon = setup.start(&[]);
    let steady = [(); 2].map(|()| setup.program.start(&PULSE));
    for kill in 1..=KILLS {
        for index in 0..SHORT {
            let args = ["burn", "--cpu-ms", "4", "--sleeps", &index.to_string()];
            sum.exact += truth::spawn(&setup.program, &args).reap().truth.cpu_ns;
        }
        let victim = setup.program.start(&PULSE);
        // Its start, and all ends so far: those of earlier outages too.
        let starts = 2 + kill * (SHORT + 1);
        setup.wait(&mut daemon, "starts", starts);
        setup.wait(&mut daemon, "exits", kill * SHORT + kill - 1);
        wait::until("the victim to work", wait::SOON, || {
            (cpu_ns(&victim) > 20_000_000).then_some(())
        });
        let known = cpu_ns(&victim);
        let last = daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);

        let mut gap = wait::unix_now();
        ticks.extend(daemon.kill());
        sum.least += known;
        sum.most += cpu_ns(&victim);
        // In the outage: the victim works on and ends, one comes and goes, one comes and stays.
        let used = cpu_ns(&victim);
        wait::until("the victim to work on", wait::SOON, || {
            (cpu_ns(&victim) > used + 20_000_000).then_some(())
        });
        assert_eq!(victim.finish().status, 0);
        assert_eq!(
            truth::spawn(&setup.program, &["burn", "--cpu-ms", "30"])
                .reap()
                .status,
            0
        );
        found.push(setup.program.start(&SLOW_PULSE));
        gap = wait::unix_now() - gap;

        daemon = setup.start(&[]);
        let first = &daemon.ticks()[0];
        sum.away.0 += gap;
        sum.away.1 += first.time() - last.time();
        assert_eq!(first.number("outages"), kill, "{}", first.0);
        // On a busy host the first tick waits for the victim's last record, and is not complete.
        let all_found = |tick: &Tick| tick.expect_group(&plugin).ends_of("unknown") == kill;
        assert!(all_found(first) || !first.complete(), "{}", first.0);
        let found_out = daemon.wait_until("the victim to be missed", LIMIT, all_found);
        let group = found_out.expect_group(&plugin);
        assert_eq!(group.int("joins"), kill, "{}", group.0);
        assert_eq!(group.int("starts"), starts, "{}", group.0);
        assert_eq!(group.int("process_count"), 2 + kill, "{}", group.0);
    }
    for running in steady.into_iter().chain(found) {
        let ended = running.finish();
        assert_eq!(ended.status, 0);
        sum.exact += ended.truth.cpu_ns;
    }
    let exits = KILLS * (SHORT + 1) + 2 + KILLS;
    setup.wait(&mut daemon, "exits", exits);
    let tick = daemon.tick_after(wait::unix_now(), Duration::from_millis(500), LIMIT);
    let group = tick.expect_group(&plugin);
    let told = group.int("cpu_time_ns");
    let bounds = (sum.exact + sum.least)..=(sum.exact + sum.most);
    eprintln!("told {told}, bounds {bounds:?}, away {:?}: {}", sum.away, tick.0);
    let margin = float(sum.exact) * checks::CPU_TOLERANCE;
    assert!(
        (float(*bounds.start()) - margin..=float(*bounds.end()) + margin).contains(&float(told)),
        "{told} ns of CPU outside {bounds:?}: {}",
        group.0
    );
    // Ends that nobody saw have neither a reason nor a length of time.
    assert_eq!(group.ends_of("unknown"), KILLS, "{}", group.0);
    assert_eq!(group.exits_with(0), exits - KILLS, "{}", group.0);
    assert_eq!(group.lifetime().count, exits - KILLS, "{}", group.0);
    let away = tick.number("outage_ns");
    assert!(
        (sum.away.0..=sum.away.1).contains(&away),
        "away for {away} ns, not {:?}",
        sum.away
    );
    let database = daemon.database().to_owned();
    let unknown: Vec<_> = history::rows(&database, Some(&plugin))
        .into_iter()
        .filter(|row| row["event"] == "exit" && row["reason"] == "unknown")
        .collect();
    assert_eq!(unknown.len(), 10, "{unknown:?}");
    for row in unknown {
        assert!(row["lifetime_ns"].is_null() && row["code"].is_null(), "{row}");
    }
    ticks.extend(daemon.ticks().iter().cloned());
    // Over all eleven runs: nothing falls, the start times stay, the sum rule holds.
    checks::assert_sum_rule(&ticks, &plugin);
    daemon.terminate();
}

#[test]
fn an_end_in_an_outage_has_no_downtime() {
    let setup = Setup::new("absent");
    let mut daemon = setup.start(&[]);
    let service = setup.program.start(&["idle"]);
    setup.wait(&mut daemon, "process_count", 1);
    let mut ticks = daemon.kill();
    assert_eq!(service.finish().status, 0);
    let mut daemon = setup.start(&[]);
    let first = daemon.ticks()[0].clone();
    let group = first.expect_group(&setup.program.plugin());
    assert_eq!(
        (group.int("exits"), group.ends_of("unknown")),
        (1, 1),
        "{}",
        group.0
    );
    // Its successor: a start, of which nobody can say for how long it was missed.
    let again = setup.program.start(&["idle"]);
    let tick = setup.wait(&mut daemon, "starts", 2);
    let group = tick.expect_group(&setup.program.plugin());
    assert_eq!(group.downtime().count, 0, "{}", group.0);
    assert_eq!(
        (group.int("unpaired_starts"), group.int("respawns")),
        (1, 0),
        "{}",
        group.0
    );
    assert!(group.lifetime().count == 0 && !group.crash_loop(), "{}", group.0);
    // The next restart is seen as a whole.
    assert_eq!(again.finish().status, 0);
    let third = setup.program.start(&["idle"]);
    let tick = setup.wait(&mut daemon, "starts", 3);
    let group = tick.expect_group(&setup.program.plugin());
    assert_eq!(
        (
            group.downtime().count,
            group.int("respawns"),
            group.int("unpaired_starts")
        ),
        (1, 1, 1),
        "{}",
        group.0
    );
    assert_eq!(third.finish().status, 0);
    setup.wait(&mut daemon, "exits", 3);
    ticks.extend(daemon.ticks().iter().cloned());
    checks::assert_sum_rule(&ticks, &setup.program.plugin());
    daemon.terminate();
}

#[test]
fn what_ends_after_an_outage_is_replaced_as_ever() {
    let setup = Setup::new("survivor");
    let mut daemon = setup.start(&[]);
    let survivor = setup.program.start(&["idle"]);
    setup.wait(&mut daemon, "process_count", 1);
    let mut ticks = daemon.kill();
    let mut daemon = setup.start(&[]);
    setup.wait(&mut daemon, "process_count", 1);
    let before_end = wait::unix_now();
    let ended = survivor.finish();
    assert_eq!(ended.status, 0);
    std::thread::sleep(Duration::from_millis(300));
    let least = wait::unix_now() - ended.truth.last_reap;
    let successor = setup.program.start(&["idle"]);
    let most = wait::unix_now() - before_end;
    let tick = setup.wait(&mut daemon, "starts", 2);
    let group = tick.expect_group(&setup.program.plugin());
    for (metric, value) in [("respawns", 1), ("unpaired_starts", 0), ("exits", 1)] {
        assert_eq!(group.int(metric), value, "{metric}: {}", group.0);
    }
    let told = group.downtime();
    assert!(
        told.count == 1 && (least..=most).contains(&told.sum),
        "{told:?}, not {least} to {most}: {}",
        group.0
    );
    // One more beside it replaces nothing that was seen; the outage may have hidden what it replaces.
    let other = setup.program.start(&["idle"]);
    let tick = setup.wait(&mut daemon, "starts", 3);
    let group = tick.expect_group(&setup.program.plugin());
    assert_eq!(
        (group.int("respawns"), group.int("unpaired_starts")),
        (1, 1),
        "{}",
        group.0
    );
    for running in [successor, other] {
        assert_eq!(running.finish().status, 0);
    }
    setup.wait(&mut daemon, "exits", 3);
    ticks.extend(daemon.ticks().iter().cloned());
    checks::assert_sum_rule(&ticks, &setup.program.plugin());
    daemon.terminate();
}

#[test]
fn a_clean_restart_loses_nothing() {
    let setup = Setup::new("clean");
    let mut sum = Truth::default();
    let mut starts = 0;
    let living = setup.program.start(&PULSE);
    for _ in 0..3 {
        let daemon = setup.start(&[]);
        for _ in 0..5 {
            sum += truth::spawn(&setup.program, &["burn", "--cpu-ms", "5", "--sleeps", "3"])
                .reap()
                .truth;
            starts += 1;
        }
        let last = daemon.terminate();
        assert_eq!(setup.count(&last, "starts"), starts, "{}", last.0);
        assert_eq!(setup.count(&last, "exits"), starts, "{}", last.0);
    }
    let mut daemon = setup.start(&[]);
    let ended = living.finish();
    assert_eq!(ended.status, 0);
    sum += ended.truth;
    let tick = daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    let group = tick.expect_group(&setup.program.plugin());
    assert_eq!(
        (group.int("starts"), group.int("joins")),
        (starts, 1),
        "{}",
        group.0
    );
    assert_eq!(group.ends_of("unknown"), 0, "{}", group.0);
    checks::assert_equals_truth(group, &sum);
    assert_eq!(tick.number("outages"), 3, "{}", tick.0);
    daemon.terminate();
}

#[test]
fn another_boot_catches_up_with_nothing() {
    let setup = Setup::new("boot");
    let plugin = setup.program.plugin();
    let mut daemon = setup.start(&["--boot-id", "kvt-first-boot"]);
    let living = setup.program.start(&PULSE);
    setup.wait(&mut daemon, "process_count", 1);
    wait::until("it to work", wait::SOON, || {
        (cpu_ns(&living) > 50_000_000).then_some(())
    });
    let last = daemon.tick_after(wait::unix_now(), Duration::ZERO, LIMIT);
    let before = setup.count(&last, "cpu_time_ns");
    let mut ticks = daemon.kill();
    let used = cpu_ns(&living);
    wait::until("it to work on", wait::SOON, || {
        (cpu_ns(&living) > used + 50_000_000).then_some(())
    });

    let at_start = cpu_ns(&living);
    let mut daemon = setup.start(&["--boot-id", "kvt-second-boot"]);
    let at_first_tick = cpu_ns(&living);
    let first = daemon.ticks()[0].clone();
    let group = first.expect_group(&plugin);
    // The old member has ended, as far as anyone can know; the process is a new one.
    assert_eq!(
        (
            group.int("exits"),
            group.ends_of("unknown"),
            group.int("joins"),
            group.int("process_count")
        ),
        (1, 1, 1, 1),
        "{}",
        group.0
    );
    let told = group.int("cpu_time_ns");
    // The old member's last CPU time stays. What the process used until it was first read, at some moment of the
    // start, has been counted already: as that of another process of another boot, as far as anyone can know.
    // The kill came a little after the tick that was the last one told.
    let slack = 10_000_000;
    let at_most = before + slack + (at_first_tick - at_start);
    assert!(
        (before..=at_most).contains(&told),
        "{before} before the boot, {told} after it, not {at_most} at most: {}",
        group.0
    );
    let ended = living.finish();
    assert_eq!(ended.status, 0);
    setup.wait(&mut daemon, "exits", 2);
    let tick = daemon.tick_after(ended.truth.last_reap, Duration::from_millis(500), LIMIT);
    let since = setup.count(&tick, "cpu_time_ns") - before;
    let bounds = ended.truth.cpu_ns - at_first_tick..=ended.truth.cpu_ns - at_start + slack;
    assert!(
        bounds.contains(&since),
        "{since} ns since the boot, not {bounds:?}: {}",
        tick.0
    );
    assert_eq!(tick.number("outages"), 1, "{}", tick.0);
    ticks.extend(daemon.ticks().iter().cloned());
    checks::assert_sum_rule(&ticks, &plugin);
    daemon.terminate();
}
