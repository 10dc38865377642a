//! The files of an open database, at its path as long as kevmon runs.
//!
//! SQLite opens by path and then works on descriptors: where the files are deleted, moved away or replaced, it goes on
//! writing to what no start will ever find. So before it writes, kevmon compares what lies at the path (device and inode)
//! with what it opened:
//!
//! - **Gone** (deleted, moved away, the folder removed): all that the open descriptors still hold is copied to a new file, which
//!   takes the place at once, by rename. What is left of the old write-ahead log at the path is removed first: SQLite would play
//!   it into the new database.
//! - **Without its log** (`-wal` or `-shm` deleted alone): the log is written back into the database, which then gets a new one.
//! - **Replaced**: what lies there is not this process's. It is left untouched, and writing fails until it is moved away.
//!
//! The lock file may be deleted as well, so the database itself bears a second lock, on a byte that SQLite does not use. It is
//! an open file description lock (fcntl(2), `F_OFD_SETLK`): SQLite's own locks are the process's, and to close any descriptor of
//! the file gives those up. So this one is closed after the connection.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use tracing::warn;

use super::{
    connection::{connect, keep_log},
    error::{Doing, StoreError},
    files,
};
use crate::files::{Accepts, Missing, Open};

/// The log and its index.
const LOG: [&str; 2] = ["-wal", "-shm"];

/// Behind the bytes that SQLite locks: they begin at 1 GiB (`PENDING_BYTE`), are 512, and no data is ever in their page
/// (sqlite.org/fileformat2.html, "The Lock-Byte Page").
const GUARD_BYTE: i64 = (1 << 30) + 1024;

/// Device and inode.
type FileId = (u64, u64);

/// What lies at the path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    AsOpened,
    Gone,
    WithoutLog,
    Replaced(PathBuf),
}

/// The files of a database that this process has open.
#[derive(Debug)]
pub(super) struct InPlace {
    path: PathBuf,
    database: FileId,
    /// In the order of [`LOG`]; `None`: SQLite has made none yet.
    log: [Option<FileId>; 2],
    /// What is at the path has all that the connection has, and takes its place.
    is_stale: bool,
    /// The connection was given up for that, and there is no other one yet.
    is_closed: bool,
    /// Bears the lock on the database itself, where the file system has such locks.
    guard: File,
}

