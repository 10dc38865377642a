//! When collectors ran last, so that one which runs every few minutes does not run at each start of kevmon.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use crate::plugin::collector::CollectorRun;

/// No interval is longer, so that an older run decides nothing: 24 h, ns.
const LONGEST_INTERVAL: u64 = 24 * 3600 * 1_000_000_000;

/// All that are known.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<CollectorRun>> {
    let mut statement =
        connection.prepare("SELECT plugin, collector, fingerprint, last_run FROM collector_run")?;
    let rows = statement.query_map([], |row| {
        Ok(CollectorRun {
            plugin: row.get(0)?,
            collector: row.get(1)?,
            fingerprint: row.get(2)?,
            time: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    rows.collect()
}

/// Writes these over the ones of the same collectors, and removes those that decide nothing any more.
pub(super) fn write(
    transaction: &Transaction<'_>,
    runs: &BTreeMap<(String, String), CollectorRun>,
    now: u64,
) -> rusqlite::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO collector_run (plugin, collector, fingerprint, last_run) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (plugin, collector) DO UPDATE
         SET fingerprint = excluded.fingerprint, last_run = excluded.last_run",
    )?;
    for run in runs.values() {
        let time = run.time.cast_signed();
        statement.execute(params![run.plugin, run.collector, run.fingerprint, time])?;
    }
    let oldest = now.saturating_sub(LONGEST_INTERVAL).cast_signed();
    transaction
        .prepare_cached("DELETE FROM collector_run WHERE last_run < ?1")?
        .execute(params![oldest])
        .map(|_| ())
}
