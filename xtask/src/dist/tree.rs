//! The files of a package, in memory, in the order of their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

/// A file of a package.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) content: Vec<u8>,
    /// 0o644 or 0o755.
    pub(crate) mode: u32,
    /// The administrator may change it, and upgrades keep what is changed.
    pub(crate) config: bool,
}

/// Files by path; paths are relative to the root that is installed into.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Entry>,
    /// Folders that may be empty.
    folders: BTreeSet<String>,
    /// Symbolic links, with what they name.
    links: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn add(
        &mut self,
        path: impl Into<String>,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<()> {
        self.insert(
            path.into(),
            Entry {
                content: content.into(),
                mode,
                config: false,
            },
        )
    }

    pub(crate) fn add_config(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Result<()> {
        self.insert(
            path.into(),
            Entry {
                content: content.into(),
                mode: 0o644,
                config: true,
            },
        )
    }

    pub(crate) fn insert(&mut self, path: String, entry: Entry) -> Result<()> {
        check(&path)?;
        if self.files.insert(path.clone(), entry).is_some() {
            bail!("{path} would be in the package twice");
        }
        Ok(())
    }

    /// A folder that is there also without a file.
    pub(crate) fn add_folder(&mut self, path: &str) -> Result<()> {
        check(path)?;
        self.folders.insert(path.to_owned());
        Ok(())
    }

    /// A symbolic link to `target`. Of the formats only tar, and so the .deb, has them.
    pub(crate) fn add_link(&mut self, path: &str, target: &str) -> Result<()> {
        check(path)?;
        check(target)?;
        self.links.insert(path.to_owned(), target.to_owned());
        Ok(())
    }

    /// In the order of their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.files.get(path)
    }

    /// In the order of their paths, with what they name.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.links
            .iter()
            .map(|(path, target)| (path.as_str(), target.as_str()))
    }

    /// The folders that hold files and links, each after the one that it is in.
    pub(crate) fn folders(&self) -> Vec<String> {
        let mut folders = self.folders.clone();
        for path in self.files.keys().chain(&self.folders).chain(self.links.keys()) {
            for (at, _) in path.match_indices('/') {
                folders.insert(path[..at].to_owned());
            }
        }
        folders.into_iter().collect()
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        self.files.values().map(|entry| entry.content.len() as u64).sum()
    }
}

/// Paths are plain enough for a shell, a manifest and each format.
fn check(path: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._@+-".contains(c);
    let parts_fit = path
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    if !parts_fit || !path.chars().all(plain) {
        bail!(
            "{path:?} cannot be packaged; take letters A-Z a-z, digits, '.', '_', '@', '+' and '-' for its names"
        );
    }
    Ok(())
}

/// In hexadecimal.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn a_path_that_a_shell_or_a_format_would_misread_is_refused() {
        for path in [
            "", "/etc/x", "a//b", "a/../b", "./a", "a b", "a\"b", "a\nb", "ä", "a/",
        ] {
            assert!(Tree::default().add(path, "", 0o644).is_err(), "{path:?}");
        }
        let mut tree = Tree::default();
        tree.add("usr/lib/systemd/system/kevmon@.service", "", 0o644)
            .expect("a plain path");
        assert!(
            tree.add("usr/lib/systemd/system/kevmon@.service", "", 0o644)
                .is_err(),
            "twice"
        );
        assert!(tree.add_link("usr/lib/x", "../x").is_err(), "out of its folder");
        tree.add_link("usr/share/x", "y").expect("a plain path");
        assert_eq!(
            tree.folders(),
            [
                "usr",
                "usr/lib",
                "usr/lib/systemd",
                "usr/lib/systemd/system",
                "usr/share"
            ]
        );
    }
}
