//! A listening socket in a folder: bound below the folder's descriptor, with the mode that it keeps from its first moment.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
};

use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, chmodat, chownat, fchmod, flock, openat,
        unlinkat,
    },
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

use super::{Folder, Missing, owners::Reach, refuse};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A name at which this process listens, until it goes out of scope.
#[derive(Debug)]
pub struct Socket {
    folder: Folder,
    name: OsString,
    /// Device and inode: a name that another process has taken since is left alone.
    identity: (u64, u64),
}

impl Socket {
    /// Listens at `path`, whose folder is made where it is missing. Its owner alone may connect.
    ///
    /// # Errors
    /// `AddrInUse`: another process listens there. A [`super::Refusal`], or what the system said.
    pub fn listen(path: &std::path::Path) -> io::Result<(Self, UnixListener)> {
        let (folder, name) = Folder::holding(path, Missing::Make(0o755))?;
        if folder.step().reach != Reach::Private {
            return Err(refuse(
                folder.path(),
                "others can make files in this folder, and a socket needs one that nobody else can write",
                "name a folder of kevmon's own",
            ));
        }
        // Two that start at once must not both find the other's socket dead.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = openat(&folder.step().descriptor, ".", flags, Mode::empty())?;
        flock(&own, FlockOperation::LockExclusive)?;
        let place = place(&folder, &name);
        if let Some(stat) = folder.look(&name)? {
            let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
            if !is_socket || UnixStream::connect(&place).is_ok() {
                return Err(Errno::ADDRINUSE.into());
            }
            unlinkat(&folder.step().descriptor, &name, AtFlags::empty())?;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The socket's file gets this mode (net/unix/af_unix.c, unix_bind_bsd).
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(&place)?)?;
        listen(&socket, BACKLOG)?;
        let stat = folder.look(&name)?.ok_or(Errno::NOENT)?;
        let identity = (stat.st_dev, stat.st_ino);
        let listening = Self {
            folder,
            name,
            identity,
        };
        Ok((listening, socket.into()))
    }

    /// Lets the members of the group connect too.
    ///
    /// # Errors
    /// This process may not give it to the group (chown(2)), and its owner alone may connect.
    pub fn share_with(&self, group: u32) -> io::Result<()> {
        let folder = self.folder.step().descriptor.as_fd();
        let stat = self.folder.look(&self.name)?.ok_or(Errno::NOENT)?;
        // A filter of system calls, such as the shipped unit's, may refuse chown(2) even where it changes nothing.
        if stat.st_gid != group {
            let group = Some(Gid::from_raw(group));
            chownat(folder, &self.name, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
        Ok(chmodat(folder, &self.name, mode, AtFlags::empty())?)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let found = self.folder.look(&self.name).ok().flatten();
        if found.is_some_and(|stat| (stat.st_dev, stat.st_ino) == self.identity) {
            // Nobody listens there any more; the next kevmon removes what is left.
            let folder = &self.folder.step().descriptor;
            let _: rustix::io::Result<()> = unlinkat(folder, &self.name, AtFlags::empty());
        }
    }
}

/// The name below the folder's descriptor: nobody leads it elsewhere, and it is short enough for an address (unix(7): 108 bytes),
/// however long the folder's path is.
fn place(folder: &Folder, name: &OsStr) -> PathBuf {
    let descriptor = folder.step().descriptor.as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{descriptor}")).join(name)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn a_name_is_taken_from_nobody_who_listens() {
        let folder = std::env::temp_dir().join(format!("kevmon-socket-{}", std::process::id()));
        let path = folder.join("x".repeat(80)).join("kevmon.sock");
        let (own, _listener) = Socket::listen(&path).unwrap();
        assert_eq!(own.path(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = Socket::listen(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // One that was killed leaves its name.
        let (dead, listener) = Socket::listen(&folder.join("dead.sock")).unwrap();
        drop(listener);
        std::mem::forget(dead);
        let (next, _listener) = Socket::listen(&folder.join("dead.sock")).unwrap();
        drop(next);
        assert!(!folder.join("dead.sock").exists());
        for name in ["file.sock", "link.sock"] {
            match name {
                "file.sock" => fs::write(folder.join(name), "").unwrap(),
                _ => symlink(&path, folder.join(name)).unwrap(),
            }
            let refused = Socket::listen(&folder.join(name)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{name}");
            assert!(folder.join(name).symlink_metadata().is_ok(), "{name}");
        }
        drop(own);
        assert!(!path.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
