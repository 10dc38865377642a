//! The book without mdBook: its pages, their order and their links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kevmon-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: Vec<PathBuf> = summary
        .split("](")
        .skip(1)
        .map(|rest| pages::resolved(Path::new("docs"), rest.split(')').next().unwrap()))
        .collect();
    let once: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice: {listed:?}");
    let all = pages::pages(&root()).unwrap();
    let summary = Path::new("docs/SUMMARY.md");
    let all: BTreeSet<&PathBuf> = all.keys().filter(|page| *page != summary).collect();
    assert_eq!(once, all, "docs/SUMMARY.md against the pages that there are");
}

#[test]
fn links_lead_to_pages_of_the_book_or_to_the_repository() {
    let pages: BTreeMap<PathBuf, PathBuf> = [
        ("README.md", "index.md"),
        ("docs/SUMMARY.md", "SUMMARY.md"),
        ("docs/x.md", "x.md"),
        ("docs/adr/README.md", "adr/index.md"),
        ("docs/adr/1.md", "adr/1.md"),
    ]
    .map(|(page, place)| (page.into(), place.into()))
    .into();
    for (page, text, expected) in [
        (
            "README.md",
            "[x](docs/x.md#a) [d](docs/adr)",
            "[x](x.md#a) [d](adr/index.md)",
        ),
        (
            "docs/x.md",
            "[r](../README.md), [1](adr/1.md)",
            "[r](index.md), [1](adr/1.md)",
        ),
        (
            "docs/adr/1.md",
            "[x](../x.md) [self](#here)",
            "[x](../x.md) [self](#here)",
        ),
        (
            "docs/x.md",
            "[t](../tests/README.md#a) [p](../packaging) [s](SUMMARY.md)",
            "[t](https://github.com/kevmon/kevmon/blob/main/tests/README.md#a) \
             [p](https://github.com/kevmon/kevmon/tree/main/packaging) \
             [s](https://github.com/kevmon/kevmon/blob/main/docs/SUMMARY.md)",
        ),
        (
            "docs/x.md",
            "[w](https://example.com/x.md)",
            "[w](https://example.com/x.md)",
        ),
        (
            "docs/x.md",
            "`[c](../y)` [r](../README.md \"t\")\n",
            "`[c](../y)` [r](index.md \"t\")\n",
        ),
        ("docs/x.md", "```sh\n[c](../y)\n```\n", "```sh\n[c](../y)\n```\n"),
    ] {
        let is_folder = |path: &Path| path == Path::new("packaging");
        assert_eq!(
            pages::rewritten(text, Path::new(page), &pages, &is_folder),
            expected
        );
    }
}

#[test]
fn the_source_of_the_book_has_every_page_and_no_link_out_of_it() {
    let folder = Folder::new("source");
    pages::stage(&root(), &folder.0).unwrap();
    for place in pages::pages(&root()).unwrap().into_values() {
        let text = fs::read_to_string(folder.0.join("src").join(&place)).unwrap();
        let up = "../".repeat(place.components().count());
        assert!(
            !text.contains(&format!("]({up}")),
            "{} leads out of the book",
            place.display()
        );
    }
    assert!(folder.0.join("book.toml").is_file());
}

#[test]
fn links_of_the_book_are_followed() {
    let folder = Folder::new("book");
    let write = |name: &str, text: &str| {
        let path = folder.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "a.html",
        "<h1 id=\"top\"></h1><a href=\"adr/b.html#one\"><link href=\"style.css\"><a href=\"#top\">",
    );
    write(
        "adr/b.html",
        "<h1 id=\"one\"></h1><a href=\"../a.html\"><a href=\"https://example.com\">",
    );
    write("style.css", "");
    write("toc.html", "<a href=\"anything.html\">");
    assert_eq!(html::faults(&folder.0).unwrap(), Vec::<String>::new());
    write("adr/b.html", "<a href=\"../a.html#no\"><a href=\"c.html\">");
    assert_eq!(
        html::faults(&folder.0).unwrap(),
        [
            "a.html: adr/b.html#one",
            "adr/b.html: ../a.html#no",
            "adr/b.html: c.html"
        ]
    );
}
