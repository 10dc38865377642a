//! Paths of cgroups by id. The kernel side tells each cgroup as it is made; what was there before is asked for by id
//! (open_by_handle_at(2)), which finds it wherever it is in the tree, and only while it exists.

use std::{
    collections::HashMap,
    fs,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FsWord, Mode, OFlags};

/// Where systemd mounts the unified hierarchy, alone or beside those of version 1 (systemd, src/basic/cgroup-util.c).
const MOUNTS: [(&str, Layout); 2] = [
    ("/sys/fs/cgroup", Layout::Unified),
    ("/sys/fs/cgroup/unified", Layout::Hybrid),
];
/// `CGROUP2_SUPER_MAGIC` (include/uapi/linux/magic.h).
const CGROUP2: FsWord = 0x6367_7270;
/// Inode of the initial cgroup namespace (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;
/// `FILEID_KERNFS` (include/linux/exportfs.h, 5.5 and newer): a handle that is the id.
const FILEID_KERNFS: i32 = 0xfe;
/// Paths kept at least, of those used last; at most twice as many.
const KEPT: usize = 4096;

/// How cgroup hierarchies are mounted on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The unified one holds everything.
    Unified,
    /// Units are systemd's own hierarchy's, and a process in the root of the unified one may be anywhere there.
    Hybrid,
}

#[derive(Debug)]
struct Mount {
    path: PathBuf,
    directory: OwnedFd,
    layout: Layout,
}

/// The paths of cgroups that are known, by id.
#[derive(Debug, Default)]
pub struct Cgroups {
    /// The unified hierarchy; `None` where it is not found, so that no id can be looked up.
    mount: Option<Mount>,
    recent: HashMap<u64, Arc<str>>,
    older: HashMap<u64, Arc<str>>,
}

impl Cgroups {
    /// The cgroups of this host. Finds none where the unified hierarchy is not mounted where systemd has it, or where
    /// kevmon has a cgroup namespace of its own, in which paths are others.
    pub fn new() -> Self {
        let namespace = fs::metadata("/proc/self/ns/cgroup");
        let is_initial = namespace.is_ok_and(|namespace| namespace.ino() == INITIAL_NAMESPACE);
        let mount = MOUNTS
            .iter()
            .find_map(|(path, layout)| Mount::at(Path::new(path), *layout));
        Self {
            mount: mount.filter(|_| is_initial),
            ..Self::default()
        }
    }

    /// A cgroup has been made.
    pub fn made(&mut self, id: u64, path: &str) {
        if self.mount.is_some() && id > 0 && path.starts_with('/') {
            self.keep(id, path.into());
        }
    }

    /// The path from the hierarchy's root; `None` where it is not known, or tells nothing.
    pub fn path(&mut self, id: u64) -> Option<Arc<str>> {
        let mount = self.mount.as_ref()?;
        let path = match self.recent.get(&id) {
            Some(path) => Arc::clone(path),
            None => {
                let known = self.older.remove(&id);
                let path = known.or_else(|| mount.path_of(id).map(Arc::from))?;
                self.keep(id, Arc::clone(&path));
                path
            }
        };
        let layout = self.mount.as_ref()?.layout;
        (layout == Layout::Unified || &*path != "/").then_some(path)
    }

    /// /proc says that a process of the cgroup `id` is at `path`. That is kept, if it is so still.
    pub fn confirm(&mut self, id: u64, path: &str) {
        let Some(mount) = &self.mount else {
            return;
        };
        let found = fs::metadata(mount.path.join(path.trim_start_matches('/')));
        if found.is_ok_and(|found| found.ino() == id) {
            self.keep(id, path.into());
        }
    }

    fn keep(&mut self, id: u64, path: Arc<str>) {
        if self.recent.len() >= KEPT {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id, path);
    }
}

impl Mount {
    fn at(path: &Path, layout: Layout) -> Option<Self> {
        let directory = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let directory = directory.ok()?;
        let kind = rustix::fs::fstatfs(&directory).ok()?.f_type;
        (kind == CGROUP2).then(|| Self {
            path: path.to_owned(),
            directory,
            layout,
        })
    }

    /// `None`: there is none with this id any more, or kevmon lacks CAP_DAC_READ_SEARCH.
    fn path_of(&self, id: u64) -> Option<String> {
        #[repr(C)]
        struct Handle {
            head: [u32; 2],
            id: [u8; 8],
        }
        let mut handle = Handle {
            head: [8, FILEID_KERNFS.cast_unsigned()],
            id: id.to_ne_bytes(),
        };
        // SAFETY: `struct file_handle` is its two numbers and as many bytes as the first of them says; the call reads it.
        let opened = unsafe {
            libc::open_by_handle_at(
                self.directory.as_fd().as_raw_fd(),
                (&raw mut handle).cast(),
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        if opened < 0 {
            return None;
        }
        // SAFETY: just opened, and nobody else's.
        let opened = unsafe { OwnedFd::from_raw_fd(opened) };
        let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        let inside = path.strip_prefix(&self.path).ok()?.to_str()?;
        // Before 6.2 one is found too that has been removed while a zombie is in it.
        (!inside.ends_with(" (deleted)")).then(|| format!("/{inside}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup of this test's own; `None` where it may not make one.
    fn a_cgroup(of: &Cgroups, name: &str) -> Option<(PathBuf, u64)> {
        let path = of
            .mount
            .as_ref()?
            .path
            .join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let id = fs::metadata(&path).unwrap().ino();
        Some((path, id))
    }

    #[test]
    fn ids_are_found_as_long_as_they_exist_and_known_ones_after_that() {
        let mut cgroups = Cgroups::new();
        let Some((path, id)) = a_cgroup(&cgroups, "kevmon-unit") else {
            eprintln!("skipped: no unified hierarchy that this user may write to");
            return;
        };
        let inside = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        assert_eq!(cgroups.path(id).as_deref(), Some(&*inside));
        cgroups.confirm(id, "/elsewhere");
        assert_eq!(cgroups.path(id).as_deref(), Some(&*inside));
        fs::remove_dir(&path).unwrap();
        assert_eq!(
            cgroups.path(id).as_deref(),
            Some(&*inside),
            "it was asked for before"
        );
        assert_eq!(Cgroups::new().path(id), None, "nobody was told in time");
        let mut told = Cgroups::new();
        told.confirm(id, &inside);
        assert_eq!(told.path(id), None, "it is not there");
        told.made(id, &inside);
        assert_eq!(told.path(id).as_deref(), Some(&*inside));
    }

    #[test]
    fn what_is_used_is_kept() {
        let mut cgroups = Cgroups::new();
        if cgroups.mount.is_none() {
            eprintln!("skipped: no unified hierarchy here");
            return;
        }
        let first = 1 << 40;
        for id in first..first + 3 * KEPT as u64 {
            cgroups.made(id, "/a");
            assert!(cgroups.path(first).is_some(), "{id}");
        }
        assert!(cgroups.recent.len() + cgroups.older.len() <= 2 * KEPT);
        assert_eq!(cgroups.path(first + 1), None, "not used");
    }

    #[test]
    fn without_the_hierarchy_nothing_is_known() {
        let mut cgroups = Cgroups::default();
        cgroups.made(7, "/a");
        cgroups.confirm(7, "/a");
        assert_eq!(cgroups.path(7), None);
    }
}
