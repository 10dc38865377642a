//! Files beside the store: copies made before a migration, damaged ones moved aside. Nothing is ever overwritten or
//! deleted.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::{
    fs::{Access, AtFlags, CWD, RenameFlags, accessat, renameat_with},
    io::Errno,
};

use super::error::{Doing, StoreError};

/// What belongs to a database beside its own file. The database goes first when they are moved: at whatever point that
/// is cut short, no database is ever opened without its log; a log without its database is set aside at the next start.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// `path` with something appended to its name, which need not be UTF-8.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The real, absolute path of the store; its folders are made if they are missing. SQLite puts the log beside the real
/// file, so links are followed here already.
pub(super) fn real_path(path: &Path) -> Result<PathBuf, StoreError> {
    let doing = Doing {
        path,
        what: "find its folder",
    };
    if path.file_name().is_none() {
        return Err(StoreError::NotAFile {
            path: path.to_owned(),
            what: "a folder",
        });
    }
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let absolute = std::path::absolute(path).map_err(|error| doing.io(error))?;
            let absolute = target(absolute);
            if let Some(folder) = absolute.parent() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .map_err(|error| doing.io(error))?;
            }
            absolute
        }
        Err(error) => return Err(doing.io(error)),
    };
    Ok(path)
}

/// Where a link leads that has no file at its end yet. A database that is made through it has one name, so one lock.
fn target(mut path: PathBuf) -> PathBuf {
    // path_resolution(7) follows 40 links at most.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path
            .parent()
            .map_or(target.clone(), |folder| folder.join(&target));
    }
    path
}

/// Makes sure that `path` is a file or nothing. Opening a pipe would wait for ever.
pub(super) fn expect_file(path: &Path) -> Result<Option<fs::Metadata>, StoreError> {
    let what = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(Some(metadata)),
        Ok(metadata) if metadata.is_dir() => "a folder",
        Ok(_) => "a device, a pipe or a socket",
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io(path, "look at it", error)),
    };
    Err(StoreError::NotAFile {
        path: path.to_owned(),
        what,
    })
}

/// Makes sure that a file at `path` may be read by who asks, without opening it: closing a file gives up the locks that
/// this process holds on it (fcntl(2), F_SETLK).
pub(super) fn expect_readable(path: &Path) -> Result<(), StoreError> {
    match accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS) {
        Err(Errno::ACCESS) => Err(StoreError::NotReadable {
            path: path.to_owned(),
            reason: io::Error::from(Errno::ACCESS).to_string(),
        }),
        // Whatever else may be wrong, opening it tells.
        _ => Ok(()),
    }
}

/// An empty file that only its owner may read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// True when a killed process has left commits in the database's log.
pub(super) fn has_log(path: &Path) -> bool {
    beside(path, "-wal")
        .symlink_metadata()
        .is_ok_and(|file| file.len() > 0)
}

/// True when the log of a lost database lies about. SQLite would delete it or, worse, play it into a new database.
pub(super) fn has_stray_log(path: &Path) -> bool {
    COMPANIONS.iter().any(|companion| {
        beside(path, companion)
            .symlink_metadata()
            .is_ok_and(|file| file.len() > 0)
    })
}

/// Moves the database and what belongs to it to `<path>.corrupt-<unix time>`; returns where it is now.
pub(super) fn move_aside(path: &Path, now_unix: u64) -> Result<PathBuf, StoreError> {
    let seconds = now_unix / 1_000_000_000;
    let aside = free_name(path, &format!(".corrupt-{seconds}"));
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let from = beside(path, suffix);
        match rename_new(&from, &beside(&aside, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&from, "move it aside", error)),
        }
    }
    sync_folder(path);
    Ok(aside)
}

/// Copies the database to `<path>.schema-<version>.bak`; returns where the copy is. One that is there already, from an
/// attempt that was cut short, is used when it is the same.
pub(super) fn back_up(connection: &Connection, path: &Path, version: &str) -> Result<PathBuf, StoreError> {
    let doing = Doing {
        path,
        what: "copy it before the migration",
    };
    let suffix = format!(".schema-{version}.bak");
    let part = beside(path, &format!("{suffix}.part"));
    // What a killed attempt left is an incomplete copy of what is still there.
    match fs::remove_file(&part) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(doing.io(error)),
    }
    let file = create(&part).map_err(|error| doing.io(error))?;
    let copied = connection
        .backup("main", &part, None::<fn(rusqlite::backup::Progress)>)
        .map_err(|error| doing.sqlite(error))
        .and_then(|()| file.sync_all().map_err(|error| doing.io(error)))
        .and_then(|()| {
            let first = beside(path, &suffix);
            if same_content(&part, &first) {
                fs::remove_file(&part).map_err(|error| doing.io(error))?;
                return Ok(first);
            }
            let copy = free_name(path, &suffix);
            rename_new(&part, &copy).map_err(|error| doing.io(error))?;
            Ok(copy)
        });
    if copied.is_err() {
        // The space may be what is missing; the original is untouched.
        let _: io::Result<()> = fs::remove_file(&part);
    }
    sync_folder(path);
    copied
}

/// `path` with `suffix`, and a number behind it if that is taken, also by a companion alone.
fn free_name(path: &Path, suffix: &str) -> PathBuf {
    let taken = |candidate: &Path| {
        COMPANIONS
            .into_iter()
            .chain([""])
            .any(|companion| beside(candidate, companion).symlink_metadata().is_ok())
    };
    let mut candidate = beside(path, suffix);
    let mut number = 1_u32;
    while taken(&candidate) {
        candidate = beside(path, &format!("{suffix}.{number}"));
        number += 1;
    }
    candidate
}

/// Renames, never onto something that is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag; the lock keeps other daemons out meanwhile.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if to.symlink_metadata().is_err() => {
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

/// A rename is durable once its folder is. Where that cannot be had, a power cut may undo the rename, and the next start
/// does it again.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _: io::Result<()> = folder.sync_all();
    }
}

fn same_content(a: &Path, b: &Path) -> bool {
    let (Ok(mut a), Ok(mut b)) = (File::open(a), File::open(b)) else {
        return false;
    };
    let (mut chunk_a, mut chunk_b) = (Vec::new(), Vec::new());
    loop {
        chunk_a.clear();
        chunk_b.clear();
        let read = |file: &mut File, chunk: &mut Vec<u8>| file.take(65_536).read_to_end(chunk);
        match (read(&mut a, &mut chunk_a), read(&mut b, &mut chunk_b)) {
            (Ok(_), Ok(_)) if chunk_a == chunk_b => {
                if chunk_a.is_empty() {
                    return true;
                }
            }
            _ => return false,
        }
    }
}
