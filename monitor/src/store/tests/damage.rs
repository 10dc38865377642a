//! Files that are no longer what kevmon wrote: nothing panics, nothing is lost, monitoring gets its store.

use std::{fs, path::Path};

use super::{BOOT, Content, NOW, Random, Scratch, assert_groups, content, count, filled, open, ready};
use crate::store::{Commit, Note, Opened, Store, StoreError};

/// Opens what has been damaged; wherever the bytes are now, they are the same.
#[track_caller]
fn moved_aside(path: &Path, what: &str) {
    let damaged = content(path);
    let mut store = ready(Store::open(path, BOOT, NOW));
    let [Note::MovedAside { to, .. }] = store.notes() else {
        panic!("{what}: {:?}", store.notes());
    };
    assert_eq!(content(to), damaged, "{what}");
    assert!(to.to_string_lossy().contains(".corrupt-1795231579"), "{what}");
    assert_eq!(store.groups().len(), 0, "{what}");
    store.commit(Commit::default()).unwrap();
}

#[test]
fn truncated() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let whole = fs::read(scratch.store()).unwrap();
    let lengths = [
        1,
        15,
        16,
        99,
        100,
        511,
        512,
        1_024,
        4_095,
        4_096,
        4_097,
        whole.len() / 2,
        whole.len() - 4_096,
        whole.len() - 1,
    ];
    for length in lengths {
        fs::write(scratch.store(), &whole[..length]).unwrap();
        moved_aside(&scratch.store(), &format!("{length} bytes"));
    }
    let aside = scratch
        .files()
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains(".corrupt-"))
        .count();
    assert_eq!(aside, lengths.len(), "in one second, and none overwritten");
}

#[test]
fn emptied() {
    let scratch = Scratch::new();
    fs::write(scratch.store(), "").unwrap();
    let store = open(&scratch.store());
    assert_eq!((store.groups().len(), store.notes()), (0, &[][..]));
}

#[test]
fn random_bytes() {
    for seed in 0..40 {
        let scratch = Scratch::new();
        let mut random = Random(seed);
        let length = 1 + random.below(20_000);
        let mut bytes = random.bytes(length);
        if seed % 2 == 1 {
            let header = b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20";
            let length = header.len().min(bytes.len());
            bytes[..length].copy_from_slice(&header[..length]);
        }
        fs::write(scratch.store(), &bytes).unwrap();
        match Store::open(&scratch.store(), BOOT, NOW) {
            Opened::Ready(store) => {
                let [Note::MovedAside { to, .. }] = store.notes() else {
                    panic!("seed {seed}: {:?}", store.notes());
                };
                assert_eq!(content(to), Content(bytes), "seed {seed}");
            }
            // Random marks of other programs.
            Opened::Without { reason } => {
                assert!(
                    matches!(reason, StoreError::Foreign { .. }),
                    "seed {seed}: {reason}"
                );
                assert_eq!(content(&scratch.store()), Content(bytes), "seed {seed}");
            }
        }
    }
}

/// Whatever the file holds, opening neither panics nor loses it.
#[test]
fn flipped_bytes() {
    let original = Scratch::new();
    filled(&original.store());
    let whole = fs::read(original.store()).unwrap();
    let (mut aside, mut refused, mut unnoticed) = (0, 0, 0);
    for seed in 0..300 {
        let scratch = Scratch::new();
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        // The header and the schema are where the most can go wrong.
        let end = if seed % 3 == 0 { 200 } else { bytes.len() };
        for _ in 0..=random.below(16) {
            let position = random.below(end);
            bytes[position] = random.next() as u8;
        }
        fs::write(scratch.store(), &bytes).unwrap();
        match Store::open(&scratch.store(), BOOT, NOW) {
            Opened::Ready(mut store) => match store.notes() {
                [Note::MovedAside { to, .. }] => {
                    assert_eq!(content(to), Content(bytes), "seed {seed}");
                    aside += 1;
                }
                [] => {
                    // Bytes of a number or a name, or nobody's.
                    unnoticed += 1;
                    assert_eq!(store.groups().len(), 3, "seed {seed}");
                    let _ = store.commit(Commit::default());
                }
                notes => panic!("seed {seed}: {notes:?}"),
            },
            Opened::Without { .. } => {
                assert_eq!(content(&scratch.store()), Content(bytes), "seed {seed}");
                refused += 1;
            }
        }
    }
    println!("{aside} moved aside, {refused} refused, {unnoticed} used");
    assert!(aside > 50 && unnoticed > 0, "{aside} {refused} {unnoticed}");
}

