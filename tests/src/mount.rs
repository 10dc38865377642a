//! A directory that nobody may write to, root included.

use std::{
    ffi::CString,
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
        let Ok(path) = CString::new(self.0.as_os_str().as_bytes()) else {
            return;
        };
        // SAFETY: the path is NUL-terminated; it was mounted by `over`.
        if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("left mounted: {}: {error}", self.0.display());
        }
    }
}
