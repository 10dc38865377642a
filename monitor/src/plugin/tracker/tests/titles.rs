//! Arguments that are cut, and titles written over them.

use regex::RegexBuilder;

use super::*;
use crate::{
    plugin::{Interest, Selectors, definition::User},
    process::Arguments,
};

fn pattern(text: &str) -> regex::Regex {
    RegexBuilder::new(text).case_insensitive(true).build().unwrap()
}

/// A plugin that looks at command lines, but for those that `exclude` finds (none, where it is empty).
fn by_cmdline(text: &str, exclude: &str) -> Plugin {
    let exclude = if exclude.is_empty() {
        Vec::new()
    } else {
        vec![pattern(exclude)]
    };
    Plugin {
        matching: Matching::Cmdline,
        selectors: Selectors {
            exclude,
            ..Selectors::default()
        },
        ..plugin(text)
    }
}

fn runs(exe: &str, argv: &[&str], cut: Option<&str>) -> Identity {
    Identity {
        comm: exe.into(),
        exe: exe.into(),
        filename: format!("/usr/bin/{exe}"),
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        cut: cut.map(str::to_owned),
    }
}

fn executes(key: ProcessKey, identity: Identity) -> Event {
    Event::Exec {
        key,
        time: key.start,
        sequence: 1,
        parent: INIT,
        identity,
        usage: Usage::ZERO,
    }
}

fn title(text: &str) -> Arguments {
    Arguments::parse(text.as_bytes(), false)
}

/// A member, one that may be, or none, by what is known of `java -cp LONG` and excluded or not.
#[test]
fn what_is_known_decides_or_leaves_it_open() {
    let cut = |text: &str| runs("engine", &["engine", "-cp"], Some(text));
    for (text, exclude, identity, member, unclear) in [
        ("Main", "", cut("a:b"), false, true),
        ("Main", "", cut("a:Main"), true, false),
        ("Main$", "", cut("a:Main"), false, true),
        ("^engine -cp", "", cut("a:b"), true, false),
        ("^/usr/bin/engine", "", cut("a:b"), false, false),
        ("^engine -cp", "test", cut("a:b"), false, true),
        ("^engine -cp", "^test", cut("a:b"), true, false),
        ("^engine -cp", "-cp", cut("a:b"), false, false),
        ("Main", "-cp", cut("a:b"), false, false),
        ("Main", "", runs("engine", &["engine", "Main"], None), true, false),
        ("Main", "", runs("engine", &["engine"], None), false, false),
    ] {
        let case = format!("{text} without {exclude:?}: {identity:?}");
        let mut tracker = Tracker::new(vec![by_cmdline(text, exclude)], BootTime(0)).unwrap();
        let judged = tracker.apply(executes(key(10, 5), identity.clone())).unwrap();
        let reading = read(&mut tracker, 0, 20);
        assert_eq!(reading.process_count, u64::from(member), "{case}");
        assert_eq!(tracker.is_unclear(GroupId(0)), unclear, "{case}");
        assert_eq!(tracker.unknown_verdicts(GroupId(0)), u64::from(unclear), "{case}");
        assert_eq!(
            tracker.irregularities().verdicts_unknown,
            u64::from(unclear),
            "{case}"
        );
        assert!(judged.keep || !(member || unclear), "{case}");
        assert_eq!(tracker.needs_the_rest(&identity), unclear, "{case}");
    }
}

/// Whoever fails another selector is nobody's doubt; whose user is not known may yet be.
#[test]
fn only_groups_that_it_may_belong_to_are_unclear() {
    let of_user = |uid: u32| Plugin {
        selectors: Selectors {
            users: vec![User {
                written: uid.to_string(),
                uid: Some(uid),
            }],
            ..Selectors::default()
        },
        ..by_cmdline("Main", "")
    };
    let mut tracker = Tracker::new(
        vec![of_user(33), of_user(0), plugin("^engine$"), plugin("^other$")],
        BootTime(0),
    )
    .unwrap();
    let process = key(10, 5);
    tracker.learn(
        process,
        Facts {
            uid: Some(0),
            ..Facts::default()
        },
    );
    tracker.apply(executes(process, runs("engine", &["engine"], Some("-cp"))));
    let unclear = [0, 1, 2, 3].map(|group| tracker.is_unclear(GroupId(group)));
    assert_eq!(unclear, [false, true, false, false]);
    // Read at last: it belongs there.
    tracker.retitle(process, title("engine\0-cp\0Main"), BootTime(3_000 * MS));
    assert!(!tracker.is_unclear(GroupId(1)));
    assert_eq!(read(&mut tracker, 1, 3_000).process_count, 1);
    // Its end ends a doubt, too.
    let brief = key(11, 5);
    tracker.learn(
        brief,
        Facts {
            uid: Some(0),
            ..Facts::default()
        },
    );
    tracker.apply(executes(brief, runs("engine", &["engine"], Some("-cp"))));
    assert!(tracker.is_unclear(GroupId(1)));
    end(&mut tracker, 4_000, brief, 0, 0);
    assert!(!tracker.is_unclear(GroupId(1)));
    assert_eq!(tracker.unknown_verdicts(GroupId(1)), 2);
}

