//! `manifest.toml`: the files of a package with their SHA-256 sums and modes. `kevmon verify-install` and `install.sh` read it.
//! install.sh is a shell script, so each file has a line of its own in one form.

use super::Release;
use super::tree::{Entry, Tree, sha256};

/// Folders that package managers can be told to leave out (dpkg's path-exclude, rpm's --excludedocs).
const OPTIONAL: [&str; 3] = ["usr/share/doc/", "usr/share/man/", "share/man/"];

/// The manifest of `installed`, and of `archive`: what an archive holds and does not install.
pub(crate) fn text(
    release: &Release,
    glibc: Option<&str>,
    installed: &Tree,
    archive: Option<&Tree>,
) -> String {
    let mut text = format!(
        "# The files of this kevmon. `kevmon verify-install` compares them with what is installed.\n\
         schema = 1\nversion = \"{}\"\ntarget = \"{}\"\ncommit = \"{}\"\n",
        release.version,
        release.target.triple(),
        release.commit
    );
    if let Some(glibc) = glibc {
        text.push_str(&format!("glibc = \"{glibc}\"\n"));
    }
    text.push_str("\n[files]\n");
    for (path, entry) in installed.files() {
        text.push_str(&line(path, entry));
    }
    if let Some(archive) = archive {
        text.push_str("\n[archive]\n");
        for (path, entry) in archive.files() {
            text.push_str(&line(path, entry));
        }
    }
    text
}

fn line(path: &str, entry: &Entry) -> String {
    let config = if entry.config { ", config = true" } else { "" };
    let optional = if OPTIONAL.iter().any(|folder| path.starts_with(folder)) {
        ", optional = true"
    } else {
        ""
    };
    format!(
        "\"{path}\" = {{ sha256 = \"{}\", mode = \"{:04o}\"{config}{optional} }}\n",
        sha256(&entry.content),
        entry.mode
    )
}
