//! Which end does a start replace? Four rules are tried on schedules of which the truth is known: the oldest or the latest
//! unpaired end, with or without regard to what the processes are. This is the evidence of ADR 13; the table comes with
//! `cargo test -p kevmon -- restarts::simulation --nocapture`.

use std::{collections::HashMap, fmt::Write as _, sync::Arc, time::Duration};

use super::{
    OVERLAP, RestartPairing, RootIdentity, Started,
    properties::Random,
    tests::{ended, runs, started},
};
use crate::process::BootTime;

/// The default of `restart_window`, ms.
const WINDOW: u64 = 300_000;
const SECOND: u64 = 1_000;

/// A root's whole life, as the supervisor knows it.
#[derive(Debug, Clone)]
struct Life {
    identity: Arc<RootIdentity>,
    start: u64,
    end: Option<u64>,
    /// The life that it truly replaces.
    replaces: Option<usize>,
    /// The record of its start, or of its end, is lost, and nobody knows that one was.
    start_lost: bool,
    end_lost: bool,
}

/// What happened, life by life.
#[derive(Debug, Default)]
struct Schedule(Vec<Life>);

/// A record, as kevmon takes it.
#[derive(Debug, Clone, Copy)]
enum Record {
    Start(usize),
    End(usize),
}

impl Schedule {
    /// A life from `start` to `end`; returns its number.
    fn live(
        &mut self,
        program: &Arc<RootIdentity>,
        start: u64,
        end: Option<u64>,
        replaces: Option<usize>,
    ) -> usize {
        self.0.push(Life {
            identity: Arc::clone(program),
            start,
            end,
            replaces,
            start_lost: false,
            end_lost: false,
        });
        self.0.len() - 1
    }

    /// A root that is supervised from `start` to `until`: each life is followed by another one. `life` and `delay` give the
    /// lengths. The last one lives on.
    fn supervised(
        &mut self,
        program: &Arc<RootIdentity>,
        start: u64,
        until: u64,
        mut life: impl FnMut() -> u64,
        mut delay: impl FnMut() -> u64,
    ) {
        let (mut begin, mut previous) = (start, None);
        loop {
            let end = begin + life();
            if end >= until {
                self.live(program, begin, None, previous);
                return;
            }
            previous = Some(self.live(program, begin, Some(end), previous));
            begin = end + delay();
        }
    }

