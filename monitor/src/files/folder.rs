//! A folder whose way was walked and accepted. Everything is done below its descriptor.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fstat, fsync, openat, renameat, renameat_with,
        statat, unlinkat,
    },
    io::Errno,
};

use super::{
    Missing, Owners,
    owners::Reach,
    refuse,
    way::{Step, is_read_only, walk},
};

/// How often a file that comes and goes is tried.
const TRIES: u32 = 8;

/// What may lie at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// A regular file.
    File,
    /// Also a FIFO or a character device: what is written there is not read again.
    Stream,
}

/// How a file is opened. It is never followed as a link, and never becomes the controlling terminal.
#[derive(Debug, Clone, Copy)]
pub struct Open {
    flags: OFlags,
    create: Option<u32>,
}

impl Open {
    /// For reading.
    pub fn to_read() -> Self {
        Self::with(OFlags::RDONLY)
    }

    /// For reading and writing.
    pub fn to_write() -> Self {
        Self::with(OFlags::RDWR)
    }

    /// For writing at its end.
    pub fn to_append() -> Self {
        Self::with(OFlags::WRONLY | OFlags::APPEND)
    }

    /// For writing at its end, and for reading. To open a FIFO so never waits (fifo(7)).
    pub fn to_read_and_append() -> Self {
        Self::with(OFlags::RDWR | OFlags::APPEND)
    }

    fn with(access: OFlags) -> Self {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Self {
            flags: access | flags,
            create: None,
        }
    }

    /// Makes it, with this mode, where there is none.
    #[must_use]
    pub fn or_create(self, mode: u32) -> Self {
        Self {
            create: Some(mode),
            ..self
        }
    }

    /// Writing to a FIFO waits for room in it.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self {
            flags: self.flags.difference(OFlags::NONBLOCK),
            ..self
        }
    }
}

/// A folder that nobody else can replace.
#[derive(Debug)]
pub struct Folder {
    step: Step,
    owners: Owners,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Step").field(&self.path).finish()
    }
}

