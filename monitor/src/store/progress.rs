//! How far the last commit had taken what the kernel side holds for kevmon. It is written in the same transaction as the groups.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    columns::unsigned,
    error::{Doing, StoreError},
};
use crate::process::Progress;

/// Bytes of one count.
const COUNT: usize = size_of::<u64>();

/// A hash of a set of group keys, whatever their order.
pub fn group_set<'a>(keys: impl Iterator<Item = &'a str>) -> u64 {
    let mut keys: Vec<&str> = keys.collect();
    keys.sort_unstable();
    // Of another build it may be another number, and then nothing is gone on from.
    let mut hasher = DefaultHasher::new();
    keys.hash(&mut hasher);
    hasher.finish()
}

/// The progress of the last commit; `None` where nothing outlived that run.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Option<Progress>, StoreError> {
    connection
        .query_row(
            "SELECT ring, position, received, losses, lives, groups, is_told FROM progress",
            [],
            |row| {
                let losses: Vec<u8> = row.get(3)?;
                let lives: Vec<u8> = row.get(4)?;
                let counts = losses.chunks_exact(COUNT);
                Ok(Progress {
                    ring: row.get(0)?,
                    position: unsigned(row, 1)?,
                    received: unsigned(row, 2)?,
                    losses: counts
                        .filter_map(|count| Some(u64::from_le_bytes(count.try_into().ok()?)))
                        .collect(),
                    lives: lives.into(),
                    groups: row.get::<_, i64>(5)?.cast_unsigned(),
                    is_told: row.get(6)?,
                    ends: 0,
                })
            },
        )
        .optional()
        .map_err(|error| doing.sqlite(error))
}

/// Writes the progress; `None` where the kernel side holds nothing. `is_new_lives`: the sums have changed since the last commit.
pub(super) fn write(
    transaction: &Transaction<'_>,
    progress: Option<&Progress>,
    is_new_lives: bool,
) -> rusqlite::Result<()> {
    let Some(progress) = progress else {
        return transaction
            .prepare_cached("DELETE FROM progress")?
            .execute([])
            .map(drop);
    };
    let losses: Vec<u8> = progress
        .losses
        .iter()
        .flat_map(|count| count.to_le_bytes())
        .collect();
    transaction
        .prepare_cached(
            "INSERT INTO progress (id, ring, position, received, losses, lives, groups, is_told)
             VALUES (1, ?1, ?2, ?3, ?4, coalesce(?5, x''), ?6, ?7)
             ON CONFLICT (id) DO UPDATE
             SET ring = excluded.ring, position = excluded.position, received = excluded.received,
                 losses = excluded.losses, lives = coalesce(?5, lives), groups = excluded.groups, is_told = excluded.is_told",
        )?
        .execute(params![
            progress.ring,
            progress.position.cast_signed(),
            progress.received.cast_signed(),
            losses,
            is_new_lives.then_some(&*progress.lives),
            progress.groups.cast_signed(),
            progress.is_told
        ])
        .map(drop)
}