/// A store as a killed daemon leaves it: the last commits are in the log.
fn killed(scratch: &Scratch) -> Vec<(std::sync::Arc<crate::store::GroupKey>, crate::plugin::SavedGroup)> {
    let running = Scratch::new();
    let groups = filled(&running.store());
    let mut store = open(&running.store());
    let mut random = Random(7);
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(key, _)| (key, random.group(5)))
        .collect();
    store
        .commit(Commit {
            time: NOW,
            groups: groups.clone(),
            ..Commit::default()
        })
        .unwrap();
    for (path, Content(content)) in running.files() {
        fs::write(scratch.0.join(path.file_name().unwrap()), content).unwrap();
    }
    groups
}

fn log_of(path: &Path) -> std::path::PathBuf {
    crate::store::files::beside(path, "-wal")
}

#[test]
fn the_log_of_a_killed_daemon_is_used() {
    let scratch = Scratch::new();
    let groups = killed(&scratch);
    assert!(log_of(&scratch.store()).is_file());
    assert_groups(&open(&scratch.store()), &groups);
}

#[test]
fn a_damaged_database_takes_its_log_along() {
    let scratch = Scratch::new();
    killed(&scratch);
    let log = fs::read(log_of(&scratch.store())).unwrap();
    fs::write(
        scratch.store(),
        "not a database, and longer than its header would be".repeat(4),
    )
    .unwrap();
    moved_aside(&scratch.store(), "with a log");
    let kept = scratch.0.join("kevmon.db.corrupt-1795231579-wal");
    assert_eq!(content(&kept), Content(log));
}

#[test]
fn a_log_without_its_database_is_neither_deleted_nor_played() {
    for empty in [false, true] {
        let scratch = Scratch::new();
        killed(&scratch);
        let log = fs::read(log_of(&scratch.store())).unwrap();
        fs::remove_file(scratch.store()).unwrap();
        if empty {
            fs::write(scratch.store(), "").unwrap();
        }
        let store = open(&scratch.store());
        assert_eq!(store.groups().len(), 0);
        let kept = scratch.0.join("kevmon.db.corrupt-1795231579-wal");
        assert_eq!(content(&kept), Content(log));
    }
}

#[test]
fn a_damaged_log_loses_no_more_than_itself() {
    for seed in 0..20 {
        let scratch = Scratch::new();
        killed(&scratch);
        let mut random = Random(seed);
        let mut log = fs::read(log_of(&scratch.store())).unwrap();
        let length = random.below(log.len());
        match seed % 3 {
            0 => log.truncate(length),
            1 => log = random.bytes(length),
            _ => log[length] ^= 0xff,
        }
        fs::write(log_of(&scratch.store()), &log).unwrap();
        let mut store = open(&scratch.store());
        assert_eq!((store.groups().len(), store.notes().len()), (3, 0), "seed {seed}");
        store.commit(Commit::default()).unwrap();
    }
}

#[test]
fn kevmons_mark_without_kevmons_tables() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let connection = rusqlite::Connection::open(scratch.store()).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; DROP TABLE member")
        .unwrap();
    drop(connection);
    moved_aside(&scratch.store(), "without members");
}

#[test]
fn a_value_that_no_kevmon_wrote() {
    for sql in [
        "INSERT INTO duration_bucket SELECT id, 'downtime', 12345, 1 FROM watched_group LIMIT 1",
        "PRAGMA foreign_keys = OFF; INSERT INTO exit_count VALUES (99, 'oom', NULL, NULL, 1)",
        "PRAGMA foreign_keys = OFF; DELETE FROM watched_group",
    ] {
        let scratch = Scratch::new();
        filled(&scratch.store());
        let connection = rusqlite::Connection::open(scratch.store()).unwrap();
        connection
            .execute_batch(&format!("PRAGMA journal_mode = DELETE; {sql}"))
            .unwrap();
        drop(connection);
        moved_aside(&scratch.store(), sql);
    }
}

/// Opening reads no history; a corrupt page of it would come to light in the middle of a commit.
#[test]
fn pages_that_opening_does_not_need() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let root = count(
        &scratch.store(),
        "SELECT rootpage FROM sqlite_schema WHERE name = 'history'",
    );
    let mut bytes = fs::read(scratch.store()).unwrap();
    let start = (root as usize - 1) * 4_096;
    bytes[start..start + 4_096].copy_from_slice(&Random(5).bytes(4_096));
    fs::write(scratch.store(), &bytes).unwrap();
    moved_aside(&scratch.store(), "a page of the history");
}
