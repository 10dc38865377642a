//! Finding plugin files: which folders are searched, in what order, and how a file becomes text.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    finding::{Fault, Finding, Warning},
    trust::{self, Trusted},
};
use crate::files;

/// What a plugin file is called.
const FILE_NAME: &str = "plugin.toml";

/// What `kevmon plugin check` tries a plugin with; no plugin.
const EXPECTATIONS: &str = "expect.toml";

/// Where files called after their plugins lie beside each other.
const DROP_INS: &str = "plugins.d";

/// Levels of folders below a searched one.
const DEPTH: usize = 8;

/// Folders searched in all, against a search that was started at `/`.
const MOST_FOLDERS: usize = 4096;

/// Largest file read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// What a search gave, in search order.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each file's path and its text, or why it has none.
    pub(crate) files: Vec<(PathBuf, Result<String, Fault>)>,
    /// Folders that cannot be searched.
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
    /// The folders that were searched.
    pub(crate) folders: Vec<PathBuf>,
}

/// Searches `asked` (each has to exist) or, where that is empty, what exists of `fallback`.
pub(crate) fn search(asked: &[PathBuf], fallback: &[PathBuf]) -> Found {
    look(asked, fallback, read_trusted)
}

/// The same, with `read` to make text of a file.
pub(crate) fn look(asked: &[PathBuf], fallback: &[PathBuf], read: TextOf) -> Found {
    let mut search = Search {
        found: Found::default(),
        visited: BTreeSet::new(),
        full: false,
        read,
        trusted: Trusted::of_this_process(),
    };
    for root in asked {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => search.folder(root, 0),
            Ok(_) => {
                let message = format!("{} is not a folder", root.display());
                let fault = Finding::in_flag(Some("--plugins-dir"), message);
                search
                    .found
                    .faults
                    .push(fault.remedy("name the folder that holds NAME/plugin.toml"));
            }
            Err(error) => {
                let message = format!("{}: {}", root.display(), plain(&error));
                let fault = Finding::in_flag(Some("--plugins-dir"), message);
                search
                    .found
                    .faults
                    .push(fault.remedy("name a folder that exists and can be read"));
            }
        }
    }
    if asked.is_empty() {
        for root in fallback.iter().filter(|root| root.is_dir()) {
            search.folder(root, 0);
        }
    }
    search.found
}

/// How a plugin file becomes its text.
type TextOf = fn(&Path, &Trusted) -> Result<String, Fault>;

struct Search {
    found: Found,
    /// Device and inode of each folder: a link never leads into one twice.
    visited: BTreeSet<(u64, u64)>,
    full: bool,
    read: TextOf,
    trusted: Trusted,
}

impl Search {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(metadata) = fs::metadata(folder) else {
            return; // gone since it was listed
        };
        let key = (metadata.dev(), metadata.ino());
        if self.full || self.visited.contains(&key) {
            return;
        }
        if depth > DEPTH {
            let message = format!("not searched: more than {DEPTH} levels below the folder that was named");
            self.found
                .warnings
                .push(Finding::in_file(folder, None, message).remedy("move its plugins up"));
            return;
        }
        if self.visited.len() == MOST_FOLDERS {
            self.full = true;
            let message = format!("the search ended here, after {MOST_FOLDERS} folders");
            let fault = Finding::in_file(folder, None, message);
            self.found
                .faults
                .push(fault.remedy("name a folder with plugins only"));
            return;
        }
        self.visited.insert(key);
        self.found.folders.push(folder.to_owned());
        if let Err(fault) = self.trusted.check(folder, &metadata) {
            self.found.faults.push(fault);
            return;
        }
        let names = match list(folder) {
            Ok(names) => names,
            Err(error) => {
                let message = format!("cannot be listed: {}", plain(&error));
                let remedy = "let the user that kevmon runs as read it";
                self.found
                    .faults
                    .push(Finding::in_file(folder, None, message).remedy(remedy));
                return;
            }
        };
        for path in names {
            if path.is_dir() {
                self.folder(&path, depth + 1);
            } else if is_plugin_file(&path) {
                let text = (self.read)(&path, &self.trusted);
                self.found.files.push((path, text));
            }
        }
    }
}

/// `plugin.toml` anywhere, and whatever ends in `.toml` directly in a folder `plugins.d`.
fn is_plugin_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE_NAME) || drop_in_name(path).is_some()
}

/// `NAME` of `plugins.d/NAME.toml`.
pub(crate) fn drop_in_name(path: &Path) -> Option<&str> {
    let folder = path.parent()?.file_name()?;
    let name = path
        .file_name()
        .filter(|name| *name != FILE_NAME && *name != EXPECTATIONS)?;
    (folder == DROP_INS)
        .then(|| name.to_str()?.strip_suffix(".toml"))
        .flatten()
}

/// The sorted entries of `folder` that are not hidden (`.git`, the `..data` of a mounted volume).
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            entries.push(folder.join(name));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The text of a configuration file.
///
/// # Errors
/// Why it has none.
pub(crate) fn read(path: &Path) -> Result<String, Fault> {
    read_checked(path, |_| Ok(()))
}

/// The same of a plugin file, which nobody but those who are trusted may write.
fn read_trusted(path: &Path, trusted: &Trusted) -> Result<String, Fault> {
    read_checked(path, |metadata| {
        trusted.check(path, metadata)?;
        trust::check_way(path)
    })
}

/// The text of a settings file, which nobody but those who are trusted may write, and whether every user can read it.
pub(crate) fn read_settings(path: &Path) -> Result<(String, bool), Fault> {
    let unusable = |error: io::Error| trust::fault(&error).unwrap_or_else(|| unreadable(path, &error));
    let file = files::open_to_read(path).map_err(unusable)?;
    let others_read_it = file.metadata().map_err(unusable)?.mode() & 0o004 != 0;
    Ok((text_of(path, file)?, others_read_it))
}

