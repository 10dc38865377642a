//! Rules for giving places, tried on schedules of loads. docs/adr/0021-a-place-is-kept.md holds the outcome;
//! `cargo test -p kevmon -- places::simulation --nocapture` prints it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Collections of a run: 37 minutes of 10 s.
const COLLECTIONS: usize = 222;

/// A random generator (Numerical Recipes' constants), so that each run is the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// About one with a long tail, as loads of idle processes are.
    fn tail(&mut self) -> f64 {
        -(1.0 - self.part()).ln()
    }
}

/// Loads of the processes that live, by process, at each collection. A process's number is never used again.
type Schedule = Vec<BTreeMap<usize, f64>>;

/// Steady processes with noise of a part of their loads.
fn steady(loads: &[f64], noise: f64, random: &mut Random) -> Schedule {
    let one = |random: &mut Random| {
        let loads = loads.iter().enumerate();
        loads
            .map(|(index, load)| (index, load * (1.0 + noise * (2.0 * random.part() - 1.0))))
            .collect()
    };
    (0..COLLECTIONS).map(|_| one(random)).collect()
}

/// Adds processes that live for one collection and, one of four, for one more, and so on; `rate` new ones at each.
fn with_short_lives(mut schedule: Schedule, rate: f64, random: &mut Random) -> Schedule {
    let mut next = 10_000;
    let mut due = 0.0;
    for begin in 0..schedule.len() {
        due += rate;
        while due >= 1.0 {
            due -= 1.0;
            let (load, mut life) = (0.2 + 0.8 * random.part(), 1);
            while random.below(4) == 0 {
                life += 1;
            }
            for tick in schedule.iter_mut().skip(begin).take(life) {
                tick.insert(next, load);
            }
            next += 1;
        }
    }
    schedule
}

/// An idle host: most processes use next to nothing, in bursts; some daemons a little.
fn idle_host(random: &mut Random) -> Schedule {
    let one = |random: &mut Random| {
        let idle = (0..200).map(|index| {
            let wakes = random.below(10) == 0;
            (index, if wakes { 0.0005 * random.tail() } else { 0.0 })
        });
        let mut loads: BTreeMap<usize, f64> = idle.collect();
        for index in 0..10 {
            loads.insert(index, 0.001 * (index + 1) as f64 * random.tail());
        }
        loads
    };
    (0..COLLECTIONS).map(|_| one(random)).collect()
}

/// Processes that are idle and work hard for one collection now and then.
fn bursts(random: &mut Random) -> Schedule {
    let one = |random: &mut Random| {
        (0..20)
            .map(|index| (index, if random.below(10) == 0 { 0.9 } else { 0.01 }))
            .collect()
    };
    (0..COLLECTIONS).map(|_| one(random)).collect()
}

/// The rules that are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Ranked afresh at each collection.
    Afresh,
    /// Who has a place keeps it until another one has a quarter more in one collection.
    Margin,
    /// … in three collections in a row.
    Thrice,
    /// Afresh, by the smoothed load.
    Smoothed,
    /// What kevmon does.
    Kept,
}

const RULES: [Rule; 5] = [
    Rule::Afresh,
    Rule::Margin,
    Rule::Thrice,
    Rule::Smoothed,
    Rule::Kept,
];

/// What became of a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outcome {
    /// Processes that ever had a place, each a series of every metric.
    processes: usize,
    /// Places given.
    given: usize,
    /// The load of those with a place, of what the busiest would have.
    covered: f64,
    /// Collections until the process with the highest number had a place, from its first one on; none where it never had.
    seen_after: Option<usize>,
}

fn run(schedule: &Schedule, rule: Rule, most: usize) -> Outcome {
    let mut standings: BTreeMap<usize, Standing> = BTreeMap::new();
    let mut streaks: BTreeMap<usize, u32> = BTreeMap::new();
    let (mut ever, mut before) = (BTreeSet::new(), BTreeSet::new());
    let (mut given, mut had, mut best) = (0, 0.0, 0.0);
    let last = schedule
        .iter()
        .flat_map(BTreeMap::keys)
        .max()
        .copied()
        .unwrap_or(0);
    let mut seen_after = None;
    for (tick, loads) in schedule.iter().enumerate() {
        standings = loads
            .iter()
            .map(|(&index, &load)| {
                let standing = match standings.get(&index) {
                    Some(standing) => standing.after(load),
                    None if tick == 0 => Standing::found(load, false),
                    None => Standing::default().after(load),
                };
                (index, standing)
            })
            .collect();
        let places = match rule {
            Rule::Kept => {
                let mut list: Vec<Standing> = standings.values().copied().collect();
                give(&mut list, most, Rank::Cpu);
                for (standing, given) in standings.values_mut().zip(list) {
                    *standing = given;
                }
                let with_place = standings.iter().filter(|(_, standing)| standing.has_place);
                with_place.map(|(&index, _)| index).collect()
            }
            Rule::Afresh => first(loads, most),
            Rule::Smoothed => {
                let loads = standings.iter().map(|(&index, standing)| (index, standing.load));
                first(&loads.collect(), most)
            }
            Rule::Margin => challenge(loads, &before, most, &mut streaks, 1),
            Rule::Thrice => challenge(loads, &before, most, &mut streaks, 3),
        };
        given += places.difference(&before).count();
        ever.extend(places.iter().copied());
        had += places.iter().map(|index| loads[index]).sum::<f64>();
        best += first(loads, most).iter().map(|index| loads[index]).sum::<f64>();
        if places.contains(&last) && seen_after.is_none() {
            let begin = schedule.iter().position(|loads| loads.contains_key(&last));
            seen_after = begin.map(|begin| tick - begin + 1);
        }
        before = places;
    }
    Outcome {
        processes: ever.len(),
        given,
        covered: had / best,
        seen_after,
    }
}

