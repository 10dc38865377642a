//! The pages of the book: which there are, and where their links lead.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Where files are that are no page of the book.
const REPOSITORY: &str = "https://github.com/kevmon/kevmon";
/// Pages outside of docs/ that are in the book.
const OUTSIDE: [&str; 3] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
/// The order of the pages: mdBook reads it, and shows it as no page.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every page: its path in the repository, and in the book.
pub(super) fn pages(root: &Path) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut pages: BTreeMap<PathBuf, PathBuf> = OUTSIDE
        .iter()
        .map(|name| (PathBuf::from(name), place(Path::new(name))))
        .collect();
    collect(&root.join("docs"), Path::new(""), &mut pages)?;
    Ok(pages)
}

/// A folder's README.md is its index in the book.
fn place(name: &Path) -> PathBuf {
    match name.file_name() {
        Some(last) if last == "README.md" => name.with_file_name("index.md"),
        _ => name.to_owned(),
    }
}

fn collect(docs: &Path, folder: &Path, pages: &mut BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    let path = docs.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let name = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(docs, &name, pages)?;
        } else if name.extension().is_some_and(|extension| extension == "md") {
            pages.insert(Path::new("docs").join(&name), place(&name));
        }
    }
    Ok(())
}

/// Writes the book's source into `folder`.
pub(super) fn stage(root: &Path, folder: &Path) -> Result<()> {
    let pages = pages(root)?;
    for (page, place) in &pages {
        let from = root.join(page);
        let text = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let text = rewritten(&text, page, &pages, &|path| root.join(path).is_dir());
        let to = folder.join("src").join(place);
        let parent = to.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    let settings = root.join("docs/book.toml");
    fs::copy(&settings, folder.join("book.toml"))
        .with_context(|| format!("cannot copy {}", settings.display()))?;
    Ok(())
}

/// A page with the links of the book. What stands in code is left as it is.
pub(super) fn rewritten(
    text: &str,
    page: &Path,
    pages: &BTreeMap<PathBuf, PathBuf>,
    is_folder: &dyn Fn(&Path) -> bool,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_code = false;
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence {
            out.push_str(line);
            continue;
        }
        for (index, part) in line.split('`').enumerate() {
            if index > 0 {
                out.push('`');
            }
            // Every other part is a code span.
            match index % 2 {
                0 => with_links(part, page, pages, is_folder, &mut out),
                _ => out.push_str(part),
            }
        }
    }
    out
}

fn with_links(
    text: &str,
    page: &Path,
    pages: &BTreeMap<PathBuf, PathBuf>,
    is_folder: &dyn Fn(&Path) -> bool,
    out: &mut String,
) {
    let mut parts = text.split("](");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str("](");
        let end = part.find([')', ' ']).unwrap_or(part.len());
        let (target, rest) = part.split_at(end);
        out.push_str(&link(target, page, pages, is_folder));
        out.push_str(rest);
    }
}

/// Where a link of `page` leads in the book.
fn link(
    target: &str,
    page: &Path,
    pages: &BTreeMap<PathBuf, PathBuf>,
    is_folder: &dyn Fn(&Path) -> bool,
) -> String {
    let (file, anchor) = match target.find('#') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    if file.is_empty() || file.contains(':') {
        return target.to_owned();
    }
    let path = resolved(page.parent().unwrap_or(Path::new("")), file);
    // A folder is known by its own page.
    let found = pages.get(&path).or_else(|| pages.get(&path.join("README.md")));
    let found = found.filter(|_| path != Path::new(SUMMARY));
    let Some((found, own)) = found.zip(pages.get(page)) else {
        let kind = if is_folder(&path) { "tree" } else { "blob" };
        return format!("{REPOSITORY}/{kind}/main/{}{anchor}", path.display());
    };
    let up = own.components().count().saturating_sub(1);
    format!("{}{}{anchor}", "../".repeat(up), found.display())
}

/// `from` joined with `to`, without `.` and `..`.
pub(super) fn resolved(from: &Path, to: &str) -> PathBuf {
    let mut path = from.to_owned();
    for part in Path::new(to).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}
