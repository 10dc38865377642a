//! Receivers that misbehave in every way: collections come on time, memory stays bounded, a healthy receiver beside
//! them is not disturbed, and what they take in the end is complete and in order.

use std::time::Duration;

use kevmon_tests::{
    delivery::{self, Delivery},
    fake::{Arrival, Behaviour, Fake, Signal},
    kevmon::Daemon,
    process,
    tick::Tick,
    wait,
    watched::Watched,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const INTERVAL: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
/// Until everything has arrived that was kept.
const RECOVERY: Duration = Duration::from_secs(60);
/// Ticks before the fault, and in it.
const HEALTHY: usize = 4;
const FAULTY: usize = 8;
/// What a fault may cost in memory, beyond the healthy run.
const MEMORY: u64 = 16 * 1024 * 1024;
/// From a collection to a receiver that is well.
const PROMPT: u64 = 500_000_000;

/// A daemon with a healthy receiver and one of each transport to play tricks with.
struct Stage {
    watched: Watched,
    healthy: Fake,
    grpc: Fake,
    http: Fake,
    daemon: Daemon,
    rss: u64,
}

impl Stage {
    fn new(stem: &str) -> Self {
        let further = "[export]\nendpoints = [\"default\", \"grpc\", \"http\"]\n[events]\nenabled = true\n";
        let watched = Watched::new(WORKLOAD, stem, 2, "1s", further);
        let (healthy, grpc, http) = (Fake::start(), Fake::start(), Fake::start());
        let settings = watched.write_settings(&format!(
            "[export]\nendpoint = \"{}\"\ntimeout = \"1s\"\n[endpoints.grpc]\nendpoint = \"{}\"\n\
             timeout = \"1s\"\nprotocol = \"grpc\"\n[endpoints.http]\nendpoint = \"{}\"\n\
             timeout = \"1s\"\nprotocol = \"http/protobuf\"\n",
            healthy.url(),
            grpc.url(),
            http.url()
        ));
        let daemon = watched.start(&["--config", &settings, "--log-level", "info"]);
        let mut stage = Self {
            watched,
            healthy,
            grpc,
            http,
            daemon,
            rss: 0,
        };
        stage.rss = stage.largest_rss(HEALTHY);
        stage
    }

    /// The largest resident set over so many ticks.
    fn largest_rss(&mut self, ticks: usize) -> u64 {
        (0..ticks)
            .map(|_| {
                self.daemon.next_tick(LIMIT);
                process::rss(self.daemon.pid())
            })
            .max()
            .unwrap_or(0)
    }

    fn always(&self, behaviour: Behaviour) {
        self.grpc.always(behaviour);
        self.http.always(behaviour);
    }

    /// The fault's time, with what must hold in it.
    fn endure(&mut self, ticks: usize) {
        let rss = self.largest_rss(ticks);
        assert!(
            rss <= self.rss + MEMORY,
            "{rss} bytes resident in the fault, {} before it",
            self.rss
        );
    }

    /// Waits for the newest tick, told by now, at both.
    fn wait_for_recovery(&mut self) {
        let now = self.daemon.next_tick(LIMIT).time();
        for fake in [&self.grpc, &self.http] {
            delivery::wait_for_tick(fake, self.watched.plugins(), now, RECOVERY);
        }
    }

    /// Stops kevmon; asserts that collections kept their time and that the healthy receiver noticed nothing.
    /// Returns the ticks.
    fn finish(self) -> (Vec<Tick>, Fake, Fake, Vec<String>) {
        let plugins = self.watched.plugins().to_vec();
        let ticks = self.daemon.ticks().to_vec();
        delivery::wait_for_tick(&self.healthy, &plugins, ticks.last().unwrap().time(), LIMIT);
        let told = self.daemon.stderr();
        assert!(!told.contains("panicked"), "{told}");
        self.daemon.terminate();
        delivery::assert_on_time(&ticks, INTERVAL);
        let delivery = Delivery::of(&self.healthy, &plugins);
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in &plugins {
            delivery.assert_complete(&ticks, plugin, &[]);
        }
        for arrival in self.healthy.arrivals() {
            for point in arrival.points().iter().filter(|point| is_of(point, &plugins)) {
                let late = arrival.at.time.saturating_sub(point.time);
                assert!(late < PROMPT, "{late} ns late at the healthy receiver: {point:?}");
            }
        }
        (ticks, self.grpc, self.http, plugins)
    }
}

fn is_of(point: &kevmon_tests::points::Point, plugins: &[String]) -> bool {
    let id = point.resource.get("kevmon.service.id");
    plugins
        .iter()
        .any(|plugin| id == Some(&Watched::service_id(plugin)))
}

fn attempts(fake: &Fake, behaviour: Behaviour) -> Vec<Arrival> {
    let mut arrivals = fake.arrivals();
    arrivals.retain(|arrival| arrival.behaviour == behaviour && arrival.signal == Signal::Metrics);
    arrivals
}

/// A fault that passes: everything arrives in the end, in order.
fn passing(stem: &str, behaviour: Behaviour) -> (Vec<Tick>, Fake, Fake) {
    let mut stage = Stage::new(stem);
    stage.always(behaviour);
    stage.endure(FAULTY);
    stage.always(Behaviour::Accept);
    stage.wait_for_recovery();
    let (ticks, grpc, http, plugins) = stage.finish();
    for fake in [&grpc, &http] {
        let delivery = Delivery::of(fake, &plugins);
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in &plugins {
            let settled: Vec<Tick> = ticks[..ticks.len() - 1].to_vec();
            delivery.assert_complete(&settled, plugin, &[]);
        }
    }
    (ticks, grpc, http)
}

#[test]
fn one_that_never_answers() {
    let (_, grpc, http) = passing("hang", Behaviour::Hang);
    for fake in [&grpc, &http] {
        let tried = attempts(fake, Behaviour::Hang).len();
        assert!((2..=2 * FAULTY).contains(&tried), "{tried} attempts");
    }
}

#[test]
fn one_that_resets_connections() {
    let (_, grpc, http) = passing("reset", Behaviour::Reset);
    for fake in [&grpc, &http] {
        let tried = attempts(fake, Behaviour::Reset).len();
        assert!((2..=4 * FAULTY).contains(&tried), "{tried} attempts");
    }
}

#[test]
fn one_that_takes_and_resets_before_it_answers() {
    let (_, grpc, http) = passing("lost", Behaviour::LoseAcknowledgement);
    for fake in [&grpc, &http] {
        assert!(fake.met(Behaviour::LoseAcknowledgement) > 0);
    }
}

#[test]
fn one_that_is_unavailable() {
    let (_, grpc, http) = passing("unav", Behaviour::Unavailable);
    for fake in [&grpc, &http] {
        let tried = attempts(fake, Behaviour::Unavailable);
        assert!(tried.len() >= 2, "{} attempts", tried.len());
        let gaps: Vec<Duration> = tried
            .windows(2)
            .map(|pair| pair[1].at.instant - pair[0].at.instant)
            .collect();
        let longest = gaps.iter().max().unwrap();
        assert!(longest > &(gaps[0] + gaps[0] / 2), "no back-off: {gaps:?}");
    }
}

#[test]
fn one_that_wants_to_be_left_alone_for_a_while() {
    const DELAY: u64 = 3;
    let (_, grpc, http) = passing("later", Behaviour::Later(DELAY));
    for fake in [&grpc, &http] {
        let arrivals = fake.arrivals();
        let refused = arrivals
            .iter()
            .position(|arrival| {
                arrival.behaviour == Behaviour::Later(DELAY) && arrival.signal == Signal::Metrics
            })
            .unwrap();
        let first = &arrivals[refused];
        // The next one with metrics, whatever becomes of it. Requests that were on their way do not count.
        let next = arrivals[refused + 1..].iter().find(|arrival| {
            arrival.signal == Signal::Metrics
                && arrival.at.instant > first.at.instant + Duration::from_millis(200)
        });
        let waited = next.unwrap().at.instant - first.at.instant;
        assert!(
            waited >= Duration::from_secs(DELAY) - Duration::from_millis(50),
            "asked to wait for {DELAY} s, came back after {waited:?}"
        );
    }
}

#[test]
fn one_that_speaks_something_else() {
    let (_, grpc, http) = passing("noise", Behaviour::Noise);
    for fake in [&grpc, &http] {
        assert!(fake.connections() >= 2, "{} connections", fake.connections());
    }
}

/// A fault that stays for the requests that meet it: they are not sent again, and it is said once, with what to do.
fn lasting(stem: &str, behaviour: Behaviour) -> (Fake, Fake) {
    let mut stage = Stage::new(stem);
    let before = stage.daemon.stderr().len();
    stage.always(behaviour);
    stage.endure(FAULTY);
    for fake in [&stage.grpc, &stage.http] {
        let port = format!(":{}", fake.port());
        let said = stage.daemon.stderr()[before..].to_owned();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(&port)).collect();
        assert!(
            (1..=2).contains(&lines.len()),
            "{behaviour:?} at {port} said {} times:\n{said}",
            lines.len()
        );
        assert!(lines[0].contains("; "), "and what to do: {}", lines[0]);
        assert!(!attempts(fake, behaviour).is_empty());
    }
    stage.always(Behaviour::Accept);
    stage.wait_for_recovery();
    let (_, grpc, http, plugins) = stage.finish();
    for fake in [&grpc, &http] {
        let delivery = Delivery::of(fake, &plugins);
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        assert_eq!(delivery.sent_again, 0);
        assert_sent_once(fake, behaviour, &plugins);
    }
    (grpc, http)
}

