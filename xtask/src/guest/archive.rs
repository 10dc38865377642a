//! An initial RAM file system: a cpio archive of the "newc" format (Documentation/driver-api/early-userspace/
//! buffer-format.rst, Linux 6.18).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. Everything in it belongs to root.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// A directory, and those above it.
    pub(super) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// A file with these bytes.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        self.parent(path);
        self.entry(path.trim_start_matches('/'), FILE | mode, bytes);
    }

    /// A copy of a file of this machine.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let metadata = fs::metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, metadata.permissions().mode() & 0o777, &bytes);
        Ok(())
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.trim_start_matches('/').rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.inode += 1;
        let links = 1;
        // Inode, mode, uid, gid, links, time, size, four device numbers, the name's length with its NUL, no checksum.
        let fields = [
            self.inode,
            mode,
            0,
            0,
            links,
            0,
            bytes.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// Headers and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and contents of each entry, read by the format's description.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + index * 8..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_len) = (field(1), field(6) as usize, field(11) as usize);
            let name = &bytes[at + 110..][..name_len - 1];
            let data = (at + 110 + name_len).next_multiple_of(4);
            found.push((
                String::from_utf8(name.to_vec()).unwrap(),
                mode,
                bytes[data..][..size].to_vec(),
            ));
            at = (data + size).next_multiple_of(4);
        }
        found
    }

    #[test]
    fn an_archive_holds_what_was_put_in_and_the_folders_above() {
        let mut archive = Archive::default();
        archive.file("/a/b/c.txt", 0o644, b"hello");
        archive.directory("a/b");
        archive.file("/init", 0o755, b"#!");
        let bytes = archive.finish();
        let told = entries(&bytes);
        let told: Vec<(&str, u32, &[u8])> = told
            .iter()
            .map(|(name, mode, data)| (name.as_str(), *mode, data.as_slice()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", DIRECTORY | 0o755, &b""[..]),
                ("a/b", DIRECTORY | 0o755, b""),
                ("a/b/c.txt", FILE | 0o644, b"hello"),
                ("init", FILE | 0o755, b"#!"),
                (TRAILER, 0, b""),
            ]
        );
    }
}
