//! Opening: whatever lies at the path, it is either used, brought to the present schema, moved aside or left alone. Nothing
//! is deleted, and at whatever point the opening is cut short, the next one finds everything.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};
use tracing::{info, warn};

use super::{
    columns::unsigned,
    error::{Doing, StoreError},
    files,
    groups::{self, Written},
    identities::{Identities, text},
    lock::Lock,
    migrate::{Found, migrate, version_name},
    schema::{PRESENT, STEPS, Step},
};

/// How long another program's lock is waited for. Commits happen at collections, which must not be late.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Of SQLite's smallest page (https://sqlite.org/fileformat2.html), bytes.
const LEAST_LENGTH: u64 = 512;

/// The log is cut back to this after a checkpoint, bytes.
const LOG_LIMIT: u32 = 4 << 20;

/// Something about the opening that whoever keeps the file should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A damaged store was moved; a new one has been started.
    MovedAside {
        /// Where it is now.
        to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// A store of an older schema was migrated.
    Migrated {
        /// The version it had.
        from: String,
        /// A copy of what it was.
        copy: PathBuf,
    },
}

/// All that the database holds and a daemon needs.
pub(super) struct Loaded {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
    pub(super) notes: Vec<Note>,
    pub(super) last: Option<LastCommit>,
    /// By key.
    pub(super) group_ids: HashMap<String, GroupRow>,
    pub(super) groups: HashMap<String, Written>,
    pub(super) identities: Identities,
}

/// The row of `state`.
pub(super) struct LastCommit {
    pub(super) boot_id: String,
    /// Unix ns.
    pub(super) time: u64,
    /// Which run it was of; runs are counted from 1.
    pub(super) run: u64,
}

/// A row of `watched_group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupRow {
    pub(super) id: i64,
    /// The last run that kept the group.
    pub(super) run: u64,
}

