//! What a reload looks at first: whether any file that configuration is made of is another one than before, without
//! reading any.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{PluginSources, discover};

/// What tells a file from what it was: device, inode, size in bytes, and when its content and its inode changed (s, ns);
/// `None` where it cannot be looked at.
type Stamp = Option<[i64; 7]>;

/// A second change within this time after the first may leave the same times: they are those of the last tick of the kernel's
/// clock, every 10 ms at most …
const TICK: Duration = Duration::from_millis(20);
/// … or whole seconds: ext3, ext4 with small inodes, old network file systems.
const SECOND: Duration = Duration::from_secs(2);

/// The files and folders that configuration is made of, as they are now.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    files: Vec<(PathBuf, Stamp)>,
    folders: Vec<(PathBuf, Stamp)>,
    /// The host's name: resource filters choose plugins by it.
    host: String,
    /// How many faults the search had: a folder that cannot be listed any more is a change, too.
    faults: usize,
    /// A file had changed so shortly before that another change may look the same.
    is_fresh: bool,
}

impl PartialEq for Survey {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, &self.folders, &self.host, self.faults)
            == (&other.files, &other.folders, &other.host, other.faults)
    }
}

impl Survey {
    /// Looks, at the settings file as well.
    pub fn of(sources: &PluginSources, settings: &Path) -> Self {
        let found = discover::look(&sources.directories, &sources.search_path, |_, _| {
            Ok(String::new())
        });
        let files = found.files.into_iter().map(|(path, _)| path);
        let files: Vec<(PathBuf, Stamp)> = files
            .chain([settings.to_owned()])
            .map(|path| (stamp(&path), path))
            .map(|(stamp, path)| (path, stamp))
            .collect();
        // Time that passes before that only makes a file older.
        let now = SystemTime::now();
        Self {
            host: sources.host.clone(),
            is_fresh: files.iter().any(|(_, stamp)| is_fresh(stamp, now)),
            files,
            folders: found
                .folders
                .into_iter()
                .map(|path| (place(&path), path))
                .map(|(place, path)| (path, place))
                .collect(),
            faults: found.faults.len(),
        }
    }

    /// Whether files that change again may look as they do now: then equal surveys mean nothing.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The folders that were searched.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.folders.iter().map(|(path, _)| path)
    }

    /// Whether these are the same folders, and not others in their places.
    pub fn has_folders_of(&self, other: &Self) -> bool {
        self.folders == other.folders
    }
}

/// Which folder it is: device and inode alone, as whatever is made in it changes its times.
fn place(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some([of.dev().cast_signed(), of.ino().cast_signed(), 0, 0, 0, 0, 0])
}

fn stamp(path: &Path) -> Stamp {
    // Of what a link leads to: a mounted volume changes its files by another target of a link.
    let of = fs::metadata(path).ok()?;
    Some([
        of.dev().cast_signed(),
        of.ino().cast_signed(),
        of.size().cast_signed(),
        of.mtime(),
        of.mtime_nsec(),
        of.ctime(),
        of.ctime_nsec(),
    ])
}

/// Whether a change at `now` could leave the same times.
fn is_fresh(stamp: &Stamp, now: SystemTime) -> bool {
    let Some([.., mtime_nsec, ctime, ctime_nsec]) = *stamp else {
        return false;
    };
    let parts = u64::try_from(ctime).ok().zip(u32::try_from(ctime_nsec).ok());
    let Some(changed) = parts.map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos)) else {
        return false;
    };
    let granule = if mtime_nsec == 0 && ctime_nsec == 0 {
        SECOND
    } else {
        TICK
    };
    // In the future: a clock was set back, or a server's is ahead. How far it is off, nobody knows.
    now.duration_since(changed).map_or(true, |age| age < granule)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::tests::Folder;

    #[test]
    fn what_has_just_changed_may_change_again_unseen() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        let stamp = |seconds, nanos| Some([1, 2, 3, seconds, nanos, seconds, nanos]);
        // Whole seconds alone: until the next one has begun, and some more for a server's clock.
        assert!(is_fresh(&stamp(100, 0), at(100, 999_999_999)));
        assert!(is_fresh(&stamp(100, 0), at(101, 999_999_999)));
        assert!(!is_fresh(&stamp(100, 0), at(102, 0)));
        // By the kernel's ticks.
        assert!(is_fresh(&stamp(100, 4_000_000), at(100, 14_000_000)));
        assert!(!is_fresh(&stamp(100, 4_000_000), at(100, 24_000_000)));
        assert!(is_fresh(&stamp(101, 0), at(100, 0)), "a clock was set back");
        assert!(!is_fresh(&None, at(100, 0)), "no file");
    }

    #[test]
    fn every_way_to_change_a_file_is_seen_and_nothing_else() {
        let folder = Folder::new();
        folder.write("a/plugin.toml", "one");
        fs::create_dir_all(folder.path().join("..1/x")).expect("folder");
        fs::create_dir_all(folder.path().join("..2/x")).expect("folder");
        folder.write("..1/x/plugin.toml", "old");
        folder.write("..2/x/plugin.toml", "new");
        symlink("..1", folder.path().join("..data")).expect("link");
        symlink("..data/x", folder.path().join("x")).expect("link");
        let sources = PluginSources {
            directories: vec![folder.path().to_owned()],
            ..PluginSources::default()
        };
        let look = || Survey::of(&sources, &folder.path().join("kevmon.toml"));
        let mut before = look();
        assert_eq!(before, look(), "nothing has changed");
        let root = folder.path();
        let changes: [(&str, &dyn Fn()); 6] = [
            ("written in place", &|| folder.write("a/plugin.toml", "two")),
            ("replaced", &|| {
                folder.write("a/.new", "two");
                fs::rename(root.join("a/.new"), root.join("a/plugin.toml")).expect("renamed");
            }),
            ("a link's target swapped", &|| {
                symlink("..2", root.join("..tmp")).expect("link");
                fs::rename(root.join("..tmp"), root.join("..data")).expect("renamed");
            }),
            ("added", &|| folder.write("b/plugin.toml", "")),
            ("settings", &|| folder.write("kevmon.toml", "")),
            ("removed", &|| {
                fs::remove_file(root.join("a/plugin.toml")).expect("removed")
            }),
        ];
        for (what, change) in changes {
            change();
            let after = look();
            assert_ne!(before, after, "{what}");
            before = after;
        }
        folder.write("a/README", "no plugin");
        assert_eq!(before, look());
    }
}
