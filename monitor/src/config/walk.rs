//! A walk over all tables and keys of a file by its schema: what is unknown or wrong becomes a fault with its line,
//! everything else goes to whoever makes something of it.

use std::{borrow::Cow, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    finding::{Fault, Finding},
    schema::{Family, Key, Role, Schema, path as key_path},
    value::{self, Value},
};

/// A known key where it stands in a file.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'static Key,
    /// Its table as written, with the place of one of several: `endpoints.backup`, `collector.0`.
    pub(crate) table: &'a str,
    /// Its name as written.
    pub(crate) name: &'a str,
    /// Its dotted path, as written.
    pub(crate) path: &'a str,
    /// From 1.
    pub(crate) line: usize,
    text: &'a str,
}

impl Entry<'_> {
    /// The line of the byte `at`.
    pub(crate) fn line_at(&self, at: usize) -> usize {
        line_of(self.text, at)
    }
}

/// What a file's entries go to.
pub(crate) trait Content {
    /// A table of the user's own naming, also where nothing is in it.
    fn table(&mut self, _table: &str, _line: usize) {}

    /// A known key, before its value is checked.
    fn seen(&mut self, _entry: &Entry<'_>, _value: &Spanned<DeValue<'_>>) {}

    /// A known key with a value that is as it should be.
    fn set(&mut self, entry: &Entry<'_>, value: Value);
}

/// Parses `text` as TOML.
///
/// # Errors
/// The one fault that it has then.
pub(crate) fn parse<'t>(path: &Path, text: &'t str) -> Result<Spanned<DeTable<'t>>, Fault> {
    DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        Finding::in_file(path, line, format!("not valid TOML: {}", error.message()))
            .remedy("nothing else in this file was checked")
    })
}

/// Walks over `root`, which is `text`, found at `path`; every fault at once.
pub(crate) fn walk(
    path: &Path,
    text: &str,
    schema: Schema,
    root: &DeTable<'_>,
    content: &mut impl Content,
) -> Vec<Fault> {
    let mut walk = Walk {
        path,
        text,
        schema,
        content,
        faults: Vec::new(),
    };
    walk.root(root);
    walk.faults
}

struct Walk<'a, C> {
    path: &'a Path,
    text: &'a str,
    schema: Schema,
    content: &'a mut C,
    faults: Vec<Fault>,
}

impl<C: Content> Walk<'_, C> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if let Some(family) = self.schema.family(name) {
                self.family(name, name, at, family, value);
            } else if self.schema.has_table(name) {
                match value.get_ref() {
                    DeValue::Table(table) => self.table(name, name, name, table),
                    _ => self.no_table(at, name, name),
                }
            } else if let (None, DeValue::Table(_)) = (self.schema.key("", name), value.get_ref()) {
                let remedy = self.schema.instead_of_table(name);
                self.fault(at, name, "unknown table", Some(remedy));
            } else {
                self.entry(("", ""), "", key, value);
            }
        }
    }

    /// `name` is what the table is called in messages, `own` what tells it from others.
    fn family(&mut self, name: &str, own: &str, at: usize, family: Family, value: &Spanned<DeValue<'_>>) {
        match (family, value.get_ref()) {
            (Family::Named(known, check), DeValue::Table(members)) => {
                for (key, value) in members {
                    let (member, at) = (key.get_ref().as_ref(), key.span().start);
                    let path = key_path(name, member);
                    if let Err(error) = check(member) {
                        self.faults.push(super::finding::split(
                            Finding::in_file(self.path, Some(line_of(self.text, at)), "").key(&path),
                            &error,
                        ));
                    }
                    match value.get_ref() {
                        DeValue::Table(table) => {
                            self.content.table(&path, line_of(self.text, at));
                            self.table(&path, &path, known, table);
                        }
                        _ => self.no_table(at, &path, known),
                    }
                }
            }
            (Family::List(known), DeValue::Array(members)) => {
                for (index, member) in members.iter().enumerate() {
                    let own = format!("{own}.{index}");
                    match member.get_ref() {
                        DeValue::Table(table) => {
                            self.content.table(&own, line_of(self.text, member.span().start));
                            self.table(name, &own, known, table);
                        }
                        _ => self.no_list(member.span().start, name),
                    }
                }
            }
            (Family::Named(known, _), _) => self.no_table(at, name, known),
            (Family::List(_), _) => self.no_list(at, name),
        }
    }

    fn no_list(&mut self, at: usize, path: &str) {
        let remedy = format!("write [[{path}]] on a line of its own, with double brackets");
        self.fault(
            at,
            path,
            format!("must be a list of tables, [[{path}]]"),
            Some(remedy),
        );
    }

    fn no_table(&mut self, at: usize, path: &str, table: &str) {
        let remedy = format!("write [{table}] on a line of its own");
        self.fault(at, path, format!("must be one table, [{table}]"), Some(remedy));
    }

    /// `table` is what the file says, `own` what tells it from others of its kind, `known` what the schema calls it.
    fn table(&mut self, table: &str, own: &str, known: &str, entries: &DeTable<'_>) {
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let (inner, path) = (format!("{known}.{name}"), key_path(table, name));
            match self.schema.family(&inner) {
                Some(family) => self.family(&path, &key_path(own, name), key.span().start, family, value),
                None => self.entry((table, own), known, key, value),
            }
        }
    }

    fn entry(
        &mut self,
        (table, own): (&str, &str),
        known_table: &str,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        let path = key_path(table, name);
        let Some(known) = self.schema.key(known_table, name) else {
            let remedy = self.schema.instead_of_key(known_table, name);
            self.fault(at, &path, "unknown key", Some(remedy));
            return;
        };
        let entry = Entry {
            key: known,
            table: own,
            name,
            path: &path,
            line: line_of(self.text, at),
            text: self.text,
        };
        self.content.seen(&entry, value);
        match value::read(known.kind, value) {
            Ok(value) => self.content.set(&entry, value),
            Err(wrongs) => {
                for wrong in wrongs {
                    self.fault(wrong.at, &path, wrong.message, wrong.remedy);
                }
            }
        }
    }

    fn fault(&mut self, at: usize, key: &str, message: impl Into<String>, remedy: Option<String>) {
        let line = Some(line_of(self.text, at));
        let fault = Finding::in_file(self.path, line, message).key(key);
        self.faults.push(match remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        });
    }
}

/// Holds a file to the version of its schema that this kevmon knows; without one, to nothing.
pub(crate) fn check_version(
    path: &Path,
    text: &str,
    schema: Schema,
    at: usize,
    version: &Spanned<DeValue<'_>>,
) -> Result<(), Fault> {
    let kind = schema.key_of(Role::Version).map(|key| key.kind);
    let wrong = kind
        .and_then(|kind| value::read(kind, version).err())
        .and_then(|mut all| all.pop());
    // Another version has other keys: there is nothing to check the rest against.
    wrong.map_or(Ok(()), |wrong| {
        let fault = Finding::in_file(path, Some(line_of(text, at)), wrong.message).key("schema");
        Err(match wrong.remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        })
    })
}

/// The line of the byte `at`, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(at)
        .filter(|byte| **byte == b'\n')
        .count()
}
