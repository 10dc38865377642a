//! The lock that keeps two daemons out of one file. It lies beside the database, because the database itself may be
//! moved aside while the lock is held, and because SQLite's own locks last for a transaction only.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use tracing::warn;

use super::{
    error::StoreError,
    files,
    holder::{Holder, Named},
};
use crate::files::{Accepts, Missing, Open};

const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Bytes of a lock file that are read.
const MOST_BYTES: u64 = 1 << 20;

/// Held until it is dropped, or the process ends in whatever way (flock(2)).
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Unlocks it for every copy of the descriptor: a child that is forked meanwhile holds one until it executes.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// What a look at a lock finds.
#[derive(Debug)]
pub(super) enum Found {
    /// Nobody holds it.
    Free,
    /// Somebody does; `None`: who does not say, or an older version does.
    Held(Option<Holder>),
}

impl Lock {
    /// Takes the lock of the file at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            // A process that has just been replaced may be on its way out still, and a child of any process holds a copy of
            // its parent's locks between fork and exec.
            if let Some(lock) = Self::try_take(path)? {
                lock.write(&Holder::this_process("", &[]));
                return Ok(lock);
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        let holder = match Self::look(path)? {
            Found::Held(Some(holder)) => holder.named(),
            _ => Named::unknown(),
        };
        Err(StoreError::InUse {
            path: path.to_owned(),
            holder: Box::new(holder),
            plugin: None,
        })
    }

    /// Takes the lock if nobody has it. [`Self::write`] is then to say who does.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let lock = files::beside(path, ".lock");
        let failed = |source| StoreError::io(&lock, "take its lock", source);
        let file = files::place(&lock, Missing::Fail)
            .and_then(|(folder, name)| folder.open(&name, Open::to_write().or_create(0o600), Accepts::File))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Takes the lock anew where its file is at its place no more: whoever comes would make another one. Returns whether it
    /// did.
    pub(super) fn take_back(&mut self, path: &Path) -> Result<bool, StoreError> {
        let lock = files::beside(path, ".lock");
        let failed = |source| StoreError::io(&lock, "look at its lock", source);
        let own = self.file.metadata().map_err(failed)?;
        match lock.symlink_metadata() {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => return Ok(false),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        files::real_path(path)?;
        let Some(new) = Self::try_take(path)? else {
            return Err(StoreError::InUse {
                path: path.to_owned(),
                holder: Box::new(match Self::look(path)? {
                    Found::Held(Some(holder)) => holder.named(),
                    _ => Named::unknown(),
                }),
                plugin: None,
            });
        };
        *self = new;
        warn!(
            "{}: deleted or moved away while kevmon runs; made again",
            lock.display()
        );
        Ok(true)
    }

    /// Says who holds it. On a full disk the lock holds without the name of its holder.
    pub(super) fn write(&self, holder: &Holder) {
        let mut file = &self.file;
        let _: std::io::Result<()> = file
            .rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(holder.text().as_bytes()));
    }

    /// Looks whether somebody holds the lock of the file at `path`, and who, without making anything.
    pub(super) fn look(path: &Path) -> Result<Found, StoreError> {
        let lock = files::beside(path, ".lock");
        let failed = |source| StoreError::io(&lock, "look at its lock", source);
        let opened = files::place(&lock, Missing::Fail)
            .and_then(|(folder, name)| folder.open(&name, Open::to_read(), Accepts::File));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Free),
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = file.unlock();
                Ok(Found::Free)
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it makes the message better, and tells daemons of different plugins apart.
                let read = file.take(MOST_BYTES).read_to_string(&mut text);
                Ok(Found::Held(read.ok().and_then(|_| Holder::parse(&text))))
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let scratch = Scratch::new();
        let path = scratch.store();
        let lock = Lock::try_take(&path).expect("taken").expect("nobody has it");
        // As a child between fork and exec has one.
        let copy = lock.file.try_clone().expect("a copy");
        assert!(matches!(Lock::look(&path), Ok(Found::Held(_))));
        drop(lock);
        assert!(matches!(Lock::look(&path), Ok(Found::Free)));
        drop(copy);
    }
}
