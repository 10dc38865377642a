//! Which root replaces which one, where programs differ.

use super::*;

/// What the restarts among the waiting notices say: the new pid, the old one, its name and reason, the downtime in ms.
fn restarts(tracker: &mut Tracker) -> Vec<(u32, u32, String, Reason, Option<u128>)> {
    let notices = tracker.take_notices(BootTime(u64::MAX));
    let restarts = notices.into_iter().filter_map(|notice| match notice.what {
        What::Restart {
            downtime,
            previous: Some(previous),
            ..
        } => Some((
            notice.key.tgid.0,
            previous.key.tgid.0,
            previous.name.to_string(),
            previous.ending.reason(),
            downtime.map(|downtime| downtime.as_millis()),
        )),
        _ => None,
    });
    restarts.collect()
}

#[test]
fn programs_of_one_group_do_not_replace_each_other() {
    let mut tracker = tracker(&["^shop-(web|worker)$"]);
    let (worker, web) = (key(10, 100), key(11, 110));
    tracker.apply(exec(100, worker, INIT, "shop-worker", 0));
    tracker.apply(exec(110, web, INIT, "shop-web", 0));
    end(&mut tracker, 1_000, worker, 0x100, 1);
    end(&mut tracker, 5_000, web, 0x8b, 1);
    tracker.apply(exec(5_309, key(12, 5_309), INIT, "shop-web", 0));
    let reading = read(&mut tracker, 0, 5_400);
    assert_eq!(
        (
            reading.happened.respawns,
            reading.downtime.sum,
            reading.downtime.count()
        ),
        (1, 309 * MS, 1)
    );
    let segv = Reason::Signal {
        number: 11,
        core_dumped: true,
    };
    assert_eq!(
        restarts(&mut tracker),
        [(12, 11, "shop-web".to_owned(), segv, Some(309))]
    );
    // Three failures of three programs are no loop.
    assert!(!reading.crash_loop);
    tracker.apply(exec(5_500, key(13, 5_500), INIT, "shop-worker", 0));
    end(&mut tracker, 5_600, key(12, 5_309), 0x100, 1);
    tracker.apply(exec(5_700, key(14, 5_700), INIT, "shop-web", 0));
    let reading = read(&mut tracker, 0, 5_800);
    assert_eq!((reading.happened.respawns, reading.crash_loop), (3, false));
    end(&mut tracker, 5_900, key(14, 5_700), 0x100, 1);
    tracker.apply(exec(6_000, key(15, 6_000), INIT, "shop-web", 0));
    assert!(
        read(&mut tracker, 0, 6_100).crash_loop,
        "web has failed three times"
    );
}

#[test]
fn a_hand_over_is_told_of_the_new_process() {
    let mut tracker = tracker(&["^app$"]);
    let (old, new) = (key(10, 100), key(11, 5_000));
    tracker.apply(exec(100, old, INIT, "app", 0));
    tracker.apply(exec(5_000, new, INIT, "app", 0));
    tracker.take_notices(BootTime(5_100 * MS));
    end(&mut tracker, 5_200, old, 0, 1);
    let notices = tracker.take_notices(BootTime(6_000 * MS));
    let restart = notices
        .iter()
        .find(|notice| matches!(notice.what, What::Restart { .. }))
        .expect("a restart");
    assert_eq!((restart.key, restart.time), (new, BootTime(5_000 * MS)));
    assert_eq!(restart.parent, Some(INIT));
    let What::Restart {
        downtime, previous, ..
    } = &restart.what
    else {
        panic!("{restart:?}");
    };
    assert_eq!(*downtime, Some(Duration::ZERO));
    assert_eq!(previous.as_ref().map(|previous| previous.key), Some(old));
}

#[test]
fn a_script_is_a_program_and_its_wrapper_gives_way() {
    let script = |path: &str| Identity {
        comm: "python3".into(),
        exe: "python3.11".into(),
        filename: String::new(),
        argv: vec!["python3".into(), path.into()],
        cut: None,
    };
    let runs = |time: u64, key: ProcessKey, identity: Identity| Event::Exec {
        key,
        time: BootTime(time * MS),
        sequence: time * MS,
        parent: INIT,
        identity,
        usage: used(0),
    };
    let mut tracker = tracker(&["^(a|b|start).*"]);
    let (a, b) = (key(10, 100), key(11, 110));
    tracker.apply(runs(100, a, script("/srv/a.py")));
    tracker.apply(runs(110, b, script("/srv/b.py")));
    end(&mut tracker, 1_000, a, 0x100, 1);
    end(&mut tracker, 1_500, b, 0x100, 1);
    // By way of a wrapper, that is known by no end.
    let again = key(12, 2_000);
    tracker.apply(exec(2_000, again, INIT, "start-a", 0));
    assert_eq!(read(&mut tracker, 0, 2_010).happened.respawns, 0);
    tracker.apply(runs(2_020, again, script("/srv/a.py")));
    let failed = Reason::Exit { code: 1 };
    assert_eq!(
        restarts(&mut tracker),
        [(12, 10, "a.py".to_owned(), failed, Some(1_000))],
        "from the end to the start of the wrapper"
    );
    // From now on the wrapper's start is that of the program.
    end(&mut tracker, 3_000, again, 0x100, 1);
    tracker.apply(exec(3_100, key(13, 3_100), INIT, "start-a", 0));
    assert_eq!(
        restarts(&mut tracker),
        [(13, 12, "a.py".to_owned(), failed, Some(100))]
    );
    tracker.apply(runs(3_110, key(13, 3_100), script("/srv/a.py")));
    let reading = read(&mut tracker, 0, 3_200);
    assert_eq!((reading.happened.respawns, reading.happened.reexecs), (2, 0));
}

