//! Databases of kevmon's as files: locked against a second kevmon, checked before they are believed, moved aside when
//! they are damaged, and connections to them.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tracing::warn;

use super::{
    columns::unsigned,
    error::{Doing, StoreError},
    files,
    lock::Lock,
    open::Note,
};

/// How long another program's lock is waited for. Commits happen at collections, which must not be late.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Of SQLite's smallest page (https://sqlite.org/fileformat2.html), bytes.
const LEAST_LENGTH: u64 = 512;

/// The log is cut back to this after a checkpoint, bytes.
const LOG_LIMIT: u32 = 4 << 20;

/// Where a database is, and that it is this process's.
pub(super) struct Place {
    /// Absolute, links resolved.
    pub(super) path: PathBuf,
    /// `None`: its caller has it.
    pub(super) lock: Option<Lock>,
    /// A [`Note::MovedAside`], when what was there was damaged.
    pub(super) moved_aside: Option<Note>,
}

impl Place {
    /// Takes the lock and opens what is at `path` by `attempt`; where that says [`StoreError::Damaged`], moves it aside and
    /// tries once more.
    pub(super) fn open<T>(
        path: &Path,
        now_unix: u64,
        attempt: impl FnMut(&Path) -> Result<T, StoreError>,
    ) -> Result<(Self, T), StoreError> {
        let path = files::real_path(path)?;
        files::expect_file(&path)?;
        let lock = Lock::take(&path)?;
        let (mut place, opened) = Self::open_locked(path, now_unix, attempt)?;
        place.lock = Some(lock);
        Ok((place, opened))
    }

    /// The same of a real path whose lock its caller has.
    pub(super) fn open_locked<T>(
        path: PathBuf,
        now_unix: u64,
        mut attempt: impl FnMut(&Path) -> Result<T, StoreError>,
    ) -> Result<(Self, T), StoreError> {
        files::expect_file(&path)?;
        let mut place = Self {
            path,
            lock: None,
            moved_aside: None,
        };
        let path = place.path.clone();
        // Under the lock, so that nobody else makes or moves it.
        if files::expect_file(&path)?.is_none_or(|length| length == 0) && files::has_stray_log(&path) {
            let doing = Doing {
                path: &path,
                what: "open it",
            };
            place.aside(
                doing.damaged("the database is gone and its log is left"),
                now_unix,
            )?;
        }
        let opened = match attempt(&path) {
            Err(error) => {
                place.aside(error, now_unix)?;
                attempt(&path)?
            }
            Ok(opened) => opened,
        };
        Ok((place, opened))
    }

    /// Any other error than damage is handed back.
    fn aside(&mut self, error: StoreError, now_unix: u64) -> Result<(), StoreError> {
        let StoreError::Damaged { detail, .. } = error else {
            return Err(error);
        };
        let to = files::move_aside(&self.path, now_unix)?;
        warn!(
            "store {}: damaged ({detail}); moved to {}, a new one is started",
            self.path.display(),
            to.display()
        );
        self.moved_aside = Some(Note::MovedAside { to, why: detail });
        Ok(())
    }
}

/// A connection for writing, to an empty file where there is none, and whether a log was found beside it. Until
/// [`keep_log`] says otherwise, closing leaves what was found as it was.
pub(super) fn open_or_make(doing: Doing<'_>) -> Result<(Connection, bool), StoreError> {
    let path = doing.path;
    match files::create(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(doing.io(error)),
    }
    files::expect_companions(path)?;
    let length = file_length(doing)?;
    if (1..LEAST_LENGTH).contains(&length) {
        // SQLite takes some of these for empty, and would write over them.
        return Err(doing.damaged(format!("{length} bytes are no database")));
    }
    let has_log = files::has_log(path);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // What is refused or moved aside is to stay as it is, with its log.
    keep_log(&connection, has_log).map_err(|error| doing.sqlite(error))?;
    // SQLite opens for reading what it cannot open for writing.
    if connection
        .is_readonly("main")
        .map_err(|error| doing.sqlite(error))?
    {
        return Err(doing.io(io::ErrorKind::ReadOnlyFilesystem.into()));
    }
    Ok((connection, has_log))
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let doing = Doing {
        path,
        what: "open it",
    };
    // An absolute path is never taken for one of SQLite's special names, nor, without the flag, for a URI.
    let absolute = std::path::absolute(path).map_err(|error| doing.io(error))?;
    let flags = access
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let set_up = |connection: Connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A schema that somebody else wrote runs no functions, and no cell is believed unseen.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.execute_batch("PRAGMA cell_size_check = ON")?;
        Ok(connection)
    };
    Connection::open_with_flags(absolute, flags)
        .and_then(set_up)
        .map_err(|error| doing.sqlite(error))
}

/// With `keep`, closing leaves the write-ahead log as it is.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
        .map(drop)
}

/// Begins a write-ahead log, and keeps it short.
pub(super) fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    // Where shared memory cannot be had (network file systems), SQLite keeps its older journal: readers and the daemon then
    // wait for each other, and nothing else changes.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.query_row(
        &format!("PRAGMA journal_size_limit = {LOG_LIMIT}"),
        [],
        |_| Ok(()),
    )
}

/// SQLite takes a page that is cut off for one that ends in zeros.
pub(super) fn expect_all_pages(connection: &Connection, doing: Doing<'_>) -> Result<(), StoreError> {
    let pragma = |name: &str| -> Result<u64, StoreError> {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| unsigned(row, 0))
            .map_err(|error| doing.sqlite(error))
    };
    let expected = pragma("page_count")?.saturating_mul(pragma("page_size")?);
    // Looked at only now: the first query has rolled back what a killed process had begun.
    let length = file_length(doing)?;
    if length < expected {
        return Err(doing.damaged(format!("{length} of {expected} bytes are left")));
    }
    Ok(())
}

fn file_length(doing: Doing<'_>) -> Result<u64, StoreError> {
    files::expect_file(doing.path)?.ok_or_else(|| doing.io(io::ErrorKind::NotFound.into()))
}

/// How much [`check`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Every page.
    Pages,
    /// Also that the indexes tell what the tables hold.
    Indexes,
}

/// Reads every page: what is corrupt is found now, not in the middle of a commit.
pub(super) fn check(connection: &Connection, how: Check, doing: Doing<'_>) -> Result<(), StoreError> {
    let pragma = match how {
        Check::Pages => "PRAGMA quick_check(1)",
        Check::Indexes => "PRAGMA integrity_check(1)",
    };
    let verdict: String = connection
        .query_row(pragma, [], |row| row.get(0))
        .map_err(|error| doing.sqlite(error))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(doing.damaged(verdict.replace('\n', " ")))
    }
}

/// What SQLite cannot make sense of lies in the file, unless the system is the cause.
pub(super) fn damage_unless_outside(error: StoreError, doing: Doing<'_>) -> StoreError {
    use rusqlite::ErrorCode::{CannotOpen, FileLockingProtocolFailed, OutOfMemory, SystemIoFailure};
    match error {
        StoreError::Sqlite { cause, .. }
            if !matches!(
                cause.sqlite_error_code(),
                Some(SystemIoFailure | CannotOpen | OutOfMemory | FileLockingProtocolFailed)
            ) =>
        {
            doing.damaged(cause.to_string())
        }
        error => error,
    }
}
