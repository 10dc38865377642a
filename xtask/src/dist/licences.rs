//! THIRD-PARTY: who wrote the crates that kevmon is made of, and the terms that each comes with.

use std::collections::BTreeMap;
use std::fs;
use std::iter::Peekable;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::metadata::Crate;

/// How files with terms are called, in lower case.
const NAMES: [&str; 6] = [
    "license",
    "licence",
    "copying",
    "copyright",
    "notice",
    "unlicense",
];

/// Terms that kevmon may be shipped under together with its own: they ask for a notice at most, which this file is.
const PERMITTED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates with other terms, and how kevmon meets them. btf-rs: LGPL 2.1, section 6 a: kevmon's own source and its Cargo.lock are
/// public, so that anybody can link kevmon with a changed btf-rs; its terms are in this file.
const AGREED: [(&str, &str); 1] = [("btf-rs", "LGPL-2.1-or-later")];

/// What the LGPL asks to be said with a program that holds such a library.
const RELINKING: &str = "\
btf-rs is under the GNU Lesser General Public License, version 2.1 or later. You may change it and link kevmon with your version: the whole
source of kevmon is at https://github.com/kevmon/kevmon, and sbom.cdx.json names the commit that this program was made of. In a checkout
of that commit, point Cargo to your btf-rs ([patch.crates-io] btf-rs = { path = \"...\" } in Cargo.toml) and run
`cargo xtask dist`.

";

/// Exceptions, which only add rights.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

/// Whether an SPDX expression can be met with permitted licences.
fn is_permitted(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    alternatives(&mut words) == Some(true) && words.next().is_none()
}

/// `a OR b`; `None` where the grammar is broken.
fn alternatives<'a, I: Iterator<Item = &'a str>>(words: &mut Peekable<I>) -> Option<bool> {
    let mut permitted = conjunction(words)?;
    while words.next_if_eq(&"OR").is_some() {
        permitted |= conjunction(words)?;
    }
    Some(permitted)
}

/// `a AND b`, which binds tighter.
fn conjunction<'a, I: Iterator<Item = &'a str>>(words: &mut Peekable<I>) -> Option<bool> {
    let mut permitted = licence(words)?;
    while words.next_if_eq(&"AND").is_some() {
        permitted &= licence(words)?;
    }
    Some(permitted)
}

/// One licence, perhaps with an exception, or an expression in parentheses.
fn licence<'a, I: Iterator<Item = &'a str>>(words: &mut Peekable<I>) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let permitted = alternatives(words)?;
        return (words.next()? == ")").then_some(permitted);
    }
    let mut permitted = PERMITTED.contains(&word);
    if words.next_if_eq(&"WITH").is_some() {
        permitted &= EXCEPTIONS.contains(&words.next()?);
    }
    (!["OR", "AND", "WITH", ")"].contains(&word)).then_some(permitted)
}

/// The file. Each text stands once, after the crates that it is of.
pub(crate) fn third_party(crates: &[Crate]) -> Result<String> {
    let mut text = "kevmon is linked with these crates. Their terms follow, each text once.\n\n".to_owned();
    text.push_str(RELINKING);
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for krate in crates.iter().filter(|krate| !krate.own) {
        let called = format!("{} {}", krate.name, krate.version);
        let agreed = AGREED.contains(&(krate.name.as_str(), krate.licence.as_str()));
        if !agreed && !is_permitted(&krate.licence) {
            bail!(
                "{called} has the licence {:?}; kevmon ships {} only. Take another crate, or add the licence where its terms allow that",
                krate.licence,
                PERMITTED.join(", ")
            );
        }
        let authors = match krate.authors.is_empty() {
            true => String::new(),
            false => format!(", by {}", krate.authors.join(", ")),
        };
        text.push_str(&format!("{called}: {}{authors}\n", krate.licence));
        if !krate.repository.is_empty() {
            text.push_str(&format!("    {}\n", krate.repository));
        }
        for terms in terms(&krate.folder)? {
            texts.entry(terms).or_default().push(called.clone());
        }
    }
    let mut ordered: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, of)| (of, text)).collect();
    ordered.sort();
    for (of, terms) in ordered {
        text.push_str(&format!("\n{}\n{}\n\n{terms}\n", "-".repeat(80), of.join(", ")));
    }
    Ok(text)
}

/// The files with terms at the top of a crate.
fn terms(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        let path = entry.path();
        if NAMES.iter().any(|start| name.starts_with(start)) && path.is_file() {
            let content = fs::read(&path).with_context(|| path.display().to_string())?;
            let text = String::from_utf8_lossy(&content).replace("\r\n", "\n");
            found.push(text.trim_end().to_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{AGREED, PERMITTED, is_permitted};

    /// The strings of the list `name` in deny.toml, and of its inner lists.
    fn list(name: &str) -> Vec<&'static str> {
        let rules = include_str!("../../../deny.toml");
        let start = format!("\n{name} = [");
        let (_, rest) = rules.split_once(&start).expect("the list");
        let (list, _) = rest.split_once("\n]\n").expect("its end");
        list.split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn cargo_deny_permits_the_same() {
        let mut expected: Vec<&str> = PERMITTED.to_vec();
        expected.push("Apache-2.0 WITH LLVM-exception");
        expected.sort_unstable();
        assert_eq!(list("allow"), expected);
        let mut agreed: Vec<&str> = AGREED
            .iter()
            .flat_map(|(name, licence)| [*name, *licence])
            .collect();
        agreed.extend(["btf-rs-derive", "LGPL-2.1-or-later"]); // a macro, which `dist` leaves out
        assert_eq!(list("exceptions"), agreed);
    }

    #[test]
    fn an_expression_is_permitted_where_one_way_through_it_is() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-2.0-only", false),
            ("MIT AND GPL-2.0-only", false),
            ("GPL-2.0-only OR MIT AND ISC", true),
            ("(MIT OR GPL-2.0-only) AND LGPL-2.1-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("Apache-2.0 WITH Some-other", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT ISC", false),
            ("OR MIT", false),
        ] {
            assert_eq!(is_permitted(expression), expected, "{expression:?}");
        }
    }
}