fn id(path: &Path) -> io::Result<Option<FileId>> {
    match path.symlink_metadata() {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl InPlace {
    /// Of the database at `path`, which has just been opened.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io(path, "look at it", error);
        let database = id(path)
            .map_err(failed)?
            .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let mut files = Self {
            path: path.to_owned(),
            database,
            log: [None; 2],
            is_stale: false,
            is_closed: false,
            guard: guard(path).map_err(failed)?,
        };
        files.note_log();
        Ok(files)
    }

    /// Notes the log once SQLite has made it, which it does when it first writes.
    pub(super) fn note_log(&mut self) {
        for (known, suffix) in self.log.iter_mut().zip(LOG) {
            if known.is_none() {
                *known = id(&files::beside(&self.path, suffix)).ok().flatten();
            }
        }
    }

    fn look(&self) -> io::Result<Found> {
        let at_path = id(&self.path)?;
        if at_path.is_some_and(|there| there != self.database) {
            return Ok(Found::Replaced(self.path.clone()));
        }
        let mut is_without_log = false;
        for (known, suffix) in self.log.iter().zip(LOG) {
            let path = files::beside(&self.path, suffix);
            let there = id(&path)?;
            if there.is_some() && *known != there && known.is_some() {
                return Ok(Found::Replaced(path));
            }
            is_without_log |= known.is_some() && there.is_none();
        }
        Ok(match at_path {
            None => Found::Gone,
            Some(_) if is_without_log => Found::WithoutLog,
            Some(_) => Found::AsOpened,
        })
    }

    /// Makes sure that what is written next is found by the next start. `set_up` prepares a connection for writing. Returns
    /// whether `connection` is another one now.
    ///
    /// # Errors
    /// It would not be found. What lies at the path is as it was, or has all that was written; the next call tries again.
    pub(super) fn ensure(
        &mut self,
        connection: &mut Connection,
        set_up: fn(&Connection) -> rusqlite::Result<()>,
    ) -> Result<bool, StoreError> {
        let found = self
            .look()
            .map_err(|error| StoreError::io(&self.path, "look at it", error))?;
        match found {
            Found::AsOpened if !self.is_stale => return Ok(false),
            Found::AsOpened => {}
            Found::Replaced(by) => {
                return Err(StoreError::Replaced {
                    path: self.path.clone(),
                    by,
                });
            }
            Found::Gone if self.is_closed => {
                return Err(StoreError::Missing {
                    path: self.path.clone(),
                });
            }
            Found::Gone => self.put_back(connection)?,
            Found::WithoutLog => self.write_log_back(connection)?,
        }
        self.reopen(connection, set_up)?;
        Ok(true)
    }

    /// Copies what the connection has open to a new file at the path.
    fn put_back(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let path = self.path.clone();
        let doing = Doing {
            path: &path,
            what: "put it back",
        };
        files::real_path(&path)?;
        let part = files::beside(&path, ".restored.part");
        files::remove(&part).map_err(|error| doing.io(error))?;
        files::expect_companions(&part)?;
        let file = files::create(&part).map_err(|error| doing.io(error))?;
        let made = file.metadata().map_err(|error| doing.io(error))?;
        let copied = connection
            .backup("main", &part, None::<fn(rusqlite::backup::Progress)>)
            .map_err(|error| doing.sqlite(error))
            .and_then(|()| file.sync_all().map_err(|error| doing.io(error)))
            // Closing it leaves the names at the path alone: they are another database's from here on.
            .and_then(|()| keep_log(connection, true).map_err(|error| doing.sqlite(error)))
            .and_then(|()| self.remove_log())
            .and_then(|()| files::rename_new(&part, &path).map_err(|error| doing.io(error)));
        if let Err(error) = copied {
            // The space may be what is missing.
            let _: io::Result<()> = files::remove(&part);
            return Err(error);
        }
        files::sync_folder(&path);
        self.database = (made.dev(), made.ino());
        self.is_stale = true;
        warn!(
            "{}: deleted or moved away while kevmon runs; written again with all that it held",
            self.path.display()
        );
        Ok(())
    }

    /// Brings what the log holds into the database, which is where it was.
    fn write_log_back(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let path = self.path.clone();
        let doing = Doing {
            path: &path,
            what: "write its log back",
        };
        let is_busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| doing.sqlite(error))?;
        if is_busy {
            return Err(StoreError::Busy {
                path: self.path.clone(),
                doing: doing.what,
            });
        }
        keep_log(connection, true).map_err(|error| doing.sqlite(error))?;
        self.remove_log()?;
        self.is_stale = true;
        warn!(
            "{}: its log (-wal, -shm) was deleted while kevmon runs; written back, nothing is lost",
            self.path.display()
        );
        Ok(())
    }

    /// Removes what is left of the log of the connection, which [`Self::look`] has found to be that.
    fn remove_log(&mut self) -> Result<(), StoreError> {
        for suffix in LOG {
            let log = files::beside(&self.path, suffix);
            files::remove(&log).map_err(|error| StoreError::io(&log, "remove it", error))?;
        }
        self.log = [None; 2];
        Ok(())
    }

    /// Connects to what is at the path now. The connection before is closed first: SQLite shares the index of the log among
    /// the connections of a process to one file, also where that index was deleted. The guard of a database that stays goes
    /// on: to close it would cost the new connection its locks.
    fn reopen(
        &mut self,
        connection: &mut Connection,
        set_up: fn(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        if !self.is_closed {
            let none = Connection::open_in_memory();
            *connection = none.map_err(|error| StoreError::sqlite(&self.path, "open it", error))?;
            self.is_closed = true;
        }
        let new = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        set_up(&new).map_err(|error| StoreError::sqlite(&self.path, "open it", error))?;
        let failed = |error| StoreError::io(&self.path, "look at it", error);
        let guarded = self.guard.metadata().map_err(failed)?;
        let guard = if (guarded.dev(), guarded.ino()) == self.database {
            None
        } else {
            Some(guard(&self.path).map_err(failed)?)
        };
        *connection = new;
        if let Some(guard) = guard {
            self.guard = guard;
        }
        (self.is_stale, self.is_closed) = (false, false);
        self.note_log();
        Ok(())
    }
}

/// The database, locked. Where the file system has no such locks, or somebody was faster, the lock file alone keeps others
/// out.
fn guard(path: &Path) -> io::Result<File> {
    let (folder, name) = files::place(path, Missing::Fail)?;
    let file = folder.open(&name, Open::to_write(), Accepts::File)?;
    let mut lock = guard_lock();
    // SAFETY: the descriptor is open and `lock` is a valid `flock` for the length of the call.
    let _: i32 = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    Ok(file)
}

/// Whether a process has the database at `path` open as its own, whatever became of its lock file. Not to be asked of a
/// database that this process has open: see the top of this file.
pub(super) fn is_guarded(path: &Path) -> bool {
    let opened = files::place(path, Missing::Fail)
        .and_then(|(folder, name)| folder.open(&name, Open::to_read(), Accepts::File));
    let Ok(file) = opened else {
        return false; // nothing there, or nothing that may be used: opening it says so
    };
    let mut lock = guard_lock();
    // SAFETY: as above.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    asked == 0 && i32::from(lock.l_type) != libc::F_UNLCK
}

fn guard_lock() -> libc::flock {
    // SAFETY: `flock` is plain integers, for which zeros are valid; fcntl(2) asks for `l_pid` 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = GUARD_BYTE;
    lock.l_len = 1;
    lock
}
