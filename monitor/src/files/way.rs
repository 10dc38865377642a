//! The way to a file: its folders, one descriptor at a time.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, mkdirat, openat, readlinkat,
    },
    io::Errno,
};

use super::{Accepts, Folder, Open, Owners, owners::Reach, refuse};

/// path_resolution(7) follows 40 links at most.
const LINKS: u32 = 40;

/// What becomes of folders on the way that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: there is no way then.
    Fail,
    /// They are made, with this mode.
    Make(u32),
}

/// A folder on the way, accepted.
pub(super) struct Step {
    pub(super) descriptor: OwnedFd,
    /// Absolute, without links.
    pub(super) path: PathBuf,
    pub(super) reach: Reach,
}

/// What a name leads to.
enum Found {
    Folder(OwnedFd),
    /// A link and its target.
    Link(Stat, PathBuf),
}

/// Walks to the folder `path`.
///
/// # Errors
/// A [`super::Refusal`], or what the system said.
pub(super) fn walk(path: &Path, missing: Missing, owners: &Owners) -> io::Result<Step> {
    let absolute = std::path::absolute(path)?;
    let mut steps = Vec::new();
    let mut links = 0;
    // Backwards: the next name is the last one.
    let mut names = components(&absolute);
    while let Some(name) = names.pop() {
        match name.as_encoded_bytes() {
            b"/" => steps = vec![root(owners)?],
            b".." if steps.len() > 1 => drop(steps.pop()),
            b".." => {}
            _ => {
                let Some(above) = steps.last() else {
                    return Err(Errno::NOENT.into());
                };
                match look(above, &name, missing)? {
                    Found::Folder(descriptor) => {
                        let path = above.path.join(&name);
                        steps.push(accepted(descriptor, path, owners)?);
                    }
                    Found::Link(stat, target) => {
                        links += 1;
                        if links > LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        expect_link(above.reach, &above.path.join(&name), &stat, owners)?;
                        names.extend(components(&target));
                    }
                }
            }
        }
    }
    steps.pop().ok_or_else(|| Errno::NOENT.into())
}

/// The names in `path`, the last one first; `/` for the root.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|part| *part != Component::CurDir);
    names.map(|part| part.as_os_str().to_owned()).rev().collect()
}

fn root(owners: &Owners) -> io::Result<Step> {
    accepted(open_folder(CWD, OsStr::new("/"))?, PathBuf::from("/"), owners)
}

/// `O_DIRECTORY` has the kernel mount what an automount point stands for; `O_PATH` alone does not (open(2)).
fn open_folder(above: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty())
}

fn look(above: &Step, name: &OsStr, missing: Missing) -> io::Result<Found> {
    let folder = above.descriptor.as_fd();
    let opened = match (open_folder(folder, name), missing) {
        (Err(Errno::NOENT), Missing::Make(mode)) => {
            match mkdirat(folder, name, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            open_folder(folder, name)
        }
        (opened, _) => opened,
    };
    match opened {
        Ok(descriptor) => Ok(Found::Folder(descriptor)),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(folder, name, flags, Mode::empty())?;
            let stat = fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Err(Errno::NOTDIR.into());
            }
            Ok(Found::Link(stat, target(file.as_fd(), OsStr::new(""))?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a link leads.
fn target(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<PathBuf> {
    let target = readlinkat(folder, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

fn accepted(descriptor: OwnedFd, path: PathBuf, owners: &Owners) -> io::Result<Step> {
    let stat = fstat(&descriptor)?;
    let reach = match owners.reach(&path, stat.st_uid, stat.st_gid, stat.st_mode) {
        Ok(reach) => reach,
        Err(_) if owners.has(stat.st_uid) && is_read_only(descriptor.as_fd()) => Reach::Private,
        Err(other) => {
            let message = format!("the folder {}", other.message);
            let remedy = format!(
                "{} {}, or name a file in a folder that nobody else can write",
                other.command,
                path.display()
            );
            return Err(refuse(&path, message, remedy));
        }
    };
    Ok(Step {
        descriptor,
        path,
        reach,
    })
}

/// A mounted ConfigMap has mode 0777, and nobody can write it.
pub(super) fn is_read_only(descriptor: BorrowedFd<'_>) -> bool {
    fstatvfs(descriptor).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Makes sure that the link `path`, in a folder of this reach, was made by us.
fn expect_link(reach: Reach, path: &Path, stat: &Stat, owners: &Owners) -> io::Result<()> {
    if reach == Reach::Private && owners.has(stat.st_uid) {
        return Ok(());
    }
    let message = if reach == Reach::Private {
        format!(
            "this link belongs to user {}, who could lead kevmon to any file",
            stat.st_uid
        )
    } else {
        "this link stands in a folder that others can write, and could lead kevmon to any file".to_owned()
    };
    let remedy = format!("rm {}, or name the file itself", path.display());
    Err(refuse(path, message, remedy))
}

/// Opens a file that kevmon only reads: a regular one. A link in the last place is followed where one on the way would be.
///
/// # Errors
/// A [`super::Refusal`], or what the system said.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let (folder, name) = Folder::holding(&path, Missing::Fail)?;
        let is_link = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        match folder.look(&name)?.filter(is_link) {
            None => return folder.open(&name, Open::to_read(), Accepts::File),
            Some(stat) => {
                let here = folder.step();
                expect_link(here.reach, &folder.path().join(&name), &stat, folder.owners())?;
                path = folder.path().join(target(here.descriptor.as_fd(), &name)?);
            }
        }
    }
    Err(Errno::LOOP.into())
}
