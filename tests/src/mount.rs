//! Directories that nobody may write to, root included, and such as are soon full.

use std::{
    ffi::CString,
    fs::File,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// A read-only view of a directory, mounted over itself until this goes out of scope.
#[derive(Debug)]
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Lays it over `directory`.
    pub fn over(directory: &Path) -> Self {
        let path = CString::new(directory.as_os_str().as_bytes()).expect("a path without NUL");
        let mount = |flags| {
            // SAFETY: the path is NUL-terminated; a bind mount has neither type nor data.
            let result = unsafe {
                libc::mount(
                    path.as_ptr(),
                    path.as_ptr(),
                    std::ptr::null(),
                    flags,
                    std::ptr::null(),
                )
            };
            assert_eq!(
                result,
                0,
                "missing prerequisite: mount of {}: {}",
                directory.display(),
                std::io::Error::last_os_error()
            );
        };
        mount(libc::MS_BIND);
        let view = Self(directory.to_owned());
        mount(libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY);
        view
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A file system of a few megabytes in memory, mounted over a directory until this goes out of scope.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Lays one of so many bytes over `directory`.
    pub fn over(directory: &Path, bytes: u64) -> Self {
        let path = CString::new(directory.as_os_str().as_bytes()).expect("a path without NUL");
        let size = CString::new(format!("size={bytes}")).expect("digits");
        // SAFETY: all four texts are NUL-terminated and live across the call.
        let result = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                size.as_ptr().cast(),
            )
        };
        assert_eq!(
            result,
            0,
            "missing prerequisite: a tmpfs over {}: {}",
            directory.display(),
            std::io::Error::last_os_error()
        );
        Self(directory.to_owned())
    }

    /// Writes until nothing more goes; returns the file to remove.
    pub fn fill(&self) -> PathBuf {
        let file = self.0.join("filler");
        let mut out = File::create(&file).expect("room for a name");
        for size in [4096, 1] {
            while out.write_all(&[0; 4096][..size]).is_ok() {}
        }
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(directory: &Path) {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else {
        return;
    };
    // SAFETY: the path is NUL-terminated; one of the above was mounted there.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } != 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("left mounted: {}: {error}", directory.display());
    }
}
