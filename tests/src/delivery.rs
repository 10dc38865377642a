//! What of the ticks told has arrived at a scripted receiver: complete, in order, and how often.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    fake::{Arrival, Behaviour, Fake},
    points::Point,
    sample::{self, EXACT, Sample},
    tick::Tick,
    wait,
    watched::Watched,
};

/// An answer on its way when the receiver is killed is as good as lost.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What one receiver took of one kevmon's plugins.
#[derive(Debug)]
pub struct Delivery {
    /// Of each plugin: the times of its collections in order of arrival, the first copy of each.
    times: BTreeMap<String, Vec<u64>>,
    samples: BTreeMap<String, Vec<Sample>>,
    /// Copies whose first one was acknowledged, as far as the receiver knows.
    pub duplicates: Vec<(String, u64)>,
    /// Copies whose first one was not.
    pub sent_again: usize,
}

impl Delivery {
    /// What `fake` took so far of these plugins.
    pub fn of(fake: &Fake, plugins: &[String]) -> Self {
        let mut delivery = Self {
            times: BTreeMap::new(),
            samples: BTreeMap::new(),
            duplicates: Vec::new(),
            sent_again: 0,
        };
        let stops = fake.stops();
        let unacknowledged = |arrival: &Arrival| {
            matches!(
                arrival.behaviour,
                Behaviour::LoseAcknowledgement | Behaviour::Garbage
            ) || stops
                .iter()
                .any(|stop| *stop >= arrival.at.instant && *stop <= arrival.at.instant + ON_ITS_WAY)
        };
        let mut first_copies: BTreeMap<(String, u64), bool> = BTreeMap::new();
        for arrival in fake.arrivals().iter().filter(|arrival| arrival.taken()) {
            let points = arrival.points();
            for plugin in plugins {
                let of_plugin = Sample::of_service(&points, &Watched::service_id(plugin));
                let times: BTreeSet<u64> = of_plugin.iter().map(|sample| sample.time).collect();
                for time in times {
                    match first_copies.get(&(plugin.clone(), time)) {
                        Some(true) => delivery.sent_again += 1,
                        Some(false) => delivery.duplicates.push((plugin.clone(), time)),
                        None => {
                            first_copies.insert((plugin.clone(), time), unacknowledged(arrival));
                            delivery.times.entry(plugin.clone()).or_default().push(time);
                            let new = of_plugin.iter().filter(|sample| sample.time == time).cloned();
                            delivery.samples.entry(plugin.clone()).or_default().extend(new);
                        }
                    }
                }
            }
        }
        delivery
    }

    /// The times of a plugin's collections that arrived.
    pub fn times(&self, plugin: &str) -> BTreeSet<u64> {
        self.times.get(plugin).into_iter().flatten().copied().collect()
    }

    /// Asserts that the first copies of each plugin came oldest first.
    pub fn assert_in_order(&self) {
        for (plugin, times) in &self.times {
            for pair in times.windows(2) {
                assert!(pair[0] < pair[1], "{plugin}: {} came before {}", pair[0], pair[1]);
            }
        }
    }

    /// Asserts that nothing came twice whose acknowledgement was not lost.
    pub fn assert_no_duplicates(&self) {
        assert!(
            self.duplicates.is_empty(),
            "acknowledged and sent again: {:?}",
            self.duplicates
        );
    }

    /// Asserts that what arrived of a plugin is what `ticks` told, from the first to the last time in `ticks`, with
    /// exceptions: `in_flight` names the last tick of each kevmon that was killed, which may be missing, and the one
    /// after it may have arrived without having been told.
    pub fn assert_complete(&self, ticks: &[Tick], plugin: &str, in_flight: &[u64]) {
        let told: BTreeSet<u64> = ticks
            .iter()
            .filter(|tick| tick.group(plugin).is_some())
            .map(Tick::time)
            .collect();
        let (Some(first), Some(last)) = (told.first(), told.last()) else {
            panic!("no tick of {plugin}")
        };
        let all = self.times(plugin);
        let arrived: BTreeSet<u64> = all.range(first..=last).copied().collect();
        let missing: Vec<&u64> = told.difference(&arrived).collect();
        assert!(
            missing.iter().all(|time| in_flight.contains(time)),
            "{plugin}: {missing:?} never arrived; {} of {} did; in flight: {in_flight:?}",
            arrived.len(),
            told.len()
        );
        let untold: Vec<&u64> = arrived.difference(&told).collect();
        for time in &untold {
            let before = told.range(..**time).next_back();
            assert!(
                before.is_some_and(|before| in_flight.contains(before)),
                "{plugin}: {time} arrived and was never told"
            );
        }
        assert!(
            untold.len() <= in_flight.len(),
            "{plugin}: {untold:?} were never told"
        );
        let samples: Vec<Sample> = self.samples[plugin]
            .iter()
            .filter(|sample| told.contains(&sample.time))
            .cloned()
            .collect();
        let ticks: Vec<Tick> = ticks
            .iter()
            .filter(|tick| arrived.contains(&tick.time()))
            .cloned()
            .collect();
        sample::assert_equals_measured(&ticks, plugin, &samples, EXACT);
    }
}

/// Waits until the collection of this time, or a later one, of each plugin has arrived.
pub fn wait_for_tick(fake: &Fake, plugins: &[String], time: u64, limit: Duration) {
    wait::until(&format!("the tick of {time} at the receiver"), limit, || {
        std::thread::sleep(Duration::from_millis(50));
        let arrivals = fake.arrivals();
        let taken = arrivals.iter().rev().filter(|arrival| arrival.taken());
        // The newest requests hold it, or none does yet.
        let points: Vec<Point> = taken
            .take(4 * plugins.len() + 8)
            .flat_map(Arrival::points)
            .collect();
        plugins
            .iter()
            .all(|plugin| {
                let id = Watched::service_id(plugin);
                let mut of_plugin = points
                    .iter()
                    .filter(|point| point.resource.get("kevmon.service.id") == Some(&id));
                of_plugin.any(|point| point.time >= time)
            })
            .then_some(())
    });
}

/// Asserts that each tick but the first, which is at the start wherever that is, came at its place in a grid of `interval`:
/// nine of ten to a tenth of it, and all to three tenths, as other tests run at the same time. What holds kevmon up lasts for
/// seconds.
pub fn assert_on_time(ticks: &[Tick], interval: Duration) {
    let step = u64::try_from(interval.as_nanos()).expect("a short interval");
    let on_grid = ticks.iter().skip(1).filter(|tick| !tick.last());
    let times: Vec<u64> = on_grid.map(Tick::time).collect();
    // The grid is that of the tick in the middle of all phases.
    let mut phases: Vec<u64> = times
        .iter()
        .map(|time| (time - times[0] + step / 2) % step)
        .collect();
    phases.sort_unstable();
    let middle = phases[phases.len() / 2];
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            gap < step + step / 2,
            "a tick is missing: {gap} ns between {} and {}",
            pair[0],
            pair[1]
        );
    }
    let mut late = 0;
    for time in &times {
        let off = ((time - times[0] + step / 2) % step).abs_diff(middle);
        late += usize::from(off > step / 10);
        assert!(
            off <= step * 3 / 10,
            "the tick of {time} is {off} ns off its place in a grid of {step} ns: {times:?}"
        );
    }
    assert!(
        late <= times.len().div_ceil(10),
        "{late} ticks are more than a tenth of {step} ns off their places: {times:?}"
    );
}
