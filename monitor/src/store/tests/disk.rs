//! Disks that are full or read-only: real ones, small, in a mount namespace of the test's own.

use std::{
    ffi::CString,
    fs,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
};

use super::{
    Content, NOW, Random, Scratch, assert_groups, content, count, dump, files, filled, fixtures::ORIGINALS,
    key, open, refused,
};
use crate::store::{Commit, StoreError};

/// A tmpfs that only the thread of [`Disk::with`] sees; it goes with the thread, however that ends.
pub(super) struct Disk(pub(super) PathBuf);

impl Disk {
    /// Runs `test`, a closure of the test itself, on a disk of so many KiB. Without root, the whole test runs again in a
    /// process that is root in a user namespace of its own.
    pub(super) fn with<T: FnOnce(&Disk) + Send>(kibibytes: u32, test: T) {
        if !rustix::process::geteuid().is_root() {
            return in_user_namespace(test_of::<T>());
        }
        let scratch = Scratch::new();
        let run = || {
            // SAFETY: takes no pointers; it gives this thread alone a mount namespace (unshare(2)).
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
            let error = std::io::Error::last_os_error();
            assert_eq!(
                unshared, 0,
                "this test mounts a small tmpfs; run it as root (CAP_SYS_ADMIN): {error}"
            );
            mount("none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "");
            let disk = Disk(scratch.0.clone());
            mount(
                "tmpfs",
                &disk.0,
                Some("tmpfs"),
                0,
                &format!("mode=700,size={kibibytes}k"),
            );
            test(&disk);
        };
        std::thread::scope(|scope| {
            if let Err(panic) = scope.spawn(run).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    pub(super) fn store(&self) -> PathBuf {
        self.0.join("kevmon.db")
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        for size in [65_536, 4_096, 1] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    pub(super) fn read_only(&self, read_only: bool) {
        let flag = if read_only { libc::MS_RDONLY } else { 0 };
        mount("none", &self.0, None, libc::MS_REMOUNT | flag, "");
    }
}

/// The test that a closure is of, as the test program calls it.
fn test_of<T>() -> &'static str {
    // `kevmon::store::tests::disk::a_read_only_disk::{{closure}}`
    let name = std::any::type_name::<T>();
    let name = name.split("::{{closure}}").next().unwrap_or(name);
    name.split_once("::").map_or(name, |(_, name)| name)
}

/// Runs one test of this program as root of a user namespace (user_namespaces(7)).
fn in_user_namespace(test: &str) {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(program)
        .args(["--exact", "--nocapture", test])
        .output()
        .expect("unshare(1) of util-linux");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        !said[1].starts_with("unshare:"),
        "this test mounts a small tmpfs: it needs root, or user namespaces for everybody (sysctl \
         kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0): {}",
        said[1]
    );
    assert!(
        output.status.success() && said[0].contains("test result: ok. 1 passed"),
        "{test} in a user namespace:\n{}\n{}",
        said[0],
        said[1]
    );
}

pub(super) fn mount(source: &str, target: &Path, kind: Option<&str>, flags: libc::c_ulong, data: &str) {
    let [source, data] = [source, data].map(|text| CString::new(text).unwrap());
    let target = CString::new(target.as_os_str().as_bytes()).unwrap();
    let kind = kind.map(|kind| CString::new(kind).unwrap());
    let kind = kind.as_ref().map_or(ptr::null(), |kind| kind.as_ptr());
    let mount = || {
        // SAFETY: all are NUL-terminated strings that outlive the call, or null where mount(2) allows it.
        let mounted = unsafe {
            libc::mount(
                source.as_ptr(),
                target.as_ptr(),
                kind,
                flags,
                data.as_ptr().cast(),
            )
        };
        (mounted, std::io::Error::last_os_error())
    };
    let (mut mounted, mut error) = mount();
    // Until it executes, a process that another test starts has this one's files open.
    for _ in 0..500 {
        if mounted == 0 || error.raw_os_error() != Some(libc::EBUSY) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        (mounted, error) = mount();
    }
    assert_eq!(
        mounted, 0,
        "this test mounts a small tmpfs; run it as root (CAP_SYS_ADMIN): {error}"
    );
}

#[test]
fn a_commit_on_a_full_disk_is_made_up_for() {
    Disk::with(2_048, |disk| {
        let groups = filled(&disk.store());
        let mut store = open(&disk.store());
        disk.fill();
        let late = (key("late"), Random(2).group(200));
        for _ in 0..3 {
            let commit = Commit {
                time: NOW,
                groups: vec![late.clone()],
                ..Commit::default()
            };
            let error = store.commit(commit).unwrap_err();
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert!(store.connection.is_autocommit());
        }
        assert_groups(&store, &groups);
        disk.free();
        store.commit(Commit::default()).unwrap();
        drop(store);
        let mut expected = groups;
        expected.push(late);
        assert_groups(&open(&disk.store()), &expected);
    });
}

#[test]
fn a_crash_on_a_full_disk_loses_nothing_committed() {
    Disk::with(2_048, |disk| {
        let groups = filled(&disk.store());
        let mut store = open(&disk.store());
        disk.fill();
        store
            .commit(Commit {
                time: NOW,
                groups: vec![(key("late"), Random(2).group(200))],
                ..Commit::default()
            })
            .unwrap_err();
        // As the disk is at this moment, and as it would be found after a crash.
        let copy = Scratch::new();
        for (path, Content(content)) in files(&disk.0) {
            if !path.ends_with("ballast") {
                fs::write(copy.0.join(path.file_name().unwrap()), content).unwrap();
            }
        }
        assert_groups(&open(&copy.store()), &groups);
    });
}

#[test]
fn opening_on_a_full_disk() {
    Disk::with(1_024, |disk| {
        disk.fill();
        let error = refused(&disk.store());
        assert!(matches!(error, StoreError::Full { .. }), "a new one: {error}");
        disk.free();
        let groups = filled(&disk.store());
        disk.fill();
        match crate::store::Store::open(&disk.store(), super::BOOT, NOW) {
            crate::store::Opened::Ready(store) => assert_groups(&store, &groups),
            crate::store::Opened::Without { reason } => {
                assert!(matches!(reason, StoreError::Full { .. }), "an old one: {reason}");
            }
        }
        disk.free();
        assert_groups(&open(&disk.store()), &groups);
    });
}

#[test]
fn a_migration_on_a_full_disk() {
    for fixture in &ORIGINALS {
        Disk::with(1_024, |disk| {
            fixture.create(&disk.store());
            let (before, rows) = (content(&disk.store()), dump(&disk.store()));
            // At every size of what is left, from nothing on, the migration is whole or has not been.
            disk.fill();
            let ballast = fs::OpenOptions::new()
                .write(true)
                .open(disk.0.join("ballast"))
                .unwrap();
            let mut free = 0;
            loop {
                match crate::store::Store::open(&disk.store(), super::BOOT, NOW) {
                    crate::store::Opened::Ready(_) => break,
                    crate::store::Opened::Without { reason } => {
                        assert!(
                            matches!(reason, StoreError::Full { .. }),
                            "{}, {free} bytes: {reason}",
                            fixture.name
                        );
                        let whole = content(&disk.store()) == before
                            || count(&disk.store(), "SELECT count(*) FROM metric") == 9;
                        assert!(whole, "{}, {free} bytes: {reason}", fixture.name);
                    }
                }
                free += 4_096;
                assert!(free < 900_000, "{}: no room is enough", fixture.name);
                let length = ballast.metadata().unwrap().len();
                ballast.set_len(length - 4_096).unwrap();
            }
            assert!(free > 0, "{}", fixture.name);
            let copy = disk.0.join(format!("kevmon.db.schema-{}.bak", fixture.version));
            assert_eq!(dump(&copy), rows, "{}", fixture.name);
        });
    }
}

#[test]
fn a_damaged_one_on_a_full_disk() {
    Disk::with(1_024, |disk| {
        fs::write(disk.store(), vec![7; 10_000]).unwrap();
        disk.fill();
        let error = refused(&disk.store());
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        let kept = disk.0.join("kevmon.db.corrupt-1795231579");
        assert_eq!(content(&kept), Content(vec![7; 10_000]));
        disk.free();
        assert_eq!(open(&disk.store()).groups().len(), 0);
    });
}

#[test]
fn a_read_only_disk() {
    Disk::with(1_024, |disk| {
        let groups = filled(&disk.store());
        let damaged = disk.0.join("damaged.db");
        fs::write(&damaged, "damaged").unwrap();
        disk.read_only(true);
        let before = files(&disk.0);
        for path in [
            disk.store(),
            damaged.clone(),
            disk.0.join("new.db"),
            disk.0.join("new/new.db"),
        ] {
            let error = refused(&path);
            assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
            assert!(error.to_string().contains("--metadata-db-path"), "{error}");
        }
        assert_eq!(files(&disk.0), before);
        disk.read_only(false);
        assert_groups(&open(&disk.store()), &groups);
    });
}

/// SQLite would open it for reading, and each commit would fail.
#[test]
fn a_read_only_file() {
    Disk::with(1_024, |disk| {
        let groups = filled(&disk.store());
        let path = disk.store();
        let source = path.to_str().unwrap();
        mount(source, &path, None, libc::MS_BIND, "");
        mount(
            "none",
            &path,
            None,
            libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY,
            "",
        );
        let error = refused(&path);
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        mount("none", &path, None, libc::MS_BIND | libc::MS_REMOUNT, "");
        assert_groups(&open(&path), &groups);
    });
}