    /// The records in the order of their times.
    fn records(&self) -> Vec<Record> {
        let starts = (0..).zip(&self.0).filter(|(_, life)| !life.start_lost);
        let ends = (0..).zip(&self.0).filter(|(_, life)| !life.end_lost);
        let starts = starts.map(|(number, life)| (life.start, Record::Start(number)));
        let ends = ends.filter_map(|(number, life)| Some((life.end?, Record::End(number))));
        let mut records: Vec<(u64, Record)> = starts.chain(ends).collect();
        records.sort_by_key(|&(time, _)| time);
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// From the end of what it replaces to its start, ms; 0 for a hand-over.
    fn downtime(&self, successor: usize, predecessor: usize) -> u64 {
        let end = self.0[predecessor].end.unwrap_or(u64::MAX);
        self.0[successor].start.saturating_sub(end)
    }

    /// Which life replaced which one, by successor.
    fn truth(&self) -> HashMap<usize, usize> {
        let pairs = self.0.iter().enumerate();
        pairs
            .filter_map(|(number, life)| Some((number, life.replaces?)))
            .collect()
    }
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    name: &'static str,
    latest: bool,
    by_program: bool,
}

const RULES: [Rule; 4] = [
    Rule {
        name: "oldest",
        latest: false,
        by_program: false,
    },
    Rule {
        name: "latest",
        latest: true,
        by_program: false,
    },
    Rule {
        name: "oldest of the program",
        latest: false,
        by_program: true,
    },
    Rule {
        name: "latest of the program",
        latest: true,
        by_program: true,
    },
];

/// Applies a rule; returns the pairs, by successor. Hand-overs are alike in all of them.
fn apply(rule: Rule, schedule: &Schedule) -> HashMap<usize, usize> {
    let lives = &schedule.0;
    let overlap = u64::try_from(OVERLAP.as_millis()).expect("short");
    let alike = |one: usize, two: usize| {
        !rule.by_program || lives[one].identity.program == lives[two].identity.program
    };
    let (mut starts, mut ends): (Vec<usize>, Vec<(u64, usize)>) = (Vec::new(), Vec::new());
    let mut pairs = HashMap::new();
    for record in schedule.records() {
        match record {
            Record::Start(new) => {
                let time = lives[new].start;
                ends.retain(|(end, _)| time - end <= WINDOW);
                let fits = |&(_, old): &(u64, usize)| alike(old, new);
                let found = if rule.latest {
                    ends.iter().rposition(fits)
                } else {
                    ends.iter().position(fits)
                };
                match found {
                    Some(position) => {
                        pairs.insert(new, ends.remove(position).1);
                    }
                    None => starts.push(new),
                }
            }
            Record::End(old) => {
                let time = lives[old].end.expect("an end");
                starts.retain(|&new| time - lives[new].start <= overlap);
                let begin = lives[old].start;
                let successor = starts
                    .iter()
                    .position(|&new| alike(old, new) && lives[new].start >= begin + overlap);
                match successor {
                    Some(position) => {
                        pairs.insert(starts.remove(position), old);
                    }
                    None => ends.push((time, old)),
                }
            }
        }
    }
    pairs
}

/// The same by the code that kevmon runs.
fn apply_kevmons(schedule: &Schedule) -> HashMap<usize, usize> {
    let mut pairing = RestartPairing::new(Duration::from_millis(WINDOW));
    let pid = |number: usize| u32::try_from(number).expect("few");
    let mut pairs = HashMap::new();
    for record in schedule.records() {
        let replaced = match record {
            Record::Start(new) => {
                let life = &schedule.0[new];
                match pairing.start(started(life.start, pid(new), &life.identity)) {
                    Started::Replaces(replaced) => Some(*replaced),
                    _ => None,
                }
            }
            Record::End(old) => {
                let life = &schedule.0[old];
                let end = ended(
                    life.end.expect("an end"),
                    life.start,
                    pid(old),
                    Some(9),
                    &life.identity,
                );
                pairing.end(end)
            }
        };
        if let Some(replaced) = replaced {
            let (new, old) = (replaced.successor.key.tgid.0, replaced.predecessor.key.tgid.0);
            pairs.insert(new as usize, old as usize);
        }
    }
    assert!(!pairing.in_crash_loop(BootTime(u64::MAX)), "all is long over");
    pairs
}

/// How a rule's pairs compare to the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    restarts: usize,
    /// Restarts with another predecessor than the true one.
    wrong: usize,
    /// … that was even another program.
    mixed: usize,
    missed: usize,
    invented: usize,
    /// Downtimes, ms.
    mean: f64,
    median: f64,
}

fn score(schedule: &Schedule, pairs: &HashMap<usize, usize>) -> Score {
    let truth = schedule.truth();
    let program = |number: usize| &schedule.0[number].identity.program;
    let mut downtimes: Vec<u64> = pairs
        .iter()
        .map(|(&new, &old)| schedule.downtime(new, old))
        .collect();
    downtimes.sort_unstable();
    let sum: u64 = downtimes.iter().sum();
    let seen = |number: &usize| !schedule.0[*number].start_lost;
    Score {
        restarts: pairs.len(),
        wrong: pairs
            .iter()
            .filter(|(new, old)| truth.get(new).is_some_and(|true_one| true_one != *old))
            .count(),
        mixed: pairs
            .iter()
            .filter(|(new, old)| program(**new) != program(**old))
            .count(),
        missed: truth
            .keys()
            .filter(|new| seen(new) && !pairs.contains_key(new))
            .count(),
        invented: pairs.keys().filter(|new| !truth.contains_key(new)).count(),
        mean: if downtimes.is_empty() {
            0.0
        } else {
            sum as f64 / downtimes.len() as f64
        },
        median: downtimes
            .get(downtimes.len() / 2)
            .map_or(0.0, |&median| median as f64),
    }
}

