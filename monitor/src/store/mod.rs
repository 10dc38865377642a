//! The store: what kevmon remembers over its own restarts. One SQLite file with the groups' accumulators and members, the
//! restart history, and the stable ids of everything that is reported. docs/store.md describes it.

mod columns;
mod error;
mod files;
mod groups;
mod history;
mod identities;
mod lock;
mod migrate;
mod open;
mod render;
mod schema;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tracing::warn;

pub use error::StoreError;
pub use history::{GroupKey, HistoryRow, KEPT, Outage, history};
pub use open::Note;
pub use render::{render_json, render_text};

use crate::plugin::{Plugin, SavedGroup};
use groups::Written;
use identities::Identities;
use lock::Lock;

/// What opening the store led to.
#[derive(Debug)]
pub enum Opened {
    /// It can be used.
    Ready(Box<Store>),
    /// It cannot; what lies at its path is as it was. Monitoring goes on without it.
    Without {
        /// Why, and what to do about it.
        reason: StoreError,
    },
}

/// What one commit adds. All of it becomes visible at once, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Now, Unix ns.
    pub time: u64,
    /// The groups that have been collected. What did not change since the last commit is not written again.
    pub groups: Vec<(Arc<GroupKey>, SavedGroup)>,
    /// What has happened since the last commit.
    pub history: Vec<HistoryRow>,
}

/// The daemon's store. No second one can be opened on the same file while this one lives.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    boot_id: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "logged already; the tests look at it"))]
    notes: Vec<Note>,
    outage: Option<Outage>,
    /// How many outages there have been, the last one with them, and how long they were together, ns.
    outages: (u64, u64),
    group_ids: HashMap<String, i64>,
    /// What is in the database, by key.
    written: HashMap<String, Written>,
    identities: Identities,
    unwritten: Unwritten,
    /// Last, so that the database is closed before the lock is given up.
    _lock: Lock,
}

/// What no commit has brought to the disk yet.
#[derive(Debug, Default)]
struct Unwritten {
    groups: HashMap<String, (Arc<GroupKey>, Written)>,
    /// By key; no more than the database would keep.
    history: HashMap<String, VecDeque<HistoryRow>>,
    outage: Option<Outage>,
}

impl Store {
    /// Opens the store at `path`, making it where there is none. `boot_id` names this boot
    /// (/proc/sys/kernel/random/boot_id), `now_unix` is in ns.
    pub fn open(path: &Path, boot_id: &str, now_unix: u64) -> Opened {
        match open::Opening::new(path, now_unix, &mut |_| Ok(())).run() {
            Ok(loaded) => Opened::Ready(Box::new(Self::new(loaded, boot_id, now_unix))),
            Err(reason) => Opened::Without { reason },
        }
    }

    fn new(loaded: open::Loaded, boot_id: &str, now_unix: u64) -> Self {
        let outage = loaded.last.map(|(boot, from)| Outage {
            from,
            to: now_unix,
            same_boot: boot == boot_id,
        });
        let before = history::outages(&loaded.connection).unwrap_or_else(|error| {
            warn!("{}: its outages are not known: {error}", loaded.path.display());
            (0, 0)
        });
        let outages = outage.map_or(before, |outage| {
            (before.0 + 1, before.1 + outage.to.saturating_sub(outage.from))
        });
        Self {
            outages,
            connection: loaded.connection,
            path: loaded.path,
            boot_id: boot_id.to_owned(),
            notes: loaded.notes,
            outage,
            group_ids: loaded.group_ids,
            written: loaded.groups,
            identities: loaded.identities,
            unwritten: Unwritten {
                outage,
                ..Unwritten::default()
            },
            _lock: loaded.lock,
        }
    }

    /// The file, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One group as of its last commit. Its members are good for the boot of [`Self::outage`]'s `same_boot` only.
    pub fn group(&self, key: &str) -> Option<SavedGroup> {
        self.written.get(key).map(Written::to_group)
    }

    /// How long kevmon was away before this start; `None` for a new store.
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// How often kevmon was away since the store began, and for how long together, ns.
    pub fn outages(&self) -> (u64, u64) {
        self.outages
    }

