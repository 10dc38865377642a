//! Ends of roots that nothing has replaced yet: reading them all, writing those of a group.

use rusqlite::{Connection, Row, Transaction, params};

use super::{
    columns::{ending, program, unsigned},
    error::{Doing, StoreError},
    groups::for_each,
    identities::text,
};
use crate::{
    plugin::SavedEnd,
    process::{BootTime, ProcessKey, Tgid},
};

/// Reads the ends of all groups, each with the number of its group, oldest first.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Vec<(i64, SavedEnd)>, StoreError> {
    let sql = "SELECT group_id, tgid, start_boottime_ns, since_boottime_ns, end_boottime_ns, name,
                   first_executable, first_script, first_fallback, executable, script, fallback,
                   status, oom_victim, sender_pid, sender_comm, sender_signal, uid
               FROM unpaired_end ORDER BY group_id, end_boottime_ns";
    let mut ends = Vec::new();
    for_each(connection, sql, doing, |row| {
        ends.push((row.get(0)?, end(row)?));
        Ok(())
    })?;
    Ok(ends)
}

/// Writes the ends of a group in place of those that the database has.
pub(super) fn write(transaction: &Transaction<'_>, id: i64, ends: &[SavedEnd]) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM unpaired_end WHERE group_id = ?1")?
        .execute([id])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO unpaired_end (group_id, tgid, start_boottime_ns, since_boottime_ns, end_boottime_ns, name,
             first_executable, first_script, first_fallback, executable, script, fallback,
             status, oom_victim, sender_pid, sender_comm, sender_signal, uid)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    for end in ends {
        let sender = end.ending.sender.as_ref();
        insert.execute(params![
            id,
            end.key.tgid.0,
            end.key.start.0.cast_signed(),
            end.since.0.cast_signed(),
            end.time.0.cast_signed(),
            &*end.name,
            &*end.first.executable,
            &*end.first.script,
            &*end.first.fallback,
            &*end.last.executable,
            &*end.last.script,
            &*end.last.fallback,
            end.ending.status,
            end.ending.oom_victim,
            sender.map(|sender| sender.tgid.0),
            sender.map(|sender| &sender.comm),
            sender.map(|sender| sender.signal),
            end.user,
        ])?;
    }
    Ok(())
}

fn end(row: &Row<'_>) -> rusqlite::Result<SavedEnd> {
    Ok(SavedEnd {
        key: ProcessKey {
            tgid: Tgid(row.get(1)?),
            start: BootTime(unsigned(row, 2)?),
        },
        since: BootTime(unsigned(row, 3)?),
        time: BootTime(unsigned(row, 4)?),
        name: text(row, 5)?.into(),
        first: program(row, 6)?,
        last: program(row, 9)?,
        ending: ending(row, 12)?,
        user: row.get(17)?,
    })
}
