//! The repository's pages: their text, what they link to and what can be linked to in them.
//!
//! Anchors are those of GitHub, which mdBook makes in the same way: the heading's text in lower case, without punctuation, with
//! hyphens for spaces, and with a number where two headings are the same.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use crate::markdown;

/// A Markdown file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Path below the repository's root.
    pub path: PathBuf,
    pub text: String,
}

/// A link's target as it is written, with the line that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub line: usize,
    pub target: String,
}

/// The repository's root.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Every page of the repository, in order of their paths.
pub fn pages() -> Vec<Page> {
    let pages = markdown::pages(&root()).into_iter();
    pages.map(|(path, text)| Page { path, text }).collect()
}

impl Page {
    /// Lines outside of fenced blocks, numbered from 1.
    fn prose(&self) -> Vec<(usize, String)> {
        let mut is_code = false;
        let mut lines = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if !is_code {
                lines.push((index + 1, line.to_owned()));
            }
        }
        lines
    }

    /// Every anchor that a link may name.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut anchors = Vec::new();
        for (_, line) in self.prose() {
            let Some(heading) = heading(&line) else {
                continue;
            };
            let anchor = anchor(heading);
            let times = seen.entry(anchor.clone()).or_default();
            anchors.push(match *times {
                0 => anchor,
                times => format!("{anchor}-{times}"),
            });
            *times += 1;
        }
        anchors
    }

    /// Every link and picture.
    pub fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (line, text) in self.prose() {
            let text = without_code(&text);
            let targets = text.split("](").skip(1);
            links.extend(targets.filter_map(|rest| {
                let target = rest.split([')', ' ']).next()?;
                Some(Link {
                    line,
                    target: target.to_owned(),
                })
            }));
        }
        links
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    (1..=6)
        .contains(&level)
        .then(|| text.strip_prefix(' '))
        .flatten()
        .map(str::trim)
}

/// The anchor of a heading's Markdown.
pub fn anchor(heading: &str) -> String {
    let shown = without_targets(heading);
    shown
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ if letter.is_alphanumeric() => Some(letter),
            _ => None,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// A heading's links as their texts.
fn without_targets(heading: &str) -> String {
    let mut parts = heading.split("](");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    shown
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// `from` joined with `to`, without `.` and `..`; nothing where it leads out of the root.
pub fn resolve(from: &Path, to: &str) -> Option<PathBuf> {
    let mut path = from.to_owned();
    for part in Path::new(to).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
