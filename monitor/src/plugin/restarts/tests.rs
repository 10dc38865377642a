//! Pairs, case by case.

use super::{crashes::PROGRAMS, *};
use crate::process::{Facts, Identity, Tgid};

pub(super) const MS: u64 = 1_000_000;

/// A wait status: exit 1.
pub(super) const FAILED: u32 = 0x0100;

/// The executable `program`, run with `argument`.
pub(super) fn runs(program: &str, argument: &str) -> Arc<RootIdentity> {
    placed(program, argument, None)
}

/// The same in a cgroup.
fn placed(program: &str, argument: &str, cgroup: Option<&str>) -> Arc<RootIdentity> {
    let identity = Identity {
        comm: program.chars().take(15).collect(),
        exe: program.to_owned(),
        filename: format!("/bin/{program}"),
        argv: vec![program.to_owned(), argument.to_owned()],
        cut: None,
    };
    let facts = Facts {
        cgroup: cgroup.map(Arc::from),
        ..Facts::default()
    };
    Arc::new(RootIdentity::of(&identity, identity.name(), Some(&facts)))
}

pub(super) fn started(time: u64, pid: u32, identity: &Arc<RootIdentity>) -> RootStart {
    RootStart {
        key: key(pid),
        time: BootTime(time * MS),
        identity: Arc::clone(identity),
    }
}

pub(super) fn ended(
    time: u64,
    since: u64,
    pid: u32,
    status: Option<u32>,
    identity: &Arc<RootIdentity>,
) -> RootEnd {
    RootEnd {
        key: key(pid),
        time: BootTime(time * MS),
        since: BootTime(since * MS),
        ending: Ending {
            status,
            ..Ending::default()
        },
        first: Arc::clone(identity),
        last: Arc::clone(identity),
        before_outage: false,
    }
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(pid),
        start: BootTime(0),
    }
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("short")
}

enum Step {
    Start(u64),
    /// End at the first time of a root that was one since the second.
    End(u64, u64),
    /// Found missing.
    Missing(u64),
    /// Records were lost.
    Lost(u64),
}
use Step::{End, Lost, Missing, Start};

/// What a step gives: `None` nothing, `Some(None)` an unknown restart or downtime, else the downtime, ms.
type Paired = Option<Option<u64>>;

/// Of roots of one program, whose arguments do not tell them apart.
fn run(steps: &[Step]) -> Vec<Paired> {
    let app = runs("app", "");
    let mut pairing = RestartPairing::new(Duration::from_secs(10));
    let told = |replaced: &Replaced| Some(replaced.downtime.map(ms));
    let run = |step: &Step| match *step {
        Start(time) => match pairing.start(started(time, 1, &app)) {
            Started::First => None,
            Started::Replaces(replaced) => told(&replaced),
            Started::Unknown => Some(None),
        },
        End(time, since) => pairing
            .end(ended(time, since, 1, Some(FAILED), &app))
            .as_ref()
            .and_then(told),
        Missing(now) => pairing.end(ended(now, 0, 1, None, &app)).as_ref().and_then(told),
        Lost(now) => {
            pairing.blur(BootTime(now * MS));
            None
        }
    };
    steps.iter().map(run).collect()
}

