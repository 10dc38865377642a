//! Files beside the store: copies made before a migration, damaged ones moved aside. Nothing is ever overwritten or
//! deleted.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::{
    fs::{Access, AtFlags, CWD, FileType, accessat},
    io::Errno,
};

use super::error::{Doing, StoreError};
use crate::files::{Accepts, Folder, Missing, Open};

/// What belongs to a database beside its own file. The database goes first when they are moved: at whatever point that
/// is cut short, no database is ever opened without its log; a log without its database is set aside at the next start.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// `path` with something appended to its name, which need not be UTF-8.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The real, absolute path of a database, in a folder that nobody else can write; folders that are missing are made. SQLite opens
/// by path, here and whenever it makes its log: nobody else can make this one lead elsewhere.
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
    let (folder, name) = Folder::holding(path, Missing::Make(0o700)).map_err(|error| doing.io(error))?;
    expect_kind(&folder, &name, path)?;
    folder.expect_private().map_err(|error| doing.io(error))?;
    Ok(folder.path().join(name))
}

/// Makes sure that a file, a link or nothing lies at `path`, which is `name` in `folder`.
fn expect_kind(folder: &Folder, name: &OsStr, path: &Path) -> Result<(), StoreError> {
    let found = folder.look(name);
    let found = found.map_err(|error| StoreError::io(path, "look at it", error))?;
    let what = match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None | Some(FileType::RegularFile | FileType::Symlink) => return Ok(()),
        Some(FileType::Directory) => "a folder",
        Some(_) => "a device, a pipe or a socket",
    };
    let path = path.to_owned();
    Err(StoreError::NotAFile { path, what })
}

/// The same of a database that is only read: nothing is made.
pub(super) fn existing_path(path: &Path) -> Result<PathBuf, StoreError> {
    let owned = || path.to_owned();
    let Some(name) = path.file_name() else {
        return Err(StoreError::NotAFile {
            path: owned(),
            what: "a folder",
        });
    };
    match place(path, Missing::Fail) {
        Ok((folder, _)) => Ok(folder.path().join(name)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Err(StoreError::Missing { path: owned() }),
            io::ErrorKind::PermissionDenied => Err(StoreError::NotReadable {
                path: owned(),
                reason: error.to_string(),
            }),
            _ => Err(StoreError::io(path, "find its folder", error)),
        },
    }
}

/// The folder that holds the database or lock `path`, and its name.
pub(super) fn place(path: &Path, missing: Missing) -> io::Result<(Folder, OsString)> {
    let (folder, name) = Folder::holding(path, missing)?;
    folder.expect_private()?;
    Ok((folder, name))
}

/// Makes sure that `path` is a file that may be used, or nothing. Returns its length, bytes.
pub(super) fn expect_file(path: &Path) -> Result<Option<u64>, StoreError> {
    let failed = |error| StoreError::io(path, "look at it", error);
    let (folder, name) = place(path, Missing::Fail).map_err(failed)?;
    expect_kind(&folder, &name, path)?;
    let stat = folder.check(&name, Accepts::File).map_err(failed)?;
    Ok(stat.map(|stat| stat.st_size.cast_unsigned()))
}

/// Makes sure that what SQLite finds with the database are files that may be used.
pub(super) fn expect_companions(path: &Path) -> Result<(), StoreError> {
    for companion in COMPANIONS {
        expect_file(&beside(path, companion))?;
    }
    Ok(())
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
    let (folder, name) = place(path, Missing::Fail)?;
    folder.create(&name)
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = place(path, Missing::Fail)?;
    folder.remove(&name).map(drop)
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
    remove(&part).map_err(|error| doing.io(error))?;
    expect_companions(&part)?;
    let file = create(&part).map_err(|error| doing.io(error))?;
    let copied = connection
        .backup("main", &part, None::<fn(rusqlite::backup::Progress)>)
        .map_err(|error| doing.sqlite(error))
        .and_then(|()| file.sync_all().map_err(|error| doing.io(error)))
        .and_then(|()| {
            let first = beside(path, &suffix);
            if same_content(&part, &first) {
                remove(&part).map_err(|error| doing.io(error))?;
                return Ok(first);
            }
            let copy = free_name(path, &suffix);
            rename_new(&part, &copy).map_err(|error| doing.io(error))?;
            Ok(copy)
        });
    if copied.is_err() {
        // The space may be what is missing; the original is untouched.
        let _: io::Result<()> = remove(&part);
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

/// Renames in one folder, never onto something that is there.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let (folder, from) = place(from, Missing::Fail)?;
    let to = to.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    folder.rename_new(&from, to)
}

/// A rename is durable once its folder is. Where that cannot be had, a power cut may undo the rename, and the next start
/// does it again.
pub(super) fn sync_folder(path: &Path) {
    let _: io::Result<()> = place(path, Missing::Fail).and_then(|(folder, _)| folder.sync());
}

/// An existing file that may be used.
fn open(path: &Path) -> io::Result<File> {
    let (folder, name) = place(path, Missing::Fail)?;
    folder.open(&name, Open::to_read(), Accepts::File)
}

fn same_content(a: &Path, b: &Path) -> bool {
    let (Ok(mut a), Ok(mut b)) = (open(a), open(b)) else {
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
