//! How far the last commit had taken what the kernel side holds for kevmon: written with what came of it, or not at all.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    columns::unsigned,
    error::{Doing, StoreError},
};
use crate::process::Progress;

/// Bytes of one count.
const COUNT: usize = size_of::<u64>();

/// What was committed last; `None`: nothing outlived that run.
pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Option<Progress>, StoreError> {
    connection
        .query_row(
            "SELECT ring, position, received, losses, lives FROM progress",
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
                    ends: 0,
                })
            },
        )
        .optional()
        .map_err(|error| doing.sqlite(error))
}

/// Writes it; `is_new_lives`: the sums have changed since the last commit. `None`: the kernel side holds nothing.
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
            "INSERT INTO progress (id, ring, position, received, losses, lives)
             VALUES (1, ?1, ?2, ?3, ?4, coalesce(?5, x''))
             ON CONFLICT (id) DO UPDATE
             SET ring = excluded.ring, position = excluded.position, received = excluded.received,
                 losses = excluded.losses, lives = coalesce(?5, lives)",
        )?
        .execute(params![
            progress.ring,
            progress.position.cast_signed(),
            progress.received.cast_signed(),
            losses,
            is_new_lives.then_some(&*progress.lives)
        ])
        .map(drop)
}
