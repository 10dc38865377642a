//! Whose processes are a group's, over a restart of kevmon: what is bounded is shared among users there, too.

use super::{
    outlive::{keep, resume},
    *,
};

const SERVICE: Option<u32> = Some(33);
const STRANGER: Option<u32> = Some(65_534);

#[test]
fn the_next_run_knows_whose_members_it_takes_back() {
    let (service, stranger) = (key(10, 100), key(11, 110));
    let mut first = tracker(&["^app$"]);
    first.apply_of(exec(100, service, INIT, "app", 0), SERVICE);
    first.apply_of(exec(110, stranger, INIT, "app", 0), STRANGER);
    let saved = keep(&mut first, 200);
    let mut second = resume(&["^app$"], &saved, true, 1_000);
    end(&mut second, 1_010, service, 0x100, 3);
    end(&mut second, 1_020, stranger, 0x100, 3);
    let told = second.take_notices(BootTime(1_100 * MS));
    let users: Vec<_> = told.iter().map(|notice| (notice.key, notice.user)).collect();
    assert_eq!(users, [(service, SERVICE), (stranger, STRANGER)]);
    let saved = keep(&mut second, 1_200);
    let users: Vec<_> = saved[0].unpaired_ends.iter().map(|end| end.user).collect();
    assert_eq!(users, [SERVICE, STRANGER]);
}

/// Nor do the ends that an earlier run kept count as one user's: among them, the stranger's are the newest.
#[test]
fn a_strangers_flood_over_a_restart_leaves_the_ends_of_a_service() {
    let flood = |tracker: &mut Tracker, name: &str, time: u64| {
        for tgid in 1_000..1_100 {
            tracker.apply_of(exec(time, key(tgid, time), INIT, name, 0), STRANGER);
        }
        for tgid in 1_000..1_100 {
            end(tracker, time + 1, key(tgid, time), 0x100, 0);
        }
    };
    let service = key(10, 500);
    let mut first = tracker(&["^(app|tool|job)$"]);
    first.apply_of(exec(500, service, INIT, "app", 0), SERVICE);
    end(&mut first, 600, service, 0x100, 3);
    flood(&mut first, "tool", 1_000);
    let saved = keep(&mut first, 2_000);
    let mut second = resume(&["^(app|tool|job)$"], &saved, true, 2_500);
    flood(&mut second, "job", 3_000);
    let saved = keep(&mut second, 4_000);
    assert!(saved[0].unpaired_ends.iter().any(|end| end.key == service));
    assert_eq!(saved[0].unpaired_ends.len(), 64);
}
