//! What the scheduler did with threads between two looks.

use std::collections::BTreeMap;

use super::spread::{Quantity, Spread};

/// Time that others ran while a thread waited for its CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preempted {
    /// How long, ns.
    pub time: u64,
    /// In how many of their turns.
    pub switches: u64,
}

/// Measured at each switch of a thread, for one or many threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchTimes {
    /// From ready to running.
    pub run_queue: Spread,
    /// On the CPU, from switch to switch.
    pub on_cpu: Spread,
    /// Off the CPU up to being ready again: asleep, stopped or traced.
    pub sleep: Spread,
    /// The same in uninterruptible sleep (state D).
    pub uninterruptible: Spread,
    /// From ready to running, after it had to leave the CPU.
    pub preempted: Spread,
    /// Moves to another CPU.
    pub migrations: u64,
    /// Who ran while they waited, by `comm`.
    pub preemptors: BTreeMap<String, Preempted>,
    /// Waited while others ran than those that are named, ns.
    pub others_time: u64,
    /// Waited, and who ran is not known, ns.
    pub unknown_time: u64,
}

impl Default for SwitchTimes {
    fn default() -> Self {
        let spread = Spread::new(Quantity::Time);
        Self {
            run_queue: spread.clone(),
            on_cpu: spread.clone(),
            sleep: spread.clone(),
            uninterruptible: spread.clone(),
            preempted: spread,
            migrations: 0,
            preemptors: BTreeMap::new(),
            others_time: 0,
            unknown_time: 0,
        }
    }
}

/// Names of preemptors that are kept.
const NAMES: usize = 256;

impl SwitchTimes {
    /// All of `other`'s.
    pub fn add(&mut self, other: &Self) {
        self.run_queue.add(&other.run_queue);
        self.on_cpu.add(&other.on_cpu);
        self.sleep.add(&other.sleep);
        self.uninterruptible.add(&other.uninterruptible);
        self.preempted.add(&other.preempted);
        self.migrations += other.migrations;
        self.others_time += other.others_time;
        self.unknown_time += other.unknown_time;
        for (name, more) in &other.preemptors {
            self.add_preemptor(name, *more);
        }
    }

    /// Adds to the time of one name; beyond the bound, the one with the least counts among others.
    pub fn add_preemptor(&mut self, name: &str, more: Preempted) {
        if let Some(known) = self.preemptors.get_mut(name) {
            known.time = known.time.saturating_add(more.time);
            known.switches = known.switches.saturating_add(more.switches);
            return;
        }
        if self.preemptors.len() >= NAMES {
            let least = self.preemptors.iter().min_by_key(|(_, known)| known.time);
            match least.map(|(name, known)| (name.clone(), known.time)) {
                Some((least, time)) if time < more.time => {
                    self.preemptors.remove(&least);
                    self.others_time += time;
                }
                _ => {
                    self.others_time += more.time;
                    return;
                }
            }
        }
        self.preemptors.insert(name.to_owned(), more);
    }

    /// Those that ran longest while the threads waited.
    pub fn top_preemptors(&self, most: usize) -> Vec<(&str, Preempted)> {
        let mut all: Vec<(&str, Preempted)> = self
            .preemptors
            .iter()
            .map(|(name, preempted)| (name.as_str(), *preempted))
            .collect();
        all.sort_by(|a, b| b.1.time.cmp(&a.1.time).then(a.0.cmp(b.0)));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preemptors_are_bounded_and_their_time_is_not() {
        let mut times = SwitchTimes::default();
        let one = Preempted { time: 3, switches: 1 };
        for number in 0..NAMES + 10 {
            times.add_preemptor(&format!("hog-{number}"), one);
        }
        times.add_preemptor(
            "hog-7",
            Preempted {
                time: 100,
                switches: 2,
            },
        );
        assert_eq!(times.preemptors.len(), NAMES);
        assert_eq!(times.others_time, 30);
        let top = times.top_preemptors(2);
        assert_eq!(
            top[0],
            (
                "hog-7",
                Preempted {
                    time: 103,
                    switches: 3
                }
            )
        );
        assert_eq!(top[1], ("hog-0", one), "the same time: by name");
        times.add_preemptor(
            "late",
            Preempted {
                time: 50,
                switches: 9,
            },
        );
        assert_eq!(times.top_preemptors(2)[1].0, "late", "it takes a place");
        assert_eq!((times.preemptors.len(), times.others_time), (NAMES, 33));
    }
}
