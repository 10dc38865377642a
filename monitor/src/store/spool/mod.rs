//! The spool: requests that a receiver has not taken yet, in an SQLite file of their own, bounded by bytes and age. docs/store.md
//! describes the file; `app/delivery/queue.rs` says when a request comes here.
//!
//! **Order.** A request's id is its place in the order over all lanes. A lane is read from its lowest id ([`Spool::peek`]); a
//! request stays until [`Spool::remove`].
//!
//! **Transactions.** Each change is one transaction. `Work` (work.rs) changes the file and a copy of the lanes' tallies; the copy
//! replaces the tallies in memory after the commit, so both agree whatever fails. [`Spool::push`] keeps all its requests or none.
//!
//! **Dropping.** [`Spool::push`] makes room by dropping the oldest requests of all, whosever they are; a request larger than the
//! whole limit is dropped itself, and drops nothing else. [`Spool::push`] and [`Spool::expire`] drop what is older than the limit
//! of age, [`EXPIRED_AT_ONCE`] requests a call. Losses are counted by lane in the file, in the same transaction.
//!
//! **A removal that fails** (a full disk) must not send the request again in this run: the lane notes the id in memory (`gone`), reads
//! only higher ones, and the next transaction deletes what is left (`undeleted`). After a restart such a request would come back.
//!
//! **Size.** Free pages are given back [`SHRUNK_AT_ONCE`] at a time, so that no call takes long.
//!
//! **Crash.** `synchronous = NORMAL` with a write-ahead log: a kill loses no kept request and brings no deleted one back. A power
//! cut may undo the last transactions.

mod open;
mod work;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tracing::debug;

use super::{
    columns::unsigned,
    error::{Doing, StoreError},
    holder::Holder,
    identities::text,
    in_place::InPlace,
    lock::Lock,
    open::Note,
};
use work::Work;

/// What a request takes beside its body, bytes: its row and its part of half-filled pages.
pub const OVERHEAD: u64 = 256;

/// Free pages that are worth a checkpoint: 1 MiB of SQLite's 4 KiB.
const SHRINK_FROM: i64 = 256;

/// Requests that one call drops for their age: however many there are, a call stays short.
const EXPIRED_AT_ONCE: u32 = 1_000;

/// Pages of 4 KiB that one call gives back to the file system.
const SHRUNK_AT_ONCE: u32 = 1_024;

/// How much is kept, of all lanes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bodies and [`OVERHEAD`] of each, bytes.
    pub bytes: u64,
    /// Of a request, by the time that it bears.
    pub age: Duration,
}

/// A request as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Whom it waits for, and for which kind of requests: requests of one lane come back in the order in which they came.
    pub lane: String,
    /// What the body holds.
    pub signal: String,
    /// When it was made, Unix ns.
    pub time: u64,
    /// Data points, log records or spans in it.
    pub items: u64,
    /// It has been sent, and nobody knows whether it arrived.
    pub sent: bool,
    /// As given; the spool does not compress.
    pub body: Vec<u8>,
}

impl Parcel {
    fn bytes(&self) -> u64 {
        self.body.len() as u64 + OVERHEAD
    }
}

/// The oldest request of a lane, still in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    id: i64,
    /// The request.
    pub parcel: Parcel,
}

/// Why a request was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Newer ones needed its room, or it alone is larger than all there is.
    Full,
    /// Its age.
    Old,
}

/// Requests that were dropped, and what was in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// How many requests.
    pub requests: u64,
    /// Their data points, log records and spans.
    pub items: u64,
}

/// What a call has dropped of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub lane: String,
    /// Why.
    pub why: Why,
    /// How much.
    pub loss: Loss,
}

/// Requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub requests: u64,
    /// Their data points, log records and spans.
    pub items: u64,
    /// What they count against [`Limits::bytes`].
    pub bytes: u64,
}

/// A lane: what waits, and what it has lost since the file was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneState {
    /// What waits.
    pub waiting: Tally,
    /// Dropped for [`Why::Full`].
    pub full: Loss,
    /// Dropped for [`Why::Old`].
    pub old: Loss,
}