#[test]
fn another_program_in_place_is_no_restart_and_the_same_one_is() {
    let mut tracker = tracker(&["^app"]);
    let process = key(10, 100);
    for (time, name, reexecs) in [
        (100, "app-start", 0),
        (110, "app-environment", 0),
        (120, "app", 0),
        (5_000, "app", 1),
        (5_001, "app", 2),
        (9_000, "app-other", 2),
    ] {
        tracker.apply(exec(time, process, INIT, name, 0));
        assert_eq!(
            read(&mut tracker, 0, time).happened.reexecs,
            reexecs,
            "{time} {name}"
        );
    }
    // Right after its start, which a wrapper's exec is, too; long after it; and of one that was found running.
    let soon = key(13, 9_050);
    for time in [9_050, 9_060, 9_070] {
        tracker.apply(exec(time, soon, INIT, "app", 0));
    }
    assert_eq!(read(&mut tracker, 0, 9_080).happened.reexecs, 4, "n times are n");
    let (started, found) = (key(11, 200), key(12, 1));
    tracker.apply(exec(200, started, INIT, "app", 0));
    tracker.discover(&seen(found, "app"), BootTime(9_000 * MS), None);
    for process in [started, found] {
        tracker.apply(exec(9_100, process, INIT, "app", 0));
    }
    assert_eq!(read(&mut tracker, 0, 9_200).happened.reexecs, 6);
}

/// Random lives of two groups' programs, with wrappers, forks, renames, late ends and losses. `read` holds the group to its sum
/// rule; a start is at most one of: a restart, unknown, a first one.
#[test]
fn properties_of_random_lives() {
    let mut seed = 1_u64;
    let mut random = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for round in 0..200 {
        let mut tracker = tracker(&["^shop-", "^shop-web$"]);
        let mut live: Vec<ProcessKey> = Vec::new();
        let mut time = 100;
        let programs = ["shop-web", "shop-worker", "shop-start", "other"];
        for pid in 10..150 {
            time += 1 + random(700);
            let process = key(pid, time);
            match random(12) {
                0..=3 => {
                    tracker.apply(exec(time, process, INIT, programs[random(4) as usize], 1));
                    live.push(process);
                }
                4 if !live.is_empty() => {
                    let parent = live[random(live.len() as u64) as usize];
                    tracker.apply(fork(time, process, parent));
                    live.push(process);
                }
                5 | 6 if !live.is_empty() => {
                    let again = live[random(live.len() as u64) as usize];
                    tracker.apply(exec(time, again, INIT, programs[random(4) as usize], 1));
                }
                7 => {
                    tracker.recover(
                        Vec::new(),
                        &[LostLives {
                            identity: Some(named("shop-web")),
                            forked: false,
                            ending: ending(0),
                            count: 2,
                            usage: used(1),
                            peak_rss: None,
                        }],
                        BootTime(time * MS),
                    );
                }
                _ if !live.is_empty() => {
                    let ended = live.swap_remove(random(live.len() as u64) as usize);
                    let status = [0, 0x100, 9][random(3) as usize];
                    end(&mut tracker, time, ended, status, 2);
                }
                _ => {}
            }
            for group in 0..2 {
                let reading = read(&mut tracker, group, time);
                let happened = reading.happened;
                assert!(
                    happened.respawns + happened.unpaired_starts <= happened.starts,
                    "{round}: {happened:?}"
                );
                assert_eq!(reading.downtime.count(), happened.respawns, "{round}");
            }
        }
        for notice in tracker.take_notices(BootTime(u64::MAX)) {
            let What::Restart {
                previous: Some(previous),
                ..
            } = &notice.what
            else {
                continue;
            };
            assert_ne!(previous.key, notice.key, "{round}: its own successor");
        }
    }
}