#[test]
fn pairs() {
    let cases: [(&str, &[Step], &[Paired]); 15] = [
        ("a first start replaces nothing", &[Start(0)], &[None]),
        (
            "a crash loop",
            &[Start(0), End(700, 0), Start(800), End(1500, 800), Start(1600)],
            &[None, None, Some(Some(100)), None, Some(Some(100))],
        ),
        (
            "an end long ago",
            &[Start(0), End(10, 0), Start(20_000)],
            &[None, None, None],
        ),
        (
            "latest end first",
            &[End(10, 0), End(20, 0), Start(30), Start(30)],
            &[None, None, Some(Some(10)), Some(Some(20))],
        ),
        (
            "a scale-down does not shift the pairs that follow it",
            &[
                End(1_000, 0),
                End(5_000, 0),
                Start(5_100),
                End(6_000, 0),
                Start(6_100),
            ],
            &[None, None, Some(Some(100)), None, Some(Some(100))],
        ),
        (
            "an end that was stored late is paired by its time",
            &[End(500, 0), End(400, 0), Start(600)],
            &[None, None, Some(Some(100))],
        ),
        (
            "a root that started after the end is not replaced by one that started before it",
            &[End(900, 700), Start(650)],
            &[None, None],
        ),
        (
            "the new one is up before the old one is down",
            &[Start(0), Start(5_000), End(5_200, 0), Start(6_000)],
            &[None, None, Some(Some(0)), None],
        ),
        (
            "roots that start together do not replace each other",
            &[Start(0), Start(1), End(500, 0), Start(600)],
            &[None, None, None, Some(Some(100))],
        ),
        (
            "an end that is told after the start that followed it",
            &[Start(0), Start(700), End(600, 0)],
            &[None, None, Some(Some(100))],
        ),
        (
            "a start too long after an end that is told late",
            &[Start(0), Start(20_000), End(600, 0)],
            &[None, None, None],
        ),
        (
            "found missing: a restart, and nobody knows how long it took",
            &[Start(0), Missing(1_000), Start(1_500)],
            &[None, None, Some(None)],
        ),
        (
            "lost records: the starts after them may or may not be restarts",
            &[Start(0), End(700, 0), Lost(750), Start(800), Start(900)],
            &[None, None, None, Some(None), Some(None)],
        ),
        (
            "… but an end that was seen since is replaced by the start that follows it",
            &[
                Lost(0),
                End(700, 0),
                Start(800),
                End(1500, 800),
                Start(1600),
                Start(1700),
            ],
            &[None, None, Some(Some(100)), None, Some(Some(100)), Some(None)],
        ),
        (
            "… and in the end they are forgotten",
            &[Lost(0), Start(9_000), Start(10_001)],
            &[None, Some(None), None],
        ),
    ];
    for (name, steps, expected) in cases {
        assert_eq!(run(steps), expected, "{name}");
    }
}

/// `kevmon events` without a pattern watches all processes as one group, in which whatever starts would replace whatever ends.
#[test]
fn a_window_of_zero_pairs_nothing() {
    let app = runs("app", "");
    let mut pairing = RestartPairing::new(Duration::ZERO);
    let start = |pairing: &mut RestartPairing, time, pid| {
        assert!(
            matches!(pairing.start(started(time, pid, &app)), Started::First),
            "the start at {time} ms"
        );
    };
    start(&mut pairing, 5_000, 2);
    // A hand-over, an end at the time of a start, and one that was found missing.
    for (time, since, pid, status) in [
        (5_200, 0, 1, Some(0)),
        (6_000, 0, 3, Some(0)),
        (6_500, 0, 4, None),
    ] {
        let end = ended(time, since, pid, status, &app);
        assert!(pairing.end(end).is_none(), "the end at {time} ms");
    }
    start(&mut pairing, 6_000, 5);
    start(&mut pairing, 6_200, 6);
}

/// The pid that a start of `new` replaces, of the ends `old` at 1 s, 2 s, …, whose pids are 0, 1, ….
fn replaced(old: &[Arc<RootIdentity>], new: &Arc<RootIdentity>) -> Option<u32> {
    let mut pairing = RestartPairing::new(Duration::from_secs(300));
    for (pid, identity) in (0..).zip(old) {
        let time = 1_000 * (u64::from(pid) + 1);
        assert!(pairing.end(ended(time, 0, pid, Some(FAILED), identity)).is_none());
    }
    match pairing.start(started(100_000, 99, new)) {
        Started::Replaces(replaced) => Some(replaced.predecessor.key.tgid.0),
        Started::First | Started::Unknown => None,
    }
}