/// The last run that handed collections over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// It ended in order.
    pub ended: bool,
    /// Its last collection, Unix ns; `None`: an earlier version of kevmon did not say.
    pub collection: Option<u64>,
}

/// A lane as it is in the file, or will be with the next transaction.
#[derive(Debug, Clone)]
struct Lane {
    id: i64,
    name: String,
    state: LaneState,
    /// Requests up to this id have been removed or dropped: it is always the oldest that goes.
    gone: i64,
    /// Some of those are in the file still: deleting them failed.
    undeleted: bool,
}

/// The spool. No second one can be opened on the same file while this one lives.
#[derive(Debug)]
pub struct Spool {
    connection: Connection,
    /// After the connection: see there.
    files: InPlace,
    path: PathBuf,
    limits: Limits,
    /// Few: a search is no slower than a map.
    lanes: Vec<Lane>,
    next_id: i64,
    /// There are free pages to give back.
    shrinking: bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "logged already; the tests look at it"))]
    moved_aside: Option<PathBuf>,
    /// Last, so that the database is closed before the lock is given up.
    lock: Option<Lock>,
}

impl Spool {
    /// Opens the spool at `path`, making it where there is none. A damaged file is moved aside, and the log says so.
    /// `now_unix` is in ns.
    ///
    /// # Errors
    /// It cannot be used; what lies at its path is as it was.
    pub fn open(path: &Path, limits: Limits, now_unix: u64) -> Result<Self, StoreError> {
        let loaded = open::open(path, now_unix)?;
        Ok(Self {
            connection: loaded.connection,
            files: loaded.files,
            path: loaded.place.path,
            limits,
            lanes: loaded.lanes,
            next_id: loaded.next_id,
            // What an earlier run has not got to.
            shrinking: true,
            moved_aside: loaded.place.moved_aside.and_then(|note| match note {
                Note::MovedAside { to, .. } => Some(to),
                Note::Migrated { .. } => None,
            }),
            lock: loaded.place.lock,
        })
    }

    /// Where the damaged file is that lay at the path when it was opened.
    #[cfg(test)]
    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    /// Keeps requests, each behind those of its lane, and drops what goes beyond the limits. All of it is kept before this
    /// returns, as far as a kill of kevmon goes; a power cut may undo the last calls. `now_unix` is in ns.
    ///
    /// # Errors
    /// Nothing was kept and nothing dropped. The next call may succeed.
    pub fn push(&mut self, parcels: &[Parcel], now_unix: u64) -> Result<Vec<Dropped>, StoreError> {
        let oldest = self.oldest_allowed(now_unix);
        self.transact("keep requests", |work| {
            for parcel in parcels {
                work.put(parcel)?;
            }
            work.expire(oldest, EXPIRED_AT_ONCE)
        })
    }

