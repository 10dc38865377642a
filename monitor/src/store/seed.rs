//! A further daemon's new database begins with what the one at the path knows of its groups: counters go on when plugins
//! that one daemon ran are given to daemons of their own.
//!
//! `elsewhere` does not replace this. It takes over groups alone, at each start, from whichever database has the newest
//! account of them. What is copied here is what a daemon needs once and no group has: the ids of host, services and
//! metrics, the outages, the history, and when collectors ran last.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension, params};
use tracing::{info, warn};

use super::{
    error::{Doing, StoreError},
    files, open,
};

/// The tables whose rows belong to a group, as their foreign keys say: a table that a later schema adds is among them.
const OF_GROUPS: &str =
    "SELECT t.name, k.\"from\" FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS k
    WHERE t.type = 'table' AND k.\"table\" = 'watched_group'";

/// Makes the database at `path` with what `base` keeps of the groups `keys`; nothing where it keeps nothing. A failure is
/// said: the groups then begin anew.
pub(super) fn seed(base: &Path, path: &Path, keys: &BTreeSet<String>) {
    match try_seed(base, path, keys) {
        Ok(0) => {}
        Ok(groups) => info!(
            "store {}: begins with what {} keeps of {groups} groups",
            path.display(),
            base.display()
        ),
        Err(error) => warn!("{error}; store {} begins without it", path.display()),
    }
}

fn try_seed(base: &Path, path: &Path, keys: &BTreeSet<String>) -> Result<usize, StoreError> {
    if path.symlink_metadata().is_ok() || base.symlink_metadata().is_err() {
        return Ok(0);
    }
    let doing = Doing {
        path: base,
        what: "copy its groups",
    };
    let from = open::read_only(base)?;
    let known = keys_of(&from).map_err(|error| doing.sqlite(error))?;
    let mine: Vec<(i64, u64)> = known
        .into_iter()
        .filter(|(_, key, _)| keys.contains(key))
        .map(|(id, _, run)| (id, run))
        .collect();
    if mine.is_empty() {
        return Ok(0);
    }
    let part = files::beside(path, ".part");
    files::expect_companions(&part)?;
    let made = files::remove(&part)
        .and_then(|()| files::create(&part))
        .map_err(|error| doing.io(error));
    let copied = made
        .and_then(|_| {
            from.backup(MAIN_DB, &part, None::<fn(rusqlite::backup::Progress)>)
                .and_then(|()| keep_only(&part, &mine))
                .map_err(|error| doing.sqlite(error))
        })
        .and_then(|()| files::rename_new(&part, path).map_err(|error| doing.io(error)));
    if copied.is_err() {
        // What is left of it is of no use; the original is untouched.
        let _: std::io::Result<()> = files::remove(&part);
    }
    copied.map(|()| mine.len())
}

/// Each group's id, key and last run.
fn keys_of(connection: &Connection) -> rusqlite::Result<Vec<(i64, String, u64)>> {
    let mut statement = connection.prepare("SELECT id, key, run FROM watched_group")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()))
    })?;
    rows.collect()
}

/// Each table that refers to a group, and the column with the group's id.
pub(super) fn of_groups(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(OF_GROUPS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Deletes what belongs to other groups from the database at `part`. Where the daemon at the path has begun a run without
/// these groups, its first outage tells when they were kept last: from there they go on.
fn keep_only(part: &Path, mine: &[(i64, u64)]) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    connection.execute_batch("BEGIN; CREATE TEMP TABLE mine (id INTEGER PRIMARY KEY)")?;
    for (id, _) in mine {
        connection.execute("INSERT INTO mine (id) VALUES (?1)", [id])?;
    }
    for (table, column) in of_groups(&connection)? {
        let statement = format!("DELETE FROM \"{table}\" WHERE \"{column}\" NOT IN (SELECT id FROM mine)");
        connection.execute(&statement, [])?;
    }
    connection.execute(
        "DELETE FROM watched_group WHERE id NOT IN (SELECT id FROM mine)",
        [],
    )?;
    let last = mine.iter().map(|(_, run)| *run).max().unwrap_or_default();
    let run: Option<i64> = connection
        .query_row("SELECT run FROM state", [], |row| row.get(0))
        .optional()?;
    if run.is_some_and(|run| run.cast_unsigned() == last + 1) {
        let outage: Option<(i64, i64, bool)> = connection
            .query_row(
                "SELECT id, from_time, same_boot FROM outage ORDER BY id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        if let Some((id, from, true)) = outage {
            connection.execute(
                "UPDATE state SET run = ?1, last_commit = ?2",
                params![last.cast_signed(), from],
            )?;
            connection.execute("DELETE FROM outage WHERE id = ?1", [id])?;
        }
    }
    connection.execute_batch("COMMIT; DROP TABLE mine")?;
    connection.close().map_err(|(_, error)| error)
}
