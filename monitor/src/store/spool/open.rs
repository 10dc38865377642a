//! The spool's file: its tables, and its opening.

use std::path::Path;

use rusqlite::Connection;

use super::{
    super::{
        columns::unsigned,
        connection::{self, Check, Place, check, damage_unless_outside, keep_log},
        error::{Doing, StoreError},
        identities::text,
        in_place::InPlace,
    },
    Lane, LaneState, Loss, OVERHEAD, Tally,
};

/// `PRAGMA application_id` of a spool: "kevs". A store is "kevm": neither is taken for the other.
const APPLICATION_ID: i32 = 0x6b65_7673;

/// `PRAGMA user_version`: the version of the tables below.
const PRESENT: i32 = 1;

/// SQLite's page cache, KiB. A request is read once and written once: nothing is gained by more.
const CACHE: i32 = 512;

/// `id` is the order in which requests came, over all lanes; it is never used twice while a kevmon runs.
const TABLES: &str = "
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    full_requests INTEGER NOT NULL DEFAULT 0,
    full_items INTEGER NOT NULL DEFAULT 0,
    old_requests INTEGER NOT NULL DEFAULT 0,
    old_items INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE request (
    id INTEGER PRIMARY KEY,
    lane_id INTEGER NOT NULL REFERENCES lane,
    signal TEXT NOT NULL,
    time INTEGER NOT NULL,
    items INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX request_by_lane ON request (lane_id);
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    end_time INTEGER NOT NULL,
    last_time INTEGER
) STRICT;
";

/// A spool that an earlier version made lacks this column. Such a version still reads and writes the file with it.
const LAST_TIME: &str = "ALTER TABLE run ADD COLUMN last_time INTEGER";

/// What an opened file holds.
pub(super) struct Loaded {
    pub(super) place: Place,
    pub(super) connection: Connection,
    pub(super) files: InPlace,
    pub(super) lanes: Vec<Lane>,
    pub(super) next_id: i64,
}

pub(super) fn open(path: &Path, now_unix: u64) -> Result<Loaded, StoreError> {
    let (place, (connection, lanes, next_id)) = Place::open(path, now_unix, attempt)?;
    Ok(Loaded {
        files: InPlace::of(&place.path)?,
        place,
        connection,
        lanes,
        next_id,
    })
}

fn attempt(path: &Path) -> Result<(Connection, Vec<Lane>, i64), StoreError> {
    let doing = Doing {
        path,
        what: "open it",
    };
    let (mut connection, has_log) = connection::open_or_make(doing)?;
    let is_empty = is_empty(&connection, doing).map_err(|error| damage_unless_outside(error, doing))?;
    if !has_log {
        connection::expect_all_pages(&connection, doing)?;
    }
    // With its index, which tells what waits.
    check(&connection, Check::Indexes, doing)?;
    if is_empty {
        make(&mut connection).map_err(|error| doing.sqlite(error))?;
    }
    let (lanes, next_id) = load(&connection)
        .map_err(|error| damage_unless_outside(doing.sqlite(error), doing))?
        .ok_or_else(|| doing.damaged("requests for nobody"))?;
    // Only now: what is moved aside is to stay as it is.
    set_up(&connection).map_err(|error| doing.sqlite(error))?;
    Ok((connection, lanes, next_id))
}

/// Whether there is nothing in it yet; what is somebody else's is refused.
fn is_empty(connection: &Connection, doing: Doing<'_>) -> Result<bool, StoreError> {
    let number = |sql: &str| -> Result<i32, StoreError> {
        connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|error| doing.sqlite(error))
    };
    let path = doing.path.to_owned();
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    match (application, version) {
        (APPLICATION_ID, PRESENT) => Ok(false),
        (APPLICATION_ID, version) if version > PRESENT => Err(StoreError::Newer {
            path,
            found: version.to_string(),
            known: PRESENT.to_string(),
        }),
        (0, 0) if tables == 0 => Ok(true),
        (application, version) => Err(StoreError::Foreign {
            path,
            found: format!("application id {application:#x}, version {version}, no spool of kevmon's"),
        }),
    }
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    // Only before there are tables.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", PRESENT)?;
    transaction.commit()
}

/// Prepares a connection for writing.
pub(super) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    keep_log(connection, false)?;
    connection::write_ahead(connection)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    if !connection.column_exists(None, "run", "last_time")? {
        connection.execute_batch(LAST_TIME)?;
    }
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
}

/// `None`: there are requests without a lane.
fn load(connection: &Connection) -> rusqlite::Result<Option<(Vec<Lane>, i64)>> {
    // What the counts below do not need has to be there as well.
    connection.prepare("SELECT signal, time, sent FROM request")?;
    connection.prepare("SELECT end_time FROM run")?;
    let mut lanes = Vec::new();
    let mut statement = connection.prepare(
        "SELECT lane.id, name, full_requests, full_items, old_requests, old_items,
                count(request.id), coalesce(sum(items), 0), coalesce(sum(length(body)), 0)
         FROM lane LEFT JOIN request ON lane_id = lane.id GROUP BY lane.id",
    )?;
    let mut rows = statement.query([])?;
    let mut counted = 0;
    while let Some(row) = rows.next()? {
        let requests = unsigned(row, 6)?;
        counted += requests;
        lanes.push(Lane {
            id: row.get(0)?,
            name: text(row, 1)?,
            state: LaneState {
                waiting: Tally {
                    requests,
                    items: unsigned(row, 7)?,
                    bytes: unsigned(row, 8)? + requests * OVERHEAD,
                },
                full: Loss {
                    requests: unsigned(row, 2)?,
                    items: unsigned(row, 3)?,
                },
                old: Loss {
                    requests: unsigned(row, 4)?,
                    items: unsigned(row, 5)?,
                },
            },
            gone: 0,
            undeleted: false,
        });
    }
    let (requests, last): (u64, i64) =
        connection.query_row("SELECT count(*), coalesce(max(id), 0) FROM request", [], |row| {
            Ok((unsigned(row, 0)?, row.get(1)?))
        })?;
    Ok((requests == counted).then_some((lanes, last.saturating_add(1))))
}