/// What opening depends on; tests replace it.
pub(super) struct Opening<'a> {
    pub(super) path: &'a Path,
    pub(super) now_unix: u64,
    pub(super) steps: &'a [Step],
    /// See [`migrate`].
    pub(super) after: &'a mut dyn FnMut(usize) -> Result<(), StoreError>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        path: &'a Path,
        now_unix: u64,
        after: &'a mut dyn FnMut(usize) -> Result<(), StoreError>,
    ) -> Self {
        Self {
            path,
            now_unix,
            steps: STEPS,
            after,
        }
    }

    pub(super) fn run(mut self) -> Result<Loaded, StoreError> {
        let path = files::real_path(self.path)?;
        files::expect_file(&path)?;
        let lock = Lock::take(&path)?;
        let mut notes = Vec::new();
        let now_unix = self.now_unix;
        let mut aside = |error: StoreError| -> Result<(), StoreError> {
            let StoreError::Damaged { detail, .. } = &error else {
                return Err(error);
            };
            let to = files::move_aside(&path, now_unix)?;
            warn!(
                "store {}: damaged ({detail}); moved to {}, a new one is started",
                path.display(),
                to.display()
            );
            notes.push(Note::MovedAside {
                to,
                why: detail.clone(),
            });
            Ok(())
        };
        // Under the lock, so that nobody else makes or moves it.
        if files::expect_file(&path)?.is_none_or(|file| file.len() == 0) && files::has_stray_log(&path) {
            let doing = Doing {
                path: &path,
                what: "open it",
            };
            aside(doing.damaged("the database is gone and its log is left"))?;
        }
        let opened = match self.attempt(&path) {
            Err(error) => {
                aside(error)?;
                self.attempt(&path)?
            }
            Ok(opened) => opened,
        };
        notes.extend(opened.migrated);
        Ok(Loaded {
            connection: opened.connection,
            path,
            lock,
            notes,
            last: opened.last,
            group_ids: opened.group_ids,
            groups: opened.groups,
            identities: opened.identities,
        })
    }

    /// Opens what is there, or nothing. [`StoreError::Damaged`]: it can be moved aside.
    fn attempt(&mut self, path: &Path) -> Result<Opened, StoreError> {
        let doing = Doing {
            path,
            what: "open it",
        };
        match files::create(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(doing.io(error)),
        }
        let length = file_length(doing)?;
        if (1..LEAST_LENGTH).contains(&length) {
            // SQLite takes some of these for empty, and would write over them.
            return Err(doing.damaged(format!("{length} bytes are no database")));
        }
        let has_log = files::has_log(path);
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What is refused or moved aside is to stay as it is, with its log.
        keep_log(&connection, has_log).map_err(|error| doing.sqlite(error))?;
        // SQLite opens for reading what it cannot open for writing.
        if connection
            .is_readonly("main")
            .map_err(|error| doing.sqlite(error))?
        {
            return Err(doing.io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        let present = self.steps.last().map_or(PRESENT, |step| step.to);
        let found = Found::of(&connection, present)
            .map_err(|error| damage_unless_outside(doing.sqlite(error), doing))?;
        refuse(&found, path, present)?;
        if !has_log {
            expect_all_pages(&connection, doing)?;
        }
        check(&connection, doing)?;
        let migrated = self.migrate(&mut connection, &found, path, present)?;
        let load = Doing {
            path,
            what: "read it",
        };
        // It has kevmon's mark and version: where it has not kevmon's tables or values as well, it is damaged.
        let opened =
            load_all(connection, load, migrated).map_err(|error| damage_unless_outside(error, load))?;
        set_up(&opened.connection).map_err(|error| doing.sqlite(error))?;
        Ok(opened)
    }

    fn migrate(
        &mut self,
        connection: &mut Connection,
        found: &Found,
        path: &Path,
        present: u32,
    ) -> Result<Option<Note>, StoreError> {
        if *found == Found::Ours(present) {
            return Ok(None);
        }
        let note = match found.version() {
            Some(from) => {
                let copy = files::back_up(connection, path, &from)?;
                Some(Note::Migrated { from, copy })
            }
            None => None,
        };
        let doing = Doing {
            path,
            what: if note.is_some() { "migrate it" } else { "make it" },
        };
        migrate(connection, found, self.steps, self.now_unix, doing, self.after)?;
        if let Some(Note::Migrated { from, copy }) = &note {
            info!(
                "store {}: migrated from schema {from} to {}; what it was is in {}",
                path.display(),
                version_name(present),
                copy.display()
            );
        }
        Ok(note)
    }
}

struct Opened {
    connection: Connection,
    migrated: Option<Note>,
    last: Option<LastCommit>,
    group_ids: HashMap<String, GroupRow>,
    groups: HashMap<String, Written>,
    identities: Identities,
}

fn load_all(connection: Connection, doing: Doing<'_>, migrated: Option<Note>) -> Result<Opened, StoreError> {
    let last = connection
        .query_row("SELECT boot_id, last_commit, run FROM state", [], |row| {
            Ok(LastCommit {
                boot_id: text(row, 0)?,
                time: unsigned(row, 1)?,
                run: unsigned(row, 2)?,
            })
        })
        .optional()
        .map_err(|error| doing.sqlite(error))?;
    let mut group_ids = HashMap::new();
    groups::for_each(
        &connection,
        "SELECT key, id, run FROM watched_group",
        doing,
        |row| {
            let group = GroupRow {
                id: row.get(1)?,
                run: unsigned(row, 2)?,
            };
            group_ids.insert(text(row, 0)?, group);
            Ok(())
        },
    )?;
    let mut by_id = groups::load(&connection, doing)?;
    let groups = group_ids
        .iter()
        .filter_map(|(key, row)| Some((key.clone(), by_id.remove(&row.id)?)))
        .collect();
    if !by_id.is_empty() {
        return Err(doing.damaged("a group without a name"));
    }
    let identities = Identities::load(&connection, doing)?;
    Ok(Opened {
        connection,
        migrated,
        last,
        group_ids,
        groups,
        identities,
    })
}

/// Opens for reading, also what a daemon writes at the same time.
pub(super) fn read_only(path: &Path) -> Result<Connection, StoreError> {
    files::expect_readable(path)?;
    if files::expect_file(path)?.is_none() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let doing = Doing {
        path,
        what: "read it",
    };
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = Found::of(&connection, PRESENT).map_err(|error| doing.sqlite(error))?;
    refuse(&found, path, PRESENT)?;
    match found {
        Found::Ours(PRESENT) => Ok(connection),
        Found::Empty => Err(StoreError::Missing {
            path: path.to_owned(),
        }),
        _ => Err(StoreError::Older {
            path: path.to_owned(),
            found: found.version().unwrap_or_default(),
        }),
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let doing = Doing {
        path,
        what: "open it",
    };
    // An absolute path is never taken for one of SQLite's special names, nor, without the flag, for a URI.
    let absolute = std::path::absolute(path).map_err(|error| doing.io(error))?;
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
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
fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
        .map(drop)
}

fn refuse(found: &Found, path: &Path, present: u32) -> Result<(), StoreError> {
    let path = path.to_owned();
    match found {
        Found::Newer(found) => Err(StoreError::Newer {
            path,
            found: found.clone(),
            known: version_name(present),
        }),
        Found::Foreign(found) => Err(StoreError::Foreign {
            path,
            found: found.clone(),
        }),
        Found::Empty | Found::Original(_) | Found::Ours(_) => Ok(()),
    }
}

/// SQLite takes a page that is cut off for one that ends in zeros.
fn expect_all_pages(connection: &Connection, doing: Doing<'_>) -> Result<(), StoreError> {
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
    doing
        .path
        .metadata()
        .map(|file| file.len())
        .map_err(|error| doing.io(error))
}

/// Reads every page: what is corrupt is found now, not in the middle of a commit.
fn check(connection: &Connection, doing: Doing<'_>) -> Result<(), StoreError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| doing.sqlite(error))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(doing.damaged(verdict.replace('\n', " ")))
    }
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // Where shared memory cannot be had (network file systems), SQLite keeps its older journal: readers and the daemon then
    // wait for each other, and nothing else changes.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.query_row(
        &format!("PRAGMA journal_size_limit = {LOG_LIMIT}"),
        [],
        |_| Ok(()),
    )?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
    keep_log(connection, false)
}

/// What SQLite cannot make sense of lies in the file, unless the system is the cause.
fn damage_unless_outside(error: StoreError, doing: Doing<'_>) -> StoreError {
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
