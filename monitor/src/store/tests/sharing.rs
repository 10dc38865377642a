//! Daemons that share a path: who waits for whom, and what one takes over from another.

use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

use super::{BOOT, NOW, Scratch, filled, key, ready};
use crate::store::{
    Claim, Commit, Store, StoreError, Wanted,
    lock::{Found, Lock},
};

const FIRST: &str = "1111111111111111";
const SECOND: &str = "2222222222222222";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[track_caller]
fn claim(scratch: &Scratch, scope: &str, plugins: &[&str]) -> Claim {
    let plugins = names(plugins);
    let wanted = Wanted {
        scope,
        plugins: &plugins,
    };
    Claim::take(&scratch.store(), wanted).unwrap()
}

#[test]
fn a_start_that_waits_holds_up_no_daemon_that_reloads() {
    let scratch = Scratch::new();
    let mut ending = claim(&scratch, FIRST, &["web"]);
    let mut running = claim(&scratch, SECOND, &["db"]);
    ending.ending();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| claim(&scratch, FIRST, &["web"]));
        for round in 0..20 {
            thread::sleep(Duration::from_millis(10));
            let began = Instant::now();
            let refused = running.change(&names(&["db", "queue", "web"])).unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_millis(500), "{round}: {took:?}");
            assert_eq!(refused.len(), 1, "{refused:?}");
        }
        assert!(!waiting.is_finished(), "it waits for the one that ends");
        drop(ending);
        waiting.join().unwrap();
    });
}

#[test]
fn a_reload_waits_for_no_lock_that_is_stuck_and_says_what_it_runs_all_the_same() {
    let scratch = Scratch::new();
    let mut running = claim(&scratch, FIRST, &["db"]);
    let starting = File::open(scratch.0.join("kevmon.db.starting.lock")).unwrap();
    starting.lock().unwrap();
    let began = Instant::now();
    let error = running.change(&names(&["db", "queue"])).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let Found::Held(Some(holder)) = Lock::look(&scratch.store()).unwrap() else {
        panic!("nobody holds it");
    };
    assert_eq!(holder.plugins, ["db", "queue"]);
    drop(starting);
    assert_eq!(running.change(&names(&["queue"])).unwrap(), []);
}

#[test]
fn several_groups_that_come_are_taken_over_at_once() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let base = claim(&scratch, FIRST, &["other"]);
    let further = claim(&scratch, SECOND, &["more"]);
    let mut store = ready(Store::open_claimed(further, super::named(BOOT), NOW, &[].into()));
    store
        .commit(Commit {
            time: NOW + 1,
            groups: vec![groups[1].clone()],
            ..Commit::default()
        })
        .unwrap();
    let keys = ["web", "db", "unknown", "queue"].map(key);
    let keys = keys.each_ref().map(|key| key.key.as_str());
    let found = store.groups_of_before(&keys, NOW + 2);
    let saved: Vec<_> = found
        .iter()
        .map(|kept| kept.as_ref().map(|kept| &kept.saved))
        .collect();
    assert_eq!(
        saved,
        [Some(&groups[0].1), None, None, Some(&groups[2].1)],
        "one is kept here already, one is nowhere"
    );
    assert_eq!(store.outage(), None, "this daemon was there meanwhile");
    drop(base);
}
