//! The place in the BPF file system (bpffs) where programs, ring and maps outlive kevmon.
//!
//! `/sys/fs/bpf/kevmon/<state>/<layout>/` has a file for each map, program and link. `<state>` names the state's database, so that each
//! kevmon has a folder of its own; the lock on it (flock(2)) is held as long as kevmon runs, also where two hosts' containers
//! share one bpffs. `<layout>` is a hash of all that both sides have to agree on: what another kevmon left is removed, never
//! read. A folder gets its name once it is whole; what a kill in between leaves is called `new`, and is removed.
//!
//! bpffs keeps objects alive and nothing else: it is memory, so another boot finds it empty. Whose files are used is decided by the
//! rules for all files ([`crate::files`]). Removing a link's file detaches its program, once kevmon has closed the link as well.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fstat, open, statfs},
    io::Errno,
};
use tracing::debug;

use super::sys;
use crate::files::{self, Accepts, Folder, Missing};

/// Where bpffs is mounted on every distribution (systemd mounts it).
const BPFFS: &str = "/sys/fs/bpf";
/// kevmon's folder in it.
const KEVMON: &str = "kevmon";
/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const MAGIC: u32 = 0xcafe_4a11;
/// A set of pins that is not whole yet.
const NEW: &str = "new";
/// How often the lock on a state's folder is tried.
const TRIES: u32 = 100;
/// The pause between two tries: a child of the previous kevmon may hold a copy of the lock between fork and exec, and another
/// kevmon holds it while it removes what is stale.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// How often the folder is made again where another kevmon removes it meanwhile, as the last one that leaves does.
const REMADE: u32 = 50;

/// Why nothing outlives kevmon.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No BPF file system is mounted at `/sys/fs/bpf`.
    #[error("{BPFFS} is no BPF file system; mount it: mount -t bpf bpf {BPFFS}")]
    NotMounted,
    /// Another kevmon holds the lock on the state's folder.
    #[error("{}: another kevmon uses it", .0.display())]
    InUse(PathBuf),
    /// Another user could have made the file or folder.
    #[error("{0}")]
    Refused(files::Refusal),
    /// The user may not look into the folder.
    #[error("{}: this user may not look there; run the command as root or as kevmon's user", .0.display())]
    Denied(PathBuf),
    /// A system call failed.
    #[error("{}: {source}; let kevmon's user write there ({KEVMON} in {BPFFS}; under systemd, ReadWritePaths={BPFFS})", .path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A pinned object is missing, or is not what this kevmon would have pinned.
    #[error("{}: {what}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl PinError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match files::refusal(&source) {
            Some(refusal) => Self::Refused(refusal.clone()),
            None => Self::System { path, source },
        }
    }

    /// Whether a folder was removed while it was opened.
    fn is_gone(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the error deserves a warning; false where this host merely has no place for pins.
    pub fn is_alarming(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::InUse(_) | Self::Foreign { .. })
    }
}

/// A state's folder in bpffs, locked.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    layout: String,
    /// The lock, held as long as this value lives.
    _lock: OwnedFd,
    /// Whether the pins stay when this value is dropped.
    stays: bool,
}

impl Pins {
    /// The folder of the state called `state`, made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, trusted or locked.
    pub fn open(state: &str, layout: u64) -> Result<Self, PinError> {
        if !is_mounted() {
            return Err(PinError::NotMounted);
        }
        Self::open_below(&Path::new(BPFFS).join(KEVMON), state, layout)
    }

    /// Opens the folder of `state` below `all`, which is kevmon's folder in bpffs, or a test's.
    fn open_below(all: &Path, state: &str, layout: u64) -> Result<Self, PinError> {
        let folder = all.join(state);
        for _ in 1..REMADE {
            match Self::try_open(&folder, layout) {
                Err(error) if error.is_gone() => {}
                tried => return tried,
            }
        }
        Self::try_open(&folder, layout)
    }

    fn try_open(folder: &Path, layout: u64) -> Result<Self, PinError> {
        let (accepted, _) =
            Folder::holding(&folder.join(NEW), Missing::Make(0o700)).map_err(PinError::at(folder))?;
        let folder = accepted.path().to_owned();
        let lock = locked(&folder)?;
        // The one that had the lock may have removed the folder, and a third one made another.
        if !is_at(&lock, &folder) {
            return Err(PinError::at(&folder)(Errno::NOENT.into()));
        }
        Ok(Self {
            folder,
            layout: format!("{layout:016x}"),
            _lock: lock,
            stays: false,
        })
    }

    fn layout(&self) -> PathBuf {
        self.folder.join(&self.layout)
    }

