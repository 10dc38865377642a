//! The receiver away for a long time, kevmon itself killed in the middle: every tick that was told arrives, in order,
//! with its own time, and soon after the receiver is back. One that is dead delays no other, and neither does a full
//! disk.
//!
//! The outage lasts 20 s; `KEVMON_OUTAGE_SECONDS=300` makes it the five minutes that kevmon promises to bridge and to make good within one.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use kevmon_tests::{
    delivery::{self, Delivery},
    fake::{Behaviour, Fake, Signal},
    mount::SmallDisk,
    process,
    tick::Tick,
    wait,
    watched::{self, Watched},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_secs(1);
const PLUGINS: usize = 10;
/// From the receiver's return until it has everything.
const DRAIN: Duration = Duration::from_secs(60);

/// The middle of the outage is where kevmon is killed.
fn outage() -> Duration {
    let seconds = std::env::var("KEVMON_OUTAGE_SECONDS").ok();
    let seconds = seconds.map_or(20, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("KEVMON_OUTAGE_SECONDS={text}: {error}"))
    });
    Duration::from_secs(seconds)
}

#[test]
fn nothing_told_is_lost_though_kevmon_is_killed_while_the_receiver_is_away() {
    for protocol in ["grpc", "http/protobuf"] {
        let watched = Watched::new(WORKLOAD, "away", PLUGINS, "1s", "");
        let mut fake = Fake::start();
        let url = fake.url();
        let args = ["--endpoint", &url, "--protocol", protocol];
        let mut daemon = watched.start(&args);
        watched::run_for(&mut daemon, Duration::from_secs(4));
        fake.stop();
        watched::run_for(&mut daemon, outage() / 2);
        let mut ticks = daemon.kill();
        let in_flight = [ticks.last().unwrap().time()];
        let mut daemon = watched.start(&args);
        watched::run_for(&mut daemon, outage() / 2);
        fake.restart();
        let back = Instant::now();
        let last = daemon.next_tick(LIMIT).time();
        delivery::wait_for_tick(&fake, watched.plugins(), last, DRAIN);
        let drained = back.elapsed();
        ticks.extend(daemon.ticks().iter().cloned());
        eprintln!("{protocol}: away for {:?}, drained in {drained:?}", outage());
        let delivery = Delivery::of(&fake, watched.plugins());
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in watched.plugins() {
            delivery.assert_complete(&ticks, plugin, &in_flight);
        }
        // Across plugins too: what is older came first.
        let mut newest = 0;
        let mut seen = BTreeSet::new();
        for arrival in fake.arrivals().iter().filter(|one| one.signal == Signal::Metrics) {
            let of_plugins = arrival.points();
            let times: BTreeSet<u64> = of_plugins
                .iter()
                .filter(|point| point.resource.contains_key("kevmon.service.id"))
                .map(|point| point.time)
                .filter(|time| ticks.iter().any(|tick| tick.time() == *time))
                .collect();
            for time in times {
                if seen.insert(time) {
                    assert!(time > newest, "{time} came after {newest}");
                    newest = time;
                }
            }
        }
        // Fresh ones come at once again.
        let fresh = daemon.next_tick(LIMIT).time();
        delivery::wait_for_tick(&fake, watched.plugins(), fresh, Duration::from_secs(2));
        daemon.terminate();
    }
}

#[test]
fn an_acknowledgement_that_was_lost_is_the_only_reason_for_a_copy() {
    let watched = Watched::new(WORKLOAD, "copy", 2, "300ms", "");
    let fake = Fake::start();
    let url = fake.url();
    let mut daemon = watched.start(&["--endpoint", &url]);
    let mut ticks = Vec::new();
    for round in 0..5 {
        watched::run_for(&mut daemon, Duration::from_millis(700));
        fake.play(&[Behaviour::LoseAcknowledgement]);
        watched::run_for(&mut daemon, Duration::from_millis(700));
        if round == 2 {
            ticks = daemon.kill();
            daemon = watched.start(&["--endpoint", &url]);
        }
    }
    let printed = ticks.last().unwrap().time();
    let in_flight = [printed];
    // The last one that it printed, or one that it had sent and did not come to print.
    let under_way = printed..daemon.ticks().first().map_or(u64::MAX, |tick| tick.time());
    let last = daemon.next_tick(LIMIT).time();
    delivery::wait_for_tick(&fake, watched.plugins(), last, LIMIT);
    ticks.extend(daemon.ticks().iter().cloned());
    let delivery = Delivery::of(&fake, watched.plugins());
    delivery.assert_in_order();
    // The kill may have come between an acknowledgement and its being kept.
    let copies: Vec<_> = delivery
        .duplicates
        .iter()
        .filter(|(_, time)| !under_way.contains(time))
        .collect();
    assert!(copies.is_empty(), "{copies:?}");
    assert!(
        delivery.sent_again >= fake.met(Behaviour::LoseAcknowledgement) / 2,
        "{} copies of {} requests without an acknowledgement",
        delivery.sent_again,
        fake.met(Behaviour::LoseAcknowledgement)
    );
    for plugin in watched.plugins() {
        delivery.assert_complete(&ticks, plugin, &in_flight);
    }
    daemon.terminate();
}

