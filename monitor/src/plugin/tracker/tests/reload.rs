//! Plugins that come, change and go while processes live.

use super::*;

fn replan(
    tracker: &mut Tracker,
    time: u64,
    gone: &[usize],
    changed: Vec<(usize, Plugin)>,
    new: Vec<Plugin>,
) -> Vec<usize> {
    let gone: Vec<GroupId> = gone.iter().copied().map(GroupId).collect();
    let changed = changed
        .into_iter()
        .map(|(group, plugin)| (GroupId(group), Arc::new(plugin)))
        .collect();
    let new = new.into_iter().map(Arc::new).collect();
    let ids = tracker.replan(&gone, changed, new, BootTime(time * MS)).unwrap();
    ids.into_iter().map(|group| group.0).collect()
}

#[test]
fn what_a_change_does_not_concern_goes_on() {
    let mut tracker = tracker(&["^app$", "^db$"]);
    let (app, db) = (key(10, 5), key(11, 5));
    tracker.apply(exec(10, app, INIT, "app", 0));
    tracker.apply(exec(10, db, INIT, "db", 0));
    sample(&mut tracker, 20, app, 7);
    sample(&mut tracker, 20, db, 9);
    read(&mut tracker, 0, 20);

    let slower = Plugin {
        interval: Duration::from_secs(5),
        ..plugin("^app$")
    };
    let ids = replan(&mut tracker, 30, &[1], vec![(0, slower)], vec![plugin("^other$")]);
    assert_eq!(ids, [2], "no number is given twice");
    let reading = read(&mut tracker, 0, 40);
    assert_eq!((written(&reading), reading.happened.starts), (7, 1));
    assert_eq!(reading.watch_start, Moment::Boot(BootTime(0)));
    assert_eq!(
        tracker.plugin(GroupId(0)).unwrap().interval,
        Duration::from_secs(5)
    );
    assert!(tracker.plugin(GroupId(1)).is_none(), "gone");
    assert!(
        tracker
            .read(GroupId(1), BootTime(40 * MS), HOST, &KeyMap::default())
            .is_none()
    );

    // What was in the group that is gone ends without harm.
    end(&mut tracker, 50, db, 0, 9);
    end(&mut tracker, 50, app, 0, 8);
    let reading = read(&mut tracker, 0, 70);
    assert_eq!((written(&reading), reading.happened.exits), (8, 1));
}

#[test]
fn a_changed_match_begins_anew_without_what_was_told_before() {
    let mut tracker = tracker(&["^app$"]);
    let (app, worker) = (key(10, 5), key(11, 5));
    tracker.apply(exec(10, app, INIT, "app", 0));
    tracker.apply(exec(10, worker, INIT, "app-worker", 0));
    sample(&mut tracker, 20, app, 7);
    assert_eq!(written(&read(&mut tracker, 0, 20)), 7);

    assert_eq!(replan(&mut tracker, 30, &[0], vec![], vec![plugin("^app")]), [1]);
    tracker.discover(&seen(worker, "app-worker"), BootTime(31 * MS), None);
    sample(&mut tracker, 40, app, 10);
    sample(&mut tracker, 40, worker, 100);
    let reading = read(&mut tracker, 1, 40);
    assert_eq!(reading.process_count, 2);
    assert_eq!(
        written(&reading),
        3 + 100,
        "of the one only what came since; of the one that nobody counted, its life"
    );
    assert_eq!((reading.happened.starts, reading.happened.joins), (0, 2));
    assert_eq!(reading.watch_start, Moment::Boot(BootTime(30 * MS)));
}

#[test]
fn a_plugin_that_comes_finds_who_is_followed_for_another() {
    let mut tracker = tracker(&["^app$"]);
    let app = key(10, 5);
    tracker.apply(exec(10, app, INIT, "app", 0));
    sample(&mut tracker, 20, app, 7);
    replan(&mut tracker, 30, &[], vec![], vec![plugin("app")]);
    sample(&mut tracker, 40, app, 9);
    assert_eq!(written(&read(&mut tracker, 0, 40)), 9, "untouched");
    let reading = read(&mut tracker, 1, 40);
    assert_eq!((reading.process_count, written(&reading)), (1, 2));

    // And loses them when it goes; the process is followed for the other one.
    replan(&mut tracker, 50, &[1], vec![], vec![]);
    end(&mut tracker, 60, app, 0, 11);
    let reading = read(&mut tracker, 0, 80);
    assert_eq!((written(&reading), reading.happened.exits), (11, 1));
}

#[test]
fn the_restart_window_of_now_holds() {
    let mut tracker = tracker(&["^app$"]);
    let changed = Plugin {
        restart_window: Duration::from_millis(5),
        ..plugin("^app$")
    };
    tracker.apply(exec(10, key(10, 5), INIT, "app", 0));
    end(&mut tracker, 100, key(10, 5), 0, 1);
    replan(&mut tracker, 120, &[], vec![(0, changed)], vec![]);
    tracker.apply(exec(150, key(11, 140), INIT, "app", 0));
    assert_eq!(
        read(&mut tracker, 0, 160).happened.respawns,
        0,
        "50 ms is too late now"
    );
}