    /// The set that a kevmon with the same layout left; `None` where there is none.
    ///
    /// # Errors
    /// Another user could have changed the set.
    pub fn found(&self) -> Result<Option<Found>, PinError> {
        let path = self.layout();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PinError::at(&path)(error)),
            Ok(_) => {}
        }
        let (folder, _) = Folder::holding(&path.join(NEW), Missing::Fail).map_err(PinError::at(&path))?;
        Ok(Some(Found { folder }))
    }

    /// Whether a kevmon with another layout left something.
    pub fn has_another(&self) -> bool {
        let layout = OsStr::new(&self.layout);
        entries(&self.folder).any(|name| name != layout && name != NEW)
    }

    /// Removes all that is pinned for the state.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn clear(&self) -> Result<(), PinError> {
        clear(&self.folder)
    }

    /// Pins `objects` under their names; all of them, or none.
    ///
    /// # Errors
    /// One of them could not be pinned.
    pub fn pin<'a>(&self, objects: impl Iterator<Item = (String, BorrowedFd<'a>)>) -> Result<(), PinError> {
        let (new, whole) = (self.folder.join(NEW), self.layout());
        let pinned = || -> Result<(), PinError> {
            fs::create_dir(&new).map_err(PinError::at(&new))?;
            for (name, object) in objects {
                let path = new.join(name);
                let error = PinError::at(&path);
                pin(&path, object).map_err(error)?;
            }
            fs::rename(&new, &whole).map_err(PinError::at(&whole))
        };
        pinned().inspect_err(|_| {
            if let Err(error) = self.clear() {
                debug!("{error}");
            }
        })
    }

    /// Sets whether the pins outlive this value.
    pub fn stay(&mut self, stays: bool) {
        self.stays = stays;
    }
}

impl Drop for Pins {
    /// Removes the pins, unless they are to stay or a panic is under way.
    fn drop(&mut self) {
        if self.stays || thread::panicking() {
            return;
        }
        if let Err(error) = self.clear() {
            tracing::warn!("{error}; its programs end with the time that they were given");
            return;
        }
        // The folders above are for others, too.
        let _ = fs::remove_dir(&self.folder);
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

/// A complete set of pins that an earlier kevmon left.
#[derive(Debug)]
pub struct Found {
    folder: Folder,
}

impl Found {
    /// The folder of the set.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a kill came while the set was made, so that no kevmon can go on from it.
    pub fn is_unfinished(&self) -> bool {
        self.path().file_name() == Some(OsStr::new(NEW))
    }

    /// The path of the object called `name`; `None` where there is none.
    ///
    /// # Errors
    /// Another user could have put the object there.
    pub fn object(&self, name: &str) -> Result<Option<PathBuf>, PinError> {
        let path = self.path().join(name);
        let found = self.folder.check(OsStr::new(name), Accepts::File);
        Ok(found.map_err(PinError::at(&path))?.map(|_| path))
    }

    /// The path of an object that has to exist.
    ///
    /// # Errors
    /// The object is missing, or another user could have put it there.
    pub fn open(&self, name: &str) -> Result<OwnedFd, PinError> {
        let Some(path) = self.object(name)? else {
            return Err(self.foreign(format!("{name} is missing")));
        };
        let text =
            CString::new(path.as_os_str().as_bytes()).map_err(|error| self.foreign(error.to_string()))?;
        sys::open_pinned(&text).map_err(PinError::at(&path))
    }

    /// The error that says `what` is wrong with the set.
    pub fn foreign(&self, what: String) -> PinError {
        PinError::Foreign {
            path: self.path().to_owned(),
            what,
        }
    }
}

fn is_mounted() -> bool {
    statfs(BPFFS).is_ok_and(|of| of.f_type as u32 == MAGIC)
}

/// Whether the folder that is open is the one that lies at `path`.
fn is_at(open: &OwnedFd, path: &Path) -> bool {
    let at = fs::symlink_metadata(path);
    let same =
        |at: fs::Metadata| fstat(open).is_ok_and(|open| (at.dev(), at.ino()) == (open.st_dev, open.st_ino));
    at.is_ok_and(same)
}

fn pin(path: &Path, object: BorrowedFd<'_>) -> io::Result<()> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    sys::pin(&text, object)
}

fn locked(folder: &Path) -> Result<OwnedFd, PinError> {
    for _ in 1..TRIES {
        match try_locked(folder) {
            Err(PinError::InUse(_)) => thread::sleep(BETWEEN_TRIES),
            tried => return tried,
        }
    }
    try_locked(folder)
}

fn try_locked(folder: &Path) -> Result<OwnedFd, PinError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let error = |error: Errno| PinError::at(folder)(error.into());
    let descriptor = open(folder, flags, Mode::empty()).map_err(error)?;
    match flock(descriptor.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(descriptor),
        Err(Errno::WOULDBLOCK) => Err(PinError::InUse(folder.to_owned())),
        Err(errno) => Err(error(errno)),
    }
}

/// The names in a folder; none where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.file_name()))
}