/// Lengths of about `mean` ms, as of events that know nothing of each other.
fn random_lengths(seed: u64, mean: u64) -> impl FnMut() -> u64 {
    let mut random = Random::new(seed);
    move || {
        let uniform = (random.below(1_000_000) + 1) as f64 / 1_000_000.0;
        (-uniform.ln() * mean as f64) as u64 + 1
    }
}

fn around(seed: u64, middle: u64) -> impl FnMut() -> u64 {
    let mut random = Random::new(seed);
    move || middle * 9 / 10 + random.below(middle / 5 + 1)
}

/// Roots that crash independently of each other.
fn independent(roots: u64, life: u64, delay: impl Fn(u64) -> u64, until: u64) -> Schedule {
    let app = runs("app", "");
    let mut schedule = Schedule::default();
    for root in 0..roots {
        let delay = around(root + 100, delay(root));
        schedule.supervised(&app, root, until, random_lengths(root + 1, life), delay);
    }
    schedule
}

/// `count` roots that have lived since 0; those in `until` end then, and nothing replaces them.
fn standing(schedule: &mut Schedule, program: &Arc<RootIdentity>, count: u64, until: &[u64]) {
    for root in 0..count {
        let end = usize::try_from(root).ok().and_then(|root| until.get(root));
        schedule.live(program, root, end.copied(), None);
    }
}

/// `count` roots, each replaced once, `step` ms after the one before. `lead` ms before its end, or `delay` after it.
fn rolling(schedule: &mut Schedule, program: &Arc<RootIdentity>, begin: u64, count: u64, lead: i64) {
    for root in 0..count {
        let end = begin + root * 3 * SECOND;
        let old = schedule.live(program, root, Some(end), None);
        schedule.live(program, end.saturating_add_signed(-lead), None, Some(old));
    }
}

/// All schedules, by name.
fn schedules() -> Vec<(&'static str, Schedule)> {
    let (app, web, worker) = (runs("app", ""), runs("web", ""), runs("worker", ""));
    let mut all = vec![
        (
            "crash loop, lives of 0.3 s",
            independent(1, 300, |_| 100, 60 * SECOND),
        ),
        (
            "crash loop, lives of 20 s",
            independent(1, 20 * SECOND, |_| 500, 3_600 * SECOND),
        ),
        (
            "5 roots crash, lives of 30 s",
            independent(5, 30 * SECOND, |_| 500, 1_800 * SECOND),
        ),
        (
            "20 roots crash, lives of 3 s",
            independent(20, 3 * SECOND, |_| 500, 120 * SECOND),
        ),
        (
            "4 roots crash, back-off 0.2 to 60 s",
            independent(
                4,
                20 * SECOND,
                |root| [200, 2_000, 10_000, 60_000][root as usize],
                3_600 * SECOND,
            ),
        ),
    ];
    let mut after_scale_down = independent(3, 40 * SECOND, |_| 500, 1_800 * SECOND);
    standing(&mut after_scale_down, &app, 2, &[10 * SECOND, 11 * SECOND]);
    all.push(("2 of 5 stopped, 3 crash, lives of 40 s", after_scale_down));
    for (name, lead, stopped) in [
        ("rolling, 10 roots, end before start", -300, 0),
        ("rolling, 10 roots, start before end", 400, 0),
        ("2 stopped, rolling, end before start", -300, 2),
        ("2 stopped, rolling, start before end", 400, 2),
    ] {
        let mut schedule = Schedule::default();
        standing(&mut schedule, &app, stopped, &[10 * SECOND, 11 * SECOND]);
        rolling(&mut schedule, &app, 60 * SECOND, 10, lead);
        all.push((name, schedule));
    }
    for (name, later) in [("2 stopped, 2 started after 120 s", true), ("2 started", false)] {
        let mut schedule = Schedule::default();
        let ends = [10 * SECOND, 11 * SECOND];
        standing(&mut schedule, &app, 5, if later { &ends } else { &[] });
        schedule.live(&app, 130 * SECOND, None, None);
        schedule.live(&app, 131 * SECOND, None, None);
        all.push((name, schedule));
    }
    for (name, order) in [
        ("20 killed, started in the same order", 0),
        ("20 killed, started in reverse", 1),
        ("20 killed, started in any order", 2),
    ] {
        let (mut schedule, mut random) = (Schedule::default(), Random::new(7));
        for root in 0..20 {
            let old = schedule.live(&app, root, Some(60 * SECOND + root), None);
            let place = [root, 19 - root, random.below(20)][order];
            schedule.live(&app, 61 * SECOND + place * 100 + root, None, Some(old));
        }
        all.push((name, schedule));
    }
    let mut one_down = Schedule::default();
    standing(&mut one_down, &worker, 1, &[56 * SECOND]);
    let old = one_down.live(&web, 0, Some(60 * SECOND), None);
    one_down.live(&web, 60 * SECOND + 309, None, Some(old));
    all.push(("a worker stopped, web restarts", one_down));
    let mut mixed = Schedule::default();
    standing(&mut mixed, &worker, 3, &[10 * SECOND, 200 * SECOND, 400 * SECOND]);
    mixed.supervised(&web, 5, 1_800 * SECOND, random_lengths(1, 30 * SECOND), || 300);
    for root in 2..5 {
        let (life, delay) = (random_lengths(root, 20 * SECOND), around(root, 5 * SECOND));
        mixed.supervised(&worker, root, 1_800 * SECOND, life, delay);
    }
    all.push(("web 0.3 s, workers 5 s, 3 stopped", mixed));
    let mut lossy = independent(5, 30 * SECOND, |_| 500, 1_800 * SECOND);
    let mut random = Random::new(3);
    for life in &mut lossy.0 {
        life.start_lost = random.below(20) == 0;
        life.end_lost = random.below(20) == 0;
    }
    all.push(("5 roots crash, 5 % of the records lost", lossy));
    all
}

