//! Ends of members whose events have not been told: reading them all, writing those of a group.

use rusqlite::{Connection, Row, Transaction, params};

use super::{
    columns::{ending, unsigned},
    error::{Doing, StoreError},
    groups::for_each,
};
use crate::{
    plugin::SavedExit,
    process::{BootTime, ProcessKey, Tgid},
};

/// Reads those of all groups, each with the number of its group, oldest first.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Vec<(i64, SavedExit)>, StoreError> {
    let sql = "SELECT group_id, tgid, start_boottime_ns, end_boottime_ns,
                   status, oom_victim, sender_pid, sender_comm, sender_signal
               FROM untold_exit ORDER BY group_id, end_boottime_ns, tgid";
    let mut exits = Vec::new();
    for_each(connection, sql, doing, |row| {
        exits.push((row.get(0)?, exit(row)?));
        Ok(())
    })?;
    Ok(exits)
}

/// Writes those of a group in place of what the database has.
pub(super) fn write(transaction: &Transaction<'_>, id: i64, exits: &[SavedExit]) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM untold_exit WHERE group_id = ?1")?
        .execute([id])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO untold_exit (group_id, tgid, start_boottime_ns, end_boottime_ns,
             status, oom_victim, sender_pid, sender_comm, sender_signal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for exit in exits {
        let sender = exit.ending.sender.as_ref();
        insert.execute(params![
            id,
            exit.key.tgid.0,
            exit.key.start.0.cast_signed(),
            exit.time.0.cast_signed(),
            exit.ending.status,
            exit.ending.oom_victim,
            sender.map(|sender| sender.tgid.0),
            sender.map(|sender| &sender.comm),
            sender.map(|sender| sender.signal),
        ])?;
    }
    Ok(())
}

fn exit(row: &Row<'_>) -> rusqlite::Result<SavedExit> {
    Ok(SavedExit {
        key: ProcessKey {
            tgid: Tgid(row.get(1)?),
            start: BootTime(unsigned(row, 2)?),
        },
        time: BootTime(unsigned(row, 3)?),
        ending: ending(row, 4)?,
    })
}
