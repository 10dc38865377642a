//! `[resource]`: attributes for all resources. TOML makes tables of dotted names without quotes; here both are one name.

use std::collections::{BTreeMap, btree_map::Entry};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Wrong, one};
use crate::config::{finding::quoted, resource_attributes as attributes};

pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, String>, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        let remedy = "write [resource] on a line of its own, and \"host.name\" = \"…\" below it";
        return Err(one(Wrong::kind(value, "a table of strings", remedy)));
    };
    let mut reading = Reading::default();
    reading.table("", table);
    if reading.wrong.is_empty() {
        Ok(reading.good)
    } else {
        Err(reading.wrong)
    }
}

#[derive(Default)]
struct Reading {
    good: BTreeMap<String, String>,
    wrong: Vec<Wrong>,
}

impl Reading {
    /// `outer`: what stands before each name, with its dot.
    fn table(&mut self, outer: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let (name, at) = (format!("{outer}{}", key.get_ref()), key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&format!("{name}."), inner),
                DeValue::String(text) => self.attribute(name, text, at),
                _ => {
                    let mut error = Wrong::kind(value, "a string", "put it in quotes");
                    error.message = format!("the attribute {} {}", quoted(&name), error.message);
                    self.wrong.push(error);
                }
            }
        }
    }

    fn attribute(&mut self, name: String, text: &str, at: usize) {
        if let Some((why, remedy)) = attributes::instead(&name) {
            let message = format!("the attribute {} is not for all resources: {why}", quoted(&name));
            self.wrong.push(Wrong::new(at, message, remedy));
        } else if let Err(error) = attributes::check(&name, text) {
            self.wrong.push(Wrong::from_error(at, &error));
        } else {
            match self.good.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(text.to_owned());
                }
                Entry::Occupied(known) => {
                    let message = format!("the attribute {} stands here twice", quoted(known.key()));
                    self.wrong.push(Wrong::new(at, message, "remove one of them"));
                }
            }
        }
    }
}