/// The busiest.
fn first(loads: &BTreeMap<usize, f64>, most: usize) -> BTreeSet<usize> {
    let mut order: Vec<(usize, f64)> = loads.iter().map(|(&index, &load)| (index, load)).collect();
    order.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    order.into_iter().take(most).map(|(index, _)| index).collect()
}

/// Who has a place keeps it until another one has a quarter more so many times in a row.
fn challenge(
    loads: &BTreeMap<usize, f64>,
    before: &BTreeSet<usize>,
    most: usize,
    streaks: &mut BTreeMap<usize, u32>,
    times: u32,
) -> BTreeSet<usize> {
    let mut places: BTreeSet<usize> = before
        .iter()
        .copied()
        .filter(|index| loads.contains_key(index))
        .collect();
    let rest: BTreeMap<usize, f64> = loads
        .iter()
        .filter(|(index, _)| !places.contains(index))
        .map(|(&index, &load)| (index, load))
        .collect();
    places.extend(first(&rest, most - places.len()));
    let mut holders: Vec<usize> = places.iter().copied().collect();
    holders.sort_by(|one, other| loads[one].total_cmp(&loads[other]));
    let mut others: Vec<usize> = loads
        .keys()
        .copied()
        .filter(|index| !places.contains(index))
        .collect();
    others.sort_by(|one, other| loads[other].total_cmp(&loads[one]));
    let mut now = BTreeMap::new();
    for (holder, other) in holders.into_iter().zip(others) {
        if loads[&other] <= loads[&holder] * MARGIN {
            break;
        }
        let streak = streaks.get(&other).map_or(1, |streak| streak + 1);
        if streak >= times {
            places.remove(&holder);
            places.insert(other);
        } else {
            now.insert(other, streak);
        }
    }
    *streaks = now;
    places
}

/// Loads around the bound: the fifth and the sixth are nearly equal.
const NEARLY_EQUAL: [f64; 10] = [0.9, 0.7, 0.5, 0.4, 0.30, 0.29, 0.2, 0.1, 0.05, 0.02];

fn schedules() -> Vec<(&'static str, Schedule)> {
    let mut random = Random(21);
    let random = &mut random;
    let nearly = |random: &mut Random, noise| steady(&NEARLY_EQUAL, noise, random);
    let mut heavy = nearly(random, 0.1);
    for tick in heavy.iter_mut().skip(50) {
        tick.insert(99, 1.0);
    }
    let mut shift = nearly(random, 0.1);
    for tick in shift.iter_mut().skip(100) {
        let reversed: Vec<f64> = tick.values().rev().copied().collect();
        tick.values_mut()
            .zip(reversed)
            .for_each(|(load, new)| *load = new);
    }
    let idle = idle_host(random);
    let (few, many) = (nearly(random, 0.1), idle_host(random));
    vec![
        ("ten steady, 10 % noise", nearly(random, 0.1)),
        ("ten steady, 50 % noise", nearly(random, 0.5)),
        ("twenty, each busy one time in ten", bursts(random)),
        ("loads turn round in the middle", shift),
        (
            "ten steady, short lives, one each",
            with_short_lives(few, 1.0, random),
        ),
        ("idle host of 200", idle),
        (
            "idle host of 200, short lives, 1.5 each",
            with_short_lives(many, 1.5, random),
        ),
        ("ten steady, one busier than all comes", heavy),
    ]
}

#[test]
fn places_are_kept_and_the_busy_have_them() {
    println!("| schedule | rule | processes | places given | load covered | newcomer seen at its |");
    println!("|---|---|---|---|---|---|");
    let mut outcomes = BTreeMap::new();
    for (name, schedule) in schedules() {
        for rule in RULES {
            let outcome = run(&schedule, rule, 5);
            let seen = outcome
                .seen_after
                .map_or("-".to_owned(), |after| after.to_string());
            let seen = if name.ends_with("comes") {
                seen
            } else {
                String::new()
            };
            println!(
                "| {name} | {rule:?} | {} | {} | {:.0} % | {seen} |",
                outcome.processes,
                outcome.given,
                100.0 * outcome.covered
            );
            outcomes.insert((name, format!("{rule:?}")), outcome);
        }
    }
    let kept = |name: &'static str| outcomes[&(name, "Kept".to_owned())];
    let afresh = |name: &'static str| outcomes[&(name, "Afresh".to_owned())];
    for name in ["ten steady, 10 % noise", "ten steady, 50 % noise"] {
        assert!(kept(name).given <= 12, "{name}: {:?}", kept(name));
        assert!(kept(name).covered > 0.9, "{name}");
    }
    let busy_host = "idle host of 200, short lives, 1.5 each";
    assert!(afresh(busy_host).processes > 300, "{:?}", afresh(busy_host));
    assert!(kept(busy_host).processes < 50, "{:?}", kept(busy_host));
    assert_eq!(kept("ten steady, one busier than all comes").seen_after, Some(3));
    assert!(kept("loads turn round in the middle").covered > 0.95);
}

/// How long a process waits that is so many times as busy as the one whose place it takes.
#[test]
fn the_wait_is_bounded() {
    for (times, expected) in [(1.3, 12), (1.5, 7), (2.0, 4), (2.5, 3), (10.0, 3)] {
        let mut schedule = steady(&[0.1; 5], 0.0, &mut Random(1));
        for tick in schedule.iter_mut().skip(20) {
            tick.insert(9, 0.1 * times);
        }
        let seen = run(&schedule, Rule::Kept, 5).seen_after;
        println!(
            "| {times} | {} |",
            seen.map_or("-".to_owned(), |seen| seen.to_string())
        );
        assert_eq!(seen, Some(expected), "{times}");
    }
}
