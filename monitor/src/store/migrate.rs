//! Which schema a database has, and the way from there to the present one, in a single transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    error::{Doing, StoreError},
    schema::{APPLICATION_ID, IMPORTS, PRESENT, Step},
};

/// What a database was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing in it.
    Empty,
    /// The original framework's: `1.0`, `2.0`, or from before it counted versions.
    Original(Option<String>),
    /// kevmon's.
    Ours(u32),
    /// Of a version that this kevmon does not know.
    Newer(String),
    /// Another program's; how it can be told.
    Foreign(String),
}

/// Versions of the original that are known: docs/store.md has their tables.
const ORIGINAL_VERSIONS: [&str; 2] = ["1.0", "2.0"];

/// A version as people write it: the original counts 1.0, 2.0.
pub(super) fn version_name(version: u32) -> String {
    format!("{version}.0")
}

impl Found {
    /// Looks, and changes nothing.
    pub(super) fn of(connection: &Connection, present: u32) -> rusqlite::Result<Self> {
        let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if application == APPLICATION_ID {
            return Ok(match u32::try_from(version) {
                Ok(version) if version > present => Self::Newer(version_name(version)),
                // Below 3 there was no kevmon.
                Ok(version) if version >= 3 => Self::Ours(version),
                _ => Self::Foreign(format!("kevmon's mark with a schema {version} that never was")),
            });
        }
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != 0 || version != 0 {
            return Ok(Self::Foreign(format!(
                "application id {application:#x}, version {version}"
            )));
        }
        if tables == 0 {
            return Ok(Self::Empty);
        }
        let original = has_columns(connection, "services", &["id", "full_name"])?
            && has_columns(connection, "metrics", &["id", "service_id", "name"])?
            && has_columns(connection, "format_rules", &["pattern", "replacement"])?;
        if !original {
            return Ok(Self::Foreign("it has tables that are not kevmon's".to_owned()));
        }
        if !has_columns(connection, "schema_version", &["version", "updated_date"])? {
            return Ok(Self::Original(None));
        }
        let version: Option<String> = connection
            .query_row(
                "SELECT CAST(version AS TEXT) FROM schema_version ORDER BY updated_date DESC, id DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        Ok(match version {
            Some(version) if !ORIGINAL_VERSIONS.contains(&version.as_str()) => Self::Newer(version),
            version => Self::Original(version),
        })
    }

    /// For names of files and messages.
    pub(super) fn version(&self) -> Option<String> {
        match self {
            Self::Original(version) => Some(version.clone().unwrap_or_else(|| "unversioned".to_owned())),
            Self::Ours(version) => Some(version_name(*version)),
            Self::Newer(version) => Some(version.clone()),
            Self::Empty | Self::Foreign(_) => None,
        }
    }
}

fn has_columns(connection: &Connection, table: &str, columns: &[&str]) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let present: Vec<String> = statement
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(columns
        .iter()
        .all(|column| present.iter().any(|name| name == column)))
}

/// Brings a database from what was `found` to the last of `steps`. `after` is called before the first statement and after
/// each, with the number of those done, inside the transaction: tests interrupt it there.
pub(super) fn migrate(
    connection: &mut Connection,
    found: &Found,
    steps: &[Step],
    now_unix: u64,
    doing: Doing<'_>,
    after: &mut dyn FnMut(usize) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| doing.sqlite(error))?;
    let mut run = Run {
        transaction: &transaction,
        doing,
        done: 0,
        after,
    };
    (run.after)(0)?;
    let (from, imports) = match found {
        Found::Ours(version) => (*version, false),
        Found::Original(_) => (0, true),
        _ => (0, false),
    };
    for (index, step) in steps.iter().enumerate() {
        if step.to <= from {
            continue;
        }
        for statement in step.statements {
            run.statement(statement)?;
        }
        // Later steps may change the tables that the imports fill.
        if imports && index == 0 {
            run.imports()?;
        }
        run.record(step.to, now_unix)?;
    }
    let version = steps.last().map_or(PRESENT, |step| step.to);
    run.statement(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
    run.statement(&format!("PRAGMA user_version = {version}"))?;
    transaction.commit().map_err(|error| doing.sqlite(error))
}

struct Run<'a, 'b> {
    transaction: &'a Transaction<'a>,
    doing: Doing<'b>,
    done: usize,
    after: &'a mut dyn FnMut(usize) -> Result<(), StoreError>,
}

impl Run<'_, '_> {
    fn statement(&mut self, statement: &str) -> Result<(), StoreError> {
        self.transaction
            .execute_batch(statement)
            .map_err(|error| self.doing.sqlite(error))?;
        self.counted()
    }

    fn counted(&mut self) -> Result<(), StoreError> {
        self.done += 1;
        (self.after)(self.done)
    }

    fn imports(&mut self) -> Result<(), StoreError> {
        for import in IMPORTS {
            let possible = has_columns(self.transaction, import.table, import.columns)
                .map_err(|error| self.doing.sqlite(error))?;
            if possible {
                self.statement(import.statement)?;
            }
        }
        Ok(())
    }

    /// The date of each migration is kept, in the form of the original's own table.
    fn record(&mut self, version: u32, now_unix: u64) -> Result<(), StoreError> {
        self.transaction
            .execute(
                "INSERT INTO schema_version (version, created_date, updated_date)
                 VALUES (?1, strftime('%Y-%m-%dT%H:%M:%f', ?2, 'unixepoch'), strftime('%Y-%m-%dT%H:%M:%f', ?2, 'unixepoch'))",
                params![version_name(version), now_unix as f64 / 1e9],
            )
            .map_err(|error| self.doing.sqlite(error))?;
        self.counted()
    }
}
