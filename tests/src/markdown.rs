//! The repository's pages and their fenced blocks. Part of the unit tests of kevmon and xtask too, which include this file: it uses the standard
//! library alone.
//!
//! A block's info string says what is in it, and what a test does with it; tests/README.md has the list.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every page of the repository at `root`: its path below the root, and its text, in order of the paths.
///
/// # Panics
/// A file or folder cannot be read.
pub fn pages(root: &Path) -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    for place in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs",
        "packaging",
        "tests",
    ] {
        collect(root, Path::new(place), &mut pages);
    }
    pages.sort();
    pages
}

fn collect(root: &Path, place: &Path, pages: &mut Vec<(PathBuf, String)>) {
    let path = root.join(place);
    if path.is_dir() {
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for entry in entries.flatten() {
            collect(root, &place.join(entry.file_name()), pages);
        }
    } else if path.extension().is_some_and(|extension| extension == "md") {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        pages.push((place.to_owned(), text));
    }
}

/// What stands between two fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the opening fence, from 1.
    pub line: usize,
    /// What stands behind the fence: `sh run`, `toml plugin`; empty where nothing does.
    pub info: String,
    /// Its lines, each with its end.
    pub text: String,
}

impl Block {
    /// First word of the info string.
    pub fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }

    /// Command lines of a shell's block: those behind the prompt of a `console`, all of a `sh`, what follows the five fields of a
    /// `crontab`. A line that ends with a backslash goes on with the next one. No line of another block is one.
    pub fn command_lines(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        let lines = joined.lines().map(str::trim);
        let commands: Vec<String> = match self.language() {
            "console" => lines
                .filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# ")))
                .map(str::to_owned)
                .collect(),
            "sh" => lines.map(str::to_owned).collect(),
            "crontab" => lines
                .map(|line| line.split_whitespace().skip(5).collect::<Vec<_>>().join(" "))
                .collect(),
            _ => Vec::new(),
        };
        without_documents(commands)
    }
}

/// Leaves out what a here-document holds: it is a file's text.
fn without_documents(lines: Vec<String>) -> Vec<String> {
    let mut end: Option<String> = None;
    let mut commands = Vec::new();
    for line in lines {
        match &end {
            Some(word) if *word == line => end = None,
            Some(_) => {}
            None => {
                end = line.split_once("<<").map(|(_, word)| {
                    word.trim_matches(|letter: char| "' \"-".contains(letter))
                        .to_owned()
                });
                commands.push(line);
            }
        }
    }
    commands
}

/// All fenced blocks of a page, in order.
///
/// # Panics
/// A block has no end.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    line: index + 1,
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block without an end");
    blocks
}