/// Asserts that no collection met this behaviour twice.
fn assert_sent_once(fake: &Fake, behaviour: Behaviour, plugins: &[String]) {
    let mut seen = std::collections::BTreeSet::new();
    for arrival in attempts(fake, behaviour) {
        for point in arrival.points().iter().filter(|point| is_of(point, plugins)) {
            let series = format!(
                "{:?}{:?}",
                point.resource.get("kevmon.service.id"),
                point.attributes
            );
            assert!(
                seen.insert((series, point.metric.clone(), point.time)),
                "sent again after {behaviour:?}: {point:?}"
            );
        }
    }
    assert!(!seen.is_empty(), "nothing met {behaviour:?}");
}

#[test]
fn one_that_finds_the_data_bad() {
    lasting("bad", Behaviour::Invalid);
}

#[test]
fn one_that_does_not_know_the_client() {
    lasting("unauth", Behaviour::Unauthenticated);
}

#[test]
fn one_that_takes_a_part() {
    let (grpc, http) = lasting("part", Behaviour::Partial(2));
    for fake in [&grpc, &http] {
        assert!(fake.met(Behaviour::Partial(2)) >= FAULTY - 2);
    }
}

#[test]
fn one_that_answers_with_garbage() {
    let mut stage = Stage::new("garbage");
    stage.always(Behaviour::Garbage);
    stage.endure(FAULTY);
    stage.always(Behaviour::Accept);
    stage.wait_for_recovery();
    let (ticks, grpc, http, plugins) = stage.finish();
    for fake in [&grpc, &http] {
        // It took what it answered so; kevmon may take that for an answer, or send it again.
        let delivery = Delivery::of(fake, &plugins);
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in &plugins {
            delivery.assert_complete(&ticks[..ticks.len() - 1], plugin, &[]);
        }
    }
}