/// What is cut off may hold the name of what an interpreter runs: groups by name are concerned, too.
#[test]
fn a_name_behind_the_cut_may_be_any() {
    let mut tracker = tracker(&["^java$", "^other$"]);
    tracker.apply(executes(key(10, 5), runs("java", &["java"], Some("-cp"))));
    let unclear = [0, 1].map(|group| tracker.is_unclear(GroupId(group)));
    assert_eq!(unclear, [false, true], "the executable's name is known");
}

#[test]
fn a_cut_name_is_none_and_may_be_any() {
    let mut tracker = tracker(&["^x$", "^app$"]);
    let process = key(10, 5);
    tracker.apply(executes(process, runs("app", &[], Some("/opt/x"))));
    let unclear = [0, 1].map(|group| tracker.is_unclear(GroupId(group)));
    assert_eq!(unclear, [true, false], "the executable's name is known");
    assert_eq!(read(&mut tracker, 0, 20).process_count, 0);
    assert_eq!(read(&mut tracker, 1, 20).process_count, 1);
}

#[test]
fn a_title_joins_and_leaves_and_a_young_one_starts() {
    let mut tracker = tracker(&["^nginx: worker", "^nginx$"]);
    let (master, worker, late) = (key(10, 5), key(11, 20), key(12, 20));
    let judged = tracker.apply(executes(master, runs("nginx", &["nginx", "-g", "x"], None)));
    assert!(judged.unwrap().keep);
    for child in [worker, late] {
        let event = Event::Fork {
            key: child,
            time: child.start,
            sequence: 2,
            parent: master,
        };
        assert!(tracker.apply(event).unwrap().keep);
    }
    assert_eq!(
        tracker.take_looks(),
        [master, worker, late].map(|key| NewLook {
            key,
            interest: Interest::Always,
            since: key.start,
        })
    );
    assert_eq!(tracker.with_titles(), [master, worker, late]);
    tracker.retitle(
        master,
        title("nginx: master process /usr/sbin/nginx"),
        BootTime(100 * MS),
    );
    tracker.retitle(worker, title("nginx: worker process\0\0\0"), BootTime(500 * MS));
    tracker.retitle(late, title("nginx: worker process /x"), BootTime(2_000 * MS));
    let reading = read(&mut tracker, 0, 2_100);
    assert_eq!(
        (
            reading.process_count,
            reading.happened.starts,
            reading.happened.joins
        ),
        (2, 1, 1)
    );
    tracker.retitle(late, title("nginx: cache manager"), BootTime(3_000 * MS));
    let reading = read(&mut tracker, 0, 3_100);
    assert_eq!((reading.process_count, reading.happened.leaves), (1, 1));
    assert_eq!(
        read(&mut tracker, 1, 3_100).process_count,
        3,
        "the program is what it was"
    );
}

#[test]
fn strangers_are_looked_at_once_or_never() {
    for (text, expected) in [
        ("^nginx: worker", vec![Interest::Once]),
        ("worker$", vec![Interest::Once]),
        ("^nginx$", vec![]),
    ] {
        let mut tracker = tracker(&[text]);
        let judged = tracker.apply(executes(key(10, 5), runs("bash", &["bash"], None)));
        assert!(!judged.unwrap().keep, "{text}");
        let looks: Vec<Interest> = tracker
            .take_looks()
            .into_iter()
            .map(|look| look.interest)
            .collect();
        assert_eq!(looks, expected, "{text}");
        assert_eq!(tracker.with_titles(), [], "{text}");
    }
}

#[test]
fn a_look_counts_from_the_exec_and_not_from_the_start_of_the_process() {
    for (name, interest) in [("bash", Interest::Once), ("nginx", Interest::Always)] {
        let mut tracker = tracker(&["^nginx: worker", "^nginx$"]);
        let wrapped = key(10, 5);
        let time = BootTime(3_600_000 * MS);
        tracker.apply(Event::Exec {
            key: wrapped,
            time,
            sequence: 2,
            parent: INIT,
            identity: runs(name, &[name], None),
            usage: Usage::ZERO,
        });
        let new = NewLook {
            key: wrapped,
            interest,
            since: time,
        };
        assert_eq!(tracker.take_looks(), [new], "{name}");
    }
}