#[test]
fn the_end_that_fits_best_is_replaced() {
    let container = |digit: &str| format!("/system.slice/docker-{}.scope", digit.repeat(64));
    let unit = |program: &str, unit: &str| placed(program, "", Some(&format!("/system.slice/{unit}")));
    let unknown = Arc::new(RootIdentity::of(
        &Identity {
            comm: "web".to_owned(),
            ..Identity::default()
        },
        "web",
        None,
    ));
    type Case<'a> = (&'a str, &'a [Arc<RootIdentity>], Arc<RootIdentity>, Option<u32>);
    let cases: [Case<'_>; 12] = [
        (
            "of one program, not of another that ended later",
            &[runs("web", ""), runs("worker", "")],
            runs("web", ""),
            Some(0),
        ),
        ("no other program", &[runs("worker", "")], runs("web", ""), None),
        (
            "the latest, where nothing tells them apart",
            &[runs("web", ""), runs("web", "")],
            runs("web", ""),
            Some(1),
        ),
        (
            "with the same arguments",
            &[runs("web", "a"), runs("web", "b")],
            runs("web", "a"),
            Some(0),
        ),
        (
            "with other arguments, where no end has the same",
            &[runs("web", "a"), runs("web", "b")],
            runs("web", "c"),
            Some(1),
        ),
        (
            "in the same unit",
            &[unit("web", "a.service"), unit("web", "b.service")],
            unit("web", "a.service"),
            Some(0),
        ),
        (
            "in another unit, where no end was in the same",
            &[unit("web", "run-r1.scope")],
            unit("web", "run-r2.scope"),
            Some(0),
        ),
        (
            "the unit decides before the arguments",
            &[
                placed("web", "x", Some("/system.slice/a.service")),
                placed("web", "y", Some("/system.slice/b.service")),
            ],
            placed("web", "y", Some("/system.slice/a.service")),
            Some(0),
        ),
        (
            "the program decides before the unit",
            &[unit("web", "b.service"), unit("worker", "a.service")],
            unit("web", "a.service"),
            Some(0),
        ),
        (
            "in the same container",
            &[
                placed("web", "", Some(&container("a"))),
                placed("web", "", Some(&container("b"))),
            ],
            placed("web", "", Some(&container("a"))),
            Some(0),
        ),
        (
            "in another container, which a restart makes",
            &[placed("web", "", Some(&container("a")))],
            placed("web", "", Some(&container("b"))),
            Some(0),
        ),
        (
            "of an unknown executable, where no end is surely of the program",
            &[unknown.clone(), runs("worker", "")],
            runs("web", ""),
            Some(0),
        ),
    ];
    for (name, old, new, expected) in cases {
        assert_eq!(replaced(old, &new), expected, "{name}");
    }
    assert_eq!(
        replaced(&[runs("web", ""), unknown], &runs("web", "")),
        Some(0),
        "surely the same before perhaps the same"
    );
}

#[test]
fn a_late_end_takes_the_start_that_fits_best() {
    let mut pairing = RestartPairing::new(Duration::from_secs(10));
    for (time, pid, program) in [(5_000, 2, "worker"), (5_100, 3, "web")] {
        assert!(matches!(
            pairing.start(started(time, pid, &runs(program, ""))),
            Started::First
        ));
    }
    let replaced = pairing.end(ended(5_400, 0, 1, Some(0), &runs("web", "")));
    let replaced = replaced.expect("a hand-over");
    assert_eq!(replaced.successor.key, key(3));
    assert_eq!(
        (replaced.downtime, replaced.predecessor.ago),
        (Some(Duration::ZERO), Some(Duration::ZERO))
    );
}

#[test]
fn a_wrapper_is_known_by_what_it_was_and_by_what_it_became() {
    let (shell, web) = (runs("start.sh", ""), runs("web", ""));
    let window = Duration::from_secs(10);
    let wrapped = RootEnd {
        first: Arc::clone(&shell),
        ..ended(1_000, 0, 1, Some(FAILED), &web)
    };
    for start in [&shell, &web] {
        let mut pairing = RestartPairing::new(window);
        pairing.end(wrapped.clone());
        assert!(matches!(
            pairing.start(started(1_200, 2, start)),
            Started::Replaces(_)
        ));
    }
    // The predecessor was found running, and nobody knows by what it had been started.
    let mut pairing = RestartPairing::new(window);
    pairing.end(ended(1_000, 0, 1, Some(FAILED), &web));
    assert!(matches!(pairing.start(started(1_200, 2, &shell)), Started::First));
    let replaced = pairing.unwrapped(&started(1_200, 2, &web));
    let replaced = replaced.expect("it gives way to what it wraps");
    assert_eq!(replaced.downtime.map(ms), Some(200));
    assert_eq!((pairing.starts.iter().len(), pairing.ends.iter().len()), (0, 0));
    // Without an end it waits for one as what it is now.
    pairing.start(started(5_000, 3, &shell));
    assert!(pairing.unwrapped(&started(5_000, 3, &web)).is_none());
    assert!(pairing.end(ended(5_100, 1_200, 2, Some(0), &web)).is_some());
}

