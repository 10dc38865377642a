//! What a key or table that does not exist was probably meant to be.

use super::{
    finding::nearest,
    kind::Kind,
    schema::{Key, Role, Schema, path},
};

impl Schema {
    fn tables(self) -> Vec<&'static str> {
        let table = |key: &Key| match key.kind {
            // A table whose names are its user's.
            Kind::ResourceAttributes => key.name,
            _ => key.table,
        };
        let mut tables: Vec<&str> = self.keys().map(table).collect();
        tables.dedup();
        tables.retain(|table| !table.is_empty());
        tables
    }

    fn others(self) -> impl Iterator<Item = Self> {
        [Self::Native, Self::Guide, Self::Repository]
            .into_iter()
            .filter(move |other| *other != self && self != Self::Settings)
    }

    /// How a file of this schema is recognised, in words.
    fn mark(self) -> &'static str {
        match self {
            Self::Native => "kevmon's own schema (put schema = 1 at the top of the file to use it)",
            Self::Guide => "the schema with [plugin]",
            Self::Repository => "the schema with [metadata]",
            Self::Settings => "kevmon.toml",
        }
    }

    /// What to write instead of the unknown key `name` in `table` (empty: the top level).
    pub(crate) fn instead_of_key(self, table: &str, name: &str) -> String {
        if let Some(place) = self.keys().find(|key| key.name == name) {
            return match place.table {
                "" => format!("\"{name}\" belongs at the top of the file, before the first table"),
                other => format!("\"{name}\" belongs in [{other}]"),
            };
        }
        let elsewhere = self
            .others()
            .find_map(|schema| Some((schema, schema.keys().find(|key| key.name == name)?)));
        if let Some((schema, key)) = elsewhere {
            let counterpart = (!matches!(key.role, Role::NoEffect | Role::Remark | Role::Own))
                .then(|| self.key_of(key.role))
                .flatten();
            let of = format!("\"{name}\" belongs to {}", schema.mark());
            return match counterpart {
                Some(own) => format!("did you mean \"{}\"? {of}", own.shown_in(table)),
                None => of,
            };
        }
        let here = || self.keys().filter(|key| key.table == table).map(|key| key.name);
        if let Some(near) = nearest(name, here()) {
            return format!("did you mean \"{near}\"?");
        }
        if let Some(near) = nearest(name, self.keys().map(|key| key.name)) {
            let home = self
                .keys()
                .find(|key| key.name == near)
                .map_or("", |key| key.table);
            return format!("did you mean \"{}\"?", path(home, near));
        }
        match here().collect::<Vec<_>>() {
            none if none.is_empty() => format!("known tables: {}", self.tables().join(", ")),
            known => format!("known here: {}", known.join(", ")),
        }
    }

    /// What to write instead of the unknown `[table]`.
    pub(crate) fn instead_of_table(self, table: &str) -> String {
        if let Some(schema) = self.others().find(|schema| schema.has_table(table)) {
            return format!("[{table}] belongs to {}", schema.mark());
        }
        // The misspelt table may be the one that announces another schema: [metdata].
        let near = nearest(table, self.tables())
            .or_else(|| self.others().find_map(|other| nearest(table, other.tables())));
        match near {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("known tables: {}", self.tables().join(", ")),
        }
    }
}

impl Key {
    /// Its name as seen from `table`: the path where it stands in another one.
    fn shown_in(&self, table: &str) -> String {
        if self.table == table {
            self.name.to_owned()
        } else {
            self.path()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        for (schema, table, name, remedy) in [
            (
                Schema::Guide,
                "monitoring",
                "intervall",
                "did you mean \"interval\"?",
            ),
            (
                Schema::Guide,
                "plugin",
                "namespace",
                "\"namespace\" belongs in [service]",
            ),
            (
                Schema::Guide,
                "",
                "interval",
                "\"interval\" belongs in [monitoring]",
            ),
            (
                Schema::Native,
                "plugin",
                "schema",
                "\"schema\" belongs at the top of the file, before the first table",
            ),
            (
                Schema::Guide,
                "monitoring",
                "naming",
                "\"naming\" belongs to kevmon's own schema (put schema = 1 at the top of the file to use it)",
            ),
            (
                Schema::Guide,
                "monitoring",
                "default_interval",
                "did you mean \"interval\"? \"default_interval\" belongs to the schema with [metadata]",
            ),
            (
                Schema::Guide,
                "plugin",
                "process_nam",
                "did you mean \"service.process_name\"?",
            ),
            (
                Schema::Guide,
                "monitoring",
                "colour",
                "known here: interval, enabled",
            ),
            (
                Schema::Guide,
                "",
                "colour",
                "known tables: plugin, service, monitoring, dependencies, systemd, otel_config",
            ),
        ] {
            assert_eq!(schema.instead_of_key(table, name), remedy, "{table}.{name}");
        }
        assert_eq!(
            Schema::Guide.instead_of_table("metdata"),
            "did you mean [metadata]?"
        );
        assert_eq!(
            Schema::Guide.instead_of_table("monitorin"),
            "did you mean [monitoring]?"
        );
        assert_eq!(
            Schema::Guide.instead_of_table("installation"),
            "[installation] belongs to the schema with [metadata]"
        );
    }
}