#[test]
fn the_latest_end_of_the_program_is_the_best_guess() {
    let mut table = format!(
        "{:<40} {:<22} {:>8} {:>6} {:>6} {:>7} {:>9} {:>8} {:>8}\n",
        "schedule", "rule", "restarts", "wrong", "mixed", "missed", "invented", "mean ms", "median"
    );
    let mut line = |schedule: &str, rule: &str, score: Score| {
        let Score {
            restarts,
            wrong,
            mixed,
            missed,
            invented,
            mean,
            median,
        } = score;
        writeln!(
            table,
            "{schedule:<40} {rule:<22} {restarts:>8} {wrong:>6} {mixed:>6} {missed:>7} {invented:>9} {mean:>8.0} {median:>8.0}"
        )
        .expect("into memory");
    };
    for (name, schedule) in schedules() {
        let truth = score(&schedule, &schedule.truth());
        line(name, "(truth)", truth);
        let scores = RULES.map(|rule| score(&schedule, &apply(rule, &schedule)));
        for (rule, score) in RULES.iter().zip(scores) {
            line("", rule.name, score);
        }
        let kevmons = score(&schedule, &apply_kevmons(&schedule));
        line("", "kevmon", kevmons);
        let [oldest, _, oldest_of_program, latest_of_program] = scores;
        assert_eq!(kevmons, latest_of_program, "{name}: kevmon's rule");
        assert_eq!(kevmons.mixed, 0, "{name}");
        let error = |score: Score| (score.mean - truth.mean).abs();
        assert!(
            error(kevmons) <= error(oldest) && error(kevmons) <= error(oldest_of_program),
            "{name}"
        );
        // What no rule can know from times alone.
        let unknowable = [
            "2 stopped, 2 started",
            "records lost",
            "2 stopped, rolling, start before end",
        ];
        if !unknowable.iter().any(|part| name.contains(part)) {
            assert!(
                error(kevmons) <= truth.mean / 100.0,
                "{name}: {kevmons:?}, not {truth:?}"
            );
            assert_eq!((kevmons.missed, kevmons.invented), (0, 0), "{name}");
        }
    }
    println!("{table}");
}
