//! The lock that keeps two daemons out of one store. It lies beside the database, because the database itself may be
//! moved aside while the lock is held, and because SQLite's own locks last for a transaction only.

use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use super::{error::StoreError, files};

const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Held until it is dropped, or the process ends in whatever way (flock(2)).
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let lock = files::beside(path, ".lock");
        let doing = "take its lock";
        let failed = |source| StoreError::io(&lock, doing, source);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&lock)
            .map_err(failed)?;
        match Self::patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it makes the message better, no more than that.
                let holder = (&file).take(16).read_to_string(&mut text);
                return Err(StoreError::InUse {
                    path: path.to_owned(),
                    holder: holder.ok().and_then(|_| text.trim().parse().ok()),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // On a full disk the lock holds without the name of its holder.
        let _: Result<(), std::io::Error> = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// A process that has just been replaced may be on its way out still, and a child of any process holds a copy of its
    /// parent's locks between fork and exec.
    fn patiently(file: &File) -> Result<(), TryLockError> {
        for _ in 0..TRIES {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                result => return result,
            }
        }
        file.try_lock()
    }
}