#[test]
fn a_crash_loop_is_three_failed_roots_of_one_program_replaced_within_the_window() {
    let at = |ms: u64| BootTime(ms * MS);
    let crash = |pairing: &mut RestartPairing, time: u64, program: &str, status: u32| {
        let identity = runs(program, "");
        pairing.end(ended(time, 0, 1, Some(status), &identity));
        pairing.start(started(time + 100, 1, &identity));
    };
    let mut pairing = RestartPairing::new(Duration::from_secs(10));
    for (round, expected) in [(0, false), (1, false), (2, true), (3, true)] {
        crash(&mut pairing, round * 1_000 + 500, "app", FAILED);
        assert_eq!(
            pairing.in_crash_loop(at(round * 1_000 + 700)),
            expected,
            "{round}"
        );
    }
    assert!(pairing.in_crash_loop(at(11_600)), "the third last was at 1.6 s");
    assert!(!pairing.in_crash_loop(at(11_601)));

    let mut calm = RestartPairing::new(Duration::from_secs(10));
    for round in 0..5 {
        crash(&mut calm, round * 1_000 + 500, "app", 0);
    }
    assert!(!calm.in_crash_loop(at(5_000)), "exit code 0 is no crash");

    let mut mixed = RestartPairing::new(Duration::from_secs(10));
    for (time, program) in [(500, "a"), (1_000, "b"), (1_500, "c"), (2_000, "a"), (2_500, "b")] {
        crash(&mut mixed, time, program, FAILED);
        assert!(
            !mixed.in_crash_loop(at(3_000)),
            "no program has failed three times"
        );
    }
    crash(&mut mixed, 3_000, "b", FAILED);
    assert!(mixed.in_crash_loop(at(4_000)));
}

#[test]
fn holds_a_bounded_number() {
    let mut pairing = RestartPairing::new(Duration::from_secs(10));
    let app = runs("app", "");
    for time in 0..10_000 {
        pairing.end(ended(time, 0, 1, Some(0), &app));
    }
    assert_eq!(pairing.ends.iter().len(), HELD);
    let oldest = pairing.ends.front().map(|end| end.time);
    assert_eq!(
        oldest,
        Some(BootTime((10_000 - HELD as u64) * MS)),
        "the oldest were given up"
    );
    assert_eq!(pairing.saved().len(), SAVED);
    for pid in 0..200 {
        let identity = runs(&format!("app-{pid}"), "");
        pairing.end(ended(9_000, 0, pid, Some(FAILED), &identity));
        pairing.start(started(9_100, pid, &identity));
    }
    assert_eq!(pairing.crashes.len(), PROGRAMS);
}

#[test]
fn an_end_before_an_outage_has_a_successor_but_no_downtime() {
    let window = Duration::from_secs(10);
    let (web, worker) = (runs("web", "a"), runs("worker", "a"));
    let mut before = RestartPairing::new(window);
    before.end(ended(1_000, 0, 1, Some(FAILED), &web));
    before.end(ended(1_500, 0, 2, Some(FAILED), &worker));
    let saved = before.saved();

    let mut after = RestartPairing::new(window);
    after.restore(&saved, Some(BootTime(2_000 * MS)));
    // What an outage brings to light of members is no further loss.
    after.blur_outage(BootTime(2_010 * MS));
    // Found by the first snapshot: it took the worker's place meanwhile.
    let found = ProcessKey {
        tgid: Tgid(7),
        start: BootTime(1_700 * MS),
    };
    after.found(found, &worker);
    assert!(matches!(
        after.start(started(2_500, 8, &worker)),
        Started::Unknown
    ));
    let Started::Replaces(replaced) = after.start(started(3_000, 9, &web)) else {
        panic!("the web server comes back");
    };
    assert_eq!(replaced.downtime, None, "nobody knows what was in between");
    assert_eq!(replaced.predecessor.ago, Some(Duration::from_secs(2)));
    assert_eq!(replaced.predecessor.key, key(1));

    // What was up before the end is no successor.
    let mut after = RestartPairing::new(window);
    after.restore(&saved, Some(BootTime(2_000 * MS)));
    let older = ProcessKey {
        tgid: Tgid(7),
        start: BootTime(500 * MS),
    };
    after.found(older, &web);
    assert!(matches!(
        after.start(started(3_000, 9, &web)),
        Started::Replaces(_)
    ));
    // A loss is one.
    after.restore(&saved, Some(BootTime(2_000 * MS)));
    after.blur(BootTime(2_100 * MS));
    assert!(matches!(after.start(started(3_000, 9, &web)), Started::Unknown));
}
