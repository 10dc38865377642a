//! Links of the book as a browser follows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Pages that mdBook makes for itself: the others' table of contents, all of them on one page, and the one for a wrong address.
const OWN: [&str; 3] = ["toc.html", "print.html", "404.html"];

/// What leads nowhere, of all pages below `book`.
pub(super) fn faults(book: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    collect(book, Path::new(""), &mut pages)?;
    let mut faults = Vec::new();
    for (page, text) in &pages {
        let is_own = page
            .file_name()
            .is_some_and(|name| OWN.iter().any(|own| name == *own));
        if !is_own {
            let found = links(text).filter(|target| !leads_somewhere(book, page, target, &pages));
            faults.extend(found.map(|target| format!("{}: {target}", page.display())));
        }
    }
    Ok(faults)
}

fn collect(book: &Path, folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    let path = book.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let name = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(book, &name, pages)?;
        } else if name.extension().is_some_and(|extension| extension == "html") {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            pages.insert(name, text);
        }
    }
    Ok(())
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

fn leads_somewhere(book: &Path, page: &Path, target: &str, pages: &BTreeMap<PathBuf, String>) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.contains(':') {
        return true;
    }
    let folder = page.parent().unwrap_or(Path::new(""));
    let path = match file {
        "" => page.to_owned(),
        file => super::pages::resolved(folder, file),
    };
    match pages.get(&path) {
        Some(text) => anchor.is_empty() || text.contains(&format!("id=\"{anchor}\"")),
        None => book.join(path).exists(),
    }
}