    /// Says what this run reports: the host (name and id) and the plugins, each with the id that its service gets if
    /// the store knows none. Returns the ids to use, in the same order: a plugin keeps its service's id for ever, and of the
    /// plugins that could take over one service of the original, the first does. Written at the next commit.
    pub fn identify(&mut self, host: (&str, &str), plugins: &[(&Plugin, String)]) -> Vec<String> {
        self.identities.identify(host, plugins)
    }

    /// With `false`, a commit does not wait for the disk: a power cut may then undo the last ones, a crash of
    /// kevmon does not. For intervals that are shorter than a disk's flush.
    ///
    /// # Errors
    /// SQLite refuses; the setting is as it was.
    pub fn set_durable(&mut self, durable: bool) -> Result<(), StoreError> {
        let synchronous = if durable { "FULL" } else { "NORMAL" };
        self.connection
            .pragma_update(None, "synchronous", synchronous)
            .map_err(|error| StoreError::sqlite(&self.path, "set its durability", error))
    }

    /// Writes what has changed, in one transaction.
    ///
    /// # Errors
    /// Nothing was written; all of it is kept, and the next commit writes it too.
    pub fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let time = commit.time;
        self.unwritten.take_up(commit);
        let result = self.try_commit(time);
        if result.is_err() && !self.connection.is_autocommit() {
            // The transaction's own rollback failed. While one is open, no later commit could succeed.
            let _: rusqlite::Result<()> = self.connection.execute_batch("ROLLBACK");
        }
        let new_ids = result.map_err(|error| StoreError::sqlite(&self.path, "commit", error))?;
        self.group_ids.extend(new_ids);
        let unwritten = std::mem::take(&mut self.unwritten);
        self.written.extend(
            unwritten
                .groups
                .into_iter()
                .map(|(key, (_, written))| (key, written)),
        );
        if self.identities.is_due(time) {
            self.identities.committed(time);
        }
        Ok(())
    }

    /// Returns the numbers of the groups that are new.
    fn try_commit(&mut self, time: u64) -> rusqlite::Result<Vec<(String, i64)>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut new_ids: Vec<(String, i64)> = Vec::new();
        let mut id_of = |transaction: &Transaction<'_>, group: &GroupKey| {
            let new = new_ids.iter().find(|(key, _)| *key == group.key);
            match self.group_ids.get(&group.key).or(new.map(|(_, id)| id)) {
                Some(id) => Ok(*id),
                None => {
                    let id = new_group(transaction, group)?;
                    new_ids.push((group.key.clone(), id));
                    Ok::<i64, rusqlite::Error>(id)
                }
            }
        };
        for (key, (group, now)) in &self.unwritten.groups {
            let id = id_of(&transaction, group)?;
            groups::write(&transaction, id, self.written.get(key), now)?;
        }
        for rows in self.unwritten.history.values() {
            let Some(first) = rows.front() else { continue };
            let id = id_of(&transaction, &first.group)?;
            history::write(&transaction, id, rows)?;
        }
        if let Some(outage) = self.unwritten.outage {
            history::write_outage(&transaction, outage)?;
        }
        if self.identities.is_due(time) {
            self.identities.write(&transaction, time)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO state (id, boot_id, last_commit) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, last_commit = excluded.last_commit",
            )?
            .execute(params![self.boot_id, time.cast_signed()])?;
        transaction.commit()?;
        Ok(new_ids)
    }
}

impl Unwritten {
    fn take_up(&mut self, commit: Commit) {
        for (key, group) in commit.groups {
            self.groups.insert(key.key.clone(), (key, group.into()));
        }
        for row in commit.history {
            let rows = self.history.entry(row.group.key.clone()).or_default();
            if rows.len() == KEPT {
                rows.pop_front();
            }
            rows.push_back(row);
        }
    }
}

fn new_group(transaction: &Transaction<'_>, group: &GroupKey) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("INSERT INTO watched_group (key, plugin) VALUES (?1, ?2) RETURNING id")?
        .query_row(params![group.key, group.plugin], |row| row.get(0))
}
