//! What a reload looks at first: whether any file that configuration is made of is another one than before, without
//! reading any.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{PluginSources, discover};

/// What tells a file from what it was: device, inode, size in bytes, and when its content and its inode changed (s, ns);
/// `None` where it cannot be looked at.
type Stamp = Option<[i64; 7]>;

/// The files and folders that configuration is made of, as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    files: Vec<(PathBuf, Stamp)>,
    folders: Vec<(PathBuf, Stamp)>,
    /// The host's name: resource filters choose plugins by it.
    host: String,
    /// How many faults the search had: a folder that cannot be listed any more is a change, too.
    faults: usize,
}

impl Survey {
    /// Looks, at the settings file as well.
    pub fn of(sources: &PluginSources, settings: &Path) -> Self {
        let found = discover::look(&sources.directories, &sources.search_path, |_, _| {
            Ok(String::new())
        });
        let files = found.files.into_iter().map(|(path, _)| path);
        Self {
            host: sources.host.clone(),
            files: files
                .chain([settings.to_owned()])
                .map(|path| (stamp(&path), path))
                .map(|(stamp, path)| (path, stamp))
                .collect(),
            folders: found
                .folders
                .into_iter()
                .map(|path| (place(&path), path))
                .map(|(place, path)| (path, place))
                .collect(),
            faults: found.faults.len(),
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::tests::Folder;

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
