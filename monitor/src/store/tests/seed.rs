//! A further daemon's new database, begun with what the one at the path keeps.

use std::{collections::BTreeSet, path::PathBuf};

use rusqlite::Connection;

use super::{NOW, Scratch, assert_groups, count, dump, filled, key, open};
use crate::{
    plugin::collector::CollectorRun,
    store::{Commit, seed},
};

/// Seeds a database with one of the groups that [`filled`] makes.
fn seeded(scratch: &Scratch, plugin: &str) -> PathBuf {
    let path = scratch.0.join("kevmon.db.set-0123456789abcdef");
    seed::seed(
        &scratch.store(),
        &path,
        &BTreeSet::from([key(plugin).key.clone()]),
    );
    path
}

#[test]
fn a_group_is_copied_though_others_have_ends_that_nothing_replaced() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    assert!(groups.iter().all(|(_, group)| !group.unpaired_ends.is_empty()));
    let mut store = open(&scratch.store());
    let run = CollectorRun {
        plugin: "web".to_owned(),
        collector: "disk".to_owned(),
        fingerprint: "f".to_owned(),
        time: NOW,
    };
    store
        .commit(Commit {
            time: NOW,
            runs: vec![run.clone()],
            ..Commit::default()
        })
        .unwrap();
    drop(store);
    let path = seeded(&scratch, "web");
    assert!(path.is_file(), "nothing was copied");
    let store = open(&path);
    assert_groups(&store, &groups[..1]);
    assert_eq!(store.collector_runs(), [run]);
}

#[test]
fn no_table_keeps_a_row_of_another_group() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let path = seeded(&scratch, "db");
    let connection = Connection::open(&path).unwrap();
    let columns = "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                   WHERE t.type = 'table' AND c.name = 'group_id'";
    let mut statement = connection.prepare(columns).unwrap();
    let tables: BTreeSet<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(tables.contains("unpaired_end"), "{tables:?}");
    for table in &tables {
        let others = format!(
            "SELECT count(*) FROM {table} WHERE group_id NOT IN (SELECT id FROM watched_group WHERE plugin = 'db')"
        );
        assert_eq!(count(&path, &others), 0, "{table}");
    }
    let referring = seed::of_groups(&connection).unwrap();
    let referring: BTreeSet<String> = referring.into_iter().map(|(table, _)| table).collect();
    assert_eq!(referring, tables, "a table of groups without a foreign key");
    assert_eq!(count(&path, "SELECT count(*) FROM watched_group"), 1);
}

#[test]
fn nothing_is_made_of_what_keeps_none_of_the_groups() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let before = dump(&scratch.store());
    assert!(!seeded(&scratch, "unknown").exists());
    assert_eq!(dump(&scratch.store()), before);
}
