//! Temporary directories on a disk-backed file system: the kernel accounts written bytes only where
//! there is a disk, so a tmpfs would make the write tests pass on zeros.

use std::{
    ffi::CString,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Where the temporary directories go, unless `KEVMON_TEST_DIR` says otherwise.
const DEFAULT_ROOT: &str = "/var/tmp";

// linux/magic.h
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// A directory that is removed when it goes out of scope.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new empty directory; panics where the file system has no disk behind it.
    pub fn new() -> Self {
        let root =
            std::env::var_os("KEVMON_TEST_DIR").map_or_else(|| PathBuf::from(DEFAULT_ROOT), PathBuf::from);
        assert_disk_backed(&root);
        let path = root.join(format!("kevmon-tests-{}", unique()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("left behind: {}: {error}", self.path.display());
        }
    }
}

/// A short text that no other name of this boot carries, fit for process names and patterns.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn assert_disk_backed(path: &Path) {
    let c_path = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
    let mut stats = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is NUL-terminated and `stats` is large enough for the answer.
    let result = unsafe { libc::statfs(c_path.as_ptr(), stats.as_mut_ptr()) };
    assert_eq!(
        result,
        0,
        "missing prerequisite: {}: {}",
        path.display(),
        std::io::Error::last_os_error()
    );
    // SAFETY: all zeros is a valid statfs, and statfs(2) has filled it in.
    let stats = unsafe { stats.assume_init() };
    assert!(
        stats.f_type != TMPFS_MAGIC && stats.f_type != RAMFS_MAGIC,
        "missing prerequisite: {} is on a memory file system, where no written byte is accounted; \
         set KEVMON_TEST_DIR to a directory on a disk",
        path.display()
    );
}