#[test]
fn one_that_knows_metrics_only() {
    let further = "[events]\nenabled = true\n";
    let watched = Watched::new(WORKLOAD, "only", 1, "300ms", further);
    for protocol in ["grpc", "http/protobuf"] {
        let fake = Fake::start_without(&[Signal::Logs, Signal::Traces]);
        let url = fake.url();
        let mut daemon = watched.start(&["--endpoint", &url, "--protocol", protocol]);
        for _ in 0..3 {
            let child = watched.program().start(&["idle"]);
            assert_eq!(child.finish().status, 0);
            daemon.next_tick(LIMIT);
        }
        wait::until("logs to be refused", LIMIT, || {
            (fake.met(Behaviour::Unknown) > 0).then_some(())
        });
        for _ in 0..10 {
            daemon.next_tick(LIMIT);
        }
        let unknown: Vec<Signal> = fake
            .arrivals()
            .iter()
            .filter(|arrival| arrival.behaviour == Behaviour::Unknown)
            .map(|arrival| arrival.signal)
            .collect();
        for signal in [Signal::Logs, Signal::Traces] {
            let tried = unknown.iter().filter(|one| **one == signal).count();
            assert!(tried <= 2, "{signal:?} tried {tried} times over {protocol}");
        }
        let said = daemon.stderr();
        let about_logs = said
            .lines()
            .filter(|line| line.contains("logs") && line.contains(&fake.port().to_string()));
        assert_eq!(about_logs.count(), 1, "{said}");
        let last = daemon.next_tick(LIMIT).time();
        delivery::wait_for_tick(&fake, watched.plugins(), last, LIMIT);
        let ticks = daemon.ticks().to_vec();
        Delivery::of(&fake, watched.plugins()).assert_complete(&ticks, "only0", &[]);
        daemon.terminate();
    }
}

#[test]
fn a_name_that_nobody_knows() {
    let healthy = Fake::start();
    let further = "[export]\nendpoints = [\"default\", \"http://kevmon-tests.invalid:4317\"]\n";
    let watched = Watched::new(WORKLOAD, "dns", 2, "1s", further);
    let url = healthy.url();
    let alone = Watched::new(WORKLOAD, "alone", 2, "1s", "");
    let mut daemon = alone.start(&["--endpoint", &url]);
    let mut rss = 0;
    for _ in 0..HEALTHY {
        daemon.next_tick(LIMIT);
        rss = rss.max(process::rss(daemon.pid()));
    }
    daemon.terminate();

    let mut daemon = watched.start(&["--endpoint", &url]);
    for _ in 0..FAULTY {
        daemon.next_tick(LIMIT);
        let now = process::rss(daemon.pid());
        assert!(
            now <= rss + MEMORY,
            "{now} bytes resident, {rss} without the fault"
        );
    }
    let ticks = daemon.ticks().to_vec();
    delivery::wait_for_tick(&healthy, watched.plugins(), ticks.last().unwrap().time(), LIMIT);
    let said = daemon.stderr();
    assert!(said.contains("kevmon-tests.invalid"), "{said}");
    daemon.terminate();
    delivery::assert_on_time(&ticks, INTERVAL);
    let delivery = Delivery::of(&healthy, watched.plugins());
    for plugin in watched.plugins() {
        delivery.assert_complete(&ticks, plugin, &[]);
    }
}
