//! Accumulators and members of the groups: reading them all, writing what has changed.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use super::{
    columns::{
        SQL, accumulator, accumulator_values, bounds, member, member_values, parse_reason, reason_numbers,
        unsigned,
    },
    error::{Doing, StoreError},
    unpaired_ends, untold_exits,
};
use crate::{
    plugin::{Durations, SavedGroup, SavedMember},
    process::{KeyMap, ProcessKey, Reason},
};

/// A group as it stands in the database.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// Without its members.
    group: SavedGroup,
    members: KeyMap<SavedMember>,
}

impl From<SavedGroup> for Written {
    fn from(mut group: SavedGroup) -> Self {
        let members = std::mem::take(&mut group.members);
        Self {
            members: members.into_iter().map(|member| (member.key, member)).collect(),
            group,
        }
    }
}

impl Written {
    /// With its members, in the order of their keys.
    pub(super) fn to_group(&self) -> SavedGroup {
        let mut members: Vec<SavedMember> = self.members.values().cloned().collect();
        members.sort_unstable_by_key(|member| member.key);
        SavedGroup {
            members,
            ..self.group.clone()
        }
    }

    /// The processes that had not ended.
    pub(super) fn live_members(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        let live = self.members.values().filter(|member| !member.ended);
        live.map(|member| member.key)
    }
}

/// Reads all groups, by the number of their row in `watched_group`.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<HashMap<i64, Written>, StoreError> {
    let mut groups = HashMap::new();
    for_each(connection, &SQL.select_accumulators, doing, |row| {
        groups.insert(row.get(0)?, Written::from(accumulator(row)?));
        Ok(())
    })?;
    let owner_is_missing = || doing.damaged("a row belongs to no group");
    let mut rows: Vec<(i64, SavedMember)> = Vec::new();
    for_each(connection, &SQL.select_members, doing, |row| {
        rows.push(member(row)?);
        Ok(())
    })?;
    for (id, member) in rows {
        let owner = groups.get_mut(&id).ok_or_else(owner_is_missing)?;
        owner.members.insert(member.key, member);
    }
    for (id, end) in unpaired_ends::load(connection, doing)? {
        let owner = groups.get_mut(&id).ok_or_else(owner_is_missing)?;
        owner.group.unpaired_ends.push(end);
    }
    for (id, exit) in untold_exits::load(connection, doing)? {
        let owner = groups.get_mut(&id).ok_or_else(owner_is_missing)?;
        owner.group.untold_exits.push(exit);
    }
    let mut rows = Vec::new();
    let exits = "SELECT group_id, reason, number, core_dumped, count FROM exit_count";
    for_each(connection, exits, doing, |row| {
        let reason: String = row.get(1)?;
        rows.push((row.get(0)?, reason, row.get(2)?, row.get(3)?, unsigned(row, 4)?));
        Ok(())
    })?;
    for (id, reason, number, core_dumped, count) in rows {
        let reason = parse_reason(&reason, number, core_dumped)
            .ok_or_else(|| doing.damaged(format!("an end by {reason:?}, {number:?}, {core_dumped:?}")))?;
        let owner: &mut Written = groups.get_mut(&id).ok_or_else(owner_is_missing)?;
        owner.group.exits.push((reason, count));
    }
    let mut rows = Vec::new();
    let buckets = "SELECT group_id, kind, upper_bound_ns, count FROM duration_bucket";
    for_each(connection, buckets, doing, |row| {
        rows.push((row.get(0)?, row.get(1)?, row.get(2)?, unsigned(row, 3)?));
        Ok(())
    })?;
    for (id, kind, bound, count) in rows {
        let (kind, bound): (String, i64) = (kind, bound);
        let bucket = bounds()
            .position(|known| known == bound)
            .ok_or_else(|| doing.damaged(format!("a bucket up to {bound} ns")))?;
        let group: &mut SavedGroup = &mut groups.get_mut(&id).ok_or_else(owner_is_missing)?.group;
        let durations = if kind == "downtime" {
            &mut group.downtime
        } else {
            &mut group.lifetime
        };
        durations.counts[bucket] = count;
    }
    for written in groups.values_mut() {
        written.group.exits.sort_unstable();
    }
    Ok(groups)
}

