//! Folders, locks and removals, on a file system that behaves as bpffs does in this.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use super::*;

/// A folder of the test's own, with the name that kevmon's has in bpffs below it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("kevmon-pins-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn all(&self) -> PathBuf {
        self.0.join(KEVMON)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A set as a kevmon leaves it that is gone.
fn left(all: &Path, state: &str, layout: u64) -> PathBuf {
    let mut pins = Pins::open_below(all, state, layout).unwrap();
    let set = pins.layout();
    fs::create_dir(&set).unwrap();
    fs::write(set.join("map_MARKS"), "").unwrap();
    pins.stay(true);
    set
}

/// Who ends removes the folders that are empty, in the moment in which another one makes its own in them.
#[test]
fn who_starts_while_others_end_has_its_folder() {
    const EACH: u32 = 2_000;
    let scratch = Scratch::new("race");
    let all = scratch.all();
    thread::scope(|scope| {
        for state in ["one", "other"] {
            let all = &all;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let pins = Pins::open_below(all, state, 1).expect("a folder");
                    assert!(pins.folder.is_dir(), "it has the lock, so that nobody removes it");
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..EACH {
                tidy_below(&all, |_| true);
            }
        });
    });
    assert!(!all.exists());
}

#[test]
fn only_what_is_stale_and_nobodys_is_removed() {
    let scratch = Scratch::new("tidy");
    let all = scratch.all();
    let (stale, fresh, used) = (
        left(&all, "stale", 1),
        left(&all, "fresh", 1),
        left(&all, "used", 1),
    );
    let unfinished = left(&all, "unfinished", 1).with_file_name(NEW);
    fs::rename(unfinished.with_file_name(format!("{:016x}", 1)), &unfinished).unwrap();
    let empty = Pins::open_below(&all, "empty", 1).unwrap();
    let user = Pins::open_below(&all, "used", 1).unwrap();
    tidy_below(&all, |found| !found.path().starts_with(all.join("fresh")));
    assert!(!stale.exists() && !all.join("stale").exists());
    assert!(!all.join("unfinished").exists(), "no kevmon can go on from it");
    assert!(fresh.exists() && used.exists() && empty.folder.exists());
    drop((empty, user));
    assert!(!used.exists(), "an end for good");
    tidy_below(&all, |_| true);
    assert!(!all.exists(), "the last one removes what is above");
}
