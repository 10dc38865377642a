//! tar and gzip whose bytes depend on nothing but their content: sorted, of root, of one time.

use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::tree::Tree;

/// A tar file with the folders, files and links of `tree` below `prefix` (empty, or with a slash at its end).
pub(crate) fn tar(tree: &Tree, prefix: &str, time: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut folders = tree.folders();
    let top = prefix.trim_end_matches('/');
    if !top.is_empty() {
        folders.insert(0, String::new());
    }
    for folder in folders {
        let path = format!("{prefix}{folder}");
        append(
            &mut builder,
            &format!("{}/", path.trim_end_matches('/')),
            &[],
            0o755,
            time,
        )?;
    }
    for (path, entry) in tree.files() {
        append(
            &mut builder,
            &format!("{prefix}{path}"),
            &entry.content,
            entry.mode,
            time,
        )?;
    }
    for (path, target) in tree.links() {
        let path = format!("{prefix}{path}");
        let mut header = header(tar::EntryType::Symlink, 0o777, time)?;
        builder
            .append_link(&mut header, &path, target)
            .with_context(|| format!("tar: {path}"))?;
    }
    builder.into_inner().context("tar")
}

/// A folder where `path` ends with a slash.
fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    content: &[u8],
    mode: u32,
    time: u64,
) -> Result<()> {
    let kind = if path.ends_with('/') {
        tar::EntryType::Directory
    } else {
        tar::EntryType::Regular
    };
    let mut header = header(kind, mode, time)?;
    header.set_size(content.len() as u64);
    builder
        .append_data(&mut header, path, content)
        .with_context(|| format!("tar: {path}"))
}

/// An entry's header without its path and size.
fn header(kind: tar::EntryType, mode: u32, time: u64) -> Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").context("tar")?;
    header.set_groupname("root").context("tar")?;
    header.set_mtime(time);
    header.set_size(0);
    Ok(header)
}

/// Compressed, without a name or a time.
pub(crate) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(content).context("gzip")?;
    encoder.finish().context("gzip")
}

/// An ar archive of these members, as deb(5) has it.
pub(crate) fn ar(members: &[(&str, &[u8])], time: u64) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!(
            "{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            100_644,
            content.len()
        );
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(content);
        if content.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}