/// Calls `each` with every row that `sql` selects.
pub(super) fn for_each(
    connection: &Connection,
    sql: &str,
    doing: Doing<'_>,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let run = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    };
    let mut run = run;
    run().map_err(|error| doing.sqlite(error))
}

/// Writes what differs from `before`, which is in the database.
pub(super) fn write(
    transaction: &Transaction<'_>,
    id: i64,
    before: Option<&Written>,
    now: &Written,
) -> rusqlite::Result<()> {
    let old = before.map(|before| &before.group);
    let values = accumulator_values(id, &now.group);
    if old.is_none_or(|old| accumulator_values(id, old) != values) {
        transaction
            .prepare_cached(&SQL.upsert_accumulator)?
            .execute(params_from_iter(values))?;
    }
    if old.map(|old| &old.exits) != Some(&now.group.exits) {
        write_exits(transaction, id, &now.group.exits)?;
    }
    let unpaired = &now.group.unpaired_ends;
    if old.map_or(&[][..], |old| &old.unpaired_ends) != unpaired.as_slice() {
        unpaired_ends::write(transaction, id, unpaired)?;
    }
    let untold = &now.group.untold_exits;
    if old.map_or(&[][..], |old| &old.untold_exits) != untold.as_slice() {
        untold_exits::write(transaction, id, untold)?;
    }
    for (kind, before, now) in [
        ("downtime", old.map(|old| &old.downtime), &now.group.downtime),
        ("lifetime", old.map(|old| &old.lifetime), &now.group.lifetime),
    ] {
        write_buckets(transaction, id, kind, before, now)?;
    }
    let mut upsert = transaction.prepare_cached(&SQL.upsert_member)?;
    for (key, member) in &now.members {
        if before.and_then(|before| before.members.get(key)) != Some(member) {
            upsert.execute(params_from_iter(member_values(id, member)))?;
        }
    }
    let mut delete = transaction
        .prepare_cached("DELETE FROM member WHERE group_id = ?1 AND tgid = ?2 AND start_boottime_ns = ?3")?;
    for key in before.into_iter().flat_map(|before| before.members.keys()) {
        if !now.members.contains_key(key) {
            delete.execute(params![id, key.tgid.0, key.start.0.cast_signed()])?;
        }
    }
    Ok(())
}

fn write_exits(transaction: &Transaction<'_>, id: i64, exits: &[(Reason, u64)]) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM exit_count WHERE group_id = ?1")?
        .execute([id])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO exit_count (group_id, reason, number, core_dumped, count) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    // Told twice, a reason counts twice.
    let mut sums: BTreeMap<Reason, u64> = BTreeMap::new();
    for (reason, count) in exits {
        let sum = sums.entry(*reason).or_default();
        *sum = sum.saturating_add(*count);
    }
    for (reason, count) in sums {
        let (number, core_dumped) = reason_numbers(reason);
        insert.execute(params![
            id,
            reason.name(),
            number,
            core_dumped,
            count.cast_signed()
        ])?;
    }
    Ok(())
}

fn write_buckets(
    transaction: &Transaction<'_>,
    id: i64,
    kind: &str,
    before: Option<&Durations>,
    now: &Durations,
) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO duration_bucket (group_id, kind, upper_bound_ns, count) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (group_id, kind, upper_bound_ns) DO UPDATE SET count = excluded.count",
    )?;
    for (bucket, (bound, &count)) in bounds().zip(&now.counts).enumerate() {
        // A bucket without a row counts nothing.
        if before.map_or(0, |before| before.counts[bucket]) != count {
            upsert.execute(params![id, kind, bound, count.cast_signed()])?;
        }
    }
    Ok(())
}