    /// The oldest request of a lane. It stays until [`Self::remove`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn peek(&mut self, lane: &str) -> Result<Option<Spooled>, StoreError> {
        let doing = Doing {
            path: &self.path,
            what: "read a request",
        };
        let Some(lane) = self.lanes.iter().find(|known| known.name == lane) else {
            return Ok(None);
        };
        if lane.state.waiting.requests == 0 {
            return Ok(None);
        }
        let read = |statement: &mut rusqlite::CachedStatement<'_>| {
            statement
                .query_row(params![lane.id, lane.gone], |row| {
                    Ok(Spooled {
                        id: row.get(0)?,
                        parcel: Parcel {
                            lane: lane.name.clone(),
                            signal: text(row, 1)?,
                            time: unsigned(row, 2)?,
                            items: unsigned(row, 3)?,
                            sent: unsigned(row, 4)? != 0,
                            body: row.get(5)?,
                        },
                    })
                })
                .optional()
        };
        self.connection
            .prepare_cached(
                "SELECT id, signal, time, items, sent, body FROM request
                 WHERE lane_id = ?1 AND id > ?2 ORDER BY id LIMIT 1",
            )
            .and_then(|mut statement| read(&mut statement))
            .map_err(|error| doing.sqlite(error))?
            .map_or_else(
                || Err(doing.damaged("requests that waited are gone")),
                |found| Ok(Some(found)),
            )
    }

    /// Takes a request out for good, which [`Self::peek`] has given. False: it had been dropped meanwhile.
    ///
    /// # Errors
    /// It is in the file still, and would come back after a restart. In this run it does not: the next call that writes
    /// deletes it.
    pub fn remove(&mut self, spooled: &Spooled) -> Result<bool, StoreError> {
        let mut lanes = self.lanes.iter_mut();
        let Some(lane) = lanes.find(|lane| lane.name == spooled.parcel.lane) else {
            return Ok(false);
        };
        if spooled.id <= lane.gone {
            return Ok(false);
        }
        lane.take(spooled.id, spooled.parcel.items, spooled.parcel.bytes());
        lane.undeleted = true;
        let is_drained = lane.state.waiting.requests == 0;
        self.transact("remove a request", |_| Ok(()))?;
        if is_drained || self.shrinking {
            self.shrink();
        }
        Ok(true)
    }

    /// Takes out everything that waits in a lane; it is not counted as dropped.
    ///
    /// # Errors
    /// It is in the file still; see [`Self::remove`].
    pub fn clear(&mut self, lane: &str) -> Result<(), StoreError> {
        let newest = self.next_id - 1;
        let Some(lane) = self.lanes.iter_mut().find(|known| known.name == lane) else {
            return Ok(());
        };
        if lane.state.waiting.requests == 0 {
            return Ok(());
        }
        lane.state.waiting = Tally::default();
        lane.gone = newest;
        lane.undeleted = true;
        self.transact("remove requests", |_| Ok(()))?;
        self.shrink();
        Ok(())
    }

    /// Notes that a request is being sent, or that it surely did not arrive: whoever sends it next knows then whether it
    /// may be a duplicate.
    ///
    /// # Errors
    /// It is not noted.
    pub fn mark_sent(&mut self, spooled: &Spooled, sent: bool) -> Result<(), StoreError> {
        let doing = Doing {
            path: &self.path,
            what: "note that a request is being sent",
        };
        self.connection
            .prepare_cached("UPDATE request SET sent = ?2 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![spooled.id, sent]))
            .map(drop)
            .map_err(|error| doing.sqlite(error))
    }

    /// Whether a request that bears this time (Unix ns) waits in a lane.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn holds(&self, lane: &str, time: u64) -> Result<bool, StoreError> {
        let doing = Doing {
            path: &self.path,
            what: "read a request",
        };
        let Some(lane) = self.lanes.iter().find(|known| known.name == lane) else {
            return Ok(false);
        };
        self.connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM request WHERE lane_id = ?1 AND id > ?2 AND time = ?3)",
            )
            .and_then(|mut statement| {
                statement.query_row(params![lane.id, lane.gone, time.cast_signed()], |row| row.get(0))
            })
            .map_err(|error| doing.sqlite(error))
    }

    /// Notes that the collection of `time` (Unix ns) is handed over: until [`Self::note_end`], this run looks killed after
    /// it.
    ///
    /// # Errors
    /// It is not noted.
    pub fn note_collection(&mut self, time: u64) -> Result<(), StoreError> {
        self.note(
            "INSERT INTO run (id, end_time, last_time) VALUES (1, 0, ?1)
             ON CONFLICT (id) DO UPDATE SET end_time = 0, last_time = excluded.last_time",
            time,
            "note a collection",
        )
    }

    /// Notes that this run ended in order after the collection of `time`, Unix ns.
    ///
    /// # Errors
    /// It is not noted.
    pub fn note_end(&mut self, time: u64) -> Result<(), StoreError> {
        self.note(
            "INSERT INTO run (id, end_time) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET end_time = excluded.end_time",
            time,
            "note the end",
        )
    }

    fn note(&mut self, statement: &str, time: u64, what: &'static str) -> Result<(), StoreError> {
        self.ensure_in_place()?;
        let path = &self.path;
        self.connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.execute([time.cast_signed()]))
            .map(drop)
            .map_err(|error| Doing { path, what }.sqlite(error))
    }

    /// Brings the lock file and the database back where they were deleted or moved away.
    fn ensure_in_place(&mut self) -> Result<(), StoreError> {
        if let Some(lock) = &mut self.lock
            && lock.take_back(&self.path)?
        {
            lock.write(&Holder::this_process("", &[]));
        }
        self.files.ensure(&mut self.connection, open::set_up).map(drop)
    }

    /// How the last run that handed collections over came to its end; `None` for a new file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn last_run(&self) -> Result<Option<LastRun>, StoreError> {
        let doing = Doing {
            path: &self.path,
            what: "read the last end",
        };
        self.connection
            .query_row("SELECT end_time, last_time FROM run", [], |row| {
                Ok(LastRun {
                    ended: unsigned(row, 0)? != 0,
                    collection: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
                })
            })
            .optional()
            .map_err(|error| doing.sqlite(error))
    }

    /// Drops what is too old, and goes on making the file smaller: to be called now and then, also when nothing waits.
    /// `now_unix` is in ns.
    ///
    /// # Errors
    /// Nothing was dropped.
    pub fn expire(&mut self, now_unix: u64) -> Result<Vec<Dropped>, StoreError> {
        let is_idle = |lane: &Lane| lane.state.waiting.requests == 0 && !lane.undeleted;
        let mut dropped = Vec::new();
        if !self.lanes.iter().all(is_idle) {
            let oldest = self.oldest_allowed(now_unix);
            dropped = self.transact("drop old requests", |work| work.expire(oldest, EXPIRED_AT_ONCE))?;
        }
        if self.shrinking || !dropped.is_empty() {
            self.shrink();
        }
        Ok(dropped)
    }

    /// Every lane that the file knows, also those that nobody has asked for in this run.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, LaneState)> {
        self.lanes.iter().map(|lane| (lane.name.as_str(), lane.state))
    }

    fn oldest_allowed(&self, now_unix: u64) -> u64 {
        let age = u64::try_from(self.limits.age.as_nanos()).unwrap_or(u64::MAX);
        now_unix.saturating_sub(age)
    }

    /// Does all of `work`, or nothing of it; returns what it dropped.
    fn transact(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<()>,
    ) -> Result<Vec<Dropped>, StoreError> {
        self.ensure_in_place()?;
        let result = self.try_transact(work);
        if result.is_err() && !self.connection.is_autocommit() {
            // The transaction's own rollback failed. While one is open, no later one could begin.
            let _: rusqlite::Result<()> = self.connection.execute_batch("ROLLBACK");
        }
        result.map_err(|error| StoreError::sqlite(&self.path, doing, error))
    }

    fn try_transact(
        &mut self,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Vec<Dropped>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut doing = Work::new(&transaction, self.limits.bytes, &self.lanes, self.next_id);
        doing.delete_gone()?;
        work(&mut doing)?;
        doing.write_losses()?;
        let (lanes, next_id, dropped) = doing.finish();
        transaction.commit()?;
        self.files.note_log();
        self.lanes = lanes;
        self.next_id = next_id;
        Ok(dropped)
    }

    /// Gives free pages back to the file system, [`SHRUNK_AT_ONCE`] of them. What cannot be given back now (a full disk has no
    /// room for the log that it takes) is used again, or given back the next time.
    fn shrink(&mut self) {
        let free = self
            .connection
            .query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
        if free.is_ok_and(|pages| pages < SHRINK_FROM) {
            self.shrinking = false;
            return;
        }
        let shrunk = self.try_shrink();
        self.shrinking = matches!(shrunk, Ok(false));
        if let Err(error) = shrunk {
            debug!("spool {}: not made smaller: {error}", self.path.display());
        }
    }

    /// True when there is nothing more to give back.
    fn try_shrink(&self) -> rusqlite::Result<bool> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("PRAGMA incremental_vacuum({SHRUNK_AT_ONCE})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        let left: i64 = self
            .connection
            .query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        if left == 0 {
            // The file gets shorter when the log is written back.
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(left == 0)
    }
}

impl Lane {
    /// One request less, the oldest.
    fn take(&mut self, id: i64, items: u64, bytes: u64) {
        let waiting = &mut self.state.waiting;
        waiting.requests = waiting.requests.saturating_sub(1);
        waiting.items = waiting.items.saturating_sub(items);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        self.gone = id;
    }
}
