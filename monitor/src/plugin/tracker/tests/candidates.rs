//! Members by facts and by descent.

use super::*;
use crate::plugin::{Selectors, definition::User};

fn facts(uid: u32, cgroup: &str) -> Facts {
    Facts {
        uid: Some(uid),
        user: None,
        cgroup: Some(cgroup.into()),
        pid_namespace: None,
    }
}

fn of_user(uid: u32, pattern: &str) -> Plugin {
    Plugin {
        selectors: Selectors {
            users: vec![User {
                written: uid.to_string(),
                uid: Some(uid),
            }],
            ..Selectors::default()
        },
        ..plugin(pattern)
    }
}

fn of(plugin: Plugin) -> Tracker {
    Tracker::new(vec![plugin], BootTime(0)).unwrap()
}

#[test]
fn whose_it_is_decides_when_a_plugin_asks() {
    let mut tracker = of(of_user(33, "^nginx$"));
    let (right, wrong, unknown) = (key(10, 5), key(11, 5), key(12, 5));
    assert!(tracker.asks_for_facts(&named("nginx")));
    assert!(!tracker.asks_for_facts(&named("other")));
    tracker.learn(right, facts(33, "/"));
    tracker.learn(wrong, facts(0, "/"));
    for process in [right, wrong, unknown] {
        let judged = tracker.apply(exec(10, process, INIT, "nginx", 0)).unwrap();
        assert!(judged.keep, "a candidate is followed: it may fit yet");
    }
    assert!(
        !tracker
            .apply(exec(10, key(13, 5), INIT, "other", 0))
            .unwrap()
            .keep
    );
    let reading = read(&mut tracker, 0, 20);
    assert_eq!((reading.process_count, reading.happened.starts), (1, 1));
    assert!([right, wrong, unknown].iter().all(|&key| tracker.asks_of(key)));
    assert!(tracker.has_facts(right) && !tracker.has_facts(unknown));
}

#[test]
fn a_worker_that_takes_its_user_after_its_fork_has_started() {
    let mut tracker = of(of_user(33, "^nginx$"));
    let (master, worker, late) = (key(10, 5), key(11, 20), key(12, 20));
    tracker.learn(master, facts(0, "/"));
    tracker.apply(exec(10, master, INIT, "nginx", 0));
    for process in [worker, late] {
        assert!(tracker.apply(fork(20, process, master)).unwrap().keep);
    }
    assert_eq!(read(&mut tracker, 0, 25).process_count, 0);
    tracker.judge_facts(worker, facts(33, "/"), BootTime(30 * MS));
    tracker.judge_facts(late, facts(33, "/"), BootTime(2_000 * MS));
    let reading = read(&mut tracker, 0, 2_010);
    assert_eq!(
        (
            reading.process_count,
            reading.happened.starts,
            reading.happened.joins
        ),
        (2, 1, 1)
    );
    // And it leaves when it takes another.
    tracker.judge_facts(worker, facts(0, "/"), BootTime(2_020 * MS));
    let reading = read(&mut tracker, 0, 2_030);
    assert_eq!((reading.process_count, reading.happened.leaves), (1, 1));
    end(&mut tracker, 2_040, late, 0, 3);
    assert_eq!(read(&mut tracker, 0, 2_060).happened.exits, 1);
}

#[test]
fn units_containers_and_exclusions() {
    let unit = Plugin {
        selectors: Selectors {
            exclude: plugin("debug").patterns,
            units: plugin(r"^web\.service$").patterns,
            ..Selectors::default()
        },
        ..plugin("app")
    };
    let mut tracker = of(unit);
    for (pid, name, cgroup) in [
        (10, "app", "/system.slice/web.service"),
        (11, "app", "/system.slice/other.service"),
        (12, "app-debug", "/system.slice/web.service"),
    ] {
        tracker.learn(key(pid, 5), facts(0, cgroup));
        tracker.apply(exec(10, key(pid, 5), INIT, name, 0));
    }
    assert_eq!(read(&mut tracker, 0, 20).process_count, 1);
}

#[test]
fn whatever_descends_from_a_member_is_one() {
    let family = Plugin {
        children: true,
        ..plugin("^make$")
    };
    let mut tracker = of(family);
    let (make, shell, compiler, stranger) = (key(10, 5), key(11, 20), key(12, 30), key(13, 30));
    tracker.apply(exec(10, make, INIT, "make", 0));
    assert!(tracker.apply(fork(20, shell, make)).unwrap().keep);
    tracker.apply(exec(21, shell, make, "sh", 0));
    assert!(tracker.apply(fork(30, compiler, shell)).unwrap().keep);
    tracker.apply(exec(31, compiler, shell, "cc1", 0));
    assert!(!tracker.apply(exec(31, stranger, INIT, "cc1", 0)).unwrap().keep);
    let reading = read(&mut tracker, 0, 40);
    assert_eq!(
        (
            reading.process_count,
            reading.happened.starts,
            reading.happened.worker_starts
        ),
        (3, 1, 2)
    );
    // Also when those between are gone.
    end(&mut tracker, 50, make, 0, 1);
    end(&mut tracker, 50, shell, 0, 1);
    tracker.apply(exec(70, compiler, INIT, "collect2", 0));
    let reading = read(&mut tracker, 0, 80);
    assert_eq!(
        (
            reading.process_count,
            reading.happened.exits,
            reading.happened.leaves
        ),
        (1, 2, 0)
    );
}