impl Folder {
    /// The folder that holds the file `path`, and the file's name in it.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn holding(path: &Path, missing: Missing) -> io::Result<(Self, OsString)> {
        Self::holding_for(path, missing, Owners::of_this_process())
    }

    pub(super) fn holding_for(path: &Path, missing: Missing, owners: Owners) -> io::Result<(Self, OsString)> {
        let Some(name) = path.file_name() else {
            return Err(Errno::ISDIR.into());
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let step = walk(parent.unwrap_or(Path::new(".")), missing, &owners)?;
        Ok((Self { step, owners }, name.to_owned()))
    }

    /// Its absolute path, without links. Nobody else can make it lead elsewhere.
    pub fn path(&self) -> &Path {
        &self.step.path
    }

    pub(super) fn step(&self) -> &Step {
        &self.step
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    fn at(&self, name: &OsStr) -> PathBuf {
        self.step.path.join(name)
    }

    /// Makes sure that nobody else makes names in it: what opens files by itself, such as SQLite, does not check them.
    ///
    /// # Errors
    /// A [`super::Refusal`].
    pub fn expect_private(&self) -> io::Result<()> {
        if self.step.reach == Reach::Private {
            return Ok(());
        }
        let own = self.at(OsStr::new("kevmon"));
        Err(refuse(
            &self.step.path,
            "others can make files in this folder, and a database needs one that nobody else can write",
            format!(
                "name a file in a folder of its own, such as {}/, which kevmon makes",
                own.display()
            ),
        ))
    }

    /// What lies at `name`, links themselves; `None` for nothing.
    ///
    /// # Errors
    /// What the system said.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match statat(&self.step.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, if it may be used.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn check(&self, name: &OsStr, accepts: Accepts) -> io::Result<Option<Stat>> {
        let found = self.look(name)?;
        if let Some(stat) = &found {
            self.accept(name, stat, accepts, false)?;
        }
        Ok(found)
    }

    fn accept(&self, name: &OsStr, stat: &Stat, accepts: Accepts, is_read_only: bool) -> io::Result<()> {
        let path = self.at(name);
        let shown = path.display();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let what = match kind {
            FileType::RegularFile => None,
            FileType::Fifo | FileType::CharacterDevice if accepts == Accepts::Stream => None,
            FileType::Symlink => Some("it is a link, which could lead kevmon to another file"),
            FileType::Directory => Some("it is a folder"),
            FileType::Fifo => Some("it is a FIFO, not a regular file"),
            FileType::Socket => Some("it is a socket, not a regular file"),
            _ => Some("it is a device, not a regular file"),
        };
        if let Some(what) = what {
            let remedy = match kind {
                FileType::Symlink => format!("rm {shown}, or name the file itself"),
                FileType::Directory => "name a file in it".to_owned(),
                // A device may be the host's own.
                FileType::CharacterDevice | FileType::BlockDevice => "name another file".to_owned(),
                _ => format!("rm {shown}, or name another file"),
            };
            return Err(refuse(&path, what, remedy));
        }
        // What is written to a device is not in its node, which others may write (/dev/null).
        let mode = if kind == FileType::CharacterDevice {
            0
        } else {
            stat.st_mode
        };
        let other = self.owners.other(stat.st_uid, stat.st_gid, mode);
        if let Some(other) = other.filter(|_| !(is_read_only && self.owners.has(stat.st_uid))) {
            let remedy = format!("{} {shown}", other.command);
            return Err(refuse(&path, other.message, remedy));
        }
        if self.step.reach == Reach::Shared && kind == FileType::RegularFile && stat.st_nlink > 1 {
            let message = "it has further hard links, and others can make names in its folder";
            return Err(refuse(
                &path,
                message,
                format!("rm {shown}, or name another file"),
            ));
        }
        Ok(())
    }

    /// Opens the file `name`.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn open(&self, name: &OsStr, how: Open, accepts: Accepts) -> io::Result<File> {
        for _ in 0..TRIES {
            match self.look(name)? {
                // To open a device may do something, and so may to open a FIFO. To open a file does nothing.
                Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                    self.accept(name, &stat, accepts, false)?;
                }
                Some(_) => {}
                None => match how.create {
                    Some(mode) => match self.create_new(name, how.flags, mode) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        made => return made,
                    },
                    None => return Err(Errno::NOENT.into()),
                },
            }
            let file = match openat(&self.step.descriptor, name, how.flags, Mode::empty()) {
                Ok(file) => file,
                // It has gone since, or a link has taken its place.
                Err(Errno::NOENT | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            };
            let read_only = is_read_only(file.as_fd());
            self.accept(name, &fstat(&file)?, accepts, read_only)?;
            return Ok(file.into());
        }
        Err(Errno::AGAIN.into())
    }

    fn create_new(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL;
        let file = openat(&self.step.descriptor, name, flags, Mode::from_raw_mode(mode))?;
        Ok(file.into())
    }

    /// Makes an empty file that only its owner may read, for reading and writing.
    ///
    /// # Errors
    /// There is something at `name`, or what the system said.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        self.create_new(name, Open::to_write().flags, 0o600)
    }

    /// Renames a file that may be used, never onto something that is there.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.expect(from)?;
        let folder = &self.step.descriptor;
        match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag.
            Err(Errno::INVAL | Errno::NOSYS) if self.look(to)?.is_none() => {
                Ok(renameat(folder, from, folder, to)?)
            }
            result => Ok(result?),
        }
    }

    /// Renames a file that may be used, in the place of nothing or of another one that may.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        if self.check(to, Accepts::File)?.is_none() {
            return self.rename_new(from, to);
        }
        self.expect(from)?;
        let folder = &self.step.descriptor;
        Ok(renameat(folder, from, folder, to)?)
    }

    fn expect(&self, name: &OsStr) -> io::Result<()> {
        match self.check(name, Accepts::File)? {
            Some(_) => Ok(()),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Removes a file that may be used; true where there was one.
    ///
    /// # Errors
    /// A [`super::Refusal`], or what the system said.
    pub fn remove(&self, name: &OsStr) -> io::Result<bool> {
        if self.check(name, Accepts::File)?.is_none() {
            return Ok(false);
        }
        unlinkat(&self.step.descriptor, name, AtFlags::empty())?;
        Ok(true)
    }

    /// Brings renames to the disk.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.step.descriptor, ".", flags, Mode::empty())?;
        Ok(fsync(folder)?)
    }
}
