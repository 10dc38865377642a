//! The files of a store are deleted, moved away or replaced while it is open: a kill after the next commit loses nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{BOOT, NOW, Random, Scratch, content, key, open, ready, refused};
use crate::{
    process::{Reason, Tgid},
    store::{Commit, Event, HistoryRow, Store, StoreError, files::beside, history},
};

type Damage = (&'static str, fn(&Path));

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn rename(path: &Path) {
    fs::rename(path, beside(path, ".away")).unwrap();
}

/// The database, with what lies beside it.
fn all(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", ".lock"].map(|suffix| beside(path, suffix))
}

const DAMAGES: [Damage; 13] = [
    ("nothing", |_| {}),
    ("the database is deleted", remove),
    ("the database and its log are deleted", |path| {
        all(path)[..3].iter().for_each(|file| remove(file));
    }),
    ("all is deleted", |path| {
        all(path).iter().for_each(|file| remove(file))
    }),
    ("the database is renamed", rename),
    ("all is renamed", |path| {
        all(path).iter().for_each(|file| rename(file))
    }),
    ("the log is deleted", |path| remove(&beside(path, "-wal"))),
    ("the log's index is deleted", |path| remove(&beside(path, "-shm"))),
    ("log and index are deleted", |path| {
        all(path)[1..3].iter().for_each(|file| remove(file));
    }),
    ("the log is renamed", |path| rename(&beside(path, "-wal"))),
    ("the folder is deleted", |path| {
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }),
    ("the folder is renamed", |path| {
        let folder = path.parent().unwrap();
        let mut away = folder.as_os_str().to_owned();
        away.push(format!(
            ".away-{}",
            fs::read_dir(folder.parent().unwrap()).unwrap().count()
        ));
        fs::rename(folder, away).unwrap();
    }),
    ("the lock is deleted", |path| remove(&beside(path, ".lock"))),
];

fn row(plugin: &str, time: u64) -> HistoryRow {
    HistoryRow {
        group: key(plugin),
        time,
        pid: Tgid(7),
        start_time: Some(1),
        name: "app".to_owned(),
        user: Some(0),
        event: Event::Exit {
            worker: false,
            reason: Reason::Oom,
            sender: None,
            lifetime: None,
        },
        details: crate::store::Details::default(),
    }
}

fn commit(store: &mut Store, random: &mut Random, plugins: &[&str], time: u64) -> Result<(), StoreError> {
    let groups = plugins.iter().map(|plugin| (key(plugin), random.group(5)));
    store.commit(Commit {
        time,
        groups: groups.collect(),
        history: plugins.iter().map(|plugin| row(plugin, time)).collect(),
        is_durable: true,
        ..Commit::default()
    })
}

/// What a kill at this moment leaves, opened by the next start. The index of the log is made again by it.
fn after_a_kill(path: &Path, scratch: &Scratch, number: usize) -> Store {
    let folder = scratch.0.join(format!("killed-{number}"));
    fs::create_dir(&folder).unwrap();
    let copy = folder.join("kevmon.db");
    for suffix in ["", "-wal"] {
        if let Ok(bytes) = fs::read(beside(path, suffix)) {
            fs::write(beside(&copy, suffix), bytes).unwrap();
        }
    }
    let store = open(&copy);
    assert_eq!(store.notes(), []);
    store
}

#[test]
fn what_is_deleted_or_moved_away_comes_back_whole() {
    for (what, damage) in DAMAGES {
        let scratch = Scratch::new();
        let path = scratch.0.join("state").join("kevmon.db");
        let mut random = Random(7);
        let mut store = open(&path);
        commit(&mut store, &mut random, &["web", "db"], 1).unwrap();
        let unchanged = store.groups()[&key("db").key].clone();
        for round in 0..2 {
            damage(&path);
            let time = 2 + round;
            commit(&mut store, &mut random, &["web"], time).unwrap_or_else(|error| panic!("{what}: {error}"));
            // What was moved away makes room for the next round.
            for away in all(&path).map(|file| beside(&file, ".away")) {
                let _ = fs::remove_file(away);
            }
            let next = after_a_kill(&path, &scratch, round as usize);
            assert_eq!(next.groups(), store.groups(), "{what}, {round}");
            assert_eq!(next.groups()[&key("db").key], unchanged, "{what}");
            let rows = history(next.path(), None).unwrap().rows.len();
            assert_eq!(rows as u64, 2 + 1 + round, "{what}: rows of the history");
            assert!(
                !beside(&path, ".restored.part").exists(),
                "{what}: a copy is left over"
            );
            let error = refused(&path);
            assert!(matches!(error, StoreError::InUse { .. }), "{what}: {error}");
        }
        drop(store);
        let store = ready(Store::open(&path, BOOT, NOW));
        assert_eq!(store.groups().len(), 2, "{what}: after an end in order");
    }
}

#[test]
fn a_second_one_is_refused_although_the_lock_was_deleted_just_now() {
    let scratch = Scratch::new();
    let mut store = open(&scratch.store());
    commit(&mut store, &mut Random(1), &["web"], 1).unwrap();
    remove(&beside(&scratch.store(), ".lock"));
    let error = refused(&scratch.store());
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    commit(&mut store, &mut Random(2), &["web"], 2).unwrap();
    assert!(beside(&scratch.store(), ".lock").exists());
    drop(store);
    open(&scratch.store());
}

#[test]
fn what_was_put_in_its_place_is_left_untouched() {
    for suffix in ["", "-wal", "-shm"] {
        let scratch = Scratch::new();
        let path = scratch.store();
        let mut random = Random(3);
        let mut store = open(&path);
        commit(&mut store, &mut random, &["web"], 1).unwrap();
        let planted = beside(&path, suffix);
        remove(&planted);
        fs::write(&planted, "somebody else's").unwrap();
        for time in [2, 3] {
            let error = commit(&mut store, &mut random, &["web"], time).unwrap_err();
            assert!(
                matches!(&error, StoreError::Replaced { by, .. } if *by == planted),
                "{error}"
            );
            assert!(error.to_string().contains("move it away"), "{error}");
        }
        assert_eq!(content(&planted).0, b"somebody else's");
        // Once it is moved away, all that was refused is written.
        remove(&planted);
        commit(&mut store, &mut random, &["db"], 4).unwrap();
        let next = after_a_kill(&path, &scratch, 0);
        assert_eq!(next.groups(), store.groups(), "{suffix}");
        assert_eq!(next.groups().len(), 2, "{suffix}");
        assert_eq!(history(next.path(), None).unwrap().rows.len(), 4, "{suffix}");
    }
}

#[test]
fn another_database_of_kevmons_is_not_taken_for_it() {
    let scratch = Scratch::new();
    let (path, other) = (scratch.store(), scratch.0.join("other.db"));
    let mut store = open(&path);
    commit(&mut store, &mut Random(1), &["web"], 1).unwrap();
    let mut older = open(&other);
    commit(&mut older, &mut Random(2), &["web"], 1).unwrap();
    drop(older);
    let before = content(&other);
    fs::rename(&other, &path).unwrap();
    let error = commit(&mut store, &mut Random(3), &["web"], 2).unwrap_err();
    assert!(matches!(error, StoreError::Replaced { .. }), "{error}");
    assert_eq!(content(&path), before);
}