#[test]
fn one_dead_receiver_delays_no_other_and_has_a_queue_of_its_own() {
    let further = "[export]\nendpoints = [\"default\", \"dead\", \"mute\"]\n";
    let watched = Watched::new(WORKLOAD, "dead", 3, "500ms", further);
    let (alive, mut dead, mute) = (Fake::start(), Fake::start(), Fake::start());
    dead.stop();
    mute.always(Behaviour::Hang);
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[endpoints.dead]\nendpoint = \"{}\"\n[endpoints.mute]\nendpoint = \"{}\"\n",
        alive.url(),
        dead.url(),
        mute.url()
    ));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(6));
    for arrival in alive.arrivals() {
        let of_plugins = arrival.points();
        for point in of_plugins
            .iter()
            .filter(|point| point.resource.contains_key("kevmon.service.id"))
        {
            let late = arrival.at.time.saturating_sub(point.time);
            assert!(late < 400_000_000, "{late} ns late: {point:?}");
        }
    }
    // The one comes back; the other stays mute, and neither is held up by it.
    dead.restart();
    let last = daemon.next_tick(LIMIT).time();
    delivery::wait_for_tick(&dead, watched.plugins(), last, DRAIN);
    let ticks = daemon.ticks().to_vec();
    for fake in [&alive, &dead] {
        let delivery = Delivery::of(fake, watched.plugins());
        delivery.assert_in_order();
        delivery.assert_no_duplicates();
        for plugin in watched.plugins() {
            delivery.assert_complete(&ticks[..ticks.len() - 1], plugin, &[]);
        }
    }
    assert!(Delivery::of(&mute, watched.plugins()).times("dead0").is_empty());
    daemon.terminate();
}

#[test]
fn a_full_disk_costs_only_what_it_cannot_hold() {
    let mut watched = Watched::new(WORKLOAD, "full", 4, "1s", "");
    let place = watched.settings().path().join("disk");
    fs::create_dir(&place).unwrap();
    // Room for the state and a little.
    let disk = SmallDisk::over(&place, 4 << 20);
    watched.set_database(place.join("metadata.db"));
    let mut fake = Fake::start();
    let url = fake.url();
    let mut daemon = watched.start(&["--endpoint", &url]);
    let mut rss = 0;
    for _ in 0..4 {
        daemon.next_tick(LIMIT);
        rss = rss.max(process::rss(daemon.pid()));
    }
    let filler = disk.fill();
    fake.stop();
    for _ in 0..10 {
        daemon.next_tick(LIMIT);
        let now = process::rss(daemon.pid());
        assert!(now <= rss + (16 << 20), "{now} bytes resident, {rss} before");
    }
    let said = daemon.stderr();
    assert!(said.contains(".spool"), "which file has no room:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    fs::remove_file(filler).unwrap();
    fake.restart();
    let since = daemon.next_tick(LIMIT).time();
    delivery::wait_for_tick(&fake, watched.plugins(), since, DRAIN);
    let last = daemon.next_tick(LIMIT).time();
    delivery::wait_for_tick(&fake, watched.plugins(), last, LIMIT);
    let ticks = daemon.ticks().to_vec();
    delivery::assert_on_time(&ticks, INTERVAL);
    let delivery = Delivery::of(&fake, watched.plugins());
    delivery.assert_in_order();
    delivery.assert_no_duplicates();
    // From the return on nothing is missing; before it, what is there is right.
    let after: Vec<Tick> = ticks
        .iter()
        .filter(|tick| tick.time() >= since)
        .cloned()
        .collect();
    for plugin in watched.plugins() {
        delivery.assert_complete(&after, plugin, &[]);
        let arrived = delivery.times(plugin);
        let held: Vec<Tick> = ticks
            .iter()
            .filter(|tick| arrived.contains(&tick.time()))
            .cloned()
            .collect();
        delivery.assert_complete(&held, plugin, &[]);
    }
    daemon.terminate();
}

#[test]
fn the_spool_is_bounded_and_drops_the_oldest() {
    let watched = Watched::new(WORKLOAD, "bound", PLUGINS, "200ms", "");
    let mut fake = Fake::start();
    fake.stop();
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\n[spool]\nmax_bytes = 65536\n",
        fake.url()
    ));
    let mut daemon = watched.start(&["--config", &settings]);
    watched::run_for(&mut daemon, Duration::from_secs(15));
    fake.restart();
    // What is kept until it is found to be back goes on being replaced.
    let arrives = || !fake.points().is_empty();
    while !arrives() {
        daemon.next_tick(LIMIT);
    }
    let last = daemon.next_tick(LIMIT).time();
    delivery::wait_for_tick(&fake, watched.plugins(), last, DRAIN);
    let ticks = daemon.ticks().to_vec();
    let delivery = Delivery::of(&fake, watched.plugins());
    delivery.assert_in_order();
    let arrived = delivery.times("bound0");
    let first = *arrived.first().unwrap();
    assert!(
        ticks[0].time() < first,
        "nothing was dropped: 64 KiB hold {} collections of ten plugins",
        arrived.len()
    );
    // No gap behind the oldest that was kept.
    let kept: Vec<Tick> = ticks.iter().filter(|tick| tick.time() > first).cloned().collect();
    for plugin in watched.plugins() {
        delivery.assert_complete(&kept, plugin, &[]);
    }
    let said = daemon.stderr();
    assert!(said.to_lowercase().contains("dropped"), "it is said:\n{said}");
    daemon.terminate();
}

#[test]
fn no_spool_is_needed_while_all_is_well() {
    let watched = Watched::new(WORKLOAD, "well", 2, "300ms", "");
    let fake = Fake::start();
    let url = fake.url();
    let mut daemon = watched.start(&["--endpoint", &url]);
    watched::run_for(&mut daemon, Duration::from_secs(3));
    let spool = format!("{}.spool", watched.database().display());
    let size = fs::metadata(&spool).map_or(0, |file| file.len());
    assert!(size <= 64 * 1024, "{spool} has {size} bytes");
    wait::until("everything at the receiver", LIMIT, || {
        let last = daemon.ticks().last()?.time();
        delivery::wait_for_tick(&fake, watched.plugins(), last, LIMIT);
        Some(())
    });
    daemon.terminate();
}
