//! What can go wrong with the store, told so that a person knows what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::{files::beside, holder::Named};
use crate::{
    files::{self, Refusal},
    limits,
};

/// Why the store could not be used. Its file is as it was. What follows from that is its caller's to say. No variant has a
/// source: what the system or SQLite said is part of the message already.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another kevmon has it.
    #[error(
        "store {}: {holder} uses it{}; stop that one, or give this one a file of its own (--metadata-db-path) or none \
         (--no-store)",
        path.display(),
        plugin.as_ref().map_or_else(String::new, |plugin| format!(", and watches plugin {plugin} already"))
    )]
    InUse {
        /// The store.
        path: PathBuf,
        /// Whose lock it is, as far as that can be said.
        holder: Box<Named>,
        /// A plugin that both are to watch, if that is why the other one is in the way.
        plugin: Option<String>,
    },
    /// Some other program holds SQLite's lock.
    #[error(
        "store {}: {doing}: another program keeps the database locked; fuser(1) tells which one",
        path.display()
    )]
    Busy {
        /// The store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
    },
    /// A later version wrote it.
    #[error(
        "store {}: its schema is {found}, this kevmon knows {known} and older; it is left untouched: use a newer kevmon, or another file (--metadata-db-path)",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The version it has.
        found: String,
        /// The version that this kevmon writes.
        known: String,
    },
    /// A database, but not of kevmon's nor of the original framework's.
    #[error(
        "store {}: this is the database of another program ({found}); it is left untouched: give another file (--metadata-db-path)",
        path.display()
    )]
    Foreign {
        /// The store.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// Something else was put in its place while this process runs.
    #[error(
        "store {}: {} is not the file that kevmon made: another one was put there while it runs, which is left untouched; \
         move it away, and the state is written there again, or restart kevmon to go on from what is there",
        path.display(),
        by.display()
    )]
    Replaced {
        /// The store.
        path: PathBuf,
        /// What was replaced: itself, or a part of its log.
        by: PathBuf,
    },
    /// A folder, a device, a pipe.
    #[error("store {}: this is {what}, not a file; give the path of a file (--metadata-db-path)", path.display())]
    NotAFile {
        /// The store.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The path leads through what somebody else can change.
    #[error("store {}: {refusal}", path.display())]
    Refused {
        /// The store.
        path: PathBuf,
        /// What is wrong, and where.
        refusal: Box<Refusal>,
    },
    /// There is none.
    #[error("store {}: there is no such file; a running kevmon makes one", path.display())]
    Missing {
        /// The store.
        path: PathBuf,
    },
    /// The original framework's, or an older kevmon's.
    #[error("store {}: its schema is {found}; start the kevmon service once, which migrates it", path.display())]
    Older {
        /// The store.
        path: PathBuf,
        /// The version it has.
        found: String,
    },
    /// No permission to write.
    #[error(
        "store {}: {doing}: it cannot be written ({reason}); make the file and its folder writable, or give another path (--metadata-db-path)",
        path.display()
    )]
    ReadOnly {
        /// The store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// In the system's words.
        reason: String,
    },
    /// No permission to read.
    #[error("store {}: it belongs to another user ({reason}); run this as root", path.display())]
    NotReadable {
        /// The store.
        path: PathBuf,
        /// In the system's words.
        reason: String,
    },
    /// No space left.
    #[error("store {}: {doing}: {}", path.display(), no_room(path))]
    Full {
        /// The store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
    },
    /// It holds what no kevmon wrote.
    #[error(
        "store {}: {doing}: it is damaged ({detail}); the next start of kevmon moves it aside and begins a new one",
        path.display()
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The system refused something.
    #[error(
        "store {}: {doing}: {cause}; {}",
        path.display(),
        limits::remedy(cause).unwrap_or("see to the disk and the folder, or give another path (--metadata-db-path)")
    )]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// In the system's words.
        cause: io::Error,
    },
    /// SQLite refused something.
    #[error("store {}: {doing}: {cause}; see to the disk and the folder, or give another path (--metadata-db-path)", path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// In SQLite's words.
        cause: rusqlite::Error,
    },
}

impl StoreError {
    /// What a failed system call means.
    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if let Some(refusal) = files::refusal(&source) {
            let refusal = Box::new(refusal.clone());
            return Self::Refused { path, refusal };
        }
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly {
                path,
                doing,
                reason: source.to_string(),
            },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, doing }
            }
            _ => Self::Io {
                path,
                doing,
                cause: source,
            },
        }
    }

    /// What SQLite's refusal means.
    pub(super) fn sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        // The index of the log, which is memory mapped, cannot grow.
        if source
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Self::Full { path, doing };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, doing },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly {
                path,
                doing,
                reason: source.to_string(),
            },
            // SQLite takes EFBIG for a failure of the disk (os_unix.c, `unixWrite`).
            Some(ErrorCode::SystemIoFailure) if is_at_file_size(&path) => Self::Full { path, doing },
            Some(ErrorCode::DiskFull) => Self::Full { path, doing },
            // SQLite does not say which file it could not open, nor why.
            Some(ErrorCode::CannotOpen) if limits::is_short_of_files(Path::new("/proc")) => Self::Io {
                path,
                doing,
                cause: io::Error::from_raw_os_error(libc::EMFILE),
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                doing,
                detail: source.to_string(),
            },
            _ => Self::Sqlite {
                path,
                doing,
                cause: source,
            },
        }
    }
}

/// Whether the database or what belongs to it cannot grow any more.
fn is_at_file_size(path: &Path) -> bool {
    /// SQLite's largest page and the frame around it, bytes.
    const PAGE: u64 = (64 << 10) + 24;
    ["", "-wal", "-journal"].iter().any(|suffix| {
        let length = std::fs::symlink_metadata(beside(path, suffix)).map_or(0, |file| file.len());
        limits::is_at_file_size(length, PAGE)
    })
}

fn no_room(path: &Path) -> &'static str {
    if is_at_file_size(path) {
        "the limit of a file's size is reached (ulimit -f); raise it (systemd: LimitFSIZE=)"
    } else {
        "the disk is full; make room there"
    }
}

/// The file and what is being done with it: what every error has to name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) path: &'a Path,
    pub(super) what: &'static str,
}

impl Doing<'_> {
    pub(super) fn sqlite(self, source: rusqlite::Error) -> StoreError {
        StoreError::sqlite(self.path, self.what, source)
    }

    pub(super) fn io(self, source: io::Error) -> StoreError {
        StoreError::io(self.path, self.what, source)
    }

    pub(super) fn damaged(self, detail: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: self.path.to_owned(),
            doing: self.what,
            detail: detail.into(),
        }
    }
}
