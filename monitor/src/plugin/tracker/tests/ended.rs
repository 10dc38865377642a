//! Members that had ended when kevmon was killed, and of which the kernel side tells the final totals after that.

use super::{outlive::keep, *};
use crate::plugin::{Notice, SavedGroup, What};

/// A run that took the exit of a member, and not its free; `is_told`: the event was told without the final totals.
fn killed(app: ProcessKey, is_told: bool) -> SavedGroup {
    let mut first = tracker(&["^app$"]);
    first.apply(exec(100, app, INIT, "app", 0));
    first.take_notices(BootTime(110 * MS));
    first.apply(exit(200, app, 7));
    let told = first.take_notices(BootTime(if is_told { 500 } else { 250 } * MS));
    assert_eq!(told.len(), usize::from(is_told));
    let mut saved = keep(&mut first, 600);
    assert_eq!(saved[0].untold_exits.len(), usize::from(!is_told));
    saved.remove(0)
}

/// The next run, for which the kernel side went on.
fn next(saved: &SavedGroup) -> Tracker {
    let mut next = tracker(&["^app$"]);
    next.go_on_unseen();
    next.restore(GroupId(0), saved, true, BootTime(1_000 * MS));
    next
}

fn exits(told: &[Notice]) -> Vec<(u64, bool, Option<u32>, bool)> {
    let of = |notice: &Notice| match &notice.what {
        What::Exit {
            ending,
            usage,
            settled,
            ..
        } => (
            notice.time.0 / MS,
            *settled,
            ending.status,
            *usage == used(9).split() || *usage == used(9),
        ),
        other => panic!("{other:?}"),
    };
    told.iter().map(of).collect()
}

#[test]
fn a_free_that_comes_after_a_kill_settles_what_had_ended() {
    let app = key(10, 100);
    for is_told in [false, true] {
        let saved = killed(app, is_told);
        let mut second = next(&saved);
        second.apply(free(700, app, 9));
        let told = exits(&second.take_notices(BootTime(1_001 * MS)));
        let expected = [(200, true, Some(0), true)];
        assert_eq!(told, expected[usize::from(is_told)..], "each end once");
        second.end_comparison();
        let reading = read(&mut second, 0, 1_002);
        assert_eq!((written(&reading), reading.unsettled), (9, 0));
        assert_eq!(reading.happened.exits, 1);
        let saved = keep(&mut second, 1_010);
        assert!(saved[0].members.is_empty(), "nothing more is awaited");
    }
}

/// Its free is lost: the totals are what they were, and it is said.
#[test]
fn what_had_ended_and_is_not_told_of_is_given_up() {
    let app = key(10, 100);
    for is_told in [false, true] {
        let saved = killed(app, is_told);
        let mut second = next(&saved);
        second.end_comparison();
        let told = second.take_notices(BootTime(1_300 * MS));
        assert_eq!(told.len(), usize::from(!is_told));
        assert_eq!(second.given_up(GroupId(0)), 0, "it may come yet");
        second.observe(
            &KeyMap::default(),
            &[app].into_iter().collect(),
            BootTime(17_000 * MS),
        );
        assert_eq!(
            second.take_notices(BootTime(17_001 * MS)).len(),
            0,
            "reported already"
        );
        let reading = read(&mut second, 0, 17_002);
        assert_eq!((written(&reading), second.given_up(GroupId(0))), (7, 1));
        assert_eq!(reading.happened.exits, 1);
    }
}

/// Where nobody watched meanwhile, no record tells of it any more.
#[test]
fn what_had_ended_before_an_unwatched_time_is_closed_at_once() {
    let saved = killed(key(10, 100), false);
    let mut second = tracker(&["^app$"]);
    second.restore(GroupId(0), &saved, true, BootTime(1_000 * MS));
    let told = exits(&second.take_notices(BootTime(1_001 * MS)));
    assert_eq!(told, [(200, false, Some(0), false)]);
    let reading = read(&mut second, 0, 1_002);
    assert_eq!((written(&reading), reading.unsettled), (7, 1));
}