#[test]
fn descent_is_found_by_snapshots_and_reloads() {
    let family = Plugin {
        children: true,
        ..plugin("^make$")
    };
    let (make, child) = (key(10, 5), key(11, 6));
    let seen_child = || Seen {
        parent: Some(make),
        ..seen(child, "cc1")
    };
    let mut tracker = of(family.clone());
    tracker.discover(&seen(make, "make"), BootTime(100 * MS), None);
    assert!(
        tracker
            .discover(&seen_child(), BootTime(100 * MS), None)
            .is_some()
    );
    assert_eq!(read(&mut tracker, 0, 110).process_count, 2);

    let mut tracker = Tracker::new(vec![plugin("cc1"), plugin("make")], BootTime(0)).unwrap();
    tracker.discover(&seen(make, "make"), BootTime(100 * MS), None);
    tracker.discover(&seen_child(), BootTime(100 * MS), None);
    tracker
        .replan(
            &[GroupId(0)],
            Vec::new(),
            vec![Arc::new(family)],
            BootTime(110 * MS),
        )
        .unwrap();
    assert_eq!(read(&mut tracker, 2, 120).process_count, 2);
}

/// What a later look leaves open is as it was; a child has its parent's but for what is told of itself.
#[test]
fn what_is_not_told_stays_as_it_was() {
    let unit = "/system.slice/a.service";
    let mut tracker = of(Plugin {
        selectors: Selectors {
            units: vec![regex::Regex::new("^a\\.service$").unwrap()],
            ..Selectors::default()
        },
        ..plugin("^app$")
    });
    let process_count = |tracker: &mut Tracker, at: u64| read(tracker, 0, at).process_count;
    let (parent, child) = (key(10, 5), key(11, 20));
    tracker.learn(parent, facts(0, unit));
    tracker.apply(exec(10, parent, INIT, "app", 0));
    let silent = Facts::default();
    tracker.learn(parent, silent.clone());
    tracker.apply(exec(11, parent, INIT, "app", 0));
    tracker.judge_facts(parent, silent.clone(), BootTime(12 * MS));
    assert_eq!(process_count(&mut tracker, 13), 1);
    tracker.learn_of_child(child, parent, silent.clone());
    tracker.apply(fork(20, child, parent));
    assert_eq!(process_count(&mut tracker, 21), 2);
    let elsewhere = key(12, 30);
    tracker.learn_of_child(elsewhere, parent, facts(0, "/"));
    tracker.apply(fork(30, elsewhere, parent));
    assert_eq!(process_count(&mut tracker, 31), 2, "clone3(2) put it elsewhere");
}

/// The last moment makes nobody leave, and may make a candidate join.
#[test]
fn an_end_counts_where_it_was_a_member() {
    let mut tracker = of(of_user(33, "^app$"));
    let (member, candidate) = (key(10, 5), key(11, 5));
    tracker.learn(member, facts(33, "/"));
    tracker.apply(exec(10, member, INIT, "app", 0));
    tracker.learn(candidate, facts(0, "/"));
    tracker.apply(exec(10, candidate, INIT, "app", 0));
    tracker.judge_last_facts(member, facts(0, "/"), BootTime(20 * MS));
    tracker.judge_last_facts(candidate, facts(33, "/"), BootTime(20 * MS));
    end(&mut tracker, 20, member, 0, 1);
    end(&mut tracker, 20, candidate, 0, 1);
    let reading = read(&mut tracker, 0, 30);
    let happened = reading.happened;
    assert_eq!((happened.starts, happened.exits, happened.leaves), (2, 2, 0));
}

#[test]
fn attributes_say_what_all_members_agree_on() {
    let templated = Plugin {
        templates: [("owner", "{user}"), ("where", "in {unit}")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        ..plugin("^app$")
    };
    let mut tracker = of(templated);
    let told = |tracker: &mut Tracker| {
        let told = tracker.templated(GroupId(0));
        told.into_iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut tracker), [""; 0], "nobody to say anything of");
    let (one, other) = (key(10, 5), key(11, 5));
    tracker.learn(one, facts(7, "/system.slice/a.service"));
    tracker.apply(exec(10, one, INIT, "app", 0));
    assert_eq!(told(&mut tracker), ["owner=7", "where=in a.service"]);
    tracker.learn(other, facts(7, "/system.slice/b.service"));
    tracker.apply(exec(10, other, INIT, "app", 0));
    assert_eq!(told(&mut tracker), ["owner=7"], "they disagree about the other");
    end(&mut tracker, 20, one, 0, 1);
    end(&mut tracker, 20, other, 0, 1);
    assert_eq!(told(&mut tracker), ["owner=7"], "as it was last");
    let brief = key(12, 30);
    tracker.learn(brief, facts(8, "/system.slice/c.service"));
    tracker.apply(exec(30, brief, INIT, "app", 0));
    end(&mut tracker, 31, brief, 0, 1);
    assert_eq!(
        told(&mut tracker),
        ["owner=8", "where=in c.service"],
        "it was alone, and is gone by now"
    );
}