/// Removes everything in a folder of ours.
fn clear(folder: &Path) -> Result<(), PinError> {
    for name in entries(folder) {
        let path = folder.join(name);
        let remove = |path: &Path| match fs::symlink_metadata(path)?.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        };
        if path.is_dir() && !path.is_symlink() {
            for name in entries(&path) {
                let inner = path.join(name);
                remove(&inner).map_err(PinError::at(&inner))?;
            }
        }
        remove(&path).map_err(PinError::at(&path))?;
    }
    Ok(())
}

/// Removes the sets of kevmons that do not run, where `is_over` is true of the set. Sets of a kevmon that runs are locked.
pub fn tidy(is_over: impl Fn(&Found) -> bool) {
    if is_mounted() {
        tidy_below(&Path::new(BPFFS).join(KEVMON), is_over);
    }
}

fn tidy_below(all: &Path, is_over: impl Fn(&Found) -> bool) {
    for name in entries(all) {
        let path = all.join(&name);
        let Ok(lock) = try_locked(&path) else { continue };
        let sets = entries(&path).map(|set| Folder::holding(&path.join(set).join(NEW), Missing::Fail));
        let mut sets = sets.flatten().map(|(folder, _)| Found { folder }).peekable();
        // An empty folder may be about to be used.
        let is_stale = sets.peek().is_some() && sets.all(|found| found.is_unfinished() || is_over(&found));
        if !is_stale || !is_at(&lock, &path) {
            continue;
        }
        match clear(&path).and_then(|()| fs::remove_dir(&path).map_err(PinError::at(&path))) {
            Ok(()) => debug!(
                "{}: removed, as its kevmon did not come back in time",
                path.display()
            ),
            Err(error) => debug!("{error}"),
        }
    }
    // Fails where another state has a folder.
    let _ = fs::remove_dir(all);
}

/// Removes all pins of the state called `state`. Returns whether there were any.
///
/// # Errors
/// A kevmon uses the pins, they cannot be removed, or this user cannot know whether there are any.
pub fn remove(state: &str) -> Result<bool, PinError> {
    let folder = Path::new(BPFFS).join(KEVMON).join(state);
    match fs::metadata(&folder) {
        Ok(found) if found.is_dir() => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(PinError::Denied(folder));
        }
        _ => return Ok(false),
    }
    let pins = Pins::open(state, 0)?;
    let found = entries(&pins.folder).next().is_some();
    drop(pins);
    Ok(found)
}

/// What of a state is pinned in bpffs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing is pinned.
    Nothing,
    /// A running kevmon uses what is pinned.
    InUse,
    /// Something is pinned, left by a kevmon that has ended.
    Alone,
}

/// What is pinned of the state called `state`; changes nothing.
///
/// # Errors
/// The folder cannot be opened.
pub fn left(state: &str) -> Result<Left, PinError> {
    let folder = Path::new(BPFFS).join(KEVMON).join(state);
    if !folder.is_dir() {
        return Ok(Left::Nothing);
    }
    match try_locked(&folder) {
        Err(PinError::InUse(_)) => Ok(Left::InUse),
        Err(error) => Err(error),
        Ok(_) if entries(&folder).next().is_none() => Ok(Left::Nothing),
        Ok(_) => Ok(Left::Alone),
    }
}

/// The name of a state's folder in bpffs: a hash of the database's folder (device and inode) and file name, so that a database
/// that is written again keeps the name.
///
/// # Errors
/// The database's folder cannot be looked at.
pub fn state_name(database: &Path) -> io::Result<String> {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else {
        return Err(Errno::ISDIR.into());
    };
    let folder = File::open(if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    })?;
    let folder = folder.metadata()?;
    let mut hash = Fnv::new();
    hash.add(&folder.dev().to_ne_bytes());
    hash.add(&folder.ino().to_ne_bytes());
    hash.add(name.as_bytes());
    Ok(format!("{:016x}", hash.0))
}

/// FNV-1a with 64 bits. Good enough for names; not for secrets.
pub struct Fnv(pub u64);

impl Fnv {
    /// The hash of no bytes.
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds `bytes` to what is hashed.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
