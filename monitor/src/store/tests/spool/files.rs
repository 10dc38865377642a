//! What may lie at the path.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rusqlite::Connection;

use super::{ROOMY, drain, parcel, spool};
use crate::store::{
    StoreError,
    spool::{LastRun, Parcel, Spool},
    tests::{self, Content, NOW, Random, Scratch, content},
};

fn filled(scratch: &Scratch) -> Vec<Parcel> {
    let parcels: Vec<Parcel> = (0..40).map(|number| parcel("a", number, 1_000)).collect();
    spool(&scratch.store(), ROOMY).push(&parcels, NOW).unwrap();
    parcels
}

#[track_caller]
fn refused(scratch: &Scratch) -> StoreError {
    let before = content(&scratch.store());
    let error = Spool::open(&scratch.store(), ROOMY, NOW).unwrap_err();
    assert_eq!(content(&scratch.store()), before, "{error}");
    error
}

#[test]
fn a_new_one_is_its_owners_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("state/kevmon.db.spool");
    let mut spool = spool(&path, ROOMY);
    spool.push(&[parcel("a", 1, 1)], NOW).unwrap();
    for suffix in ["", "-wal", ".lock"] {
        let file = fs::metadata(format!("{}{suffix}", path.display())).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn a_second_one_is_kept_out() {
    let scratch = Scratch::new();
    let first = spool(&scratch.store(), ROOMY);
    let error = Spool::open(&scratch.store(), ROOMY, NOW).unwrap_err();
    let StoreError::InUse { holder, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(holder.pid, Some(std::process::id()));
    drop(first);
    drop(spool(&scratch.store(), ROOMY));
}

#[test]
fn what_is_not_a_spool_is_left_untouched() {
    let scratch = Scratch::new();
    let path = scratch.store();
    tests::filled(&path);
    assert!(matches!(refused(&scratch), StoreError::Foreign { .. }), "a store");

    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE request (id)")
        .unwrap();
    assert!(
        matches!(refused(&scratch), StoreError::Foreign { .. }),
        "another program's"
    );

    fs::remove_file(&path).unwrap();
    filled(&scratch);
    let set_version = |version| {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(2);
    let error = refused(&scratch);
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
    assert!(
        matches!(tests::refused(&path), StoreError::Foreign { .. }),
        "nor is a spool a store"
    );

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Spool::open(&path, ROOMY, NOW).unwrap_err();
    assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
}

/// Opens what has been damaged; wherever the bytes are now, they are the same.
#[track_caller]
fn moved_aside(scratch: &Scratch, what: &str) {
    let damaged = content(&scratch.store());
    let mut spool = spool(&scratch.store(), ROOMY);
    let to = spool
        .moved_aside()
        .unwrap_or_else(|| panic!("{what}: used"))
        .to_owned();
    assert_eq!(content(&to), damaged, "{what}");
    assert!(to.to_string_lossy().contains(".corrupt-1795231579"), "{what}");
    assert_eq!(spool.lanes().count(), 0, "{what}");
    spool.push(&[parcel("new", 1, 10)], NOW).unwrap();
    assert_eq!(drain(&mut spool, "new").len(), 1, "{what}");
}

#[test]
fn truncated() {
    let scratch = Scratch::new();
    filled(&scratch);
    let whole = fs::read(scratch.store()).unwrap();
    for length in [1, 99, 511, 512, 4_096, 4_097, whole.len() / 2, whole.len() - 1] {
        fs::write(scratch.store(), &whole[..length]).unwrap();
        moved_aside(&scratch, &format!("{length} bytes"));
    }
}

#[test]
fn random_bytes() {
    for seed in 0..20 {
        let scratch = Scratch::new();
        let mut random = Random(seed);
        let length = 1 + random.below(20_000);
        fs::write(scratch.store(), random.bytes(length)).unwrap();
        moved_aside(&scratch, &format!("seed {seed}"));
    }
}

#[test]
fn without_its_tables() {
    for sql in [
        "DROP TABLE request",
        "DROP TABLE lane",
        "DELETE FROM lane",
        "DROP INDEX request_by_lane; ALTER TABLE request DROP COLUMN signal",
        "ALTER TABLE lane DROP COLUMN old_items",
    ] {
        let scratch = Scratch::new();
        filled(&scratch);
        Connection::open(scratch.store())
            .unwrap()
            .execute_batch(&format!(
                "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = DELETE; {sql}"
            ))
            .unwrap();
        moved_aside(&scratch, sql);
    }
}

/// Whatever the file holds, opening and draining neither panic nor lose it.
#[test]
fn flipped_bytes() {
    let original = Scratch::new();
    let parcels = filled(&original);
    let whole = fs::read(original.store()).unwrap();
    let (mut aside, mut refused, mut unnoticed) = (0, 0, 0);
    for seed in 0..200 {
        let scratch = Scratch::new();
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        let end = if seed % 3 == 0 { 200 } else { bytes.len() };
        for _ in 0..=random.below(16) {
            let position = random.below(end);
            bytes[position] = random.next() as u8;
        }
        fs::write(scratch.store(), &bytes).unwrap();
        match Spool::open(&scratch.store(), ROOMY, NOW) {
            Ok(mut spool) => match spool.moved_aside() {
                Some(to) => {
                    assert_eq!(content(to), Content(bytes), "seed {seed}");
                    aside += 1;
                }
                None => {
                    // Bytes of a body or a number, or nobody's.
                    unnoticed += 1;
                    let lane = spool.lanes().next().map(|(name, _)| name.to_owned()).unwrap();
                    assert_eq!(drain(&mut spool, &lane).len(), parcels.len(), "seed {seed}");
                }
            },
            Err(error) => {
                assert_eq!(content(&scratch.store()), Content(bytes), "seed {seed}: {error}");
                refused += 1;
            }
        }
    }
    println!("{aside} moved aside, {refused} refused, {unnoticed} used");
    assert!(aside > 20 && unnoticed > 0, "{aside} {refused} {unnoticed}");
}

#[test]
fn every_table_and_column_is_documented() {
    let scratch = Scratch::new();
    filled(&scratch);
    let connection = Connection::open(scratch.store()).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
             WHERE tables.type = 'table'",
        )
        .unwrap();
    let columns: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(columns.len() > 10, "{columns:?}");
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/store.md")).unwrap();
    let (_, section) = page.split_once("\n## The spool\n").unwrap();
    for (table, column) in columns {
        let row = section
            .lines()
            .find(|line| line.starts_with(&format!("| `{table}` |")));
        let row = row.unwrap_or_else(|| panic!("no table {table}"));
        assert!(
            row.contains(&format!("`{column}`")),
            "{table} has a column {column}"
        );
    }
}

#[test]
fn one_of_an_earlier_version_is_used_and_still_that_versions() {
    let scratch = Scratch::new();
    let parcels = filled(&scratch);
    Connection::open(scratch.store())
        .unwrap()
        .execute_batch("ALTER TABLE run DROP COLUMN last_time; INSERT INTO run (id, end_time) VALUES (1, 0)")
        .unwrap();
    let mut newer = spool(&scratch.store(), ROOMY);
    let run = |collection| {
        Some(LastRun {
            ended: false,
            collection,
        })
    };
    assert_eq!(newer.last_run().unwrap(), run(None));
    newer.note_collection(NOW).unwrap();
    assert_eq!(newer.last_run().unwrap(), run(Some(NOW)));
    newer.note_end(NOW).unwrap();
    assert_eq!(
        newer.last_run().unwrap(),
        Some(LastRun {
            ended: true,
            collection: Some(NOW)
        })
    );
    drop(newer);
    // What such a version runs.
    Connection::open(scratch.store())
        .unwrap()
        .execute_batch(
            "INSERT INTO run (id, end_time) VALUES (1, 5)
             ON CONFLICT (id) DO UPDATE SET end_time = excluded.end_time",
        )
        .unwrap();
    assert_eq!(drain(&mut spool(&scratch.store(), ROOMY), "a"), parcels);
}