/// `check` sees what has been opened: between a look at a path and its opening it may become another file's.
fn read_checked(
    path: &Path,
    check: impl FnOnce(&fs::Metadata) -> Result<(), Fault>,
) -> Result<String, Fault> {
    let file = open(path)?;
    check(&file.metadata().map_err(|error| unreadable(path, &error))?)?;
    text_of(path, file)
}

fn text_of(path: &Path, file: fs::File) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = "is larger than 1 MiB";
        return Err(Finding::in_file(path, None, message).remedy("it should have a few lines: look at it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + valid.filter(|byte| **byte == b'\n').count();
        Finding::in_file(path, Some(line), "is not UTF-8").remedy("save it as UTF-8")
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    Finding::in_file(path, None, format!("cannot be read: {}", plain(error)))
        .remedy("let the user that kevmon runs as read it, or remove it")
}

/// A regular file, opened without waiting.
///
/// # Errors
/// It is none, or cannot be opened.
pub(crate) fn open(path: &Path) -> Result<fs::File, Fault> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    let no_file = || Finding::in_file(path, None, "is not a regular file").remedy("remove it");
    // To open a device may do something.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(no_file());
    }
    // To open a fifo that has taken the file's place would wait for a writer.
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(no_file());
    }
    Ok(file)
}

/// An error's text without "(os error 2)".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::tests::Folder;

    fn paths(folder: &Folder, found: &Found) -> Vec<String> {
        let shown = |path: &PathBuf| {
            path.strip_prefix(folder.path())
                .expect("below")
                .display()
                .to_string()
        };
        found.files.iter().map(|(path, _)| shown(path)).collect()
    }

    #[test]
    fn order_depth_links_and_hidden_folders() {
        let folder = Folder::new();
        for name in [
            "plugin.toml",
            "b/plugin.toml",
            "a/deep/er/plugin.toml",
            ".git/plugin.toml",
        ] {
            folder.write(name, "");
        }
        folder.write("a/other.toml", "");
        let deep = "1/2/3/4/5/6/7/8/";
        folder.write(&format!("{deep}plugin.toml"), "");
        folder.write(&format!("{deep}9/plugin.toml"), "");
        folder.write("elsewhere/real/plugin.toml", "");
        symlink(
            folder.path().join("elsewhere/real"),
            folder.path().join("b/linked"),
        )
        .expect("link");
        symlink(folder.path(), folder.path().join("b/loop")).expect("link");
        let roots = [folder.path().to_owned(), folder.path().join("b")];
        let found = search(&roots, &[]);
        let deepest = format!("{deep}plugin.toml");
        assert_eq!(
            paths(&folder, &found),
            [
                &deepest,
                "a/deep/er/plugin.toml",
                "b/linked/plugin.toml",
                "b/plugin.toml",
                "plugin.toml"
            ]
        );
        assert!(found.faults.is_empty(), "{:?}", found.faults);
        let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("1/2/3/4/5/6/7/8/9: not searched: more than 8 levels"),
            "{warnings:?}"
        );
    }

    #[test]
    fn files_and_folders_that_cannot_be_used() {
        let folder = Folder::new();
        folder.write_bytes("latin/plugin.toml", b"a = 1\nb = \"\xe9\"\n");
        folder.write_bytes("large/plugin.toml", &vec![b'#'; (1 << 20) + 1]);
        folder.write_bytes("limit/plugin.toml", &vec![b'#'; 1 << 20]);
        symlink("/nowhere/at/all", folder.path().join("plugin.toml")).expect("link");
        symlink("/dev/null", folder.path().join("limit/null")).expect("link");
        fs::create_dir(folder.path().join("null")).expect("folder");
        symlink("/dev/null", folder.path().join("null/plugin.toml")).expect("link");
        let missing = folder.path().join("missing");
        let file = folder.path().join("latin/plugin.toml");
        let found = search(&[folder.path().to_owned(), missing, file], &[]);
        let faults: Vec<String> = found
            .files
            .iter()
            .filter_map(|(_, text)| text.as_ref().err())
            .map(ToString::to_string)
            .collect();
        for (fault, ending) in faults.iter().zip([
            "large/plugin.toml: is larger than 1 MiB; it should have a few lines: look at it",
            "latin/plugin.toml:2: is not UTF-8; save it as UTF-8",
            "null/plugin.toml: is not a regular file; remove it",
            "plugin.toml: cannot be read: no such file or directory; let the user that kevmon runs as read it, or remove it",
        ]) {
            assert!(fault.ends_with(ending), "{fault}\n{ending}");
        }
        assert_eq!((faults.len(), found.files.len()), (4, 5));
        let usage: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        assert!(
            usage[0].starts_with("command line: --plugins-dir: ")
                && usage[0].contains("missing: no such file")
        );
        assert!(
            usage[1].contains("is not a folder; name the folder that holds NAME/plugin.toml"),
            "{usage:?}"
        );
    }

    #[test]
    fn the_default_path_takes_what_exists() {
        let folder = Folder::new();
        folder.write("etc/x/plugin.toml", "");
        let fallback = [folder.path().join("none"), folder.path().join("etc")];
        let found = search(&[], &fallback);
        assert_eq!(paths(&folder, &found), ["etc/x/plugin.toml"]);
        assert!(found.faults.is_empty(), "{:?}", found.faults);
        assert!(search(&[folder.path().join("etc/x")], &fallback).files.len() == 1);
    }
}
